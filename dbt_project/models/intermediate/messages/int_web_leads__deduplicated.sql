/*
    Grain: one row per form, of the site or one of Meta's instant forms: its lead_id.

    A form that is sent again is one touch: of copies that differ the earliest counts, then the one
    with the smaller content, never the last to arrive (rule R3). What Meta says of an instant form
    comes before what another system forwards of it under the same id.
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

    {{ deduplicate(
        'copies',
        'form_key',
        'case when lead_form_id is null then 1 else 0 end, submitted_at, content_key'
    ) }}

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
        leadgen_id,
        lead_form_id,
        page_id,
        is_organic,
        coalesce(is_test, false) as is_test,
        content_key,
        copies,
        changed_seq

    from earliest

)

select * from deduplicated
