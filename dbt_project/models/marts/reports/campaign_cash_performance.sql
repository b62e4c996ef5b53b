/*
    Grain: one row per day, platform and campaign with spend, or with qualifications or wins that
    happened that day.

    The cash view beside the cohort view (rule R11): what was spent on a day next to what happened
    on it, whenever the leads first wrote. A lead qualifies once and is won once, on the day of its
    first such outcome; won value counts on the day of each won outcome. Days are those of the
    lead's ad account, else of the reporting time zone (rule R10). Its counts have other names
    because `cost_per_qualification` is not `cost_per_qualified_lead`: today's spend did not buy the
    leads that qualify today. Over all days both views count the same leads; excluded leads are in
    neither.
*/
with

spend as (

    select
        *,
        coalesce(campaign_id, 'unallocated:' || account_id) as campaign_key
    from {{ ref('int_ad_spend__reported') }}
    -- These rows are on the days of first touches, not of qualifications.
    where unread_reason is null or unread_reason not in ('no_source', 'day_not_over')

),

spend_by_key as (

    {{ spend_by_key(
        ['platform', 'campaign_key'], ['spend', 'spend_reporting'], least=['account_id', 'currency']
    ) }}

),

leads as (

    select
        leads.lead_id,
        leads.platform,
        coalesce(leads.campaign_id, 'unresolved') as campaign_key,
        leads.account_id,
        leads.qualified_at,
        leads.won_at,
        coalesce(
            case
                when leads.resolution = 'resolved' and ad_accounts.is_timezone_known then ad_accounts.timezone
            end,
            {{ reporting_timezone() }}
        ) as timezone
    from {{ ref('fct_leads') }} as leads
    left join {{ ref('dim_accounts') }} as ad_accounts
        on leads.platform = ad_accounts.platform and leads.account_id = ad_accounts.account_id
    where
        leads.platform is not null
        and not coalesce(leads.is_excluded, false)

),

happened as (

    {% for moment, is_win in [('qualified_at', 0), ('won_at', 1)] %}
    select
        {{ local_date(moment, 'timezone') }} as report_date,
        platform,
        campaign_key,
        account_id,
        {{ 1 - is_win }} as qualifications,
        {{ is_win }} as wins,
        cast(0 as decimal(18, 6)) as won_value,
        0 as has_unconverted_value
    from leads
    where {{ moment }} is not null
    union all
    {% endfor %}
    select
        {{ local_date('outcomes.occurred_at', 'leads.timezone') }} as report_date,
        leads.platform,
        leads.campaign_key,
        leads.account_id,
        0 as qualifications,
        0 as wins,
        coalesce(outcomes.value_reporting, 0) as won_value,
        case when outcomes.value is not null and outcomes.value_reporting is null then 1 else 0 end
            as has_unconverted_value
    from {{ ref('fct_outcomes') }} as outcomes
    inner join leads
        on outcomes.lead_id = leads.lead_id
    where outcomes.funnel_stage = 'won' and not coalesce(outcomes.is_overruled, false)

),

happened_by_key as (

    select
        report_date,
        platform,
        campaign_key,
        min(account_id) as account_id,
        sum(qualifications) as qualifications,
        sum(wins) as wins,
        -- A sum without a value that has no rate would be too low: it is null (rule R13).
        case when max(has_unconverted_value) = 0 then sum(won_value) end as won_value
    from happened
    group by report_date, platform, campaign_key

),

joined as (

    select
        coalesce(spend_by_key.report_date, happened_by_key.report_date) as report_date,
        coalesce(spend_by_key.platform, happened_by_key.platform) as platform,
        coalesce(spend_by_key.campaign_key, happened_by_key.campaign_key) as campaign_key,
        campaigns.campaign_id is not null as is_known_campaign,
        campaigns.campaign_name,
        coalesce(spend_by_key.account_id, happened_by_key.account_id, campaigns.account_id)
            as account_id,
        spend_by_key.currency,
        spend_by_key.report_date is not null as has_spend,
        spend_by_key.spend,
        spend_by_key.spend_reporting,
        coalesce(spend_by_key.has_partial_day, 0) = 1 as has_partial_day,
        coalesce(spend_by_key.has_unread_day, 0) = 1 as has_unread_day,
        spend_by_key.unread_reason,
        cast(coalesce(happened_by_key.qualifications, 0) as bigint) as qualifications,
        cast(coalesce(happened_by_key.wins, 0) as bigint) as wins,
        cast(
            case when happened_by_key.wins is null then 0 else happened_by_key.won_value end
            as decimal(18, 6)
        ) as won_value
    from spend_by_key
    full outer join happened_by_key
        on
            spend_by_key.report_date = happened_by_key.report_date
            and spend_by_key.platform = happened_by_key.platform
            and spend_by_key.campaign_key = happened_by_key.campaign_key
    left join {{ ref('dim_campaigns') }} as campaigns
        on
            coalesce(spend_by_key.platform, happened_by_key.platform) = campaigns.platform
            and coalesce(spend_by_key.campaign_key, happened_by_key.campaign_key) = campaigns.campaign_id

),

