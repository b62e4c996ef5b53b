"""The report's figures, by day and by what the page can filter: account, campaign, ad, channel,
business number, brand.

They come from `fct_ad_spend` and `fct_leads`, like those of campaign_performance, ad_performance
and channel_performance, none of which has both channel and campaign of an amount in one row.
`check_totals` refuses figures whose totals differ from channel_performance.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import duckdb

from ctwa.errors import CtwaError
from publishing.report.room import Room, choose

AMOUNTS = ("spend", "won_value", "message_cost")
COUNTS = (
    "impressions", "clicks", "conversations", "leads", "replied", "qualified", "won",
)  # fmt: skip
MEASURES = (*AMOUNTS, *COUNTS)
KEYS = ("platform", "account", "campaign", "ad", "channel", "number", "brand")

SHOWN_LEADS = 3_000
"""The newest so many are in the page one by one; of older ones it has the figures only."""


class ReportError(CtwaError):
    """The report could not be made; the previous one stays."""


# One number for all keys, by which millions of rows are joined much faster than by seven texts.
_KEY = f"hash({', '.join(KEYS)})"

# A sum that leaves out an amount without a rate, or one not read, would be too low: it is null
# (rule R13). Unread spend is in the reports by ad, and in every channel that the platform bills;
# there without account and campaign, so that it is only in the channel's total.
_UNREAD = """
    select
        report_date, platform, account_id,
        case when platform is not null
            then coalesce(campaign_id, 'unallocated:' || account_id) end as campaign,
        ad_id,
        unnest(string_split(channel_mix, ', ')) as channel
    from marts.ad_performance
    where spend_status = 'unread' and spend_unread_reason <> 'no_source'

    union all

    select report_date, null, null, null, null, channel
    from marts.channel_performance
    where spend_status = 'unread' and spend_reporting is null
"""
# Marts of an older version do not say what was not read.
_NOTHING_UNREAD = """
    select
        null::date as report_date, null::varchar as platform, null::varchar as account_id,
        null::varchar as campaign, null::varchar as ad_id, null::varchar as channel
    where false
"""
# A number or brand is told apart only where there are several: spend has none.
_NUMBERS = """
create temp table numbers as
select
    coalesce(min(business_number_id) <> max(business_number_id), false) as has_numbers,
    coalesce(min(brand) <> max(brand), false) as has_brands
from marts.fct_leads
where not coalesce(is_excluded, false)
"""
_LEADS = """
create temp table {name} as
select *, {key} as key from (select
    cast(first_touch_date - date '1970-01-01' as integer) as day, platform,
    case when platform is not null then account_id end as account,
    case when platform is not null then coalesce(campaign_id, 'unresolved') end as campaign,
    case when platform is not null
        then coalesce(ad_id, 'campaign:' || campaign_id, 'unknown') end as ad,
    channel,
    case when has_numbers then business_number_id end as number,
    case when has_brands then brand end as brand,
    case when not coalesce(has_unconverted_value, false)
        then cast(coalesce(won_value_reporting, 0) * 1000000 as bigint) end as won_value,
    cast({message_cost} * 1000000 as bigint) as message_cost,
    cast(coalesce(has_replied, false) as integer) as replied,
    cast(is_qualified as integer) as qualified,
    cast(is_won as integer) as won,
    case when is_qualified then
        cast(ceil(greatest(0, epoch(qualified_at) - epoch(first_touch_at)) / 86400) as integer)
    end as age
    {more}
from {leads}, numbers)
"""
_COUNTED = "(select * from marts.fct_leads where not coalesce(is_excluded, false))"
_NEWEST = """(
    select * from marts.fct_leads
    where not coalesce(is_excluded, false)
    order by first_touch_at desc, lead_id
    limit {limit}
)"""
_KINDS = """
create temp view kinds as
with unread as ({unread})

select *, {key} as key from (select
    cast(spend_date - date '1970-01-01' as integer) as day, platform, account_id as account,
    coalesce(campaign_id, 'unallocated:' || account_id) as campaign,
    case when row_kind = 'unallocated' then 'unallocated:' || account_id else ad_id end as ad,
    channel, cast(null as varchar) as number, cast(null as varchar) as brand,
    cast(spend_reporting * 1000000 as bigint) as spend, cast(0 as bigint) as won_value,
    cast(0 as bigint) as message_cost,
    impressions, clicks, platform_conversations as conversations,
    0 as leads, 0 as replied, 0 as qualified, 0 as won
from marts.fct_ad_spend

union all

select
    cast(report_date - date '1970-01-01' as integer), platform, account_id, campaign, ad_id,
    channel, null, null,
    null, 0, 0, null, null, null, 0, 0, 0, 0
from unread)

union all

select
    day, platform, account, campaign, ad, channel, number, brand,
    0, won_value, message_cost, 0, 0, 0, 1, replied, qualified, won, key
from counted
"""
# Every combination of keys, and what decides which of them have a place of their own (`room.py`).
_FOUND = """
create temp table found as
select key, {keys}, max(day) as last_day, sum(spend) as spend, sum(leads) as leads
from kinds
group by key
"""
# What rows of the page are about, by level; a level above has entities of its own, without the keys
# below it.
_ENTITIES = """
create temp table entities as
with levels as (
    select distinct
        0 as level, platform, account, shown_campaign as campaign, shown_ad as ad, channel, number,
        brand
    from shown
    union
    select 1, platform, account, shown_campaign, null, channel, number, brand from shown
    union
    select 2, platform, account, null, null, channel, number, brand from shown
)
select cast(row_number() over (order by level, {ordered}) - 1 as integer) as entity, *
from levels
"""
_PLACES = """
create temp table places as
select
    shown.key, ads.entity, campaigns.entity as campaign_entity, totals.entity as total_entity
