"""One person's rows in the lake: finding them, and making them nobody's without losing a count.

The person's identity keys become one random key, so that leads, conversations and outcomes are
counted as before; keys of their messages, events and contents become random ones that sort as the
old ones did, so that copies stay copies and ties end as they did. Click id, country and what
could name the person go; ad, headline and times stay. Nobody can compute the new keys from
the old.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingestion.erasure.closure import is_old, is_theirs, sql_list
from ingestion.erasure.people import NOBODY_LINK, Person
from ingestion.erasure.sieve import IDENTITY_COLUMNS, TIME_COLUMNS
from ingestion.lake import Lake, conform
from ingestion.parser.schema import EVENT_LOG

DATASET = "event_log"
ERASED_CLICK = "erased"
"""In place of a click id: that there was one is part of the lead's basis (R6)."""

ERASED_REASON = "erased"
"""In place of an exclusion's reason: that the leads do not count stays so (E20)."""

Row = dict[str, Any]


@dataclass(slots=True)
class Found:
    """One person in the lake. `rows`: table to (seq, ordinal) to the row's keys."""

    person: Person
    rows: dict[str, dict[tuple[int, int], Row]] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)
    """Message keys, message id keys and `source|event id` that rows of others have, too."""
    bodies: set[int] = field(default_factory=set)
    """Envelopes whose bodies name the person, with or without rows of theirs."""

    @property
    def seqs(self) -> set[int]:
        """Envelopes that hold rows of the person."""
        return {seq for places in self.rows.values() for seq, _ in places}

    @property
    def message_ids(self) -> set[str]:
        """Message id keys that are this person's alone."""
        ids = {
            row["message_id_key"]
            for table in ("messages", "statuses")
            for row in self.rows.get(table, {}).values()
        }
        return ids - self.shared

    def counts(self) -> dict[str, int]:
        """Rows by table."""
        return {table: len(self.rows.get(table, {})) for table in IDENTITY_COLUMNS}


def identities_marked(lake: Lake, mark: Callable[[str], str], marks: Collection[str]) -> set[str]:
    """Identity keys of the lake whose mark is among `marks`; every different key is looked at."""
    found: set[str] = set()
    for table, columns in IDENTITY_COLUMNS.items():
        for column in columns:
            keys = lake.query(
                f"select distinct {column} as k from {{t}} where {column} is not null",  # noqa: S608
                t=f"{DATASET}/{table}",
            )
            found.update(key for key in keys["k"].to_pylist() if mark(key) in marks)
    return found


def find(lake: Lake, person: Person, before: datetime) -> Found:
    """Every row of the person from before that time, with what others share with them."""
    found = Found(person)
    if not person.keys:
        return found
    for table in ("messages", "statuses", "exclusions", "identity_links"):
        found.rows[table] = _select(lake, table, is_theirs(table, person), before)
    keys = {r["message_key"] for t in ("messages", "statuses") for r in found.rows[t].values()}
    found.shared = _shared_messages(lake, found, keys)
    for table in ("messages", "statuses"):  # rows of their messages that name nobody
        nameless = f"phone_key is null and bsuid_key is null and message_key in {sql_list(keys)}"
        found.rows[table] |= _select(lake, table, nameless, before)
    theirs = is_theirs("outcomes", person)
    by_message = f"coalesce(message_id_key in {sql_list(found.message_ids)}, false)"
    found.rows["outcomes"] = _select(lake, "outcomes", f"({theirs} or {by_message})", before)
    found.shared |= _shared_events(lake, found)
    return found


def body_keys(lake: Lake, seqs: Collection[int]) -> set[str]:
    """Keyed hashes of the bodies of these envelopes."""
    listed = ", ".join(str(int(seq)) for seq in seqs) or "null"
    keys = lake.query(
        f"select distinct body_key from {{t}} where seq in ({listed})",  # noqa: S608
        t=f"{DATASET}/envelopes",
    )
    return set(keys["body_key"].to_pylist())


