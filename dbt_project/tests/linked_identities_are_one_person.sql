-- Rule R4: both ends of every link belong to one person.
select
    links.edge_key,
    left_identities.person_key as left_person,
    right_identities.person_key as right_person

from {{ ref('int_identities__linked') }} as links
left join {{ ref('int_identities__resolved') }} as left_identities
    on links.left_key = left_identities.identity_key
left join {{ ref('int_identities__resolved') }} as right_identities
    on links.right_key = right_identities.identity_key
where
    left_identities.person_key is null
    or right_identities.person_key is null
    or left_identities.person_key <> right_identities.person_key
