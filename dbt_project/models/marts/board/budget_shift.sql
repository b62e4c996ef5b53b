/*
    Grain: one row per proposal: from one ad to another of the same account, currency and kind.

    For people to read; never applied by ctwa. In each account the most expensive `cut` ad is paired
    with the cheapest `scale` ad, the second with the second, and so on; both must be running. The
    amount is a small share of the smaller of the two average daily spends of the last week: the
    gain assumes that additional money buys what earlier money bought on average, which holds for
    small steps at best. The interval of the gain is that of a difference of two independent
    estimates, from both ads' own intervals (MOVER, Zou and Donner 2008). Without a pair there is no
    row.
*/

with

board as (

    select * from {{ ref('creative_board') }}
    where
        window_days = {{ var('board_shift_window') }}
        and not is_deleted

),

spend as (

    select * from {{ ref('fct_ad_spend') }}

),

-- Days of the last week that were not read to the end.
open_days as (

    select
        platform,
        account_id,
        count(*) as unread_days

    from {{ ref('int_spend_days__unread') }}
    where
        spend_date >= {{ dbt.dateadd('day', -7, as_of()) }}
        and spend_date < {{ as_of() }}
    group by platform, account_id

),

-- `as_of` is only partly over.
recent as (

    select
        spend.platform,
        spend.account_id,
        spend.ad_id,
        spend.currency,
        coalesce(open_days.unread_days, 0) as unread_days,
        {{ exact_ratio('sum(spend.spend)', '(7 - coalesce(open_days.unread_days, 0))') }} as daily_spend

    from spend
    left join open_days
        on
            spend.platform = open_days.platform
            and spend.account_id = open_days.account_id
    where
        spend.spend_date >= {{ dbt.dateadd('day', -7, as_of()) }}
        and spend.spend_date < {{ as_of() }}
        and spend.row_kind = 'ad'
        and coalesce(spend.is_day_complete, true)
        and coalesce(open_days.unread_days, 0) <= 3
    group by
        spend.platform,
        spend.account_id,
        spend.ad_id,
        spend.currency,
        coalesce(open_days.unread_days, 0)
    having sum(spend.spend) > 0

),

running as (

    select
        board.*,
        recent.daily_spend,
        recent.unread_days as recent_unread_days,
        -- What the money buys, in qualified leads per unit of money.
        1 / cast(board.expected_cost_per_qualified_lead as double) as yield_mean,
        1 / cast(board.expected_cost_per_qualified_lead_high as double) as yield_low,
        1 / cast(board.expected_cost_per_qualified_lead_low as double) as yield_high,
        row_number() over (
            partition by
                board.platform,
                board.account_id,
                board.currency,
                board.is_click_to_whatsapp,
                board.verdict
            order by
                case when board.verdict = 'cut' then -board.cost_rank else board.cost_rank end
        ) as pair_number

    from board
    inner join recent
        on
            board.platform = recent.platform
            and board.account_id = recent.account_id
            and board.ad_id = recent.ad_id
            and board.currency = recent.currency
    where board.verdict in ('cut', 'scale')

),

paired as (

    select
        donor.platform,
        donor.account_id,
        donor.account_name,
        donor.currency,
        donor.window_days,
        donor.pair_number,
        donor.recent_unread_days,
        donor.ad_id as from_ad_id,
        donor.ad_name as from_ad_name,
        donor.campaign_name as from_campaign_name,
        receiver.ad_id as to_ad_id,
        receiver.ad_name as to_ad_name,
        receiver.campaign_name as to_campaign_name,
        donor.expected_cost_per_qualified_lead as from_cost,
        receiver.expected_cost_per_qualified_lead as to_cost,
        donor.daily_spend as from_daily_spend,
        receiver.daily_spend as to_daily_spend,
        cast(
            floor(
                100 * {{ var('board_shift_share') }}
                * cast(least(donor.daily_spend, receiver.daily_spend) as decimal(24, 6))
            ) / 100
            as decimal(18, 2)
        ) as daily_amount,
        receiver.yield_mean - donor.yield_mean as yield_gain,
        sqrt(
            power(receiver.yield_mean - receiver.yield_low, 2)
            + power(donor.yield_high - donor.yield_mean, 2)
        ) as yield_risk,
        sqrt(
            power(receiver.yield_high - receiver.yield_mean, 2)
            + power(donor.yield_mean - donor.yield_low, 2)
        ) as yield_chance

    from running as donor
    inner join running as receiver
        on
            donor.platform = receiver.platform
            and donor.account_id = receiver.account_id
            and donor.currency = receiver.currency
            and donor.is_click_to_whatsapp = receiver.is_click_to_whatsapp
            and donor.pair_number = receiver.pair_number
    where
        donor.verdict = 'cut'
        and receiver.verdict = 'scale'

),

gains as (

    select
        *,
        cast(7 * daily_amount * yield_gain as decimal(18, 3)) as gain,
        cast(7 * daily_amount * (yield_gain - yield_risk) as decimal(18, 3)) as gain_low,
        cast(7 * daily_amount * (yield_gain + yield_chance) as decimal(18, 3)) as gain_high

    from paired
    where daily_amount > 0

),

final as (

    select
        platform,
        account_id,
        account_name,
        from_ad_id,
        from_ad_name,
        from_campaign_name,
        to_ad_id,
        to_ad_name,
        to_campaign_name,
        window_days,
        currency,
        cast(pair_number as integer) as pair_number,
        from_daily_spend,
        to_daily_spend,
        daily_amount as suggested_daily_amount,
        from_cost as from_expected_cost_per_qualified_lead,
        to_cost as to_expected_cost_per_qualified_lead,
        gain as expected_weekly_gain,
        gain_low as expected_weekly_gain_low,
        gain_high as expected_weekly_gain_high,
        'Move ' || {{ money_text('daily_amount', 'currency') }} || ' a day from '
        || {{ ad_text('from_ad_name', 'from_ad_id') }} || ' (about '
        || {{ money_text('from_cost', 'currency') }} || ' per qualified lead) to '
        || {{ ad_text('to_ad_name', 'to_ad_id') }} || ' (about '
        || {{ money_text('to_cost', 'currency') }} || '): some '
        || cast(cast(gain as decimal(18, 1)) as {{ dbt.type_string() }}) || ' more qualified leads a week ('
        || cast(cast(gain_low as decimal(18, 1)) as {{ dbt.type_string() }}) || ' to '
        || cast(cast(gain_high as decimal(18, 1)) as {{ dbt.type_string() }})
        || '), if additional money buys what earlier money bought on average; a suggestion, '
        || 'applied by nobody but you.'
        || case
            when recent_unread_days = 0 then ''
            else
                ' What they spend a day is that of ' || (7 - recent_unread_days)
                || ' of the last 7 days; the others were not read.'
        end as reason

    from gains

)

select * from final
