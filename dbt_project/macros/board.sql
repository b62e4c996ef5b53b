{# Rules of the creative board: vars of dbt_project.yml, explained in docs/creative-board.md. #}

{# The last account day whose leads have all had 30 whole days to qualify (`is_mature_30d`). #}
{% macro board_last_day() -%}
    cast({{ dbt.dateadd('day', -31, as_of()) }} as date)
{%- endmacro %}

{# Ends of a 90 % interval of the normal distribution. #}
{% macro z_90() -%}
    {{ return('1.644854') }}
{%- endmacro %}

{# How sentences for people show an amount, a rate, the name of an ad. #}
{% macro money_text(amount, currency) -%}
    {{ currency }} || ' ' || cast(cast(round({{ amount }}, 2) as decimal(18, 2)) as varchar)
{%- endmacro %}

{% macro percent_text(rate) -%}
    cast(cast(round(100 * {{ rate }}, 0) as integer) as varchar) || ' %'
{%- endmacro %}

{% macro ad_text(name, ad_id) -%}
    '“' || coalesce({{ name }}, {{ ad_id }}) || '”'
{%- endmacro %}
