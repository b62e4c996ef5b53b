-- Rule R5: every person who wrote is exactly one lead in each scope and cycle, cycles have no gaps,
-- and nobody else is a lead. By default there is one scope and one cycle: one lead per person.
with

writers as (

    select distinct
        person_key,
        {{ "coalesce(brand, '')" if lead_scope() == 'brand' else "''" }} as lead_scope
    from {{ ref('int_messages__with_person') }}
    where
        is_conversational
        and direction = 'inbound'

),

leads as (

    select
        person_key,
        lead_scope,
        count(*) as leads,
        max(lead_cycle) as last_cycle

    from {{ ref('int_leads__sourced') }}
    group by person_key, lead_scope

)

select
    writers.person_key as writer,
    leads.person_key as lead_person,
    leads.leads,
    leads.last_cycle

from writers
full outer join leads
    on
        writers.person_key = leads.person_key
        and writers.lead_scope = leads.lead_scope
where
    writers.person_key is null
    or leads.person_key is null
    or leads.leads <> leads.last_cycle
    {% if lead_cycle_days() == 0 %}
    or leads.last_cycle <> 1
    {% endif %}
