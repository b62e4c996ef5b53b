{# Schemas are layers: `marts`, not `main_marts`. The target `marts` is the published file: if it is
   called marts, its tables lie in the default schema (docs/decisions/0003). #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {%- if target.name == 'marts' and target.database == custom_schema_name -%}
        {{ target.schema }}
    {%- else -%}
        {{ custom_schema_name if custom_schema_name else target.schema }}
    {%- endif -%}
{%- endmacro %}
