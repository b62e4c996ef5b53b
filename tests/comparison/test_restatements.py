"""The ledger of restatements: what past days changed by, once, whatever dies in between."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from comparison import restatements
from comparison.restatements import record
from comparison.tables import (
    CREDIT_TABLES,
    RESTATEMENTS,
    credit_tables,
    load_comparison,
    save_comparison,
)
from ctwa.settings import Settings
from ingestion.lake.lake import Lake
from keeping.backup import backup, restore
from orchestration.publication import beside_marts
from publishing.marts import baseline_path, publish_marts, published_before, republish, versions
from tests.support.marts import Marts, lead, spend

D4, D5, D6, D7 = (date(2026, 3, day) for day in (4, 5, 6, 7))


def night(settings: Settings, day: date, marts: Marts) -> restatements.Restated:
    """What the nightly job does after dbt: restatements, then the publication."""
    marts.write(settings.warehouse_path)
    found = record(settings, published_before(settings, day), as_of=day)
    publish_marts(settings, as_of=day, beside=beside_marts(settings))
    return found


def published(settings: Settings, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(settings.marts_path), read_only=True) as connection:
        return connection.execute(sql).fetchall()


ALL = (
    "select restated_on, as_of, campaign_id, cause, spend_delta, leads_delta "
    "from marts.restatements order by all"
)
_SPEND = "select restated_on, spend_delta from marts.restatements order by all"
TEN, ELEVEN, TWELVE = (Marts([], [spend("1", n)]) for n in ("10", "11", "12"))


def test_the_first_night_has_an_empty_typed_table(settings: Settings) -> None:
    found = night(settings, D4, TEN)
    assert found.note == "there is no publication of an earlier day"
    columns = published(
        settings,
        "select column_name, data_type, comment is not null from duckdb_columns() "
        "where table_name = 'restatements'",
    )
    assert [c[0] for c in columns] == RESTATEMENTS.names
    assert dict(c[:2] for c in columns)["spend_delta"] == "DECIMAL(18,6)"
    assert all(described for _, _, described in columns)
    assert published(settings, ALL) == []


def test_the_next_night_says_what_changed_of_days_that_were_over(settings: Settings) -> None:
    night(settings, D4, TEN)
    today = lead("new", "A", first_touch_date="2026-03-04")
    night(settings, D5, Marts([lead("late", "A"), today], [spend("1", "11")]))
    assert published(settings, ALL) == [
        (D5, D4, "A", "late_message", Decimal(0), 1),
        (D5, D4, "A", "restated_spend", Decimal(1), 0),
    ]


def test_the_chain_has_no_gap_over_days_with_several_publications(settings: Settings) -> None:
    """Fresh publications of one day replace each other's page: their last state is what counts."""
    night(settings, D4, TEN)
    for marts in (ELEVEN, TWELVE, TWELVE, Marts([], [spend("1", "11.5")]), TWELVE, TWELVE):
        night(settings, D5, marts)
    assert len(versions(settings.marts_path)) == 3
    night(settings, D6, Marts([], [spend("1", "15")]))
    night(settings, D7, Marts([], [spend("1", "14")]))
    assert published(settings, _SPEND) == [(D5, Decimal(2)), (D6, Decimal(3)), (D7, Decimal(-1))]
    pages = Lake.from_settings(settings).pages(restatements.DATASET)
    assert len(pages) == 3


def test_marts_of_an_earlier_day_restate_nothing(settings: Settings) -> None:
    night(settings, D6, TEN)
    assert night(settings, D5, ELEVEN).since is None
    found = night(settings, D7, ELEVEN).since
    assert found is not None
    assert found.as_of == D6 or found.as_of == D5


def test_rules_that_changed_in_between_are_said(
    make_settings: Callable[..., Settings],
) -> None:
    before = make_settings()
    night(before, D4, Marts([lead("ana", "A")]))
    after = make_settings(first_touch="paid")
    night(after, D5, Marts([lead("ana", "B", first_touch_id="t-2")], touches={"t-ana": "ana"}))
    assert published(after, "select distinct cause from marts.restatements") == [("rules",)]


