{%- set reached_by = {
    'qualified': qualified_stages(),
    'opportunity': "('opportunity', 'won')",
    'won': "('won')",
} %}

/*
    Grain: one row per lead, stage of the funnel and occurrence: what may be sent to Meta.

    `qualified` and `opportunity` occur once per lead, at the earliest outcome that reached them; a
    later stage implies the earlier one (rule R9). `won` occurs once per purchase: a HubSpot deal is
    one purchase, however often it is won, with the amount of its last win; in other CRMs each won
    outcome is one. `conversion_event_id` hashes lead, stage and occurrence, so an older outcome that
    arrives later, or a corrected amount, changes a row and never its id.

    The click is that of the lead's latest touch with a click id at or before the outcome, or of its
    source touch, as `META_CONVERSION_CLICK` says (E70). Where it is an instant form (`leadgen_id`),
    every stage is told, whatever `META_CONVERSION_EVENTS` says, and first that the form was sent.

    `ineligible_reason` is the first of these that applies: `erased`, `consent_withdrawn` (E72),
    `excluded` (E20), `from_meta` (Meta found the outcome itself), `no_click_id`, `form_too_old` (over
    28 days), `click_too_old` (E67), `no_value` (won without value and currency; not of forms).
*/

with

touches as (

    select * from {{ ref('conversion_clicks') }}

),

leads as (

    select * from {{ ref('int_leads__sourced') }}

),

reached as (

    {% for stage in reached_by %}
    {{ 'union all' if not loop.first }}
    select
        *,
        source || '|' || event_id as outcome_key,
        '{{ stage }}' as event_stage,
        {% if stage == 'won' %}
        case
            when source = 'hubspot_deals' and event_id like 'deal:%'
                then source || '|deal:' || {{ dbt.split_part('event_id', "':'", 2) }}
            else source || '|' || event_id
        end as happening
        {% else %}
        lead_id as happening
        {% endif %}

    from {{ ref('fct_outcomes') }}
    where
        lead_id is not null
        and not coalesce(is_overruled, false)
        and funnel_stage in {{ reached_by[stage] }}
    {% endfor %}

),

ranked as (

    select
        *,
        row_number() over (
            partition by event_stage, happening
            order by
                occurred_at,
                {{ funnel_rank('funnel_stage') }},
                outcome_key
        ) as place,
        row_number() over (
            partition by event_stage, happening
            order by
                case when value is null then 1 else 0 end,
                occurred_at desc,
                outcome_key desc
        ) as place_of_value

    from reached

),

occurred as (

    select
        earliest.lead_id,
        earliest.event_stage as funnel_stage,
        case when earliest.event_stage = 'won' then earliest.happening else 'first' end as occurrence,
        earliest.outcome_key,
        earliest.source,
        cast(amounts.value as decimal(18, 6)) as value, -- noqa: RF04
        amounts.currency,
        earliest.occurred_at

    from ranked as earliest
    left join ranked as amounts
        on
            earliest.event_stage = 'won'
            and amounts.event_stage = 'won'
            and earliest.happening = amounts.happening
            and amounts.place_of_value = 1
    where earliest.place = 1

    union all

    select
        leads.lead_id,
        'lead' as funnel_stage,
        touches.touch_id as occurrence,
        touches.touch_id as outcome_key,
        'meta_lead_forms' as source, -- noqa: RF04
        null as value, -- noqa: RF04
        null as currency,
        -- Meta discards what is not after the form.
        {{ dbt.dateadd('second', 1, 'touches.occurred_at') }} as occurred_at

    from touches
    inner join leads
        on
            touches.person_key = leads.person_key
            and touches.lead_scope = leads.lead_scope
            and touches.lead_cycle = leads.lead_cycle
    where touches.leadgen_id is not null

),

events as (

    select
        occurred.*,
        {{ dbt.hash("occurred.lead_id || '|' || occurred.funnel_stage || '|' || occurred.occurrence") }}
            as conversion_event_id,
        leads.person_key,
        leads.lead_scope,
        leads.lead_cycle,
        leads.source_touch_id

    from occurred
    inner join leads
        on occurred.lead_id = leads.lead_id

),

clicks as (

    select
        events.conversion_event_id,
        touches.touch_id,
        touches.occurred_at as click_at,
        touches.ctwa_clid,
        touches.waba_id,
        touches.leadgen_id,
        touches.page_id,
        touches.phone_key,
        touches.bsuid_key,
        touches.email_key,
        row_number() over (
            partition by events.conversion_event_id
            order by
                touches.occurred_at desc,
                case when touches.has_referral then 1 else 0 end,
                touches.touch_id desc
        ) as place_from_end

    from events
    inner join touches
        on
            events.person_key = touches.person_key
            and events.lead_scope = touches.lead_scope
            and events.lead_cycle = touches.lead_cycle
            and events.occurred_at >= touches.occurred_at
            and touches.touch_id
            = case events.funnel_stage when 'lead' then events.occurrence else touches.touch_id end
    {% if conversion_click() == 'first_touch' %}
            and events.source_touch_id = touches.touch_id
    {% endif %}

),

conversion_outbox as (

    select
        events.conversion_event_id,
        events.lead_id,
        events.funnel_stage,
        events.occurrence,
        {{ dbt.hash('events.outcome_key') }} as outcome_key,
        clicks.touch_id,
        clicks.ctwa_clid,
        clicks.waba_id,
        clicks.leadgen_id,
        clicks.page_id,
        clicks.phone_key,
        clicks.bsuid_key,
        clicks.email_key,
        placed.campaign_id,
        placed.ad_id,
        case
            when coalesce(clicks.ctwa_clid, clicks.leadgen_id) = 'erased' then 'erased'
            when withdrawn.person_key is not null then 'consent_withdrawn'
            when excluded.lead_id is not null then 'excluded'
            when events.source = 'meta_automatic_events' then 'from_meta'
            when clicks.touch_id is null then 'no_click_id'
            when
                clicks.leadgen_id is not null
                and events.occurred_at > {{ dbt.dateadd('day', 28, 'clicks.click_at') }}
                then 'form_too_old'
            when clicks.leadgen_id is not null then null
            when
                events.occurred_at
                > {{ dbt.dateadd('day', conversion_click_days(), 'clicks.click_at') }}
                then 'click_too_old'
            when
                events.funnel_stage = 'won'
                and (events.value is null or events.currency is null)
                then 'no_value'
        end as ineligible_reason,
        events.value,
        events.currency,
        events.occurred_at,
        clicks.click_at

    from events
    left join clicks
        on
            events.conversion_event_id = clicks.conversion_event_id
            and clicks.place_from_end = 1
    left join {{ ref('int_touches__placed') }} as placed
        on clicks.touch_id = placed.touch_id
    left join {{ ref('int_consents__withdrawn') }} as withdrawn
        on events.person_key = withdrawn.person_key
    left join {{ ref('int_leads__excluded') }} as excluded
        on events.lead_id = excluded.lead_id
    where
        clicks.leadgen_id is not null
        or events.funnel_stage in ('{{ conversion_stages() | join("', '") }}')

)

select * from conversion_outbox
