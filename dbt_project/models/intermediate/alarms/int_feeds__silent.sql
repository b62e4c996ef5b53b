/*
    Grain: one row per feed that has brought anything in the last 70 days, and for how many days it
    has brought nothing.

    Silence is told by days, as shops close on Sundays and holidays come: `warn` when a feed that
    came on at least 10 of its last 28 days has been silent for two days or more, and half as long
    again as its longest pause in those. After 28 days it has ended, and that is known.
*/

with

daily as (

    select * from {{ ref('int_feeds__daily') }}

),

latest as (

    select
        feed,
        max(feed_date) as last_date,
        max(read_through) as read_through,
        max(case when is_expected then 1 else 0 end) = 1 as is_expected

    from daily
    group by feed

),

recent as (

    select
        daily.feed,
        daily.feed_date,
        lag(daily.feed_date) over (partition by daily.feed order by daily.feed_date)
            as previous_date

    from daily
    inner join latest
        on
            daily.feed = latest.feed
            and {{ dbt.dateadd('day', 27, 'daily.feed_date') }} >= latest.last_date

),

habits as (

    select
        feed,
        count(*) as active_days,
        coalesce(max({{ dbt.datediff('previous_date', 'feed_date', 'day') }} - 1), 0)
            as longest_pause

    from recent
    group by feed

),

silent as (

    select
        latest.feed,
        latest.last_date,
        habits.active_days,
        habits.longest_pause,
        latest.is_expected,
        greatest({{ dbt.datediff('latest.last_date', 'latest.read_through', 'day') }}, 0)
            as silent_days

    from latest
    inner join habits
        on latest.feed = habits.feed

),

judged as (

    select
        *,
        case
            when active_days < 10 then 'off'
            when
                is_expected
                and silent_days >= 2
                and 2 * silent_days > 3 * longest_pause
                and silent_days <= 28
                then 'warn'
            else 'ok'
        end as status

    from silent

)

select * from judged
