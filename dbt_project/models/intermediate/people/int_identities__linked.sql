{{ config(unique_key='edge_key') }}

{%- set seen = own_highest('read_seq') if is_incremental() %}

/*
    Grain: one row per pair of identities that something shows to be one person (rule R4), and WABA
    that showed it.

    A message that copies show under several identities (E2) stands between them, as an identity of
    its own. Where one payload of WhatsApp shows a phone and a user id together, `phone_key` and
    `bsuid_key` say which is which, and `first_seen_at` and `last_seen_at` when they were seen
    together: what decides about recycled numbers (E28). A notice that a user id was replaced is no
    such sighting (`is_id_change`). All times are minima or maxima, so rows may come in any order.
    `changed_seq` tells of what may join people anew, `read_seq` of any row seen.
*/

with

shown as (

    select
        left_key,
        left_kind,
        right_key,
        right_kind,
        waba_id,
        link_kind,
        observed_at

    from {{ ref('stg_event_log__identity_links') }}
    where
        left_key <> right_key
    {% if is_incremental() %}
            and seq > {{ seen }}
        {% endif %}

    union all

    select
        identity_key as left_key,
        'any' as left_kind,
        message_key as right_key,
        'message' as right_kind,
        cast(null as {{ dbt.type_string() }}) as waba_id,
        'copy' as link_kind,
        first_shown_at as observed_at

    from {{ ref('int_messages__addressed') }}
    {% if is_incremental() %}
        where read_seq > {{ seen }}
    {% endif %}

),

described as (

    select
        case when left_key < right_key then left_key else right_key end as left_key,
        case when left_key < right_key then right_key else left_key end as right_key,
        waba_id,
        case
            when left_kind = 'phone' and right_kind = 'bsuid' then left_key
            when left_kind = 'bsuid' and right_kind = 'phone' then right_key
        end as phone_key,
        case
            when left_kind = 'phone' and right_kind = 'bsuid' then right_key
            when left_kind = 'bsuid' and right_kind = 'phone' then left_key
        end as bsuid_key,
        left_kind = 'bsuid' and right_kind = 'bsuid' as is_between_bsuids,
        link_kind = 'id_change' as is_id_change,
        observed_at

    from shown

),

with_sightings as (

    select
        *,
        case
            when phone_key is not null and waba_id is not null and not is_id_change
                then observed_at
        end as seen_at

    from described

),

observed as (

    select
        left_key || '-' || right_key || '-' || coalesce(waba_id, '') as edge_key,
        left_key,
        right_key,
        waba_id,
        min(phone_key) as phone_key,
        min(bsuid_key) as bsuid_key,
        max(case when is_between_bsuids then 1 else 0 end) = 1 as is_between_bsuids,
        max(case when is_id_change then 1 else 0 end) = 1 as is_id_change,
        min(observed_at) as first_observed_at,
        min(seen_at) as first_seen_at,
        max(seen_at) as last_seen_at

    from with_sightings
    group by
        left_key,
        right_key,
        waba_id

),

{% if is_incremental() %}
linked as (

    select
        observed.edge_key,
        observed.left_key,
        observed.right_key,
        observed.waba_id,
        observed.phone_key,
        observed.bsuid_key,
        observed.is_between_bsuids,
        observed.is_id_change or coalesce(known.is_id_change, false) as is_id_change,
        case
            when known.first_observed_at < observed.first_observed_at
                then known.first_observed_at
            else observed.first_observed_at
        end as first_observed_at,
        case
            when observed.first_seen_at is null or known.first_seen_at < observed.first_seen_at
                then known.first_seen_at
            else observed.first_seen_at
        end as first_seen_at,
        case
            when observed.last_seen_at is null or known.last_seen_at > observed.last_seen_at
                then known.last_seen_at
            else observed.last_seen_at
        end as last_seen_at,
        case
            when
                known.first_observed_at <= observed.first_observed_at
                and (known.is_id_change or not observed.is_id_change)
                then known.changed_seq
            else {{ lake_seq() }}
        end as changed_seq,
        {{ lake_seq() }} as read_seq

    from observed
    left join {{ this }} as known
        on observed.edge_key = known.edge_key

)
{% else %}
linked as (

    select
        *,
        {{ lake_seq() }} as changed_seq,
        {{ lake_seq() }} as read_seq

    from observed

)
{% endif %}

select * from linked
