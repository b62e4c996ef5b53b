/*
    Grain: one row per platform and ad account known from the API or from spend.

    `timezone` is what the API says; `is_timezone_known` says whether the warehouse knows it.
*/

with

accounts as (

    select * from {{ source('ads', 'accounts') }}

),

insight_days as (

    select * from {{ ref('int_insight_days__latest') }}

),

insight_reads as (

    select * from {{ source('ads', 'spend_reads') }}

),

latest_accounts as (

    {{ latest_read('accounts', ['platform', 'account_id']) }}

),

ranked_days as (

    select
        *,
        row_number() over (
            partition by platform, account_id
            order by read_no desc, spend_date desc
        ) as recency

    from insight_days

),

read_through as (

    select
        platform,
        account_id,
        max(until_date) as spend_complete_through

    from insight_reads
    group by platform, account_id

),

ids as (

    select
        platform,
        account_id
    from latest_accounts
    union distinct
    select
        platform,
        account_id
    from insight_days
    union distinct
    select
        platform,
        account_id
    from insight_reads

),

described as (

    select
        ids.platform,
        ids.account_id,
        latest_accounts.account_name,
        coalesce(latest_accounts.currency, ranked_days.currency) as currency,
        latest_accounts.timezone,
        {{ is_known_timezone('latest_accounts.timezone') }} as is_timezone_known,
        latest_accounts.account_status,
        read_through.spend_complete_through

    from ids
    left join latest_accounts
        on
            ids.platform = latest_accounts.platform
            and ids.account_id = latest_accounts.account_id
    left join ranked_days
        on
            ids.platform = ranked_days.platform
            and ids.account_id = ranked_days.account_id
            and ranked_days.recency = 1
    left join read_through
        on
            ids.platform = read_through.platform
            and ids.account_id = read_through.account_id

)

select * from described
