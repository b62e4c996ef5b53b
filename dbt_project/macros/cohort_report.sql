{# The CTEs of a cohort report (rule R11), made from the CTEs `spend` (rows of
   int_ad_spend__reported) and `leads` (rows of fct_leads), which both have the columns `keys` and
   `channel`. The last one, `by_key`, has one row per day and keys with spend or leads: the
   `amounts` of spend, the counts of leads, how far the day is known; and as `spend_*` and `leads_*`
   the minimum of the columns `of_spend` and `of_leads`. #}
{% macro cohort_report(keys, amounts, of_spend=[], of_leads=[], awaited='true') -%}
{%- set key_columns = keys | join(', ') -%}
spend_by_key as (

    {{ spend_by_key(keys, amounts, of_spend, awaited) }}

),

cohorts as (

    select
        first_touch_date as report_date,
        {{ key_columns }},
        {% for column in of_leads %}
        min({{ column }}) as {{ column }},
        {% endfor %}
        min(channel) as first_channel,
        max(channel) as last_channel,
        {{ cohort_measures() }}

    from leads
    group by first_touch_date, {{ key_columns }}

),

-- Which of them have rows of several channels: few have, and listing is expensive.
several as (

    select
        {{ one_of_both('report_date') }} as report_date
        {%- for key in keys %},
        {{ one_of_both(key) }} as {{ key }}
        {%- endfor %}

    from spend_by_key
    full outer join cohorts on {{ same_day_and_keys('spend_by_key', 'cohorts', keys) }}
    where
        least(spend_by_key.first_channel, cohorts.first_channel)
        <> greatest(spend_by_key.last_channel, cohorts.last_channel)

),

channels as (

    {% for rows, day in [('spend', 'spend_date'), ('leads', 'first_touch_date')] %}
    {{ 'union distinct' if not loop.first }}
    select
        several.*,
        {{ rows }}.channel
    from several
    inner join {{ rows }}
        on
            several.report_date = {{ rows }}.{{ day }}
            {% for key in keys %}
            and several.{{ key }} = {{ rows }}.{{ key }}
            {% endfor %}
    {% endfor %}

),

mixes as (

    select
        report_date,
        {{ key_columns }},
        {{ dbt.listagg('channel', "', '", 'order by channel') }} as channel_mix

    from channels
    group by report_date, {{ key_columns }}

),

by_key as (

    select
        {{ one_of_both('report_date') }} as report_date,
        {% for key in keys %}
        {{ one_of_both(key) }} as {{ key }},
        {% endfor %}
        coalesce(mixes.channel_mix, {{ one_of_both('first_channel') }}) as channel_mix,
        {% for column in of_spend %}
        spend_by_key.{{ column }} as spend_{{ column }},
        {% endfor %}
        {% for column in of_leads %}
        cohorts.{{ column }} as leads_{{ column }},
        {% endfor %}
        {{ spend_columns('spend_by_key', amounts) }},
        {{ cohort_columns('cohorts', one_of_both('report_date')) }},
        {{ day_columns(
            one_of_both('report_date'),
            'coalesce(spend_by_key.has_unread_day, 0) = 1',
            'coalesce(spend_by_key.has_partial_day, 0) = 1',
            'spend_by_key.unread_reason'
        ) }}

    from spend_by_key
    full outer join cohorts on {{ same_day_and_keys('spend_by_key', 'cohorts', keys) }}
    left join mixes
        on
            {{ one_of_both('report_date') }} = mixes.report_date
            {% for key in keys %}
            and {{ one_of_both(key) }} = mixes.{{ key }}
            {% endfor %}

)
{%- endmacro %}

{% macro one_of_both(column) -%}
    coalesce(spend_by_key.{{ column }}, cohorts.{{ column }})
{%- endmacro %}

{# The CTE `spend` added up by day and keys. #}
{% macro spend_by_key(keys, amounts, least=[], awaited='true') -%}
    select
        spend_date as report_date,
        {{ keys | join(', ') }},
        {% for column in least %}
        min({{ column }}) as {{ column }},
        {% endfor %}
        min(channel) as first_channel,
        max(channel) as last_channel,
        {{ spend_measures(amounts, awaited) }}

    from spend
    group by spend_date, {{ keys | join(', ') }}
{%- endmacro %}

{% macro same_day_and_keys(one, other, keys) -%}
    {{ one }}.report_date = {{ other }}.report_date
    {%- for key in keys %} and {{ one }}.{{ key }} = {{ other }}.{{ key }}{% endfor %}
{%- endmacro %}

{# The columns that the cohort reports share, from a row that has them all. #}
{% macro cohort_report_columns(row, amounts) -%}
        {% for column in amounts + cohort_column_names() + [
            'is_partial_day', 'spend_status', 'spend_unread_reason'
        ] %}
        {{ row }}.{{ column }}{{ ',' if not loop.last }}
        {% endfor %}
{%- endmacro %}

{# Leads that a platform's ads brought; test leads of the platform are nobody. #}
{% macro is_reported_lead() -%}
    platform is not null and not coalesce(is_test, false)
{%- endmacro %}

{# Pre-hook of a report that is incremental by day: removes the days that have nothing any more. #}
{% macro forget_vanished_days() -%}
    {% if is_incremental() %}
        {%- set condition -%}
            report_date not in (
            select spent.spend_date
            from {{ ref('int_ad_spend__reported') }} as spent
            union all
            select leads.first_touch_date
            from {{ ref('fct_leads') }} as leads
            where {{ is_reported_lead() }}
        )
        {%- endset -%}
        {{ delete_from_this(condition) }}
    {% endif %}
{%- endmacro %}
