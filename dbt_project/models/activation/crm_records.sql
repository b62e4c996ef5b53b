/*
    Grain: one row per lead and contact of HubSpot that is the same person.

    The lead is the person's first. `seq` is the latest envelope in which the contact stands, from
    which its id can be read. A contact that was merged into another (E29) has no row: HubSpot
    writes to the other alone. One that nothing links to somebody who wrote has none either.
*/

with

links as (

    select * from {{ ref('stg_event_log__identity_links') }}
    where
        link_kind in ('crm_record', 'crm_merge')
        and left_kind = 'crm_record'

),

outcomes as (

    select * from {{ ref('stg_event_log__outcomes') }}
    where
        source = 'hubspot'
        and crm_record_key is not null

),

identities as (

    select * from {{ ref('int_identities__resolved') }}

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
