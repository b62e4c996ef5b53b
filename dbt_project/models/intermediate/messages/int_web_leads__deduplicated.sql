/*
    Grain: one row per web form: its lead_id.

    A form that is sent again is one touch: of copies that differ the earliest counts, then the one
    with the smaller content, never the last to arrive (rule R3).
*/

with

copies as (

    select
        *,
        count(*) over (partition by form_key) as copies,
        max(seq) over (partition by form_key) as changed_seq

    from {{ source('event_log', 'web_leads') }}

),

earliest as (

    {{ deduplicate('copies', 'form_key', 'submitted_at, content_key') }}

),

deduplicated as (

    select
        form_key,
        web_lead_key,
        phone_key,
        email_key,
        country,
        brand,
        submitted_at,
        {{ page_columns() | join(',\n        ') }},
        content_key,
        copies,
        changed_seq

    from earliest

)

select * from deduplicated
