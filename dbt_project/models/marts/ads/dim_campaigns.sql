/*
    Grain: one row per platform and campaign that the API, an ad or spend ever named.

    `is_click_to_whatsapp` when any of its ad sets or ads sends people to WhatsApp; a mixed campaign
    is one too, its spend is told apart by ad (E49).
*/

with

campaigns as (

    select * from {{ ref('int_campaigns__described') }}

),

adsets as (

    select * from {{ ref('int_adsets__described') }}

),

ads as (

    select * from {{ ref('int_ads__classified') }}

),

evidence as (

    select
        platform,
        campaign_id,
        is_whatsapp_destination as is_whatsapp
    from adsets
    union all
    select
        platform,
        campaign_id,
        is_click_to_whatsapp as is_whatsapp
    from ads

),

whatsapp_campaigns as (

    select distinct
        platform,
        campaign_id

    from evidence
    where is_whatsapp

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
        whatsapp_campaigns.campaign_id is not null as is_click_to_whatsapp,
        campaigns.is_deleted,
        campaigns.created_at

    from campaigns
    left join whatsapp_campaigns
        on
            campaigns.platform = whatsapp_campaigns.platform
            and campaigns.campaign_id = whatsapp_campaigns.campaign_id

)

select * from final
