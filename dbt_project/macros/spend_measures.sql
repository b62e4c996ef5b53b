{# Rules R11-R13: what the reports add up of spend, over rows of fct_ad_spend. Converted spend is
   null as soon as one of its parts is: a sum without it would be too low, not merely incomplete. #}
{% macro sum_or_null(amount) -%}
    case when count({{ amount }}) = count(*) then sum({{ amount }}) end
{%- endmacro %}

{% macro spend_measures() -%}
        sum(spend) as spend,
        sum(case when channel = 'click_to_whatsapp' then spend else 0 end)
            as click_to_whatsapp_spend,
        {{ sum_or_null('spend_reporting') }} as spend_reporting,
        sum(impressions) as impressions,
        sum(clicks) as clicks,
        sum(inline_link_clicks) as inline_link_clicks,
        sum(platform_conversations) as platform_conversations,
        max(case when is_day_complete then 0 else 1 end) as has_partial_day
{%- endmacro %}

{# The same in a report's row. `spend` is a CTE grouped by the report's key; a row without spend has
   0, a row with spend that could not be converted stays null. #}
{% macro spend_columns(spend) -%}
        cast(coalesce({{ spend }}.spend, 0) as decimal(18, 6)) as spend,
        cast(coalesce({{ spend }}.click_to_whatsapp_spend, 0) as decimal(18, 6))
            as click_to_whatsapp_spend,
        cast(
            case when {{ spend }}.spend is null then 0 else {{ spend }}.spend_reporting end
            as decimal(18, 6)
        ) as spend_reporting,
        cast(coalesce({{ spend }}.impressions, 0) as bigint) as impressions,
        cast(coalesce({{ spend }}.clicks, 0) as bigint) as clicks,
        cast(coalesce({{ spend }}.inline_link_clicks, 0) as bigint) as inline_link_clicks,
        cast(coalesce({{ spend }}.platform_conversations, 0) as bigint) as platform_conversations
{%- endmacro %}
