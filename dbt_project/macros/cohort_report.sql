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
        {{ cohort_measures() }}

    from leads
    group by first_touch_date, {{ key_columns }}

),

channels as (

    select spend_date as report_date, {{ key_columns }}, channel from spend
    union distinct
    select first_touch_date as report_date, {{ key_columns }}, channel from leads

),

keys as (

    select
        report_date,
        {{ key_columns }},
        min(channel) as first_channel,
        count(*) as channels

    from channels
    group by report_date, {{ key_columns }}

),

-- Listing is expensive, and nearly every row has only one channel.
mixes as (

    select
        keys.report_date,
        {% for key in keys %}
        keys.{{ key }},
        {% endfor %}
        {{ dbt.listagg('channels.channel', "', '", 'order by channels.channel') }} as channel_mix

    from keys
    inner join channels on {{ same_day_and_keys('channels', keys) }}
    where keys.channels > 1
    group by keys.report_date{% for key in keys %}, keys.{{ key }}{% endfor %}

),

by_key as (

    select
        keys.report_date,
        {% for key in keys %}
        keys.{{ key }},
        {% endfor %}
        coalesce(mixes.channel_mix, keys.first_channel) as channel_mix,
        {% for column in of_spend %}
        spend_by_key.{{ column }} as spend_{{ column }},
        {% endfor %}
        {% for column in of_leads %}
        cohorts.{{ column }} as leads_{{ column }},
        {% endfor %}
        {{ spend_columns('spend_by_key', amounts) }},
        {{ cohort_columns('cohorts', 'keys.report_date') }},
        {{ day_columns(
            'keys.report_date',
            'coalesce(spend_by_key.has_unread_day, 0) = 1',
            'coalesce(spend_by_key.has_partial_day, 0) = 1',
            'spend_by_key.unread_reason'
        ) }}

    from keys
    left join mixes on {{ same_day_and_keys('mixes', keys) }}
    left join spend_by_key on {{ same_day_and_keys('spend_by_key', keys) }}
    left join cohorts on {{ same_day_and_keys('cohorts', keys) }}

)
{%- endmacro %}

{# The CTE `spend` added up by day and keys. #}
{% macro spend_by_key(keys, amounts, least=[], awaited='true') -%}
    select
        spend_date as report_date,
        {{ keys | join(', ') }},
        {% for column in least %}
        min({{ column }}) as {{ column }},
        {% endfor %}
        {{ spend_measures(amounts, awaited) }}

    from spend
    group by spend_date, {{ keys | join(', ') }}
{%- endmacro %}

{% macro same_day_and_keys(other, keys) -%}
    keys.report_date = {{ other }}.report_date
    {%- for key in keys %} and keys.{{ key }} = {{ other }}.{{ key }}{% endfor %}
{%- endmacro %}

{# The columns that the cohort reports share, from a row that has them all. #}
{% macro cohort_report_columns(row, amounts) -%}
        {% for column in amounts + cohort_column_names() + [
            'is_partial_day', 'spend_status', 'spend_unread_reason'
        ] %}
        {{ row }}.{{ column }}{{ ',' if not loop.last }}
        {% endfor %}
{%- endmacro %}
