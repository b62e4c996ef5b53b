"""Whether the figures can be trusted: alarms, restatements, unread spend, reconciliation, counts.

Everything is said as the marts have it; nothing is judged here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import duckdb

from publishing.report.columns import amounts, counts, packed, words
from publishing.report.zones import GRAINS, rows_by, split

HEALTH = (
    "conversations", "with_referral", "resolved", "pending", "foreign", "gone", "ad_suspected",
    "direct", "outbound", "platform_conversations", "unmatched_outcomes", "envelopes",
    "quarantined_envelopes", "excluded_leads", "web_leads", "repeats",
)  # fmt: skip
"""Columns of attribution_health, by day."""
RESTATED_DAYS = 90
"""Restatements of so many days before `as_of` are shown; the mart keeps all of them."""

Accounts = Sequence[tuple[Any, ...]]
"""(platform, account id, ...), in the order to which indexes refer."""


def says_unread(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether all marts concerned say which spend was not read."""
    marts = {"ad_performance", "channel_performance", "spend_reconciliation"}
    found = connection.execute(
        "select table_name from duckdb_columns() where column_name = 'spend_status'"
    ).fetchall()
    return marts <= {name for (name,) in found}


_UNREAD_RANGES = """
with days as (
    select
        platform, account_id, spend_status, spend_unread_reason as reason, spend_date as day,
        spend_date - cast(row_number() over (
            partition by platform, account_id, spend_status, spend_unread_reason
            order by spend_date
        ) as integer) as island
    from marts.spend_reconciliation
    where spend_status <> 'read' and spend_date < ?
)
select
    platform, account_id, spend_status, reason, min(day) - date '1970-01-01' as first_day,
    max(day) - date '1970-01-01' as last_day
from days
group by platform, account_id, spend_status, reason, island
order by first_day, last_day, platform, account_id
"""


def unread(
    connection: duckdb.DuckDBPyConnection, accounts: Accounts, as_of: date
) -> dict[str, Any]:
    """Ranges of account days whose spend is unknown or incomplete, without `as_of` (rule R13).

    `account`: its index among the accounts, -1 for a platform that was never read.
    `trailing`: it reaches the day before `as_of`, so a period should end before it starts.
    """
    index = {(a[0], a[1]): i for i, a in enumerate(accounts)}
    yesterday = (as_of - date(1970, 1, 1)).days - 1
    ranges = [
        {
            "platform": platform, "account": index.get((platform, account), -1),
            "status": status, "reason": reason, "from": first, "to": last,
        }
        for platform, account, status, reason, first, last in connection.execute(
            _UNREAD_RANGES, [as_of]
        ).fetchall()
    ]  # fmt: skip
    # Backwards from the last: a day read only in part belongs to the unread days that follow it.
    tail: dict[Any, int] = {}
    for found in reversed(ranges):
        key = (found["platform"], found["account"])
        found["trailing"] = found["account"] >= 0 and found["to"] == tail.get(key, yesterday)
        if found["trailing"]:
            tail[key] = found["from"] - 1
    names = ("platform", "account", "status", "reason", "from", "to", "trailing")
    return packed(names, [[found[name] for name in names] for found in ranges])


