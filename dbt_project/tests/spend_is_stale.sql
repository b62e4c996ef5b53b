{{ config(
    severity='warn',
    store_failures=true,
    store_failures_as='view',
    schema='checks',
    meta={'dagster': {'ref': {'name': 'dim_accounts'}}}
) }}
/*
    Names every account, on any platform, that has a day before yesterday that was not read to the
    end, or no day that was: since when, how far its spend is known, and what to do (E87). An
    account whose days are no longer expected is named as well.
*/

select
    platform,
    account_id,
    account_name,
    spend_complete_through,
    spend_read_through,
    spend_unread_since,
    spend_unread_days,
    case platform
        when 'meta' then 'run `ctwa doctor`, to see if META_ACCESS_TOKEN is valid and may read this account'
        when 'google' then 'run `ctwa doctor`, to see if GOOGLE_ADS_REFRESH_TOKEN is valid and its user may read this'
        else 'run `ctwa doctor`'
    end || '; then `ctwa refresh`' as mend

from {{ ref('dim_accounts') }}
where
    spend_complete_through is null
    or {{ dbt.dateadd('day', 2, 'spend_complete_through') }} < {{ as_of() }}
    or {{ dbt.dateadd('day', 1, 'spend_unread_since') }} < {{ as_of() }}
