/*
    Grain: one row per business number, day, category, market, channel, platform and campaign of the
    lead that the messages went to.

    Every delivered message of ours is in exactly one row. Those to people who are no lead have the
    channel `no_lead`. A cost that is not wholly known is null with its reason (rule R16); the known
    part of it is in no column, because a sum without the rest would be read as the bill.

    Once the seed `agent_costs` tells what Meta's agent cost, rows of the category `agent` hold it, with
    0 messages: by the day on which the conversations began.
*/

with

priced as (

    select
        1 as messages,
        lead_id,
        business_number_id,
        cost_date,
        category,
        market,
        is_by_number_market,
        charge,
        charged_by,
        cost,
        currency,
        cost_reporting,
        unpriced_reason
    from {{ ref('int_messages__priced') }}
    union all
    select
        0 as messages,
        lead_id,
        business_number_id,
        cost_date,
        'agent' as category,
        'none' as market,
        false as is_by_number_market,
        'agent' as charge,
        'told' as charged_by,
        amount as cost,
        currency,
        cost_reporting,
        unpriced_reason
    from {{ ref('int_agent_costs__spread') }}
    where {{ agent_costs_are_told() }}

),

leads as (

    select
        lead_id,
        channel,
        platform,
        account_id,
        campaign_id
    from {{ ref('fct_leads') }}

),

placed as (

    select
        priced.*,
        coalesce(priced.business_number_id, 'unknown') as number_key,
        coalesce(leads.channel, 'no_lead') as channel,
        coalesce(leads.platform, 'none') as platform,
        case
            when leads.platform is null then 'none'
            else coalesce(leads.campaign_id, 'unresolved')
        end as campaign_key,
        leads.account_id

    from priced
    left join leads
        on priced.lead_id = leads.lead_id

),

added_up as (

    select
        number_key,
        cost_date,
        category,
        market,
        channel,
        platform,
        campaign_key,
        min(account_id) as account_id,
        sum(messages) as messages,
        sum(case when charge = 'charged' then 1 else 0 end) as billable_messages,
        {% for charge in ['free_entry_point', 'allowance', 'service_window', 'unknown'] %}
        sum(case when charge = '{{ charge }}' then 1 else 0 end) as {{ charge }}_messages,
        {% endfor %}
        sum(case when unpriced_reason is not null then messages else 0 end) as messages_without_cost,
        sum(case when charged_by = 'rule' then 1 else 0 end) as messages_by_rule,
        sum(case when is_by_number_market then 1 else 0 end) as messages_by_number_market,
        case when count(cost) = count(*) and count(distinct currency) <= 1 then sum(cost) end as cost,
        case when count(distinct currency) = 1 then min(currency) end as currency,
        case when count(cost_reporting) = count(*) then sum(cost_reporting) end as cost_reporting,
        min(unpriced_reason) as unpriced_reason

    from placed
    group by number_key, cost_date, category, market, channel, platform, campaign_key

)

select
    added_up.number_key as business_number_id,
    added_up.cost_date,
    added_up.category,
    added_up.market,
    added_up.channel,
    added_up.platform,
    added_up.campaign_key as campaign_id,
    campaigns.campaign_name,
    coalesce(campaigns.account_id, added_up.account_id) as account_id,
    cast(added_up.messages as bigint) as messages,
    cast(added_up.billable_messages as bigint) as billable_messages,
    cast(added_up.free_entry_point_messages as bigint) as free_entry_messages,
    cast(added_up.allowance_messages as bigint) as allowance_messages,
    cast(
        added_up.messages - added_up.billable_messages - added_up.free_entry_point_messages
        - added_up.allowance_messages - added_up.unknown_messages as bigint
    ) as other_free_messages,
    cast(added_up.messages_without_cost as bigint) as messages_without_rate,
    cast(added_up.messages_by_rule as bigint) as messages_by_rule,
    cast(added_up.messages_by_number_market as bigint) as messages_by_number_market,
    cast(added_up.cost as decimal(18, 6)) as cost,
    added_up.currency,
    cast(added_up.cost_reporting as decimal(18, 6)) as cost_reporting,
    added_up.unpriced_reason

from added_up
left join {{ ref('dim_campaigns') }} as campaigns
    on
        added_up.platform = campaigns.platform
        and added_up.campaign_key = campaigns.campaign_id
