/*
    Grain: one row per two people kept apart although they share an identifier (rule R4).

    `recycled_number`: the phone number they share was seen with another user id after a long
    silence, so it has a new owner (E28). `shared_identifier`: so many people are said to have what
    they share that it joins nobody (E86). `corrected`: the CRM took back what would have joined
    them. Each side is named by the person's first lead, if there is one; for the last two reasons,
    people without a lead are left out.
*/

with

refused as (

    select * from {{ source('identity', 'refused') }}

),

leads as (

    select
        person_key,
        lead_id,
        row_number() over (partition by person_key order by first_touch_at, lead_id) as place

    from {{ ref('int_leads__sourced') }}

),

identity_conflicts as (

    select
        refused.refusal_id as conflict_id,
        earlier.lead_id as lead_id_earlier,
        later.lead_id as lead_id_later,
        refused.reason,
        refused.last_seen_earlier_at,
        refused.first_seen_later_at

    from refused
    left join leads as earlier
        on
            refused.earlier_person_key = earlier.person_key
            and earlier.place = 1
    left join leads as later
        on
            refused.later_person_key = later.person_key
            and later.place = 1
    where
        refused.reason = 'recycled_number'
        or (refused.reason = 'shared_identifier' and later.lead_id is not null)
        or (earlier.lead_id is not null and later.lead_id is not null)

)

select * from identity_conflicts
