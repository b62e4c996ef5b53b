"""When the warehouse must be built again from the lake, and its recovery when it is broken.

Incremental models are right only as long as what they were built with stays: the rules, the
code, the lake's history. A fingerprint of that lies beside the warehouse, written after each
whole successful build; when it is absent or differs, the next build is a full one. A build that
is killed leaves the old fingerprint, so the next one starts over where it matters.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

import ingestion.identity
from activation.conversions_ledger import ensure_states
from ctwa import __version__
from ctwa.errors import CtwaError
from ctwa.files import BROKEN, set_aside, write_durably
from ctwa.settings import PROJECT_DIR, Settings
from ingestion import sources
from ingestion.ads.tables import convert_old_tables
from ingestion.identity.tables import Rules
from ingestion.identity.update import bring_up_to_date
from ingestion.lake.lake import Lake
from orchestration.dbt_manifest import content_hash, project_files

log = logging.getLogger(__name__)

_KEPT_BROKEN = 2
_NOT_BROKEN = ("Permission denied", "No space left", "Read-only file system", "Out of Memory")


class WarehouseInUseError(CtwaError):
    """Another program has the warehouse file open."""


@dataclass(frozen=True)
class BuildState:
    """What the contents of the warehouse depend on besides new rows of the lake."""

    project_version: str
    code: str
    """Hash of everything dbt builds from: models, macros, seeds, `dbt_project.yml`."""
    rules: dict[str, str]
    """`Settings.rules`."""
    lake: str
    last_seq: int
    """Highest envelope and highest reads of the lake: never fall, unless it was restored."""
    last_read_no: int
    last_google_read_no: int
    engine: str = "duckdb"

    @classmethod
    def current(cls, settings: Settings, lake: Lake, project_dir: Path = PROJECT_DIR) -> BuildState:
        """The state a build would have now."""
        return cls(
            project_version=__version__,
            code=_code_fingerprint(project_dir),
            rules=settings.rules,
            lake=(settings.engine == "spark" and settings.engine_lake_url) or settings.lake_url,
            last_seq=lake.max_value("event_log", "envelopes", "seq"),
            last_read_no=lake.max_value("meta_ads", "spend_days", "read_no"),
            last_google_read_no=lake.max_value("google_ads", "spend_days", "read_no"),
            engine=settings.engine,
        )

    def save(self, settings: Settings) -> None:
        """Remember this state as the one the warehouse was built with."""
        path = _state_path(settings)
        write_durably(path, json.dumps(asdict(self), indent=1) + "\n")

    @staticmethod
    def published_seq(settings: Settings) -> int:
        """The highest envelope of the last whole build, if the marts were published after it; 0
        if they were not, or a later build did not end well."""
        try:
            path = _state_path(settings)
            built = int(json.loads(path.read_text())["last_seq"])
            is_newer = settings.marts_path.stat().st_mtime_ns >= path.stat().st_mtime_ns
        except (OSError, ValueError, KeyError, TypeError):
            return 0
        return built if is_newer and not unchecked_build(settings) else 0

    def reasons_to_rebuild(self, settings: Settings) -> list[str]:
        """Why the warehouse cannot be continued, in words; empty: it can."""
        if not settings.warehouse_path.exists():
            return ["there is no warehouse yet"]
        try:
            built = json.loads(_state_path(settings).read_text())
        except (OSError, ValueError):
            return ["it is not known what the warehouse was built with"]
        built.setdefault("engine", "duckdb")  # the only one before there was a choice
        reasons = [
            text for name, text in _CHANGES.items() if built.get(name) != getattr(self, name)
        ]
        # Version 0.1.0 kept some rules beside the rest; a rule it did not know cannot have changed.
        before = {name: str(built[name]) for name in self.rules if name in built}
        before |= built.get("rules", {})
        reasons += [
            f"CTWA_{name.upper()} changed" if name in before else f"CTWA_{name.upper()} is new"
            for name, value in self.rules.items()
            if before.get(name) != value
        ]
        if built.get("last_seq", 0) > self.last_seq:
            reasons.append("the event log has fewer envelopes than before (restored?)")
        if built.get("last_read_no", 0) > self.last_read_no:
            reasons.append("Meta's insights have fewer reads than before (restored?)")
        if built.get("last_google_read_no", 0) > self.last_google_read_no:
            reasons.append("Google's costs have fewer reads than before (restored?)")
        return reasons


def drop_left_overs(settings: Settings, manifest: Mapping[str, Any]) -> list[str]:
    """Drop the tables and views that no node of the project makes any more; their names.

    A full build replaces only what the project still has. The rows of a model that went would stay
    for good, also those of people who are erased later.
    """
    made = {(node["schema"], node["alias"]) for node in manifest["nodes"].values()}
    dropped: list[str] = []
    if not settings.warehouse_path.exists():
        return dropped
    with duckdb.connect(str(settings.warehouse_path)) as warehouse:
        found = warehouse.execute(
            "select table_schema, table_name, table_type from information_schema.tables"
            " where table_catalog = current_database() and table_schema <> 'main' order by all"
        ).fetchall()
        for schema, name, kind in found:
            if (schema, name) not in made:
                what = "view" if kind == "VIEW" else "table"
                warehouse.execute(f'drop {what} "{schema}"."{name}"')
                dropped.append(f"{schema}.{name}")
    return dropped


def begin_build(settings: Settings) -> bool:
    """Note that models change from here on; returns whether an earlier build did not end well."""
    path = _unchecked_path(settings)
    was_unchecked = path.exists()
    if not was_unchecked:
        path.write_text(datetime.now(UTC).isoformat(timespec="seconds") + "\n")
    return was_unchecked


def end_build(settings: Settings, *, was_unchecked: bool) -> None:
    """Note that every model that was built passed its blocking checks.

    `was_unchecked`: only a part was built, and before it the rest had not been checked.
    """
    if not was_unchecked:
        _unchecked_path(settings).unlink(missing_ok=True)


def unchecked_build(settings: Settings) -> str:
    """When the build began that failed or was killed and has not been repeated since; or ''."""
    try:
        return _unchecked_path(settings).read_text().strip() or "an unknown time"
    except FileNotFoundError:
        return ""


def _unchecked_path(settings: Settings) -> Path:
    return settings.warehouse_path.with_name(settings.warehouse_path.name + ".unchecked")


def forget_state(settings: Settings) -> None:
    """Make the next whole build a full one."""
    _state_path(settings).unlink(missing_ok=True)


def ready_lake(settings: Settings, *, is_known: bool = False) -> Lake:
    """The lake with every table there and nothing of killed runs; the caller holds the lock.

    `is_known`: this process has had it today, so what only an upgrade or a restored copy leaves is
    not looked for.

    The states of conversion events as well, which models read beside it. Who is one person is
    brought up to what has landed: models must not run ahead of that, or they would not look again
    at the rows of theirs that it changes later.
    """
    ensure_states(settings)
    lake = Lake.from_settings(settings) if is_known else sources.known_lake(settings)
    for source in sources.SOURCES:
        lake.sweep(source.dataset)
        if not is_known:
            convert_old_tables(lake, source.dataset)
    bring_up_to_date(lake, Rules.of(settings))
    return lake


_CHANGES = {
    "project_version": "the version of ctwa-attribution changed",
    "code": "the models, macros or seeds changed",
    "lake": "CTWA_LAKE_URL or CTWA_ENGINE_LAKE_URL changed",
    "engine": "CTWA_ENGINE changed",
}


def set_aside_if_broken(settings: Settings) -> Path | None:
    """Move a warehouse that DuckDB refuses to open out of the way; its new path, or None.

    A torn WAL after a power cut can make the file unreadable for good. Nothing is lost by it:
    the lake has everything.
    """
    path = settings.warehouse_path
    if not path.exists():
        return None
    try:
        duckdb.connect(str(path)).close()
    except duckdb.Error as error:
        if any(text in str(error) for text in _NOT_BROKEN):
            raise
        if "lock on file" in str(error):
            raise WarehouseInUseError(
                f"{path} is open in another program ({_holder(error)}); close it and run the "
                f"refresh again. BI tools read {settings.marts_path}, not the warehouse"
            ) from None
        broken = _move_aside(path)
        log.warning(
            "%s cannot be opened (%s): moved to %s, built again from the lake",
            path, type(error).__name__, broken.name,
        )  # fmt: skip
        return broken
    return None


def _move_aside(path: Path) -> Path:
    broken = set_aside(path)
    older = sorted(p for p in path.parent.glob(f"{path.name}{BROKEN}*") if p.suffix != ".wal")
    for old in older[:-_KEPT_BROKEN]:
        old.unlink()
        old.with_name(old.name + ".wal").unlink(missing_ok=True)
    return broken


def _holder(error: duckdb.Error) -> str:
    text = str(error)
    return text[text.find("(PID") :].split(")")[0].strip("( ") if "(PID" in text else "unknown"


def _state_path(settings: Settings) -> Path:
    return settings.warehouse_path.with_name(settings.warehouse_path.name + ".build.json")


def _code_fingerprint(project_dir: Path) -> str:
    digest = hashlib.sha256()
    tests = project_dir / "dbt_project" / "tests"
    for path in project_files(project_dir):
        # Tests and descriptions build nothing; profiles say where, not what.
        if path.is_relative_to(tests) or path.name == "profiles.yml" or path.suffix == ".md":
            continue
        digest.update(str(path.relative_to(project_dir)).encode() + b"\0")
        digest.update(content_hash(path))
    # Who is one person is worked out in Python, before the models.
    for path in sorted(Path(ingestion.identity.__path__[0]).glob("*.py")):
        digest.update(content_hash(path))
    return digest.hexdigest()
