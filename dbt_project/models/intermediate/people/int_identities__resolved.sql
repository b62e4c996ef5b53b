{{ config(unique_key='identity_key') }}

{%- set seen = own_highest('changed_seq') if is_incremental() %}

/*
    Grain: one row per identity that is linked to another (rule R4).

    `person_key` is the smallest of all identities of the person. An identity without a row is a
    person of its own. What is linked is one person, unless a phone among it changed hands (E28):
    then a link of that phone is one of whoever held it when the link was first observed, and what
    the new holder's own user ids have to do with the phone joins nobody. Late evidence may join
    people or take them apart again, so whoever new evidence touches is resolved again whole.
*/

with recursive

links as (

    select * from {{ ref('int_identities__linked') }}

),

clusters as (

    select * from {{ ref('int_identities__clustered') }}

),

sightings as (

    select * from {{ ref('int_phones__sighted') }}

),

holdings as (

    select * from {{ ref('int_phones__held') }}

),

{% if is_incremental() %}
disturbed as (

    select left_key as identity_key
    from links
    where changed_seq > {{ seen }}
    union distinct
    select phone_key as identity_key
    from sightings
    where changed_seq > {{ seen }}

),

{% endif %}
members as (

    select
        identity_key,
        cluster_key

    from clusters
    {% if is_incremental() %}
        where
            cluster_key in (
                select near_disturbed.cluster_key
                from clusters as near_disturbed
                inner join disturbed
                    on near_disturbed.identity_key = disturbed.identity_key
            )
    {% endif %}

),

split_clusters as (

    select distinct members.cluster_key
    from members
    inner join holdings
        on members.identity_key = holdings.phone_key

),

split_members as (

    select identity_key
    from members
    where cluster_key in (select split_clusters.cluster_key from split_clusters)

),

-- The phone and the user ids of whoever got it later: no evidence that both holders are one.
refused_pairs as (

    select distinct
        phone_key,
        bsuid_key

    from sightings
    where held_from is not null

),

split_links as (

    select
        links.left_key,
        links.right_key,
        min(links.first_observed_at) as first_observed_at

    from links
    inner join split_members
        on links.left_key = split_members.identity_key
    left join refused_pairs
        on
            links.phone_key = refused_pairs.phone_key
            and links.bsuid_key = refused_pairs.bsuid_key
    where refused_pairs.phone_key is null
    group by
        links.left_key,
        links.right_key

),

links_at_their_time as (

    select
        coalesce(left_held.identity_key, split_links.left_key) as left_node,
        coalesce(right_held.identity_key, split_links.right_key) as right_node

    from split_links
    left join holdings as left_held
        on {{ holds_at('left_held', 'split_links.left_key', 'split_links.first_observed_at') }}
    left join holdings as right_held
        on {{ holds_at('right_held', 'split_links.right_key', 'split_links.first_observed_at') }}

),

{{ connected_components('links_at_their_time') }},

resolved as (

    select
        members.identity_key,
        case
            when split_clusters.cluster_key is null then members.cluster_key
            else coalesce(labels.label, members.identity_key)
        end as person_key

    from members
    left join split_clusters
        on members.cluster_key = split_clusters.cluster_key
    left join labels
        on members.identity_key = labels.node

),

stamped as (

    select
        resolved.identity_key,
        resolved.person_key,
        (
            select max(upstream.changed_seq)
            from (
                select max(links.changed_seq) as changed_seq from links
                union all
                select max(sightings.changed_seq) as changed_seq from sightings
            ) as upstream
        ) as changed_seq

    from resolved
    {% if is_incremental() %}
        left join {{ this }} as known
            on resolved.identity_key = known.identity_key
        where
            known.identity_key is null
            or resolved.person_key <> known.person_key
    {% endif %}

)

select * from stamped
