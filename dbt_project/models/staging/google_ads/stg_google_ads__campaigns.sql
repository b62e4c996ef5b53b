/* Grain: one row per campaign and read that found it new or changed. */

select
    'google' as platform,
    campaign_id,
    customer_id as account_id,
    campaign_name,
    channel_type as objective,
    status,
    status as effective_status,
    read_no,
    read_at

from {{ source('google_ads', 'campaigns') }}
