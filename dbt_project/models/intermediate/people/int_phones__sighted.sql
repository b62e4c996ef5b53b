{{ config(unique_key='sighting_key') }}

/*
    Grain: one row per phone, WABA and user id seen with it, of phones seen with several (E28).

    User ids that notices link are one group: the same person, before and after. A later group holds
    the phone from its first sighting (`held_from`), as a new person, when every earlier one was
    last seen with it `CTWA_RECYCLED_NUMBER_DAYS` or more before. A user id of which a notice says
    that it replaced the id of this very phone is no new person. `holder_key` is the user id of the
    group that was seen first: it stands for the phone from then on. Null where nothing changed
    hands. Within one WABA only: each portfolio sees a person under a user id of its own.

    All such phones are judged at every run, and rows that come out as before are left alone.
*/

with recursive

links as (

    select * from {{ ref('int_identities__linked') }}

),

clusters as (

    select * from {{ ref('int_identities__clustered') }}

),

contested as (

    select
        phone_key,
        waba_id

    from links
    where first_seen_at is not null
    group by
        phone_key,
        waba_id
    having count(*) > 1

),

sightings as (

    select
        links.phone_key,
        links.waba_id,
        links.bsuid_key,
        links.first_seen_at,
        links.last_seen_at

    from links
    inner join contested
        on
            links.phone_key = contested.phone_key
            and links.waba_id = contested.waba_id
    where links.first_seen_at is not null

),

-- Of the links between user ids, those that may matter: near a phone in question.
neighbours as (

    select identity_key
    from clusters
    where
        cluster_key in (
            select near_contested.cluster_key
            from clusters as near_contested
            inner join contested
                on near_contested.identity_key = contested.phone_key
        )

),

bsuid_links as (

    select
        left_key as left_node,
        right_key as right_node

    from links
    where
        is_between_bsuids
        and left_key in (select neighbours.identity_key from neighbours)

),

{{ connected_components('bsuid_links') }},

grouped as (

    select
        sightings.*,
        coalesce(labels.label, sightings.bsuid_key) as group_key,
        row_number() over (
            partition by
                sightings.phone_key, sightings.waba_id, coalesce(labels.label, sightings.bsuid_key)
            order by sightings.first_seen_at, sightings.bsuid_key
        ) as place_in_group

    from sightings
    left join labels
        on sightings.bsuid_key = labels.node

),

-- The phone's person was told to have a new user id: the strongest sign that nobody changed.
replaced_ids as (

    select distinct
        links.phone_key,
        coalesce(labels.label, links.bsuid_key) as group_key

    from links
    left join labels
        on links.bsuid_key = labels.node
    where
        links.is_id_change
        and links.phone_key in (select contested.phone_key from contested)

),

bsuid_groups as (

    select
        phone_key,
        waba_id,
        group_key,
        max(case when place_in_group = 1 then bsuid_key end) as holder_key,
        min(first_seen_at) as first_seen_at,
        max(last_seen_at) as last_seen_at

    from grouped
    group by
        phone_key,
        waba_id,
        group_key

),

in_order as (

    select
        *,
        max(last_seen_at) over (
            partition by phone_key, waba_id
            order by first_seen_at, group_key
            rows between unbounded preceding and 1 preceding
        ) as last_seen_earlier_at

    from bsuid_groups

),

new_holders as (

    select in_order.*
    from in_order
    left join replaced_ids
        on
            in_order.phone_key = replaced_ids.phone_key
            and in_order.group_key = replaced_ids.group_key
    where
        replaced_ids.phone_key is null
        and in_order.first_seen_at
        >= {{ dbt.dateadd('day', recycled_number_days(), 'in_order.last_seen_earlier_at') }}

),

sighted as (

    select
        grouped.phone_key || '-' || grouped.waba_id || '-' || grouped.bsuid_key as sighting_key,
        grouped.phone_key,
        grouped.waba_id,
        grouped.bsuid_key,
        new_holders.holder_key,
        new_holders.first_seen_at as held_from,
        new_holders.last_seen_earlier_at,
        {{ lake_seq() }} as changed_seq

    from grouped
    left join new_holders
        on
            grouped.phone_key = new_holders.phone_key
            and grouped.waba_id = new_holders.waba_id
            and grouped.group_key = new_holders.group_key

),

changed as (

    select sighted.*
    from sighted
    {% if is_incremental() %}
        left join {{ this }} as known
            on sighted.sighting_key = known.sighting_key
        where
            known.sighting_key is null
            or sighted.holder_key is distinct from known.holder_key
            or sighted.held_from is distinct from known.held_from
            or sighted.last_seen_earlier_at is distinct from known.last_seen_earlier_at
    {% endif %}

)

select * from changed
