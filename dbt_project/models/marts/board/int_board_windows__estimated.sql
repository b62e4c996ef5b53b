{{ config(schema='intermediate', contract={'enforced': false}) }}
/*
    Grain: one row per level, platform, entity and window: its counts beside those of its peers, and
    what to expect of it. Ads, ad sets and campaigns are judged alike; what is said of ads here
    holds for the others, and a campaign has no campaign above it.

    Level `company` has the campaigns once more, in the reporting currency and beside those of all
    accounts and platforms: the only yardstick for one without peers in its own (E170).

    Peers are the ads of the same account, in the same currency, that lead to the same place
    (WhatsApp, or elsewhere): spend on a website is not held against chats (E49). `other_` figures
    leave out the ad itself: neither the expectation of an ad nor its yardstick depends on its own
    luck, so one more qualified lead can only improve its verdict.

    Rate: beta-binomial. The prior is the rate of the campaign's other ads, drawn toward the
    account's rate and worth `prior_leads` leads; the ad's own leads are added to it. The prior
    contains at least one qualified and one unqualified lead and lies between 0.5 % and 99.5 %:
    outside of that the approximation of the quantiles fails. Without any other lead in the account
    every rate is equally likely (Beta(1, 1)).

    `prior_strength` says how many leads the rates of the others are worth as a prior for this one:
    `board_prior_leads`, or less if few others have leads, since their mean is then uncertain
    itself. It is a constant on purpose. Estimated from the spread of a dozen ads (method of
    moments), it was so uncertain that 90 % intervals contained the truth in 76 % of simulated
    cases; with the constant, in 92 %.

    Cost: leads per unit of money are gamma-Poisson, drawn toward what the other ads pay for a lead
    with the weight of `board_prior_cost_leads` leads, so that an ad that spent and has no lead
    still has an expected cost, and a high one (E46). The product of both is qualified leads per
    unit of money, treated as a gamma variable with the same mean and variance; the cost is its
    inverse.
*/
{% set peers = 'level, peer_platform, peer_account_id, currency, is_click_to_whatsapp, window_days' %}
{% set of_campaign = peers ~ ', campaign_id' %}
with

counted as (

    {% for level, currency, spend in [
        ('level', 'currency', 'spend'), ("'company'", reporting_currency(), 'spend_reporting')
    ] %}
    select
        {{ level }} as level,
        platform,
        entity_id,
        window_days,
        account_id,
        campaign_id,
        is_click_to_whatsapp,
        has_several_currencies,
        {{ currency }} as currency,
        {{ spend }} as spend,
        spend_reporting,
        leads,
        qualified_leads,
        {{ 'platform' if loop.first else "'all'" }} as peer_platform,
        {{ 'account_id' if loop.first else "'all'" }} as peer_account_id

    from {{ ref('int_board_windows__counted') }}
    {{ 'union all' if not loop.last else "where level = 'campaign' and account_id is not null and spend_reporting is not null" }}
    {% endfor %}

),

-- Ads without a known account or currency have no peers.
summed as (

    select
        *,
        {% for whole, keys in [('account', peers), ('campaign', of_campaign)] %}
        {% for measure in ['spend', 'leads', 'qualified_leads'] %}
        case
            when account_id is not null and currency is not null and {{ whole }}_id is not null
                then sum({{ measure }}) over (partition by {{ keys }})
        end as {{ whole }}_{{ measure }},
        {% endfor %}
        {% endfor %}
        case
            when account_id is not null and currency is not null
                then sum(case when leads > 0 then 1 else 0 end) over (partition by {{ peers }})
        end as account_ads

    from counted

),

compared as (

    select
        level,
        platform,
        entity_id,
        window_days,
        account_id,
        campaign_id,
        is_click_to_whatsapp,
        has_several_currencies,
        currency,
        spend,
        spend_reporting,
        leads,
        qualified_leads,
        {% for whole in ['campaign', 'account'] %}
        {{ whole }}_spend,
        {% for measure in ['leads', 'qualified_leads'] %}
        cast({{ whole }}_{{ measure }} as bigint) as {{ whole }}_{{ measure }},
        cast(coalesce({{ whole }}_{{ measure }} - {{ measure }}, 0) as bigint)
            as {{ 'campaign_' if whole == 'campaign' }}other_{{ measure }},
        {% endfor %}
        {% endfor %}
        cast(coalesce(account_spend - spend, 0) as decimal(18, 6)) as other_spend,
        cast(coalesce(account_ads - case when leads > 0 then 1 else 0 end, 0) as bigint) as other_ads

    from summed

),

account_rates as (

    select
        *,
        cast({{ var('board_prior_leads') }} as double) * other_ads / (other_ads + 1)
            as prior_strength,
        (other_qualified_leads + cast(0.5 as double)) / (other_leads + 1) as account_guess,
        case
            when other_leads > 0
                then cast(other_spend as double) / other_leads
        end as other_cost_per_lead

    from compared

),

campaign_rates as (

    select
        *,
        least(
            greatest(
                case
                    when other_leads = 0 or campaign_id is null then account_guess
                    else
                        (campaign_other_qualified_leads + prior_strength * account_guess)
                        / (campaign_other_leads + prior_strength)
                end,
                cast(0.005 as double)
            ),
            cast(0.995 as double)
        ) as prior_rate

    from account_rates

),

priors as (

    select
        *,
        case
            when other_leads = 0 then cast(2 as double)
            else greatest(prior_strength, 1 / prior_rate, 1 / (1 - prior_rate))
        end as prior_leads

    from campaign_rates

),

posteriors as (

    select
        *,
        -- Both are at least 1, and rounding must not bring them below it.
        greatest(qualified_leads + prior_leads * prior_rate, 1) as alpha,
        greatest(leads - qualified_leads + prior_leads * (1 - prior_rate), 1) as beta,
        leads + cast({{ var('board_prior_cost_leads') }} as double) as cost_leads,
        spend + {{ var('board_prior_cost_leads') }} * other_cost_per_lead as cost_spend

    from priors

),

rates as (

    select
        *,
        alpha / (alpha + beta) as shrunk_rate,
        {{ beta_quantile('alpha', 'beta', '-' ~ z_90()) }} as rate_low,
        {{ beta_quantile('alpha', 'beta', z_90()) }} as rate_high,
        -- Qualified leads per unit of money, and the shape of a gamma variable with its spread.
        case
            when cost_spend > 0 then cost_leads / cost_spend * alpha / (alpha + beta)
        end as yield_mean,
        1 / (
            (1 + 1 / cost_leads) * (1 + beta / (alpha * (alpha + beta + 1))) - 1
        ) as yield_shape

    from posteriors

)

select
    *,
    {{ rounded_estimate('1 / yield_mean') }} as expected_cost,
    {{ rounded_estimate('1 / (yield_mean * ' ~ gamma_quantile('yield_shape', z_90()) ~ ')') }}
        as expected_cost_low,
    {{ rounded_estimate('1 / (yield_mean * ' ~ gamma_quantile('yield_shape', '-' ~ z_90()) ~ ')') }}
        as expected_cost_high

from rates
