{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'dim_accounts'}}}) }}
/*
    Names accounts whose time zone the warehouse does not know (E42): the days of their leads are
    those of the reporting zone until the zone's name is known.
*/

select
    platform,
    account_id,
    timezone

from {{ ref('dim_accounts') }}
where
    timezone is not null
    and not is_timezone_known
