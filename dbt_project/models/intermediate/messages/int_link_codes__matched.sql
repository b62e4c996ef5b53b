/*
    Grain: one row per inbound message with the code of a coded link in its text, and what became of
    it (E21): `matched` to a click on the site's button, or why it does not count.

    `unfit`: edited, or another company's code. `several`: two codes in one text. `unknown`: there
    is no click with this code. `outranked`: the message has Meta's own referral. `forwarded`:
    WhatsApp marked the message as forwarded. `expired`: not within `CTWA_LINK_CODE_DAYS` after the
    click (up to ten minutes before it also count, because clocks differ). `used`: an earlier
    message had the same code. That the message opens its conversation is checked with the touch.

    Rebuilt in full at every run: a click may arrive after its message, and the message that used a
    code first may arrive last.
*/

with

coded as (

    select
        message_key,
        link_code_key,
        link_code_state,
        has_referral,
        is_forwarded,
        sent_at

    from {{ ref('int_messages__deduplicated') }}
    where
        link_code_state is not null
        and direction = 'inbound'
        and not coalesce(is_test, false)

),

clicks as (

    {{ deduplicate(
        source('event_log', 'link_clicks'),
        'link_code_key',
        'clicked_at, content_key, seq, ordinal'
    ) }}

),

judged as (

    select
        coded.message_key,
        coded.link_code_key,
        coded.sent_at,
        case
            when coded.link_code_state <> 'fit' then coded.link_code_state
            when clicks.link_code_key is null then 'unknown'
            when coded.has_referral then 'outranked'
            when coded.is_forwarded then 'forwarded'
            when
                coded.sent_at < {{ dbt.dateadd('minute', -10, 'clicks.clicked_at') }}
                or coded.sent_at > {{ dbt.dateadd('day', link_code_days(), 'clicks.clicked_at') }}
                then 'expired'
            else 'matched'
        end as state

    from coded
    left join clicks
        on coded.link_code_key = clicks.link_code_key

),

in_order as (

    select
        *,
        row_number() over (
            partition by link_code_key, state
            order by sent_at, message_key
        ) as place

    from judged

),

matched as (

    select
        in_order.message_key,
        in_order.link_code_key,
        case
            when in_order.state = 'matched' and in_order.place > 1 then 'used'
            else in_order.state
        end as state,
        in_order.sent_at,
        clicks.{{ page_columns() | join(',\n        clicks.') }}

    from in_order
    left join clicks
        on
            in_order.link_code_key = clicks.link_code_key
            and in_order.state = 'matched'
            and in_order.place = 1

)

select * from matched
