{{ config(
    severity='warn',
    store_failures=true,
    store_failures_as='view',
    schema='checks',
    meta={'dagster': {'ref': {'name': 'target_pacing'}}}
) }}
/*
    Names every target that fits nothing, and what to do; the others hold all the same (E171).
*/

select
    platform,
    account_id,
    campaign_id,
    valid_from,
    problem_code,
    case problem_code
        when 'given_twice' then 'two rows of dbt_project/seeds/targets.csv have this target and first day: keep one'
        when 'unknown_campaign' then 'no such campaign was read: compare campaign_id with dim_campaigns'
        when 'other_account' then 'the campaign is in another account: leave account_id empty, or correct it'
        when 'unknown_account' then 'no such account was read: compare platform and account_id with dim_accounts'
        when 'currency' then 'give the amounts in the account''s currency or in {{ reporting_currency() | replace("'", "") }}'
        when 'not_a_number' then 'give amounts as plain numbers such as 1500.50'
        when 'not_a_day' then 'give valid_from as a day such as 2026-12-01'
        when 'no_amount' then 'fill in cost_per_qualified_lead, monthly_budget or both'
        else 'amounts must be above 0: leave what has no target empty'
    end as mend

from {{ ref('target_pacing') }}
where problem_code is not null
