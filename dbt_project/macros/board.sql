{# Rules of the creative board: vars of dbt_project.yml, explained in docs/creative-board.md. #}

{# The last account day whose leads have all had 30 whole days to qualify (`is_mature_30d`). #}
{% macro board_last_day() -%}
    cast({{ dbt.dateadd('day', -31, as_of()) }} as date)
{%- endmacro %}

{# Ends of a 90 % interval of the normal distribution. #}
{% macro z_90() -%}
    {{ return('1.644854') }}
{%- endmacro %}

{# A board: a verdict for each entity of a level, with its yardstick and reason. `described`: the
   columns that say what it is, from its `dimension` (as `ads`) or the estimates (`worded`). #}
{% macro board(level, dimension, described) -%}
{%- set noun = {'ad': 'ad', 'adset': 'ad set', 'campaign': 'campaign'}[level] -%}
{%- set nouns = noun ~ 's' -%}
with

estimated as (

    select * from {{ ref('int_board_windows__estimated') }}
    where level = '{{ level }}'

),

judged_windows as (

    select distinct window_days from estimated

),

-- Account days of each window that are left out because they were not read to the end.
left_out as (

    select
        open_days.platform,
        open_days.account_id,
        judged_windows.window_days,
        count(*) as unread_days

    from {{ ref('int_spend_days__unread') }} as open_days
    inner join judged_windows
        on
            open_days.spend_date
            > {{ dbt.dateadd('day', '-judged_windows.window_days', board_last_day()) }}
    where open_days.spend_date <= {{ board_last_day() }}
    group by open_days.platform, open_days.account_id, judged_windows.window_days

),

weighed as (

    select
        *,
        {{ exact_ratio('other_spend', 'other_qualified_leads') }} as peer_cost,
        {{ exact_ratio('spend', 'leads') }} as cost_per_lead,
        {{ exact_ratio('spend', 'qualified_leads') }} as cost_per_qualified_lead,
        -- Leads, or the leads that the spend would have bought elsewhere: the larger is the
        -- evidence.
        case
            when other_spend > 0 and other_leads > 0
                then greatest(leads, spend / other_cost_per_lead)
        end as evidence

    from estimated

),

judged as (

    select
        *,
        case
            when account_id is null then 'no_account'
            when has_several_currencies then 'currencies'
            when other_qualified_leads < {{ var('board_min_peer_qualified') }} or evidence is null
                then 'no_peers'
            when evidence < {{ var('board_min_leads') }} then 'few_leads'
            when spend < {{ var('board_min_spend') }} * cast(peer_cost as decimal(24, 6)) then 'little_spend'
            when expected_cost_low > peer_cost then 'cut'
            when
                expected_cost_high <= (1 - {{ var('board_margin') }}) * cast(peer_cost as decimal(24, 6))
                and leads >= {{ var('board_min_leads') }}
                then 'scale'
            else 'hold'
        end as finding

    from weighed

),

ranked as (

    select
        *,
        finding in ('scale', 'hold', 'cut') as has_verdict,
        row_number() over (
            partition by
                platform,
                account_id,
                currency,
                is_click_to_whatsapp,
                window_days,
                finding in ('scale', 'hold', 'cut')
            order by
                case when leads = 0 then 1 else 0 end,
                expected_cost,
                cost_per_qualified_lead nulls last,
                entity_id
        ) as place

    from judged

),

worded as (

    select
        *,
        case
            when leads = 0
                then
                    {{ money_text('spend', 'currency') }} || ' brought no lead, where the other {{ nouns }} pay '
                    || {{ money_text('other_cost_per_lead', 'currency') }} || ' for one: '
            else
                qualified_leads || ' of ' || {{ count_text('leads', 'lead') }} || ' qualified (likely '
                || {{ percent_text('rate_low') }} || ' to ' || {{ percent_text('rate_high') }} || ') for '
                || {{ money_text('spend', 'currency') }} || ': '
        end
        || 'a qualified lead is expected to cost '
        || {{ money_text('expected_cost_low', 'currency') }} || ' to '
        || {{ money_text('expected_cost_high', 'currency') }} || ', ' as figures,
        {{ money_text('peer_cost', 'currency') }} || ' of the account''s other {{ nouns }}' as yardstick

    from ranked

)

select
    worded.platform,
    worded.entity_id as {{ level }}_id,
    cast(worded.window_days as integer) as window_days,
    cast({{ dbt.dateadd('day', '1 - worded.window_days', board_last_day()) }} as date)
        as window_start,
    {{ board_last_day() }} as window_end,
    {% for column in described %}
    {{ column }},
    {% endfor %}
    ad_accounts.account_name,
    worded.is_click_to_whatsapp,
    worded.currency,
    worded.spend,
    worded.spend_reporting,
    worded.leads,
    worded.qualified_leads,
    {{ exact_share('worded.qualified_leads', 'worded.leads') }} as qualified_rate,
    {{ rounded_estimate('worded.rate_low', 'decimal(9, 6)') }} as qualified_rate_low,
    {{ rounded_estimate('worded.rate_high', 'decimal(9, 6)') }} as qualified_rate_high,
    {{ rounded_estimate('worded.shrunk_rate', 'decimal(9, 6)') }} as shrunk_qualified_rate,
    {{ rounded_estimate('worded.prior_rate', 'decimal(9, 6)') }} as prior_qualified_rate,
    {{ rounded_estimate('worded.prior_leads', 'decimal(9, 3)') }} as prior_leads,
    {% for whole in (['account'] if level == 'campaign' else ['campaign', 'account']) %}
    {{ exact_share('worded.' ~ whole ~ '_qualified_leads', 'worded.' ~ whole ~ '_leads') }}
        as {{ whole }}_qualified_rate,
    {% endfor %}
    worded.cost_per_lead,
    worded.cost_per_qualified_lead,
    worded.expected_cost as expected_cost_per_qualified_lead,
    worded.expected_cost_low as expected_cost_per_qualified_lead_low,
    worded.expected_cost_high as expected_cost_per_qualified_lead_high,
    {% if level != 'campaign' %}
    {{ exact_ratio('worded.campaign_spend', 'worded.campaign_qualified_leads') }}
        as campaign_cost_per_qualified_lead,
    {% endif %}
    {{ exact_ratio('worded.account_spend', 'worded.account_qualified_leads') }}
        as account_cost_per_qualified_lead,
    worded.other_qualified_leads as peer_qualified_leads,
    worded.peer_cost as peer_cost_per_qualified_lead,
    {{ exact_ratio('worded.other_spend', 'worded.other_leads') }} as peer_cost_per_lead,
    case when worded.has_verdict then cast(worded.place as integer) end as cost_rank,
    case when worded.has_verdict then worded.finding else 'not_enough_data' end as verdict,
    cast(coalesce(left_out.unread_days, 0) as integer) as unread_days,
    worded.finding as reason_code,
    case worded.finding
        when 'no_account'
            then
                'The {{ noun }} is in no account that we can see, so what its '
                || {{ count_text('worded.leads', 'lead') }} || ' cost is not known.'
        when 'currencies'
            then
                'It has ' || {{ count_text('worded.leads', 'lead') }}
                || ' paid for in two currencies, which are never added up.'
        when 'no_peers'
            then
                'The account''s other {{ nouns }} have '
                || {{ count_text('worded.other_qualified_leads', 'qualified lead') }}
                || ' in these days; a comparison takes at least '
                || {{ "'" ~ var('board_min_peer_qualified') ~ "'" }} || '.'
        when 'few_leads'
            then
                {{ count_text('worded.leads', 'lead') }} || ' for ' || {{ money_text('worded.spend', 'worded.currency') }}
                || ': a verdict takes {{ var("board_min_leads") }} leads, or the '
                || {{ money_text(
                var('board_min_leads') ~ ' * worded.other_cost_per_lead', 'worded.currency'
            ) }} || ' that so many cost the account''s other {{ nouns }}.'
        when 'little_spend'
            then
                'Spent ' || {{ money_text('worded.spend', 'worded.currency') }}
                || '; a verdict takes at least '
                || {{ money_text(var('board_min_spend') ~ ' * worded.peer_cost', 'worded.currency') }}
                || ', by what a qualified lead costs the account''s other {{ nouns }}.'
        when 'scale' then worded.figures || 'better than the ' || worded.yardstick || ' even at worst.'
        when 'cut' then worded.figures || 'worse than the ' || worded.yardstick || ' even at best.'
        else
            worded.figures || 'too close to the ' || worded.yardstick
            || ' to say that it is better or worse.'
    end
    || case
        when left_out.unread_days is null then ''
        when left_out.unread_days = 1
            then ' One day of the window is left out: the account''s spend of it was not read.'
        else
            ' ' || left_out.unread_days || ' days of the window are left out: the account''s spend '
            || 'of them was not read.'
    end as reason

from worded
left join {{ ref(dimension) }} as ads
    on
        worded.platform = ads.platform
        and worded.entity_id = ads.{{ level }}_id
{% if level == 'adset' %}
left join {{ ref('dim_campaigns') }} as campaigns
    on
        worded.platform = campaigns.platform
        and worded.campaign_id = campaigns.campaign_id
{% endif %}
left join {{ ref('dim_accounts') }} as ad_accounts
    on
        worded.platform = ad_accounts.platform
        and worded.account_id = ad_accounts.account_id
left join left_out
    on
        worded.platform = left_out.platform
        and worded.account_id = left_out.account_id
        and worded.window_days = left_out.window_days
{%- endmacro %}