def test_e44_another_reporting_currency_gives_no_mixed_difference(
    make_settings: Callable[..., Settings],
) -> None:
    night(make_settings(), D4, Marts([], [spend("1", "10"), spend("2", "20")]))
    after = make_settings(reporting_currency="EUR")
    converted = [spend("1", "10", spend_reporting="2"), spend("2", "21", spend_reporting="4")]
    night(after, D5, Marts([], converted))
    rows = published(after, "select cause, spend_delta, spend_reporting_delta from restatements")
    assert rows == [("restated_spend", Decimal(1), None)]


_KILLED = """
import os, signal, sys
from datetime import date
from ctwa.settings import load_settings
from tests.comparison import test_restatements as tests
from publishing import marts

point = sys.argv[2]
settings = load_settings(_env_file=None, data_dir=sys.argv[1], pii_key="0" * 64)
def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)
if point == "before the older page goes":
    tests.Lake.remove_pages = die
elif point == "before publishing":
    tests.publish_marts = die
elif point == "after the baseline":
    marts.switch = die
tests.night(settings, tests.D5, tests.TWELVE)
"""


@pytest.mark.parametrize(
    "point", ["before the older page goes", "before publishing", "after the baseline"]
)
def test_e73_a_kill_on_the_way_doubles_nothing(settings: Settings, point: str) -> None:
    night(settings, D4, TEN)
    night(settings, D5, ELEVEN)
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, str(settings.data_dir), point], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    night(settings, D5, TWELVE)
    assert published(settings, ALL) == [(D5, D4, "A", "restated_spend", Decimal(2), 0)]
    assert len(Lake.from_settings(settings).pages(restatements.DATASET)) == 1


def test_a_kill_on_the_first_run_of_a_day_keeps_the_day_before(settings: Settings) -> None:
    night(settings, D4, TEN)
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, str(settings.data_dir), "after the baseline"], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert baseline_path(settings.marts_path).exists()
    night(settings, D6, ELEVEN)
    assert published(settings, ALL) == [(D6, D4, "A", "restated_spend", Decimal(1), 0)]


def test_e73_a_kill_before_the_last_publication_of_a_day_leaves_no_gap(settings: Settings) -> None:
    """What was recorded and never published is not what the next day is compared with."""
    night(settings, D4, TEN)
    night(settings, D5, ELEVEN)
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, str(settings.data_dir), "before publishing"], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    night(settings, D6, TWELVE)
    assert published(settings, _SPEND) == [(D5, Decimal(1)), (D6, Decimal(1))]


@pytest.mark.parametrize("again", [False, True])
def test_a_publication_without_a_record_leaves_no_gap(settings: Settings, again: bool) -> None:
    """`ctwa live` records now and then only; and a record may fail."""
    night(settings, D4, TEN)
    night(settings, D5, ELEVEN)
    TWELVE.write(settings.warehouse_path)
    publish_marts(settings, as_of=D5, beside=beside_marts(settings))
    if again:  # by `ctwa diff-rules`, which gives it another version
        assert republish(settings, beside_marts(settings)) is not None
    night(settings, D6, Marts([], [spend("1", "15")]))
    night(settings, D7, Marts([], [spend("1", "14")]))
    assert published(settings, _SPEND) == [(D5, Decimal(2)), (D6, Decimal(3)), (D7, Decimal(-1))]


@pytest.mark.parametrize(("last", "rows"), [(ELEVEN, 1), (TEN, 0)])
def test_marts_published_again_after_a_run_that_died_double_nothing(
    settings: Settings, last: Marts, rows: int
) -> None:
    """`ctwa diff-rules` gives yesterday's marts another version, after which the chain goes on."""
    night(settings, D4, TEN)
    ELEVEN.write(settings.warehouse_path)
    record(settings, published_before(settings, D5), as_of=D5)  # and dies before it publishes
    assert republish(settings, beside_marts(settings)) is not None
    night(settings, D5, last)
    night(settings, D5, last)
    assert len(published(settings, ALL)) == rows
    night(settings, D6, TWELVE)
    assert sum(row[4] for row in published(settings, ALL)) == Decimal(2)


