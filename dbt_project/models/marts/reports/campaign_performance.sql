/*
    Grain: one row per day, platform and campaign with spend or with leads born that day.

    Cost per lead is a cohort figure (rule R11): the account day's spend over the leads whose first
    touch was that day, however late they qualified. Spend without a campaign is
    `unallocated:<account_id>`, leads whose ad or click has no campaign known to us `unresolved`:
    nothing disappears (rule R12).
*/

with

spend as (

    select
        *,
        coalesce(campaign_id, 'unallocated:' || account_id) as campaign_key
    from {{ ref('fct_ad_spend') }}

),

leads as (

    select
        *,
        coalesce(campaign_id, 'unresolved') as campaign_key
    from {{ ref('fct_leads') }}
    where platform is not null

),

campaigns as (

    select * from {{ ref('dim_campaigns') }}

),

accounts as (

    select * from {{ ref('dim_accounts') }}

),

spend_by_key as (

    select
        spend_date as report_date,
        platform,
        campaign_key,
        min(account_id) as account_id,
        min(currency) as currency,
        {{ spend_measures() }}

    from spend
    group by spend_date, platform, campaign_key

),

cohorts as (

    select
        first_touch_date as report_date,
        platform,
        campaign_key,
        min(account_id) as account_id,
        {{ cohort_measures() }}

    from leads
    group by first_touch_date, platform, campaign_key

),

channels as (

    select
        spend_date as report_date,
        platform,
        campaign_key,
        channel
    from spend
    union distinct
    select
        first_touch_date as report_date,
        platform,
        campaign_key,
        channel
    from leads

),

keys as (

    select
        report_date,
        platform,
        campaign_key,
        min(channel) as first_channel,
        count(*) as channels

    from channels
    group by report_date, platform, campaign_key

),

-- Listing is dear, and nearly every row has one channel only.
mixes as (

    select
        channels.report_date,
        channels.platform,
        channels.campaign_key,
        {{ dbt.listagg('channels.channel', "', '", 'order by channels.channel') }} as channel_mix

    from channels
    inner join keys
        on
            channels.report_date = keys.report_date
            and channels.platform = keys.platform
            and channels.campaign_key = keys.campaign_key
    where keys.channels > 1
    group by channels.report_date, channels.platform, channels.campaign_key

),

joined as (

    select
        keys.report_date,
        keys.platform,
        keys.campaign_key as campaign_id,
        case
            when keys.campaign_key = 'unresolved' then {{ unresolved_name('keys.platform') }}
            when campaigns.campaign_id is null
                then {{ platform_name('keys.platform') }} || ' spend outside known campaigns'
            else campaigns.campaign_name
        end as campaign_name,
        -- Leads without a campaign may be of ads of several accounts: the row belongs to none.
        case
            when keys.campaign_key <> 'unresolved'
                then coalesce(spend_by_key.account_id, campaigns.account_id, cohorts.account_id)
        end as account_id,
        coalesce(
            campaigns.is_click_to_whatsapp,
            keys.campaign_key = 'unresolved' and keys.platform = 'meta'
        ) as is_click_to_whatsapp,
        coalesce(mixes.channel_mix, keys.first_channel) as channel_mix,
        spend_by_key.currency,
        coalesce(spend_by_key.has_partial_day, 0) = 1 or keys.report_date >= {{ as_of() }}
            as is_partial_day,
        {{ spend_columns('spend_by_key') }},
        {{ cohort_columns('cohorts', 'keys.report_date') }}

    from keys
    left join mixes
        on
            keys.report_date = mixes.report_date
            and keys.platform = mixes.platform
            and keys.campaign_key = mixes.campaign_key
    left join spend_by_key
        on
            keys.report_date = spend_by_key.report_date
            and keys.platform = spend_by_key.platform
            and keys.campaign_key = spend_by_key.campaign_key
    left join cohorts
        on
            keys.report_date = cohorts.report_date
            and keys.platform = cohorts.platform
            and keys.campaign_key = cohorts.campaign_key
    left join campaigns
        on
            keys.platform = campaigns.platform
            and keys.campaign_key = campaigns.campaign_id

),

final as (

    select
        joined.report_date,
        joined.platform,
        joined.campaign_id,
        joined.campaign_name,
        joined.account_id,
        accounts.account_name,
        joined.is_click_to_whatsapp,
        joined.channel_mix,
        coalesce(joined.currency, accounts.currency) as currency,
        joined.spend,
        joined.click_to_whatsapp_spend,
        joined.spend_reporting,
        joined.impressions,
        joined.clicks,
        joined.inline_link_clicks,
        joined.platform_conversations,
        joined.leads,
        joined.excluded_leads,
        joined.replied_leads,
        joined.qualified_leads,
        joined.qualified_leads_7d,
        joined.qualified_leads_14d,
        joined.qualified_leads_30d,
        joined.qualified_leads_90d,
        joined.is_mature_7d,
        joined.is_mature_14d,
        joined.is_mature_30d,
        joined.is_mature_90d,
        joined.currently_qualified_leads,
        joined.won_leads,
        joined.won_value_reporting,
        {{ exact_ratio('joined.spend', 'joined.leads') }} as cost_per_lead,
        {{ exact_ratio('joined.spend', 'joined.qualified_leads') }} as cost_per_qualified_lead,
        {{ exact_ratio('joined.spend_reporting', 'joined.leads') }} as cost_per_lead_reporting,
        {{ exact_ratio('joined.spend_reporting', 'joined.qualified_leads') }}
            as cost_per_qualified_lead_reporting,
        joined.is_partial_day

    from joined
    left join accounts
        on
            joined.platform = accounts.platform
            and joined.account_id = accounts.account_id

)

select * from final
