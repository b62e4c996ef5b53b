{{ config(
    severity='warn',
    store_failures=true,
    store_failures_as='view',
    schema='checks',
    meta={'dagster': {'ref': {'name': 'dim_accounts'}}}
) }}
/*
    Names every account, of whatever platform, whose spend was not read up to 2 days before the last
    day of the marts, and what to do.
*/

select
    platform,
    account_id,
    account_name,
    spend_complete_through,
    case platform
        when 'meta' then 'run `ctwa doctor`: is META_ACCESS_TOKEN valid, and may it read this account'
        when 'google' then 'run `ctwa doctor`: is GOOGLE_ADS_REFRESH_TOKEN valid, and may its user read this'
        else 'run `ctwa doctor`'
    end || '; then `ctwa refresh`' as mend

from {{ ref('dim_accounts') }}
where
    spend_complete_through is null
    or {{ dbt.dateadd('day', 2, 'spend_complete_through') }} < {{ as_of() }}
