"""The ledger of what was sent: it survives a crash at any instruction.

A SQLite file, `<data>/activation/ledger.db`, mode 0600, every commit on disk before the call
returns. With the vault in PostgreSQL it is in tables beside the vault, `ctwa_conversions` and so
on: there it outlives its host, and who has lost the lock writes nothing more (`ctwa.shared`). It is
not in the warehouse, which may be deleted and rebuilt. Both are used by the same statements, those
that SQLite and PostgreSQL share.

A file from before the database had the ledger is taken over once, and removed.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from ctwa.errors import LockUnavailableError
from ctwa.lock import database_of, refresh_lock
from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ctwa.shared import Shared
from ingestion.source import SourceError

FILE = "ledger.db"

RESTORED = "restored"
"""Marker file beside a ledger from a backup, which does not know what was sent since. The next
sending ends the activation and removes the marker (`activation.conversions_ledger`)."""

FORMAT = 1
"""Of the tables in the database; raised when an older program could not go on with them."""
_FORMAT_NOTE, _PLACE_NOTE = "ledgers", "place of the ledgers"
_OLD_MARK = "conversions"
"""What the program of before noted when it sent: whose file had sent last."""

SCHEMA = """
create table if not exists conversions (
    conversion_event_id text primary key,  -- Meta gets it as event_id
    lead_id text,                          -- null: somebody erased
    funnel_stage text not null,
    occurrence text,
    outcome_key text,
    click_key text,                        -- keyed hash of the click or lead id
    event_name text not null,
    dataset_id text not null,
    occurred_at_us integer not null,       -- event_time is its whole second
    value text,                            -- decimal
    currency text,
    mode text not null,                    -- test | live
    state text not null check (state in ('pending', 'sending', 'sent', 'rejected', 'unknown')),
    reason text,
    attempts integer not null default 0,   -- requests that held it
    planned_at_us integer not null,
    tried_at_us integer,                   -- start of the last request
    settled_at_us integer,                 -- when the state became what it is
    fbtrace_id text
) without rowid;
create unique index if not exists conversions_of_lead
    on conversions (funnel_stage, lead_id, occurrence) where state <> 'rejected';
create unique index if not exists conversions_of_outcome
    on conversions (funnel_stage, outcome_key) where state <> 'rejected';
create unique index if not exists conversions_of_purchase
    on conversions (funnel_stage, occurrence) where occurrence <> 'first' and state <> 'rejected';
create unique index if not exists conversions_of_click
    on conversions (funnel_stage, click_key) where occurrence = 'first' and state <> 'rejected';
create index if not exists conversions_open
    on conversions (state) where state in ('pending', 'sending');
create table if not exists conversions_switch (
    id integer primary key check (id = 1),
    on_since_us integer not null           -- no row: sending is not switched on
);
create table if not exists conversions_refused_names (
    dataset_id text not null,
    event_name text not null,
    refused_at_us integer not null,
    primary key (dataset_id, event_name)
) without rowid;
create table if not exists crm_contacts (
    contact_key text primary key,
    lead_id text not null,
    seq integer not null,      -- latest envelope that showed the contact when it was dealt with
    settled text not null,     -- `Lead.content` dealt with; empty while a write is under way
    written text not null,     -- JSON: what we wrote to HubSpot last
    intended text not null,    -- JSON: a write under way, or interrupted
    kept text not null,        -- JSON list: properties left as somebody edited them
    skipped text not null,     -- reason why nothing was written, or `Refusal`; empty: written
    noted_us integer not null  -- when; microseconds since 1970
) without rowid;
create index if not exists crm_contacts_lead on crm_contacts (lead_id);
create table if not exists crm_posts (
    lead_id text primary key,
    version integer not null,  -- 1 for the first post of the lead
    content text not null,     -- `Lead.content` that is posted
    event_id text not null,
    event text not null,       -- lead.attributed | lead.updated
    state text not null,       -- pending | delivered | refused | given_up | no_identity
    was_delivered integer not null,  -- whether an earlier version was delivered
    tries integer not null,
    first_try_us integer,      -- of this version; microseconds since 1970
    next_try_us integer not null,
    answer text not null       -- of the last try: HTTP status, or the kind of failure
) without rowid;
create table if not exists crm_posts_switch (
    id integer primary key check (id = 1),
    on_since_us integer not null
);
"""
"""Idempotent. Times are microseconds since 1970. The partial unique indexes hold what must not be
sent twice, whatever id the outbox gives it today."""

TABLES = tuple(re.findall(r"create table if not exists (\w+)", SCHEMA))


class LedgerError(SourceError):
    """The ledger cannot be read: nothing may be sent, as it is unknown what was sent before."""


class Cursor(Protocol):
    """What a statement gave."""

    @property
    def rowcount(self) -> int: ...
    @property
    def description(self) -> Any: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """The ledger, file or database. Outside a `transaction` each statement is one of its own."""

    def execute(self, sql: str, values: Sequence[Any] = ..., /) -> Cursor: ...
    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> Cursor: ...


class _InDatabase:
    """The ledger of all hosts; the lock is held, or nothing is written."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> Cursor:
        return self.shared.execute(_translated(sql), values)

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> Cursor:
        return self.shared.executemany(_translated(sql), rows)


