{{ config(unique_key='identity_key') }}

/*
    Grain: one row per identity that is linked to another (rule R4).

    `person_key` is the smallest of all connected identities. An identity without a link is its own
    person and has no row here. A run looks at new links only, between the people known so far, and
    changes the rows of those who turn out to be one.
*/

with recursive

new_links as (

    select
        left_key,
        right_key,
        changed_seq

    from {{ ref('int_identities__linked') }}
    {% if is_incremental() %}
        where changed_seq > {{ own_highest('changed_seq') }}
    {% endif %}

),

{% if is_incremental() %}
known as (

    select
        identity_key,
        person_key

    from {{ this }}

),

links_of_people as (

    select
        coalesce(left_known.person_key, new_links.left_key) as left_node,
        coalesce(right_known.person_key, new_links.right_key) as right_node

    from new_links
    left join known as left_known
        on new_links.left_key = left_known.identity_key
    left join known as right_known
        on new_links.right_key = right_known.identity_key

),
{% else %}
links_of_people as (

    select
        left_key as left_node,
        right_key as right_node

    from new_links

),
{% endif %}

{{ connected_components('links_of_people') }},

{% if is_incremental() %}
resolved as (

    select
        known.identity_key,
        labels.label as person_key

    from known
    inner join labels
        on known.person_key = labels.node
    where labels.label <> known.person_key

    union all

    -- Identities never linked before; a person known so far is a node, too, but has its rows.
    select
        labels.node as identity_key,
        labels.label as person_key

    from labels
    left join known
        on labels.node = known.identity_key
    where known.identity_key is null

),
{% else %}
resolved as (

    select
        node as identity_key,
        label as person_key

    from labels

),
{% endif %}

stamped as (

    select
        resolved.identity_key,
        resolved.person_key,
        (select max(new_links.changed_seq) from new_links) as changed_seq

    from resolved

)

select * from stamped
