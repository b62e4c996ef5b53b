{# A share as text for people: `12.5 %`. #}
{% macro share_text(share) -%}
    cast(cast(round(100 * {{ share }}, 1) as decimal(18, 1)) as varchar) || ' %'
{%- endmacro %}
