{{ config(schema='intermediate', contract={'enforced': false}) }}
/*
    Grain: one row per campaign, ad set or ad on which the boards advise something, of what spent in the
    last seven days; `monday` ranks them.

    `stop` and `scale` are verdicts of the boards over the last 90 mature days (`board_shift_window`).
    An ad set or ad has no line of its own if what it belongs to is to be stopped, or has the same
    verdict. A campaign without peers in its account is measured by the campaigns of all accounts, in
    the reporting currency (E170): other accounts may sell something else, so that is something to look
    into, never an order to stop.
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
        {{ exact_ratio('30 * sum(daily.spend_reporting)', '28') }} as monthly_spend
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
    union all
    {% endfor %}
    select
        'look_into' as kind,
        recent.*,
        {% for column in keys[3:] %}
        {{ 'board.' ~ column if column in of_board['campaign'] else null_text() }} as {{ column }},
        {% endfor %}
        beside.leads,
        beside.qualified_leads,
        beside.spend,
        beside.currency,
        beside.window_days,
        {{ exact_ratio('beside.other_spend', 'beside.other_qualified_leads') }} as peer_cost,
        beside.expected_cost as cost,
        beside.expected_cost_low as cost_low,
        beside.expected_cost_high as cost_high
    from {{ ref('int_board_windows__estimated') }} as beside
    inner join {{ ref('campaign_board') }} as board
        on
            beside.platform = board.platform
            and beside.entity_id = board.campaign_id
            and beside.window_days = board.window_days
    inner join recent
        on
            recent.what = 'campaign'
            and board.platform = recent.platform
            and board.campaign_id = recent.entity_id
    where
        beside.level = 'company'
        and board.window_days = {{ var('board_shift_window') }}
        and board.reason_code = 'no_peers'
        and board.is_deleted is not true
        -- What a verdict takes: see the macro `board`.
        and beside.other_qualified_leads >= {{ var('board_min_peer_qualified') }}
        and greatest(beside.leads, beside.spend / beside.other_cost_per_lead) >= {{ var('board_min_leads') }}
        and beside.spend
        >= {{ var('board_min_spend') }} * cast(beside.other_spend as decimal(24, 6)) / beside.other_qualified_leads
        and beside.expected_cost_low > beside.other_spend / beside.other_qualified_leads

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
            when kind <> 'scale'
                then {{ rounded_estimate('monthly_spend * (1 - cast(peer_cost as double) / ' ~ cost ~ ')', 'decimal(18, 2)') }}
            else {{ rounded_estimate(
                'monthly_spend * (' ~ var('board_shift_share') ~ ' * (cast(peer_cost as double) / ' ~ other ~ ' - 1))',
                'decimal(18, 2)'
            ) }}
        end as {{ stake }},
        {% endfor %}
        case
            when kind = 'scale' then 'cheaper_than_peers'
            when kind = 'look_into' then 'dearer_than_company'
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

)

select * from moves
