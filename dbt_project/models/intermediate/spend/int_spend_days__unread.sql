/*
    Grain: one row per platform, account and account day whose spend is not known, or only in part
    (rule R13): what was not read, listed in one place.

    | spend_status | reason | |
    |---|---|---|
    | `unread` | `never_read` | no day of the account was read; of the whole platform: account `unknown` |
    | | `before_first_read` | leads came before the first day that was read |
    | | `after_last_read` | the reads ended: a token died, an account was refused |
    | | `not_read` | a day between, which failed |
    | | `no_source` | leads of a platform whose spend this product cannot read |
    | `partial` | `day_not_over` | last read before the day was over |

    Days are expected from the first day that was read or the account's first lead, whichever is
    earlier, up to `as_of`. No account is expected for ever: 30 days (`spend_awaited_days`) after
    the last day that was read it counts as gone, except for the days within 30 days before or after
    one of its leads, since one late lead says nothing about the months between. An account that
    spent nothing on the last 30 days read is expected around its leads only, one that the platform
    calls closed only on the days of its leads. Leads of a platform or an account that is not read
    make a row for their own days.
*/

with

accounts as (

    select
        *,
        coalesce(
            upper(account_status) in ('101', '202', 'CLOSED', 'CANCELED', 'CANCELLED'), false
        ) as is_closed
    from {{ ref('int_accounts__described') }}

),

first_seen as (

    select
        platform,
        account_id,
        min({{ local_date('read_at', reporting_timezone()) }}) as first_seen_date
    from {{ source('ads', 'accounts') }}
    group by platform, account_id

),

leads as (

    select
        platform,
        coalesce(account_id, 'unknown') as account_id,
        first_touch_date,
        basis,
        coalesce(resolution, '') as resolution
    from {{ ref('int_leads__explained') }}
    where platform is not null

),

calendar as (

    select cast(day_date as date) as day_date
    from {{ ref('int_days__listed') }}
    union all
    -- Accounts east of the reporting zone are a day ahead.
    select cast({{ dbt.dateadd('day', 1, as_of()) }} as date) as day_date

),

bounds as (

    select
        platform,
        account_id,
        min(first_date) as first_read_date,
        max(last_date) as last_read_date
    from {{ ref('int_spend_reads__merged') }}
    group by platform, account_id

),

lead_bounds as (

    select
        platform,
        account_id,
        min(first_touch_date) as first_lead_date,
        max(first_touch_date) as last_lead_date
    from leads
    where account_id <> 'unknown'
    group by platform, account_id

),

idle as (

    select
        bounds.platform,
        bounds.account_id
    from bounds
    inner join {{ ref('int_insight_days__latest') }} as read_days
        on
            bounds.platform = read_days.platform and bounds.account_id = read_days.account_id
            and read_days.spend_date > {{ dbt.dateadd('day', '-' ~ var('spend_awaited_days'), 'bounds.last_read_date') }}
    group by bounds.platform, bounds.account_id, bounds.first_read_date, bounds.last_read_date
    having
        max(abs(read_days.account_spend)) = 0
        and {{ dbt.dateadd('day', var('spend_awaited_days') ~ ' - 1', 'bounds.first_read_date') }}
        <= bounds.last_read_date

),

awaited as (

    select
        accounts.platform,
        accounts.account_id,
        bounds.first_read_date,
        bounds.last_read_date,
        lead_bounds.last_lead_date,
        coalesce(
            least(bounds.first_read_date, lead_bounds.first_lead_date),
            first_seen.first_seen_date
        ) as first_date,
        {{ dbt.dateadd(
            'day',
            'case when accounts.is_closed or idle.account_id is not null then 0 else '
            ~ var('spend_awaited_days') ~ ' end',
            'coalesce(bounds.last_read_date, first_seen.first_seen_date)'
        ) }} as last_date,
        case when accounts.is_closed then 0 else {{ var('spend_awaited_days') }} end
            as days_around_leads,
        max(bounds.last_read_date) over (partition by accounts.platform) as platform_last_read_date
    from accounts
    left join bounds
        on accounts.platform = bounds.platform and accounts.account_id = bounds.account_id
    left join lead_bounds
        on accounts.platform = lead_bounds.platform and accounts.account_id = lead_bounds.account_id
    left join first_seen
        on accounts.platform = first_seen.platform and accounts.account_id = first_seen.account_id
    left join idle
        on accounts.platform = idle.platform and accounts.account_id = idle.account_id

),

