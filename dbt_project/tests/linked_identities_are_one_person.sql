-- Rule R4: both ends of every link belong to one person, the phone's end to its holder at the time.
with

refused as (

    select distinct
        phone_key,
        bsuid_key

    from {{ ref('int_phones__sighted') }}
    where held_from is not null

),

links as (

    select
        links.left_key,
        links.right_key,
        min(links.first_observed_at) as first_observed_at

    from {{ ref('int_identities__linked') }} as links
    left join refused
        on
            links.phone_key = refused.phone_key
            and links.bsuid_key = refused.bsuid_key
    where refused.phone_key is null
    group by
        links.left_key,
        links.right_key

),

held as (

    select
        links.left_key,
        links.right_key,
        coalesce(left_held.identity_key, links.left_key) as left_identity,
        coalesce(right_held.identity_key, links.right_key) as right_identity

    from links
    left join {{ ref('int_phones__held') }} as left_held
        on {{ holds_at('left_held', 'links.left_key', 'links.first_observed_at') }}
    left join {{ ref('int_phones__held') }} as right_held
        on {{ holds_at('right_held', 'links.right_key', 'links.first_observed_at') }}

)

select
    held.left_key,
    held.right_key,
    left_identities.person_key as left_person,
    right_identities.person_key as right_person

from held
left join {{ ref('int_identities__resolved') }} as left_identities
    on held.left_identity = left_identities.identity_key
left join {{ ref('int_identities__resolved') }} as right_identities
    on held.right_identity = right_identities.identity_key
where
    left_identities.person_key is null
    or right_identities.person_key is null
    or left_identities.person_key <> right_identities.person_key