def alarms(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """The alarms for silent loss, in the mart's order. The page words them in its languages;
    `message` is for alarms that are newer than the page."""
    names = ("alarm", "status", "since", "subject", "measured", "low", "high", "message", "mend")
    rows = connection.execute(
        "select alarm, status, since - date '1970-01-01', subject, cast(measured as double), "
        "cast(expected_low as double), cast(expected_high as double), message, mend "
        "from marts.health_alarms order by place, alarm"
    ).fetchall()
    return [dict(zip(names, row, strict=True)) for row in rows]


def restatements(connection: duckdb.DuckDBPyConnection, as_of: date) -> dict[str, Any]:
    """Changes of published figures: per publication and cause the days concerned and the sums; and
    by day (`days`: day, last changed on, and the changes of spend and leads without their signs),
    except where leads only matured or rules were changed."""
    recent = "from marts.restatements where restated_on > cast($1 as date) - $2::integer"
    limits = [as_of, RESTATED_DAYS]
    rows = connection.execute(
        "select restated_on - date '1970-01-01', cause, min(report_date) - date '1970-01-01', "
        "max(report_date) - date '1970-01-01', "
        "case when count(spend_reporting_delta) = count(*) then sum(spend_reporting_delta) end, "
        "cast(sum(leads_delta) as bigint), cast(sum(qualified_leads_delta) as bigint) "
        f"{recent} group by 1, 2 order by 1, 2",
        limits,
    ).fetchall()
    days = connection.execute(
        "select report_date - date '1970-01-01', max(restated_on) - date '1970-01-01', "
        "cast(sum(abs(coalesce(spend_reporting_delta, 0))) as double), "
        f"cast(sum(abs(leads_delta)) as bigint) {recent} "
        "and cause not in ('late_outcome', 'rules', 'stage_mapping', 'chat_rules') "
        "group by 1 order by 1",
        limits,
    ).fetchall()
    return {
        "days": days,
        "on": [row[0] for row in rows],
        "cause": words([row[1] for row in rows]),
        "from": [row[2] for row in rows],
        "to": [row[3] for row in rows],
        "spend": amounts([row[4] for row in rows]),
        "leads": [row[5] for row in rows],
        "qualified": [row[6] for row in rows],
    }


def health(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """What attribution_health counts, by day."""
    chosen = ", ".join(f'"{c}"' for c in HEALTH)
    rows = connection.execute(
        f"select report_date - date '1970-01-01', {chosen} "  # noqa: S608
        "from marts.attribution_health order by report_date"
    ).fetchall()
    columns = {c: counts([r[i] for r in rows]) for i, c in enumerate(HEALTH, start=1)}
    return {"day": [row[0] for row in rows], **columns}


RECONCILED, EVENTS = (5_000, 1_500, 1_500), (6_000, 2_000, 2_000)
"""Rows of the page that are kept by day, week and month; older ones by year (`zones.split`)."""
_PARTS = ("billed", "ads", "campaign_level", "unallocated")
_RECONCILED = """
create temp table reconciled as
select
    platform, account_id, platform || ':' || account_id as entity,
    cast(spend_date - date '1970-01-01' as integer) as day, account_spend as billed,
    ads_spend as ads, campaign_level_spend as campaign_level, unallocated
from marts.spend_reconciliation
where account_id <> 'unknown'
"""
_EVENTS = """
create temp table events as
select
    cast(floor(epoch(occurred_at) / 86400) as integer) as day,
    funnel_stage, event_name, status, reason,
    hash(funnel_stage, event_name, status, reason) as entity
from marts.conversion_events
"""


def reconciliation(
    connection: duckdb.DuckDBPyConnection, accounts: Accounts
) -> list[dict[str, Any]]:
    """By account and day, in its currency: ads + campaign level + unallocated = billed.

    Zones, oldest first; older days as sums of weeks, months and years, `days` long.
    """
    index = {(a[0], a[1]): i for i, a in enumerate(accounts)}
    connection.execute(_RECONCILED)
    sums = ", ".join(
        f"case when count({name}) = count(*) then sum({name}) end as {name}" for name in _PARTS
    )
    made = []
    for zone, rows in _zoned(
        connection, "reconciled", "platform, account_id", f"count(*), {sums}", RECONCILED
    ):
        account = [index.get((row[1], row[2]), -1) for row in rows]
        parts = {
            name: amounts([row[place] for row in rows])
            for place, name in enumerate(_PARTS, start=4)
        }
        made.append({**zone, "account": account, "days": [row[3] for row in rows], **parts})
    return made


def conversions(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Conversion events by UTC day of the outcome, stage, name, status and reason; zones like
    those of `reconciliation`."""
    connection.execute(_EVENTS)
    names = ("stage", "event", "status", "reason")
    return [
        {
            **zone,
            **{name: words([row[i] for row in rows]) for i, name in enumerate(names, start=1)},
            "events": [row[5] for row in rows],
        }
        for zone, rows in _zoned(
            connection, "events", "funnel_stage, event_name, status, reason", "count(*)", EVENTS
        )
    ]


def _zoned(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    keys: str,
    sums: str,
    room: tuple[int, int, int],
) -> Iterator[tuple[dict[str, Any], list[tuple[Any, ...]]]]:
    """The zones of a table with `day` and `entity`, each with its rows: first day, keys, sums."""
    days = rows_by(connection, table, "entity", "day", 2**31 - 1)
    between = (days[-1][0], days[0][0] + 1) if days else (0, 0)
    for grain, start, end in split(connection, table, "entity", between, room, days):
        rows = connection.execute(
            f"select greatest({GRAINS[grain]}, ?) as period, {keys}, {sums} from {table} "  # noqa: S608
            f"where day >= ? and day < ? group by period, {keys} order by period, {keys}",
            [start, start, end],
        ).fetchall()
        yield {"grain": grain, "from": start, "to": end, "day": [row[0] for row in rows]}, rows
