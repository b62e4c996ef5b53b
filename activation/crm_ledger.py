"""The CRM's part of the ledger: what stands on its records because of us, and posts of leads.

| table | a row is |
|---|---|
| `crm_contacts` | a HubSpot contact, by the key of its id: the values written last |
| `crm_posts` | a lead that the generic webhook tells of: what was said last, and whether it came |
| `crm_posts_switch` | since when the generic webhook is on; no row while it is off |

No raw identity stands in it. `lead_id` begins with an identity key of the person, `contact_key` is
one: that is how erasures find the rows of `crm_contacts` and `crm_posts`, which go.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

Values = dict[str, str]
"""Property name to value; empty: nothing stands there."""

SCHEMA = """
create table if not exists crm_contacts (
    contact_key text primary key,
    lead_id text not null,
    seq integer not null,      -- envelope in which the contact stood when it was dealt with
    settled text not null,     -- `Lead.content` dealt with; empty while a write is under way
    written text not null,     -- JSON: what stands in HubSpot because of us
    intended text not null,    -- JSON: a write under way, or cut off
    kept text not null,        -- JSON list: properties left as somebody edited them
    skipped text not null,     -- reason why nothing was written; empty: written
    noted_us integer not null  -- when; microseconds since 1970
) without rowid;
create index if not exists crm_contacts_lead on crm_contacts (lead_id);
create table if not exists crm_posts (
    lead_id text primary key,
    version integer not null,  -- 1 for the first thing said of the lead
    content text not null,     -- `Lead.content` that is told
    event_id text not null,
    event text not null,       -- lead.attributed | lead.updated
    state text not null,       -- pending | delivered | refused | given_up | no_identity
    was_delivered integer not null,  -- whether an earlier version came to its end
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


class Settled(NamedTuple):
    """Of a contact: what was dealt with, so that it need not be looked at again."""

    seq: int
    content: str
    skipped: str
    kept: int


@dataclass(slots=True)
class Noted:
    """What the ledger knows of one contact."""

    contact_key: str
    lead_id: str
    seq: int
    settled: str = ""
    written: Values = field(default_factory=dict)
    intended: Values = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    skipped: str = ""
    noted_us: int = 0


def settled_contacts(ledger: sqlite3.Connection) -> dict[str, Settled]:
    """Every contact by its key."""
    sql = "select contact_key, seq, settled, skipped, json_array_length(kept) from crm_contacts"
    return {key: Settled(*columns) for key, *columns in ledger.execute(sql)}


def noted_contact(ledger: sqlite3.Connection, contact_key: str) -> Noted | None:
    """All that is known of a contact; None where it was never dealt with."""
    row = ledger.execute(
        "select lead_id, seq, settled, skipped, noted_us, written, intended, kept "
        "from crm_contacts where contact_key = ?",
        (contact_key,),
    ).fetchone()
    if row is None:
        return None
    lead_id, seq, settled, skipped, at, *texts = row
    written, intended, kept = map(json.loads, texts)
    return Noted(contact_key, lead_id, seq, settled, written, intended, kept, skipped, at)


def note_contacts(ledger: sqlite3.Connection, noted: Iterable[Noted]) -> None:
    """Keep these rows, in place of those of the same contacts."""
    ledger.executemany(
        "insert or replace into crm_contacts values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (n.contact_key, n.lead_id, n.seq, n.settled, _json(n.written),
             _json(n.intended), json.dumps(n.kept), n.skipped, n.noted_us)
            for n in noted
        ],
    )  # fmt: skip


def _json(values: Mapping[str, str]) -> str:
    return json.dumps(values, sort_keys=True, ensure_ascii=False)


__all__ = [
    "SCHEMA",
    "Noted",
    "Settled",
    "Values",
    "note_contacts",
    "noted_contact",
    "settled_contacts",
]
