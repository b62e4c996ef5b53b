"""E38: ids are text from end to end; one digit lost in a float or a zero in a CSV is another ad."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from publishing.marts import publish_marts
from tests.properties.examination import Examination
from tests.properties.happenings import Cast
from tests.support.warehouse import AS_OF

SOURCES = (
    ("fct_ad_spend", "ad_id"), ("fct_ad_spend", "account_id"), ("dim_ads", "ad_id"),
    ("dim_ads", "campaign_id"), ("fct_touches", "ad_id"), ("fct_leads", "ad_id"),
    ("fct_outcomes", "event_id"),
)  # fmt: skip


@pytest.fixture(scope="module")
def published(examined: Examination) -> Path:
    """The published file of a built world."""
    return publish_marts(examined.whole_company.settings, as_of=AS_OF).path


def in_duckdb(file: Path, table: str, column: str, _: Path) -> list[str]:
    with duckdb.connect(str(file), read_only=True) as connection:
        rows = connection.execute(f"select {column} from marts.{table}").fetchall()
    return [value for (value,) in rows if value is not None]


def in_pandas(file: Path, table: str, column: str, _: Path) -> list[str]:
    with duckdb.connect(str(file), read_only=True) as connection:
        frame = connection.execute(f"select {column} from marts.{table}").df()
    return list(frame[column].dropna())


def in_parquet_beside_it(file: Path, table: str, column: str, _: Path) -> list[str]:
    found = [path for path in file.parent.rglob("*.parquet") if path.stem == table]
    assert len(found) == 1, found
    return list(pd.read_parquet(found[0], columns=[column])[column].dropna())


def in_parquet_of_pandas(file: Path, table: str, column: str, folder: Path) -> list[str]:
    with duckdb.connect(str(file), read_only=True) as connection:
        connection.execute(f"select {column} from marts.{table}").df().to_parquet(folder / "p")
    rows = duckdb.execute(f"select {column} from read_parquet('{folder}/p')").fetchall()
    return [value for (value,) in rows if value is not None]


def in_csv_of_duckdb(file: Path, table: str, column: str, folder: Path) -> list[str]:
    with duckdb.connect(str(file), read_only=True) as connection:
        connection.execute(f"copy (select {column} from marts.{table}) to '{folder}/c' (header)")
    with (folder / "c").open(newline="") as lines:
        return [row[column] for row in csv.DictReader(lines) if row[column]]


def in_csv_of_pandas(file: Path, table: str, column: str, folder: Path) -> list[str]:
    with duckdb.connect(str(file), read_only=True) as connection:
        frame = connection.execute(f"select {column} from marts.{table}").df()
    frame.to_csv(folder / "c", index=False)
    return list(pd.read_csv(folder / "c", dtype=str)[column].dropna())


Hop = Callable[[Path, str, str, Path], list[str]]


@pytest.mark.parametrize(
    "hop",
    [in_pandas, in_parquet_beside_it, in_parquet_of_pandas, in_csv_of_duckdb, in_csv_of_pandas],
)
def test_e38_ids_survive_every_hop(published: Path, tmp_path: Path, hop: Hop) -> None:
    for table, column in SOURCES:
        expected = sorted(in_duckdb(published, table, column, tmp_path))
        assert expected, f"{table}.{column} proves nothing"
        assert sorted(hop(published, table, column, tmp_path)) == expected, f"{table}.{column}"


def test_e38_neighbours_above_2_to_the_53_stay_apart(
    examined: Examination, published: Path
) -> None:
    known = {Cast(salt).ad(n) for salt in examined.cases.by_salt for n in range(3)}
    found = set(in_duckdb(published, "dim_ads", "ad_id", published))
    # Not one id that nobody sent; and ids that a float or an integer would have changed.
    assert found - {"unallocated"} <= known
    assert len({float(ad_id) for ad_id in found}) < len(found)
    assert any(ad_id.startswith("0") for ad_id in found)
