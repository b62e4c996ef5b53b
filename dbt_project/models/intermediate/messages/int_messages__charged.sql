/*
    Grain: one row per message of ours that was delivered on WhatsApp: whether it is charged, and why
    not (docs/message-costs.md).

    What the platform said with the message's statuses decides: `pricing.type`, else `billable`.
    Where it said neither, its published rules do (`charged_by` = `rule`):

    - Whoever writes from an ad and is answered within 24 hours opens a free entry point: for 72
      hours from that answer on, everything is free.
    - Until October 2026 service messages were free, and utility messages within 24 hours of the
      person's last message. From then on both are charged.
    - From then on, a number's first 1,000 service messages of a month are free; those of a free entry
      point do not use them up.

    The market is the recipient's, by phone. A recipient who shows only a user id is charged by the
    market of the business number, which is marked. Days are the reporting time zone's.
*/

with

delivered as (

    select
        statuses.message_key,
        messages.person_key,
        statuses.business_number_id,
        statuses.phone_key is null as is_by_number_market,
        statuses.country,
        statuses.delivered_at,
        {{ local_date('statuses.delivered_at', reporting_timezone()) }} as cost_date,
        statuses.pricing_model,
        statuses.pricing_type,
        statuses.pricing_category as category,
        statuses.is_billable,
        statuses.first_free_entry_at is not null as is_free_entry,
        -- Meta charges nothing for what is written in its own app for businesses.
        coalesce(
            messages.origin = 'echo'
            and statuses.pricing_category is null
            and coalesce(messages.held_by, 'own') = 'own',
            false
        ) as is_from_app,
        statuses.pricing_category is not null
        and statuses.pricing_type is null
        and statuses.is_billable is null as is_for_rules

    from {{ ref('int_statuses__by_message') }} as statuses
    inner join {{ ref('int_messages__with_person') }} as messages
        on statuses.message_key = messages.message_key
    where
        statuses.delivered_at is not null
        and not statuses.is_test

),

chats as (

    select
        message_key,
        person_key,
        business_number_id,
        direction,
        sent_at,
        direction = 'inbound'
        and has_referral
        and coalesce(referral_source_type, 'ad') = 'ad' as is_from_ad

    from {{ ref('int_messages__with_person') }}
    where
        origin <> 'web'
        and person_key in (
            select delivered.person_key
            from delivered
            where delivered.is_for_rules
        )

),

after_last as (

    select
        *,
        max(case when direction = 'inbound' then sent_at end) over so_far as last_inbound_at,
        max(case when is_from_ad then sent_at end) over so_far as last_from_ad_at

    from chats
    window so_far as (
        partition by person_key, business_number_id
        order by sent_at, direction, message_key
        rows between unbounded preceding and current row
    )

),

answers as (

    select
        *,
        row_number() over (
            partition by person_key, business_number_id, last_from_ad_at, direction
            order by sent_at, message_key
        ) as place

    from after_last

),

in_windows as (

    select
        message_key,
        coalesce(
            sent_at < {{ dbt.dateadd('hour', 24, 'last_inbound_at') }}, false
        ) as is_in_service_window,
        coalesce(
            sent_at < max(
                case
                    when
                        place = 1
                        and direction = 'outbound'
                        and sent_at <= {{ dbt.dateadd('hour', 24, 'last_from_ad_at') }}
                        then {{ dbt.dateadd('hour', 72, 'sent_at') }}
                end
            ) over (
                partition by person_key, business_number_id
                order by sent_at, direction, message_key
                rows between unbounded preceding and current row
            ),
            false
        ) as is_in_free_entry

    from answers

),

with_windows as (

    select
        delivered.*,
        coalesce(in_windows.is_in_service_window, false) as is_in_service_window,
        delivered.is_free_entry
        or (delivered.is_for_rules and coalesce(in_windows.is_in_free_entry, false)) as is_free,
        delivered.cost_date >= cast('2026-10-01' as date) as is_since_october_2026

    from delivered
    left join in_windows
        on delivered.message_key = in_windows.message_key

),

counted as (

    select
        *,
        case
            when category = 'service' and is_since_october_2026 and not is_free
                then row_number() over (
                    partition by
                        business_number_id,
                        {{ dbt.date_trunc('month', 'cost_date') }},
                        category = 'service' and is_since_october_2026 and not is_free
                    order by delivered_at, message_key
                )
        end as place_in_month

    from with_windows

),

countries as (

    select * from {{ ref('message_markets') }}

),

numbers as (

    select
        listed.business_number_id,
        countries.market,
        row_number() over (
            partition by listed.business_number_id
            order by length(countries.calling_code) desc, countries.country
        ) as place

    from (select distinct counted.business_number_id from counted) as listed
    inner join countries
        on listed.business_number_id like countries.calling_code || '%'

),

charged as (

    select
        counted.message_key,
        counted.business_number_id,
        counted.cost_date,
        coalesce(counted.category, 'unknown') as category,
        case
            when counted.is_by_number_market then numbers.market
            else coalesce(countries.market, counted.country)
        end as market,
        counted.is_by_number_market,
        case
            when counted.is_from_app then 'business_app'
            when counted.is_free then 'free_entry_point'
            when
                counted.pricing_type like 'free%'
                and counted.category = 'service'
                and counted.is_since_october_2026
                then 'allowance'
            when counted.pricing_type like 'free%' then 'service_window'
            when counted.pricing_type is not null then 'charged'
            when counted.is_billable then 'charged'
            when not counted.is_billable then 'not_billable'
            when counted.category is null then 'unknown'
            when
                not counted.is_since_october_2026
                and (
                    counted.category = 'service'
                    or (counted.category = 'utility' and counted.is_in_service_window)
                )
                then 'service_window'
            when counted.place_in_month <= 1000 then 'allowance'
            else 'charged'
        end as charge,
        case when counted.is_for_rules then 'rule' else 'platform' end as charged_by,
        -- Until July 2025 conversations were charged, not messages.
        coalesce(counted.pricing_model = 'cbp', false)
        or counted.cost_date < cast('2025-07-01' as date) as is_by_conversation

    from counted
    left join countries
        on counted.country = countries.country
    left join numbers
        on
            counted.business_number_id = numbers.business_number_id
            and numbers.place = 1

)

select * from charged
