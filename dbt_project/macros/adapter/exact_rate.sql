{# numerator / denominator as decimal(18, 8), rounded half up once; both are decimal(18, 8) and
   positive. DuckDB divides decimals as doubles, which are only exact to 15 digits, so the division
   is done in whole hundred-millionths. #}
{% macro exact_rate(numerator, denominator) -%}
    {{ return(adapter.dispatch('exact_rate', 'ctwa')(numerator, denominator)) }}
{%- endmacro %}

{% macro default__exact_rate(numerator, denominator) -%}
    cast(cast({{ numerator }} as decimal(18, 8)) / cast({{ denominator }} as decimal(18, 8)) as decimal(18, 8))
{%- endmacro %}

{% macro duckdb__exact_rate(numerator, denominator) -%}
    cast(
        cast(
            (
                cast(cast({{ numerator }} as decimal(28, 8)) * cast(100000000 as decimal(9, 0)) as hugeint)
                * 200000000
                + cast(cast({{ denominator }} as decimal(28, 8)) * cast(100000000 as decimal(9, 0)) as hugeint)
            )
            // (2 * cast(cast({{ denominator }} as decimal(28, 8)) * cast(100000000 as decimal(9, 0)) as hugeint))
            as decimal(26, 0)
        )
        * cast(0.00000001 as decimal(9, 8))
        as decimal(18, 8)
    )
{%- endmacro %}
