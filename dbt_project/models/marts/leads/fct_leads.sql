/*
    Grain: one row per lead: one person within one scope and one cycle (by default once, for good),
    which begins with their earliest touch (rule R5).

    `first_touch_date` is the day in the time zone of the account whose ad or campaign brought the
    first touch, if that is known, else in the reporting zone (rule R10); a setting that gives the
    source to a later touch does not move it. The ad's name is looked up by id at each run (rule R8);
    `ad_name_at_touch` is the name it had then. Leads that do not count stay here, marked (E20).

    What became of the lead (rule R9): `is_qualified` if it ever reached qualified or a later stage,
    which implies it; `is_currently_qualified` if its latest stage is one of these: disqualified,
    lost or back to lead ends it. Of several at the same instant the later stage is the current one,
    so a CRM that moves a deal through stages in one second is not read backwards. A won value without
    a rate leaves the whole converted sum null, never a partial one (rule R13).
*/

with

leads as (

    select * from {{ ref('int_leads__sourced') }}

),

placed as (

    select * from {{ ref('int_touches__placed') }}

),

outcomes as (

    select
        *,
        row_number() over (
            partition by lead_id
            order by
                occurred_at desc,
                {{ funnel_rank('funnel_stage') }} desc,
                source desc,
                event_id desc
        ) as place_from_end

    from {{ ref('fct_outcomes') }}
    where
        lead_id is not null
        and funnel_stage is not null
        and not coalesce(is_overruled, false)

),

-- Who says that the lead qualified: a chat rule, whether or not it counts, or a CRM that knows it.
verdicts as (

    select
        lead_id,
        {% for name, of in [('chat', "= 'chat'"), ('crm', 'not in ' ~ not_crm_sources())] %}
        max(case when source {{ of }} and funnel_stage in {{ qualified_stages() }} then 1 else 0 end)
            as by_{{ name }},
        {% endfor %}
        max(case when source not in {{ not_crm_sources() }} then 1 else 0 end) as is_known_to_crm

    from {{ ref('fct_outcomes') }}
    where funnel_stage is not null
    group by lead_id

),

reached as (

    select
        lead_id,
        max(case when place_from_end = 1 then funnel_stage end) as current_stage,
        min(case when funnel_stage in {{ qualified_stages() }} then occurred_at end) as qualified_at,
        min(case when funnel_stage = 'won' then occurred_at end) as won_at,
        count(distinct case when funnel_stage = 'won' and value is not null then currency end)
            as won_currencies,
        max(case when funnel_stage = 'won' and value is not null then currency end) as won_currency,
        sum(case when funnel_stage = 'won' then value end) as won_value,
        sum(case when funnel_stage = 'won' then value_reporting end) as won_value_converted,
        max(
            case
                when funnel_stage = 'won' and value is not null and value_reporting is null then 1
                else 0
            end
        ) as has_unconverted_value

    from outcomes
    group by lead_id

),

{% for part, priced in [('message', 'int_messages__priced'), ('agent', 'int_agent_costs__spread')] %}
{{ part }}_costs as (

    select
        lead_id,
        case when count(cost_reporting) = count(*) then sum(cost_reporting) end as cost_reporting
    from {{ ref(priced) }}
    where lead_id is not null
    group by lead_id

),
{% endfor %}

described as (

    select
        leads.lead_id,
        leads.person_id,
        leads.first_touch_id,
        leads.source_touch_id,
        leads.latest_touch_id,
        explained.first_touch_date,
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
        placed.boosted_post_ads > 0 as is_boosted_post_candidate,
        placed.boosted_post_ads,
        excluded.lead_id is not null as is_excluded,
        excluded.exclusion_reason,
        leads.has_replied,
        reached.current_stage,
        reached.qualified_at is not null as is_qualified,
        case
            when reached.qualified_at is null then null
            when verdicts.by_chat = 1 and verdicts.by_crm = 1 then 'crm_and_chat'
            when verdicts.by_chat = 1 then 'chat'
            when verdicts.by_crm = 1 then 'crm'
            else 'meta'
        end as qualified_by,
        coalesce(
            verdicts.by_chat = 1 and verdicts.is_known_to_crm = 1 and verdicts.by_crm = 0, false
        ) as is_disputed,
        coalesce(reached.current_stage in {{ qualified_stages() }}, false) as is_currently_qualified,
        {% for days in cohort_windows() %}
        coalesce(
            reached.qualified_at
            <= {{ dbt.dateadd('day', days, 'leads.first_touch_at') }},
            false
        ) as is_qualified_{{ days }}d,
        {% endfor %}
        reached.won_at is not null as is_won,
        case
            when reached.qualified_at <= leads.first_touch_at then 0
            else
                cast(
                    floor(
                        {{ dbt.datediff(
                            'leads.first_touch_at', 'reached.qualified_at', 'second'
                        ) }} / 86400
                    ) as bigint
                )
        end as days_to_qualify,
        cast(leads.touches as bigint) as touches,
        cast(leads.ad_touches as bigint) as ad_touches,
        leads.inbound_messages,
        opened.first_response_seconds,
        opened.answered_by,
        {% for part in ['message', 'agent'] %}
        cast(
            case when {{ part }}_costs.lead_id is null then 0 else {{ part }}_costs.cost_reporting end
            as decimal(18, 6)
        ) as {{ part }}_cost_reporting,
        {% endfor %}
        -- A sum over several currencies means nothing.
        cast(case when reached.won_currencies = 1 then reached.won_value end as decimal(18, 6))
            as won_value,
        case when reached.won_currencies = 1 then reached.won_currency end as won_currency,
        cast(
            case when reached.has_unconverted_value = 0 then reached.won_value_converted end
            as decimal(18, 6)
        ) as won_value_reporting,
        coalesce(reached.has_unconverted_value, 0) = 1 as has_unconverted_value,
        leads.first_touch_at,
        leads.source_touch_at,
        leads.latest_touch_at,
        leads.latest_ad_touch_at,
        reached.qualified_at,
        reached.won_at,
        leads.rule_version,
        explained.why,
        {{ is_test_person('leads.person_key') }} as is_test

    from leads
    inner join {{ ref('int_leads__explained') }} as explained
        on leads.lead_id = explained.lead_id
    inner join placed
        on leads.source_touch_id = placed.touch_id
    left join placed as latest_placed
        on leads.latest_ad_touch_id = latest_placed.touch_id
    left join {{ ref('int_pages__classified') }} as pages
        on
            leads.is_from_page
            and leads.source_touch_id = pages.touch_id
    left join reached
        on leads.lead_id = reached.lead_id
    left join verdicts
        on leads.lead_id = verdicts.lead_id
    left join message_costs
        on leads.lead_id = message_costs.lead_id
    left join agent_costs
        on leads.lead_id = agent_costs.lead_id
    left join {{ ref('fct_conversations') }} as opened
        on leads.first_touch_id = opened.opening_touch_id
    left join {{ ref('int_leads__excluded') }} as excluded
        on leads.lead_id = excluded.lead_id
    left join {{ ref('int_ads__described') }} as ads
        on
            placed.platform = ads.platform
            and placed.ad_id = ads.ad_id
    left join {{ ref('int_adsets__described') }} as adsets
        on
            placed.platform = adsets.platform
            and placed.adset_id = adsets.adset_id
    left join {{ ref('dim_ad_names') }} as ad_names
        on
            placed.platform = ad_names.platform
            and placed.ad_id = ad_names.ad_id
            and leads.source_touch_at >= ad_names.valid_from
            and (ad_names.valid_to is null or leads.source_touch_at < ad_names.valid_to)

)

select * from described