_OUR_NAMES = re.compile(r"\b(conversions|crm_)")


def _translated(sql: str) -> str:
    """The statement with the database's names of tables and indexes, and its sign for values."""
    return _OUR_NAMES.sub(r"ctwa_\1", sql).replace("?", "%s")


def ledger_path(settings: Settings) -> Path:
    """Path of the file."""
    return settings.activation_dir / FILE


@contextmanager
def open_ledger(settings: Settings) -> Iterator[Connection]:
    """The ledger, to write to; its tables are made where they are missing. Raises `LedgerError`.

    The caller holds the refresh lock: there is one writer. Use `with transaction(connection)`
    for statements that belong together.
    """
    if not database_of(settings):
        with _file(ledger_path(settings)) as own:
            yield own
        return
    with refresh_lock(settings):  # which the caller holds
        ledger = _InDatabase(Shared.of(settings))
        _make_ready(settings, ledger)
        yield ledger


@contextmanager
def read_ledger(settings: Settings) -> Iterator[Connection | None]:
    """The ledger as it is, without the lock, to read only; None where nothing was ever sent.

    Raises `LedgerError`.
    """
    if url := database_of(settings):
        shared = Shared(url, None)
        if shared.execute("select to_regclass('ctwa_conversions')").fetchone()[0]:
            yield _InDatabase(shared)
            return
    path = ledger_path(settings)
    if not path.exists():
        yield None
        return
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)) as own:
        try:
            yield own
        except sqlite3.DatabaseError as error:
            raise LedgerError(f"{path} cannot be read: {error}; see `ctwa doctor`") from None


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """All of its statements are on disk at the end, or none of them."""
    if isinstance(connection, _InDatabase):
        with connection.shared.transaction():
            yield
        return
    connection.execute("begin immediate")
    try:
        yield
    except BaseException:
        connection.execute("rollback")
        raise
    connection.execute("commit")


def is_begun(settings: Settings) -> bool:
    """Whether there is a ledger at all."""
    with read_ledger(settings) as ledger:
        return ledger is not None


def upsert(table: str, columns: Iterable[str]) -> str:
    """The statement that writes a row in place of the one with the same first column."""
    key, *others = columns
    names, marks = ", ".join([key, *others]), ", ".join("?" for _ in [key, *others])
    new = ", ".join(f"{name} = excluded.{name}" for name in others)
    return (
        f"insert into {table} ({names}) values ({marks}) "  # noqa: S608 - names of the code
        f"on conflict ({key}) do update set {new}"
    )


def rows_of(settings: Settings, table: str, lead_id: str) -> list[dict[str, Any]]:
    """A lead's rows of one table, by column; none where the table was never made."""
    with read_ledger(settings) as ledger:
        if ledger is None:
            return []
        try:
            sql = f"select * from {table} where lead_id = ?"  # noqa: S608 - one of our tables
            found = ledger.execute(sql, (lead_id,))
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            raise
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found]


def shred(connection: Connection) -> None:
    """Take deleted rows out of free pages and logs too; PostgreSQL reuses their space only."""
    if isinstance(connection, _InDatabase):
        connection.shared.vacuum(*map(_translated, TABLES))
        return
    connection.execute("vacuum")
    connection.execute("pragma wal_checkpoint(truncate)")


