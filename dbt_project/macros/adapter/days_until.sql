{# A query of one row per day, `day_date`, from the first to the last. dbt's own date_spine asks the
   warehouse how many days that are and writes the number into the SQL, which is then another one
   every day. #}
{% macro days_until(first, last) -%}
    {{ return(adapter.dispatch('days_until', 'ctwa')(first, last)) }}
{%- endmacro %}

{% macro default__days_until(first, last) -%}
    select explode(sequence({{ first }}, {{ last }}, interval 1 day)) as day_date
{%- endmacro %}

{% macro duckdb__days_until(first, last) -%}
    select cast(unnest(generate_series({{ first }}, {{ last }}, interval 1 day)) as date) as day_date
{%- endmacro %}
