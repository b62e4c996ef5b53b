{{ config(schema='intermediate', contract={'enforced': false}) }}
/*
    Grain: one row per origin, level, entity, grain, period and horizon, for periods with a day of
    birth less than 90 days before the origin: what was known of the leads born in it and how many
    of them will qualify within the horizon, with an 80 % interval.

    Accounts, channels, platforms and the company are the sums of their campaigns, so that parts add
    up to their total. So do variances; what campaigns have in common of their lags adds up before
    it is squared. The interval is that of a beta variable of this mean and variance
    between nobody and everybody who may still qualify, with half a lead at either end because
    leads are whole.

    `reason_code` says why nothing is expected: the account (of totals: the company) has no outcome
    (`no_outcomes`), or fewer qualified leads than `forecast_min_qualified` (`few_qualified`); none of
    its leads is old enough (`history_short`); its CRM fell silent (`crm_silent`; totals: for open
    leads that are more than a tenth of all).
*/

with

parts as (

    select * from {{ ref('int_cohort_parts__expected') }}

),

levels as (

    {{ listed('level', [
        "'company'", "'channel'", "'platform'", "'account'", "'campaign'", "'ad'"
    ]) }}

),

placed as (

    select
        parts.*,
        levels.level as cohort_level,
        case levels.level
            when 'company' then 'all'
            when 'channel' then parts.channel
            when 'platform' then parts.platform
            when 'account' then parts.platform || ':' || parts.account_id
            when 'campaign' then parts.platform || ':' || parts.campaign_id
            else parts.platform || ':' || parts.ad_id
        end as cohort_key,
        levels.level in ('account', 'campaign', 'ad') as is_of_account

    from parts
    inner join levels
        on (levels.level = 'ad') = (parts.level = 'ad')

),

summed as (

    select
        origin,
        is_present,
        cohort_level as level,
        cohort_key as entity_key,
        grain,
        period_start,
        horizon_days,
        min(case when cohort_level = 'channel' then channel end) as channel,
        min(case when cohort_level not in ('company', 'channel') then platform end) as platform,
        min(case when is_of_account then account_id end) as account_id,
        min(case when cohort_level in ('campaign', 'ad') then campaign_id end) as campaign_id,
        min(ad_id) as ad_id,
        min(observed_through) as observed_through,
        min(age_days) as age_days,
        sum(leads) as leads,
        sum(qualified) as qualified,
        sum(qualified_so_far) as qualified_so_far,
        sum(candidates) as candidates,
        {{ exact_sum('to_come') }} as to_come,
        {{ exact_sum('variance + power(lag_weight * lag_spread, 2)') }}
        + power({{ exact_sum('(1 - lag_weight) * lag_spread') }}, 2) as variance,
        is_of_account,
        sum(case when is_silent then candidates else 0 end) as silent_candidates,
        sum(case when events >= {{ var('forecast_prior_events') }} then candidates else 0 end)
            as own_candidates,
        sum(case when pool_events >= {{ var('forecast_min_qualified') }} then candidates else 0 end)
            as pool_candidates,
        max(case when is_of_account then pool_events else whole_events end) as events,
        max(case when is_of_account then pool_history_days else whole_history_days end)
            as history_days

    from placed
    where cohort_key is not null
    group by
        origin, is_present, cohort_level, is_of_account, cohort_key, grain, period_start,
        horizon_days

),

shaped as (

    select
        *,
        {{ cohort_period_end('grain', 'period_start') }} as period_end,
        (to_come + 0.5) / (candidates + 1) as mean_share,
        (variance + cast(1 as double) / 12) / power(candidates + 1, 2) as share_variance
    from summed
    where
        {{ cohort_period_end('grain', 'period_start') }} >= {{ dbt.dateadd('day', -90, 'origin') }}

),

betas as (

    select
        *,
        greatest(
            mean_share * (mean_share * (1 - mean_share) / share_variance - 1), cast(0.2 as double)
        ) as alpha,
        greatest(
            (1 - mean_share) * (mean_share * (1 - mean_share) / share_variance - 1),
            cast(0.5 as double)
        ) as beta
    from shaped

),

quantiles as (

    select
        *,
        {{ beta_quantile('alpha', 'beta', '-' ~ z_80()) }} as share_low,
        {{ beta_quantile('alpha', 'beta', z_80()) }} as share_high
    from betas

),

final as (

    select
        *,
        case
            when candidates = 0 then null
            when events = 0 then 'no_outcomes'
            when events < {{ var('forecast_min_qualified') }} then 'few_qualified'
            when history_days < horizon_days then 'history_short'
            when silent_candidates > 0.1 * case when is_of_account then candidates else leads end
                then 'crm_silent'
        end as reason_code,
        {% for end in ['low', 'high'] %}
        qualified_so_far
        + least(greatest(share_{{ end }} * (candidates + 1) - 0.5, 0), candidates) as {{ end }},
        {% endfor %}
        qualified_so_far + to_come as expected

    from quantiles

)

select
    origin,
    is_present,
    level,
    entity_key,
    grain,
    period_start,
    period_end,
    horizon_days,
    not is_present
    and candidates > 0
    and period_end < origin
    and {{ dbt.dateadd('day', 'horizon_days', 'period_end') }} < {{ as_of() }} as is_compared,
    channel,
    platform,
    account_id,
    campaign_id,
    ad_id,
    observed_through,
    age_days,
    leads,
    qualified,
    qualified_so_far,
    candidates,
    reason_code,
    case
        when reason_code is not null then 'too_little'
        when candidates = 0 then 'settled'
        when 2 * own_candidates >= candidates then 'own_lag'
        when 2 * pool_candidates >= candidates then 'account_lag'
        else 'company_lag'
    end as basis,
    {% for column in ['expected', 'low', 'high'] %}
    case when candidates = 0 then qualified_so_far when reason_code is null then {{ column }} end
        as {{ column }},
    {% endfor %}
    coalesce(
        abs(qualified - expected)
        / nullif(case when qualified > expected then high - expected else expected - low end, 0),
        0
    ) as widening_needed
from final
