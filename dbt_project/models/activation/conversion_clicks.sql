/*
    Grain: one row per touch with an id that Meta knows again: the click id of a chat's ad, or the
    lead id of an instant form.

    Of an instant form its own id counts, of a chat that of the message with the evidence (E6). Test
    leads have none (rule R14). Contains ids as Meta gave them, so it is never published.
*/

with

touches as (

    select
        *,
        case when basis = 'lead_form' then touch_id else evidence_key end as id_key

    from {{ ref('int_touches__classified') }}

),

ids as (

    select
        message_key as id_key,
        ctwa_clid,
        waba_id,
        cast(null as {{ dbt.type_string() }}) as leadgen_id,
        cast(null as {{ dbt.type_string() }}) as page_id,
        phone_key,
        bsuid_key,
        cast(null as {{ dbt.type_string() }}) as email_key

    from {{ ref('int_messages__deduplicated') }}
    where ctwa_clid <> ''

    union all

    select
        form_key as id_key,
        cast(null as {{ dbt.type_string() }}) as ctwa_clid,
        cast(null as {{ dbt.type_string() }}) as waba_id,
        leadgen_id,
        page_id,
        phone_key,
        cast(null as {{ dbt.type_string() }}) as bsuid_key,
        email_key

    from {{ ref('int_web_leads__deduplicated') }}
    where
        leadgen_id is not null
        and not is_test

),

conversion_clicks as (

    select
        touches.touch_id,
        touches.person_key,
        touches.lead_scope,
        touches.lead_cycle,
        touches.has_referral,
        touches.occurred_at,
        ids.ctwa_clid,
        ids.waba_id,
        ids.leadgen_id,
        ids.page_id,
        ids.phone_key,
        ids.bsuid_key,
        ids.email_key

    from touches
    inner join ids
        on touches.id_key = ids.id_key

)

select * from conversion_clicks
