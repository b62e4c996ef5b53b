"""Publishing the marts: whole versions only, for readers that never stop reading."""

from __future__ import annotations

import errno
import grp
import os
import shutil
import signal
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import duckdb
import pytest

from ctwa.files import private_files
from ctwa.settings import Settings
from publishing.marts import (
    KEPT_VERSIONS,
    PublishError,
    parquet_folder,
    publish_marts,
    versions,
)

AS_OF = date(2026, 6, 30)
ROWS = 20_000


def build_warehouse(settings: Settings, generation: int, rows: int = ROWS) -> None:
    """A warehouse whose two marts carry the same generation in every row."""
    settings.warehouse_path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(settings.warehouse_path)) as connection:
        connection.execute("create schema if not exists marts")
        for mart in ("fct_leads", "fct_touches"):
            connection.execute(
                f"create or replace table marts.{mart} as select {generation} as generation, "
                f"range as id, cast(1.5 as decimal(18, 2)) as spend, '1' as rule_version "
                f"from range({rows})"
            )


def read_generation(marts_path: Path) -> int:
    """The generation of the published file; fails where two marts or rows differ."""
    with duckdb.connect(str(marts_path), read_only=True) as connection:
        row = connection.execute(
            "select min(g), max(g), count(*) from (select generation as g from marts.fct_leads "
            "union all select generation from marts.fct_touches)"
        ).fetchone()
    assert row is not None
    low, high, count = row
    assert low == high, f"rows of two generations: {low}, {high}"
    assert count == 2 * ROWS, f"half a publication: {count} rows"
    return int(low)


def test_published_marts_are_read_by_their_names(settings: Settings) -> None:
    build_warehouse(settings, 1)

    published = publish_marts(settings, as_of=AS_OF)

    assert published.rows == {"fct_leads": ROWS, "fct_touches": ROWS}
    assert published.bytes == settings.marts_path.stat().st_size
    assert read_generation(settings.marts_path) == 1
    with duckdb.connect(str(settings.marts_path), read_only=True) as connection:
        publication = connection.execute(
            "select as_of, rule_version, mart_rows from marts.publication"
        ).fetchone()
    assert publication == (AS_OF, "1", 2 * ROWS)
    assert not settings.marts_path.with_name("marts.duckdb.wal").exists()


