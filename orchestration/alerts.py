"""Failed runs, failed checks and alarms, reported to people once (docs/operations.md).

A failed run is reported at its end. The same failures of the same job are reported again only after
most of a day, so that a job that tries every ten minutes makes no noise. A warning is reported by
the run in which it is new, and forgotten when its check passes. Nothing here raises: a dead channel
is a line in the log, in the next message by another channel, and in `ctwa doctor`.

`<data>/alerts.db`, mode 0600, records what was sent. Two processes may see the end of one run, the
refresh itself and the daemon's sensor; the first to claim it reports it. This ledger fails open: an
alert sent twice is better than one never sent. (The ledger of what was sent to Meta fails closed:
nothing may be sent twice.) A damaged file is set aside as `alerts.db.broken-<time>` and a new one
is started; if there can be no file (disk full, read-only, locked), the process remembers in memory.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from ctwa.files import create_private, set_aside
from ctwa.settings import Settings
from publishing.notify import send_message

log = logging.getLogger("ctwa.alerts")

AGAIN_SECONDS = 20 * 3600
"""After this time the same failures of a job are reported again: each night, not each try."""
_SHOWN = 12

_PHONE = re.compile(r"(?<![\w.])\+?\d[\d ().-]{6,17}\d(?![\w.])")
_EMAIL = re.compile(r"[^\s@<>,;:\"'()]+@[^\s@<>,;:\"'()]+\.[A-Za-z]{2,}")
_USER_IN_URL = re.compile(r"(?<=://)[^\s/@]+@")


@dataclass(frozen=True)
class RunEnd:
    """How a run ended. `warnings`: failed checks of severity WARN, by name. `passed`: the names of
    those that passed, so that an alarm that comes back is reported again."""

    job: str
    run_id: str = ""
    failures: Sequence[str] = ()
    warnings: Mapping[str, str] = field(default_factory=dict)
    passed: frozenset[str] = frozenset()
    published: bool | None = None


def send_alerts(settings: Settings, end: RunEnd) -> list[str]:
    """Report what is new in a finished run; returns the channels that accepted it. Never raises."""
    if not settings.alerts_are_on:
        return []
    try:
        with open_alerts(settings.data_dir / ALERTS_FILE) as ledger:
            return _send(settings, ledger, end)
    except Exception as error:
        log.exception("the alert of run %s could not be written", end.run_id[:8] or end.job)
        if not end.failures and not end.warnings:
            return []
        text = f"the message about it could not be written ({type(error).__name__}); see its log"
        return send_message(settings, f"ctwa: check {end.job}", text).by


def _send(settings: Settings, ledger: AlertLedger, end: RunEnd) -> list[str]:
    event = f"run:{end.run_id}"
    if end.run_id and not ledger.claim(event):
        return []
    firing = ledger.firing()
    new = {name: text for name, text in end.warnings.items() if name not in firing}
    over = [name for name in firing if name in end.passed]
    ledger.quiet(over)
    job = f"job:{end.job}"
    failures = _new_failures(ledger, firing, job, end.failures)
    if not failures and not new:
        return []
    still = len(end.warnings) - len(new)
    subject, text = _message(end, failures, list(new.values()), still, over)
    if ledger.trouble:
        text += f"\n{ledger.trouble}: this message may be a repeat. Check the disk"
    sent = send_message(settings, redacted(settings, subject), redacted(settings, text))
    for channel, problem in sent.problems.items():
        log.error("alerts by %s: %s", channel, problem)
    ledger.quiet([CHANNEL + channel for channel in sent.by])
    ledger.fire({CHANNEL + channel: problem for channel, problem in sent.problems.items()})
    if sent.by:
        ledger.fire(new)
        if failures:
            ledger.fire({job: _digest(failures)})
    elif end.run_id:
        ledger.release(event)
    return sent.by


def _new_failures(
    ledger: AlertLedger,
    firing: Mapping[str, tuple[str, float]],
    job: str,
    failures: Sequence[str],
) -> Sequence[str]:
    if not failures:
        ledger.quiet([job])
        return ()
    before, at = firing.get(job, ("", 0.0))
    is_known = before == _digest(failures) and time.time() - at < AGAIN_SECONDS
    return () if is_known else failures


def _digest(failures: Sequence[str]) -> str:
    # Numbers (pids, counts, times) differ from try to try.
    plain = re.sub(r"\d+", "", "\n".join(sorted(failures)))
    return sha256(plain.encode()).hexdigest()


def _message(
    end: RunEnd, failures: Sequence[str], new: Sequence[str], still: int, over: Sequence[str]
) -> tuple[str, str]:
    if failures:
        subject = f"ctwa: {end.job} failed"
    else:
        subject = f"ctwa: {len(new)} new warning{'s' if len(new) > 1 else ''}"
    lines = [f"✗ {text}" for text in _first(failures)] + [f"! {text}" for text in _first(new)]
    if over:
        lines.append(f"resolved: {', '.join(over)}")
    if still:
        lines.append(f"{still} earlier warning{'s' if still > 1 else ''} still active")
    if failures and end.published is not None:
        lines.append(
            "The marts were published." if end.published else "The previous marts stay published."
        )
    if end.run_id:
        lines.append(f"Run {end.run_id[:8]} of {end.job}; more in the Dagster UI (`ctwa dev`).")
    return subject, "\n".join(lines)


def _first(texts: Sequence[str]) -> list[str]:
    shown = [" ".join(text.split())[:600] for text in texts[:_SHOWN]]
    return [*shown, f"and {len(texts) - _SHOWN} more"] if len(texts) > _SHOWN else shown


def redacted(settings: Settings, text: str) -> str:
    """The text without our secrets, e-mail addresses and anything that looks like a phone number.

    Our own texts have none; this is for libraries that quote what they failed on. Ids of our own
    accounts, and ids of ads, which are longer than phone numbers, stay.
    """
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr) and len(value.get_secret_value()) >= 6:
            text = text.replace(value.get_secret_value(), "***")
    text = _USER_IN_URL.sub("***@", text)
    text = _EMAIL.sub("(e-mail)", text)
    own = {
        *settings.meta_ad_account_ids,
        *settings.google_ads_customer_ids,
        *settings.meta_dataset_ids,
    }

    def phone(found: re.Match[str]) -> str:
        digits = re.sub(r"\D", "", found[0])
        is_date = re.fullmatch(r"\d{4}-\d{2}-\d{2}( \d{1,2})?", found[0])
        least = 8 if found[0].startswith("+") else 10
        if is_date or digits in own or not least <= len(digits) <= 14:
            return found[0]
        return "(number)"

    return _PHONE.sub(phone, text)


# ---- what was sent already --------------------------------------------------------------------

ALERTS_FILE = "alerts.db"
ALERTS_COLUMNS: Mapping[str, Sequence[str]] = {
    "told": ["event", "at"],
    "firing": ["name", "text", "at"],
}
"""Table to its columns."""
CHANNEL = "channel:"
"""Prefix, in the table `firing`, of the name of a channel that failed."""

_SCHEMA = """
create table if not exists told (event text primary key, at real not null);
create table if not exists firing (name text primary key, text text not null, at real not null);
"""
_WAIT_SECONDS = 5.0
KEPT_DAYS = 90
_PASSING = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_NOLFS,
    sqlite3.SQLITE_PROTOCOL,
}
"""Errors of the location, not of the file: the file stays where it is."""

_remembered: dict[Path, sqlite3.Connection] = {}
"""By path: what this process reported while it could have no file."""


class _OtherColumnsError(Exception):
    """The file is a database, but not one of alerts."""


class AlertLedger:
    """Opened by `open_alerts`. Every call is a transaction of its own, and none of them fails."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.trouble = ""
        """Why an alert may be sent twice; '' if all is well."""
        try:
            self._db = _connect(path)
        except (sqlite3.Error, OSError, _OtherColumnsError) as error:
            self._db = self._instead(error)

    def claim(self, event: str) -> bool:
        """Whether this process is to report it; False if another one does."""
        self._do("delete from told where at < ?", [(time.time() - KEPT_DAYS * 86_400,)])
        return self._do("insert or ignore into told values (?, ?)", [(event, time.time())]) == 1

    def release(self, event: str) -> None:
        """Give it back because no channel accepted it: another process may try."""
        self._do("delete from told where event = ?", [(event,)])

    def firing(self) -> dict[str, tuple[str, float]]:
        """What was reported and is still the case: name to text and time of the report."""
        sql = "select name, text, at from firing"
        try:
            rows = self._db.execute(sql).fetchall()
        except sqlite3.Error as error:
            self._db = self._instead(error)
            rows = self._db.execute(sql).fetchall()
        # A value of another type was not written by us.
        return {str(n): (str(t), float(at)) for n, t, at in rows if isinstance(at, int | float)}

    def fire(self, texts: Mapping[str, str]) -> None:
        """Remember these as reported."""
        rows = [(name, text, time.time()) for name, text in texts.items()]
        self._do("insert or replace into firing values (?, ?, ?)", rows)

    def quiet(self, names: Iterable[str]) -> None:
        """Forget these: they are reported again if they come back."""
        self._do("delete from firing where name = ?", [(name,) for name in names])

    def forget(self, before: float) -> None:
        """Drop runs that were reported before that time, in seconds since 1970."""
        self._do("delete from told where at < ?", [(before,)])

    def close(self) -> None:
        """Close the file; what the process remembers without a file stays."""
        if self._db is not _remembered.get(self._path):
            with suppress(sqlite3.Error):
                self._db.close()

    def _do(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> int:
        try:
            return self._db.executemany(sql, rows).rowcount
        except sqlite3.Error as error:
            self._db = self._instead(error)
            return self._db.executemany(sql, rows).rowcount

    def _instead(self, error: Exception) -> sqlite3.Connection:
        """A new file instead of a damaged one, or else a database in memory."""
        self.trouble = f"{self._path.name} cannot be used ({error})"
        with suppress(AttributeError, sqlite3.Error):
            self._db.close()
        if _is_damage(self._path, error):
            try:
                kept = set_aside(self._path)
                log.error(
                    "%s is damaged (%s): kept as %s, a new one is started; earlier alerts may be "
                    "sent once more",
                    self._path, error, kept.name,
                )  # fmt: skip
                self.trouble = f"{self._path.name} was damaged; it is kept as {kept.name}"
                return _connect(self._path)
            except (sqlite3.Error, OSError, _OtherColumnsError) as again:
                error = again
        log.error("%s cannot be used (%s): alerts may be sent again", self._path, error)
        if self._path not in _remembered:
            memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            memory.executescript(_SCHEMA)
            _remembered[self._path] = memory
        return _remembered[self._path]


@contextmanager
def open_alerts(path: Path) -> Iterator[AlertLedger]:
    """Open the ledger, creating it if needed; never raises because of a bad file."""
    with closing(AlertLedger(path)) as ledger:
        yield ledger


def _connect(path: Path) -> sqlite3.Connection:
    create_private(path)
    connection = sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None)
    try:
        connection.executescript(_SCHEMA)
        check_columns(connection, ALERTS_COLUMNS)
        if not os.access(path, os.W_OK):
            raise PermissionError("it cannot be written")
    except BaseException:
        connection.close()
        raise
    return connection


