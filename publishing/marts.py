"""The marts for BI tools: a DuckDB file and Parquet files, each switched in one step.

BI tools never open the warehouse. The marts are copied from it into a new file beside the published
one, checked, synced and renamed over it. A reader that has the old file open goes on reading it, a
new one sees the new file, and none sees half of one. The last versions stay beside it, named by
their time (`marts_20260131T050312123456.duckdb`), in case somebody wants to go back.

    <marts path>                          the published file
    <marts>_<version>.duckdb              the last three
    <marts>_parquet/<version>/*.parquet   the last three
    <marts>_parquet/current               link to the newest
    <marts>_baseline.duckdb               the last one of an earlier day, for `restatements`

The file is written in the storage version of DuckDB 1.0, so that clients of DuckDB 1.x open it.
In it `<table>` names every mart, whatever the file or a copy of it is called, and `marts.<table>`
as well in the published file (see `_name_marts`). Tables and columns carry their meaning.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from ctwa import __version__
from ctwa.errors import CtwaError
from ctwa.files import fsync, replace_durably
from ctwa.settings import Settings
from publishing.meanings import (
    PUBLICATION_MEANING,
    comment_on,
    meaning_of,
    meanings,
    write_parquet,
)
from publishing.publication import TABLE as PUBLICATION
from publishing.publication import (
    Publication,
    link_or_copy,
    open_to_group,
    point_link,
    remove_files,
)

log = logging.getLogger(__name__)

STORAGE_VERSION = "v1.0.0"
KEPT_VERSIONS = 3


class PublishError(CtwaError):
    """The marts could not be published; the previous ones stay published."""


@dataclass(frozen=True)
class Published:
    """What was published."""

    path: Path
    version: str
    as_of: date
    rows: dict[str, int]
    """Rows by mart."""
    bytes: int
    """Size of the DuckDB file."""
    seconds: float


@dataclass(frozen=True)
class _Contents:
    """What a new file is made of."""

    source: Path
    as_of: date
    beside: Mapping[str, pa.Table]
    expected: Sequence[str] | None = None
    rules: str = ""
    group: str = ""
    """Who may read the new files besides their owner."""
    again: Publication | None = None
    """Set if the source is itself a publication: its marts stay, the tables beside them change."""


def publish_marts(
    settings: Settings,
    *,
    as_of: date,
    expected: Sequence[str] | None = None,
    beside: Mapping[str, pa.Table] | None = None,
    kept_seconds: float = 0,
) -> Published:
    """Copy schema `marts` of the warehouse to `CTWA_MARTS_PATH`; the caller holds the lock.

    `expected` names marts that must exist: a half-built warehouse publishes nothing. `beside`:
    further tables by name, described by the metadata `comment` of table and fields.
    `kept_seconds`: Parquet files stay for so long, even if many publications follow. Raises
    `PublishError`.
    """
    if not settings.warehouse_path.exists():
        raise PublishError(
            f"there is no warehouse at {settings.warehouse_path}; run `ctwa refresh`"
        )
    return _publish(
        settings.marts_path,
        _Contents(
            settings.warehouse_path,
            as_of,
            beside or {},
            expected,
            settings.rules_text,
            settings.marts_group,
        ),
        kept_seconds,
    )


def republish(settings: Settings, beside: Mapping[str, pa.Table]) -> Published | None:
    """Publish the published marts again, with other tables beside them; the caller holds the lock.

    They are not taken from the warehouse, which may contain what a failed check keeps from being
    published. None if nothing is published yet. Raises `PublishError`.
    """
    now = Publication.read(settings.marts_path)
    if now is None:
        return None
    return _publish(
        settings.marts_path,
        _Contents(settings.marts_path, now.as_of, beside, group=settings.marts_group, again=now),
    )


def _publish(final: Path, contents: _Contents, kept_seconds: float = 0) -> Published:
    started = time.monotonic()
    final.parent.mkdir(parents=True, exist_ok=True)
    sweep(final)
    version = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    draft = final.with_name(f"{final.name}.{version}.tmp")
    draft_folder = parquet_folder(final) / f"{version}.tmp"
    try:
        rows = write_files(contents, draft, draft_folder, version)
        sync_files(draft, draft_folder)
        opened = (draft, draft_folder, *draft_folder.iterdir())
        open_to_group(opened, contents.group)
        _keep_baseline(final, contents.as_of)
    except PublishError:
        sweep(final)
        raise
    except (duckdb.Error, OSError) as error:
        sweep(final)
        raise PublishError(
            f"publishing to {final} failed, the previous marts stay published: {error}"
        ) from error
    switch(draft, final, draft_folder, version)
    _forget_old(final, version, kept_seconds)
    seconds = time.monotonic() - started
    log.info("published %d marts as of %s in %.1f s", len(rows), contents.as_of, seconds)
    return Published(final, version, contents.as_of, rows, final.stat().st_size, seconds)


def parquet_folder(marts_path: Path) -> Path:
    """Folder of the Parquet files that belong to a published file."""
    return marts_path.with_name(f"{marts_path.stem}_parquet")


def versions(marts_path: Path) -> list[Path]:
    """The published files that are kept, oldest first."""
    stem, suffix = re.escape(marts_path.stem), re.escape(marts_path.suffix)
    # Ignores case: a copy may have been on a disk that does, too.
    pattern = re.compile(stem + r"_[0-9]{8}T[0-9]{12}" + suffix, re.IGNORECASE)
    return sorted(p for p in marts_path.parent.iterdir() if pattern.fullmatch(p.name))


def baseline_path(marts_path: Path) -> Path:
    """The last publication of an earlier day than the newest one."""
    return marts_path.with_name(f"{marts_path.stem}_baseline{marts_path.suffix}")


def published_before(settings: Settings, as_of: date) -> Publication | None:
    """The last publication of an earlier day than `as_of` that still exists."""
    path = settings.marts_path
    found = [Publication.read(p) for p in (path, baseline_path(path))]
    earlier = [p for p in found if p is not None and p.as_of < as_of]
    return max(earlier, key=lambda p: (p.as_of, p.version), default=None)


def _keep_baseline(final: Path, as_of: date) -> None:
    """Keep the current publication under another name, if the next one is of a later day."""
    now = Publication.read(final)
    if now is None or now.as_of >= as_of:
        return
    draft = final.with_name(f"{final.name}.baseline.tmp")
    link_or_copy(final, draft)
    replace_durably(draft, baseline_path(final))


def sweep(marts_path: Path) -> None:
    """Remove what killed publications left behind."""
    remove_files(marts_path.parent.glob(f"{marts_path.name}.*.tmp*"))
    remove_files(parquet_folder(marts_path).glob("*.tmp"))


def write_files(
    contents: _Contents, draft: Path, draft_folder: Path, version: str
) -> dict[str, int]:
    """Write the new DuckDB file and Parquet files under draft names; returns rows by table."""
    draft_folder.mkdir(parents=True)
    rows: dict[str, int] = {}
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute(f"attach {_text(contents.source)} as source (read_only)")
        connection.execute(
            f"attach {_text(draft)} as publication (storage_version '{STORAGE_VERSION}')"
        )
        schema = "marts" if contents.again is None else _schema_of_tables(connection)
        for mart in _marts(connection, contents, schema):
            name = f'publication.main."{mart}"'
            # The names are those of our own models.
            source = f'source.{schema}."{mart}"'
            connection.execute(f"create table {name} as select * from {source}")  # noqa: S608
            rows[mart] = _count(connection, name)
        for table, content in contents.beside.items():
            connection.register("beside", content)
            connection.execute(f'create table publication.main."{table}" as from beside')
            connection.unregister("beside")
            rows[table] = len(content)
        _describe(connection, schema, version, contents, rows)
        told = {**meanings(), **{t: meaning_of(c.schema) for t, c in contents.beside.items()}}
        told[PUBLICATION] = PUBLICATION_MEANING
        comment_on(
            connection, "publication", {t: told[t] for t in (*rows, PUBLICATION) if t in told}
        )
        for table in (*rows, PUBLICATION):
            write_parquet(connection, table, draft_folder / f"{table}.parquet", told.get(table))
        _name_marts(connection, draft, (*rows, PUBLICATION))
        connection.execute("checkpoint publication")
        connection.execute("use memory")
        connection.execute("detach publication")
    return rows


def sync_files(draft: Path, draft_folder: Path) -> None:
    """Sync the draft to disk; a WAL beside it would be content that a rename loses."""
    wal = draft.with_name(draft.name + ".wal")
    if wal.exists():
        raise PublishError(f"{wal} was left behind: the new file is not complete")
    for path in (draft, *draft_folder.iterdir(), draft_folder):
        fsync(path)


def switch(draft: Path, final: Path, draft_folder: Path, version: str) -> None:
    """Make the drafts the published files. For readers, each rename is one step."""
    whole = draft_folder.with_suffix("")
    draft_folder.replace(whole)
    fsync(whole.parent)
    link_or_copy(draft, final.with_name(f"{final.stem}_{version}{final.suffix}"))
    replace_durably(draft, final)
    point_link(whole.parent / "current", whole.name)


def _forget_old(marts_path: Path, newest: str, kept_seconds: float) -> None:
    """Remove all but the last versions; never the newest, even if a wrong clock misplaces it.

    A reader opens the files of a folder one after the other, so young folders stay longer.
    """
    folder = parquet_folder(marts_path)
    whole = sorted(p for p in folder.iterdir() if p.is_dir() and _is_version(p))
    remove_files(p for p in versions(marts_path)[:-KEPT_VERSIONS] if newest not in p.name)
    before = time.time() - kept_seconds
    remove_files(
        p for p in whole[:-KEPT_VERSIONS] if newest not in p.name and p.stat().st_mtime <= before
    )


def _is_version(path: Path) -> bool:
    """Whether it is not `current`, which is a folder on a disk without links."""
    return path.name[:8].isdigit() and not path.is_symlink()


def _name_marts(connection: duckdb.DuckDBPyConnection, draft: Path, tables: Sequence[str]) -> None:
    """Let `marts.<table>` name every table too, besides `<table>`.

    DuckDB names a file's catalog after the file. In `marts.duckdb`, `marts.fct_leads` means that
    catalog, and a schema of the name would make it ambiguous. A file of another name gets a schema
    `marts` of views.
    """
    if draft.name.split(".")[0].lower() == "marts":
        return
    connection.execute("use publication")  # so that the views do not name the catalog
    connection.execute("create schema marts")
    for table in tables:
        connection.execute(f'create view marts."{table}" as from main."{table}"')


def _schema_of_tables(connection: duckdb.DuckDBPyConnection) -> str:
    """The schema of a publication's tables; before version 0.2 not always the default one."""
    row = connection.execute(
        "select schema_name from duckdb_tables() where database_name = 'source' and table_name = ?",
        [PUBLICATION],
    ).fetchone()
    return str((row or ("main",))[0])


