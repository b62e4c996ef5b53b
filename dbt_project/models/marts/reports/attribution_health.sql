/*
    Grain: one row per day on which anything happened: how far attribution can be trusted.

    Conversations stand on the day they began, in the reporting zone; `platform_conversations` is
    Meta's own count by account day, a control beside ours, never a lead count (E55); outcomes
    stand on the day they occurred, excluded leads on the day of their birth, refused links on the
    day a phone number showed up with somebody else, envelopes and quarantine on the day of receipt,
    repeats on the day of the message, web forms on the day they were sent, codes of coded links on
    the day of their message (`link_code_conflicts`: those that do not count, E21).
*/

with

conversations as (

    select
        *,
        {{ local_date('started_at', reporting_timezone()) }} as report_date
    from {{ ref('fct_conversations') }}

),

outcomes as (

    select
        *,
        {{ local_date('occurred_at', reporting_timezone()) }} as report_date
    from {{ ref('fct_outcomes') }}

),

ads as (

    select * from {{ ref('dim_ads') }}

),

spend as (

    select * from {{ ref('fct_ad_spend') }}

),

touches as (

    select * from {{ ref('fct_touches') }}

),

leads as (

    select * from {{ ref('fct_leads') }}

),

conflicts as (

    select
        *,
        {{ local_date('first_seen_later_at', reporting_timezone()) }} as report_date
    from {{ ref('identity_conflicts') }}

),

accounts as (

    select * from {{ ref('dim_accounts') }}

),

evidence as (

    select
        touch_id,
        is_withheld
    from {{ ref('int_touches__evidenced') }}

),

capture as (

    select * from {{ ref('int_capture__daily') }}

),

link_codes as (

    select
        link_codes.message_key,
        {{ local_date('link_codes.sent_at', reporting_timezone()) }} as report_date,
        coalesce(link_codes.state = 'matched' and touches.is_from_page, false) as is_matched

    from {{ ref('int_link_codes__matched') }} as link_codes
    left join touches
        on link_codes.message_key = touches.touch_id

),

conversation_days as (

    select
        conversations.report_date,
        count(*) as conversations,
        sum(case when conversations.has_referral then 1 else 0 end)
            as with_referral,
        sum(case when ads.resolution = 'resolved' then 1 else 0 end) as resolved,
        sum(case when ads.resolution = 'pending' then 1 else 0 end) as pending,
        sum(case when ads.resolution = 'foreign' then 1 else 0 end) as foreign_ads,
        sum(case when ads.resolution = 'gone' then 1 else 0 end) as gone,
        sum(case when conversations.basis = 'ad_suspected' then 1 else 0 end) as ad_suspected,
        sum(case when evidence.is_withheld then 1 else 0 end) as withheld,
        sum(case when conversations.basis = 'direct' then 1 else 0 end) as direct,
        sum(case when conversations.basis = 'outbound' then 1 else 0 end) as outbound,
        sum(case when touches.is_boosted_post_candidate then 1 else 0 end)
            as boosted_post_candidates

    from conversations
    left join touches
        on conversations.opening_touch_id = touches.touch_id
    left join evidence
        on conversations.opening_touch_id = evidence.touch_id
    left join ads
        on
            conversations.platform = ads.platform
            and conversations.ad_id = ads.ad_id
    group by conversations.report_date

),

outcome_days as (

    select
        report_date,
        count(*) as outcomes,
        sum(case when lead_id is null then 1 else 0 end) as unmatched_outcomes

    from outcomes
    group by report_date

),

lead_days as (

    select
        first_touch_date as report_date,
        count(*) as excluded_leads

    from leads
    where is_excluded
    group by first_touch_date

),

conflict_days as (

    select
        report_date,
        count(*) as refused_links

    from conflicts
    group by report_date

),

forms as (

    select {{ local_date('occurred_at', reporting_timezone()) }} as report_date
    from touches
    where origin = 'web'

),

form_days as (

    select
        report_date,
        count(*) as web_leads

    from forms
    group by report_date

),

link_code_days as (

    select
        report_date,
        sum(case when is_matched then 1 else 0 end) as link_codes_matched,
        sum(case when is_matched then 0 else 1 end) as link_code_conflicts

    from link_codes
    group by report_date

),

