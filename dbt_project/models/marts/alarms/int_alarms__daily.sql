{{ config(schema='intermediate', contract={'enforced': false}) }}
/*
    Grain: one row per alarm, subject and day that is over: a part of a whole.

    These are the shares that an alarm compares with their own past. `cases` is the number of cases
    in the whole; null for money, which is not subject to chance in this way.
*/

with

health as (

    select
        *,
        conversations - outbound as arrivals,
        pending + {{ adapter.quote('foreign') }} + gone as unresolved
    from {{ ref('attribution_health') }}
    where report_date < {{ as_of() }}

),

reconciled as (

    select * from {{ ref('spend_reconciliation') }}
    where
        spend_date < {{ as_of() }}
        and account_spend > 0

),

leads as (

    select * from {{ ref('fct_leads') }}
    where first_touch_date < {{ as_of() }}

),

-- Leads whose phone, e-mail or id is on so many people's records that it joins none of them (E86).
parted as (

    select lead_id_earlier as lead_id from {{ ref('identity_conflicts') }}
    where reason = 'shared_identifier'
    union distinct
    select lead_id_later as lead_id from {{ ref('identity_conflicts') }}
    where reason = 'shared_identifier'

),

shares as (

    select
        'referral_share' as alarm,
        report_date,
        with_referral as part,
        arrivals as whole
    from health

    union all

    select
        'withheld_messages' as alarm,
        report_date,
        withheld as part,
        arrivals as whole
    from health

    union all

    -- Without Meta accounts every ad is pending, and nothing is wrong with that.
    select
        'unresolved_ads' as alarm,
        report_date,
        unresolved as part,
        resolved + unresolved as whole
    from health
    where meta_spend_complete_through is not null

    union all

    select
        'platform_conversations' as alarm,
        report_date,
        with_referral as part,
        platform_conversations as whole
    from health
    where report_date <= meta_spend_complete_through

    union all

    select
        'unmatched_outcomes' as alarm,
        report_date,
        unmatched_outcomes as part,
        outcomes as whole
    from health

    union all

    select
        'shared_identifiers' as alarm,
        leads.first_touch_date as report_date,
        count(parted.lead_id) as part,
        count(*) as whole
    from leads
    left join parted
        on leads.lead_id = parted.lead_id
    group by leads.first_touch_date

    union all

    select
        'quarantine' as alarm,
        report_date,
        quarantined_envelopes as part,
        envelopes as whole
    from health

),

daily as (

    select
        alarm,
        '' as subject,
        report_date,
        cast(part as decimal(18, 6)) as part,
        cast(whole as decimal(18, 6)) as whole,
        whole as cases
    from shares
    where whole > 0

    union all

    select
        'unallocated_spend' as alarm,
        reconciled.platform || ' ' || coalesce(ad_accounts.account_name, reconciled.account_id)
        || ' (' || reconciled.account_id || ')' as subject,
        reconciled.spend_date as report_date,
        reconciled.unallocated as part,
        reconciled.account_spend as whole,
        cast(null as bigint) as cases
    from reconciled
    left join {{ ref('dim_accounts') }} as ad_accounts
        on
            reconciled.platform = ad_accounts.platform
            and reconciled.account_id = ad_accounts.account_id

)

select * from daily
