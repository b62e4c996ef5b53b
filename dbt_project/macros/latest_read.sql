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

{# Conditions, one a part of what is new: reads of a platform behind the last that the model as it
   stands has of it, and platforms that it has nothing of. Apart and with literals, so that Parquet
   row groups of older reads are skipped unread. #}
{% macro behind_own_reads() -%}
    {%- set parts, platforms = [], [] -%}
    {%- if execute and is_incremental() -%}
        {%- set found = run_query(
            'select platform, max(read_no) from ' ~ this ~ ' group by platform order by platform'
        ) -%}
        {%- for row in found.rows -%}
            {%- do parts.append("platform = '" ~ row[0] ~ "' and read_no > " ~ row[1]) -%}
            {%- do platforms.append("'" ~ row[0] ~ "'") -%}
        {%- endfor -%}
    {%- endif -%}
    {%- if platforms -%}
        {{ return(parts + ['platform not in (' ~ platforms | join(', ') ~ ')']) }}
    {%- endif -%}
    {{ return(['true']) }}
{%- endmacro %}