def test_names_of_tables_work_whatever_the_file_is_called(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    for name in ("report.v2.duckdb", "marts.duckdb"):
        settings = make_settings(marts_path=tmp_path / name / name)
        build_warehouse(settings, 3, rows=2)
        publish_marts(settings, as_of=AS_OF)
        publish_marts(settings, as_of=AS_OF)  # over a file of the same kind
        copy = tmp_path / name / "sent by mail.duckdb"
        shutil.copy(settings.marts_path, copy)

        for path in (settings.marts_path, *versions(settings.marts_path), copy):
            for table in ("fct_leads", "publication"):
                with duckdb.connect(str(path), read_only=True) as connection:
                    bare = connection.execute(f"from {table}").fetchall()
                assert bare, path
                if path == settings.marts_path:
                    with duckdb.connect(str(path), read_only=True) as connection:
                        assert connection.execute(f"from marts.{table}").fetchall() == bare
                with duckdb.connect() as connection:
                    connection.execute(f"attach '{path}' as m (read_only)")
                    assert connection.execute(f"from m.{table}").fetchall() == bare


def test_parquet_lies_beside_it_and_current_names_the_newest(settings: Settings) -> None:
    for generation in (1, 2):
        build_warehouse(settings, generation)
        published = publish_marts(settings, as_of=AS_OF)

    current = parquet_folder(settings.marts_path) / "current"
    assert current.resolve().name == published.version
    found = duckdb.sql(f"select distinct generation from '{current}/fct_leads.parquet'").fetchall()
    assert found == [(2,)]


def _as_a_folder(current: Path) -> None:
    """`cp -rL`, zip, `docker cp`, an object store: links are followed."""
    target = current.resolve()
    current.unlink()
    shutil.copytree(target, current)


def _as_a_file(current: Path) -> None:
    """Archives without links keep their text."""
    text = str(current.readlink())
    current.unlink()
    current.write_text(text)


def _as_a_link_to_nothing(current: Path) -> None:
    current.unlink()
    current.symlink_to("20200101T000000000000")


def _as_nothing(current: Path) -> None:
    current.unlink()


def _with_a_draft_in_its_way(current: Path) -> None:
    draft = current.with_name("current.tmp")
    draft.mkdir()
    (draft / "half.parquet").touch()


def _in_capitals_and_without_them(current: Path) -> None:
    for path in [*current.parent.glob("*T*"), *current.parent.parent.glob("marts_*T*")]:
        path.rename(path.with_name(path.name.lower()))


@pytest.mark.parametrize(
    "change",
    [
        *(_as_a_folder, _as_a_file, _as_a_link_to_nothing, _as_nothing),
        *(_with_a_draft_in_its_way, _in_capitals_and_without_them),
    ],
)
def test_e95_whatever_a_copy_makes_of_current_the_next_publication_mends(
    settings: Settings, change: Callable[[Path], None]
) -> None:
    current = parquet_folder(settings.marts_path) / "current"
    for generation in range(1, KEPT_VERSIONS + 4):
        build_warehouse(settings, generation, rows=10)
        published = publish_marts(settings, as_of=AS_OF)
        if generation == 2:
            change(current)
    assert str(current.readlink()) == published.version
    found = duckdb.sql(f"select distinct generation from '{current}/fct_leads.parquet'").fetchall()
    assert found == [(KEPT_VERSIONS + 3,)]
    names = sorted(p.name for p in current.parent.iterdir())
    assert len(names) == KEPT_VERSIONS + 1, names
    assert len(versions(settings.marts_path)) == KEPT_VERSIONS


def test_e95_on_a_disk_without_links_current_is_a_folder(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refused)
    monkeypatch.setattr(os, "link", refused)
    current = parquet_folder(settings.marts_path) / "current"
    for generation in range(1, KEPT_VERSIONS + 3):
        build_warehouse(settings, generation, rows=10)
        publish_marts(settings, as_of=AS_OF)
        found = duckdb.sql(f"select max(generation) from '{current}/fct_leads.parquet'").fetchall()
        assert found == [(generation,)]
    assert len(list(current.parent.iterdir())) == KEPT_VERSIONS + 1
    monkeypatch.undo()
    build_warehouse(settings, 9, rows=10)
    publish_marts(settings, as_of=AS_OF)
    assert current.is_symlink()


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_published_files_are_their_owners_only_unless_a_group_is_named(
    make_settings: Callable[..., Settings],
) -> None:
    with private_files():
        settings = make_settings()
        build_warehouse(settings, 1, rows=10)
        publish_marts(settings, as_of=AS_OF)
        current = parquet_folder(settings.marts_path) / "current"
        opened = [settings.marts_path, current, current / "fct_leads.parquet"]
        assert [_mode(p) for p in opened] == [0o600, 0o700, 0o600]

        group = grp.getgrgid(os.getgroups()[0] if os.getgroups() else os.getgid()).gr_name
        publish_marts(make_settings(marts_group=group), as_of=AS_OF)
        assert [_mode(p) for p in opened] == [0o640, 0o750, 0o640]
        # Whoever is in the group may pass through the folders to them, and see nothing else.
        assert _mode(current.parent) & 0o010
        assert _mode(settings.data_dir) == 0o710
        assert _mode(settings.warehouse_path) == 0o600


def test_a_group_that_is_none_leaves_the_marts_private_and_says_so(
    make_settings: Callable[..., Settings], caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings(marts_group="no-such-group")
    with private_files():
        build_warehouse(settings, 1, rows=10)
        publish_marts(settings, as_of=AS_OF)
    assert _mode(settings.marts_path) == 0o600
    assert "cannot be given to group no-such-group" in caplog.text


def test_the_last_three_versions_are_kept(settings: Settings) -> None:
    for generation in range(5):
        build_warehouse(settings, generation, rows=10)
        publish_marts(settings, as_of=AS_OF)

    kept = versions(settings.marts_path)
    generations = []
    for path in kept:
        with duckdb.connect() as connection:
            connection.execute(f"attach '{path}' as old (read_only)")
            generations.append(
                connection.execute("select max(generation) from old.fct_leads").fetchone()
            )
    assert generations == [(2,), (3,), (4,)]
    folders = [p for p in parquet_folder(settings.marts_path).iterdir() if not p.is_symlink()]
    assert len(folders) == KEPT_VERSIONS


def test_the_file_is_in_the_storage_version_of_duckdb_1_0(settings: Settings) -> None:
    build_warehouse(settings, 1, rows=10)

    publish_marts(settings, as_of=AS_OF)

    header = settings.marts_path.read_bytes()[8:20]
    magic, storage_version = struct.unpack("<4sQ", header)
    assert magic == b"DUCK"
    # 64 is what every DuckDB since 0.10 opens; 2.0 writes a higher one by default.
    assert storage_version == 64


def test_a_reader_of_the_old_file_goes_on_reading_it(settings: Settings) -> None:
    build_warehouse(settings, 1)
    publish_marts(settings, as_of=AS_OF)
    code = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True)\n"
        "for line in sys.stdin:\n"
        "    print(c.execute('select max(generation) from marts.fct_leads').fetchone()[0])\n"
        "    sys.stdout.flush()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(settings.marts_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        answers = []
        for generation in (1, 2, 3):
            build_warehouse(settings, generation)
            publish_marts(settings, as_of=AS_OF)
            reader.stdin.write("?\n")
            reader.stdin.flush()
            answers.append(int(reader.stdout.readline()))
        reader.stdin.close()

    assert answers == [1, 1, 1]
    assert read_generation(settings.marts_path) == 3


def test_a_half_built_warehouse_publishes_nothing(settings: Settings) -> None:
    build_warehouse(settings, 1)
    publish_marts(settings, as_of=AS_OF)
    build_warehouse(settings, 2)

    with pytest.raises(PublishError, match="dim_ads"):
        publish_marts(settings, as_of=AS_OF, expected=["fct_leads", "dim_ads"])

    assert read_generation(settings.marts_path) == 1
    assert leftovers(settings.marts_path) == []


def test_a_table_that_the_project_no_longer_has_is_not_published(settings: Settings) -> None:
    build_warehouse(settings, 1, rows=10)

    published = publish_marts(settings, as_of=AS_OF, expected=["fct_touches"])

    assert list(published.rows) == ["fct_touches"]


def test_e73_a_full_disk_leaves_the_marts_of_before(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_warehouse(settings, 1)
    publish_marts(settings, as_of=AS_OF)
    build_warehouse(settings, 2)

    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("publishing.marts.fsync", full)
    with pytest.raises(PublishError, match="No space left"):
        publish_marts(settings, as_of=AS_OF)

    assert read_generation(settings.marts_path) == 1
    assert leftovers(settings.marts_path) == []


def test_e73_readers_that_never_stop_see_whole_publications_only(settings: Settings) -> None:
    errors, seen = _read_during(settings, lambda: publish_marts(settings, as_of=AS_OF))

    assert errors == []
    assert seen == sorted(seen), "a reader went back to an older publication"
    assert len(set(seen)) > 2


def test_e73_copying_over_the_published_file_is_what_readers_would_notice(
    settings: Settings,
) -> None:
    """The known-bad way: at the start of the copy, a reader finds no whole publication."""
    build_warehouse(settings, 0)
    other = settings.data_dir / "other" / "marts.duckdb"
    publish_marts(settings.model_copy(update={"marts_path": other}), as_of=AS_OF)
    content = other.read_bytes()
    settings.marts_path.write_bytes(content)
    assert read_generation(settings.marts_path) == 0

    settings.marts_path.write_bytes(content[: len(content) // 8])

    with pytest.raises((duckdb.Error, AssertionError)):
        read_generation(settings.marts_path)


def _read_during(settings: Settings, publish: Callable[[], object]) -> tuple[list[str], list[int]]:
    """Publish some generations while another process opens and reads without a pause."""
    build_warehouse(settings, 0)
    publish_marts(settings, as_of=AS_OF)
    code = (
        "import sys; from pathlib import Path\n"
        "from tests.publishing.test_marts import read_generation\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    try: print(read_generation(Path(sys.argv[1])), flush=True)\n"
        "    except Exception as e: print('error', type(e).__name__, str(e)[:80], flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(settings.marts_path)], stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        lines: list[str] = []
        collect = threading.Thread(target=lambda out=reader.stdout: lines.extend(out))
        collect.start()
        for generation in range(1, 9):
            build_warehouse(settings, generation)
            publish()
            time.sleep(0.05)
        time.sleep(0.3)
        reader.kill()
        collect.join(30)
    errors = [line.strip() for line in lines if line.startswith("error")]
    return errors, [int(line) for line in lines if line.strip().isdigit()]


KILL_POINTS = [
    "write_files:before",
    "write_files:after",
    "sync_files:before",
    "sync_files:after",
    "link_or_copy:before",
    "link_or_copy:after",
    "replace_durably:before",
    "replace_durably:after",
    "point_link:before",
    "point_link:after",
]

_KILLED_PUBLISH = """
import os, signal, sys
from datetime import date
from publishing import marts
from ctwa.settings import load_settings

name, when = sys.argv[2].split(":")
real = getattr(marts, name)

def kill(*args, **kwargs):
    if when == "after":
        real(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(marts, name, kill)
settings = load_settings(_env_file=None, data_dir=sys.argv[1], pii_key="0" * 64)
marts.publish_marts(settings, as_of=date(2026, 6, 30))
"""


@pytest.mark.parametrize("point", KILL_POINTS)
def test_e73_a_killed_publication_leaves_a_whole_one(settings: Settings, point: str) -> None:
    build_warehouse(settings, 1)
    publish_marts(settings, as_of=AS_OF)
    build_warehouse(settings, 2)

    killed = subprocess.run(
        [sys.executable, "-c", _KILLED_PUBLISH, str(settings.data_dir), point], check=False
    )

    assert killed.returncode == -signal.SIGKILL
    switched = KILL_POINTS.index(point) >= KILL_POINTS.index("replace_durably:after")
    assert read_generation(settings.marts_path) == (2 if switched else 1)
    build_warehouse(settings, 3)
    publish_marts(settings, as_of=AS_OF)
    assert read_generation(settings.marts_path) == 3
    assert leftovers(settings.marts_path) == []


def leftovers(marts_path: Path) -> list[str]:
    """Files that a publication forgot."""
    found = [*marts_path.parent.glob("*.tmp*"), *parquet_folder(marts_path).glob("*.tmp*")]
    return [os.fspath(p) for p in found]
