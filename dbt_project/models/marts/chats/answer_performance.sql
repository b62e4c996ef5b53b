/*
    Grain: one row per scope (all leads, an account, a campaign), comparison (how soon the first answer
    came, or who holds the chat) and group of leads.

    Leads that are answered soon differ from others by ad, and by the hour at which they write. So a
    group is compared with the reference group only among leads of the same ad and hour of day; these
    differences are weighed by Mantel and Haenszel, n1 n0 / (n1 + n0) for each such stratum, and the
    interval is Sato's (1989), which holds for many strata of few leads. A stratum without one of the
    two groups says nothing. Whatever else makes the team answer some people sooner stays in the
    difference (`caution_code`).

    Every lead has had 30 days to qualify; leads that came by a form have no first answer and are left
    out. The reference is the first group, in the order of the groups, with enough leads.
*/

{%- set least = 30 %}
{%- set orders = {
    'answer_time': ['under_5m', '5m_to_1h', '1h_to_24h', 'over_24h', 'unanswered'],
    'answered_by': ['own', 'ai_agent', 'escalation', 'other', 'unknown'],
} %}
{%- set scopes = {
    'all': ["'all'", "'all'", "'all'"],
    'account': ['platform', 'account_id', "'all'"],
    'campaign': ['platform', "coalesce(account_id, 'unknown')", 'campaign_id'],
} %}
{%- set keys = ['scope', 'platform', 'account_id', 'campaign_id', 'compared'] %}
{%- set key = keys | join(', ') %}

with

leads as (

    select
        *,
        case
            when first_response_seconds is null then 'unanswered'
            when first_response_seconds < 300 then 'under_5m'
            when first_response_seconds < 3600 then '5m_to_1h'
            when first_response_seconds < 86400 then '1h_to_24h'
            else 'over_24h'
        end as answer_time

    from {{ ref('fct_leads') }}
    where
        answered_by is not null
        and not coalesce(is_excluded, false)
        and not coalesce(is_test, false)
        and first_touch_date between {{ dbt.dateadd('day', -179, board_last_day()) }}
        and {{ board_last_day() }}

),

grouped as (

    {% for scope, columns in scopes.items() %}
    {% for compared in orders %}
    {{ 'union all' if not (loop.first and scope == 'all') }}
    select
        '{{ scope }}' as scope,
        {{ columns[0] }} as platform,
        {{ columns[1] }} as account_id,
        {{ columns[2] }} as campaign_id,
        '{{ compared }}' as compared,
        {{ compared }} as answer_group,
        coalesce(platform, 'none') || ':' || coalesce(ad_id, campaign_id, channel) || ':'
        || cast({{ local_hour('first_touch_at', reporting_timezone()) }} as {{ dbt.type_string() }})
            as stratum,
        first_response_seconds,
        case when is_qualified_30d then 1 else 0 end as qualified
    from leads
    {{ 'where ' ~ scope ~ '_id is not null' if scope != 'all' }}
    {% endfor %}
    {% endfor %}

),

counted as (

    select
        {{ key }},
        answer_group,
        case answer_group
            {% for compared, names in orders.items() %}
            {% for name in names %}
            when '{{ name }}' then {{ loop.index }}
            {% endfor %}
            {% endfor %}
        end as group_order,
        count(*) as leads,
        sum(qualified) as qualified_leads,
        percentile_cont(0.5) within group (order by first_response_seconds) as median_response_seconds

    from grouped
    group by {{ key }}, answer_group

),

candidates as (

    select
        *,
        row_number() over (partition by {{ key }} order by group_order) as place

    from counted
    where leads >= {{ least }} and answer_group <> 'unanswered'

),

judged as (

    select
        counted.*,
        candidates.answer_group as reference_group,
        candidates.leads as all_reference_leads,
        candidates.qualified_leads as all_reference_qualified

    from counted
    left join candidates
        on
            {{ same_values('counted', 'candidates', keys) }}
            and candidates.place = 1

),