def make_anonymous(lake: Lake, found: Found, emptied: Collection[int], nobodies: pa.Table) -> None:
    """Rewrite the person's rows, drop their links, and blur the hashes of `emptied` bodies.

    `nobodies`: links to put in (`nobodies`). One commit over all tables: all of it counts, or none.
    """
    edit = _Anonymous(found)
    emptied_seqs = np.array(sorted(emptied), dtype=np.int64)
    with lake.commit(DATASET) as commit:
        for table, schema in EVENT_LOG.items():
            if table in found.rows:
                seqs = np.array(sorted({s for s, _ in found.rows[table]}), dtype=np.int64)
            else:
                seqs = emptied_seqs if table == "envelopes" else np.array([], dtype=np.int64)
            if not len(seqs):
                continue
            names = _files_with(lake, table, seqs)
            for rows in lake.read(DATASET, table, names):
                commit.write(table, edit.table(table, conform(rows, schema), seqs))
            commit.remove(table, names)
        if nobodies.num_rows:
            commit.write("identity_links", nobodies)


def nobodies(person: Person, at: datetime, name: Callable[[str], str]) -> pa.Table:
    """Links that say: from the erasure on, nobody known holds a phone that the person held last.

    Without them the phone would fall back to whoever held it earlier, and with it all that the
    person, now a new one, does later (E28). The time is that of the erasure, and no envelope
    stands behind the row: nothing of it leads to rows of the person. `name` gives the key of the
    phone's nobody, the same at each repetition.
    """
    rows = [
        {
            "seq": 0,
            "ordinal": int(name(f"{phone}:{waba}")[:7], 16),
            "received_at": at,
            "waba_id": waba,
            "left_key": phone,
            "left_kind": "phone",
            "right_key": name(phone),
            "right_kind": "bsuid",
            "link_kind": NOBODY_LINK,
            "observed_at": at,
        }
        for phone, wabas in sorted(person.given_up.items())
        for waba in wabas
    ]
    return pa.Table.from_pylist(rows, schema=EVENT_LOG["identity_links"])


class _Anonymous:
    """Replaces keys, each by the same random one wherever it stands."""

    def __init__(self, found: Found) -> None:
        self._found = found
        self._person = secrets.token_hex(16)
        rows = [row for places in found.rows.values() for row in places.values()]
        self._alias: dict[str, dict[str, str]] = {
            column: _aliases({r[column] for r in rows if r.get(column)} - found.shared)
            for column in ("message_key", "message_id_key", "content_key")
        }
        events = {_event(r) for r in found.rows.get("outcomes", {}).values()} - found.shared
        self._alias["event_id"] = _aliases(events)
        self._blurred_keys: dict[str, str] = {}

    def table(self, table: str, rows: pa.Table, seqs: npt.NDArray[np.int64]) -> pa.Table:
        """`rows` with the person's among them changed (of `identity_links`: left out)."""
        near = np.isin(rows["seq"].to_numpy(), seqs)
        if not near.any():
            return rows
        if table == "envelopes":
            return self._blurred(rows, near)
        places = zip(rows["seq"].to_pylist(), rows["ordinal"].to_pylist(), strict=True)
        theirs = np.array([place in self._found.rows[table] for place in places])
        kept = rows.filter(pa.array(~theirs))
        if table == "identity_links":
            return kept
        changed = [self._changed(table, r) for r in rows.filter(pa.array(theirs)).to_pylist()]
        both = pa.concat_tables([kept, pa.Table.from_pylist(changed, schema=rows.schema)])
        return both.sort_by([("seq", "ascending"), ("ordinal", "ascending")])

    def _changed(self, table: str, row: Row) -> Row:
        for column in ("message_key", "message_id_key"):
            if row.get(column):
                row[column] = self._alias[column].get(row[column], row[column])
        named = [c for c in IDENTITY_COLUMNS[table] if row[c]]
        at, person = row[TIME_COLUMNS[table]], self._found.person
        theirs = [c for c in named if person.has(row[c], at)]
        if named and not theirs:
            return row  # an outcome that names another person beside a message of this one
        # An outcome may name the holder of a phone beside an address of the one before (E28).
        row |= dict.fromkeys(theirs if table == "outcomes" else named, self._person)
        row |= {"country": None, "content_key": self._alias["content_key"][row["content_key"]]}
        if table == "messages":
            row |= {"context_message_id_key": None, "referral_extra": None}
            row["ctwa_clid"] = ERASED_CLICK if row["ctwa_clid"] else row["ctwa_clid"]
            url = row["referral_source_url"]
            row["referral_source_url"] = url and url.partition("?")[0]
        elif table == "exclusions":
            row["reason"] = ERASED_REASON  # what somebody typed may name the person
        elif table == "outcomes":
            row["event_id"] = self._alias["event_id"].get(_event(row), row["event_id"])
        return row

    def _blurred(self, rows: pa.Table, near: npt.NDArray[np.bool_]) -> pa.Table:
        index, known = rows.column_names.index("body_key"), self._blurred_keys
        keys = rows["body_key"].to_pylist()
        blurred = [
            known.setdefault(k, secrets.token_hex(16)) if n else k
            for k, n in zip(keys, near, strict=True)
        ]
        return rows.set_column(index, rows.schema.field(index), pa.array(blurred))


