/*
    Grain: one row per platform, account, ad, account day and row_kind.

    Spend is kept even when its ad is no longer returned by the API (E32). What a campaign of
    Google's spent beyond its ad groups, and an ad group beyond its ads, stands in rows of kind
    `campaign` and `ad_group`, with a made-up ad id; what the account spent beyond all of them in
    one of kind `unallocated` (rule R12, E45): the rows of an account day add up to what was billed.
    Amounts are exact; `spend_reporting` is null where the day has no rate (rule R13). The channel
    of an ad's spend is what the ad does; unallocated spend has a channel of its own, which leads
    never have: counting it to another would be a guess.
*/

with

spend as (

    select * from {{ ref('int_ad_spend__daily') }}

),

days as (

    select * from {{ ref('int_insight_days__latest') }}

),

accounts as (

    select * from {{ ref('int_accounts__described') }}

),

rates as (

    select * from {{ ref('int_exchange_rates__daily') }}

),

ads as (

    select * from {{ ref('int_ads__described') }}

),

classified as (

    select * from {{ ref('int_ads__classified') }}

),

-- The zone is worked out per account day, not per row: it is by far the dearest function here.
ended_days as (

    select
        days.account_day_key,
        {{ local_date(
            'days.read_at',
            "case when accounts.is_timezone_known then accounts.timezone else "
            ~ reporting_timezone() ~ " end"
        ) }} > days.spend_date as is_day_complete

    from days
    left join accounts
        on
            days.platform = accounts.platform
            and days.account_id = accounts.account_id

),

final as (

    select
        spend.platform,
        spend.account_id,
        spend.ad_id,
        spend.spend_date,
        spend.row_kind,
        coalesce(spend.campaign_id, ads.campaign_id) as campaign_id,
        coalesce(spend.adset_id, ads.adset_id) as adset_id,
        case
            when spend.row_kind = 'unallocated' then spend.platform || '_unallocated'
            when spend.platform <> 'meta' then 'paid_search'
            when classified.is_click_to_whatsapp then 'click_to_whatsapp'
            when upper(coalesce(ads.destination_type, '')) = 'MESSENGER' then 'click_to_messenger'
            when upper(coalesce(ads.destination_type, '')) = 'INSTAGRAM_DIRECT'
                then 'click_to_instagram'
            else 'meta_web'
        end as channel,
        spend.currency,
        spend.spend,
        {{ to_reporting_currency('spend.spend', 'spend.currency', 'rates.rate') }}
            as spend_reporting,
        case when spend.currency <> {{ reporting_currency() }} then rates.rate end
            as exchange_rate,
        spend.impressions,
        spend.clicks,
        spend.inline_link_clicks,
        spend.platform_conversations,
        spend.source_rows,
        ended_days.is_day_complete,
        spend.read_at

    from spend
    inner join ended_days
        on spend.account_day_key = ended_days.account_day_key
    left join rates
        on
            spend.spend_date = rates.rate_date
            and spend.currency = rates.currency
    left join ads
        on
            spend.platform = ads.platform
            and spend.ad_id = ads.ad_id
    left join classified
        on
            spend.platform = classified.platform
            and spend.ad_id = classified.ad_id
    where
        spend.row_kind <> 'unallocated'
        or spend.spend <> 0

)

select * from final
