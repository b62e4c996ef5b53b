{{
    config(
        materialized='incremental', incremental_strategy='delete+insert', on_schema_change='fail',
        unique_key='report_date', pre_hook="{{ forget_vanished_days() }}"
    )
}}

/*
    Grain: one row per day, platform and ad with spend, or with leads whose first touch was that day.

    The same cohort figures as campaign_performance, for each ad and its creative. Unallocated spend
    is `unallocated:<account_id>`; leads of an ad that no referral or click named are `unknown`, or
    stand under their campaign if that is known (`campaign:<campaign_id>`), as its spend without an
    ad does. An ad that has had several creatives is one row: Meta reports no spend by creative, and
    none is made up (E35).

    Only days of which anything has changed are built again: rows of spend or leads, a name, or what
    is over by `as_of`. `day_digest` says of what a day was built.
*/
{% set amounts = ['spend', 'spend_reporting'] + counted_amounts() %}
{% set spend_key %}
case when row_kind = 'unallocated' then 'unallocated:' || account_id else ad_id end
{%- endset %}
{% set leads_key = "coalesce(ad_id, 'campaign:' || campaign_id, 'unknown')" %}
with

parts as (

    select
        rows_of_day.spend_date as report_date,
        rows_of_day.platform,
        {{ spend_key }} as ad_key,
        rows_of_day.campaign_id,
        rows_of_day.adset_id,
        {{ row_hash('rows_of_day') }} as row_part
    from {{ ref('int_ad_spend__reported') }} as rows_of_day
    union all
    select
        rows_of_day.first_touch_date as report_date,
        rows_of_day.platform,
        {{ leads_key }} as ad_key,
        rows_of_day.campaign_id,
        cast(null as {{ dbt.type_string() }}) as adset_id,
        {{ row_hash('rows_of_day') }} as row_part
    from {{ ref('fct_leads') }} as rows_of_day
    where {{ is_reported_lead() }}

),

{% set shown = [
    ('ads', 'dim_ads', 'ad_key', 'ad_id', [
        'ad_name', 'adset_id', 'adset_name', 'campaign_id', 'campaign_name', 'account_id',
        'creative_id', 'headline', 'body', 'media_type', 'thumbnail_url', 'effective_status',
        'resolution', 'is_click_to_whatsapp',
    ]),
    ('campaigns', 'dim_campaigns', 'campaign_id', 'campaign_id', ['campaign_name']),
    ('adsets', 'dim_ads', 'adset_id', 'adset_id', ['adset_name']),
] %}
{% for name, dim, key, id, columns in shown %}
shown_{{ name }} as (

    select
        platform,
        {{ id }},
        {{ rows_digest(columns) }} as part
    from {{ ref(dim) }}
    group by platform, {{ id }}

),
{% endfor %}

days as (

    select
        parts.report_date,
        {{ rows_digest(['row_part', 'shown_ads.part', 'shown_campaigns.part', 'shown_adsets.part']) }} as digest
    from parts
    {% for name, dim, key, id, columns in shown %}
    left join shown_{{ name }}
        on parts.platform = shown_{{ name }}.platform and parts.{{ key }} = shown_{{ name }}.{{ id }}
    {% endfor %}
    group by parts.report_date

),

-- The accounts are few: each counts for all days.
accounts as (

    select {{ rows_digest(['platform', 'account_id', 'account_name', 'currency']) }} as digest
    from {{ ref('dim_accounts') }}

),

digests as (

    select
        days.report_date,
        cast(days.digest as {{ dbt.type_string() }})
        || '/' || coalesce(cast(accounts.digest as {{ dbt.type_string() }}), '')
        || '/' || case when {{ agent_costs_are_told() }} then 'told' else '' end
        -- How much of what follows the day is over.
        || '/' || cast(
            case when days.report_date >= {{ as_of() }} then 0 else 1 end
            {%- for window in cohort_windows() %}
            + case when {{ dbt.dateadd('day', window, 'days.report_date') }} < {{ as_of() }} then 1 else 0 end
            {%- endfor %}
            as {{ dbt.type_string() }}
        ) as day_digest
    from days
    cross join accounts

),

