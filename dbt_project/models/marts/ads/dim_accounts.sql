/* Grain: one row per platform and ad account known from the API or from spend. */

with

accounts as (

    select * from {{ ref('int_accounts__described') }}

),

final as (

    select
        platform,
        account_id,
        account_name,
        currency,
        timezone,
        is_timezone_known,
        account_status,
        spend_complete_through

    from accounts

)

select * from final
