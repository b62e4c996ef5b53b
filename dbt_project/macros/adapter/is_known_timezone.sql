{# Whether the warehouse knows a time zone's name; converting with an unknown one fails the whole
   model. #}
{% macro is_known_timezone(timezone) -%}
    {{ return(adapter.dispatch('is_known_timezone', 'ctwa')(timezone)) }}
{%- endmacro %}

{% macro default__is_known_timezone(timezone) -%}
    {{ timezone }} is not null
{%- endmacro %}

{% macro duckdb__is_known_timezone(timezone) -%}
    coalesce({{ timezone }} in (select zones.name from pg_timezone_names() as zones), false)
{%- endmacro %}
