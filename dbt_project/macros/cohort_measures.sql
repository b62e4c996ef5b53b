{# Rule R11: what the reports count of leads, aggregated over rows of fct_leads. Leads that do not
   count (E20) are in `excluded_leads` and in no other figure. #}
{% macro cohort_windows() -%}
    {{ return([7, 14, 30, 90]) }}
{%- endmacro %}

{# As with spend, a sum that left out a value or a cost that is not known would be too low, so
   it is null (rules R13, R16). #}
{% macro cohort_measures() -%}
        {%- set is_excluded = 'coalesce(is_excluded, false)' %}
        sum(case when is_excluded then 0 else 1 end) as leads,
        sum(case when is_excluded then 1 else 0 end) as excluded_leads,
        sum(case when has_replied and not {{ is_excluded }} then 1 else 0 end) as replied_leads,
        sum(case when is_qualified and not {{ is_excluded }} then 1 else 0 end) as qualified_leads,
        {% for days in cohort_windows() %}
        sum(case when is_qualified_{{ days }}d and not {{ is_excluded }} then 1 else 0 end)
            as qualified_leads_{{ days }}d,
        {% endfor %}
        sum(case when is_currently_qualified and not {{ is_excluded }} then 1 else 0 end)
            as currently_qualified_leads,
        sum(case when is_won and not {{ is_excluded }} then 1 else 0 end) as won_leads,
        case
            when max(case when has_unconverted_value and not {{ is_excluded }} then 1 else 0 end) = 0
                then coalesce(sum(case when not {{ is_excluded }} then won_value_reporting end), 0)
        end as won_value_reporting,
        {% for cost in ['message_cost_reporting', 'agent_cost_reporting'] %}
        case
            when max(case when {{ cost }} is null and not {{ is_excluded }} then 1 else 0 end) = 0
                then coalesce(sum(case when not {{ is_excluded }} then {{ cost }} end), 0)
        end as {{ cost }}{{ ',' if not loop.last }}
        {% endfor %}
{%- endmacro %}

{# Columns of a report that count leads; 0 if a day has spend and no leads (E46). #}
{% macro cohort_columns(cohorts, report_date) -%}
        {% for column in counted_leads() %}
        cast(coalesce({{ cohorts }}.{{ column }}, 0) as bigint) as {{ column }},
        {% endfor %}
        {% for days in cohort_windows() %}
        -- `as_of` is only partly over.
        {{ dbt.dateadd('day', days, report_date) }} < {{ as_of() }} as is_mature_{{ days }}d,
        {% endfor %}
        {% for column in cohort_amounts() %}
        cast(
            case when {{ cohorts }}.leads is null then 0 else {{ cohorts }}.{{ column }} end
            as decimal(18, 6)
        ) as {{ column }}{{ ',' if not loop.last }}
        {% endfor %}
{%- endmacro %}

{% macro cohort_column_names() -%}
    {%- set names = counted_leads() + cohort_amounts() -%}
    {%- for days in cohort_windows() -%}
        {%- do names.append('is_mature_' ~ days ~ 'd') -%}
    {%- endfor -%}
    {{ return(names) }}
{%- endmacro %}

{% macro cohort_amounts() -%}
    {{ return(['won_value_reporting', 'message_cost_reporting', 'agent_cost_reporting']) }}
{%- endmacro %}

{% macro counted_leads() -%}
    {%- set names = ['leads', 'excluded_leads', 'replied_leads', 'qualified_leads'] -%}
    {%- for days in cohort_windows() -%}
        {%- do names.append('qualified_leads_' ~ days ~ 'd') -%}
    {%- endfor -%}
    {{ return(names + ['currently_qualified_leads', 'won_leads']) }}
{%- endmacro %}