def _select(lake: Lake, table: str, where: str, before: datetime) -> dict[tuple[int, int], Row]:
    wanted = ("message_key", "message_id_key", "content_key", "source", "event_id")
    columns = [c for c in wanted if c in EVENT_LOG[table].names]
    rows = lake.query(
        f"select {', '.join(['seq', 'ordinal', *columns])} from {{t}} "  # noqa: S608
        f"where ({where}) and {is_old(table, before)}",
        t=f"{DATASET}/{table}",
    )
    return {(row["seq"], row["ordinal"]): row for row in rows.to_pylist()}


def _shared_messages(lake: Lake, found: Found, keys: set[str]) -> set[str]:
    """Keys of messages of which other people have rows, as of one to a group."""
    shared: set[str] = set()
    if not keys:
        return shared
    for table in ("messages", "statuses"):
        rows = lake.query(
            f"select distinct message_key, message_id_key from {{t}} "  # noqa: S608
            f"where message_key in {sql_list(keys)} "
            f"and coalesce(phone_key, bsuid_key) is not null "
            f"and not ({is_theirs(table, found.person)})",
            t=f"{DATASET}/{table}",
        )
        for column in ("message_key", "message_id_key"):
            shared.update(rows[column].to_pylist())
    return shared


def _shared_events(lake: Lake, found: Found) -> set[str]:
    """Outcomes of which other people have a version: the CRM corrected whose it is."""
    ids = {row["event_id"] for row in found.rows["outcomes"].values()}
    if not ids:
        return set()
    rows = lake.query(
        f"select seq, ordinal, source, event_id from {{t}} where event_id in {sql_list(ids)}",  # noqa: S608
        t=f"{DATASET}/outcomes",
    ).to_pylist()
    return {_event(r) for r in rows if (r["seq"], r["ordinal"]) not in found.rows["outcomes"]}


def _files_with(lake: Lake, table: str, seqs: npt.NDArray[np.int64]) -> list[str]:
    """Files that hold one of the envelopes, in the order of their rows."""
    held: list[tuple[int, str]] = []
    for name in lake.files(DATASET, table):
        low, high = lake.bounds(DATASET, table, name, "seq")
        if len(seqs[(seqs >= low) & (seqs <= high)]):
            held.append((low, name))
    return [name for _, name in sorted(held)]


def _aliases(values: Iterable[str]) -> dict[str, str]:
    """A random key for each value; the keys sort as the values do."""
    ordered = sorted(values)
    return dict(zip(ordered, sorted(secrets.token_hex(16) for _ in ordered), strict=True))


def _event(row: Mapping[str, Any]) -> str:
    return f"{row['source']}|{row['event_id']}"


__all__ = ["Found", "body_keys", "find", "identities_marked", "make_anonymous", "nobodies"]
