"""The lock for several hosts: a row in the vault's database, where that is PostgreSQL.

An flock is seen on its own host only. So whoever takes the lock also writes its name into a row and
renews it every `BEAT_SECONDS`. A row that was not renewed for `LEASE_SECONDS`, by the database's
clock, may be taken by another host: its holder was killed, lost power or was paused. A holder that
was only paused finds another token in the row when it wakes up, and from then on `confirm` refuses
to let anything of its run count. A row rather than an advisory lock: that one is lost with each
connection, and stays with a process that is stopped.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa

from ctwa.errors import LockLostError, LockUnavailableError
from ctwa.process import pid_space, process_start, worker_id

log = logging.getLogger(__name__)

BEAT_SECONDS = 2.0
LEASE_SECONDS = 30.0
"""Longer than a busy host takes for a beat; how long a standby waits after a crash."""
_CONFIRM_SECONDS = 10.0
"""How long a database that restarts is waited for before a run fails."""
_WANTED_SECONDS = 2.0
"""How long one look of a process that waits stays visible; it looks several times a second."""
PAUSE_SECONDS = 10.0
"""After so long without a word in a transaction the database undoes it: its process was paused."""
_CONNECT = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,  # ms: notices a network that drops packets
    "application_name": "ctwa-lock",
}

# Two first starts at once must not both create the table. One statement without parameters is one
# transaction.
_CREATE = f"""
select pg_advisory_xact_lock({0x637477615F6C});
create table if not exists ctwa_leases (
    name text primary key,
    token bigint not null,
    holder text,
    is_brief boolean not null,
    expires_at timestamptz not null,
    taken_at timestamptz,
    wanted_until timestamptz
);
create table if not exists ctwa_marks (name text primary key, mark text not null)
"""
_TAKE = sa.text("""
insert into ctwa_leases as lease (name, token, holder, is_brief, taken_at, expires_at)
values (
    :name, 1, :holder, :brief, clock_timestamp(),
    clock_timestamp() + make_interval(secs => :seconds)
)
on conflict (name) do update
    set token = lease.token + 1, holder = excluded.holder, is_brief = excluded.is_brief,
        taken_at = excluded.taken_at, expires_at = excluded.expires_at, wanted_until = null
    where lease.holder is null or lease.expires_at < clock_timestamp() or lease.holder = :gone
returning token
""")
_RENEW = sa.text("""
update ctwa_leases set expires_at = clock_timestamp() + make_interval(secs => :seconds)
where name = :name and token = :token and holder is not null
""")
_FREE = sa.text("update ctwa_leases set holder = null where name = :name and token = :token")
_WANT = sa.text("""
update ctwa_leases set wanted_until = clock_timestamp() + make_interval(secs => :seconds)
where name = :name and holder is not null
""")
_IS_WANTED = sa.text("select wanted_until > clock_timestamp() from ctwa_leases where name = :name")
_GUARD = sa.text("""
select set_config('idle_in_transaction_session_timeout', :pause, true) from ctwa_leases
where name = :name and token = :token and holder is not null for share
""")
_MARK = sa.text("select mark from ctwa_marks where name = :name")
_MARK_ONCE = sa.text("""
insert into ctwa_marks (name, mark) values (:name, :mark) on conflict (name) do nothing
""")
_SHOW = sa.text("""
select holder, is_brief, expires_at, taken_at,
    extract(epoch from expires_at - clock_timestamp())::float8 as seconds_left
from ctwa_leases where name = :name
""")


@dataclass(frozen=True)
class Held:
    """A lease in somebody's hands."""

    holder: str
    is_brief: bool
    expires_at: Any
    """By the database's clock; another value at the next look: the holder is alive."""
    taken_at: datetime
    silent_seconds: float
    """Since its last sign of life; more than `LEASE_SECONDS`: whoever wants it may take it."""

    @property
    def is_gone(self) -> bool:
        """Whether the holder is known to have ended: a process of this machine that is no more."""
        space, host, boot, pid, start = _parts(self.holder)
        here = _parts(_me())
        return [space, host, boot] == here[:3] and process_start(int(pid)) != start


class Lease:
    """One lease of this process, renewed until `free`. Made by `take`."""

    def __init__(self, engine: sa.Engine, name: str, token: int) -> None:
        self._engine, self._name, self._token = engine, name, token
        self._ended = threading.Event()
        self.is_lost = False
        """Whether somebody else has it now; known two seconds after this process woke up."""
        threading.Thread(target=self._beat, name=f"lease of {name}", daemon=True).start()

    def confirm(self) -> None:
        """Renew it now. Raises `LockLostError` if it is somebody else's, or that is not known."""
        deadline = time.monotonic() + _CONFIRM_SECONDS
        while True:
            try:
                if not self.is_lost and self._renew():
                    return
                raise LockLostError(self._lost())
            except sa.exc.SQLAlchemyError as error:
                if time.monotonic() > deadline:
                    why = _reason(self._engine.url, error)
                    raise LockLostError(f"nothing more of this run counts: {why}") from None
            time.sleep(0.5)

    def free(self) -> None:
        """Give it back. If the database is away, it frees itself after `LEASE_SECONDS`."""
        self._ended.set()
        with suppress(sa.exc.SQLAlchemyError), self._engine.connect() as connection:
            connection.execute(_FREE, {"name": self._name, "token": self._token})

    def guard(self, connection: sa.Connection) -> None:
        """At the start of a transaction: it commits while the lease is this process's, or never.

        The row stays locked until then, so a host that takes the lease afterwards sees what was
        committed. A process that is paused meanwhile holds nobody up: see `PAUSE_SECONDS`. Raises
        `LockLostError`.
        """
        pause = f"{PAUSE_SECONDS * 1000:.0f}"
        values = {"name": self._name, "token": self._token, "pause": pause}
        if connection.execute(_GUARD, values).first() is None:
            raise LockLostError(self._lost())

    def _renew(self) -> bool:
        values = {"name": self._name, "token": self._token, "seconds": LEASE_SECONDS}
        with self._engine.connect() as connection:
            return connection.execute(_RENEW, values).rowcount == 1

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            # While the database is away, nobody else can take it either.
            with suppress(sa.exc.SQLAlchemyError):
                if not self._renew() and not self._ended.is_set():
                    self.is_lost = True
                    log.error("%s", self._lost())
                    return

    def _lost(self) -> str:
        now = None
        with suppress(sa.exc.SQLAlchemyError):
            now = _show(self._engine, self._name)
        who = in_words(now.holder) if now else "another process, which has ended since"
        return (
            f"the lock ({self._name}) went to {who}, because this process gave no sign of life for "
            f"{LEASE_SECONDS:.0f} s: was this machine paused, or cut off from the database? "
            "Nothing more of this run counts; the other host goes on"
        )


