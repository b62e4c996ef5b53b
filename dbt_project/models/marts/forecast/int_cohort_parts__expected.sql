{{ config(schema='intermediate', contract={'enforced': false}) }}
/*
    Grain: one row per origin, campaign within its channel (or ad), grain, period and horizon: what
    was known of the leads born in the period, how many more are expected to qualify within the
    horizon, and the variance of that.

    p is the share that qualifies within 90 days, F(a) the part of them that does so by age a. A lead
    that has not qualified by age a does so by the horizon H with p (F(H) - F(a)) / (1 - p F(a)). The
    sum over leads has their binomial variance and that of p, which is common to all leads of the
    campaign. The standard deviation that comes from not knowing F, which is worth at most 60
    qualified leads (`forecast_lag_events`) because sales teams change, is `lag_spread`; the part
    `lag_weight` of it is the campaign's own, as its lag is.
*/
with

known as (

    select * from {{ ref('int_cohort_leads__known') }}
    where cohort_date >= {{ dbt.dateadd('day', -121, 'origin') }}

),

horizons as (

    {{ listed('horizon_days', [30, 90]) }}

),

ends as (

    select
        lags.origin,
        lags.level,
        lags.entity_key,
        horizons.horizon_days,
        -- A lead's last day counts in part: 30 days end at the hour at which it was born.
        avg(lags.share) as share
    from {{ ref('int_cohort_lags__estimated') }} as lags
    inner join horizons
        on lags.lag_days between horizons.horizon_days - 1 and horizons.horizon_days
    where lags.level in ('unit', 'ad')
    group by lags.origin, lags.level, lags.entity_key, horizons.horizon_days

),

days as (

    {% for level, key in [('unit', 'unit_key'), ('ad', "unit_key || ':' || ad_id")] %}
    select
        origin,
        is_present,
        '{{ level }}' as level,
        {{ key }} as entity_key,
        channel,
        platform,
        account_id,
        campaign_id,
        {{ 'ad_id' if level == 'ad' else null_text() ~ ' as ad_id' }},
        cohort_date,
        seen_days,
        is_silent,
        observed_through,
        {% for days in [30, 90] %}
        sum(case when is_qualified_{{ days }}d then leads else 0 end) as qualified_{{ days }}d,
        sum(case when is_qualified_{{ days }}d and lag_days is not null then leads else 0 end)
            as qualified_so_far_{{ days }}d,
        {% endfor %}
        sum(leads) as leads,
        sum(case when lag_days is null then leads else 0 end) as open_leads
    from known
    {{ 'where is_present and ad_id is not null' if level == 'ad' }}
    group by
        origin, is_present, {{ key }}, channel, platform, account_id, campaign_id,
        {{ 'ad_id,' if level == 'ad' }} cohort_date, seen_days, is_silent, observed_through
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

aged as (

    select
        days.*,
        ends.horizon_days,
        case when ends.horizon_days = 30 then days.qualified_30d else days.qualified_90d end
            as qualified,
        case
            when ends.horizon_days = 30 then days.qualified_so_far_30d else days.qualified_so_far_90d
        end as qualified_so_far,
        coalesce(lags.share, 0) as share,
        case
            when days.seen_days < ends.horizon_days
                then greatest(ends.share - coalesce(lags.share, 0), 0)
            else 0
        end as share_to_come,
        case when days.seen_days < ends.horizon_days then days.open_leads else 0 end as candidates,
        ends.share as share_at_end,
        rates.rate,
        rates.rate * (1 - rates.rate) / (rates.strength + 1) as rate_variance,
        least(
            greatest(rates.events, rates.pool_events, 1), {{ var('forecast_lag_events') }}
        ) as lag_events,
        rates.events / (rates.events + {{ var('forecast_prior_events') }}) as lag_weight,
        rates.events,
        rates.pool_events,
        rates.pool_history_days,
        rates.whole_events,
        rates.whole_history_days

    from days
    inner join {{ ref('int_cohort_rates__estimated') }} as rates
        on
            days.origin = rates.origin
            and days.level = rates.level
            and days.entity_key = rates.entity_key
    inner join ends
        on
            days.origin = ends.origin
            and days.level = ends.level
            and days.entity_key = ends.entity_key
    left join {{ ref('int_cohort_lags__estimated') }} as lags
        on
            days.origin = lags.origin
            and days.level = lags.level
            and days.entity_key = lags.entity_key
            and least(days.seen_days, 90) = lags.lag_days

),

chances as (

    select
        *,
        1 - rate * share as not_before,
        rate * share_to_come / (1 - rate * share) as chance
    from aged

),

grains as (

    {{ listed('grain', ["'day'", "'week'", "'month'"]) }}

),

-- By entity: the rate and the lags are the same for all of its leads.
parts as (

    select
        chances.origin,
        chances.is_present,
        chances.level,
        chances.channel,
        chances.platform,
        chances.account_id,
        chances.campaign_id,
        chances.ad_id,
        grains.grain,
        {{ cohort_period('grains.grain', 'chances.cohort_date') }} as period_start,
        chances.horizon_days,
        chances.is_silent,
        min(chances.observed_through) as observed_through,
        min(chances.seen_days) as age_days,
        max(chances.events) as events,
        max(chances.pool_events) as pool_events,
        max(chances.pool_history_days) as pool_history_days,
        max(chances.whole_events) as whole_events,
        max(chances.whole_history_days) as whole_history_days,
        sum(chances.leads) as leads,
        sum(chances.qualified) as qualified,
        sum(chances.qualified_so_far) as qualified_so_far,
        sum(chances.candidates) as candidates,
        {{ exact_sum('chances.candidates * chances.chance') }} as to_come,
        {{ exact_sum('chances.candidates * chances.chance * (1 - chances.chance)') }}
        + power(
            {{ exact_sum('chances.candidates * chances.share_to_come / power(chances.not_before, 2)') }},
            2
        )
        * max(chances.rate_variance) as variance,
        {{ exact_sum(
            'chances.candidates * chances.rate * (1 - chances.rate * chances.share_at_end)'
            ~ ' / power(chances.not_before, 2)'
            ~ ' * sqrt(chances.share * chances.share_to_come / chances.lag_events)'
        ) }} as lag_spread,
        max(chances.lag_weight) as lag_weight

    from chances
    inner join grains
        on chances.is_present or grains.grain <> 'day'
    group by
        chances.origin, chances.is_present, chances.level, chances.entity_key, chances.channel,
        chances.platform, chances.account_id, chances.campaign_id, chances.ad_id, grains.grain,
        {{ cohort_period('grains.grain', 'chances.cohort_date') }}, chances.horizon_days, chances.is_silent

)

select * from parts
