/*
    Grain: one row per platform, ad account and period in which its name, currency and time zone
    stayed the same (E43).

    Made from the reads that found the account new or changed, in their order. The first version
    also holds for all time before, so that every spend finds one. Amounts do not depend on it: a
    row of spend has the currency in which it was billed.
*/

with

accounts as (

    select * from {{ source('ads', 'accounts') }}

),

compared as (

    select
        platform,
        account_id,
        account_name,
        currency,
        timezone,
        read_no,
        -- Forced to rise with the number of the read, so a clock that was set back makes no
        -- overlap.
        max(read_at) over (
            partition by platform
            order by read_no
            range between unbounded preceding and current row
        ) as seen_at,
        row_number() over versions as place,
        lag(account_name) over versions as account_name_before,
        lag(currency) over versions as currency_before,
        lag(timezone) over versions as timezone_before

    from accounts
    window versions as (partition by platform, account_id order by read_no)

),

changes as (

    select
        platform,
        account_id,
        account_name,
        currency,
        timezone,
        read_no,
        case when place = 1 then {{ beginning_of_time() }} else seen_at end as valid_from

    from compared
    where
        place = 1
        or account_name is distinct from account_name_before
        or currency is distinct from currency_before
        or timezone is distinct from timezone_before

),

ranked as (

    select
        *,
        row_number() over (partition by platform, account_id, valid_from order by read_no desc) as recency

    from changes

),

final as (

    select
        platform,
        account_id,
        valid_from,
        account_name,
        currency,
        timezone,
        lead(valid_from) over (partition by platform, account_id order by valid_from) as valid_to

    from ranked
    where recency = 1

)

select * from final