platform_days as (

    select
        spend_date as report_date,
        sum(platform_conversations) as platform_conversations,
        {{ sum_or_null('spend_reporting') }} as spend_reporting,
        {{ sum_or_null("case when row_kind = 'unallocated' then spend_reporting else 0 end") }}
            as unallocated_reporting

    from spend
    group by spend_date

),

freshness as (

    select
        min(spend_complete_through) as spend_complete_through,
        min(case when platform = 'meta' then spend_complete_through end)
            as meta_spend_complete_through,
        min(case when platform = 'google' then spend_complete_through end)
            as google_spend_complete_through

    from accounts

),

days as (

    select report_date from conversation_days
    union distinct
    select report_date from lead_days
    union distinct
    select report_date from conflict_days
    union distinct
    select report_date from outcome_days
    union distinct
    select report_date from platform_days
    union distinct
    select report_date from form_days
    union distinct
    select report_date from link_code_days
    union distinct
    select capture_date as report_date from capture

),

final as (

    select
        days.report_date,
        cast(coalesce(conversation_days.conversations, 0) as bigint) as conversations,
        cast(coalesce(conversation_days.with_referral, 0) as bigint) as with_referral,
        cast(coalesce(conversation_days.resolved, 0) as bigint) as resolved,
        cast(coalesce(conversation_days.pending, 0) as bigint) as pending,
        cast(coalesce(conversation_days.foreign_ads, 0) as bigint) as {{ adapter.quote('foreign') }},
        cast(coalesce(conversation_days.gone, 0) as bigint) as gone,
        cast(coalesce(conversation_days.ad_suspected, 0) as bigint) as ad_suspected,
        cast(coalesce(conversation_days.withheld, 0) as bigint) as withheld,
        cast(coalesce(conversation_days.direct, 0) as bigint) as direct,
        cast(coalesce(conversation_days.outbound, 0) as bigint) as outbound,
        cast(coalesce(conversation_days.boosted_post_candidates, 0) as bigint)
            as boosted_post_candidates,
        cast(coalesce(lead_days.excluded_leads, 0) as bigint) as excluded_leads,
        cast(coalesce(conflict_days.refused_links, 0) as bigint) as refused_links,
        cast(coalesce(platform_days.platform_conversations, 0) as bigint)
            as platform_conversations,
        cast(
            case when platform_days.report_date is null then 0 else platform_days.spend_reporting end
            as decimal(18, 6)
        ) as account_spend_reporting,
        cast(
            case
                when platform_days.report_date is null then 0
                else platform_days.unallocated_reporting
            end
            as decimal(18, 6)
        ) as unallocated_reporting,
        cast(coalesce(outcome_days.outcomes, 0) as bigint) as outcomes,
        cast(coalesce(outcome_days.unmatched_outcomes, 0) as bigint) as unmatched_outcomes,
        cast(coalesce(capture.envelopes, 0) as bigint) as envelopes,
        capture.last_envelope_at,
        cast(coalesce(capture.quarantined_envelopes, 0) as bigint) as quarantined_envelopes,
        cast(coalesce(capture.quarantined_elements, 0) as bigint) as quarantined_elements,
        cast(coalesce(capture.repeats, 0) as bigint) as repeats,
        cast(coalesce(form_days.web_leads, 0) as bigint) as web_leads,
        cast(coalesce(link_code_days.link_codes_matched, 0) as bigint) as link_codes_matched,
        cast(coalesce(link_code_days.link_code_conflicts, 0) as bigint) as link_code_conflicts,
        freshness.spend_complete_through,
        freshness.meta_spend_complete_through,
        freshness.google_spend_complete_through,
        coalesce(days.report_date <= freshness.spend_complete_through, false) as is_spend_complete

    from days
    cross join freshness
    left join conversation_days
        on days.report_date = conversation_days.report_date
    left join lead_days
        on days.report_date = lead_days.report_date
    left join conflict_days
        on days.report_date = conflict_days.report_date
    left join outcome_days
        on days.report_date = outcome_days.report_date
    left join platform_days
        on days.report_date = platform_days.report_date
    left join form_days
        on days.report_date = form_days.report_date
    left join link_code_days
        on days.report_date = link_code_days.report_date
    left join capture
        on days.report_date = capture.capture_date

)

select * from final
