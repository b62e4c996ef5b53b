"""What has not changed is carried over from the publication before, and is what it was."""

from __future__ import annotations

import random
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from ctwa.settings import Settings
from publishing.carried import Carried
from publishing.marts import parquet_folder, publish_marts
from publishing.meanings import Meaning, meanings
from publishing.tables import _Writer
from tests.support.prints import Prints, print_of, prints

AS_OF = date(2026, 6, 30)
MARTS = ("dim_ads", "fct_leads", "fct_touches")


class Company:
    """A warehouse whose marts change one by one, and have a version each."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.versions: dict[str, str] = {}
        settings.warehouse_path.parent.mkdir(parents=True, exist_ok=True)
        self.run("create schema marts")
        for mart in MARTS:
            self.change(mart, 1)
        self.run("create view marts.conversion_events as select max(id) as id from marts.dim_ads")

    def run(self, sql: str) -> None:
        with duckdb.connect(str(self.settings.warehouse_path)) as connection:
            connection.execute(sql)

    def change(self, mart: str, generation: int, rows: int = 500) -> None:
        self.run(
            f"create or replace table marts.{mart} as select {generation} as generation, "
            f"hash(range + {generation}) as id, '1' as rule_version from range({rows})"
        )
        self.versions[mart] = f"{generation} of {rows}"

    def publish(self, *, is_known: bool = True) -> set[str]:
        """Tables of which the Parquet file was carried over."""
        before = self._files()
        beside = {"comparison": pa.table({"lead": ["a"]})}
        versions = self.versions if is_known else None
        published = publish_marts(self.settings, as_of=AS_OF, beside=beside, versions=versions)
        wanted = prints(self.settings.warehouse_path, "marts")
        in_file = prints(self.settings.marts_path, "main", without={"publication": ()})
        in_file.pop("publication")
        assert in_file.pop("comparison")[0] == 1
        assert in_file == wanted == self._in_parquet(wanted)
        assert published.rows == {m: wanted[m][0] for m in wanted} | {"comparison": 1}
        after = self._files()
        return {mart for mart in after if after[mart] == before.get(mart)}

    def meaning(self, mart: str) -> str | None:
        sql = "select comment from duckdb_tables() where table_name = ?"
        with duckdb.connect(str(self.settings.marts_path), read_only=True) as connection:
            ((comment,),) = connection.execute(sql, [mart]).fetchall()
        return comment

    def parquet(self, mart: str) -> Path:
        return parquet_folder(self.settings.marts_path) / "current" / f"{mart}.parquet"

    def _files(self) -> dict[str, int]:
        folder = self.parquet("").parent
        return {p.stem: p.stat().st_ino for p in folder.iterdir()} if folder.exists() else {}

    def _in_parquet(self, marts: Prints) -> Prints:
        with duckdb.connect() as connection:
            return {
                mart: print_of(connection.execute(f"from '{self.parquet(mart)}'").fetchall())
                for mart in marts
            }


@pytest.fixture
def company(settings: Settings) -> Company:
    return Company(settings)


def test_only_what_changed_is_written(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    assert company.publish() == set()
    assert company.publish() == {*MARTS, "comparison"}
    company.change("fct_leads", 2)
    assert company.publish() == {"dim_ads", "fct_touches", "comparison"}
    assert company.meaning("fct_leads") == meanings()["fct_leads"].about
    told = {"dim_ads": Meaning("One row per ad.", {"id": "Said now."})}
    monkeypatch.setattr("publishing.tables.meanings", lambda: {**meanings(), **told})
    assert company.publish() == {"fct_leads", "fct_touches", "comparison"}
    assert company.meaning("dim_ads") == "One row per ad."
    assert company.publish(is_known=False) == set()
    assert company.publish() == set(), "nothing is known of the publication before"


def test_known_bad_version_that_does_not_move_is_caught(company: Company) -> None:
    company.publish()
    version = company.versions["fct_leads"]
    company.change("fct_leads", 2)
    company.versions["fct_leads"] = version
    with pytest.raises(AssertionError):
        company.publish()


@pytest.mark.parametrize("damage", ["a byte", "half", "nothing left"])
def test_what_is_damaged_is_written_again(company: Company, damage: str) -> None:
    company.publish()
    for path in (company.settings.marts_path, company.parquet("dim_ads")):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.unlink()
        if damage != "nothing left":
            path.write_bytes(content if damage == "a byte" else content[: len(content) // 2])
    assert company.publish() == set(), "not from a damaged file"
    content = bytearray(company.parquet("dim_ads").read_bytes())
    content[len(content) // 2] ^= 1
    company.parquet("dim_ads").write_bytes(content)
    assert company.publish() == {"fct_leads", "fct_touches", "comparison"}


def test_after_any_changes_the_marts_are_those_of_the_warehouse(company: Company) -> None:
    """And the file does not grow with them."""
    rng = random.Random(5)
    sizes = []
    for generation in range(2, 14):
        for mart in rng.sample(MARTS, rng.randint(0, 2)):
            company.change(mart, generation, rng.choice([0, 1, 20_000]))
        company.publish(is_known=rng.random() < 0.9)
        sizes.append(company.settings.marts_path.stat().st_size)
    company.publish(is_known=False)
    whole = company.settings.marts_path.stat().st_size
    assert sizes[-1] <= 3 * whole, "room of what went is used again"


def test_of_a_large_mart_the_days_that_changed_are_written(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("publishing.tables.MANY_ROWS", 1_000)
    rng = random.Random(7)
    company.run(
        "create table marts.ad_performance as select date '2026-01-01' + (range % 40)::integer "
        "as report_date, range as ad_id, 1 as spend, '1' as rule_version from range(20_000)"
    )
    company.run("insert into marts.ad_performance values (null, 0, 1, '1')")
    company.versions["ad_performance"] = "0"
    days: list[int] = []
    note = _Writer._note_same_days

    def noted(writer: _Writer, name: str, rows: str) -> None:
        note(writer, name, rows)
        days.append(writer._connection.execute("select count(*) from same_days").fetchall()[0][0])

    monkeypatch.setattr(_Writer, "_note_same_days", noted)
    company.publish()
    for generation in range(1, 12):
        day = f"date '2026-01-01' + {rng.randrange(40)}"
        company.run(
            rng.choice(
                [
                    f"update marts.ad_performance set spend = spend + 1 where report_date = {day}",
                    f"delete from marts.ad_performance where report_date = {day}",
                    f"delete from marts.ad_performance where report_date = {day} and ad_id % 7 = 0",
                    f"insert into marts.ad_performance values ({day}, {generation}, 2, '1')",
                    # Twice the same row is another day than once.
                    "insert into marts.ad_performance "
                    f"from marts.ad_performance where report_date = {day}",
                ]
            )
        )
        company.versions["ad_performance"] = str(generation)
        assert "ad_performance" not in company.publish()
    assert len(days) == 11
    assert min(days) >= 30, "few days are written again"


def test_other_readers_get_files_of_their_own(company: Company) -> None:
    company.publish()
    company.settings = company.settings.model_copy(update={"marts_group": "nobody at all"})
    assert company.publish() == set()
    known = Carried.read(company.settings.marts_path)
    assert known is not None
    assert known.rows["fct_leads"] == 500
