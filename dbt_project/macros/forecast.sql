{# The forecast of young cohorts: docs/forecast.md explains it, and the vars of dbt_project.yml. #}

{# First day of the day, ISO week or month that a cohort's day is in. #}
{% macro cohort_period(grain, cohort_date) -%}
    cast(
            case {{ grain }}
                when 'day' then {{ cohort_date }}
                when 'week' then {{ dbt.date_trunc('week', cohort_date) }}
                else {{ dbt.date_trunc('month', cohort_date) }}
            end as date
        )
{%- endmacro %}

{# Last day of that period. #}
{% macro cohort_period_end(grain, period_start) -%}
    cast(
            case {{ grain }}
                when 'day' then {{ period_start }}
                when 'week' then {{ dbt.dateadd('day', 6, period_start) }}
                else {{ dbt.dateadd('day', -1, dbt.dateadd('month', 1, period_start)) }}
            end as date
        )
{%- endmacro %}

{# Ends of an 80 % interval of the normal distribution. #}
{% macro z_80() -%}
    {{ return('1.281552') }}
{%- endmacro %}

{# One row for each of these literals. #}
{% macro listed(name, literals) -%}
    {% for literal in literals %}
    select {{ literal }} as {{ name }}
    {{ 'union all' if not loop.last }}
    {% endfor %}
{%- endmacro %}

{# The sum of doubles as a double, the same in whatever order they come. #}
{% macro exact_sum(amount) -%}
    cast(sum(cast({{ amount }} as decimal(24, 12))) as double)
{%- endmacro %}
