"""An erasure in the ledger of what went out, so that no row of it leads to the person.

`ingestion` may not import `activation`, so only file and tables are known here. Events keep their
row, as nobody's: what was sent was sent, and the counts stay. What is kept to compare the CRM's
records with is of no use without the person, and goes.

A lead's id begins with an identity key of its person (`int_leads__sourced`), and the ledger of
erasures knows the marks of those keys. So this finds what is to do without the lake, and a file put
back from a backup is cleaned by the same call.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

from ctwa.settings import Settings
from ingestion.erasure.ledger import Erasure

FILE = "ledger.db"
"""In `settings.activation_dir`; `activation.ledger` makes it."""

STATES_FILE = "conversions.parquet"
"""What marts read of it; made anew by the next run."""

EVENTS = "conversions"
_DROPPED = {"crm_contacts": ("lead_id", "contact_key"), "crm_posts": ("lead_id",)}
"""Tables whose rows go, and the columns that begin with, or are, an identity key."""


def make_nobodys(settings: Settings, erasure: Erasure, mark: Callable[[str], str]) -> int:
    """Take the person out of ledger and states file; how many rows were theirs.

    Doing it again does no harm. The caller holds the refresh lock.
    """
    path = settings.activation_dir / FILE
    changed = _clean(path, lambda key: is_of(erasure, mark(key))) if path.exists() else 0
    (settings.activation_dir / STATES_FILE).unlink(missing_ok=True)
    return changed


def is_of(erasure: Erasure, mark: str) -> bool:
    """Whether the lead whose id begins with the key of this mark was the person's.

    Of a phone that changed hands (E28) the id with the phone's key is its first holder's; those
    who got it later go by their user id.
    """
    return mark in erasure.marks or any(p.since is None for p in erasure.phones.get(mark, ()))


def _clean(path: Path, is_theirs: Callable[[str], bool]) -> int:
    changed = 0
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as ledger:
        ledger.execute("pragma secure_delete = on")
        ledger.execute("pragma synchronous = full")
        tables = {row[0] for row in ledger.execute("select name from sqlite_master")}
        ledger.execute("begin immediate")
        if EVENTS in tables:
            changed += _anonymous_events(ledger, is_theirs)
        for table, columns in _DROPPED.items():
            for column in columns if table in tables else ():
                theirs = _values(ledger, table, column, is_theirs)
                sql = f"delete from {table} where {column} = ?"  # noqa: S608
                changed += ledger.executemany(sql, theirs).rowcount if theirs else 0
        ledger.execute("commit")
        if changed:  # also out of pages that are free, and of the write-ahead log
            ledger.execute("vacuum")
        ledger.execute("pragma wal_checkpoint(truncate)")
    return changed


def _anonymous_events(ledger: sqlite3.Connection, is_theirs: Callable[[str], bool]) -> int:
    """No lead, outcome, purchase or click, and an id that cannot be computed from the lead's."""
    leads = _values(ledger, EVENTS, "lead_id", is_theirs)
    ids = [
        found
        for lead in leads
        for found in ledger.execute(
            f"select conversion_event_id from {EVENTS} where lead_id = ?",  # noqa: S608
            lead,
        )
    ]
    ledger.executemany(
        f"update {EVENTS} set conversion_event_id = ?, lead_id = null, occurrence = null, "  # noqa: S608
        "outcome_key = null, click_key = null, fbtrace_id = null where conversion_event_id = ?",
        [(secrets.token_hex(16), *one) for one in ids],
    )
    return len(ids)


def _values(
    ledger: sqlite3.Connection, table: str, column: str, is_theirs: Callable[[str], bool]
) -> list[tuple[str]]:
    """Different values of a column that begin with an identity key of theirs."""
    found: Iterable[tuple[str]] = ledger.execute(
        f"select distinct {column} from {table} where {column} is not null"  # noqa: S608
    ).fetchall()
    return [(value,) for (value,) in found if is_theirs(_identity_of(value))]


def _identity_of(lead_id: str) -> str:
    return lead_id.partition("#")[0].partition(":")[0]


__all__ = ["EVENTS", "FILE", "STATES_FILE", "is_of", "make_nobodys"]
