-- Rule R5: whoever wrote is exactly one lead, and nobody else is one.
with

writers as (

    select distinct person_key
    from {{ ref('int_messages__with_person') }}
    where
        is_conversational
        and direction = 'inbound'

),

leads as (

    select person_key
    from {{ ref('int_leads__sourced') }}

)

select
    writers.person_key as writer,
    leads.person_key as lead_person

from writers
full outer join leads
    on writers.person_key = leads.person_key
where
    writers.person_key is null
    or leads.person_key is null
