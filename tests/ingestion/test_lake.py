"""The lake: what counts, and that a kill at any step is mended by the next sweep."""

from __future__ import annotations

import itertools
import shutil
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

from ingestion.lake import commit as lake_commit
from ingestion.lake.check import check, put_back, rewrite_record
from ingestion.lake.commit import read_records
from ingestion.lake.lake import Lake, LakeDamagedError, LakeError

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


def letters(*seqs: int) -> pa.Table:
    return pa.table({"seq": list(seqs), "t": [f"t{n}" for n in seqs]}, schema=SCHEMAS["letters"])


def load(lake: Lake, *seqs: int) -> dict[str, int]:
    return lake.load("data", [{"letters": letters(*seqs)}], SCHEMAS)


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
    lake.load("data", [{"typed": rows}], {"typed": schema})
    (name,) = lake.files("data", "typed")
    stored = pa.concat_tables(lake.read("data", "typed", [name]))
    assert stored.cast(schema) == rows
    assert [f.type for f in stored.schema] == [f.type for f in schema]
    assert lake.query("select * from {t} order by seq", t="data/typed").num_rows == 2


def test_columns_are_found_by_name_and_absent_ones_are_null(lake: Lake) -> None:
    lake.ensure("data", SCHEMAS)
    swapped = pa.table({"t": ["x"], "seq": pa.array([7], pa.int32())})
    lake.load("data", [{"letters": swapped, "digits": pa.table({"seq": [7]})}], SCHEMAS)
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
    local.load("data", [{"letters": letters()}], SCHEMAS)
    assert local.files("data", "letters") == []
    assert local.sweep("data") == 0


def test_files_without_a_marker_do_not_count_and_are_swept(lake: Lake) -> None:
    lake.ensure("data", SCHEMAS)
    load(lake, 1)
    with lake.fs.open(f"{lake.root}/data/letters/9999999999.5.abc.parquet", "wb") as file:
        pq.write_table(letters(9), file)
    with lake.fs.open(f"{lake.root}/data/letters/half.tmp", "wb") as file:
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

    def cut(self: lake_commit.Commit) -> None:
        if point == "after":
            publish(self)
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


def _number_of_records(lake: Lake) -> int:
    return len(read_records(lake.fs, f"{lake.root}/data"))


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
    # Records of commits of which no file is left would pile up, one for each refresh.
    assert _number_of_records(lake) == 1
    assert lake.sweep("data") == 0
    load(lake, 7)
    assert lake.compact("data", SCHEMAS, max_small_files=1) == ["letters"]
    assert seqs(lake) == [1, 2, 3, 4, 5, 6, 7]
    assert _number_of_records(lake) == 1


def test_what_a_resource_raises_comes_out_as_itself(local: Lake) -> None:
    class OwnError(RuntimeError):
        pass

    def failing() -> Any:
        yield {"letters": letters(1)}
        raise OwnError("the mend")

    local.ensure("data", SCHEMAS)
    with pytest.raises(OwnError, match="the mend"):
        local.load("data", failing(), SCHEMAS)
    assert local.files("data", "letters") == []
    assert not list((local._pipelines_dir or Path()).rglob("*"))


def test_a_damaged_file_is_named_with_the_mend(local: Lake) -> None:
    local.ensure("data", SCHEMAS)
    load(local, 1)
    (name,) = local.files("data", "letters")
    path = Path(local.root) / "data" / "letters" / name
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(LakeError, match=r"cannot be read.*envelopes 1 to 1.*ctwa doctor"):
        local.max_value("data", "letters", "seq")


# ---- bits that rot ---------------------------------------------------------------------------


def _flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << (bit % 8)
    path.write_bytes(content)


def _file(lake: Lake, table: str = "letters") -> Path:
    return Path(lake.root) / "data" / table / lake.files("data", table)[0]


