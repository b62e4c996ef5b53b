/*
    Grain: one row per level, entity, grain, period of birth and horizon, for periods with a day less
    than 90 days before `as_of` (rule R15).

    What is expected stands beside what has happened, never in its place, and is null where
    `reason_code` says why. Levels: campaigns, their sums up to the company, and ads with leads
    enough. The 80 % interval is widened where fewer than 70 % of the last quarter's intervals of its
    kind held what became of the cohorts (`forecast_backtest`), by the factor that would have held
    80 % of them; days go by the weeks' factor, ads by the campaigns'.

    Cost: the period's spend over what is expected of its leads (rule R11); null where the spend of a
    day was not read (rule R13). Channels that no platform bills have no cost. A period with spend
    and without leads has a row: nobody was born in it of whom anything could come (E46).
*/

with

cohorts as (

    select * from {{ ref('int_cohorts__expected') }}
    where is_present

),

tested as (

    select
        level,
        grain,
        horizon_days,
        count(*) as backtest_cohorts,
        avg(case when qualified between low and high then cast(1 as double) else 0 end) as coverage,
        percentile_cont(0.8) within group (order by widening_needed) as needed

    from {{ ref('int_cohorts__expected') }}
    where
        is_compared
        and expected - qualified_so_far >= 1
    group by level, grain, horizon_days
    having count(*) >= {{ var('forecast_min_cohorts') }}

),