def is_restored_database(settings: Settings, connection: Connection) -> bool:
    """Whether the ledger is in another database than when it was last written, or under another
    key of the hashes; notes the new one.

    A dump that was restored has new tables, a replica that was promoted a new timeline. Either may
    lack what was sent last.
    """
    if not isinstance(connection, _InDatabase):
        return False
    shared = connection.shared
    (table,) = shared.execute("select 'ctwa_conversions'::regclass::oid::text").fetchone()
    key = Pseudonymizer.from_settings(settings).digest("host", "key")
    now, before = [table, key, _timeline(settings)], (shared.note(_PLACE_NOTE) or "").split()
    if now != before:
        shared.set_note(_PLACE_NOTE, " ".join(now))
    if _UNKNOWN in (now[-1], *before[-1:]):
        return before[:2] not in ([], now[:2])
    return before not in ([], now)


_UNKNOWN = "unknown"


def _timeline(settings: Settings) -> str:
    """Raised by each promotion and each recovery to a point in time; some services do not tell."""
    sql = "select left(pg_walfile_name(pg_current_wal_lsn()), 8)"
    with suppress(LockUnavailableError):
        return str(Shared(database_of(settings), None).execute(sql).fetchone()[0])
    return _UNKNOWN


# ---- the file ------------------------------------------------------------------------------------


@contextmanager
def _file(path: Path) -> Iterator[sqlite3.Connection]:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    connection = sqlite3.connect(path, isolation_level=None, timeout=30)
    try:
        for pragma in ("journal_mode = wal", "synchronous = full", "fullfsync = on",
                       "secure_delete = on"):  # fmt: skip
            connection.execute(f"pragma {pragma}")
        connection.executescript(SCHEMA)
    except sqlite3.DatabaseError as error:
        connection.close()
        if "not a database" not in str(error) and "malformed" not in str(error):
            raise
        raise LedgerError(
            f"{path} is damaged, and nothing was sent: restore it from a backup, or move it away; "
            "sending then starts with what happens from then on"
        ) from None
    try:
        yield connection
    finally:
        connection.close()


# ---- the database --------------------------------------------------------------------------------


def _make_ready(settings: Settings, ledger: _InDatabase) -> None:
    """Make the tables where they are missing, and take over what a file of this host knows."""
    shared, path = ledger.shared, ledger_path(settings)
    noted = shared.note(_FORMAT_NOTE)
    if noted is not None and int(noted) > FORMAT:
        raise LedgerError(
            f"the ledger in the vault's database has format {noted}, and this program knows "
            f"{FORMAT}: nothing was sent. Install the version that the other hosts have"
        )
    if noted is not None and not path.exists():
        return
    with shared.transaction():
        if noted is None:
            script = SCHEMA.replace(" integer", " bigint").replace(" without rowid", "")
            ledger.execute(script)
            shared.set_note(_FORMAT_NOTE, str(FORMAT))
        if path.exists():
            with _file(path) as own:
                _take_over(own, ledger, is_first=noted is None)
    for file in (path, *path.parent.glob(f"{FILE}-*")):
        file.unlink(missing_ok=True)


def _take_over(own: sqlite3.Connection, ledger: _InDatabase, *, is_first: bool) -> None:
    """Copy the file's rows; safe to repeat.

    Pending events are planned anew by each run. Since when events are sent is known only to the
    file that sent last: what another host's file has sent is not in this one.
    """
    is_last = is_first and _sent_last(own, ledger.shared.note(_OLD_MARK))
    ledger.execute("delete from conversions where state = 'pending'")
    for table in TABLES:
        if table == "conversions_switch" and not is_last:
            continue
        which = " where state <> 'pending'" if table == "conversions" else ""
        found = own.execute(f"select * from {table}{which}")  # noqa: S608 - one of our tables
        names = [column[0] for column in found.description]
        places = ", ".join("?" for _ in names)
        ledger.executemany(
            f"insert into {table} ({', '.join(names)}) values ({places}) "  # noqa: S608
            "on conflict do nothing",
            found,
        )
    # A program of before, which would write files again, then begins anew as well.
    ledger.shared.set_note(_OLD_MARK, "taken over into the database")


def _sent_last(own: sqlite3.Connection, mark: str | None) -> bool:
    try:
        known = {found[0] for found in own.execute("select mark from conversions_marks")}
    except sqlite3.OperationalError:  # no such table: it has not sent beside other hosts
        known = set()
    return mark is None or mark in known
