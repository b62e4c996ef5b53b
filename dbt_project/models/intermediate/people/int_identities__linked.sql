{{ config(unique_key='edge_key') }}

/*
    Grain: one row per pair of identities that some payload shows to be one person (rule R4).

    `left_key` is the smaller of the two. A row never changes: a pair seen again is no news.
*/

with

observed as (

    select distinct
        case when left_key < right_key then left_key else right_key end as left_key,
        case when left_key < right_key then right_key else left_key end as right_key

    from {{ ref('stg_event_log__identity_links') }}
    where
        left_key <> right_key
    {% if is_incremental() %}
            and seq > {{ own_highest('changed_seq') }}
        {% endif %}

),

linked as (

    select
        observed.left_key || '-' || observed.right_key as edge_key,
        observed.left_key,
        observed.right_key,
        {{ lake_seq() }} as changed_seq

    from observed
    {% if is_incremental() %}
        left join {{ this }} as known
            on
                observed.left_key = known.left_key
                and observed.right_key = known.right_key
        where known.edge_key is null
    {% endif %}

)

select * from linked