def test_a_page_that_says_the_same_is_not_written_again(settings: Settings) -> None:
    night(settings, D4, TEN)
    night(settings, D5, TEN)
    lake = Lake.from_settings(settings)
    assert lake.pages(restatements.DATASET) == []
    night(settings, D5, ELEVEN)
    night(settings, D5, ELEVEN)
    (page,) = lake.pages(restatements.DATASET)
    assert page.endswith(".000001.parquet")
    night(settings, D5, TEN)  # taken back
    assert published(settings, ALL) == []


def test_a_damaged_page_holds_no_publication_up(settings: Settings) -> None:
    night(settings, D4, TEN)
    night(settings, D5, ELEVEN)
    (page,) = (Path(settings.lake_url) / restatements.DATASET).iterdir()
    night(settings, D6, TWELVE)
    page.write_bytes(b"PAR1 no more")
    night(settings, D7, TEN)
    assert restatements.read(Lake.from_settings(settings))[1] == [page.name]
    assert [row[0] for row in published(settings, ALL)] == [D6, D7]


def test_a_damaged_publication_is_replaced(settings: Settings) -> None:
    night(settings, D4, TEN)
    settings.marts_path.write_bytes(b"not a database")
    assert night(settings, D5, ELEVEN).since is None
    assert published(settings, "select spend from marts.fct_ad_spend") == [(Decimal(11),)]


def test_other_programs_marts_are_compared_with_nothing(settings: Settings) -> None:
    night(settings, D4, TEN)
    with duckdb.connect(str(settings.warehouse_path)) as connection:
        connection.execute("drop table marts.campaign_performance")
    found = record(settings, published_before(settings, D5), as_of=D5)
    assert found.note.endswith("has no table marts.campaign_performance")


def test_the_ledger_is_part_of_a_backup(
    settings: Settings, make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    night(settings, D4, TEN)
    night(settings, D5, ELEVEN)
    backup(settings, tmp_path / "backups")
    night(settings, D5, TWELVE)  # the page is written anew, as large as before
    saved = backup(settings, tmp_path / "backups")
    other = make_settings(data_dir=tmp_path / "other")
    restore(other, saved.path)
    rows, damaged = restatements.read(Lake.from_settings(other))
    assert damaged == []
    assert rows["spend_delta"].to_pylist() == [Decimal(2)]


# ---- what a comparison of rules leaves -----------------------------------------------------------


def test_a_comparison_is_published_beside_the_marts_that_are_there(
    settings: Settings, tmp_path: Path
) -> None:
    from comparison.credit import compare

    night(settings, D4, Marts([lead("ana", "A")]))
    before = published(settings, "select as_of, published_at, rules from marts.publication")
    # What a failed check keeps from being published stays in the warehouse.
    Marts([lead("unchecked", "A")]).write(settings.warehouse_path)
    sides = [Marts([m]).write(tmp_path / f"{n}.duckdb") for n, m in
             (("a", lead("ana", "A")), ("b", lead("ana", "B")))]  # fmt: skip
    tables = credit_tables(compare(*sides), rules_a="current", rules_b="other", as_of=D4)
    save_comparison(settings, tables)

    republish(settings, beside_marts(settings))

    assert published(settings, "select lead_id, campaign_id_b from marts.credit_diff") == [
        ("ana", "B")
    ]
    assert published(settings, "select lead_id from marts.fct_leads") == [("ana",)]
    after = published(settings, "select as_of, published_at, rules from marts.publication")
    assert after == before
    night(settings, D5, Marts([lead("ana", "A")]))
    assert published(settings, "select rules_b from marts.credit_diff_about") == [("other",)]


def test_tables_are_empty_and_typed_where_nothing_was_compared(settings: Settings) -> None:
    assert republish(settings, beside_marts(settings)) is None  # nothing is published yet
    night(settings, D4, TEN)
    for name, schema in CREDIT_TABLES.items():
        found = published(settings, f"select column_name from (describe marts.{name})")
        assert [n for (n,) in found] == schema.names
        assert published(settings, f"select count(*) from marts.{name}") == [(0,)]


def test_a_comparison_of_an_older_version_is_left_out(settings: Settings) -> None:
    save_comparison(settings, {name: pa.table({"x": [1]}) for name in CREDIT_TABLES})
    counts = {name: len(table) for name, table in load_comparison(settings).items()}
    assert counts == dict.fromkeys(CREDIT_TABLES, 0)
