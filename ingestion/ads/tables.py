"""One platform's tables of ads in the lake: what is known already, and what one read adds.

Earlier versions had tables of their own for each platform. `convert_old_tables` rewrites these once
into today's columns: it reads all their files, renames tables and columns, and writes the result
with one commit of the lake that also removes the old files. If it is killed, either the old tables
count or the new ones. It does nothing to a lake without old files, and also converts a lake that
was restored from an old backup.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingestion.ads.schema import ADS, KEYS
from ingestion.lake.lake import Lake
from ingestion.lake.pipeline import conform

Row = dict[str, Any]
Clock = Callable[[], datetime]

_NOT_CONTENT = {
    *("platform", "read_no", "read_at"),
    # Signed and short-lived: different at each read, although nothing has changed.
    "thumbnail_url",
}


def utc_now() -> datetime:
    """The default clock of a landing."""
    return datetime.now(UTC)


@dataclass
class AdsTables:
    """The tables of one platform during one read of it; the caller holds the refresh lock.

    `read_no` is one higher than that of the last read that landed.
    """

    lake: Lake
    platform: str
    schemas: Mapping[str, pa.Schema]
    now: Clock
    read_no: int = 0

    @classmethod
    def open(
        cls, lake: Lake, platform: str, schemas: Mapping[str, pa.Schema], now: Clock
    ) -> AdsTables:
        """The tables with all their columns, and without what a killed run left behind."""
        tables = cls(lake, platform, schemas, now)
        dataset = tables.dataset
        lake.ensure(dataset, schemas)
        lake.sweep(dataset)
        convert_old_tables(lake, dataset)
        lake.compact(dataset, schemas)  # each read adds a few small files
        tables.read_no = 1 + max(lake.max_value(dataset, table, "read_no") for table in schemas)
        return tables

    @property
    def dataset(self) -> str:
        """The folder of the lake; dbt reads every dataset of this form as one source."""
        return f"{self.platform}_ads"

    def query(self, sql: str, **tables: str) -> list[Row]:
        """Rows of a query in which `{name}` stands for the table given as `name="table"`."""
        paths = {name: f"{self.dataset}/{table}" for name, table in tables.items()}
        return self.lake.query(sql, **paths).to_pylist()

    def newest(self, table: str) -> dict[str, Row]:
        """The newest row of every object of a table of `KEYS`, by id."""
        key = KEYS[table]
        rows = self.query(
            "select * from {t} qualify row_number() over "  # noqa: S608 - names of ours
            f"(partition by {key} order by read_no desc) = 1",
            t=table,
        )
        return {row[key]: row for row in rows}

    def changed(
        self, table: str, rows: Sequence[Row], known: Mapping[str, Row] | None = None
    ) -> list[Row]:
        """Rows that are new or differ from their object's newest row; one, the last, per object."""
        known = self.newest(table) if known is None else known
        key = KEYS[table]
        columns = [n for n in self.schemas[table].names if n not in _NOT_CONTENT]
        return [
            row
            for object_id, row in {row[key]: row for row in rows}.items()
            if object_id not in known or any(row.get(c) != known[object_id][c] for c in columns)
        ]

    def load(self, rows: Mapping[str, Sequence[Row]]) -> dict[str, int]:
        """Add these rows as one complete load; returns their number by table. No rows, no load."""
        if not any(rows.values()):
            return {}
        read = {"platform": self.platform, "read_no": self.read_no, "read_at": self.now()}
        tables = {t: arrow_table(self.schemas[t], r, read) for t, r in rows.items()}
        landed = self.lake.load(self.dataset, [tables], self.schemas)
        return {table: landed[table] for table in rows}


