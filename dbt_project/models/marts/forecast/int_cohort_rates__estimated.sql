{{ config(schema='intermediate', contract={'enforced': false}) }}
/*
    Grain: one row per origin, level (`unit`: a campaign within its channel; `ad`) and entity: the
    share of its leads that qualify within 90 days, as a beta variable with mean `rate`, worth
    `strength` leads.

    The prior is the account's rate and is worth 20 leads (`forecast_prior_leads`); each of the
    campaign's leads of the last 180 days counts with the share of the qualified that have qualified
    by its age, so that a lead of yesterday says nothing yet. An ad has its campaign's rate as prior,
    and a row from 20 leads on (`forecast_min_ad_leads`). Without an account the channel is the pool.
*/

with

known as (

    select * from {{ ref('int_cohort_leads__known') }}

),

lags as (

    select * from {{ ref('int_cohort_lags__estimated') }}

),

alike as (

    {% for level, key, parent in [
        ('pool', 'pool_key', null_text()), ('unit', 'unit_key', 'pool_key'),
        ('ad', "unit_key || ':' || ad_id", 'unit_key')
    ] %}
    select
        known.*,
        '{{ level }}' as level,
        {{ key }} as entity_key,
        {{ parent }} as parent_key,
        least(known.seen_days, 90) as age_days,
        coalesce(known.lag_days <= known.seen_days, false) as is_seen
    from known
    {{ 'where is_present and ad_id is not null' if level == 'ad' }}
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

-- What each has seen: qualified leads, and the leads that they are a share of.
exposed as (

    select
        alike.origin,
        alike.level,
        alike.entity_key,
        min(alike.parent_key) as parent_key,
        min({{ dbt.datediff('alike.first_born_on', 'alike.observed_through', 'day') }}) as history_days,
        sum(alike.leads) as all_leads,
        cast(sum(case when alike.is_seen then alike.leads else 0 end) as double) as qualified,
        {{ exact_sum('alike.leads * coalesce(lags.share, 0)') }} as exposure,
        coalesce(max(lags.events), 0) as events

    from alike
    -- Of a lead of today nothing has been observed.
    left join lags
        on
            alike.origin = lags.origin
            and alike.level = lags.level
            and alike.entity_key = lags.entity_key
            and alike.age_days = lags.lag_days
    group by alike.origin, alike.level, alike.entity_key

),

wholes as (

    select
        lags.origin,
        max(lags.events) as events,
        coalesce(max(lags.reached), 0) as rate,
        max(exposed.history_days) as history_days
    from lags
    inner join exposed
        on
            lags.origin = exposed.origin
            and exposed.level = 'pool'
    where
        lags.level = 'all'
        and lags.lag_days = 90
    group by lags.origin

),

pool_rates as (

    select
        exposed.*,
        exposed.events as pool_events,
        exposed.history_days as pool_history_days,
        wholes.events as whole_events,
        wholes.history_days as whole_history_days,
        (exposed.qualified + {{ var('forecast_prior_leads') }} * wholes.rate)
        / (greatest(exposed.exposure, exposed.qualified) + {{ var('forecast_prior_leads') }}) as rate

    from exposed
    inner join wholes on exposed.origin = wholes.origin
    where exposed.level = 'pool'

),

{% for level, parents in [('unit', 'pool_rates'), ('ad', 'unit_rates')] %}
{{ level }}_rates as (

    select
        exposed.*,
        parents.pool_events,
        parents.pool_history_days,
        parents.whole_events,
        parents.whole_history_days,
        greatest(exposed.exposure, exposed.qualified) + {{ var('forecast_prior_leads') }} as strength,
        (exposed.qualified + {{ var('forecast_prior_leads') }} * parents.rate)
        / (greatest(exposed.exposure, exposed.qualified) + {{ var('forecast_prior_leads') }}) as rate

    from exposed
    inner join {{ parents }} as parents
        on
            exposed.origin = parents.origin
            and exposed.parent_key = parents.entity_key
    where exposed.level = '{{ level }}'

),

{% endfor %}
rates as (

    select * from unit_rates
    union all
    select * from ad_rates
    where all_leads >= {{ var('forecast_min_ad_leads') }}

)

select
    origin,
    level,
    entity_key,
    all_leads,
    events,
    pool_events,
    pool_history_days,
    whole_events,
    whole_history_days,
    strength,
    -- Neither nobody nor everybody is ever certain.
    least(greatest(rate, 0.0005), 0.9995) as rate
from rates