def test_e99_any_single_bit_that_flips_is_found(local: Lake) -> None:
    """Readers notice little more than half of them: the rest changes values in silence."""
    local.ensure("data", SCHEMAS)
    load(local, *range(200))
    path = _file(local)
    silent = 0
    for bit in range(0, path.stat().st_size * 8, 61):
        _flip(path, bit)
        try:
            pq.read_table(path)
            silent += 1
        except (pa.ArrowException, OSError):
            pass
        (damage,) = check(local)
        assert (damage.table, damage.name) == ("letters", path.name)
        assert damage.note is not None
        assert (damage.note.rows, damage.note.seqs) == (200, (0, 199))
        _flip(path, bit)
    assert silent, "every reader would have noticed: the checksum proves nothing"
    assert check(local) == []


@pytest.mark.parametrize("fault", ["missing", "shorter", "longer"])
def test_e99_a_file_of_another_size_is_found_without_reading_it(local: Lake, fault: str) -> None:
    local.ensure("data", SCHEMAS)
    load(local, 1, 2)
    path = _file(local)
    content = path.read_bytes()
    path.unlink()
    if fault != "missing":
        path.write_bytes(content[:-1] if fault == "shorter" else content + b"x")
    assert [d.name for d in check(local, budget=0)] == [path.name]