def arrow_table(schema: pa.Schema, rows: Sequence[Row], read: Row) -> pa.Table:
    """Rows of one table with the columns of `read` added; absent columns are null."""
    # By columns: half the time of `from_pylist`.
    columns = [
        pa.array(
            [read[f.name]] * len(rows) if f.name in read else [r.get(f.name) for r in rows], f.type
        )
        for f in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Old:
    """An old table: its name today, and today's names of its columns where they differ."""

    table: str
    names: Mapping[str, str] = field(default_factory=dict)
    spend_level: str | None = None


_TIMES = {"created_time": "created_at", "updated_time": "updated_at"}
_RANGE = {"since": "since_date", "until": "until_date"}
_META = {
    "accounts": _Old("accounts", {"timezone_name": "timezone"}),
    "campaigns": _Old("campaigns", _TIMES),
    "adsets": _Old("adsets", _TIMES),
    "ads": _Old("ads", _TIMES),
    "creatives": _Old("creatives"),
    "ad_lookups": _Old("ad_lookups", {"status": "lookup_status"}),
    "insights": _Old("spend_rows", spend_level="ad"),
    "insight_days": _Old("spend_days"),
    "insight_reads": _Old("spend_reads", _RANGE),
}
_ACCOUNT = {"customer_id": "account_id"}
_GROUP = {
    **_ACCOUNT,
    "ad_group_id": "adset_id",
    "ad_group_name": "adset_name",
    "ad_group_type": "optimization_goal",
}
_GOOGLE = {
    "customers": _Old(
        "accounts",
        {
            **_ACCOUNT,
            "customer_name": "account_name",
            "timezone_name": "timezone",
            "status": "account_status",
        },
    ),
    "campaigns": _Old("campaigns", {**_ACCOUNT, "channel_type": "objective"}),
    "ad_groups": _Old("adsets", _GROUP),
    "ads": _Old("ads", _GROUP),
    "costs": _Old("spend_rows", {**_GROUP, "level": "spend_level"}),
    "cost_days": _Old(
        "spend_days",
        {
            **_ACCOUNT,
            "customer_spend": "account_spend",
            "customer_impressions": "account_impressions",
            "customer_clicks": "account_clicks",
        },
    ),
    "cost_reads": _Old("spend_reads", {**_ACCOUNT, **_RANGE}),
    "click_views": _Old("click_views", _GROUP),
    "click_reads": _Old("click_reads", _ACCOUNT),
}
_OLD = {"meta_ads": _META, "google_ads": _GOOGLE}


def convert_old_tables(lake: Lake, dataset: str) -> int:
    """Rewrite the old files of a dataset that is swept and has all its tables; returns how many.

    Datasets without old tables are left alone. The caller holds the refresh lock.
    """
    platform = dataset.removesuffix("_ads")
    files = {table: _old_files(lake, dataset, table) for table in _OLD.get(dataset, {})}
    count = sum(map(len, files.values()))
    if count:
        lowest = _lowest_ad_groups(lake, dataset) if platform == "google" and files["ads"] else None
        with lake.commit(dataset) as commit:
            for table, names in files.items():
                old = _OLD[dataset][table]
                for rows in lake.read(dataset, table, names):
                    commit.write(old.table, _renamed(rows, old, platform, lowest))
                commit.remove(table, names)
        log.info("lake %s: rewrote %d file(s) of old tables", dataset, count)
    for table in set(_OLD.get(dataset, ())) - set(ADS):
        if not lake.files(dataset, table):
            _drop(lake, dataset, table)
    return count


def _old_files(lake: Lake, dataset: str, table: str) -> list[str]:
    """Files without `platform`, in the order of their reads, so that row groups stay sorted."""
    old = []
    for name in lake.files(dataset, table):
        with lake.fs.open(f"{lake.root}/{dataset}/{table}/{name}", "rb") as file:
            if "platform" not in pq.read_schema(file).names:
                old.append(name)
    return sorted(old, key=lambda n: (lake.bounds(dataset, table, n, "read_no")[0], n))


def _renamed(rows: pa.Table, old: _Old, platform: str, lowest: pa.Table | None) -> pa.Table:
    if platform == "google" and old.table == "ads":
        rows = _google_ads(rows, lowest)
    rows = rows.rename_columns([old.names.get(n, n) for n in rows.column_names])
    columns = {"platform": platform, "spend_level": old.spend_level}
    if platform == "google" and "status" in rows.column_names:
        rows = rows.append_column("effective_status", rows["status"])
    for name, value in columns.items():
        if value is not None:
            rows = rows.append_column(name, pa.repeat(pa.scalar(value), rows.num_rows))
    return conform(rows, ADS[old.table])


def _google_ads(rows: pa.Table, lowest: pa.Table | None) -> pa.Table:
    """An ad had a row for each of its ad groups: only that of the lowest ad group id is kept. An ad
    without a name is called by its headline."""
    assert lowest is not None
    wanted = dict(zip(*(lowest[c].to_pylist() for c in ("ad_id", "ad_group_id")), strict=True))
    groups = zip(rows["ad_id"].to_pylist(), rows["ad_group_id"].to_pylist(), strict=True)
    rows = rows.filter(pa.array([wanted[ad] == group for ad, group in groups], pa.bool_()))
    named = pc.coalesce(rows["ad_name"], rows["headline"])
    return rows.set_column(rows.column_names.index("ad_name"), "ad_name", named)


def _lowest_ad_groups(lake: Lake, dataset: str) -> pa.Table:
    return lake.query(
        "select ad_id, min(ad_group_id) as ad_group_id from {ads} group by ad_id",
        ads=f"{dataset}/ads",
    )


def _drop(lake: Lake, dataset: str, table: str) -> None:
    """Remove the folder of an old table that has no files left."""
    path = f"{lake.root}/{dataset}/{table}"
    if lake.fs.isdir(path):
        lake.fs.rm(path, recursive=True)
