{# Rules of the creative board: vars of dbt_project.yml, explained in docs/creative-board.md. #}

{# The last account day whose leads have all had 30 whole days to qualify (`is_mature_30d`). #}
{% macro board_last_day() -%}
    cast({{ dbt.dateadd('day', -31, as_of()) }} as date)
{%- endmacro %}

{# Ends of a 90 % interval of the normal distribution. #}
{% macro z_90() -%}
    {{ return('1.644854') }}
{%- endmacro %}
