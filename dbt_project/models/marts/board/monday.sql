/*
    Grain: one row per line of advice, at most seven, ranked by the money at stake in 30 days.

    `stop` and `scale` are verdicts of the boards over the last 90 mature days (`board_shift_window`)
    on what spent in the last seven days. What is at stake of a `stop` is what its spend of 30 days
    is too much by the price that the account's others pay for a qualified lead; of a `scale`, what a
    fifth more of its spend (`board_shift_share`) would bring at that price beyond its own cost, as
    in budget_shift. An ad set or ad has no line of its own if what it belongs to is to be stopped, or
    has the same verdict.

    `look_into`: money that nothing explains (`unallocated`, from 5 % of an account's spend on), stages
    of the CRM that mean nothing here (`unmatched_stages`), and alarms. What is not known in money has
    null and comes last; two of the seven lines are kept for it.
*/
{% set keys = [
    'kind', 'what', 'platform', 'account_id', 'account_name', 'campaign_id', 'campaign_name', 'adset_id',
    'adset_name', 'ad_id', 'ad_name', 'alarm'
] %}
{% set of_board = {'campaign': keys[3:7], 'adset': keys[3:9], 'ad': keys[3:11]} %}
{% set last_days = "between " ~ dbt.dateadd('day', -28, as_of()) ~ " and " ~ dbt.dateadd('day', -1, as_of()) %}
with

-- What an entity spends in 30 days, by the last 28 of those that were read.
recent as (

    {% for level, report, dimension, key in [
        ('campaign', 'campaign_performance', 'dim_campaigns', 'campaign_id'),
        ('adset', 'ad_performance', 'dim_ads', 'ad_id'), ('ad', 'ad_performance', 'dim_ads', 'ad_id')
    ] %}
    select
        '{{ level }}' as what,
        daily.platform,
        ads.{{ level }}_id as entity_id,
        30 * cast(sum(daily.spend_reporting) as double) / 28 as monthly_spend
    from {{ ref(report) }} as daily
    inner join {{ ref(dimension) }} as ads
        on
            daily.platform = ads.platform
            and daily.{{ key }} = ads.{{ key }}
    where
        daily.report_date {{ last_days }}
        and daily.spend_status <> 'unread'
    group by daily.platform, ads.{{ level }}_id
    having
        count(daily.spend_reporting) = count(*)
        and max(case when daily.spend > 0 then daily.report_date end) >= {{ dbt.dateadd('day', -7, as_of()) }}
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

running as (

    {% for level, board in [
        ('campaign', 'campaign_board'), ('adset', 'adset_board'), ('ad', 'creative_board')
    ] %}
    select
        case when board.verdict = 'cut' then 'stop' else 'scale' end as kind,
        recent.*,
        {% for column in keys[3:] %}
        {{ 'board.' ~ column if column in of_board[level] else null_text() }} as {{ column }},
        {% endfor %}
        board.leads,
        board.qualified_leads,
        board.spend,
        board.currency,
        board.window_days,
        board.peer_cost_per_qualified_lead as peer_cost,
        board.expected_cost_per_qualified_lead as cost,
        board.expected_cost_per_qualified_lead_low as cost_low,
        board.expected_cost_per_qualified_lead_high as cost_high
    from {{ ref(board) }} as board
    inner join recent
        on
            recent.what = '{{ level }}'
            and board.platform = recent.platform
            and board.{{ level }}_id = recent.entity_id
    where
        board.window_days = {{ var('board_shift_window') }}
        and board.verdict in ('cut', 'scale')
        and board.is_deleted is not true
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

moves as (

    select
        {% for column in keys %}
        {{ column }},
        {% endfor %}
        {% for stake, cost, other in [
            ('stake', 'cost', 'cost'), ('stake_low', 'cost_low', 'cost_high'),
            ('stake_high', 'cost_high', 'cost_low')
        ] %}
        case
            when kind = 'stop' then monthly_spend * (1 - cast(peer_cost as double) / {{ cost }})
            else {{ var('board_shift_share') }} * monthly_spend * (cast(peer_cost as double) / {{ other }} - 1)
        end as {{ stake }},
        {% endfor %}
        case
            when kind = 'scale' then 'cheaper_than_peers'
            when leads = 0 then 'spent_without_leads'
            else 'dearer_than_peers'
        end as reason_code,
        {{ json_object([
            'leads', 'qualified_leads', 'spend', 'currency', 'window_days', 'peer_cost', 'cost',
            'cost_low', 'cost_high', 'monthly_spend'
        ]) }} as reason_values

    from running
    where
        -- Not those below a line that says it already.
        not exists (
            select 1 from running as above
            where
                above.platform = running.platform
                and above.kind in ('stop', running.kind)
                and (
                    (above.what = 'campaign' and running.what <> 'campaign' and above.campaign_id = running.campaign_id)
                    or (above.what = 'adset' and running.what = 'ad' and above.adset_id = running.adset_id)
                )
        )

),

accounts as (

    select
        platform,
        account_id,
        min(account_name) as account_name,
        30 * cast(
            sum(case when campaign_id like 'unallocated:%' then spend_reporting else 0 end) as double
        ) / 28 as unallocated,
        30 * cast(sum(spend_reporting) as double) / 28 as monthly_spend
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

found as (

    select * from moves
    union all
    {% for what, known, stake, code, values, source in [
        ('account', ['platform', 'account_id', 'account_name'], 'unallocated', "'unallocated'",
         ['unallocated', 'monthly_spend'],
         'accounts where unallocated > 0 and unallocated >= 0.05 * monthly_spend'),
        ('stage', [], none, "'unmatched_stages'", ['source', 'stage', 'outcomes'], 'stages'),
        ('alarm', ['alarm'], none, "'alarm'",
         ['alarm', 'subject', 'since', 'measured', 'expected_low', 'expected_high'],
         ref('health_alarms') ~ " where status = 'warn' and alarm <> 'unallocated_spend'"),
    ] %}
    select
        {% for column in keys %}
        {{ {'kind': "'look_into'", 'what': "'" ~ what ~ "'"}.get(
            column, column if column in known else null_text()
        ) }} as {{ column }},
        {% endfor %}
        {% for end in ['stake', 'stake_low', 'stake_high'] %}
        {{ stake or 'cast(null as double)' }} as {{ end }},
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
    cast(stake{{ end }} as decimal(18, 2)) as money_at_stake{{ end }}_reporting,
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
            else 'health'
        end as page
    from chosen
    where choice <= 7
) as shown