spend_days as (

    {% set priced = "(account_id is not null or spend_status = 'unread')" %}
    {% for level, key, report, condition in [
        ('ad', "platform || ':' || ad_id", 'ad_performance', priced),
        ('campaign', "platform || ':' || campaign_id", 'campaign_performance',
         priced ~ " and campaign_id not like 'unallocated:%'"),
        ('account', "platform || ':' || account_id", 'campaign_performance', 'account_id is not null'),
        ('platform', 'platform', 'campaign_performance', 'true'),
        ('channel', 'channel', 'channel_performance', 'channel not in ' ~ channels_without_spend()),
        ('company', "'all'", 'channel_performance', 'true'),
    ] %}
    {% set is_native, is_platforms = level in ('ad', 'campaign', 'account'), report != 'channel_performance' %}
    select
        '{{ level }}' as level,
        {{ key }} as entity_key,
        {{ 'platform' if is_platforms else null_text() ~ ' as platform' }},
        {{ 'account_id' if is_native else null_text() ~ ' as account_id' }},
        {{ 'campaign_id' if level in ('campaign', 'ad') else null_text() ~ ' as campaign_id' }},
        {{ 'channel' if level == 'channel' else null_text() ~ ' as channel' }},
        report_date,
        {{ 'currency' if is_native else reporting_currency() ~ ' as currency' }},
        {{ 'spend' if is_native else 'spend_reporting' }} as spend,
        spend_reporting,
        spend_status
    from {{ ref(report) }}
    where
        report_date between {{ dbt.dateadd('day', -121, as_of()) }} and {{ as_of() }}
        and {{ condition }}
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

grains as (

    {{ listed('grain', ["'day'", "'week'", "'month'"]) }}

),

horizons as (

    {{ listed('horizon_days', [30, 90]) }}

),

spent as (

    select
        spend_days.level,
        spend_days.entity_key,
        grains.grain,
        horizons.horizon_days,
        {{ cohort_period('grains.grain', 'spend_days.report_date') }} as period_start,
        min(spend_days.platform) as platform,
        min(spend_days.account_id) as account_id,
        min(spend_days.campaign_id) as campaign_id,
        min(spend_days.channel) as channel,
        min(spend_days.currency) as currency,
        case
            when count(distinct spend_days.currency) <= 1 then {{ sum_or_null('spend_days.spend') }}
        end as spend,
        {{ sum_or_null('spend_days.spend_reporting') }} as spend_reporting,
        case
            when max(case when spend_days.spend_status = 'unread' then 1 else 0 end) = 1 then 'unread'
            when max(case when spend_days.spend_status = 'partial' then 1 else 0 end) = 1 then 'partial'
            else 'read'
        end as spend_status

    from spend_days
    cross join grains
    cross join horizons
    group by
        spend_days.level, spend_days.entity_key, grains.grain, horizons.horizon_days,
        {{ cohort_period('grains.grain', 'spend_days.report_date') }}

),

beside as (

    select
        {% for column in [
            'level', 'entity_key', 'grain', 'period_start', 'horizon_days', 'platform', 'account_id',
            'campaign_id', 'channel'
        ] %}
        coalesce(cohorts.{{ column }}, spent.{{ column }}) as {{ column }},
        {% endfor %}
        cohorts.ad_id,
        spent.currency,
        spent.spend,
        spent.spend_reporting,
        spent.spend_status,
        coalesce(cohorts.leads, 0) as leads,
        coalesce(cohorts.qualified_so_far, 0) as qualified_so_far,
        cohorts.candidates,
        {% for column in ['expected', 'low', 'high'] %}
        case when cohorts.level is null then 0 else cohorts.{{ column }} end as {{ column }},
        {% endfor %}
        coalesce(cohorts.basis, 'settled') as basis,
        cohorts.reason_code,
        cohorts.age_days,
        cohorts.observed_through

    from cohorts
    full outer join spent
        on {{ same_values('cohorts', 'spent', ['level', 'entity_key', 'grain', 'period_start', 'horizon_days']) }}
    where
        cohorts.level is not null
        or (spent.level <> 'ad' and (spent.spend <> 0 or spent.spend is null))

),

widened as (

    select
        beside.*,
        {{ cohort_period_end('beside.grain', 'beside.period_start') }} as period_end,
        tested.coverage,
        tested.backtest_cohorts,
        case when tested.coverage < 0.7 then least(greatest(tested.needed, 1), 5) else 1 end as widening

    from beside
    left join tested
        on
            case when beside.level = 'ad' then 'campaign' else beside.level end = tested.level
            and case when beside.grain = 'day' then 'week' else beside.grain end = tested.grain
            and beside.horizon_days = tested.horizon_days

),

bounded as (

    select
        *,
        basis = 'settled' as is_settled,
        -- `greatest` and `least` pass over a null, which must stay one.
        greatest(expected - widening * (expected - low), qualified_so_far) + 0 * expected as expected_low,
        least(
            expected + widening * (high - expected), qualified_so_far + coalesce(candidates, 0)
        ) + 0 * expected as expected_high
    from widened
    where period_end >= {{ dbt.dateadd('day', -90, as_of()) }}

)

select
    bounded.level,
    bounded.entity_key,
    bounded.grain,
    bounded.period_start,
    bounded.period_end,
    bounded.period_end < {{ as_of() }} as is_whole_period,
    cast(bounded.horizon_days as integer) as horizon_days,
    bounded.platform,
    bounded.account_id,
    ad_accounts.account_name,
    bounded.campaign_id,
    coalesce(
        campaigns.campaign_name,
        case when bounded.campaign_id = 'unresolved' then {{ unresolved_name('bounded.platform') }} end
    ) as campaign_name,
    bounded.ad_id,
    ads.ad_name,
    bounded.channel,
    cast(bounded.leads as bigint) as leads,
    cast(bounded.qualified_so_far as bigint) as qualified_so_far,
    {% for end in ['', '_low', '_high'] %}
    cast(bounded.expected{{ end }} as decimal(18, 3)) as expected_qualified{{ end }},
    {% endfor %}
    -- What is settled is no estimate, and the same figures as in the reports.
    case
        when is_settled then {{ exact_share('bounded.qualified_so_far', 'bounded.leads') }}
        else {{ rounded_estimate('bounded.expected / nullif(bounded.leads, 0)', 'decimal(9, 6)') }}
    end as expected_rate,
    is_settled,
    coalesce(bounded.currency, ad_accounts.currency) as currency,
    cast(bounded.spend as decimal(18, 6)) as spend,
    cast(bounded.spend_reporting as decimal(18, 6)) as spend_reporting,
    bounded.spend_status,
    {% for amount, suffix in [('spend', ''), ('spend_reporting', '_reporting')] %}
    {% for end, divisor in [('', 'expected'), ('_low', 'expected_high'), ('_high', 'expected_low')] %}
    case
        when is_settled then {{ exact_ratio('bounded.' ~ amount, 'bounded.qualified_so_far') }}
        else {{ rounded_estimate('cast(bounded.' ~ amount ~ ' as double) / nullif(bounded.' ~ divisor ~ ', 0)') }}
    end as expected_cost_per_qualified_lead{{ end ~ suffix }},
    {% endfor %}
    {% endfor %}
    cast(case when bounded.age_days < 0 then 0 else bounded.age_days end as integer) as age_days,
    bounded.observed_through,
    bounded.basis,
    bounded.reason_code,
    {{ rounded_estimate('bounded.coverage', 'decimal(9, 6)') }} as backtest_coverage,
    cast(coalesce(bounded.backtest_cohorts, 0) as bigint) as backtest_cohorts,
    {{ rounded_estimate('bounded.widening', 'decimal(9, 6)') }} as widening,
    coalesce(bounded.coverage < 0.7 or bounded.coverage > 0.9, false) as is_out_of_range

from bounded
left join {{ ref('dim_accounts') }} as ad_accounts
    on {{ same_values('bounded', 'ad_accounts', ['platform', 'account_id']) }}
left join {{ ref('dim_campaigns') }} as campaigns
    on {{ same_values('bounded', 'campaigns', ['platform', 'campaign_id']) }}
left join {{ ref('dim_ads') }} as ads
    on {{ same_values('bounded', 'ads', ['platform', 'ad_id']) }}
