{# The rows of a model of reads (staging, or `int_<entity>__read`) whose read is the latest of their
   key. A key occurs once in a read (tested in staging), so the order is total. Reads are numbered
   by platform: `platform` is part of the keys. #}
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

{# Condition on a row of a read: its read comes after the last that the model as it stands has of
   the same platform, or the model has none of it. Literals, so that Parquet row groups of older
   reads are skipped unread. #}
{% macro behind_own_reads() -%}
    {%- set own = [] -%}
    {%- if execute -%}
        {%- set found = run_query(
            'select platform, max(read_no) from ' ~ this ~ ' group by platform order by platform'
        ) -%}
        {%- for row in found.rows %}{% do own.append(row) %}{% endfor -%}
    {%- endif -%}
    (
        {%- for row in own %}
        (platform = '{{ row[0] }}' and read_no > {{ row[1] }}) or
        {%- endfor %}
        {%- if own %}
        platform not in ({% for row in own %}'{{ row[0] }}'{{ ', ' if not loop.last }}{% endfor %})
        {%- else %}
        true
        {%- endif %}
    )
{%- endmacro %}
