"""Sources as a dlt user meets them: in pipelines of one's own, and in dlt's own command line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.parquet as pq

from ctwa.settings import Settings
from ingestion.event_log.source import event_log_source, land_event_log
from ingestion.lake.lake import Lake, read_alone
from ingestion.lake.pipeline import configure, typed_source
from ingestion.parser.schema import EVENT_LOG
from tests.ingestion.test_event_log import deliver, some

ROWS = {"letters": pa.schema([pa.field("seq", pa.int64(), nullable=False),
                              pa.field("t", pa.string())])}  # fmt: skip


def pipeline_elsewhere(folder: Path) -> dlt.Pipeline:
    configure()
    return dlt.pipeline(
        "elsewhere", destination=dlt.destinations.duckdb(str(folder / "elsewhere.duckdb")),
        pipelines_dir=str(folder / "pipelines"), dataset_name="copy",
    )  # fmt: skip


def rows_elsewhere(pipeline: dlt.Pipeline, sql: str) -> list[Any]:
    with pipeline.sql_client() as client:
        found = client.execute_sql(sql)
    return [] if found is None else list(found)


def test_the_event_log_has_typed_resources_before_anything_is_read(settings: Settings) -> None:
    source = event_log_source(settings)
    assert source.selected_resources.keys() == EVENT_LOG.keys()
    for table, schema in EVENT_LOG.items():
        columns = source.resources[table].compute_table_schema()["columns"]
        assert list(columns) == schema.names
        assert all(column.get("data_type") for column in columns.values())
    assert not settings.data_dir.exists() or not list(settings.data_dir.rglob("vault*"))


def test_the_event_log_loads_somewhere_else_each_envelope_once(
    settings: Settings, tmp_path: Path
) -> None:
    deliver(settings, b"not json", *some(1, 3))
    pipeline = pipeline_elsewhere(tmp_path)
    pipeline.run(event_log_source(settings)).raise_on_failed_jobs()
    deliver(settings, *some(4, 2))
    pipeline.run(event_log_source(settings)).raise_on_failed_jobs()
    pipeline.run(event_log_source(settings)).raise_on_failed_jobs()  # nothing is new

    land_event_log(settings)
    lake = Lake.from_settings(settings)
    for table in EVENT_LOG:
        columns = ", ".join(f'"{name}"' for name in EVENT_LOG[table].names)
        theirs = rows_elsewhere(pipeline, f"select {columns} from {table} order by all")
        ours = lake.query(f"select {columns} from {{t}} order by all", t=f"event_log/{table}")
        assert theirs == [tuple(row.values()) for row in ours.to_pylist()]
    assert rows_elsewhere(pipeline, "select count(*) from envelopes") == [(6,)]


def test_a_landing_without_dlt_writes_the_same_files(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    """As `ctwa live` lands, and most of the tests."""
    written = []
    for with_dlt in (True, False):
        settings = make_settings(data_dir=tmp_path / f"{with_dlt}")
        deliver(settings, b"not json", *some(1, 3))
        land_event_log(settings, with_dlt=with_dlt)
        deliver(settings, *some(4, 2))
        land_event_log(settings, with_dlt=with_dlt)
        lake = settings.data_dir / "lake/event_log"
        written.append(
            [
                (file.parent.name, pq.read_table(file), pq.read_metadata(file).num_row_groups)
                for table in EVENT_LOG
                for file in sorted((lake / table).glob("*.parquet"))
            ]
        )
    assert len(written[0]) > 2 * 3
    assert [(name, groups) for name, _, groups in written[0]] == [
        (name, groups) for name, _, groups in written[1]
    ]
    for (_, ours, _), (_, theirs, _) in zip(*written, strict=True):
        assert ours.schema.equals(theirs.schema, check_metadata=True)
        assert ours.equals(theirs)


def test_dlts_command_line_tells_what_was_loaded(settings: Settings) -> None:
    deliver(settings, *some(1, 3))
    land_event_log(settings)
    folder = str(settings.data_dir / "dlt")
    listed = _dlt(settings.data_dir, "--list-pipelines", "--pipelines-dir", folder)
    assert "event_log" in listed
    assert "messages" in _dlt(settings.data_dir, "--pipelines-dir", folder, "event_log", "info")
    trace = _dlt(settings.data_dir, "--pipelines-dir", folder, "event_log", "trace")
    assert "- messages: 3 row(s)" in trace


def _dlt(home: Path, *arguments: str) -> str:
    done = subprocess.run(
        [Path(sys.executable).with_name("dlt"), "pipeline", *arguments],
        env={"HOME": str(home), "RUNTIME__DLTHUB_TELEMETRY": "false"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_source_that_needs_a_lake_reads_into_one_of_its_own(tmp_path: Path) -> None:
    """As the sources of platforms do: the pipeline elsewhere has what the lake would have had."""

    def land(lake: Lake) -> None:
        for n in (1, 2):
            known = lake.max_value("data", "letters", "seq")
            rows = pa.table({"seq": [known + n], "t": ["x"]}, schema=ROWS["letters"])
            assert lake.load("data", [{"letters": rows}], ROWS) == {"letters": 1}

    pipeline = pipeline_elsewhere(tmp_path)
    for _ in range(2):
        source = typed_source(
            "data", ROWS, lambda: read_alone("data", ROWS, land), write_disposition="replace"
        )
        pipeline.run(source).raise_on_failed_jobs()
        assert rows_elsewhere(pipeline, "select seq, t from letters order by 1") == [
            (1, "x"), (3, "x"),
        ]  # fmt: skip


def test_a_pipeline_elsewhere_has_the_tables_that_have_no_rows(tmp_path: Path) -> None:
    pipeline = pipeline_elsewhere(tmp_path)
    pipeline.run(typed_source("data", ROWS, read_alone("data", ROWS, lambda _lake: None)))
    assert rows_elsewhere(pipeline, "select count(*) from letters") == [(0,)]