def take(url: str, name: str, *, briefly: bool, gone: Held | None = None) -> Lease | Held:
    """The lease, or who holds it. `gone`: a holder that is known to have ended.

    Raises `LockUnavailableError` if the database cannot be used.
    """
    with _database(url) as engine:
        values = {
            "name": name,
            "holder": _me(),
            "brief": briefly,
            "seconds": LEASE_SECONDS,
            "gone": gone.holder if gone else None,
        }
        while True:
            with engine.connect() as connection:
                token = connection.execute(_TAKE, values).scalar()
            if token is not None:
                return Lease(engine, name, token)
            if held := _show(engine, name):  # else it was freed in between
                return held


def want(url: str, name: str) -> None:
    """Say that this process waits; its holder sees it for two seconds."""
    with _database(url) as engine, engine.connect() as connection:
        connection.execute(_WANT, {"name": name, "seconds": _WANTED_SECONDS})


def is_wanted(url: str, name: str) -> bool:
    """Whether a process waits, on any host."""
    with _database(url) as engine, engine.connect() as connection:
        return bool(connection.execute(_IS_WANTED, {"name": name}).scalar())


def mark(url: str, name: str) -> str | None:
    """What was last noted for all hosts under this name; None if nothing was."""
    with _database(url) as engine, engine.connect() as connection:
        found: str | None = connection.execute(_MARK, {"name": name}).scalar()
        return found


def mark_once(url: str, name: str, value: str) -> str:
    """Note it for all hosts unless something is noted already; what is noted now."""
    with _database(url) as engine, engine.connect() as connection:
        connection.execute(_MARK_ONCE, {"name": name, "mark": value})
        found: str = connection.execute(_MARK, {"name": name}).scalar_one()
        return found


def connect(url: str) -> sa.Connection:
    """A connection in autocommit mode, for the caller to close; waits for a database that restarts.

    Raises `LockUnavailableError`.
    """
    deadline = time.monotonic() + _CONFIRM_SECONDS
    with _database(url) as engine:
        while True:
            try:
                return engine.connect()
            except sa.exc.OperationalError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.5)


def unavailable(url: str, error: Exception) -> LockUnavailableError:
    """What to say of an error of the database."""
    return LockUnavailableError(_reason(url, error))


def holder(url: str, name: str) -> Held | None:
    """Who has the lease, alive or not; None if it is free. Raises `LockUnavailableError`."""
    with _database(url) as engine:
        return _show(engine, name)


def in_words(holder: str) -> str:
    """`process 4711 on db-host`."""
    _, host, _, pid, _ = _parts(holder)
    return f"process {pid} on {host}"


def _show(engine: sa.Engine, name: str) -> Held | None:
    with engine.connect() as connection:
        row = connection.execute(_SHOW, {"name": name}).one_or_none()
    if row is None or row.holder is None:
        return None
    silent = max(0.0, LEASE_SECONDS - row.seconds_left)
    return Held(row.holder, row.is_brief, row.expires_at, row.taken_at, silent)


def _me() -> str:
    return f"{pid_space()}:{worker_id()}"


def _parts(holder: str) -> list[str]:
    return holder.rsplit(":", 4)


@contextmanager
def _database(url: str) -> Iterator[sa.Engine]:
    try:
        yield _engine(url)
    except ImportError:
        raise LockUnavailableError(
            "a PostgreSQL vault needs: pip install 'ctwa-attribution[postgres]'"
        ) from None
    except (sa.exc.SQLAlchemyError, ValueError) as error:
        raise LockUnavailableError(_reason(url, error)) from None


@cache
def _engine(text: str) -> sa.Engine:
    """One pool of connections for each database, with the tables made."""
    url = sa.make_url(text).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(
        url,
        isolation_level="AUTOCOMMIT",
        pool_size=1,
        max_overflow=4,  # beats of two leases, a ledger's transaction, and a look beside it
        pool_timeout=5,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={k: v for k, v in _CONNECT.items() if k not in url.query},
    )
    with engine.connect() as connection:
        connection.exec_driver_sql(_CREATE)
    return engine


def _reason(url: str | sa.URL, error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    first = (str(cause).splitlines() or [""])[0]
    try:
        where = sa.make_url(url).render_as_string(hide_password=True)
    except (sa.exc.SQLAlchemyError, ValueError):
        where, first = "CTWA_VAULT_URL", "not a URL"
    return (
        f"lock and ledgers are in the vault's database, {where}, which cannot be used: "
        f"{type(cause).__name__}: {first}. Bring it back, then run the same command again"
    )
