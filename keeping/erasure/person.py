"""The person to be erased: which identities are theirs, and for how long.

An erasure must find the person without a warehouse and before the models run, by the same rule
(R4). A phone that changed hands (E28) belongs to one person for a time only: rows before the change
are the earlier holder's, later ones the later holder's. For a shared identifier (E86), what
WhatsApp shows belongs to its holder; others who are said to have it keep what they said.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pyarrow as pa

from ingestion.identity import links as identity_links
from ingestion.identity.erased import Period
from ingestion.identity.links import CLAIMS, LINKS
from ingestion.identity.persons import find_persons
from ingestion.identity.sieve import TIME_COLUMNS
from ingestion.lake.lake import Lake

DATASET = "event_log"

NOBODY_LINK = "erased"
"""Kind of link that an erasure leaves: since then nobody known holds the phone."""

Row = dict[str, Any]


class Copy(NamedTuple):
    """A message, an identity that copies of it show, and the earliest time of those copies."""

    message_key: str
    identity_key: str
    shown_at: datetime


@dataclass(frozen=True, slots=True)
class OtherHolder:
    """Somebody else who holds a phone of the person at another time."""

    phone_key: str
    period: Period


@dataclass(slots=True)
class Person:
    """One person: `identities` that are always theirs, `phones` that are theirs for a time."""

    identities: set[str] = field(default_factory=set)
    phones: dict[str, list[Period]] = field(default_factory=dict)
    others: list[OtherHolder] = field(default_factory=list)
    given_up: dict[str, list[str]] = field(default_factory=dict)
    """Phones that they were the last to hold, and the WABAs that showed the change."""
    vacated: set[str] = field(default_factory=set)
    """Nobodies of earlier erasures (`NOBODY_LINK`) with no other holder before them."""
    shared: set[str] = field(default_factory=set)
    """Those of `identities` that others are said to have as well (E86): a claim on one does not
    show whose row it is."""
    claimed: set[str] = field(default_factory=set)
    """Shared identifiers of nobody, or of somebody else, that occur in their rows."""

    def has(self, key: str | None, at: datetime) -> bool:
        """Whether the identity is theirs at that time."""
        if key is None:
            return False
        periods = self.phones.get(key, ())
        return key in self.identities or any(p.covers(at) for p in periods)

    @property
    def keys(self) -> set[str]:
        """All identity keys, including those held for a time."""
        return self.identities | set(self.phones)

    def add(self, other: Person) -> None:
        """Add what was found of the same person under another identity."""
        self.identities |= other.identities
        self.vacated |= other.vacated
        self.phones |= other.phones
        self.given_up |= other.given_up
        self.others += other.others


class People:
    """Identities near each other, grouped into persons.

    `links`: rows of `identity_links`, or one for several of a kind, with `last_observed_at`.
    `copies`: of messages shown under several identities (E2). `silence`: how long nobody was seen
    with a phone before it changed hands. `degree`: how many people must share an identifier for it
    to join nobody.
    """

    def __init__(
        self, links: Iterable[Row], copies: Iterable[Copy], silence: timedelta, degree: int
    ) -> None:
        rows = [*map(_link, links), *map(_copy_link, copies)]
        found = find_persons(pa.Table.from_pylist(rows, schema=LINKS), silence, degree)
        keys = found.keys.to_pylist()
        self.identities = {row[side] for row in rows for side in ("left_key", "right_key")}
        self.identities -= {row["right_key"] for row in rows if row["right_kind"] == "message"}
        self._nobodies = {r["right_key"] for r in rows if r["link_kind"] == NOBODY_LINK}
        self._persons = dict(zip(keys, (keys[p] for p in found.person.tolist()), strict=True))
        self._shared = {k for k, shared in zip(keys, found.is_shared, strict=True) if shared}
        self._claims = list(_claims_on(self._shared, rows))
        self._changes, self._wabas = found.changes, found.wabas

    def changed_hands(self, key: str) -> bool:
        """Whether the identity is a phone that several people held, one after another."""
        return key in self._changes

    def stands_for(self, key: str, at: datetime) -> str:
        """The identity itself, or the user id of the phone's holder at that time."""
        return next((n for n, p in self._holders(key) if p.covers(at)), key)

    def person(self, nodes: Collection[str]) -> Person:
        """The person with these identities; for a phone that changed hands, its first holder."""
        theirs = {self._of(node) for node in nodes}
        found = Person({key for key in nodes if not self.changed_hands(key)})
        for key in self.identities - self._changes.keys():
            if self._of(key) in theirs:
                found.identities.add(key)
        for phone in self._changes:
            self._add_phone(found, phone, theirs)
        found.shared = found.identities & self._shared
        found.claimed = {
            shared
            for shared, end in self._claims
            if end in found.identities and shared not in found.identities
        }
        return found

    def _of(self, node: str) -> str:
        return self._persons.get(node, node)

    def _add_phone(self, person: Person, phone: str, theirs: set[str]) -> None:
        holders = self._holders(phone)
        is_theirs = [self._of(node) in theirs for node, _ in holders]
        if all(is_theirs):
            person.identities.add(phone)
        if all(is_theirs) or not any(is_theirs):
            return
        someone_stays = False
        for (node, period), own in zip(holders, is_theirs, strict=True):
            if own:
                person.phones.setdefault(phone, []).append(period)
            else:
                person.others.append(OtherHolder(phone, period))
            if node not in self._nobodies:
                someone_stays |= not own
            elif not someone_stays:
                person.vacated.add(node)
        last = holders[-1][0]
        if is_theirs[-1] and someone_stays and last not in self._nobodies:
            person.given_up[phone] = sorted(self._wabas[phone, last])

    def _holders(self, phone: str) -> list[tuple[str, Period]]:
        """The holders of a phone that changed hands, in order; empty for other identities."""
        changes = self._changes.get(phone)
        if changes is None:
            return []
        nodes = [phone, *(node for _, node in changes)]
        times = [None, *(at for at, _ in changes), None]
        return [(n, Period(times[i], times[i + 1])) for i, n in enumerate(nodes)]


