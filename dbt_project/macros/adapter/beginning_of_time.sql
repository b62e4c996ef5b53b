{# A timestamp before every event: the start of whatever has no known start. #}
{% macro beginning_of_time() -%}
    {{ return(adapter.dispatch('beginning_of_time', 'ctwa')()) }}
{%- endmacro %}

{% macro default__beginning_of_time() -%}
    cast('1970-01-01 00:00:00' as timestamp)
{%- endmacro %}

{% macro duckdb__beginning_of_time() -%}
    cast('1970-01-01 00:00:00+00' as {{ type_instant() }})
{%- endmacro %}
