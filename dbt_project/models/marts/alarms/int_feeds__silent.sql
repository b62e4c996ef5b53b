{{ config(schema='intermediate', contract={'enforced': false}) }}
/*
    Grain: one row per feed that brought anything in the last 70 days, with the number of days for
    which it has brought nothing.

    A feed is a webhook source, HubSpot's records, or an ad account's spend. `read_through` is the
    last day that is over and on which anything would have shown: another check reports failed
    reads. `is_expected` is false if an ad account's ads do not run, so that no spend is to be
    expected.

    Silence is measured in days, because shops close on Sundays and holidays: `warn` if a feed that
    was active on at least 10 of its last 28 days has been silent for two days or more, and for more
    than one and a half times its longest pause in those days. After 28 days it counts as ended and
    warns no more.
*/

with

envelopes as (

    select distinct
        source,
        {{ local_date('received_at', reporting_timezone()) }} as feed_date
    from {{ source('event_log', 'envelopes') }}
    where
        received_at >= {{ dbt.dateadd('day', -71, as_of()) }}
        -- The company itself sends these, now and then.
        and source <> 'exclusions'

),

hubspot_reads as (

    select max({{ local_date('read_at', reporting_timezone()) }}) as read_through
    from {{ source('hubspot', 'reads') }}

),

-- A Google campaign may spend without an ad of its own.
running as (

    select
        platform,
        account_id
    from {{ ref('dim_ads') }}
    where effective_status in ('ACTIVE', 'ENABLED')
    union distinct
    select
        platform,
        account_id
    from {{ ref('dim_campaigns') }}
    where
        platform <> 'meta'
        and effective_status = 'ENABLED'

),

feeds as (

    select
        case when envelopes.source = 'hubspot' then 'HubSpot' else 'webhooks of ' || envelopes.source end
            as feed,
        envelopes.feed_date,
        case when envelopes.source = 'hubspot' then hubspot_reads.read_through else {{ as_of() }} end
            as read_through,
        true as is_expected
    from envelopes
    cross join hubspot_reads

    union all

    select
        'spend of ' || reconciled.platform || ' '
        || coalesce(ad_accounts.account_name, reconciled.account_id)
        || ' (' || reconciled.account_id || ')' as feed,
        reconciled.spend_date as feed_date,
        ad_accounts.spend_complete_through as read_through,
        running.account_id is not null as is_expected
    from {{ ref('spend_reconciliation') }} as reconciled
    left join {{ ref('dim_accounts') }} as ad_accounts
        on
            reconciled.platform = ad_accounts.platform
            and reconciled.account_id = ad_accounts.account_id
    left join running
        on
            reconciled.platform = running.platform
            and reconciled.account_id = running.account_id
    where
        reconciled.spend_date >= {{ dbt.dateadd('day', -70, as_of()) }}
        and (reconciled.account_spend <> 0 or reconciled.ad_rows > 0)

),

daily as (

    select
        *,
        -- The day of the run and the day of the read are not over.
        max(cast(least(read_through, {{ dbt.dateadd('day', -1, as_of()) }}) as date))
            over (partition by feed) as feed_read_through,
        max(case when is_expected then 1 else 0 end) over (partition by feed) = 1 as is_feed_expected,
        max(feed_date) over (partition by feed) as last_date,
        lag(feed_date) over (partition by feed order by feed_date) as previous_date

    from feeds
    where feed_date < {{ as_of() }}

),

silent as (

    select
        feed,
        last_date,
        feed_read_through as read_through,
        is_feed_expected as is_expected,
        count(*) as active_days,
        coalesce(
            max(
                case
                    when {{ dbt.dateadd('day', 27, 'previous_date') }} >= last_date
                        then {{ dbt.datediff('previous_date', 'feed_date', 'day') }} - 1
                end
            ),
            0
        ) as longest_pause,
        greatest({{ dbt.datediff('last_date', 'feed_read_through', 'day') }}, 0) as silent_days

    from daily
    where {{ dbt.dateadd('day', 27, 'feed_date') }} >= last_date
    group by feed, last_date, feed_read_through, is_feed_expected

)

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