-- n1, y1: leads and qualified leads of the group; n0, y0: of the reference.
strata as (

    select
        {% for name in keys %}
        grouped.{{ name }},
        {% endfor %}
        judged.answer_group,
        grouped.stratum,
        count(case when grouped.answer_group = judged.answer_group then 1 end) as n1,
        sum(case when grouped.answer_group = judged.answer_group then grouped.qualified end) as y1,
        count(case when grouped.answer_group = judged.reference_group then 1 end) as n0,
        sum(case when grouped.answer_group = judged.reference_group then grouped.qualified end) as y0

    from judged
    inner join grouped
        on
            {{ same_values('judged', 'grouped', keys) }}
            and grouped.answer_group in (judged.answer_group, judged.reference_group)
    where
        judged.answer_group <> judged.reference_group
        and judged.answer_group <> 'unanswered'
    group by
        {% for name in keys %}
        grouped.{{ name }},
        {% endfor %}
        judged.answer_group,
        grouped.stratum

),

weighed as (

    select
        {{ key }},
        answer_group,
        cast(sum(n1) as bigint) as compared_leads,
        cast(sum(n0) as bigint) as reference_leads,
        {{ exact_sum('n1 * n0 / (n1 + n0)') }} as w,
        {{ exact_sum('(y1 * n0 - y0 * n1) / (n1 + n0)') }} as d,
        {{ exact_sum(
            '(n1 * n1 * y0 - n0 * n0 * y1 + n1 * n0 * (n0 - n1) / 2) / power(n1 + n0, 2)'
        ) }} as p,
        {{ exact_sum('(y1 * (n0 - y0) + y0 * (n1 - y1)) / (2 * (n1 + n0))') }} as q

    from strata
    where n1 > 0 and n0 > 0
    group by {{ key }}, answer_group

),

estimated as (

    select
        judged.*,
        coalesce(weighed.compared_leads, 0) as compared_leads,
        coalesce(weighed.reference_leads, 0) as reference_leads,
        case
            when least(weighed.compared_leads, weighed.reference_leads) >= {{ least }} then weighed.d / weighed.w
        end as difference,
        1.959964 * sqrt(greatest(weighed.d / weighed.w * weighed.p + weighed.q, 0)) / weighed.w as margin

    from judged
    left join weighed
        on {{ same_values('judged', 'weighed', keys + ['answer_group']) }}

)

select
    estimated.scope,
    estimated.platform,
    estimated.account_id,
    estimated.campaign_id,
    campaigns.campaign_name,
    estimated.compared,
    estimated.answer_group,
    estimated.group_order,
    estimated.reference_group,
    cast({{ dbt.dateadd('day', -179, board_last_day()) }} as date) as window_start,
    {{ board_last_day() }} as window_end,
    estimated.leads,
    cast(estimated.qualified_leads as bigint) as qualified_leads,
    {{ exact_share('estimated.qualified_leads', 'estimated.leads') }} as qualified_rate,
    {{ whole_number('estimated.median_response_seconds') }} as median_response_seconds,
    estimated.compared_leads,
    estimated.reference_leads,
    cast(
        case
            when estimated.answer_group not in ('unanswered', estimated.reference_group)
                then
                    {{ exact_share('estimated.qualified_leads', 'estimated.leads') }}
                    - {{ exact_share('estimated.all_reference_qualified', 'estimated.all_reference_leads') }}
        end as decimal(9, 6)
    ) as crude_difference,
    {% for end, amount in [('', ''), ('_low', ' - estimated.margin'), ('_high', ' + estimated.margin')] %}
    {{ rounded_estimate('estimated.difference' ~ amount, 'decimal(9, 6)') }} as rate_difference{{ end }},
    {% endfor %}
    case
        when estimated.answer_group = 'unanswered' then 'not_compared'
        when estimated.answer_group = estimated.reference_group then 'reference'
        when estimated.difference is null then 'too_few'
        when estimated.difference - estimated.margin > 0 then 'higher'
        when estimated.difference + estimated.margin < 0 then 'lower'
        else 'no_difference'
    end as verdict_code,
    case
        when estimated.answer_group = 'unanswered' then 'unanswered'
        when estimated.answer_group = estimated.reference_group then 'reference'
        when estimated.difference is null then 'too_few'
        when estimated.compared_leads * 2 < estimated.leads then 'few_comparable'
        else 'observational'
    end as caution_code

from estimated
left join {{ ref('dim_campaigns') }} as campaigns
    on
        estimated.platform = campaigns.platform
        and estimated.campaign_id = campaigns.campaign_id
