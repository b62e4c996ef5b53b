/*
    Grain: one row per line of advice, at most seven, ranked by the money at stake in 30 days.

    What to `stop` and `scale`, and campaigns that cost more than the company's others, is proposed by
    int_moves__proposed. What is at stake of a `stop` is what its spend of 30 days is too much by the
    price that the others pay for a qualified lead; of a `scale`, what a fifth more of its spend
    (`board_shift_share`) would bring at that price beyond its own cost, as in budget_shift.

    Also to look into: what misses its target (`over_target`, unless the boards say so already;
    `over_budget`), leads who were answered later and qualified less often than comparable ones
    (`answered_slowly`: the group with the most leads), money that nothing explains (`unallocated`, from
    5 % of an account's spend on), stages of the CRM that mean nothing here (`unmatched_stages`), and
    alarms. What is not known in money has null and comes last; two of the seven lines are kept for what
    is to be looked into.
*/
{% set keys = [
    'kind', 'what', 'platform', 'account_id', 'account_name', 'campaign_id', 'campaign_name', 'adset_id',
    'adset_name', 'ad_id', 'ad_name', 'alarm'
] %}
{% set last_days = "between " ~ dbt.dateadd('day', -28, as_of()) ~ " and " ~ dbt.dateadd('day', -1, as_of()) %}
with

accounts as (

    select
        platform,
        account_id,
        min(account_name) as account_name,
        {{ exact_ratio(
            "30 * sum(case when campaign_id like 'unallocated:%' then spend_reporting else 0 end)", '28'
        ) }} as unallocated,
        {{ exact_ratio('30 * sum(spend_reporting)', '28') }} as monthly_spend
    from {{ ref('campaign_performance') }}
    where
        report_date {{ last_days }}
        and account_id is not null
        and spend_status <> 'unread'
    group by platform, account_id
    having count(spend_reporting) = count(*)

),

stages as (

    select
        source,
        stage,
        count(*) as outcomes
    from {{ ref('fct_outcomes') }}
    where
        funnel_stage is null
        and {{ local_date('occurred_at', reporting_timezone()) }} {{ last_days }}
    group by source, stage

),

-- Too dear even if the forecast errs in its favour; or on the way beyond the month's budget.
targets as (

    select
        *,
        {{ rounded_estimate(
            '30 * cast(daily_spend_reporting as double)'
            ~ ' * (1 - cast(target_cost_per_qualified_lead as double) / expected_cost_per_qualified_lead)',
            'decimal(18, 2)'
        ) }} as too_much,
        cast(
            (cast(expected_spend as double) - monthly_budget) * daily_spend_reporting / nullif(daily_spend, 0)
            as decimal(18, 2)
        ) as beyond
    from {{ ref('target_pacing') }}

),

answers as (

    select
        *,
        row_number() over (order by leads desc, group_order asc) as place
    from {{ ref('answer_performance') }}
    where
        scope = 'all'
        and compared = 'answer_time'
        and verdict_code = 'lower'

),

found as (

    select * from {{ ref('int_moves__proposed') }}
    union all
    {% for what, known, stake, code, values, source in [
        ('level', keys[2:7], 'too_much', "'over_target'",
         ['expected_cost_per_qualified_lead', 'expected_cost_per_qualified_lead_low',
          'expected_cost_per_qualified_lead_high', 'target_cost_per_qualified_lead', 'currency', 'cost_month'],
         "targets where cost_status = 'over' and daily_spend > 0 and not exists (select 1 from "
         ~ ref('int_moves__proposed') ~ " as moves where moves.kind <> 'scale' and moves.what = targets.level"
         ~ " and moves.platform = targets.platform and moves.campaign_id = targets.campaign_id)"),
        ('level', keys[2:7], 'beyond', "'over_budget'",
         ['spend_so_far', 'expected_spend', 'monthly_budget', 'currency', 'month_start'],
         "targets where budget_status = 'over'"),
        ("'answering'", [], none, "'answered_slowly'",
         ['answer_group', 'reference_group', 'leads', 'rate_difference', 'rate_difference_low',
          'rate_difference_high', 'median_response_seconds'], 'answers where place = 1'),
        ("'account'", ['platform', 'account_id', 'account_name'], 'cast(unallocated as decimal(18, 2))', "'unallocated'",
         ['unallocated', 'monthly_spend'],
         'accounts where unallocated > 0 and unallocated >= 0.05 * cast(monthly_spend as decimal(24, 6))'),
        ("'stage'", [], none, "'unmatched_stages'", ['source', 'stage', 'outcomes'], 'stages'),
        ("'alarm'", ['alarm'], none, "'alarm'",
         ['alarm', 'subject', 'since', 'measured', 'expected_low', 'expected_high'],
         ref('health_alarms') ~ " where status = 'warn' and alarm <> 'unallocated_spend'"),
    ] %}
    select
        {% for column in keys %}
        {{ {'kind': "'look_into'", 'what': what}.get(
            column, column if column in known else null_text()
        ) }} as {{ column }},
        {% endfor %}
        {% for end in ['stake', 'stake_low', 'stake_high'] %}
        {{ stake or 'cast(null as decimal(18, 2))' }} as {{ end }},
        {% endfor %}
        {{ code }} as reason_code,
        {{ json_object(values) }} as reason_values
    from {{ source }}
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

candidates as (

    select
        *,
        row_number() over (
            partition by kind = 'look_into'
            order by
                stake desc nulls last,
                what asc,
                coalesce(ad_id, adset_id, campaign_id, account_id, alarm, reason_values) asc,
                platform asc
        ) as place
    from found

),

chosen as (

    select
        *,
        row_number() over (
            order by
                case when place <= case when kind = 'look_into' then 2 else 5 end then 1 else 2 end,
                stake desc nulls last,
                kind asc,
                place asc
        ) as choice
    from candidates

)

select
    cast(
        row_number() over (order by stake desc nulls last, kind desc, place asc) as integer
    ) as rank,
    kind,
    what,
    reason_code,
    reason_values,
    {% for end in ['', '_low', '_high'] %}
    stake{{ end }} as money_at_stake{{ end }}_reporting,
    {% endfor %}
    {% for column in keys[2:] %}
    {{ column }},
    {% endfor %}
    {{ json_object(['page'] + keys[2:]) }} as evidence,
    {{ as_of() }} as as_of

from (
    select
        *,
        case
            when what in ('campaign', 'adset') then 'campaigns'
            when what = 'ad' then 'ads'
            when what = 'answering' then 'answering'
            when reason_code in ('over_target', 'over_budget') then 'campaigns'
            else 'health'
        end as page
    from chosen
    where choice <= 7
) as shown
