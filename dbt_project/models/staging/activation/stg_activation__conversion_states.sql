/* Grain: one row per conversion event that the ledger knows of, sent or not. */

select
    conversion_event_id,
    lead_id,
    funnel_stage,
    event_name,
    dataset_id,
    status,
    reason,
    occurred_at,
    sent_at,
    value,
    currency

from {{ source('activation', 'conversion_states') }}
