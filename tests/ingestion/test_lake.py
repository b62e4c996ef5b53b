"""The lake: what counts, and that a kill at any step is mended by the next sweep."""

from __future__ import annotations

import itertools
import subprocess
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dlt.extract import DltSource

from ingestion import lake_commit
from ingestion.dlt_runtime import LakeDestination
from ingestion.lake import Lake, LakeError

SCHEMAS = {
    "letters": pa.schema([pa.field("seq", pa.int64(), nullable=False), pa.field("t", pa.string())]),
    "digits": pa.schema([pa.field("seq", pa.int64(), nullable=False), pa.field("n", pa.int32())]),
}
_numbers = itertools.count()


@pytest.fixture(params=["folder", "bucket"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    """A local lake, and one behind fsspec as a bucket is."""
    if request.param == "folder":
        return Lake(str(tmp_path / "lake"), tmp_path / "work")
    return Lake(f"memory://lake{next(_numbers)}-{tmp_path.name}", tmp_path / "work")


@pytest.fixture
def local(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"), tmp_path / "work")


def source(**tables: Any) -> DltSource:
    @dlt.source(name="letters")
    def made() -> Any:
        return [
            dlt.resource([item], name=name, write_disposition="append")
            for name, item in tables.items()
        ]

    return made()


def letters(*seqs: int) -> pa.Table:
    return pa.table({"seq": list(seqs), "t": [f"t{n}" for n in seqs]}, schema=SCHEMAS["letters"])


def load(lake: Lake, *seqs: int) -> dict[str, int]:
    return lake.load("data", source(letters=letters(*seqs)), SCHEMAS)


def seqs(lake: Lake) -> list[int]:
    found = lake.query("select seq from {t} order by seq", t="data/letters")
    return found["seq"].to_pylist()


def test_an_empty_lake_can_be_read(lake: Lake) -> None:
    lake.ensure("data", SCHEMAS)
    found = lake.query("select * from {t}", t="data/digits")
    assert found.num_rows == 0
    assert found.column_names == ["seq", "n"]
    assert lake.max_value("data", "letters", "seq") == 0
    assert lake.sweep("data") == 0


def test_a_load_counts_and_later_ones_add(lake: Lake) -> None:
    lake.ensure("data", SCHEMAS)
    assert load(lake, 1, 2) == {"letters": 2, "digits": 0}
    assert load(lake, 3) == {"letters": 1, "digits": 0}
    assert seqs(lake) == [1, 2, 3]
    assert lake.max_value("data", "letters", "seq") == 3
    assert lake.sweep("data") == 0
    assert len(lake.files("data", "letters")) == 2


def test_rows_come_out_as_they_went_in(lake: Lake) -> None:
    schema = pa.schema(
        [
            pa.field("seq", pa.int64(), nullable=False),
            pa.field("at", pa.timestamp("us", tz="UTC")),
            pa.field("money", pa.decimal128(20, 6)),
            pa.field("flag", pa.bool_()),
            pa.field("small", pa.int32()),
            pa.field("day", pa.date32()),
        ]
    )
    columns: list[Any] = [
        [1, 2], [1_781_000_000_123_456, None], [Decimal("12345678901234.123456"), None],
        [True, None], [2**31 - 1, None], [date(2026, 6, 9), None],
    ]  # fmt: skip
    rows = pa.Table.from_arrays(
        [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema
    )
    lake.ensure("data", {"typed": schema})
    lake.load("data", source(typed=rows), {"typed": schema})
    (name,) = lake.files("data", "typed")
    stored = pa.concat_tables(lake.read("data", "typed", [name]))
    assert stored.cast(schema) == rows
    assert [f.type for f in stored.schema] == [f.type for f in schema]
    assert lake.query("select * from {t} order by seq", t="data/typed").num_rows == 2


def test_columns_are_found_by_name_and_absent_ones_are_null(lake: Lake) -> None:
    lake.ensure("data", SCHEMAS)
    swapped = pa.table({"t": ["x"], "seq": pa.array([7], pa.int32())})
    lake.load("data", source(letters=swapped, digits=pa.table({"seq": [7]})), SCHEMAS)
    assert lake.query("select seq, t from {t}", t="data/letters").to_pylist() == [
        {"seq": 7, "t": "x"}
    ]
    assert lake.query("select n from {t}", t="data/digits").to_pylist() == [{"n": None}]


def test_a_new_column_reaches_readers_of_old_files(lake: Lake) -> None:
    lake.ensure("data", SCHEMAS)
    load(lake, 1)
    wider = {**SCHEMAS, "letters": SCHEMAS["letters"].append(pa.field("extra", pa.string()))}
    lake.ensure("data", wider)
    assert lake.query("select * from {t}", t="data/letters").to_pylist() == [
        {"seq": 1, "t": "t1", "extra": None}
    ]


def test_a_load_without_rows_writes_no_file(local: Lake) -> None:
    local.ensure("data", SCHEMAS)
    local.load("data", source(letters=letters()), SCHEMAS)
    assert local.files("data", "letters") == []
    assert local.sweep("data") == 0


def test_files_without_a_marker_do_not_count_and_are_swept(lake: Lake) -> None:
    lake.ensure("data", SCHEMAS)
    load(lake, 1)
    with lake._fs.open(f"{lake._root}/data/letters/1700000000.5.abc.parquet", "wb") as file:
        pq.write_table(letters(9), file)
    with lake._fs.open(f"{lake._root}/data/letters/half.tmp", "wb") as file:
        file.write(b"PAR1")
    assert lake.max_value("data", "letters", "seq") == 1
    assert lake.sweep("data") == 2
    assert seqs(lake) == [1]


def test_replacing_is_one_step_over_tables(lake: Lake) -> None:
    lake.ensure("data", SCHEMAS)
    load(lake, 1, 2)
    load(lake, 3)
    lake.replace("data", "letters", letters(10), lake.files("data", "letters")[:1])
    assert seqs(lake) == [3, 10]
    assert lake.sweep("data") == 0


@pytest.mark.parametrize("point", ["_publish", "after"])
def test_a_replacement_cut_off_is_undone_or_finished(
    local: Lake, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    local.ensure("data", SCHEMAS)
    load(local, 1, 2)
    old = local.files("data", "letters")
    publish = lake_commit.Commit._publish

    def cut(self: lake_commit.Commit, added: list[str]) -> None:
        if point == "after":
            publish(self, added)
        raise KeyboardInterrupt

    monkeypatch.setattr(lake_commit.Commit, "_publish", cut)
    monkeypatch.setattr(lake_commit.Commit, "abandon", lambda self: None)  # a kill cleans nothing
    with pytest.raises(KeyboardInterrupt):
        local.replace("data", "letters", letters(10), old)
    monkeypatch.undo()

    done = point == "after"
    # Already before the sweep, only the files that count are seen.
    assert local.max_value("data", "letters", "seq") == (10 if done else 2)
    assert local.sweep("data") == 1
    assert seqs(local) == ([10] if done else [1, 2])
    assert local.sweep("data") == 0


def test_a_replacement_that_fails_leaves_everything_as_it_was(lake: Lake) -> None:
    lake.ensure("data", SCHEMAS)
    load(lake, 1, 2)

    def rows() -> Any:
        yield letters(8)
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        lake.replace("data", "letters", rows(), lake.files("data", "letters"))
    assert seqs(lake) == [1, 2]
    assert lake.sweep("data") == 0


def test_compaction_keeps_rows_and_their_order(lake: Lake) -> None:
    lake.ensure("data", SCHEMAS)
    for first in (5, 1, 3):
        load(lake, first, first + 1)
    assert lake.compact("data", SCHEMAS, max_small_files=3) == []
    assert lake.compact("data", SCHEMAS, max_small_files=2) == ["letters"]

    (name,) = lake.files("data", "letters")
    stored = pa.concat_tables(lake.read("data", "letters", [name]))
    assert stored["seq"].to_pylist() == [1, 2, 3, 4, 5, 6]
    assert lake.max_value("data", "letters", "seq") == 6
    assert lake.bounds("data", "letters", name, "seq") == (1, 6)
    # Markers of loads that are no more would pile up, one for each refresh.
    assert len(lake.complete_load_ids("data")) == 1
    assert lake.sweep("data") == 0
    load(lake, 7)
    assert lake.compact("data", SCHEMAS, max_small_files=1) == ["letters"]
    assert seqs(lake) == [1, 2, 3, 4, 5, 6, 7]
    assert len(lake.complete_load_ids("data")) == 1


def test_what_a_resource_raises_comes_out_as_itself(local: Lake) -> None:
    class OwnError(RuntimeError):
        pass

    @dlt.source(name="letters")
    def failing() -> Any:
        @dlt.resource(name="letters", write_disposition="append")
        def rows() -> Any:
            yield letters(1)
            raise OwnError("the mend")

        return rows

    local.ensure("data", SCHEMAS)
    with pytest.raises(OwnError, match="the mend"):
        local.load("data", failing(), SCHEMAS)
    assert local.files("data", "letters") == []
    assert not list((local._work_dir or Path()).rglob("*.parquet"))


def test_a_damaged_file_is_named_with_the_mend(local: Lake) -> None:
    local.ensure("data", SCHEMAS)
    load(local, 1)
    (name,) = local.files("data", "letters")
    path = Path(local._root) / "data" / "letters" / name
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(LakeError, match="restore it from a backup"):
        local.max_value("data", "letters", "seq")


def test_the_rows_are_on_disk_before_the_marker(
    local: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """dlt itself never syncs: after a power cut its marker could stand without the rows."""
    synced: list[str] = []
    from ingestion import dlt_runtime

    real = dlt_runtime._fsync
    monkeypatch.setattr(dlt_runtime, "_fsync", lambda p: (synced.append(str(p)), real(p)))
    local.ensure("data", SCHEMAS)
    load(local, 1)
    kinds = [Path(p).suffix or Path(p).name for p in synced]
    assert ".parquet" in kinds
    assert kinds.index(".parquet") < kinds.index(".jsonl")
    assert "letters" in kinds[: kinds.index(".jsonl")]  # the folder that names the file


def test_dlt_leaves_nothing_behind(
    local: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    local.ensure("data", SCHEMAS)
    load(local, 1)
    assert not list(home.rglob("*"))
    assert not [p for p in (tmp_path / "work").rglob("*") if p.is_file()]


def test_the_destination_is_dlts_filesystem() -> None:
    assert issubclass(LakeDestination, dlt.destinations.filesystem)


def test_dlt_sends_no_telemetry(tmp_path: Path) -> None:
    code = (
        "from ingestion import dlt_runtime; dlt_runtime.configure()\n"
        "from dlt.common.runtime import anon_tracker as t; print(t._ANON_TRACKER_ENDPOINT)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"HOME": str(tmp_path), "PYTHONPATH": "."},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "None"
    assert not list(tmp_path.iterdir())
