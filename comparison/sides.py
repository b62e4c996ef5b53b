"""One database with marts as one side of a comparison: the same views, whoever wrote it.

A side is a warehouse (schema `marts`) or a published file, which may be of an older version: a
column it lacks reads as null. `leads_<side>` has where each lead is counted, `spend_<side>` each
row of spend with the amount that its campaign's day counts of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import duckdb


class NotComparableError(ValueError):
    """A file has no marts to compare; the text says which and what it lacks."""


COLUMNS: Mapping[str, Mapping[str, str]] = {
    "fct_leads": {
        "lead_id": "varchar", "first_touch_id": "varchar", "first_touch_at": "timestamptz",
        "first_touch_date": "date", "channel": "varchar", "basis": "varchar",
        "platform": "varchar", "campaign_id": "varchar", "campaign_name": "varchar",
        "ad_id": "varchar", "ad_name": "varchar", "resolution": "varchar",
        "latest_channel": "varchar", "latest_ad_id": "varchar", "is_qualified": "boolean",
        "source_touch_id": "varchar", "source_touch_at": "timestamptz",
        "is_excluded": "boolean", "exclusion_reason": "varchar", "why": "varchar",
    },
    "fct_touches": {"touch_id": "varchar", "lead_id": "varchar"},
    "fct_outcomes": {
        "source": "varchar", "event_id": "varchar", "lead_id": "varchar", "stage": "varchar",
        "funnel_stage": "varchar", "occurred_at": "timestamptz",
    },
    "fct_ad_spend": {
        "platform": "varchar", "account_id": "varchar", "ad_id": "varchar",
        "spend_date": "date", "row_kind": "varchar", "campaign_id": "varchar",
        "spend": "decimal(18, 6)", "spend_reporting": "decimal(18, 6)",
        "exchange_rate": "decimal(18, 8)",
    },
    "campaign_performance": {
        "report_date": "date", "platform": "varchar", "campaign_id": "varchar",
        "campaign_name": "varchar", "spend": "decimal(18, 6)",
        "spend_reporting": "decimal(18, 6)", "leads": "bigint", "qualified_leads": "bigint",
    },
}  # fmt: skip
_NEEDED = ("fct_leads", "campaign_performance")

_VIEWS = """
create temp view leads_{side} as
select
    lead_id, first_touch_id, first_touch_at, first_touch_date, basis, channel, ad_id, ad_name,
    resolution, campaign_id, latest_channel, latest_ad_id, exclusion_reason,
    coalesce(source_touch_id, first_touch_id) as source_touch_id,
    coalesce(source_touch_at, first_touch_at) as source_touch_at,
    coalesce(is_qualified, false) as is_qualified,
    coalesce(is_excluded, false) as is_excluded,
    case
        when platform is null then null
        when campaign_id is null and platform = 'meta' then 'Meta ads not resolved'
        when campaign_id is null
            then upper(platform[1]) || platform[2:] || ' clicks not resolved'
        else campaign_name
    end as campaign_name,
    case when not coalesce(is_excluded, false) then first_touch_date end as report_date,
    case when not coalesce(is_excluded, false) then platform end as platform,
    case when not coalesce(is_excluded, false) and platform is not null
        then coalesce(campaign_id, 'unresolved') end as campaign_key,
    case when not coalesce(is_excluded, false) and platform is null
        then channel end as source_channel
from {fct_leads};
create temp view why_{side} as select lead_id, why from {fct_leads};
create temp view touches_{side} as select touch_id, lead_id from {fct_touches};
create temp view outcomes_{side} as select * from {fct_outcomes};
create temp view performance_{side} as select * from {campaign_performance};
create temp view account_days_{side} as
select distinct platform, account_id, spend_date from {fct_ad_spend};
create temp view spend_{side} as
with rows as (
    select *, coalesce(campaign_id, 'unallocated:' || account_id) as campaign_key
    from {fct_ad_spend}
), unconverted as (
    select distinct platform, campaign_key, spend_date from rows where spend_reporting is null
)
select
    rows.platform, rows.account_id, rows.ad_id, rows.spend_date, rows.row_kind,
    rows.campaign_key, rows.spend, rows.exchange_rate,
    unconverted.spend_date is null as is_converted,
    case when unconverted.spend_date is null then rows.spend_reporting else 0 end
        as counted_reporting
from rows
left join unconverted
    on
        rows.platform = unconverted.platform
        and rows.campaign_key = unconverted.campaign_key
        and rows.spend_date = unconverted.spend_date
"""


_RENAMED = """
create temp table renamed as
select b.lead_id as lead_id_b, a.lead_id as lead_id_a
from {a} as a
inner join {b} as b on a.first_touch_id = b.first_touch_id
where
    a.lead_id not in (select lead_id from {b})
    and b.lead_id not in (select lead_id from {a})
"""
"""Leads born of the same touch that only their id tells apart: `<id>` and `<id>:<brand>` (E31)."""

_WITH_IDS_OF_A = """(
    select there.* replace (coalesce(renamed.lead_id_a, there.lead_id) as lead_id)
    from {table} as there
    left join renamed on there.lead_id = renamed.lead_id_b
)"""


def open_sides(connection: duckdb.DuckDBPyConnection, before: Path, after: Path) -> None:
    """Attach both files read-only and make their views. Raises `NotComparableError`."""
    sides: dict[str, dict[str, str]] = {}
    for side, path in (("a", before), ("b", after)):
        if not path.exists():
            raise NotComparableError(f"there is no file {path}")
        name = f"side_{side}"
        if side == "b" and path.samefile(before):
            name = "side_a"  # DuckDB attaches a file once
        else:
            literal = "'" + str(path).replace("'", "''") + "'"
            connection.execute(f"attach {literal} as {name} (read_only)")
        sides[side] = {t: _select(connection, name, t, path) for t in COLUMNS}
    connection.execute(_RENAMED.format(**{s: sides[s]["fct_leads"] for s in sides}))
    for table in ("fct_leads", "fct_touches", "fct_outcomes"):
        sides["b"][table] = _WITH_IDS_OF_A.format(table=sides["b"][table])
    for side, tables in sides.items():
        connection.execute(_VIEWS.format(side=side, **tables))


def _select(connection: duckdb.DuckDBPyConnection, name: str, table: str, path: Path) -> str:
    """A subquery with all columns of `table`, typed; empty where the file lacks the table."""
    found = connection.execute(
        "select schema_name, column_name from duckdb_columns() where database_name = ? "
        "and table_name = ? and schema_name in ('marts', 'main')",
        [name, table],
    ).fetchall()
    if not found and table in _NEEDED:
        raise NotComparableError(f"{path} has no table marts.{table}")
    there = {column for _, column in found}
    columns = ", ".join(
        f"cast({c if c in there else 'null'} as {kind}) as {c}"
        for c, kind in COLUMNS[table].items()
    )
    if not found:
        return f"(select {columns} limit 0)"
    return f"(select {columns} from {name}.{found[0][0]}.{table})"  # noqa: S608
