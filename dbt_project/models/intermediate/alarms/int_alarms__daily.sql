/*
    Grain: one row per alarm, subject and day that is over: a part of a whole.

    These are the shares that an alarm compares with their own past. `cases` is how many things the
    whole counts; null where it is money, which has no chance in it.
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

accounts as (

    select * from {{ ref('dim_accounts') }}

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

    -- Without Meta's accounts every ad is pending, and nothing is wrong with that.
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
        reconciled.platform || ' ' || coalesce(accounts.account_name, reconciled.account_id)
        || ' (' || reconciled.account_id || ')' as subject,
        reconciled.spend_date as report_date,
        reconciled.unallocated as part,
        reconciled.account_spend as whole,
        cast(null as bigint) as cases
    from reconciled
    left join accounts
        on
            reconciled.platform = accounts.platform
            and reconciled.account_id = accounts.account_id

)

select * from daily
