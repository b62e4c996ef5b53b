{# The calendar day of a UTC timestamp in a time zone (IANA name). #}
{% macro local_date(timestamp, timezone) -%}
    {{ return(adapter.dispatch('local_date', 'ctwa')(timestamp, timezone)) }}
{%- endmacro %}

{% macro default__local_date(timestamp, timezone) -%}
    cast(from_utc_timestamp({{ timestamp }}, {{ timezone }}) as date)
{%- endmacro %}

{% macro duckdb__local_date(timestamp, timezone) -%}
    cast({{ timestamp }} at time zone {{ timezone }} as date)
{%- endmacro %}
