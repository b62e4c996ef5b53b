/*
    Grain: one row per platform and campaign that the API, an ad or spend ever named.

    `is_click_to_whatsapp` if any of its ad sets or ads sends people to WhatsApp; so are mixed
    campaigns, whose spend is separated by ad (E49).
*/

with

campaigns as (

    select * from {{ ref('int_campaigns__described') }}

),

adsets as (

    select * from {{ ref('int_adsets__described') }}

),

ads as (

    select * from {{ ref('int_ads__described') }}
    where resolution = 'resolved'

),

evidence as (

    select
        platform,
        campaign_id,
        is_whatsapp_destination as is_whatsapp,
        is_mixed_destination as is_mixed,
        -- Without a destination it is not known where it sends people.
        coalesce(upper(destination_type), 'UNDEFINED') <> 'UNDEFINED' as is_decided
    from adsets
    union all
    select
        platform,
        campaign_id,
        is_click_to_whatsapp as is_whatsapp,
        false as is_mixed,
        false as is_decided
    from ads

),

destinations as (

    select
        platform,
        campaign_id,
        max(case when is_whatsapp then 1 else 0 end) = 1 as is_click_to_whatsapp,
        max(case when is_mixed then 1 else 0 end) = 1
        or (
            max(case when is_whatsapp then 1 else 0 end) = 1
            and max(case when is_decided and not is_whatsapp then 1 else 0 end) = 1
        ) as has_mixed_destinations

    from evidence
    group by platform, campaign_id

),

final as (

    select
        campaigns.platform,
        campaigns.campaign_id,
        campaigns.campaign_name,
        campaigns.account_id,
        campaigns.objective,
        campaigns.buying_type,
        campaigns.effective_status,
        coalesce(destinations.is_click_to_whatsapp, false) as is_click_to_whatsapp,
        coalesce(destinations.has_mixed_destinations, false) as has_mixed_destinations,
        campaigns.is_deleted,
        campaigns.created_at

    from campaigns
    left join destinations
        on
            campaigns.platform = destinations.platform
            and campaigns.campaign_id = destinations.campaign_id

)

select * from final
