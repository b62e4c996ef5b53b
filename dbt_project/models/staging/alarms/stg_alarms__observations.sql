/* Grain: one row per alarm, subject and look at it. */

select
    read_no,
    read_at as observed_at,
    alarm,
    subject,
    status,
    measured,
    expected_low,
    expected_high,
    message,
    mend

from {{ source('alarms', 'observations') }}
