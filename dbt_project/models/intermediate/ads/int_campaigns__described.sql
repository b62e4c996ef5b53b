/*
    Grain: one row per platform and campaign known from the API, from an ad or from spend (R8).

    Names come from the API, else from the latest spend at any level, because Performance Max has no
    ads. A campaign that the API does not list in any status, although an ad or spend names it, is
    deleted.
*/

with

campaigns as (

    select * from {{ source('ads', 'campaigns') }}

),

ads as (

    select * from {{ source('ads', 'ads') }}

),

spend_objects as (

    select * from {{ ref('int_spend_objects__latest') }}

),

latest_campaigns as (

    {{ latest_read('campaigns', ['platform', 'campaign_id']) }}

),

latest_ads as (

    {{ latest_read('ads', ['platform', 'ad_id']) }}

),

ranked_spend as (

    select
        *,
        row_number() over (
            partition by platform, campaign_id
            order by read_no desc, spend_date desc, object_key asc
        ) as recency

    from spend_objects
    where campaign_id is not null

),

accounts_by_ads as (

    select
        platform,
        campaign_id,
        min(account_id) as account_id

    from latest_ads
    where campaign_id is not null
    group by platform, campaign_id

),

ids as (

    select
        platform,
        campaign_id
    from latest_campaigns
    union distinct
    select
        platform,
        campaign_id
    from ranked_spend
    union distinct
    select
        platform,
        campaign_id
    from accounts_by_ads

),

described as (

    select
        ids.platform,
        ids.campaign_id,
        coalesce(latest_campaigns.campaign_name, ranked_spend.campaign_name) as campaign_name,
        coalesce(
            latest_campaigns.account_id, ranked_spend.account_id, accounts_by_ads.account_id
        ) as account_id,
        latest_campaigns.objective,
        latest_campaigns.buying_type,
        latest_campaigns.effective_status,
        latest_campaigns.campaign_id is null
        or coalesce(latest_campaigns.effective_status, '') in ('DELETED', 'REMOVED') as is_deleted,
        latest_campaigns.created_at

    from ids
    left join latest_campaigns
        on
            ids.platform = latest_campaigns.platform
            and ids.campaign_id = latest_campaigns.campaign_id
    left join ranked_spend
        on
            ids.platform = ranked_spend.platform
            and ids.campaign_id = ranked_spend.campaign_id
            and ranked_spend.recency = 1
    left join accounts_by_ads
        on
            ids.platform = accounts_by_ads.platform
            and ids.campaign_id = accounts_by_ads.campaign_id

)

select * from described
