{{ config(severity='warn', store_failures=true, store_failures_as='view', schema='checks') }}

-- Rule R9: names the stages that the seed `lead_stages` does not map; add them there.
select
    source,
    stage,
    count(*) as outcomes

from {{ ref('fct_outcomes') }}
where funnel_stage is null
group by
    source,
    stage
