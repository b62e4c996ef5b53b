{# Closed forms instead of the quantiles that SQL does not have. `z` is the quantile of the normal
   distribution: -1.644854 and 1.644854 are the ends of a 90 % interval. Plain arithmetic on doubles
   of one row, so that the same rows always give the same figures. #}

{# Quantile of Beta(alpha, beta), both at least 1. Paulson's approximation (1942): Wilson and Hilferty's
   cube root on both gamma variables that a beta is made of. Off by less than 0.01, and
   by less than 1.2 points of probability (tests/dbt/test_board_maths.py). #}
{% macro beta_quantile(alpha, beta, z) -%}
    {%- set a, b = '1.0 / (9 * ' ~ alpha ~ ')', '1.0 / (9 * ' ~ beta ~ ')' -%}
    {%- set cube -%}
        power(
            greatest(
                (1 - {{ a }}) * (1 - {{ b }})
                + ({{ z }}) * sqrt(
                    {{ a }} * power(1 - {{ b }}, 2) + {{ b }} * power(1 - {{ a }}, 2)
                    - power({{ z }}, 2) * {{ a }} * {{ b }}
                ),
                0
            )
            / (power(1 - {{ b }}, 2) - power({{ z }}, 2) * {{ b }}),
            3
        )
    {%- endset -%}
    {{ alpha }} * {{ cube }} / ({{ alpha }} * {{ cube }} + {{ beta }})
{%- endmacro %}

{# Quantile of a gamma distribution of mean 1 and this shape, at least 0.6 (Wilson and Hilferty, 1931). #}
{% macro gamma_quantile(shape, z) -%}
    power(1 - 1 / (9 * {{ shape }}) + ({{ z }}) / (3 * sqrt({{ shape }})), 3)
{%- endmacro %}

{# An estimated amount as a decimal; beyond the type, its largest round value. Null stays null, which
   `least` alone would not see. #}
{% macro capped(amount) -%}
    cast(case when {{ amount }} > 1e11 then 1e11 else {{ amount }} end as decimal(18, 6))
{%- endmacro %}
