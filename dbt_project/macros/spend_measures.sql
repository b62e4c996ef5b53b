{# Rules R11-R13: how the reports add up spend, over rows of int_ad_spend__reported. A sum is null
   if one of its parts is: converted spend without a rate, and anything of an account day that was
   not read. A sum without that part would be too low, not merely incomplete. `awaited` is the
   condition of the rows whose amount must not be missing. #}
{% macro sum_or_null(amount, awaited='true') -%}
    case when count({{ amount }}) = sum(case when {{ awaited }} then 1 else 0 end) then sum({{ amount }}) end
{%- endmacro %}

{# What a platform counts is unknown if it was not read; a row that was read may lack a count. #}
{% macro counted_or_null(count) -%}
    case when {{ is_any_unread() }} = 0 then coalesce(sum({{ count }}), 0) end
{%- endmacro %}

{% macro is_any_unread() -%}
    max(case when spend_status = 'unread' then 1 else 0 end)
{%- endmacro %}

{# Amounts of a report: money, then counts of the platform. #}
{% macro money_amounts() -%}
    {{ return(['spend', 'click_to_whatsapp_spend', 'spend_reporting']) }}
{%- endmacro %}

{% macro counted_amounts() -%}
    {{ return(['impressions', 'clicks', 'inline_link_clicks', 'platform_conversations']) }}
{%- endmacro %}

{# Sums of these amounts, how much of the day was read, and why not all of it. #}
{% macro spend_measures(amounts, awaited='true') -%}
        {% for amount in amounts %}
        {% if amount == 'click_to_whatsapp_spend' %}
        case
            when count(spend) = count(*)
                then sum(case when channel = 'click_to_whatsapp' then spend else 0 end)
        end as click_to_whatsapp_spend,
        {% elif amount in money_amounts() %}
        {{ sum_or_null(amount, awaited) }} as {{ amount }},
        {% else %}
        {{ counted_or_null(amount) }} as {{ amount }},
        {% endif %}
        {% endfor %}
        max(case when is_day_complete then 0 else 1 end) as has_partial_day,
        {{ is_any_unread() }} as has_unread_day,
        coalesce(min(case when spend_status = 'unread' then unread_reason end), min(unread_reason))
            as unread_reason
{%- endmacro %}

{# The same in a report's row. `spend` is a CTE grouped by the report's key. A row without spend has
   0, because its account was read completely; a row with an unknown part stays null. #}
{% macro spend_columns(spend, amounts) -%}
        {% for amount in amounts %}
        cast(
            case when {{ spend }}.report_date is null then 0 else {{ spend }}.{{ amount }} end
            as {{ 'decimal(18, 6)' if amount in money_amounts() else 'bigint' }}
        ) as {{ amount }}{{ ',' if not loop.last }}
        {% endfor %}
{%- endmacro %}

{# How far the spend of a report's row is known (rule R13), from these three expressions. #}
{% macro day_columns(report_date, is_unread, has_partial_day, unread_reason) -%}
        {%- set is_partial = '(' ~ has_partial_day ~ ' or ' ~ report_date ~ ' >= ' ~ as_of() ~ ')' %}
        {{ is_partial }} as is_partial_day,
        case
            when {{ is_unread }} then 'unread'
            when {{ is_partial }} then 'partial'
            else 'read'
        end as spend_status,
        coalesce({{ unread_reason }}, case when {{ is_partial }} then 'day_not_over' end)
            as spend_unread_reason
{%- endmacro %}

{# Channels that no platform bills, and the channel of unnamed ads, whose spend is in the other
   channels: what their leads cost is not known, which is not a cost of 0. #}
{% macro channels_without_spend() -%}
    ('direct', 'organic_social', 'outbound', 'web_other', 'unknown_ad')
{%- endmacro %}

{# Cost per lead and per qualified lead of a report's row. #}
{% macro cost_columns(row, amount, suffix='') -%}
        {{ exact_ratio(amount, row ~ '.leads') }} as cost_per_lead{{ suffix }},
        {{ exact_ratio(amount, row ~ '.qualified_leads') }} as cost_per_qualified_lead{{ suffix }}
{%- endmacro %}

{# Whether the installation tells what Meta's agent costs; if not, no sum has a part for it. #}
{% macro agent_costs_are_told() -%}
    (select count(*) from {{ ref('agent_costs') }}) > 0
{%- endmacro %}

{# The same with what the messages to these leads cost and, where that is told, what Meta's agent cost
   (rule R16), in the reporting currency; null where a part is not known. #}
{% macro loaded_cost_columns(row, amount) -%}
        {%- set agent = 'case when ' ~ agent_costs_are_told() ~ ' then ' ~ row ~ '.agent_cost_reporting else 0 end' -%}
        {%- set loaded = '(' ~ amount ~ ' + ' ~ row ~ '.message_cost_reporting + ' ~ agent ~ ')' -%}
        {{ exact_ratio(loaded, row ~ '.leads') }} as loaded_cost_per_lead,
        {{ exact_ratio(loaded, row ~ '.qualified_leads') }} as loaded_cost_per_qualified_lead
{%- endmacro %}

{# The amount that a cost is based on. Leads of an ad whose account is not known have none: what the
   ad spent is in another row, or in another company's account. #}
{% macro priced(row, amount) -%}
    case when {{ row }}.account_id is not null then {{ row }}.{{ amount }} end
{%- endmacro %}