def _is_damage(path: Path, error: Exception) -> bool:
    if isinstance(error, _OtherColumnsError):
        return True
    if not isinstance(error, sqlite3.Error):
        return path.exists() and not path.is_file()
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR):
        return path.exists() and not path.is_file()  # a folder, a pipe
    return code not in _PASSING


def check_columns(connection: sqlite3.Connection, columns: Mapping[str, Sequence[str]]) -> None:
    """Raise `_OtherColumnsError` if a table is missing or has other columns."""
    for table, names in columns.items():
        found = connection.execute("select name from pragma_table_info(?)", [table])
        if [name for (name,) in found] != list(names):
            raise _OtherColumnsError(f"its table {table} has other columns than expected")


def damage_of(path: Path, columns: Mapping[str, Sequence[str]] | None = None) -> str:
    """What is wrong with a file, read to its end; '' if it is intact or absent.

    Changes nothing. `columns`: tables that must exist, unless the file has none at all.
    """
    if not path.exists():
        return ""
    if not path.is_file():
        return "it is not a file"
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=2)) as found:
            result = str(found.execute("pragma quick_check(1)").fetchone()[0])
            if result == "ok" and found.execute("select 1 from sqlite_master").fetchone():
                check_columns(found, columns or {})
    except (sqlite3.Error, _OtherColumnsError) as error:
        return str(error)
    return "" if result == "ok" else result.splitlines()[0]