def _marts(connection: duckdb.DuckDBPyConnection, contents: _Contents, schema: str) -> list[str]:
    expected = contents.expected
    found = [
        name
        for (name,) in connection.execute(
            # Views are read now: conversion_events shows what was sent after the build.
            "select table_name from information_schema.tables "
            "where table_catalog = 'source' and table_schema = ? order by table_name",
            [schema],
        ).fetchall()
    ]
    missing = sorted(set(expected or ()) - set(found))
    if missing or not found:
        names = ", ".join(missing) or "all of them"
        raise PublishError(
            f"the warehouse lacks marts ({names}); run `ctwa refresh --full`. "
            "The previous marts stay published"
        )
    # Only what the project defines: a mart that was removed from it may still be in the file.
    left_out = {*contents.beside, PUBLICATION}
    return [m for m in found if m not in left_out and (expected is None or m in expected)]


def _describe(
    connection: duckdb.DuckDBPyConnection,
    schema: str,
    version: str,
    contents: _Contents,
    rows: dict[str, int],
) -> None:
    """Write the row of `publication`; marts published again keep their time of publication."""
    name = f"publication.main.{PUBLICATION}"
    if contents.again is not None:
        connection.execute(
            f"create table {name} as select * replace (cast(? as varchar) as version, "  # noqa: S608
            f"cast(? as bigint) as mart_rows) from source.{schema}.{PUBLICATION}",
            [version, sum(rows.values())],
        )
        return
    rule_version = None
    if "fct_touches" in rows:
        with_rule = "select max(rule_version) from source.marts.fct_touches"
        rule_version = (connection.execute(with_rule).fetchone() or (None,))[0]
    connection.execute(
        f"create table {name} as select cast(? as varchar) as version, cast(? as date) as as_of, "
        "cast(? as timestamptz) as published_at, cast(? as varchar) as rule_version, "
        "cast(? as varchar) as rules, cast(? as varchar) as project_version, "
        "cast(? as bigint) as mart_rows",
        [version, contents.as_of, datetime.now(UTC), rule_version, contents.rules, __version__,
         sum(rows.values())],
    )  # fmt: skip


def _count(connection: duckdb.DuckDBPyConnection, name: str) -> int:
    rows = connection.execute(f"select count(*) from {name}").fetchall()  # noqa: S608
    return int(rows[0][0])


def _text(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"
