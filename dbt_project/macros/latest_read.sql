{# The rows of a table of reads that come from the latest read of their key. A key occurs once in a
   read (tested by ads_rows_occur_once_in_a_read), so the order is total. Reads are numbered by
   platform: `platform` is part of the keys. #}
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

{# One condition per platform: reads newer than the newest one in this model. Separate and with
   literals, so that Parquet row groups of older reads are skipped. Reads of a platform that the
   variable `ads_platforms` does not name are found as well, at the price of looking at all of them.
   `reads` is the alias of what is read. #}
{% macro newer_than_own_reads(reads) -%}
    {%- if not is_incremental() -%}
        {#- All: reads are numbered from 1 on. -#}
        {{ return([reads ~ '.read_no > -1']) }}
    {%- endif -%}
    {%- set conditions, listed = [], [] -%}
    {%- for platform in var('ads_platforms') -%}
        {%- set is_platform = "platform = '" ~ platform ~ "'" -%}
        {%- do listed.append("'" ~ platform ~ "'") -%}
        {%- do conditions.append(
            is_platform ~ ' and read_no > ' ~ own_highest('read_no', is_platform)
        ) -%}
    {%- endfor -%}
    {%- do conditions.append(
        reads ~ '.platform not in (' ~ listed | join(', ') ~ ') and ' ~ reads ~ '.read_no > coalesce('
        ~ '(select max(built.read_no) from ' ~ this ~ ' as built where built.platform = ' ~ reads
        ~ '.platform), -1)'
    ) -%}
    {{ return(conditions) }}
{%- endmacro %}
