{{ config(
    severity='warn',
    store_failures=true,
    store_failures_as='view',
    schema='checks',
    meta={'dagster': {'ref': {'name': 'dim_accounts'}}}
) }}
/* Names every account whose spend was not read up to 2 days before the last day of the marts. */

select
    platform,
    account_id,
    account_name,
    spend_complete_through,
    'run `ctwa doctor` for this account''s token and permissions, then `ctwa refresh`' as mend

from {{ ref('dim_accounts') }}
where
    spend_complete_through is null
    or {{ dbt.dateadd('day', 2, 'spend_complete_through') }} < {{ as_of() }}
