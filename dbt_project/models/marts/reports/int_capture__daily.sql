{{ config(schema='intermediate', contract={'enforced': false}) }}
/*
    Grain: one row per day, in the reporting time zone, with what came in and what could not be
    used.

    Envelopes, quarantine and webhook fields that the parser does not know, or in which it found
    people in a list that it does not read (E80), count on the day of receipt: what Meta moves to a
    new field is lost without an error, and shows here on the first day. Repeats (deliveries of a
    message beyond its first, rules R1, R2) count on the day the message was sent, because the day
    of the second delivery is chance. Web forms count on the day they were sent, codes of coded
    links on the day of their message (`link_code_conflicts`: codes that do not count, E21).
*/

{% set parts = [
    'envelope_days', 'quarantine_days', 'repeat_days', 'field_days', 'form_days', 'link_code_days'
] %}
with

envelopes as (

    select
        *,
        {{ local_date('received_at', reporting_timezone()) }} as report_date
    from {{ source('event_log', 'envelopes') }}

),

envelope_days as (

    select
        report_date,
        count(*) as envelopes,
        sum(mended_values) as mended_values,
        max(received_at) as last_envelope_at

    from envelopes
    group by report_date

),

quarantine as (

    select
        seq,
        {{ local_date('received_at', reporting_timezone()) }} as report_date
    from {{ source('event_log', 'quarantine') }}

),

quarantine_days as (

    select
        report_date,
        count(distinct seq) as quarantined_envelopes,
        count(*) as quarantined_elements

    from quarantine
    group by report_date

),

repeats as (

    select
        copies - 1 as repeats,
        {{ local_date('sent_at', reporting_timezone()) }} as report_date
    from {{ ref('int_messages__deduplicated') }}
    where
        copies > 1
        and not coalesce(is_test, false)

),

repeat_days as (

    select
        report_date,
        sum(repeats) as repeats

    from repeats
    group by report_date

),

changes as (

    select
        field,
        holds_people,
        {{ local_date('received_at', reporting_timezone()) }} as report_date
    from {{ source('event_log', 'account_events') }}
    where not is_known

),

unknown_fields as (

    select
        report_date,
        field,
        count(*) as changes,
        sum(case when holds_people then 1 else 0 end) as changes_with_people,
        row_number() over (partition by report_date order by count(*) desc, field asc) as place

    from changes
    group by report_date, field

),

field_days as (

    select
        report_date,
        sum(changes) as unknown_field_changes,
        sum(changes_with_people) as unknown_field_changes_with_people,
        {{ dbt.listagg(
            "case when place <= 10 then field || ' (' || cast(changes as " ~ dbt.type_string() ~ ") || ')' end",
            "', '", 'order by place'
        ) }} as unknown_fields

    from unknown_fields
    group by report_date

),

forms as (

    select {{ local_date('occurred_at', reporting_timezone()) }} as report_date
    from {{ ref('fct_touches') }}
    where
        origin = 'web'
        and not {{ is_test_person('lead_id') }}

),

form_days as (

    select
        report_date,
        count(*) as web_leads

    from forms
    group by report_date

),

link_codes as (

    select
        {{ local_date('link_codes.sent_at', reporting_timezone()) }} as report_date,
        coalesce(link_codes.state = 'matched' and touches.is_from_page, false) as is_matched

    from {{ ref('int_link_codes__matched') }} as link_codes
    left join {{ ref('fct_touches') }} as touches
        on link_codes.message_key = touches.touch_id

),

link_code_days as (

    select
        report_date,
        sum(case when is_matched then 1 else 0 end) as link_codes_matched,
        sum(case when is_matched then 0 else 1 end) as link_code_conflicts

    from link_codes
    group by report_date

),

days as (

    {% for part in parts %}
    select report_date from {{ part }}
    {{ 'union distinct' if not loop.last }}
    {% endfor %}

)

select
    days.report_date,
    envelope_days.last_envelope_at,
    {% for count in [
        'envelope_days.envelopes', 'envelope_days.mended_values',
        'quarantine_days.quarantined_envelopes', 'quarantine_days.quarantined_elements',
        'repeat_days.repeats',
        'field_days.unknown_field_changes', 'field_days.unknown_field_changes_with_people',
        'form_days.web_leads',
        'link_code_days.link_codes_matched', 'link_code_days.link_code_conflicts',
    ] %}
    cast(coalesce({{ count }}, 0) as bigint) as {{ count.split('.')[1] }},
    {% endfor %}
    field_days.unknown_fields

from days
{% for part in parts %}
left join {{ part }} on days.report_date = {{ part }}.report_date
{% endfor %}
