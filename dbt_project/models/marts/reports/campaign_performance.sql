/*
    Grain: one row per day, platform and campaign with spend, or with leads whose first touch was
    that day.

    Cost per lead is a cohort figure (rule R11): the account day's spend divided by the leads whose
    first touch was that day, however late they qualified. Spend without a campaign is
    `unallocated:<account_id>`, leads whose ad or click has no known campaign are `unresolved`:
    nothing disappears (rule R12).
*/
{% set amounts = money_amounts() + counted_amounts() %}
with

spend as (

    select
        *,
        coalesce(campaign_id, 'unallocated:' || account_id) as campaign_key
    from {{ ref('int_ad_spend__reported') }}

),

leads as (

    select
        *,
        coalesce(campaign_id, 'unresolved') as campaign_key
    from {{ ref('fct_leads') }}
    where
        platform is not null
        and not coalesce(is_test, false)

),

{{ cohort_report(
    ['platform', 'campaign_key'], amounts, of_spend=['account_id', 'currency'], of_leads=['account_id']
) }},

described as (

    select
        by_key.*,
        case
            when by_key.campaign_key = 'unresolved' then {{ unresolved_name('by_key.platform') }}
            when campaigns.campaign_id is null
                then {{ platform_name('by_key.platform') }} || ' spend outside known campaigns'
            else campaigns.campaign_name
        end as campaign_name,
        -- Leads without a campaign may come from ads of several accounts, so the row belongs to
        -- none.
        case
            when by_key.campaign_key <> 'unresolved'
                then coalesce(by_key.spend_account_id, campaigns.account_id, by_key.leads_account_id)
        end as account_id,
        coalesce(
            campaigns.is_click_to_whatsapp,
            by_key.campaign_key = 'unresolved' and by_key.platform = 'meta'
        ) as is_click_to_whatsapp

    from by_key
    left join {{ ref('dim_campaigns') }} as campaigns
        on
            by_key.platform = campaigns.platform
            and by_key.campaign_key = campaigns.campaign_id

)

select
    described.report_date,
    described.platform,
    described.campaign_key as campaign_id,
    described.campaign_name,
    described.account_id,
    ad_accounts.account_name,
    described.is_click_to_whatsapp,
    described.channel_mix,
    coalesce(described.spend_currency, ad_accounts.currency) as currency,
    {{ cost_columns('described', priced('described', 'spend')) }},
    {{ cost_columns('described', priced('described', 'spend_reporting'), '_reporting') }},
    {{ loaded_cost_columns('described', priced('described', 'spend_reporting')) }},
    {{ cohort_report_columns('described', amounts) }}

from described
left join {{ ref('dim_accounts') }} as ad_accounts
    on
        described.platform = ad_accounts.platform
        and described.account_id = ad_accounts.account_id
