/*
    Grain: one row per report key, account day and channel for spend that there may have been and
    that is not known, with a `spend_status` (rule R13).

    What was not read has null amounts, so that a total with it is not known; what was read before
    its day was over adds nothing and marks the day. Each account day in int_spend_days__unread that
    was not read at all has rows for the account itself (its spend outside known ads), for its ads
    that spent within 30 days before or after, and for the ads and campaigns of its leads of that
    day. Leads whose account is not known have rows without an account: any unread account of their
    platform may have brought them. A day that was read before it was over has rows for its leads
    only: what they cost so far is known, but not final. The same holds for `as_of` if it was not
    read yet, because it has hardly begun.
*/
with

open_days as (

    select * from {{ ref('int_spend_days__unread') }}

),

unread as (

    select * from open_days
    where
        spend_status = 'unread'
        and spend_date < {{ as_of() }}

),

open_platform_days as (

    select
        platform,
        spend_date,
        max(spend_status) as spend_status,
        coalesce(min(case when spend_status = 'unread' then unread_reason end), min(unread_reason))
            as unread_reason

    from open_days
    group by platform, spend_date

),

active as (

    select
        platform,
        account_id,
        ad_id,
        channel,
        campaign_id,
        adset_id,
        min(spend_date) as first_date,
        max(spend_date) as last_date

    from {{ ref('int_ad_spend__converted') }}
    where
        row_kind <> 'unallocated'
        and (spend <> 0 or impressions > 0)
    group by platform, account_id, ad_id, channel, campaign_id, adset_id

),

of_accounts as (

    select
        platform,
        account_id,
        'unallocated' as ad_id,
        spend_date,
        'unallocated' as row_kind,
        cast(null as {{ dbt.type_string() }}) as campaign_id,
        cast(null as {{ dbt.type_string() }}) as adset_id,
        platform || '_unallocated' as channel,
        spend_status,
        unread_reason
    from unread
    where account_id <> 'unknown'

),

of_ads as (

    select
        active.platform,
        active.account_id,
        active.ad_id,
        unread.spend_date,
        'ad' as row_kind,
        active.campaign_id,
        active.adset_id,
        active.channel,
        unread.spend_status,
        unread.unread_reason

    from active
    inner join unread
        on
            active.platform = unread.platform
            and active.account_id = unread.account_id
            and unread.spend_date
            >= {{ dbt.dateadd('day', '-' ~ var('spend_awaited_days'), 'active.first_date') }}
            and unread.spend_date
            <= {{ dbt.dateadd('day', var('spend_awaited_days'), 'active.last_date') }}

),

of_leads as (

    select
        leads.platform,
        leads.account_id,
        coalesce(leads.ad_id, 'campaign:' || leads.campaign_id, 'unknown') as ad_id,
        leads.first_touch_date as spend_date,
        'ad' as row_kind,
        coalesce(leads.campaign_id, 'unresolved') as campaign_id,
        leads.adset_id,
        leads.channel,
        coalesce(open_days.spend_status, open_platform_days.spend_status) as spend_status,
        coalesce(open_days.unread_reason, open_platform_days.unread_reason) as unread_reason

    from {{ ref('int_leads__explained') }} as leads
    left join open_days
        on
            leads.platform = open_days.platform
            and leads.account_id = open_days.account_id
            and leads.first_touch_date = open_days.spend_date
    left join open_platform_days
        on
            leads.platform = open_platform_days.platform
            and leads.first_touch_date = open_platform_days.spend_date
            and leads.account_id is null
    where
        open_days.platform is not null
        or open_platform_days.platform is not null

),

unknown as (

    select * from of_accounts
    union distinct
    select * from of_ads
    union distinct
    select * from of_leads

)

select
    platform,
    account_id,
    ad_id,
    spend_date,
    row_kind,
    campaign_id,
    adset_id,
    channel,
    cast(null as {{ dbt.type_string() }}) as currency,
    {% for amount in ['spend', 'spend_reporting'] %}
    cast(case when spend_status = 'partial' then 0 end as decimal(18, 6)) as {{ amount }},
    {% endfor %}
    cast(null as decimal(18, 8)) as exchange_rate,
    {% for count in counted_amounts() %}
    cast(case when spend_status = 'partial' then 0 end as bigint) as {{ count }},
    {% endfor %}
    cast(null as bigint) as source_rows,
    false as is_day_complete,
    cast(null as {{ type_instant() }}) as read_at,
    spend_status,
    unread_reason
from unknown
