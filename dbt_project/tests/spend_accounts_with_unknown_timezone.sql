{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'dim_accounts'}}}) }}
/*
    Names accounts whose time zone the warehouse does not know (E42): until it is known, the days of
    their leads are days in the reporting time zone.
*/

select
    platform,
    account_id,
    timezone

from {{ ref('dim_accounts') }}
where
    timezone is not null
    and not is_timezone_known
