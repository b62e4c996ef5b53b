{# Whom a phone stands for at a time (rule R4, E28): the condition of a left join of the source
   `identity.phones_held`. Without a row the phone stands for itself. #}
{% macro holds_at(holding, phone, at) -%}
    {{ phone }} = {{ holding }}.phone_key
    and {{ at }} >= {{ holding }}.held_from
    and ({{ holding }}.held_until is null or {{ at }} < {{ holding }}.held_until)
{%- endmacro %}
