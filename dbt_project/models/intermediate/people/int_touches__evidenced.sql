{{
    config(
        unique_key='person_key',
        pre_hook="{{ forget_vanished_people(
            ref('int_messages__in_conversations'), 'upstream.is_touch'
        ) }}"
    )
}}

/*
    Grain: one row per touch, with the evidence that its source rests on.

    Evidence is the touch's own referral. A first message that Meta withheld (131060), or whose chat
    it billed as opened by an ad, borrows the first referral that follows within 72 hours in its
    conversation (E6): `evidence_key` is the message whose referral counts, and differs from
    `touch_id` then. `is_billed_as_ad`: Meta billed an answer within 72 hours as free entry point,
    and no referral came before that bill: a bill after one is explained by it. `has_page`: the touch
    is a web form, or the opening of a chat whose coded link was clicked on a page (E21).
*/

with

{% if is_incremental() %}
people_to_build as (

    {{ changed_people(ref('int_messages__in_conversations')) }}

),
{% endif %}

touches as (

    select * from {{ ref('int_messages__in_conversations') }}
    where
        is_touch
    {% if is_incremental() %}
            and person_key in (select people_to_build.person_key from people_to_build)
        {% endif %}

),

conversations as (

    select * from {{ ref('int_conversations__built') }}

),

pages as (

    select touch_id from {{ ref('int_pages__classified') }}

),

with_signs as (

    select
        touches.message_key as touch_id,
        touches.person_key,
        touches.lead_scope,
        touches.lead_cycle,
        touches.identity_key,
        touches.conversation_id,
        touches.business_number_id,
        touches.brand,
        touches.app,
        touches.origin,
        touches.country,
        touches.sent_at as occurred_at,
        touches.is_opening,
        touches.is_withheld,
        touches.has_referral,
        conversations.started_by,
        case
            when
                conversations.first_referral_at
                <= {{ dbt.dateadd('hour', 72, 'touches.sent_at') }}
                then conversations.first_referral_key
        end as following_referral_key,
        coalesce(
            conversations.first_free_entry_at
            <= {{ dbt.dateadd('hour', 72, 'touches.sent_at') }}
            and (
                conversations.first_referral_at is null
                or conversations.first_referral_at > conversations.first_free_entry_at
            ),
            false
        ) as is_billed_as_ad

    from touches
    left join conversations
        on touches.conversation_id = conversations.conversation_id

),

in_context as (

    select
        with_signs.*,
        case
            when with_signs.has_referral then with_signs.touch_id
            when with_signs.is_withheld or with_signs.is_billed_as_ad
                then with_signs.following_referral_key
        end as evidence_key

    from with_signs

),

evidenced as (

    select
        in_context.touch_id,
        in_context.person_key,
        in_context.lead_scope,
        in_context.lead_cycle,
        in_context.identity_key,
        in_context.conversation_id,
        in_context.business_number_id,
        in_context.brand,
        in_context.app,
        in_context.evidence_key,
        in_context.origin,
        in_context.country,
        in_context.started_by,
        in_context.is_opening,
        in_context.is_withheld,
        in_context.is_billed_as_ad,
        in_context.has_referral,
        evidence.message_key is not null as has_evidence,
        evidence.referral_source_type,
        evidence.referral_source_id,
        coalesce(evidence.has_click_id, false) as has_click_id,
        pages.touch_id is not null
        and not in_context.has_referral
        and (in_context.origin = 'web' or in_context.is_opening) as has_page,
        in_context.occurred_at,
        {{ rule_set() }} as rule_set,
        (
            select max(upstream.changed_seq)
            from {{ ref('int_messages__in_conversations') }} as upstream
        ) as changed_seq

    from in_context
    left join pages
        on in_context.touch_id = pages.touch_id
    left join {{ ref('int_messages__in_conversations') }} as evidence
        on in_context.evidence_key = evidence.message_key

)

select * from evidenced
