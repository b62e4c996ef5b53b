/*
    Grain: one row per platform, ad and window: what is to be expected of the ad.

    Rate: beta-binomial. The guess before any lead is the campaign's rate (its other ads', itself
    drawn toward the account's), worth `prior_leads` leads; the ad's own leads are added to it. The
    guess holds at least one qualified and one unqualified lead, and lies between 0.5 % and
    99.5 %: below one the approximation of the quantiles is no good. Without any other lead in the
    account every rate is as likely (Beta(1, 1)).

    Cost: leads per money is gamma-Poisson, drawn toward what the other ads pay for a lead with the
    weight of `board_prior_cost_leads` leads, so that an ad which spent and has no lead still has an
    expected cost, and a high one (E46). Both together are qualified leads per money, taken as a
    gamma variable of the same mean and variance; the cost is its inverse.
*/

with

compared as (

    select * from {{ ref('int_ad_windows__compared') }}

),

account_rates as (

    select
        *,
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
                    when other_leads = 0 then account_guess
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
        -- Rounding must not bring them below the 1 that they are at least.
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
        -- Qualified leads per money, and the shape of a gamma variable of its spread.
        case
            when cost_spend > 0 then cost_leads / cost_spend * alpha / (alpha + beta)
        end as yield_mean,
        1 / (
            (1 + 1 / cost_leads) * (1 + beta / (alpha * (alpha + beta + 1))) - 1
        ) as yield_shape

    from posteriors

),

final as (

    select
        *,
        1 / yield_mean as expected_cost,
        1 / (yield_mean * {{ gamma_quantile('yield_shape', z_90()) }}) as expected_cost_low,
        1 / (yield_mean * {{ gamma_quantile('yield_shape', '-' ~ z_90()) }}) as expected_cost_high

    from rates

)

select * from final
