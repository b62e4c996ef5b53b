{# numerator / denominator as decimal(18, 6), rounded half away from zero; null when the divisor is 0.
   DuckDB divides decimals as doubles, so the division is done in whole millionths here. #}
{% macro exact_ratio(numerator, denominator) -%}
    {{ return(adapter.dispatch('exact_ratio', 'ctwa')(numerator, denominator)) }}
{%- endmacro %}

{% macro default__exact_ratio(numerator, denominator) -%}
    cast({{ numerator }} / nullif({{ denominator }}, 0) as decimal(18, 6))
{%- endmacro %}

{% macro duckdb__exact_ratio(numerator, denominator) -%}
    cast(
        cast(
            sign({{ numerator }})
            * (
                (
                    cast(
                        cast(abs({{ numerator }}) as decimal(31, 6)) * cast(2000000 as decimal(7, 0))
                        as hugeint
                    )
                    + nullif({{ denominator }}, 0)
                )
                // (2 * nullif({{ denominator }}, 0))
            )
            as decimal(24, 0)
        )
        * cast(0.000001 as decimal(7, 6))
        as decimal(18, 6)
    )
{%- endmacro %}
