{{ config(materialized='view') }}

/*
    Grain: one row per conversion event: sent, to be sent, or not and why (E67, E71).

    A view, so that publication, which comes after sending, shows what became of each event. For
    events in the ledger the ledger counts, for all others the outbox. An event that was sent stays,
    even if leads were joined or its outcome was corrected since.
*/

with

conversion_events as (

    select
        coalesce(states.conversion_event_id, outbox.conversion_event_id) as conversion_event_id,
        coalesce(states.lead_id, outbox.lead_id) as lead_id,
        coalesce(
            states.event_name,
            case when outbox.leadgen_id is not null then outbox.funnel_stage end,
            {{ conversion_name('outbox.funnel_stage') }}
        ) as event_name,
        coalesce(states.funnel_stage, outbox.funnel_stage) as funnel_stage,
        coalesce(
            states.status,
            case when outbox.ineligible_reason is null then 'pending' else 'skipped' end
        ) as status,
        case
            when states.conversion_event_id is null then outbox.ineligible_reason
            else states.reason
        end as reason,
        states.dataset_id,
        outbox.campaign_id,
        outbox.ad_id,
        case when states.conversion_event_id is null then outbox.value else states.value end
            as value, -- noqa: RF04
        case when states.conversion_event_id is null then outbox.currency else states.currency end
            as currency,
        coalesce(states.occurred_at, outbox.occurred_at) as occurred_at,
        outbox.click_at,
        states.sent_at

    from {{ ref('conversion_outbox') }} as outbox
    full outer join {{ source('activation', 'conversion_states') }} as states
        on outbox.conversion_event_id = states.conversion_event_id

)

select * from conversion_events
