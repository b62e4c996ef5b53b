{{ config(schema='intermediate', contract={'enforced': false}) }}
/*
    Grain: one row per origin, level, entity and lag of 0 to 90 days: of the leads that qualify
    within 90 days, which share has done so by that day (`share`).

    Levels are a campaign within its channel (`unit`), an ad of it (`ad`; at `as_of` only), their
    account or, without one, channel (`pool`), and everything (`all`).

    The share is a life table (Kaplan and Meier, 1958): on each day of life, of the leads that had
    not qualified before and are old enough to be observed on it, those that did. So young leads
    count for the days that they have lived, instead of waiting until they are mature. Only what
    happened within the last 90 days (`forecast_exposure_days`) counts, so that the table follows a
    sales team that becomes slower. The entity's own table has the weight n / (n + 30) against its
    account's, n being its qualified leads (`forecast_prior_events`), and the account's likewise
    against that of everything; an account with too few of its own has no weight. A table goes as
    far as at least ten leads were observed; beyond, and for how much is beyond, the other's counts.
*/

with

bounded as (

    select
        origin,
        unit_key,
        pool_key,
        case when is_present then unit_key || ':' || ad_id end as ad_key,
        lag_days,
        leads,
        greatest(0, seen_days - {{ var('forecast_exposure_days') - 1 }}) as first_lag,
        least(seen_days, coalesce(lag_days, 90), 90) as last_lag

    from {{ ref('int_cohort_leads__known') }}

),

-- Leads are at risk from their first lag to their last, so they enter, and leave again. Those that
-- were never observed enter as nobody, so that their campaign is there.
moves as (

    {% for lag, at_risk, events, condition in [
        ('first_lag', 'leads', '0', 'first_lag <= last_lag'),
        ('last_lag + 1', '-leads', '0', 'first_lag <= last_lag and last_lag < 90'),
        ('lag_days', '0', 'leads', 'lag_days between first_lag and last_lag'),
        ('0', '0', '0', 'first_lag > last_lag'),
    ] %}
    select
        origin,
        unit_key,
        pool_key,
        ad_key,
        {{ lag }} as lag_days,
        {{ at_risk }} as at_risk,
        {{ events }} as events
    from bounded
    where {{ condition }}
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

moved as (

    {% for level, key in [
        ('all', "'all'"), ('pool', 'pool_key'), ('unit', 'unit_key'), ('ad', 'ad_key')
    ] %}
    select
        origin,
        '{{ level }}' as level,
        {{ key }} as entity_key,
        {{ null_text() if level == 'all' else 'min(pool_key)' }} as pool_key,
        lag_days,
        sum(at_risk) as at_risk,
        sum(events) as events
    from moves
    where {{ key }} is not null
    group by origin, {{ key if level != 'all' else "'all'" }}, lag_days
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

entities as (

    select
        origin,
        level,
        entity_key,
        min(pool_key) as pool_key,
        cast(sum(events) as double) as events
    from moved
    group by origin, level, entity_key

),

-- 0 to 90: as many days as January to March of a leap year.
lags as (

    select {{ dbt.datediff("cast('2000-01-01' as date)", 'day_date', 'day') }} as lag_days
    from ({{ days_until("cast('2000-01-01' as date)", "cast('2000-03-31' as date)") }}) as spine

),

risks as (

    select
        entities.origin,
        entities.level,
        entities.entity_key,
        entities.pool_key,
        entities.events as all_events,
        lags.lag_days,
        coalesce(moved.events, 0) as events,
        sum(coalesce(moved.at_risk, 0)) over (
            partition by entities.origin, entities.level, entities.entity_key
            order by lags.lag_days
            rows between unbounded preceding and current row
        ) as at_risk

    from entities
    cross join lags
    left join moved
        on
            entities.origin = moved.origin
            and entities.level = moved.level
            and entities.entity_key = moved.entity_key
            and lags.lag_days = moved.lag_days

),

tables as (

    select
        *,
        1 - exp(
            sum(
                case when events > 0 then ln(greatest(1 - cast(events as double) / at_risk, 1e-9)) else 0 end
            ) over (
                partition by origin, level, entity_key
                order by lag_days
                rows between unbounded preceding and current row
            )
        ) as qualified_share
    from risks

),

measured as (

    select
        *,
        max(case when at_risk >= 10 then lag_days end)
            over (partition by origin, level, entity_key) as last_lag
    from tables

),

own as (

    select
        *,
        max(case when lag_days <= last_lag then qualified_share end)
            over (partition by origin, level, entity_key) as reached,
        case
            when level = 'pool' and all_events < {{ var('forecast_min_qualified') }} then 0
            else all_events / (all_events + {{ var('forecast_prior_events') }})
        end as weight
    from measured

),

wholes as (

    select
        *,
        case
            when reached > 0 and lag_days <= last_lag then qualified_share / reached
            else 1
        end as share
    from own
    where level = 'all'

),

{% for name, levels, others in [
    ('pools', "('pool')", 'wholes'), ('units', "('unit', 'ad')", 'pools')
] %}
{{ name }}_beside as (

    select
        own.*,
        wider.share as other_share,
        max(case when own.lag_days = own.last_lag then wider.share end)
            over (partition by own.origin, own.level, own.entity_key) as other_reached
    from own
    inner join {{ others }} as wider
        on
            own.origin = wider.origin
            and own.lag_days = wider.lag_days
            {{ 'and own.pool_key = wider.entity_key' if others == 'pools' }}
    where own.level in {{ levels }}

),

{{ name }} as (

    select
        *,
        case
            when reached > 0 and lag_days <= last_lag
                then weight * qualified_share / reached * other_reached + (1 - weight) * other_share
            else other_share
        end as share
    from {{ name }}_beside

),

{% endfor %}
estimated as (

    {% for name in ['wholes', 'pools', 'units'] %}
    select
        origin,
        level,
        entity_key,
        lag_days,
        all_events as events,
        reached,
        share
    from {{ name }}
    {{ 'union all' if not loop.last }}
    {% endfor %}

)

select * from estimated