days_to_build as (

    select digests.*
    from digests
    {% if is_incremental() %}
        left join (select distinct report_date, day_digest from {{ this }}) as built
            on digests.report_date = built.report_date and digests.day_digest = built.day_digest
        where built.report_date is null
    {% endif %}

),

spend as (

    select
        *,
        {{ spend_key }} as ad_key
    from {{ ref('int_ad_spend__reported') }}
    {% if is_incremental() %}
        where spend_date in (select days_to_build.report_date from days_to_build)
    {% endif %}

),

leads as (

    select
        *,
        {{ leads_key }} as ad_key
    from {{ ref('fct_leads') }}
    where
        {{ is_reported_lead() }}
    {% if is_incremental() %}
            and first_touch_date in (select days_to_build.report_date from days_to_build)
        {% endif %}

),

adsets as (

    select
        platform,
        adset_id,
        max(adset_name) as adset_name
    from {{ ref('dim_ads') }}
    where adset_id is not null
    group by platform, adset_id

),

{{ cohort_report(
    ['platform', 'ad_key'],
    amounts,
    of_spend=['account_id', 'currency', 'campaign_id', 'adset_id'],
    of_leads=['account_id', 'campaign_id']
) }},

described as (

    select
        by_key.*,
        case
            when by_key.ad_key = 'unknown' and by_key.platform = 'meta' then 'Ad not named by Meta'
            when by_key.ad_key = 'unknown'
                then {{ platform_name('by_key.platform') }} || ' click not resolved to an ad'
            when by_key.ad_key like 'campaign:%' then 'Campaign, without an ad'
            when by_key.ad_key like 'ad_group:%' then 'Ad group, without an ad'
            when ads.ad_id is null
                then {{ platform_name('by_key.platform') }} || ' spend outside known ads'
            else ads.ad_name
        end as ad_name,
        coalesce(ads.adset_id, by_key.spend_adset_id) as adset_id,
        coalesce(ads.adset_name, adsets.adset_name) as adset_name,
        coalesce(ads.campaign_id, by_key.spend_campaign_id, by_key.leads_campaign_id) as campaign_id,
        coalesce(ads.campaign_name, campaigns.campaign_name) as campaign_name,
        coalesce(by_key.spend_account_id, ads.account_id, by_key.leads_account_id) as account_id,
        ads.creative_id,
        ads.headline,
        ads.body,
        ads.media_type,
        ads.thumbnail_url,
        ads.effective_status,
        ads.resolution,
        coalesce(
            ads.is_click_to_whatsapp, by_key.ad_key = 'unknown' and by_key.platform = 'meta'
        ) as is_click_to_whatsapp

    from by_key
    left join {{ ref('dim_ads') }} as ads
        on
            by_key.platform = ads.platform
            and by_key.ad_key = ads.ad_id
    left join {{ ref('dim_campaigns') }} as campaigns
        on
            by_key.platform = campaigns.platform
            and coalesce(by_key.spend_campaign_id, by_key.leads_campaign_id) = campaigns.campaign_id
    left join adsets
        on
            by_key.platform = adsets.platform
            and by_key.spend_adset_id = adsets.adset_id

)

select
    described.report_date,
    described.platform,
    described.ad_key as ad_id,
    described.ad_name,
    described.adset_id,
    described.adset_name,
    described.campaign_id,
    described.campaign_name,
    described.account_id,
    ad_accounts.account_name,
    described.creative_id,
    described.headline,
    described.body,
    described.media_type,
    described.thumbnail_url,
    described.effective_status,
    described.resolution,
    described.is_click_to_whatsapp,
    described.channel_mix,
    coalesce(described.spend_currency, ad_accounts.currency) as currency,
    {{ cost_columns('described', priced('described', 'spend')) }},
    {{ cost_columns('described', priced('described', 'spend_reporting'), '_reporting') }},
    {{ loaded_cost_columns('described', priced('described', 'spend_reporting')) }},
    {{ cohort_report_columns('described', amounts) }},
    days_to_build.day_digest

from described
inner join days_to_build on described.report_date = days_to_build.report_date
left join {{ ref('dim_accounts') }} as ad_accounts
    on
        described.platform = ad_accounts.platform
        and described.account_id = ad_accounts.account_id
