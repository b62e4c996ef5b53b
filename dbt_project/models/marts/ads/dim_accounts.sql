/*
    Grain: one row per platform and ad account known from the API or from spend.

    It also says how far the account's spend is known (rule R13). `as_of` is only partly over, so it
    is no gap.
*/

with

accounts as (

    select * from {{ ref('int_accounts__described') }}

),

read_ranges as (

    select
        platform,
        account_id,
        max(last_date) as spend_read_through

    from {{ ref('int_spend_reads__merged') }}
    where is_complete
    group by platform, account_id

),

open_days as (

    select
        platform,
        account_id,
        spend_date,
        unread_reason
    from {{ ref('int_spend_days__unread') }}
    where spend_date < {{ as_of() }}

),

gaps as (

    select
        open_days.platform,
        open_days.account_id,
        count(*) as spend_unread_days,
        min(
            case
                when
                    read_ranges.platform is null
                    or open_days.spend_date > read_ranges.spend_read_through
                    then open_days.spend_date
            end
        ) as spend_unread_since

    from open_days
    left join read_ranges
        on
            open_days.platform = read_ranges.platform
            and open_days.account_id = read_ranges.account_id
    group by open_days.platform, open_days.account_id

),

final as (

    select
        accounts.platform,
        accounts.account_id,
        accounts.account_name,
        accounts.currency,
        accounts.timezone,
        accounts.is_timezone_known,
        accounts.account_status,
        accounts.spend_complete_through,
        cast(read_ranges.spend_read_through as date) as spend_read_through,
        gaps.spend_unread_since,
        cast(coalesce(gaps.spend_unread_days, 0) as bigint) as spend_unread_days

    from accounts
    left join read_ranges
        on
            accounts.platform = read_ranges.platform
            and accounts.account_id = read_ranges.account_id
    left join gaps
        on
            accounts.platform = gaps.platform
            and accounts.account_id = gaps.account_id

)

select * from final
