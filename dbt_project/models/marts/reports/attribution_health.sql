/*
    Grain: one row per day on which anything happened: how far attribution can be trusted.

    Conversations count on the day they began, in the reporting time zone; `platform_conversations`
    is Meta's own count by account day, a check on ours, never a number of leads (E55). Outcomes
    count on the day they occurred, excluded leads on the day of their first touch, refused links on
    the day a phone number showed up with somebody else; int_capture__daily has what came in and
    what could not be used. Test traffic of platforms (rule R14) is in the counts of envelopes only.
*/

{% set parts = ['conversation_days', 'lead_days', 'conflict_days', 'outcome_days', 'spend_days', 'capture_days'] %}
with

conversations as (

    select
        conversations.*,
        {{ local_date('conversations.started_at', reporting_timezone()) }} as report_date,
        ads.resolution,
        touches.is_boosted_post_candidate,
        evidence.is_withheld

    from {{ ref('fct_conversations') }} as conversations
    left join {{ ref('fct_touches') }} as touches
        on conversations.opening_touch_id = touches.touch_id
    left join {{ ref('int_touches__classified') }} as evidence
        on conversations.opening_touch_id = evidence.touch_id
    left join {{ ref('dim_ads') }} as ads
        on
            conversations.platform = ads.platform
            and conversations.ad_id = ads.ad_id
    where not coalesce(conversations.is_test, false)

),

conversation_days as (

    select
        report_date,
        {% for name, condition in [
            ('with_referral', 'has_referral'),
            ('resolved', "resolution = 'resolved'"),
            ('pending', "resolution = 'pending'"),
            ('foreign_ads', "resolution = 'foreign'"),
            ('gone', "resolution = 'gone'"),
            ('ad_suspected', "basis = 'ad_suspected'"),
            ('withheld', 'is_withheld'),
            ('direct', "basis = 'direct'"),
            ('outbound', "basis = 'outbound'"),
            ('boosted_post_candidates', 'is_boosted_post_candidate'),
        ] %}
        sum(case when {{ condition }} then 1 else 0 end) as {{ name }},
        {% endfor %}
        count(*) as conversations

    from conversations
    group by report_date

),

outcomes as (

    select
        lead_id,
        {{ local_date('occurred_at', reporting_timezone()) }} as report_date
    from {{ ref('fct_outcomes') }}
    where not {{ is_test_person('lead_id') }}

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
        sum(case when is_excluded then 1 else 0 end) as excluded_leads,
        {% for who in ['crm', 'chat', 'crm_and_chat'] %}
        sum(case when qualified_by = '{{ who }}' and not is_excluded then 1 else 0 end)
            as qualified_by_{{ who }},
        {% endfor %}
        sum(case when is_disputed and not is_excluded then 1 else 0 end) as disputed_leads

    from {{ ref('fct_leads') }}
    where
        not coalesce(is_test, false)
        and (is_excluded or qualified_by is not null or is_disputed)
    group by first_touch_date

),

conflicts as (

    select {{ local_date('first_seen_later_at', reporting_timezone()) }} as report_date
    from {{ ref('identity_conflicts') }}

),

conflict_days as (

    select
        report_date,
        count(*) as refused_links

    from conflicts
    group by report_date

),

capture_days as (

    select * from {{ ref('int_capture__daily') }}

),

open_days as (

    select
        spend_date as report_date,
        max(spend_status) as spend_status,
        max(case when spend_status = 'unread' and platform = 'meta' then 1 else 0 end)
            as is_meta_unread

    from {{ ref('int_spend_days__unread') }}
    where unread_reason <> 'no_source'
    group by spend_date

),

spend_days as (

    select
        spend_date as report_date,
        sum(platform_conversations) as platform_conversations,
        {{ sum_or_null('spend_reporting') }} as account_spend_reporting,
        {{ sum_or_null("case when row_kind = 'unallocated' then spend_reporting else 0 end") }}
            as unallocated_reporting

    from {{ ref('fct_ad_spend') }}
    group by spend_date

),

freshness as (

    select
        min(spend_complete_through) as spend_complete_through,
        min(case when platform = 'meta' then spend_complete_through end)
            as meta_spend_complete_through,
        min(case when platform = 'google' then spend_complete_through end)
            as google_spend_complete_through

    from {{ ref('dim_accounts') }}

),

days as (

    {% for part in parts %}
    select report_date from {{ part }}
    {{ 'union distinct' if not loop.last }}
    {% endfor %}

)

select
    days.report_date,
    cast(coalesce(conversation_days.foreign_ads, 0) as bigint) as {{ adapter.quote('foreign') }},
    {% for part, counts in [
        ('conversation_days', [
            'conversations', 'with_referral', 'resolved', 'pending', 'gone', 'ad_suspected',
            'withheld', 'direct', 'outbound', 'boosted_post_candidates',
        ]),
        ('lead_days', [
            'excluded_leads', 'qualified_by_crm', 'qualified_by_chat', 'qualified_by_crm_and_chat',
            'disputed_leads',
        ]),
        ('conflict_days', ['refused_links']),
        ('outcome_days', ['outcomes', 'unmatched_outcomes']),
        ('capture_days', [
            'envelopes', 'quarantined_envelopes', 'quarantined_elements', 'unknown_field_changes',
            'unknown_field_changes_with_people', 'repeats', 'mended_values', 'web_leads',
            'link_codes_matched', 'link_code_conflicts',
        ]),
    ] %}
    {% for count in counts %}
    cast(coalesce({{ part }}.{{ count }}, 0) as bigint) as {{ count }},
    {% endfor %}
    {% endfor %}
    cast(
        case
            when coalesce(open_days.is_meta_unread, 0) = 0
                then coalesce(spend_days.platform_conversations, 0)
        end
        as bigint
    ) as platform_conversations,
    {% for amount in ['account_spend_reporting', 'unallocated_reporting'] %}
    cast(
        case
            when open_days.spend_status = 'unread' then null
            when spend_days.report_date is null then 0
            else spend_days.{{ amount }}
        end
        as decimal(18, 6)
    ) as {{ amount }},
    {% endfor %}
    capture_days.last_envelope_at,
    capture_days.unknown_fields,
    freshness.spend_complete_through,
    freshness.meta_spend_complete_through,
    freshness.google_spend_complete_through,
    coalesce(days.report_date <= freshness.spend_complete_through, false)
    and open_days.report_date is null as is_spend_complete,
    coalesce(open_days.spend_status, 'read') as spend_status

from days
cross join freshness
{% for part in parts + ['open_days'] %}
left join {{ part }} on days.report_date = {{ part }}.report_date
{% endfor %}
