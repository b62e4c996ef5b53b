{# dbt calls this for the column types of a unit test's input. Our sources are Parquet files, not
   tables of the warehouse, so for a source the files are described. #}
{% macro duckdb__get_columns_in_relation(relation) -%}
    {%- set known = namespace(location=none) -%}
    {%- for node in graph.sources.values() if node.schema == relation.schema and node.identifier == relation.identifier -%}
        {%- set known.location = source(node.source_name, node.name) -%}
    {%- endfor -%}
    {%- set query -%}
        select
            column_name,
            column_type as data_type,
            cast(null as bigint) as character_maximum_length,
            cast(null as bigint) as numeric_precision,
            cast(null as bigint) as numeric_scale
        from (describe select * from {{ known.location or relation }})
    {%- endset -%}
    {{ return(sql_convert_columns_in_relation(run_query(query))) }}
{%- endmacro %}