def test_e99_a_night_reads_a_part_and_some_nights_read_all(local: Lake) -> None:
    local.ensure("data", SCHEMAS)
    for n in range(12):
        load(local, n)
    names = local.files("data", "letters")
    for name in names:
        path = Path(local.root) / "data" / "letters" / name
        _flip(path, path.stat().st_size * 4)
    size = sum(note.size for note in local.notes("data").values())
    nights = [{d.name for d in check(local, budget=size // 4 + 1, turn=n)} for n in range(4)]
    assert set.union(*nights) == set(names)
    assert sum(map(len, nights)) == len(names)
    assert all(found != set(names) for found in nights)


def test_e99_what_is_damaged_is_not_written_again_with_a_fresh_checksum(local: Lake) -> None:
    local.ensure("data", SCHEMAS)
    load(local, 1)
    load(local, 2)
    path = _file(local)
    _flip(path, path.stat().st_size * 4)
    with pytest.raises(LakeDamagedError, match=path.name):
        local.compact("data", SCHEMAS, max_small_files=1)
    assert [d.name for d in check(local)] == [path.name]


def _as_dlt_left_it(lake: Lake) -> None:
    """Make the last load one of an early version: dlt's marker stands for our record."""
    record = _records(lake)[-1]
    marker = Path(lake.root) / "data" / "_dlt_loads" / f"letters__{record.stem}.jsonl"
    marker.parent.mkdir(exist_ok=True)
    record.rename(marker)


def test_e99_files_of_early_versions_get_a_checksum_once_they_were_read(local: Lake) -> None:
    local.ensure("data", SCHEMAS)
    load(local, 1)
    _as_dlt_left_it(local)
    assert local.notes("data") == {}
    assert check(local) == []
    path = _file(local)
    assert local.notes("data").keys() == {f"letters/{path.name}"}
    _flip(path, path.stat().st_size * 4)
    assert [d.name for d in check(local)] == [path.name]


def test_loads_of_early_versions_count_until_compaction_takes_them_over(local: Lake) -> None:
    """They have dlt's marker only: read as records, swept, compacted and pruned as those are."""
    local.ensure("data", SCHEMAS)
    for n in (1, 2):
        load(local, n)
        _as_dlt_left_it(local)
    load(local, 3)
    killed = Path(local.root) / "data" / "letters" / "9999999999.5.abc.parquet"
    pq.write_table(letters(9), killed)
    assert (local.sweep("data"), killed.exists(), seqs(local)) == (1, False, [1, 2, 3])
    assert local.max_value("data", "letters", "seq") == 3
    assert local.compact("data", SCHEMAS, max_small_files=1) == ["letters"]
    assert not list((Path(local.root) / "data" / "_dlt_loads").iterdir())
    assert (local.sweep("data"), seqs(local), check(local)) == (0, [1, 2, 3], [])


def test_e99_a_lost_marker_of_an_early_version_is_no_killed_run(local: Lake) -> None:
    local.ensure("data", SCHEMAS)
    for n in (1, 2):
        load(local, n)
        _as_dlt_left_it(local)
    min((Path(local.root) / "data" / "_dlt_loads").iterdir()).unlink()
    (damage,) = check(local)
    with pytest.raises(LakeDamagedError):
        local.sweep("data")
    assert rewrite_record(local, damage) == []
    assert (check(local), local.sweep("data"), seqs(local)) == ([], 0, [1, 2])


def test_e99_after_compactions_nothing_is_missed_that_went_with_them(local: Lake) -> None:
    local.ensure("data", SCHEMAS)
    for n in range(4):
        local.load(
            "data",
            [{"letters": letters(n), "digits": pa.table({"seq": [n]})}],
            SCHEMAS,
        )
        local.compact("data", {"letters": SCHEMAS["letters"]}, max_small_files=1)
        assert check(local) == []


def test_e99_a_whole_copy_is_put_back_and_no_other(local: Lake, tmp_path: Path) -> None:
    local.ensure("data", SCHEMAS)
    load(local, 1)
    path = _file(local)
    good, other = tmp_path / "good.parquet", tmp_path / "other.parquet"
    good.write_bytes(path.read_bytes())
    pq.write_table(letters(1), other)
    _flip(path, path.stat().st_size * 4)
    (damage,) = check(local)
    with pytest.raises(LakeError, match="is not an intact copy"):
        put_back(local, damage, other)
    put_back(local, damage, good)
    assert check(local) == []
    assert seqs(local) == [1]


def test_the_rows_are_on_disk_before_the_record(
    local: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """dlt itself never syncs: after a power cut the record could stand without the rows."""
    synced: list[str] = []
    from ctwa import files

    real = files.fsync
    monkeypatch.setattr(files, "fsync", lambda p: (synced.append(str(p)), real(p)))
    local.ensure("data", SCHEMAS)
    load(local, 1)
    kinds = [Path(p).suffix or Path(p).name for p in synced]
    assert ".parquet" in kinds
    assert kinds.index(".parquet") < kinds.index(".json")
    assert "letters" in kinds[: kinds.index(".json")]  # the folder that names the file


def test_dlt_works_in_the_data_folder_and_keeps_no_rows(
    local: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    local.ensure("data", SCHEMAS)
    load(local, 1)
    assert not list(home.rglob("*"))
    kept = [p for p in (tmp_path / "work" / "data").rglob("*") if p.is_file()]
    assert kept
    assert not [p for p in kept if p.suffix == ".parquet" or b"t1" in p.read_bytes()]


def test_dlts_folder_tells_of_one_landing(local: Lake, tmp_path: Path) -> None:
    def loads() -> int:
        found = dlt.attach("data", pipelines_dir=str(tmp_path / "work"))
        return len(found.list_completed_load_packages())

    local.ensure("data", SCHEMAS)
    load(local, 1)
    load(local, 2)
    assert loads() == 2
    local.sweep("data")  # the next landing, in which nothing is new
    assert loads() == 2
    load(local, 3)
    assert loads() == 1


def test_rows_in_dlts_folder_of_a_killed_run_are_swept(local: Lake, tmp_path: Path) -> None:
    left = tmp_path / "work" / "data" / "load" / "rows.parquet"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"PAR1")
    of_early_versions = tmp_path / "work" / "dlt"
    of_early_versions.mkdir()
    local.sweep("data")
    assert not left.exists()
    assert not of_early_versions.exists()


def test_a_folder_that_dlt_cannot_read_is_no_reason_to_fail(local: Lake, tmp_path: Path) -> None:
    """It may be of another version of dlt, or half of a copy: nothing of it counts."""
    local.ensure("data", SCHEMAS)
    load(local, 1)
    (state,) = (tmp_path / "work" / "data").glob("state.json")
    state.write_text("{")
    local.sweep("data")
    load(local, 2)
    assert seqs(local) == [1, 2]


def test_dlt_sends_no_telemetry(tmp_path: Path) -> None:
    code = (
        "from ingestion.lake import pipeline; pipeline.configure()\n"
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


# ---- records of commits that are lost, or damaged ---------------------------------------------


def _records(lake: Lake) -> list[Path]:
    return sorted((Path(lake.root) / "data" / "_commits").glob("*.json"))


def test_e99_files_whose_record_is_lost_are_not_taken_for_a_killed_run(local: Lake) -> None:
    """To sweep them would lose rows that have counted, and leave no trace of them."""
    local.ensure("data", SCHEMAS)
    for n in range(3):
        load(local, n)
    lost = _records(local)[1]
    lost.unlink()
    with pytest.raises(LakeDamagedError, match=f"{lost.name} is missing"):
        local.sweep("data")
    assert [d.name for d in check(local)] == [lost.name]
    (damage,) = check(local)
    assert rewrite_record(local, damage) == []
    assert check(local) == []
    assert (local.sweep("data"), seqs(local)) == (0, [0, 1, 2])


def test_e99_the_lost_record_of_a_compaction_costs_nothing(local: Lake) -> None:
    local.ensure("data", SCHEMAS)
    for n in range(3):
        load(local, n)
    local.replace("data", "letters", letters(0, 1, 2), local.files("data", "letters"))
    _records(local)[-1].unlink()
    with pytest.raises(LakeDamagedError):
        local.sweep("data")
    assert seqs(local) == [0, 1, 2]


def test_e99_a_record_is_written_anew_without_what_cannot_be_read(local: Lake) -> None:
    local.ensure("data", SCHEMAS)
    for n in range(2):
        load(local, n)
    path = _file(local)
    path.write_bytes(b"PAR1")
    _records(local)[0].unlink()
    (damage,) = check(local)
    assert rewrite_record(local, damage) == [f"letters/{path.name}"]
    assert (check(local), local.sweep("data"), seqs(local)) == ([], 0, [1])
    assert [p.name for p in Path(local.root).rglob("_damaged/*/*")] == [path.name]


def test_e99_all_records_lost_is_no_new_lake(local: Lake) -> None:
    local.ensure("data", SCHEMAS)
    load(local, 1)
    load(local, 2)
    for record in _records(local):
        record.unlink()
    assert len(check(local)) == 2
    with pytest.raises(LakeDamagedError):
        local.sweep("data")


@pytest.mark.parametrize("fault", ["cut", "empty", "other", "bit"])
def test_e99_a_damaged_record_is_named_and_written_anew(local: Lake, fault: str) -> None:
    local.ensure("data", SCHEMAS)
    load(local, 1)
    load(local, 2)
    path = _records(local)[0]
    content = path.read_bytes()
    if fault == "bit":
        at = content.index(b'"size":') + 7
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    else:
        path.write_bytes({"cut": content[:40], "empty": b"", "other": b"[1]"}[fault])
    (damage,) = check(local)
    assert (damage.table, damage.name) == ("_commits", path.name)
    with pytest.raises(LakeDamagedError, match=path.name):
        local.sweep("data")
    assert rewrite_record(local, damage) == []
    assert (check(local), local.sweep("data"), seqs(local)) == ([], 0, [1, 2])


def test_a_second_copy_of_a_file_does_not_count_twice(local: Lake) -> None:
    """As tools that synchronise folders leave them: `… (1).parquet`, `… copy.parquet`."""
    local.ensure("data", SCHEMAS)
    load(local, 1)
    path = _file(local)
    shutil.copy(path, path.with_name(f"{path.stem} (1).parquet"))
    assert local.files("data", "letters") == [path.name]
    assert (local.sweep("data"), seqs(local)) == (1, [1])
