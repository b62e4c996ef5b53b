{# The hour of the day, 0 to 23, of a UTC timestamp in a time zone (IANA name). #}
{% macro local_hour(timestamp, timezone) -%}
    {{ return(adapter.dispatch('local_hour', 'ctwa')(timestamp, timezone)) }}
{%- endmacro %}

{% macro default__local_hour(timestamp, timezone) -%}
    cast(extract(hour from from_utc_timestamp({{ timestamp }}, {{ timezone }})) as integer)
{%- endmacro %}

{% macro duckdb__local_hour(timestamp, timezone) -%}
    cast(extract(hour from {{ timestamp }} at time zone {{ timezone }}) as integer)
{%- endmacro %}
