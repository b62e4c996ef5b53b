-- Rule R1 for web forms: every form in an envelope is a row or a repeat of one, and a touch.
with

counted as (

    select
        (
            select coalesce(sum(envelopes.web_leads), 0)
            from {{ source('event_log', 'envelopes') }} as envelopes
        ) as in_envelopes,
        (
            select coalesce(sum(forms.copies), 0)
            from {{ ref('int_web_leads__deduplicated') }} as forms
        ) as in_rows,
        (select count(*) from {{ ref('int_web_leads__deduplicated') }}) as forms,
        (
            select count(*) from {{ ref('fct_touches') }} as touches
            where touches.origin = 'web'
        ) as touches

)

select * from counted
where
    in_envelopes <> in_rows
    or forms <> touches
