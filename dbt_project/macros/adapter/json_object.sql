{# A JSON object as text, of columns under their own names. #}
{% macro json_object(columns) -%}
    {{ return(adapter.dispatch('json_object', 'ctwa')(columns)) }}
{%- endmacro %}

{% macro default__json_object(columns) -%}
    to_json(
        named_struct({% for column in columns %}'{{ column }}', {{ column }}{{ ', ' if not loop.last }}{% endfor %}),
        map('ignoreNullFields', 'false')
    )
{%- endmacro %}

{% macro duckdb__json_object(columns) -%}
    cast(json_object({% for column in columns %}'{{ column }}', {{ column }}{{ ', ' if not loop.last }}{% endfor %}) as {{ dbt.type_string() }})
{%- endmacro %}
