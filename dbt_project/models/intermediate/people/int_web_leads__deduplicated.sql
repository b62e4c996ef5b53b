{{ config(unique_key='form_key') }}

{%- set columns = [
    'form_key', 'web_lead_key', 'phone_key', 'email_key', 'country', 'brand', 'submitted_at',
    'page_host', 'page_path', 'referrer_host', 'utm_source', 'utm_medium', 'utm_campaign',
    'utm_content', 'utm_term', 'utm_id', 'ad_platform', 'ad_id', 'adset_id', 'campaign_id',
    'has_unexpanded_macro', 'gclid', 'gbraid', 'wbraid', 'fbclid', 'msclkid', 'content_key',
] %}

/*
    Grain: one row per web form: its lead_id.

    A form that is sent again is one touch: of copies that differ the earliest counts, then the one
    with the lesser content, never the one that came last (rule R3).
*/

with

new_copies as (

    select
        {% for column in columns %}
        {{ column }},
        {% endfor %}
        cast(1 as bigint) as copies,
        cast(null as bigint) as known_seq

    from {{ ref('stg_event_log__web_leads') }}
    {% if is_incremental() %}
        where seq > {{ own_highest('read_seq') }}
    {% endif %}

),

candidates as (

    select * from new_copies

    {% if is_incremental() %}
        union all

        select
            {% for column in columns %}
                {{ column }},
            {% endfor %}
            copies,
            changed_seq as known_seq

        from {{ this }}
        where form_key in (select new_copies.form_key from new_copies)
    {% endif %}

),

ranked as (

    select
        *,
        cast(sum(copies) over (partition by form_key) as bigint) as all_copies,
        row_number() over (
            partition by form_key
            order by
                submitted_at,
                content_key,
                case when known_seq is null then 1 else 0 end
        ) as preference

    from candidates

),

deduplicated as (

    select
        {% for column in columns %}
        {{ column }},
        {% endfor %}
        all_copies as copies,
        coalesce(known_seq, {{ lake_seq() }}) as changed_seq,
        {{ lake_seq() }} as read_seq

    from ranked
    where preference = 1

)

select * from deduplicated
