"""The installation itself: versions, settings, rules, disk, schedules, run history."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from zoneinfo import ZoneInfo

from ctwa.environment import set_names, unknown_names
from ctwa.files import OTHERS
from ctwa.live_state import STOPPED, LiveState
from ctwa.lock import LIVE_LOCK, LOCK_FILE, database_of
from ctwa.setting_types import next_run
from ctwa.settings import ENV_FILE, PROJECT_DIR, Settings
from ingestion.apis.versions import in_use, judge
from ingestion.parser.chat_rules import chat_rules_of
from ingestion.source import Finding, off, ok, wrong

MIN_FREE_BYTES = 2 * 2**30
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)
_WATCHED = {
    "dagster", "dagster-dbt", "dagster-dlt", "dbt-core", "dbt-duckdb", "dlt", "duckdb", "pyarrow",
    "sqlglot", "sqlalchemy",
}  # fmt: skip
"""Packages whose other versions have been seen to break things."""
_MANY_RUNS = 50


def versions(_settings: Settings) -> Iterator[Finding]:
    """Whether the watched packages have the versions of the lock file."""
    python = ".".join(map(str, sys.version_info[:3]))
    lock = PROJECT_DIR / "requirements.lock"
    pins = dict(_PIN.findall(lock.read_text())) if lock.exists() else {}
    other = []
    for name in sorted(_WATCHED & pins.keys()):
        try:
            installed = version(name)
        except PackageNotFoundError:
            installed = "missing"
        if installed != pins[name]:
            other.append(f"{name} {installed} instead of {pins[name]}")
    if other:
        yield wrong("versions", "; ".join(other), "run `make setup` in the checkout")
    else:
        yield ok("versions", f"Python {python}, packages as in requirements.lock")


def engine(settings: Settings) -> Iterator[Finding]:
    """Whether the cluster that builds the models can be used; nothing where DuckDB does."""
    if settings.engine == "duckdb":
        return
    from orchestration.spark import SparkError, look

    try:
        found = look(settings)
    except SparkError as error:
        text, _, fix = str(error).rpartition(": ")
        yield wrong("Spark", text or str(error), fix if text else "as it says")
        return
    if found["catalogue"] == "in-memory":
        yield wrong(
            "Spark",
            "the catalogue is in the server's memory: with it every table is forgotten",
            "give the server a Hive metastore (docs/scale-out.md)",
        )
    else:
        text = "lake readable, schemas can be made, time zone "
        yield ok("Spark", f"{found['version']}, {text}{found['timezone']}")


def names(_settings: Settings) -> Iterator[Finding]:
    """The settings file, and names in it or in the environment that are not settings."""
    path, found = Path(ENV_FILE).absolute(), set_names()
    if not path.is_file():
        if found:
            yield off(".env", f"there is none in {path.parent}: only the environment is read")
        else:
            yield wrong(
                ".env",
                f"there is none in {path.parent}, and no setting is in the environment",
                "copy .env.example to .env and fill it in, or start in the folder that has it",
            )
    elif path.stat().st_mode & OTHERS:
        mode = path.stat().st_mode & 0o777
        text = f"{path} contains secrets and can be read by others (mode {mode:o})"
        yield wrong(".env", text, f"run `chmod 600 {path}`")
    else:
        yield ok(".env", f"{path}, {sum(w == ENV_FILE for w in found.values())} of our settings")
    for name, nearest in unknown_names(found).items():
        fix = f"did you mean {nearest}?" if nearest else "remove it, or see .env.example"
        where = "in .env" if found[name] == ENV_FILE else "in the environment"
        yield wrong(name, f"{where}, but not a setting of this product", fix)


def rules(settings: Settings) -> Iterator[Finding]:
    """Which attribution rules this installation has changed."""
    changed = [
        f"{name}={value} (default {default})"
        for name, value in settings.rules.items()
        if value != str(default := type(settings).model_fields[name].default)
    ]
    text = f"{'; '.join(changed)}; the others by default" if changed else "all by default"
    yield ok("rules", text)


def chat_rules(settings: Settings) -> Iterator[Finding]:
    """Whether every rule by which a chat qualifies can be applied."""
    found = chat_rules_of(settings)
    for problem in found.problems:
        yield wrong("chat rules", problem, "correct it, then run `ctwa refresh --reparse`")
    if found:
        yield ok("chat rules", f"{', '.join(found.ids)}, by {settings.chat_rules}")
    elif not found.problems:
        yield off("chat rules", "CTWA_CHAT_RULES is not set: a CRM alone says who qualified")


def data_directory(settings: Settings) -> Iterator[Finding]:
    """Whether it is writable and its disk has room."""
    folder = settings.data_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-"):
            pass
        free = shutil.disk_usage(folder).free
    except OSError as error:
        yield wrong(
            "data directory",
            f"{folder} cannot be written: {error.strerror}",
            "give its owner write permission, or set CTWA_DATA_DIR to a folder on a local disk",
        )
        return
    room = f"{folder}, {free / 2**30:.1f} GiB free"
    if free < MIN_FREE_BYTES:
        yield wrong(
            "data directory", room, "free space: when the disk is full, the receiver answers 503"
        )
    else:
        yield ok("data directory", room)


def schedules(settings: Settings) -> Iterator[Finding]:
    """When scheduled jobs run next."""
    zone = ZoneInfo(settings.reporting_timezone)
    lines = {"nightly refresh": ("CTWA_NIGHTLY_CRON", settings.nightly_cron)}
    if settings.meta_conversions_mode != "off" or settings.hubspot_write_back != "off":
        lines["activation"] = ("CTWA_ACTIVATION_CRON", settings.activation_cron)
    if settings.digest_cron is not None:
        lines["digest"] = ("CTWA_DIGEST_CRON", settings.digest_cron)
    for subject, (name, line) in lines.items():
        following = next_run(line, datetime.now(zone))
        yield ok(subject, f"{name} {line}: next {following:%Y-%m-%d %H:%M} {zone.key}")


def live(settings: Settings) -> Iterator[Finding]:
    """Whether the worker runs, and how fast it is."""
    subject, state = "live", LiveState.read(settings.data_dir)
    if state is None or state.doing == STOPPED:
        yield off(subject, "`ctwa live` does not run: new messages take minutes, by the sensor")
    elif not state.is_fresh:
        yield wrong(
            subject,
            f"`ctwa live` has not been heard of for {state.age_seconds:.0f} s",
            "start it again and read its log; until then the sensor envelopes_waiting serves",
        )
    elif state.error:
        yield wrong(subject, f"`ctwa live` {state.doing}: {state.error}", "fix what it names")
    else:
        last = f", the last lead after {state.last_lag_seconds:.1f} s" if state.cycles else ""
        yield ok(subject, f"{state.doing}; {state.cycles} cycles since its start{last}")


def lock(settings: Settings) -> Iterator[Finding]:
    """Who has the lock of all hosts, since when; nothing where the vault is a file."""
    if not (url := database_of(settings)):
        return
    from ctwa import lease

    for subject, name in (("lock of all hosts", LOCK_FILE), ("lock of `ctwa live`", LIVE_LOCK)):
        held = lease.holder(url, name)
        if held is None:
            yield ok(subject, "free")
            continue
        since = held.taken_at.astimezone(UTC)
        text = f"{lease.in_words(held.holder)} has it since {since:%Y-%m-%d %H:%M:%S} UTC"
        silent = f"no sign of life for {held.silent_seconds:,.0f} s"
        if held.is_gone or held.silent_seconds > lease.LEASE_SECONDS:
            yield off(subject, f"{text}, but {silent}: free for whoever takes it")
        elif held.silent_seconds > 2 * lease.BEAT_SECONDS:
            left = lease.LEASE_SECONDS - held.silent_seconds
            yield ok(subject, f"{text}; {silent}: free in {left:.0f} s if none comes")
        else:
            yield ok(subject, text)


def history(settings: Settings) -> Iterator[Finding]:
    """The size of Dagster's history, and whether it is pruned."""
    home, subject = settings.dagster_home, "run history"
    runs = home / "history" / "runs.db"
    if not runs.exists():
        yield off(subject, "no run yet")
        return
    size = _size(home) / 2**20
    before = datetime.now(UTC) - timedelta(days=settings.run_history_days + 2)
    try:
        with closing(sqlite3.connect(f"{runs.as_uri()}?mode=ro", uri=True, timeout=2)) as found:
            count, old = found.execute(
                "select count(*), count(*) filter (where update_timestamp < ?) from runs",
                [before.strftime("%Y-%m-%d %H:%M:%S")],
            ).fetchone()
    except sqlite3.Error as error:
        yield wrong(
            subject,
            f"{runs} cannot be read: {error}",
            "nothing to do: the next refresh sets it aside and starts a new history",
        )
        return
    text = f"{count} runs, {size:,.0f} MiB; kept for {settings.run_history_days} days"
    if old > _MANY_RUNS:
        yield wrong(
            subject,
            f"{text}, but {old} are older",
            "the nightly refresh prunes them: see its check history/retention: pruned",
        )
    else:
        yield ok(subject, text)


def ends(settings: Settings, today: date | None = None) -> Iterator[Finding]:
    """Wrong from 60 days before a version ends; `off` if this release does not know the end."""
    for use in in_use(settings):
        verdict = judge(use, today or datetime.now(UTC).date())
        if verdict.status == "ends":
            yield wrong(use.subject, verdict.found, verdict.fix)
        elif verdict.status == "unknown":
            yield off(use.subject, verdict.found)
        else:
            yield ok(use.subject, verdict.found)


def _size(folder: Path) -> int:
    total = 0
    for root, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(f"{root}/{name}").st_size
            except OSError:  # gone meanwhile
                continue
    return total
