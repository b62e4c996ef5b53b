{# For the test `sound_rows`: a `select` of one row per fault, with `fault` and `cases`, its rows. One
   scan counts all. `faults`: list of (text, condition). #}
{% macro counted_faults(faults) -%}
    {{ return(adapter.dispatch('counted_faults', 'ctwa')(faults)) }}
{%- endmacro %}

{% macro default__counted_faults(faults) -%}
    select
        stack(
            {{ faults | length }},
            {%- for fault, condition in faults %}
            '{{ fault }}', count_if({{ condition }}){{ ',' if not loop.last }}
            {%- endfor %}
        ) as (fault, cases)
{%- endmacro %}

{% macro duckdb__counted_faults(faults) -%}
    select unnest([
        {%- for fault, condition in faults %}
        {'fault': '{{ fault }}', 'cases': count(*) filter (where {{ condition }})}
        {{- ',' if not loop.last }}
        {%- endfor %}
    ], recursive := true)
{%- endmacro %}

{# An error with this text. #}
{% macro raised(message) -%}
    {{ return(adapter.dispatch('raised', 'ctwa')(message)) }}
{%- endmacro %}

{% macro default__raised(message) -%}
    raise_error({{ message }})
{%- endmacro %}

{% macro duckdb__raised(message) -%}
    error({{ message }})
{%- endmacro %}
