/*
    Grain: one row per platform, account, ad, account day and row_kind of spend that was read: the
    rows of fct_ad_spend. `spend_reporting` is null if the day has no rate (rule R13).

    The channel of an ad's spend follows from where the ad leads; unallocated spend has a channel of
    its own, which leads never have: adding it to another would be a guess. An unallocated row of
    zero is left out.

    Nothing here depends on `as_of`, so these rows, which are many, stay as they are when nothing but
    the day has changed.
*/

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
        when ads.is_click_to_whatsapp then 'click_to_whatsapp'
        when upper(coalesce(ads.destination_type, '')) = 'MESSENGER' then 'click_to_messenger'
        when upper(coalesce(ads.destination_type, '')) = 'INSTAGRAM_DIRECT'
            then 'click_to_instagram'
        when ads.is_lead_form then 'meta_lead_form'
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
    read_ranges.platform is not null as is_day_complete,
    spend.read_at

from {{ ref('int_ad_spend__daily') }} as spend
left join {{ ref('int_spend_reads__merged') }} as read_ranges
    on
        read_ranges.is_complete
        and spend.platform = read_ranges.platform
        and spend.account_id = read_ranges.account_id
        and spend.spend_date >= read_ranges.first_date
        and spend.spend_date <= read_ranges.last_date
left join {{ ref('int_exchange_rates__daily') }} as rates
    on
        spend.spend_date = rates.rate_date
        and spend.currency = rates.currency
left join {{ ref('int_ads__described') }} as ads
    on
        spend.platform = ads.platform
        and spend.ad_id = ads.ad_id
where
    spend.row_kind <> 'unallocated'
    or spend.spend <> 0
