{{ config(severity='warn', store_failures=true, store_failures_as='view', schema='checks') }}

-- E11: names the kinds of referral that Meta has added since. Their leads are in channel
-- `unknown_ad` and count as paid; rule R7 has to be extended to them.
select
    referral_source_type,
    count(*) as touches,
    min(occurred_at) as first_seen_at

from {{ ref('fct_touches') }}
where referral_source_type not in ('ad', 'post')
group by referral_source_type
