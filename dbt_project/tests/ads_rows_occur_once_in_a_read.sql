{{ config(meta={'dagster': {'ref': {'name': 'int_ads__described'}}}) }}
/*
    What every model of ads relies on: in one read a platform returns each object, account day and
    click once, with its key and with known values. Checked here for all platforms, because only
    `ingestion/ads/schema.py` lies between an API and these models.
*/

{%- set keys = {
    'accounts': ['account_id'],
    'campaigns': ['campaign_id'],
    'adsets': ['adset_id'],
    'ads': ['ad_id'],
    'creatives': ['creative_id'],
    'ad_lookups': ['ad_id'],
    'spend_rows': [
        'account_id', 'spend_date', 'spend_level', "coalesce(campaign_id, '')",
        "coalesce(adset_id, '')", "coalesce(ad_id, '')",
    ],
    'spend_days': ['account_id', 'spend_date'],
    'spend_reads': ['account_id', 'since_date'],
    'click_views': ['account_id', 'click_date', 'gclid'],
    'click_reads': ['account_id', 'click_date'],
} %}
{%- set words = {
    'ad_lookups': ('lookup_status', ['resolved', 'foreign', 'gone', 'error']),
    'spend_rows': ('spend_level', ['ad', 'ad_group', 'campaign']),
} %}

{% for table, columns in keys.items() %}
{{ 'union all' if not loop.first }}
select
    '{{ table }}' as table_name,
    platform,
    read_no,
    'not once: {{ columns | join(', ') | replace("'", "") }}' as problem,
    count(*) as rows_found

from {{ source('ads', table) }}
group by platform, read_no, {{ columns | join(', ') }}
having
    count(*) > 1
    or count(platform) = 0
    or count(read_no) = 0
    {%- for column in columns %}
    or count({{ column }}) = 0
    {%- endfor %}
{% endfor %}

{% for table, (column, known) in words.items() %}
union all
select
    '{{ table }}' as table_name,
    platform,
    read_no,
    'unknown {{ column }}: ' || {{ column }} as problem,
    count(*) as rows_found

from {{ source('ads', table) }}
where {{ column }} not in ('{{ known | join("', '") }}')
group by platform, read_no, {{ column }}
{% endfor %}
