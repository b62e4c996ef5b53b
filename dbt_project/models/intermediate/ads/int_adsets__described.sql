/*
    Grain: one row per platform and ad set known from the API or from spend (rule R8).

    An ad set whose destination contains WhatsApp starts chats there, alone or among other
    destinations (E49). An instant form is its destination by name; of older ad sets, which have no
    destination, by their goal: leads that are no conversions elsewhere.
*/

with

adsets as (

    select * from {{ source('ads', 'adsets') }}

),

spend_objects as (

    select * from {{ ref('int_spend_objects__latest') }}

),

latest_adsets as (

    {{ latest_read('adsets', ['platform', 'adset_id']) }}

),

ranked_spend as (

    select
        *,
        row_number() over (
            partition by platform, adset_id
            order by read_no desc, spend_date desc, object_key asc
        ) as recency

    from spend_objects
    where adset_id is not null

),

ids as (

    select
        platform,
        adset_id
    from latest_adsets
    union distinct
    select
        platform,
        adset_id
    from ranked_spend

),

described as (

    select
        ids.platform,
        ids.adset_id,
        coalesce(latest_adsets.adset_name, ranked_spend.adset_name) as adset_name,
        coalesce(latest_adsets.campaign_id, ranked_spend.campaign_id) as campaign_id,
        coalesce(latest_adsets.account_id, ranked_spend.account_id) as account_id,
        latest_adsets.destination_type,
        latest_adsets.adset_id is not null as is_in_api,
        latest_adsets.optimization_goal,
        latest_adsets.effective_status,
        upper(coalesce(latest_adsets.destination_type, '')) like '%WHATSAPP%'
            as is_whatsapp_destination,
        upper(coalesce(latest_adsets.destination_type, '')) like '%WHATSAPP%'
        and upper(latest_adsets.destination_type) <> 'WHATSAPP' as is_mixed_destination,
        upper(coalesce(latest_adsets.destination_type, '')) in ('ON_AD', 'LEAD_FORM_MESSENGER')
        or (
            upper(coalesce(latest_adsets.destination_type, '')) in ('', 'UNDEFINED')
            and upper(coalesce(latest_adsets.optimization_goal, ''))
            in ('LEAD_GENERATION', 'QUALITY_LEAD')
        ) as is_lead_form_destination

    from ids
    left join latest_adsets
        on
            ids.platform = latest_adsets.platform
            and ids.adset_id = latest_adsets.adset_id
    left join ranked_spend
        on
            ids.platform = ranked_spend.platform
            and ids.adset_id = ranked_spend.adset_id
            and ranked_spend.recency = 1

)

select * from described