from shown
inner join entities as ads
    on ads.level = 0 and {same_ad}
    and shown.shown_campaign is not distinct from ads.campaign
    and shown.shown_ad is not distinct from ads.ad
inner join entities as campaigns
    on campaigns.level = 1 and {same_campaign}
    and shown.shown_campaign is not distinct from campaigns.campaign
inner join entities as totals on totals.level = 2 and {same_total}
"""
_FACTS = """
create temp table facts as
select
    kinds.day, places.entity, places.campaign_entity, places.total_entity, {measures}
from kinds
inner join places on kinds.key = places.key
"""
_AGES = """
create temp table ages as
select
    counted.day, places.entity, places.campaign_entity, places.total_entity, counted.age
from counted
inner join places on counted.key = places.key
where counted.age is not null
"""
_TOTALS = """
with told as (
    select
        sum(leads) as leads, sum(qualified) as qualified,
        case when count(spend) = count(*) then sum(spend) end as spend
    from facts
    inner join entities on facts.entity = entities.entity
    group by day, channel
)
select
    coalesce(sum(leads), 0), coalesce(sum(qualified), 0),
    coalesce(sum(spend), 0)
from told
"""
_PUBLISHED = """
select
    coalesce(sum(leads), 0), coalesce(sum(qualified_leads), 0), coalesce(sum(spend_reporting), 0)
from marts.channel_performance
"""


def sums() -> str:
    """The measures added up; null where one is null."""
    return ", ".join(
        f"case when count({name}) = count(*) then cast(sum({name}) as bigint) end as {name}"
        for name in MEASURES
    )


def _same(one: str, other: str, keys: Sequence[str]) -> str:
    return " and ".join(f"{one}.{key} is not distinct from {other}.{key}" for key in keys)


def load_facts(
    connection: duckdb.DuckDBPyConnection, *, says_unread: bool, room: Room
) -> dict[str, int]:
    """Make the temporary tables `entities`, `places` (the entities of every combination of keys),
    `facts`, `ages`, `counted` (one row per lead), `newest` (the same of the `SHOWN_LEADS` newest,
    with `lead_id`), and those of `room.choose`, whose counts are returned.

    `says_unread`: whether these marts say which spend was not read.
    Raises `ReportError` where the totals are not those of channel_performance (rule R12).
    """
    # A message cost that is not known leaves the sum unknown (rule R16).
    has_cost = connection.execute(
        "select count(*) > 0 from duckdb_columns() "
        "where table_name = 'fct_leads' and column_name = 'message_cost_reporting'"
    ).fetchone() == (True,)
    cost = "message_cost_reporting" if has_cost else "null"
    if _tells_agent_costs(connection):
        cost = f"({cost} + agent_cost_reporting)"
    unread = _UNREAD if says_unread else _NOTHING_UNREAD
    connection.execute(_NUMBERS)
    newest = _NEWEST.format(limit=SHOWN_LEADS)
    for name, leads, more in (("counted", _COUNTED, ""), ("newest", newest, ", lead_id")):
        connection.execute(
            _LEADS.format(name=name, leads=leads, more=more, message_cost=cost, key=_KEY)
        )
    connection.execute(_KINDS.format(unread=unread, key=_KEY))
    connection.execute(_FOUND.format(keys=", ".join(f"any_value({key}) as {key}" for key in KEYS)))
    small = choose(connection, room)
    connection.execute(_ENTITIES.format(ordered=", ".join(f"{key} nulls first" for key in KEYS)))
    common = [key for key in KEYS if key not in ("campaign", "ad")]
    connection.execute(
        _PLACES.format(
            same_ad=_same("shown", "ads", common),
            same_campaign=_same("shown", "campaigns", common),
            same_total=_same("shown", "totals", common),
        )
    )
    connection.execute(_FACTS.format(measures=", ".join(MEASURES)))
    connection.execute(_AGES)
    _check_totals(connection)
    return small


def _check_totals(connection: duckdb.DuckDBPyConnection) -> None:
    """Check that every lead and amount is in channel_performance exactly once (rule R12)."""
    leads, qualified, spend = connection.execute(_TOTALS).fetchone() or (0, 0, 0)
    counted = (leads, qualified, Decimal(spend).scaleb(-6))
    published = connection.execute(_PUBLISHED).fetchone() or ()
    if counted != published:
        raise ReportError(
            "leads, qualified leads and spend of fct_leads and fct_ad_spend "
            f"({', '.join(map(str, counted))}) differ from those of channel_performance "
            f"({', '.join(map(str, published))}); `ctwa refresh --full` rebuilds both"
        )


def _tells_agent_costs(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether what Meta's agent cost is a part of loaded costs, as the marts have it."""
    found = connection.execute(
        "select count(*) from duckdb_columns() where (table_name, column_name) in "
        "(('fct_leads', 'agent_cost_reporting'), ('fct_message_costs', 'category'))"
    ).fetchone()
    return found == (2,) and connection.execute(
        "select count(*) > 0 from marts.fct_message_costs where category = 'agent'"
    ).fetchone() == (True,)
