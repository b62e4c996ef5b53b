/*
    Grain: one row per outcome, (source, event id), with its stage of the funnel (rule R9) and its
    converted value (R13). Outcomes come from CRMs, and of source `chat` from the rules of the
    installation (`is_of_rule`).

    A CRM corrects an event by sending its id again: the copy with the latest time counts, then (for
    CRMs that we read) the one recorded latest (`recorded_at`), then the one with the greater
    content, never the last to arrive. `copies` counts the deliveries (rule R1).

    The seed `lead_stages` maps each source's stage, ignoring case, on the day of the event; a
    mapping for the source itself beats one for `*`. A stage without a mapping stays null, and a test
    names it.

    A HubSpot deal is one purchase, however often it is won: only one of its outcomes has the value,
    the latest win, with the amount that the deal had when it left that stage. So the value stays
    with the win when the deal moves on (E90). If the deal was never won, or its latest stage takes
    the win back (lost, disqualified), the latest outcome has the value.
*/

with

{% set columns = [
    'source', 'event_id', 'stage', 'stage_label', 'occurred_at', 'phone_key', 'bsuid_key',
    'message_id_key', 'value', 'currency',
] %}
reported as (

    select
        {{ columns | join(', ') }},
        email_key,
        web_lead_key,
        crm_record_key,
        content_key,
        recorded_at,
        false as is_of_rule
    from {{ source('event_log', 'outcomes') }}

    union all

    select
        {{ columns | join(', ') }},
        null as email_key,
        null as web_lead_key,
        null as crm_record_key,
        event_id as content_key,
        null as recorded_at,
        true as is_of_rule
    from {{ ref('int_chat_outcomes__met') }}

),

all_copies as (

    select
        *,
        source || '|' || event_id as outcome_key,
        count(*) over (partition by source || '|' || event_id) as copies,
        case
            when source = 'hubspot_deals' and event_id like 'deal:%'
                then {{ dbt.split_part('event_id', "':'", 2) }}
        end as deal

    from reported

),

outcomes as (

    {{ deduplicate(
        'all_copies',
        'outcome_key',
        'occurred_at desc, recorded_at desc nulls last, content_key desc'
    ) }}

),

mappings as (

    select
        outcomes.outcome_key,
        lead_stages.source,
        lead_stages.valid_from,
        lead_stages.funnel_stage

    from outcomes
    inner join {{ ref('lead_stages') }} as lead_stages
        on
            lower(trim(outcomes.stage)) = lower(trim(lead_stages.stage))
            and (
                lead_stages.source = '*'
                or lower(outcomes.source) = lower(lead_stages.source)
            )
            and {{ local_date('outcomes.occurred_at', "'UTC'") }} >= lead_stages.valid_from
            and (
                lead_stages.valid_to is null
                or {{ local_date('outcomes.occurred_at', "'UTC'") }} < lead_stages.valid_to
            )

),

preferred_mappings as (

    {{ deduplicate(
        'mappings',
        'outcome_key',
        "case when source = '*' then 1 else 0 end asc, valid_from desc, funnel_stage asc"
    ) }}

),

mapped as (

    select
        outcomes.*,
        preferred_mappings.funnel_stage,
        row_number() over (
            partition by outcomes.deal
            order by
                case when preferred_mappings.funnel_stage is null then 1 else 0 end,
                outcomes.occurred_at desc,
                {{ funnel_rank('preferred_mappings.funnel_stage') }} desc,
                outcomes.outcome_key desc
        ) as place_of_stage

    from outcomes
    left join preferred_mappings
        on outcomes.outcome_key = preferred_mappings.outcome_key

),

with_wins as (

    select
        *,
        case
            when
                max(
                    case
                        when place_of_stage = 1 and funnel_stage in ('lost', 'disqualified') then 1
                        else 0
                    end
                ) over (partition by deal) = 1
                then 0
            when funnel_stage = 'won' then 1
            else 0
        end as is_win

    from mapped

),

ranked as (

    select
        *,
        row_number() over (
            partition by deal
            order by is_win desc, occurred_at desc, outcome_key desc
        ) as place_in_deal,
        -- Rows from parsers before version 4 have the amount on the latest stage only.
        row_number() over (
            partition by deal
            order by
                case when value is null then 1 else 0 end,
                is_win desc,
                occurred_at desc,
                outcome_key desc
        ) as place_of_value

    from with_wins

),

valued as (

    select
        ranked.outcome_key,
        ranked.source,
        ranked.event_id,
        ranked.stage,
        ranked.stage_label,
        ranked.funnel_stage,
        ranked.phone_key,
        ranked.bsuid_key,
        ranked.email_key,
        ranked.web_lead_key,
        ranked.message_id_key,
        ranked.crm_record_key,
        case when ranked.deal is null then ranked.value else amounts.value end as value, -- noqa: RF04
        case when ranked.deal is null then ranked.currency else amounts.currency end as currency,
        ranked.copies,
        ranked.is_of_rule,
        ranked.occurred_at

    from ranked
    left join ranked as amounts
        on
            ranked.deal = amounts.deal
            and ranked.place_in_deal = 1
            and amounts.place_of_value = 1

),

staged as (

    select
        valued.*,
        {{ to_reporting_currency('valued.value', 'valued.currency', 'exchange_rates.rate') }}
            as value_reporting

    from valued
    left join {{ ref('int_exchange_rates__daily') }} as exchange_rates
        on
            valued.currency = exchange_rates.currency
            and {{ local_date('valued.occurred_at', "'UTC'") }} = exchange_rates.rate_date

)

select * from staged
