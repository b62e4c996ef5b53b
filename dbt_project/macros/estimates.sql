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

{# An estimate as a decimal of at most six significant digits, half away from zero; null stays null, and
   beyond the type it is the type's largest power of ten. What is computed in doubles holds some 15 digits,
   and the last is not the same on two engines: `power` may differ by one, and a cast to `decimal(18, 6)`
   rounds 440,277,942.99999547 up in DuckDB and down in Spark. Here each step is exact on both, and the cast
   has nothing left to round. #}
{% macro rounded_estimate(amount, type='decimal(18, 6)') -%}
    {%- set digits, decimals = type.strip('decimal()').split(',') | map('int') -%}
    {%- set largest = '1e' ~ (digits - decimals - 1) -%}
    {%- set places = 'least(' ~ decimals ~ ', 5 - floor(log10(greatest(abs(' ~ amount ~ '), 0.1))))' -%}
    {%- set unit = 'power(10, floor(log10(abs(' ~ amount ~ '))) - 5)' -%}
    cast(
        case
            when abs({{ amount }}) > {{ largest }} then sign({{ amount }}) * {{ largest }}
            when abs({{ amount }}) >= 1e6 then round(({{ amount }}) / {{ unit }}) * {{ unit }}
            else round(({{ amount }}) * power(10, {{ places }})) / power(10, {{ places }})
        end as {{ type }}
    )
{%- endmacro %}

{# A share of whole numbers, exactly: of a double, 333 / 640 would be rounded down. #}
{% macro exact_share(part, whole) -%}
    cast({{ exact_ratio(part, whole) }} as decimal(9, 6))
{%- endmacro %}
