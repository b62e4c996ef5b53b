{# The condition that two rows agree in these columns, none of which is null. #}
{% macro same_values(one, other, columns) -%}
    {%- for column in columns -%}
        {{ ' and ' if not loop.first }}{{ one }}.{{ column }} = {{ other }}.{{ column }}
    {%- endfor -%}
{%- endmacro %}
