{# Rule R13. An amount in the reporting currency: unchanged if it already is, else converted at the
   rate of the day; null without a rate (a check then names the currency). #}
{% macro to_reporting_currency(amount, currency, rate) -%}
    case
        when {{ currency }} = {{ reporting_currency() }} then cast({{ amount }} as decimal(18, 6))
        -- The wider type is needed: DuckDB keeps a product of two decimals(18) in 64 bits, enough
        -- for 16,000.
        else cast(cast({{ amount }} as decimal(24, 6)) * {{ rate }} as decimal(18, 6))
    end
{%- endmacro %}