def _claims_on(shared: set[str], rows: list[Row]) -> Iterator[tuple[str, str]]:
    """Shared identifiers and who is said to have them, by the newest version of a CRM record."""
    newest: dict[str, datetime] = {}
    for row in rows:
        if row["link_kind"] in ("crm_record", "crm_merge"):
            record, at = row["left_key"], row["last_recorded_at"]
            newest[record] = max(at, newest.get(record, at))
    for row in rows:
        if row["link_kind"] not in CLAIMS:
            continue
        if row["link_kind"] == "crm_record" and row["last_recorded_at"] < newest[row["left_key"]]:
            continue
        ends = row["left_key"], row["right_key"]
        yield from (pair for pair in (ends, ends[::-1]) if pair[0] in shared)


def _link(row: Row) -> Row:
    columns = {name: row.get(name) for name in LINKS.names}
    if "observed_at" in row:
        columns |= dict.fromkeys(("first_observed_at", "last_observed_at"), row["observed_at"])
        columns["last_recorded_at"] = row.get("recorded_at") or row.get("received_at")
    return columns


def _copy_link(copy: Copy) -> Row:
    return {
        "left_key": copy.identity_key,
        "left_kind": "any",
        "right_key": copy.message_key,
        "right_kind": "message",
        "waba_id": None,
        "link_kind": "copy",
        "first_observed_at": copy.shown_at,
        "last_observed_at": copy.shown_at,
        "last_recorded_at": None,
    }


# ---- read from the lake ----------------------------------------------------------------------


def connected(
    lake: Lake,
    start: Iterable[str],
    before: datetime,
    silence: timedelta,
    degree: int,
    *,
    on: datetime | None = None,
) -> Person:
    """The person with these identities, by rows from before that time (rule R4).

    A phone that changed hands stands for its holder at `on` (else at `before`). If other identities
    are given it stands for nobody, because they say who is meant.
    """
    start = set(start)
    links, copies = _near(lake, start, before)
    people = People(links, copies, silence, degree)
    phones = {key for key in start if people.changed_hands(key)}
    return people.person(start - phones or {people.stands_for(p, on or before) for p in phones})


def _near(lake: Lake, start: set[str], before: datetime) -> tuple[list[Row], list[Copy]]:
    """Links and copies of all identities that can be reached from `start`."""
    known, fresh = set(start), set(start)
    links: dict[tuple[Any, ...], Row] = {}
    copies: set[Copy] = set()
    while fresh:
        # By pair and kind: a row is found from both ends, with the same times.
        found = {tuple(row.values())[:6]: row for row in _links_of(lake, fresh, before)}
        shown = _copies_of(lake, fresh, before)
        links |= found
        copies |= shown
        ends = {row[side] for row in found.values() for side in ("left_key", "right_key")}
        fresh = (ends | {copy.identity_key for copy in shown}) - known
        known |= fresh
    return list(links.values()), sorted(copies)


def _links_of(lake: Lake, identities: set[str], before: datetime) -> list[Row]:
    """Links of these identities, one row per pair and kind."""
    listed = sql_list(identities)
    near = f"(left_key in {listed} or right_key in {listed}) and {is_old('identity_links', before)}"
    found: list[Row] = identity_links.pairs(lake, near).to_pylist()
    return found


def _copies_of(lake: Lake, identities: set[str], before: datetime) -> set[Copy]:
    """All identities of messages that copies show under several, including one of these."""
    found = identity_links.copies(
        lake,
        f"select message_key from shown where identity_key in {sql_list(identities)}",  # noqa: S608
        messages=is_old("messages", before),
        statuses=is_old("statuses", before),
    )
    rows = found.select(["right_key", "left_key", "first_observed_at"]).to_pylist()
    return {Copy(*row.values()) for row in rows}


def is_old(table: str, before: datetime) -> str:
    """SQL: whether a row is from before that time, by its own time or its time of receipt."""
    return f"least({TIME_COLUMNS[table]}, received_at) < {moment(before)}"


def moment(at: datetime) -> str:
    return f"timestamptz '{at.astimezone(UTC).isoformat()}'"


def sql_list(values: Iterable[str]) -> str:
    """SQL list of texts; braces are doubled for `Lake.query`."""
    doubled = (v.replace("'", "''").replace("{", "{{").replace("}", "}}") for v in values)
    quoted = (f"'{v}'" for v in doubled)
    return f"({', '.join(sorted(quoted)) or 'null'})"


__all__ = [
    "DATASET",
    "NOBODY_LINK",
    "Copy",
    "OtherHolder",
    "People",
    "Person",
    "connected",
    "is_old",
    "moment",
    "sql_list",
]
