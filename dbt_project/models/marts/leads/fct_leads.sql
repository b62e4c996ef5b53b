/*
    Grain: one row per lead: one person within one scope and one cycle (by default once, for good),
    born at their earliest touch (rule R5).

    `first_touch_date` is the day in the zone of the account whose ad or campaign brought the first
    touch, where that is known, else in the reporting zone (rule R10); a setting that gives the source to a
    later touch does not move it. What the ad is called is looked up by id at each run (rule R8);
    `ad_name_at_touch` is what it was called then. Leads that do not count stay here, marked (E20).
*/

with

leads as (

    select * from {{ ref('int_leads__sourced') }}

),

explained as (

    select * from {{ ref('int_leads__explained') }}

),

qualified as (

    select * from {{ ref('int_leads__qualified') }}

),

excluded as (

    select * from {{ ref('int_leads__excluded') }}

),

replied as (

    select * from {{ ref('int_leads__replied') }}

),

posts as (

    select * from {{ ref('int_posts__boosted') }}

),

placed as (

    select * from {{ ref('int_touches__placed') }}

),

pages as (

    select * from {{ ref('int_pages__classified') }}

),

ads as (

    select * from {{ ref('int_ads__described') }}

),

adsets as (

    select * from {{ ref('int_adsets__described') }}

),

ad_names as (

    select * from {{ ref('int_ad_names__versioned') }}

),

described as (

    select
        leads.lead_id,
        leads.person_id,
        leads.first_touch_id,
        leads.source_touch_id,
        leads.latest_touch_id,
        {{ local_date(
            'leads.first_touch_at',
            "coalesce(case when born.resolution = 'resolved' then born.account_timezone end, "
            ~ reporting_timezone() ~ ")"
        ) }} as first_touch_date,
        leads.business_number_id,
        leads.brand,
        leads.lead_cycle,
        leads.channel,
        leads.basis,
        leads.platform,
        placed.account_id,
        placed.campaign_id,
        placed.campaign_name,
        placed.adset_id,
        adsets.adset_name,
        placed.ad_id,
        ads.ad_name,
        ad_names.ad_name as ad_name_at_touch,
        placed.resolution,
        leads.latest_channel,
        leads.latest_basis,
        latest_placed.ad_id as latest_ad_id,
        latest_placed.campaign_id as latest_ad_campaign_id,
        pages.page_host,
        pages.utm_source,
        pages.utm_medium,
        pages.utm_campaign,
        leads.is_from_form,
        leads.country,
        leads.origin,
        leads.origin = 'history' as is_backfilled,
        leads.has_click_id,
        posts.post_id is not null as is_boosted_post_candidate,
        coalesce(posts.ads, 0) as boosted_post_ads,
        excluded.lead_id is not null as is_excluded,
        excluded.exclusion_reason,
        coalesce(replied.has_replied, false) as has_replied,
        qualified.current_stage,
        coalesce(qualified.is_qualified, false) as is_qualified,
        coalesce(qualified.is_currently_qualified, false) as is_currently_qualified,
        {% for days in cohort_windows() %}
        coalesce(
            qualified.qualified_at
            <= {{ dbt.dateadd('day', days, 'leads.first_touch_at') }},
            false
        ) as is_qualified_{{ days }}d,
        {% endfor %}
        coalesce(qualified.is_won, false) as is_won,
        case
            when qualified.qualified_at <= leads.first_touch_at then 0
            else
                cast(
                    floor(
                        {{ dbt.datediff(
                            'leads.first_touch_at', 'qualified.qualified_at', 'second'
                        ) }} / 86400
                    ) as bigint
                )
        end as days_to_qualify,
        cast(leads.touches as bigint) as touches,
        cast(leads.ad_touches as bigint) as ad_touches,
        coalesce(replied.inbound_messages, 0) as inbound_messages,
        cast(qualified.won_value as decimal(18, 6)) as won_value,
        qualified.won_currency,
        cast(qualified.won_value_reporting as decimal(18, 6)) as won_value_reporting,
        coalesce(qualified.has_unconverted_value, false) as has_unconverted_value,
        leads.first_touch_at,
        leads.source_touch_at,
        leads.latest_touch_at,
        leads.latest_ad_touch_at,
        qualified.qualified_at,
        qualified.won_at,
        leads.rule_version,
        explained.why

    from leads
    inner join explained
        on leads.lead_id = explained.lead_id
    inner join placed
        on leads.source_touch_id = placed.touch_id
    inner join placed as born
        on leads.first_touch_id = born.touch_id
    left join placed as latest_placed
        on leads.latest_ad_touch_id = latest_placed.touch_id
    left join pages
        on
            leads.is_from_page
            and leads.source_touch_id = pages.touch_id
    left join qualified
        on leads.lead_id = qualified.lead_id
    left join excluded
        on leads.lead_id = excluded.lead_id
    left join replied
        on
            leads.person_key = replied.person_key
            and leads.lead_scope = replied.lead_scope
            and leads.lead_cycle = replied.lead_cycle
    left join posts
        on
            posts.platform = 'meta'
            and leads.post_id = posts.post_id
    left join ads
        on
            placed.platform = ads.platform
            and placed.ad_id = ads.ad_id
    left join adsets
        on
            placed.platform = adsets.platform
            and placed.adset_id = adsets.adset_id
    left join ad_names
        on
            placed.platform = ad_names.platform
            and placed.ad_id = ad_names.ad_id
            and leads.source_touch_at >= ad_names.valid_from
            and (ad_names.valid_to is null or leads.source_touch_at < ad_names.valid_to)

)

select * from described
