{{ config(schema='intermediate', contract={'enforced': false}) }}
/*
    Grain: one row per origin and kind of lead (channel, platform, account, campaign, ad, cohort day,
    day of birth, and what was known of its qualifying): how many such leads there were.

    An origin is a day from which a forecast looks ahead: `as_of`, and one day in each of the 13 weeks
    (`forecast_origins`) that ended five weeks before it, from which the forecast is made once more
    with what was known then: what happened before the origin and had also been received before it.
    What became of those leads within 30 days is known now. Leads that came by an import of history
    are in no origin but `as_of`.

    Days are those of the reporting zone, and a lag of 3 days is the third day after that of the
    first touch, so that a day is either observed in whole or not at all; `cohort_date` alone is the
    account's own day (rule R10). `observed_through` is the last whole day of which the account's
    CRM has told: yesterday, or the last day on which a lead qualified if the leads since then should
    have brought three more. After ten days (`forecast_silent_days`) in which they should have
    brought six, the CRM counts as silent.
*/

with

origins as (

    {% for weeks in [0] + range(5, 5 + var('forecast_origins')) | list %}
    select
        cast({{ dbt.dateadd('day', -7 * weeks, as_of()) }} as date) as origin,
        {{ 'true' if loop.first else 'false' }} as is_present
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

received as (

    select
        source,
        event_id,
        min(received_at) as received_at
    from {{ source('event_log', 'outcomes') }}
    group by source, event_id

),

-- When it was first known that a lead qualifies.
told as (

    select
        outcomes.lead_id,
        min(greatest(outcomes.occurred_at, coalesce(received.received_at, outcomes.occurred_at)))
            as told_at

    from {{ ref('fct_outcomes') }} as outcomes
    left join received -- a chat rule's outcome is known at once
        on outcomes.source = received.source and outcomes.event_id = received.event_id
    where
        not coalesce(outcomes.is_overruled, false)
        and outcomes.funnel_stage in {{ qualified_stages() }}
    group by outcomes.lead_id

),

leads as (

    select
        leads.channel,
        leads.platform,
        leads.account_id,
        case when leads.platform is not null then coalesce(leads.campaign_id, 'unresolved') end
            as campaign_id,
        leads.ad_id,
        leads.is_backfilled,
        leads.first_touch_date as cohort_date,
        {{ local_date('leads.first_touch_at', reporting_timezone()) }} as born_on,
        {{ local_date('leads.qualified_at', reporting_timezone()) }} as qualified_on,
        {{ local_date('coalesce(told.told_at, leads.qualified_at)', reporting_timezone()) }}
            as told_on,
        leads.is_qualified_30d,
        leads.is_qualified_90d

    from {{ ref('fct_leads') }} as leads
    left join told
        on leads.lead_id = told.lead_id
    where
        not leads.is_excluded
        and not leads.is_test
        and leads.first_touch_date
        >= {{ dbt.dateadd('day', -(var('forecast_days') + 7 * (var('forecast_origins') + 5)), as_of()) }}

),

alike as (

    select
        channel,
        platform,
        account_id,
        campaign_id,
        ad_id,
        is_backfilled,
        cohort_date,
        born_on,
        -- Later ones no longer count for a forecast; 90 times 24 hours may end on the 91st day.
        case
            when is_qualified_90d or {{ dbt.datediff('born_on', 'qualified_on', 'day') }} <= 90
                then least(greatest({{ dbt.datediff('born_on', 'qualified_on', 'day') }}, 0), 90)
        end as lag_days,
        case when qualified_on is not null then told_on end as told_on,
        is_qualified_30d,
        is_qualified_90d,
        count(*) as leads

    from leads
    group by
        channel, platform, account_id, campaign_id, ad_id, is_backfilled, cohort_date, born_on,
        qualified_on, told_on, is_qualified_30d, is_qualified_90d

),

known as (

    select
        origins.origin,
        origins.is_present,
        alike.channel,
        alike.platform,
        alike.account_id,
        alike.campaign_id,
        alike.ad_id,
        coalesce(alike.platform || ':' || alike.account_id, alike.channel) as pool_key,
        alike.cohort_date,
        alike.born_on,
        alike.is_qualified_30d,
        alike.is_qualified_90d,
        alike.leads,
        case when origins.is_present or alike.told_on < origins.origin then alike.lag_days end
            as lag_days

    from alike
    inner join origins
        on
            alike.born_on >= {{ dbt.dateadd('day', -var('forecast_days'), 'origins.origin') }}
            and (origins.is_present or alike.born_on < origins.origin)
            and (origins.is_present or not alike.is_backfilled)

),

dated as (

    select
        *,
        case when lag_days is not null then cast({{ dbt.dateadd('day', 'lag_days', 'born_on') }} as date) end
            as event_on
    from known

),

last_events as (

    select
        origin,
        pool_key,
        max(event_on) as last_event_on,
        min(born_on) as first_born_on
    from dated
    group by origin, pool_key

),

recent as (

    select
        dated.origin,
        dated.pool_key,
        last_events.last_event_on,
        last_events.first_born_on,
        sum(case when dated.event_on is not null then dated.leads else 0 end) as pool_events,
        sum(
            case
                when dated.event_on > {{ dbt.dateadd('day', -56, 'last_events.last_event_on') }} then dated.leads
                else 0
            end
        ) as recent_events,
        sum(
            case
                when
                    dated.born_on > {{ dbt.dateadd('day', -56, 'last_events.last_event_on') }}
                    and dated.born_on <= last_events.last_event_on
                    then dated.leads
                else 0
            end
        ) as recent_leads,
        sum(
            case
                when dated.born_on > last_events.last_event_on and dated.born_on < dated.origin then dated.leads
                else 0
            end
        ) as leads_since

    from dated
    inner join last_events
        on
            dated.origin = last_events.origin
            and dated.pool_key = last_events.pool_key
    group by dated.origin, dated.pool_key, last_events.last_event_on, last_events.first_born_on

),

pools as (

    select
        *,
        cast(recent_events as double) / nullif(recent_leads, 0) * leads_since as events_missed,
        cast({{ dbt.dateadd('day', -1, 'origin') }} as date) as yesterday
    from recent

),

final as (

    select
        dated.*,
        pools.pool_events,
        pools.first_born_on,
        coalesce(
            pools.events_missed >= 6
            and {{ dbt.datediff('pools.last_event_on', 'pools.yesterday', 'day') }}
            > {{ var('forecast_silent_days') }},
            false
        ) as is_silent,
        case
            when pools.events_missed >= 3 then least(pools.last_event_on, pools.yesterday)
            else pools.yesterday
        end as observed_through

    from dated
    inner join pools
        on
            dated.origin = pools.origin
            and dated.pool_key = pools.pool_key

)

select
    *,
    channel || ':' || coalesce(platform, '') || ':' || coalesce(account_id, '') || ':'
    || coalesce(campaign_id, '') as unit_key,
    -- Days of its life, after the first, of which is known whether it qualified.
    {{ dbt.datediff('born_on', 'observed_through', 'day') }} as seen_days
from final
