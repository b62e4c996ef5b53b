-- Rule R5: exactly one of a lead's touches is the first, and none is earlier; exactly one gives the
-- source, and only a setting (E16) may make that a later one.
select
    leads.lead_id,
    count(*) as touches,
    sum(case when touches.is_first_touch then 1 else 0 end) as first_touches,
    min(touches.occurred_at) as earliest_at

from {{ ref('fct_leads') }} as leads
left join {{ ref('fct_touches') }} as touches
    on leads.lead_id = touches.lead_id
group by
    leads.lead_id,
    leads.touches,
    leads.first_touch_at
having
    sum(case when touches.is_first_touch then 1 else 0 end) <> 1
    or sum(case when touches.is_source_touch then 1 else 0 end) <> 1
    {% if first_touch() == 'any' %}
    or sum(case when touches.is_source_touch and touches.is_first_touch then 1 else 0 end) <> 1
    {% endif %}
    or min(touches.occurred_at) <> leads.first_touch_at
    or count(*) <> leads.touches
