"""Lakes of versions that had ads tables of their own for each platform are rewritten once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ingestion.ads.schema import GOOGLE_ADS, META_ADS, MONEY, TS
from ingestion.ads.tables import convert_old_tables
from ingestion.lake.commit import Commit
from ingestion.lake.lake import Lake

READ = {"read_no": pa.int64(), "read_at": TS}
AT = datetime(2026, 5, 10, 1, tzinfo=UTC)
DAY = date(2026, 5, 9)
OLD_META: dict[str, list[dict[str, Any]]] = {
    "accounts": [{"account_id": "1", "account_name": "Loja", "timezone_name": "America/Bahia"}],
    "campaigns": [{"campaign_id": "2", "campaign_name": "C", "created_time": AT}],
    "adsets": [{"adset_id": "3", "adset_name": "S", "updated_time": AT}],
    "ads": [{"ad_id": "4", "ad_name": "A", "adset_id": "3", "created_time": AT}],
    "creatives": [{"creative_id": "5", "headline": "Oferta"}],
    "ad_lookups": [{"ad_id": "6", "status": "foreign", "attempts": 2}],
    "insights": [
        {"account_id": "1", "spend_date": DAY, "ad_id": "4", "spend": Decimal("1.25"),
         "platform_conversations": 3, "actions": "[]"},
    ],
    "insight_days": [
        {"account_id": "1", "spend_date": DAY, "account_spend": Decimal("1.50"),
         "account_impressions": 9, "account_clicks": 1, "ad_rows": 1, "content_hash": "h"},
    ],
    "insight_reads": [{"account_id": "1", "since": DAY, "until": DAY}],
}  # fmt: skip
OLD_GOOGLE: dict[str, list[dict[str, Any]]] = {
    "customers": [
        {"customer_id": "1", "customer_name": "Loja", "timezone_name": "America/Bahia",
         "status": "ENABLED", "configured_id": "9"},
    ],
    "campaigns": [
        {"campaign_id": "2", "customer_id": "1", "channel_type": "SEARCH", "status": "PAUSED"},
    ],
    "ad_groups": [
        {"ad_group_id": "31", "customer_id": "1", "ad_group_name": "G", "ad_group_type": "STANDARD",
         "status": "ENABLED"},
    ],
    # One ad in two ad groups: it is that of the least one.
    "ads": [
        {"ad_id": "4", "ad_group_id": "32", "customer_id": "1", "ad_name": "Other place"},
        {"ad_id": "4", "ad_group_id": "31", "customer_id": "1", "headline": "Oferta",
         "status": "ENABLED"},
    ],
    "costs": [
        {"customer_id": "1", "spend_date": DAY, "level": "ad_group", "campaign_id": "2",
         "ad_group_id": "31", "ad_group_name": "G", "spend": Decimal("2.5"), "impressions": 7,
         "clicks": 2},
    ],
    "cost_days": [
        {"customer_id": "1", "spend_date": DAY, "customer_spend": Decimal("3"),
         "customer_impressions": 7, "customer_clicks": 2, "ad_rows": 0, "content_hash": "h"},
    ],
    "cost_reads": [{"customer_id": "1", "since": DAY, "until": DAY}],
    "click_views": [
        {"customer_id": "1", "click_date": DAY, "gclid": "g", "ad_group_id": "31", "ad_id": "4"},
    ],
    "click_reads": [{"customer_id": "1", "click_date": DAY, "clicks": 1}],
}  # fmt: skip
NEW_META: dict[str, dict[str, Any]] = {
    "accounts": {"account_id": "1", "account_name": "Loja", "timezone": "America/Bahia"},
    "campaigns": {"campaign_id": "2", "campaign_name": "C", "created_at": AT},
    "adsets": {"adset_id": "3", "adset_name": "S", "updated_at": AT},
    "ads": {"ad_id": "4", "ad_name": "A", "adset_id": "3", "created_at": AT, "headline": None},
    "creatives": {"creative_id": "5", "headline": "Oferta"},
    "ad_lookups": {"ad_id": "6", "lookup_status": "foreign", "attempts": 2},
    "spend_rows": {
        "account_id": "1", "spend_date": DAY, "spend_level": "ad", "ad_id": "4",
        "spend": Decimal("1.25"), "platform_conversations": 3, "actions": "[]",
    },
    "spend_days": {"account_id": "1", "account_spend": Decimal("1.50"), "content_hash": "h"},
    "spend_reads": {"account_id": "1", "since_date": DAY, "until_date": DAY},
}  # fmt: skip
NEW_GOOGLE: dict[str, dict[str, Any]] = {
    "accounts": {
        "account_id": "1", "account_name": "Loja", "timezone": "America/Bahia",
        "account_status": "ENABLED", "configured_id": "9",
    },
    "campaigns": {
        "campaign_id": "2", "account_id": "1", "objective": "SEARCH", "status": "PAUSED",
        "effective_status": "PAUSED",
    },
    "adsets": {
        "adset_id": "31", "account_id": "1", "adset_name": "G", "optimization_goal": "STANDARD",
        "effective_status": "ENABLED",
    },
    "ads": {
        "ad_id": "4", "adset_id": "31", "ad_name": "Oferta", "headline": "Oferta",
        "effective_status": "ENABLED",
    },
    "spend_rows": {
        "account_id": "1", "spend_level": "ad_group", "campaign_id": "2", "adset_id": "31",
        "adset_name": "G", "ad_id": None, "spend": Decimal("2.5"), "clicks": 2,
    },
    "spend_days": {"account_spend": Decimal(3), "account_impressions": 7, "account_clicks": 2},
    "spend_reads": {"account_id": "1", "since_date": DAY, "until_date": DAY},
    "click_views": {"account_id": "1", "gclid": "g", "adset_id": "31", "ad_id": "4"},
    "click_reads": {"account_id": "1", "click_date": DAY, "clicks": 1},
}  # fmt: skip
PLATFORMS = pytest.mark.parametrize(
    ("platform", "old", "new", "schemas"),
    [("meta", OLD_META, NEW_META, META_ADS), ("google", OLD_GOOGLE, NEW_GOOGLE, GOOGLE_ADS)],
    ids=["meta", "google"],
)


def _old_lake(root: Path, dataset: str, tables: Mapping[str, list[dict[str, Any]]]) -> Lake:
    """Each table in two files, of the reads 2 and 1: the later one was compacted first."""
    lake = Lake(str(root))
    for read_no in (2, 1):
        with lake.commit(dataset) as commit:
            for table, rows in tables.items():
                found = [{"read_no": read_no, "read_at": AT, **row} for row in rows]
                # Columns that a row leaves out were null in the old files as well.
                names = dict.fromkeys(name for row in found for name in row)
                commit.write(table, _table(found, names))
    return lake


def _table(rows: list[dict[str, Any]], names: Mapping[str, None]) -> pa.Table:
    if "ad_name" in names or "headline" in names:
        names = {**names, "ad_name": None, "headline": None, "status": None}
    types = {n: _type(n, [r.get(n) for r in rows]) for n in names}
    schema = pa.schema([pa.field(n, t) for n, t in types.items()])
    return pa.Table.from_pylist(rows, schema=schema)


def _type(name: str, values: list[Any]) -> pa.DataType:
    if name in READ:
        return READ[name]
    value = next((v for v in values if v is not None), "")
    if isinstance(value, Decimal):
        return MONEY
    kinds = {datetime: TS, date: pa.date32(), int: pa.int64(), str: pa.string()}
    return kinds[type(value)]


def _rows(lake: Lake, dataset: str, table: str) -> list[dict[str, Any]]:
    return lake.query("select * from {t} order by read_no", t=f"{dataset}/{table}").to_pylist()


def _open(lake: Lake, dataset: str, schemas: Mapping[str, pa.Schema]) -> int:
    """As a landing or a build opens the dataset."""
    lake.ensure(dataset, schemas)
    lake.sweep(dataset)
    return convert_old_tables(lake, dataset)


@PLATFORMS
def test_old_tables_become_those_of_today(
    tmp_path: Path, platform: str, old: Any, new: Any, schemas: Mapping[str, pa.Schema]
) -> None:
    dataset = f"{platform}_ads"
    lake = _old_lake(tmp_path, dataset, old)
    assert _open(lake, dataset, schemas) == 2 * len(old)
    assert set(lake.tables(dataset)) == set(schemas)
    for table, expected in new.items():
        rows = _rows(lake, dataset, table)
        assert [r["read_no"] for r in rows] == [1, 2], table
        for row in rows:
            seen = {name: row[name] for name in expected}
            assert (table, seen) == (table, expected)
            assert (row["platform"], row["read_at"]) == (platform, AT)
    assert _open(lake, dataset, schemas) == 0


@PLATFORMS
@pytest.mark.parametrize("killed_in", ["write", "finish", "the removal of old files"])
def test_after_a_kill_the_old_tables_count_or_the_new_ones(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    platform: str,
    old: Any,
    new: Any,
    schemas: Mapping[str, pa.Schema],
    killed_in: str,
) -> None:
    dataset = f"{platform}_ads"
    lake = _old_lake(tmp_path, dataset, old)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if killed_in == "the removal of old files":
            patch.setattr(lake.fs, "rm_file", killed)
        else:
            patch.setattr(Commit, killed_in, killed)
        patch.setattr(Commit, "abandon", lambda _: None)  # nothing is tidied up after a kill
        with pytest.raises(KeyboardInterrupt):
            _open(lake, dataset, schemas)
    again = Lake(str(tmp_path))
    _open(again, dataset, schemas)
    assert set(again.tables(dataset)) == set(schemas)
    for table in new:
        assert [r["read_no"] for r in _rows(again, dataset, table)] == [1, 2], table


def test_old_files_that_a_backup_brought_back_are_rewritten_too(tmp_path: Path) -> None:
    lake = _old_lake(tmp_path, "meta_ads", OLD_META)
    _open(lake, "meta_ads", META_ADS)
    with lake.commit("meta_ads") as commit:
        found = [{"read_no": 3, "read_at": AT, **row} for row in OLD_META["insights"]]
        commit.write("insights", _table(found, dict.fromkeys(found[0])))
    assert _open(lake, "meta_ads", META_ADS) == 1
    assert [r["read_no"] for r in _rows(lake, "meta_ads", "spend_rows")] == [1, 2, 3]


def test_a_dataset_of_no_ads_is_left_alone(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    with lake.commit("hubspot") as commit:
        commit.write("accounts", pa.table({"read_no": [1]}))
    assert convert_old_tables(lake, "hubspot") == 0
    assert lake.tables("hubspot") == ["accounts"]
