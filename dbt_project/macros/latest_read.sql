{# The rows of a staging model of meta_ads whose read is the latest of their key. A key occurs once
   in a read (tested in staging), so the order is total. #}
{% macro latest_read(model, keys) -%}
    select *
    from (
        select
            *,
            row_number() over (
                partition by {{ keys | join(', ') }}
                order by read_no desc, read_at desc
            ) as recency
        from {{ model }}
    ) as ranked
    where recency = 1
{%- endmacro %}
