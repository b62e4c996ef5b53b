/*
    Grain: one row per lead, stage of the funnel and occurrence: what Meta may be told.

    `conversion_event_id` hashes these three, so it is the same however often and in whatever order
    everything is built. The click is that of the lead's latest touch with a click id at or before
    the outcome, or of its source touch, as `META_CONVERSION_CLICK` says (E70).

    `ineligible_reason` is the first that holds of: `erased`, `consent_withdrawn` (E72), `excluded`
    (E20), `from_meta` (Meta found the outcome itself), `no_click_id`, `click_too_old` (E67),
    `no_value` (won without value and currency).
*/

with

occurred as (

    select * from {{ ref('int_conversions__occurred') }}

),

leads as (

    select * from {{ ref('int_leads__sourced') }}

),

touches as (

    select * from {{ ref('int_touches__classified') }}
    where evidence_key is not null

),

placed as (

    select * from {{ ref('int_touches__placed') }}

),

messages as (

    select
        message_key,
        waba_id,
        phone_key,
        bsuid_key,
        ctwa_clid

    from {{ ref('int_messages__deduplicated') }}
    where ctwa_clid <> ''

),

withdrawn as (

    select * from {{ ref('int_consents__withdrawn') }}

),

excluded as (

    select * from {{ ref('int_leads__excluded') }}

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
        messages.ctwa_clid,
        messages.waba_id,
        messages.phone_key,
        messages.bsuid_key,
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
    {% if conversion_click() == 'first_touch' %}
            and events.source_touch_id = touches.touch_id
    {% endif %}
    inner join messages
        on touches.evidence_key = messages.message_key

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
        clicks.phone_key,
        clicks.bsuid_key,
        placed.campaign_id,
        placed.ad_id,
        case
            when clicks.ctwa_clid = 'erased' then 'erased'
            when withdrawn.person_key is not null then 'consent_withdrawn'
            when excluded.lead_id is not null then 'excluded'
            when events.source = 'meta_automatic_events' then 'from_meta'
            when clicks.touch_id is null then 'no_click_id'
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
    left join placed
        on clicks.touch_id = placed.touch_id
    left join withdrawn
        on events.person_key = withdrawn.person_key
    left join excluded
        on events.lead_id = excluded.lead_id

)

select * from conversion_outbox
