{# The type of a moment (UTC), whatever zone a session has. Types of text and whole numbers are dbt's:
   `dbt.type_string()`, `dbt.type_int()`. #}
{% macro type_instant() -%}
    {{ return(adapter.dispatch('type_instant', 'ctwa')()) }}
{%- endmacro %}

{% macro default__type_instant() -%}
    timestamp
{%- endmacro %}

{% macro duckdb__type_instant() -%}
    timestamp with time zone
{%- endmacro %}

{# Text that is null, for a column that only some parts of a union have. #}
{% macro null_text() -%}
    cast(null as {{ dbt.type_string() }})
{%- endmacro %}
