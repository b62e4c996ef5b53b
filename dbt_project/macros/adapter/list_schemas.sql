{# What dbt calls before it builds anything: here plain `dbt` hears once, and not from each model,
   that it lacks the settings. #}
{% macro list_schemas(database) -%}
    {%- do rule("reporting_currency") -%}
    {{ return(adapter.dispatch("list_schemas", "dbt")(database)) }}
{%- endmacro %}
