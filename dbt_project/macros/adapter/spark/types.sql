{# Contracts and seeds are written with DuckDB's names of types; the same types in Spark's. #}
{% macro spark_type(data_type) -%}
    {%- set type = data_type | lower | trim -%}
    {{ return({
        'varchar': 'string',
        'timestamptz': 'timestamp',
        'timestamp with time zone': 'timestamp',
        'integer': 'int'
    }.get(type, type)) }}
{%- endmacro %}

{% macro spark__get_empty_schema_sql(columns) -%}
    select
    {%- for name, column in columns.items() %}
        cast(null as {{ ctwa.spark_type(column['data_type']) }}) as {{ adapter.quote(name) }}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}
