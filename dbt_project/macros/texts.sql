{# How sentences for people show an amount, a share, a count, an ad or a platform. What is rounded is made
   a decimal first: of a double, engines round 535.045 differently. #}
{% macro money_text(amount, currency) -%}
    {{ currency }} || ' ' || cast(cast(round(cast({{ amount }} as decimal(26, 8)), 2) as decimal(18, 2)) as {{ dbt.type_string() }})
{%- endmacro %}

{# `12 %`, or with one decimal `12.5 %`. #}
{% macro percent_text(share, decimals=0) -%}
    cast(
        cast(round(cast(100 * {{ share }} as decimal(26, 8)), {{ decimals }}) as decimal(18, {{ decimals }}))
        as {{ dbt.type_string() }}
    ) || ' %'
{%- endmacro %}

{# `1 lead`, `2 leads`. #}
{% macro count_text(count, noun) -%}
    {{ count }} || case when {{ count }} = 1 then ' {{ noun }}' else ' {{ noun }}s' end
{%- endmacro %}

{% macro ad_text(name, ad_id) -%}
    '“' || coalesce({{ name }}, {{ ad_id }}) || '”'
{%- endmacro %}

{% macro platform_name(platform) -%}
    case {{ platform }}
            when 'meta' then 'Meta'
            when 'google' then 'Google'
            when 'microsoft' then 'Microsoft'
            else {{ platform }}
        end
{%- endmacro %}

{# Name of a report's row for leads without a campaign: at Meta an ad is missing, at the others a
   click. #}
{% macro unresolved_name(platform) -%}
    {{ platform_name(platform) }}
        || case when {{ platform }} = 'meta' then ' ads' else ' clicks' end || ' not resolved'
{%- endmacro %}
