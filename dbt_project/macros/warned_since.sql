{# The first day of the unbroken run of warnings up to the newest row of each alarm and subject,
   from `rows` with a `status`, in the order `newest_first`. #}
{% macro warned_since(rows, day, newest_first) -%}
    select
        alarm,
        subject,
        min({{ day }}) as since
    from (
        select
            alarm,
            subject,
            {{ day }},
            sum(case when status = 'warn' then 0 else 1 end) over (
                partition by alarm, subject
                order by {{ newest_first }} desc
                rows between unbounded preceding and current row
            ) as later_rows_without_warning
        from {{ rows }}
    ) as counted
    where later_rows_without_warning = 0
    group by alarm, subject
{%- endmacro %}
