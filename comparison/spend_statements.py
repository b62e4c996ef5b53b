"""The SQL of a comparison that is about spend; views as `comparison.statements` reads them."""

from __future__ import annotations

SPEND_PAIRS = """
create temp table spend_pairs as
select
    a, b,
    a.spend_date is not null and b.spend_date is not null as in_both,
    coalesce(b.spend, 0) - coalesce(a.spend, 0) as spend,
    coalesce(b.counted_reporting, 0) - coalesce(a.counted_reporting, 0) as spend_reporting
from spend_a as a
full outer join spend_b as b
    on
        a.platform = b.platform
        and a.account_id = b.account_id
        and a.ad_id = b.ad_id
        and a.spend_date = b.spend_date
        and a.row_kind = b.row_kind
where a.spend_date is null or b.spend_date is null or a is distinct from b
"""

SPEND_SPLIT = """
create temp table spend_split as
select
    *,
    case
        when not in_both or a.exchange_rate is not distinct from b.exchange_rate
            and a.is_converted and b.is_converted and a.spend <> b.spend
            then spend_reporting
        when a.spend = b.spend or not (a.is_converted and b.is_converted)
            or a.exchange_rate is null or b.exchange_rate is null then 0
        else cast(cast(b.spend as decimal(24, 6)) * a.exchange_rate as decimal(18, 6))
            - a.counted_reporting
    end as reporting_of_spend,
    case
        when in_both then 'spend'
        when
            (
                coalesce(a.platform, b.platform),
                coalesce(a.account_id, b.account_id),
                coalesce(a.spend_date, b.spend_date)
            ) in (
                select (platform, account_id, spend_date) from account_days_a
                intersect
                select (platform, account_id, spend_date) from account_days_b
            ) then 'spend'
        else 'spend_day'
    end as mechanic
from spend_pairs
"""
"""Of a difference in converted spend: what the amount did (at the old rate), the rest the rate."""

SPEND_DELTAS = """
create temp table spend_deltas as
select
    a.spend_date as report_date, a.platform as platform, a.campaign_key as campaign_id,
    'spend_placed' as mechanic, -a.spend as spend, -a.counted_reporting as spend_reporting
from spend_split where in_both and a.campaign_key <> b.campaign_key
union all
select b.spend_date, b.platform, b.campaign_key, 'spend_placed', a.spend, a.counted_reporting
from spend_split where in_both and a.campaign_key <> b.campaign_key
union all
select
    coalesce(b.spend_date, a.spend_date), coalesce(b.platform, a.platform),
    coalesce(b.campaign_key, a.campaign_key), mechanic, spend, reporting_of_spend
from spend_split
union all
select
    coalesce(b.spend_date, a.spend_date), coalesce(b.platform, a.platform),
    coalesce(b.campaign_key, a.campaign_key), 'rate',
    0, spend_reporting - reporting_of_spend
from spend_split
"""
