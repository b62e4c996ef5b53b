{# The nearest whole number; of two that are as near, the even one. #}
{% macro whole_number(amount) -%}
    {{ return(adapter.dispatch('whole_number', 'ctwa')(amount)) }}
{%- endmacro %}

{% macro default__whole_number(amount) -%}
    cast(bround({{ amount }}, 0) as bigint)
{%- endmacro %}

{% macro duckdb__whole_number(amount) -%}
    cast({{ amount }} as bigint)
{%- endmacro %}
