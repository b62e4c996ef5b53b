/*
    Grain: one row per lead and contact of HubSpot that is the same person.

    The lead is the person's first. `seq` is the latest envelope that contains the contact, from
    which its id can be read. A contact that was merged into another (E29) has no row, because
    HubSpot only writes to the other one. Nor has a contact that nothing links to a lead.
*/

with

links as (

    select * from {{ source('event_log', 'identity_links') }}
    where
        link_kind in ('crm_record', 'crm_merge')
        and left_kind = 'crm_record'

),

outcomes as (

    select * from {{ source('event_log', 'outcomes') }}
    where
        source = 'hubspot'
        and crm_record_key is not null

),

identities as (

    select * from {{ source('identity', 'identities') }}

),

leads as (

    select * from {{ ref('int_leads__sourced') }}
    where lead_number = 1

),

merged as (

    select distinct right_key as crm_record_key
    from links
    where link_kind = 'crm_merge'

),

standing as (

    select
        left_key as crm_record_key,
        seq
    from links
    union all
    select
        crm_record_key,
        seq
    from outcomes

),

latest as (

    select
        crm_record_key,
        max(seq) as seq

    from standing
    where crm_record_key not in (select merged.crm_record_key from merged)
    group by crm_record_key

),

crm_records as (

    select
        leads.lead_id,
        latest.crm_record_key,
        latest.seq

    from latest
    inner join identities
        on latest.crm_record_key = identities.identity_key
    inner join leads
        on identities.person_key = leads.person_key

)

select * from crm_records
