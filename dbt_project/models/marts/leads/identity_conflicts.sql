/*
    Grain: one row per join of two people that was refused (rule R4).

    They share a phone number, but it was seen with another user id after a long silence, so it was
    given to somebody else (E28). Each side is named by the person's first lead, if there is one.
*/

with

refused as (

    select * from {{ ref('int_identities__refused') }}

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

)

select * from identity_conflicts