signs as (

    select
        platform,
        account_id,
        first_touch_date
    from leads
    where account_id <> 'unknown'
    union distinct
    -- A lead without an account may belong to any account that was read until the reads of the
    -- whole platform ended. If one account is still read, the others are not expected again for
    -- such a lead: it most likely belongs to the one that is read. A bare fbclid comes with any
    -- shared link and is no sign of an ad.
    select
        leads.platform,
        awaited.account_id,
        leads.first_touch_date
    from leads
    inner join awaited
        on leads.platform = awaited.platform
    where
        leads.account_id = 'unknown'
        and leads.resolution in ('pending', '')
        and not (leads.platform = 'meta' and leads.basis = 'web_click_id')
        and (
            awaited.platform_last_read_date is null
            or (
                awaited.platform_last_read_date < leads.first_touch_date
                and {{ dbt.dateadd('day', -1, 'awaited.platform_last_read_date') }}
                <= awaited.last_read_date
            )
        )

),

days as (

    select
        awaited.*,
        calendar.day_date as spend_date
    from awaited
    inner join calendar
        on awaited.first_date <= calendar.day_date and awaited.last_date >= calendar.day_date
    union distinct
    select
        awaited.*,
        calendar.day_date as spend_date
    from signs
    inner join awaited
        on signs.platform = awaited.platform and signs.account_id = awaited.account_id
    inner join calendar
        on
            awaited.first_date <= calendar.day_date and awaited.last_date < calendar.day_date
            and calendar.day_date
            >= {{ dbt.dateadd('day', '-awaited.days_around_leads', 'signs.first_touch_date') }}
            and calendar.day_date
            <= {{ dbt.dateadd('day', 'awaited.days_around_leads', 'signs.first_touch_date') }}

)

select
    days.platform,
    days.account_id,
    days.spend_date,
    case when seen.platform is null then 'unread' else 'partial' end as spend_status,
    case
        when seen.platform is not null then 'day_not_over'
        when days.first_read_date is null then 'never_read'
        when days.spend_date < days.first_read_date then 'before_first_read'
        when days.spend_date > days.last_read_date then 'after_last_read'
        else 'not_read'
    end as unread_reason

from days
{% for name, condition in [('whole', 'whole.is_complete'), ('seen', 'not seen.is_complete')] %}
left join {{ ref('int_spend_reads__merged') }} as {{ name }}
    on
        days.platform = {{ name }}.platform
        and days.account_id = {{ name }}.account_id
        and {{ condition }}
        and days.spend_date >= {{ name }}.first_date
        and days.spend_date <= {{ name }}.last_date
{% endfor %}
where
    whole.platform is null
    and (days.spend_date <= {{ as_of() }} or days.spend_date <= days.last_lead_date)

union all

-- A platform that was never read, and an account that the token may see but that is not configured
-- to be read: the days on which its leads came.
select distinct
    leads.platform,
    leads.account_id,
    leads.first_touch_date as spend_date,
    'unread' as spend_status,
    case when leads.platform in ('meta', 'google') then 'never_read' else 'no_source' end
        as unread_reason

from leads
left join accounts
    on leads.platform = accounts.platform and leads.account_id = accounts.account_id
where
    accounts.platform is null
    and (leads.account_id <> 'unknown' or leads.platform not in (select bounds.platform from bounds))
