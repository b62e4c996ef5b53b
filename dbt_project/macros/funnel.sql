{# Rule R9: the order of the funnel, for outcomes at the same instant. An end comes after what it ends. #}
{% macro funnel_rank(funnel_stage) -%}
    case {{ funnel_stage }}
        {%- for stage in ['lead', 'qualified', 'opportunity', 'won', 'lost', 'disqualified'] %}
                    when '{{ stage }}' then {{ loop.index }}
        {%- endfor %}
                end
{%- endmacro %}

{# Sources of outcomes that are no CRM: chat rules, and what Meta infers from chats. #}
{% macro not_crm_sources() -%}
    ('chat', 'meta_automatic_events')
{%- endmacro %}

{# Rule R9: the stages that imply that a lead qualified. #}
{% macro qualified_stages() -%}
    ('qualified', 'opportunity', 'won')
{%- endmacro %}
