{{
    config(
        unique_key='message_key',
        pre_hook="{{ forget_vanished_codes(ref('int_messages__deduplicated')) }}"
    )
}}

/*
    Grain: one row per inbound message with the code of a coded link in its text, and what became of
    it (E21): `matched` to a click on the site's button, or why it does not count.

    `unfit`: edited, or another company's. `several`: two codes in one text. `unknown`: no click
    tells of it. `outranked`: the message has Meta's own referral. `forwarded`: by WhatsApp's mark.
    `expired`: not within `CTWA_LINK_CODE_DAYS` after the click (ten minutes before are let pass,
    clocks differ). `used`: an earlier message had the same code. Whether the message opens its
    conversation, as it must, is seen further on.

    All of them are judged at every run, and rows that come out as before are left alone: a click
    may be told later than the message, and the message that used a code first may come last. A
    message whose winning copy turns out to have no code leaves (rule R2).
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

),

ranked_clicks as (

    select
        *,
        row_number() over (
            partition by link_code_key
            order by clicked_at, content_key, seq, ordinal
        ) as place

    from {{ ref('stg_event_log__link_clicks') }}

),

clicks as (

    select * from ranked_clicks
    where place = 1

),

judged as (

    select
        coded.message_key,
        coded.link_code_key,
        clicks.content_key as click_content_key,
        clicks.clicked_at,
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
        in_order.clicked_at,
        in_order.click_content_key,
        clicks.page_host,
        clicks.page_path,
        clicks.referrer_host,
        clicks.utm_source,
        clicks.utm_medium,
        clicks.utm_campaign,
        clicks.utm_content,
        clicks.utm_term,
        clicks.utm_id,
        clicks.ad_platform,
        clicks.ad_id,
        clicks.adset_id,
        clicks.campaign_id,
        clicks.has_unexpanded_macro,
        clicks.gclid,
        clicks.gbraid,
        clicks.wbraid,
        clicks.fbclid,
        clicks.msclkid,
        {{ lake_seq() }} as changed_seq

    from in_order
    left join clicks
        on
            in_order.link_code_key = clicks.link_code_key
            and in_order.state = 'matched'
            and in_order.place = 1

),

changed as (

    select matched.*
    from matched
    {% if is_incremental() %}
        left join {{ this }} as known
            on matched.message_key = known.message_key
        where
            known.message_key is null
            or matched.link_code_key is distinct from known.link_code_key
            or matched.sent_at is distinct from known.sent_at
            or matched.state is distinct from known.state
            or matched.click_content_key is distinct from known.click_content_key
    {% endif %}

)

select * from changed
