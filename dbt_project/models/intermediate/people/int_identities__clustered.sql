{{ config(unique_key='identity_key') }}

/*
    Grain: one row per identity that anything links to another, refused links included (rule R4).

    `cluster_key` is the smallest of all connected identities. Clusters only ever grow: a run looks
    at new links only, between the clusters known so far. A cluster is one person, unless a phone in
    it changed hands: `int_identities__resolved` takes such ones apart.
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
        cluster_key

    from {{ this }}

),

links_of_clusters as (

    select
        coalesce(left_known.cluster_key, new_links.left_key) as left_node,
        coalesce(right_known.cluster_key, new_links.right_key) as right_node

    from new_links
    left join known as left_known
        on new_links.left_key = left_known.identity_key
    left join known as right_known
        on new_links.right_key = right_known.identity_key

),
{% else %}
links_of_clusters as (

    select
        left_key as left_node,
        right_key as right_node

    from new_links

),
{% endif %}

{{ connected_components('links_of_clusters') }},

{% if is_incremental() %}
clustered as (

    select
        known.identity_key,
        labels.label as cluster_key

    from known
    inner join labels
        on known.cluster_key = labels.node
    where labels.label <> known.cluster_key

    union all

    -- Identities never linked before; a cluster known so far is a node, too, but has its rows.
    select
        labels.node as identity_key,
        labels.label as cluster_key

    from labels
    left join known
        on labels.node = known.identity_key
    where known.identity_key is null

),
{% else %}
clustered as (

    select
        node as identity_key,
        label as cluster_key

    from labels

),
{% endif %}

stamped as (

    select
        clustered.identity_key,
        clustered.cluster_key,
        (select max(new_links.changed_seq) from new_links) as changed_seq

    from clustered

)

select * from stamped
