{# A timestamp as text for people: `2026-05-03 14:02 UTC`. #}
{% macro utc_text(timestamp) -%}
    {{ return(adapter.dispatch('utc_text', 'ctwa')(timestamp)) }}
{%- endmacro %}

{% macro default__utc_text(timestamp) -%}
    date_format({{ timestamp }}, 'yyyy-MM-dd HH:mm') || ' UTC'
{%- endmacro %}

{% macro duckdb__utc_text(timestamp) -%}
    strftime({{ timestamp }} at time zone 'UTC', '%Y-%m-%d %H:%M') || ' UTC'
{%- endmacro %}
