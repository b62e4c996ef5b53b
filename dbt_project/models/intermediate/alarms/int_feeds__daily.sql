/*
    Grain: one row per feed and day that is over on which it brought anything, of the last 70 days.

    A feed is a way in of webhooks, HubSpot's records, or an ad account's spend. `read_through` is
    the last day that is over of which it would have told: what could not be read is another check's
    matter. `is_expected` is false where an ad account's ads do not run, so that no spend is right.
*/

with

envelopes as (

    select
        source,
        {{ local_date('received_at', reporting_timezone()) }} as feed_date
    from {{ ref('stg_event_log__envelopes') }}
    where
        received_at >= {{ dbt.dateadd('day', -71, as_of()) }}
        -- Said by the company itself, now and then.
        and source <> 'exclusions'

),

hubspot_reads as (

    select max({{ local_date('read_at', reporting_timezone()) }}) as read_through
    from {{ ref('stg_hubspot__reads') }}

),

reconciled as (

    select * from {{ ref('spend_reconciliation') }}
    where
        spend_date >= {{ dbt.dateadd('day', -70, as_of()) }}
        and (account_spend <> 0 or ad_rows > 0)

),

accounts as (

    select * from {{ ref('dim_accounts') }}

),

-- A campaign of Google's may spend without an ad of its own.
running as (

    select distinct
        platform,
        account_id
    from {{ ref('dim_ads') }}
    where effective_status in ('ACTIVE', 'ENABLED')

    union distinct

    select distinct
        platform,
        account_id
    from {{ ref('dim_campaigns') }}
    where
        platform <> 'meta'
        and effective_status = 'ENABLED'

),

feeds as (

    select
        case
            when envelopes.source = 'hubspot' then 'HubSpot'
            else 'webhooks of ' || envelopes.source
        end as feed,
        envelopes.feed_date,
        case
            when envelopes.source = 'hubspot' then hubspot_reads.read_through
            else {{ as_of() }}
        end as read_through,
        true as is_expected
    from envelopes
    cross join hubspot_reads
    group by
        envelopes.source,
        envelopes.feed_date,
        hubspot_reads.read_through

    union all

    select
        'spend of ' || reconciled.platform || ' '
        || coalesce(accounts.account_name, reconciled.account_id)
        || ' (' || reconciled.account_id || ')' as feed,
        reconciled.spend_date as feed_date,
        accounts.spend_complete_through as read_through,
        running.account_id is not null as is_expected
    from reconciled
    left join accounts
        on
            reconciled.platform = accounts.platform
            and reconciled.account_id = accounts.account_id
    left join running
        on
            reconciled.platform = running.platform
            and reconciled.account_id = running.account_id

),

daily as (

    select
        feed,
        feed_date,
        -- The day of the run, and that of the read, are not over.
        cast(
            least(read_through, {{ dbt.dateadd('day', -1, as_of()) }}) as date
        ) as read_through,
        is_expected
    from feeds
    where feed_date < {{ as_of() }}

)

select * from daily
