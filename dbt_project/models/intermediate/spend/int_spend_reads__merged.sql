/*
    Grain: one row per platform, account, completeness and unbroken range of account days that were
    read.

    Ranges with `is_complete` hold the days that some read began to read after they were over in the
    account's own time zone; the others hold every day that was ever read. A read that found a day
    unchanged lands no new row for it (int_insight_days__latest), but its range says that the day
    was read again: a day whose figures from noon turned out to be final is complete by that.
*/

with

accounts as (

    select * from {{ ref('int_accounts__described') }}

),

reads as (

    select
        platform,
        account_id,
        since_date as first_date,
        until_date as last_date,
        read_at
    from {{ source('ads', 'spend_reads') }}
    union all
    -- A run that was killed has landed days, but no range.
    select
        platform,
        account_id,
        spend_date as first_date,
        spend_date as last_date,
        read_at
    from {{ ref('int_insight_days__latest') }}

),

dated as (

    select
        reads.platform,
        reads.account_id,
        reads.first_date,
        reads.last_date,
        {{ local_date(
            'reads.read_at',
            "case when accounts.is_timezone_known then accounts.timezone else "
            ~ reporting_timezone() ~ " end"
        ) }} as read_on

    from reads
    left join accounts
        on
            reads.platform = accounts.platform
            and reads.account_id = accounts.account_id

),

ranges as (

    select
        platform,
        account_id,
        false as is_complete,
        first_date,
        last_date
    from dated
    -- Each range once: the windows below could take either of two equal rows first.
    union distinct
    select
        platform,
        account_id,
        true as is_complete,
        first_date,
        cast(least(last_date, {{ dbt.dateadd('day', -1, 'read_on') }}) as date) as last_date
    from dated
    where first_date < read_on

),

reached as (

    select
        *,
        max(last_date) over (
            partition by platform, account_id, is_complete
            order by first_date, last_date
            rows between unbounded preceding and 1 preceding
        ) as reached_date

    from ranges

),

numbered as (

    select
        *,
        sum(
            case
                when first_date <= {{ dbt.dateadd('day', 1, 'reached_date') }} then 0
                else 1
            end
        ) over (
            partition by platform, account_id, is_complete
            order by first_date, last_date
            rows between unbounded preceding and current row
        ) as range_number

    from reached

),

merged as (

    select
        platform,
        account_id,
        is_complete,
        min(first_date) as first_date,
        max(last_date) as last_date

    from numbered
    group by platform, account_id, is_complete, range_number

)

select * from merged
