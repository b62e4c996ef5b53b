{# numerator / denominator as decimal(18, 6), rounded half away from zero; null when the divisor is
   0. DuckDB divides decimals as doubles, so the division is done in whole millionths, and only for
   rows with a divisor: most days of an ad have no lead, and these integers are slow. Others divide
   decimals exactly, but cut the scale where the result could need more than 38 digits. #}
{% macro exact_ratio(numerator, denominator) -%}
    {{ return(adapter.dispatch('exact_ratio', 'ctwa')(numerator, denominator)) }}
{%- endmacro %}

{% macro default__exact_ratio(numerator, denominator) -%}
    cast(
        round(
            cast({{ numerator }} as decimal(24, 6)) / nullif(cast({{ denominator }} as decimal(13, 0)), 0), 6
        ) as decimal(18, 6)
    )
{%- endmacro %}

{% macro duckdb__exact_ratio(numerator, denominator) -%}
    case
        when {{ denominator }} <> 0 then
            cast(
                cast(
                    sign({{ numerator }})
                    * (
                        (
                            cast(
                                cast(abs({{ numerator }}) as decimal(31, 6))
                                * cast(2000000 as decimal(7, 0))
                                as hugeint
                            )
                            + {{ denominator }}
                        )
                        // (2 * {{ denominator }})
                    )
                    as decimal(24, 0)
                )
                * cast(0.000001 as decimal(7, 6))
                as decimal(18, 6)
            )
    end
{%- endmacro %}