-- How far the account's day was read; for leads without an account, that of every account of the
-- platform.
open_days as (

    select * from {{ ref('int_spend_days__unread') }}
    union all
    select
        platform,
        '' as account_id,
        spend_date,
        max(spend_status) as spend_status,
        min(unread_reason) as unread_reason
    from {{ ref('int_spend_days__unread') }}
    group by platform, spend_date

),

account_reads as (

    select
        platform,
        account_id,
        min(first_date) as first_date,
        max(last_date) as last_date
    from {{ ref('int_spend_reads__merged') }}
    group by platform, account_id

),

-- If something happened on a day without a spend row of the campaign, the account's day says how
-- far its spend is known. Days of an account that has left, or that is only known from its leads,
-- are not expected, yet they were not read either. Of a platform that was never read no day is
-- known.
judged as (

    select
        joined.*,
        case
            when joined.has_spend then null
            when open_days.unread_reason is not null then open_days.unread_reason
            when joined.platform not in (select reads.platform from account_reads as reads)
                then case when joined.platform in ('meta', 'google') then 'never_read' else 'no_source' end
            when joined.account_id is null then null
            when account_reads.platform is null then 'never_read'
            when joined.report_date < account_reads.first_date then 'before_first_read'
            when joined.report_date > account_reads.last_date then 'after_last_read'
        end as day_reason,
        coalesce(open_days.spend_status, 'unread') as day_status
    from joined
    left join open_days
        on
            joined.platform = open_days.platform
            and coalesce(joined.account_id, '') = open_days.account_id
            and joined.report_date = open_days.spend_date
    left join account_reads
        on joined.platform = account_reads.platform and joined.account_id = account_reads.account_id

),

known as (

    select
        *,
        {% for amount in ['spend', 'spend_reporting'] %}
        case
            when has_spend then {{ amount }}
            when day_reason is null or day_status <> 'unread' then cast(0 as decimal(18, 6))
        end as known_{{ amount }},
        {% endfor %}
        {{ day_columns(
            'report_date',
            "(has_unread_day or (day_reason is not null and day_status = 'unread'))",
            '(has_partial_day or day_reason is not null)',
            'coalesce(unread_reason, day_reason)'
        ) }}
    from judged

)

select
    known.report_date,
    known.platform,
    known.campaign_key as campaign_id,
    case
        when known.campaign_key = 'unresolved' then {{ unresolved_name('known.platform') }}
        when not known.is_known_campaign
            then {{ platform_name('known.platform') }} || ' spend outside known campaigns'
        else known.campaign_name
    end as campaign_name,
    known.account_id,
    ad_accounts.account_name,
    coalesce(known.currency, ad_accounts.currency) as currency,
    cast(known.known_spend as decimal(18, 6)) as spend,
    cast(known.known_spend_reporting as decimal(18, 6)) as spend_reporting,
    known.qualifications,
    known.wins,
    known.won_value as won_value_cash_reporting,
    {{ exact_ratio(priced('known', 'known_spend'), 'known.qualifications') }}
        as cost_per_qualification,
    {{ exact_ratio(priced('known', 'known_spend_reporting'), 'known.qualifications') }}
        as cost_per_qualification_reporting,
    known.is_partial_day,
    known.spend_status,
    known.spend_unread_reason

from known
left join {{ ref('dim_accounts') }} as ad_accounts
    on known.platform = ad_accounts.platform and known.account_id = ad_accounts.account_id
