"""Who is one person (rule R4), from the rows near them: the rule of the models, in plain Python.

An erasure must find the person with no warehouse at hand and before the models run. The models
`int_identities__*` and `int_phones__*` say the same in SQL; a test holds both against each other.
A phone that changed hands (E28) is one person's for a time only: rows before the change are of
the earlier holder, from it on of the later.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

NOBODY_LINK = "erased"
"""Kind of a link that an erasure leaves: from then on nobody known holds the phone."""

Row = dict[str, Any]


class Copy(NamedTuple):
    """A message, an identity that copies of it show, and the earliest time of those copies."""

    message_key: str
    identity_key: str
    shown_at: datetime


@dataclass(frozen=True, slots=True)
class Period:
    """From `since` (null: ever) until before `until` (null: still)."""

    since: datetime | None = None
    until: datetime | None = None

    def covers(self, at: datetime) -> bool:
        """Whether that moment is part of it."""
        return (self.since is None or self.since <= at) and (self.until is None or at < self.until)


@dataclass(frozen=True, slots=True)
class OtherHolder:
    """Somebody else who holds a phone of the person at another time."""

    phone_key: str
    period: Period


@dataclass(slots=True)
class Person:
    """One person: `identities` that are theirs for all time, `phones` that are so for a time."""

    identities: set[str] = field(default_factory=set)
    phones: dict[str, list[Period]] = field(default_factory=dict)
    others: list[OtherHolder] = field(default_factory=list)
    given_up: dict[str, list[str]] = field(default_factory=dict)
    """Phones they hold last, after somebody else, and the WABAs that showed the change."""
    vacated: set[str] = field(default_factory=set)
    """Nobodies of earlier erasures (`NOBODY_LINK`) before whom no other holder is left."""

    def has(self, key: str | None, at: datetime) -> bool:
        """Whether the identity is theirs at that time."""
        if key is None:
            return False
        periods = self.phones.get(key, ())
        return key in self.identities or any(p.covers(at) for p in periods)

    @property
    def keys(self) -> set[str]:
        """All identity keys, those for a time included."""
        return self.identities | set(self.phones)


class People:
    """Identities near each other, grouped into persons.

    `links`: rows of `identity_links`; `copies`: of messages shown under several identities (E2);
    `silence`: how long nobody was seen with a phone before it changed hands.
    """

    def __init__(self, links: Iterable[Row], copies: Iterable[Copy], silence: timedelta) -> None:
        links, copies = list(links), list(copies)
        self.identities = {row[side] for row in links for side in ("left_key", "right_key")}
        self.identities |= {copy.identity_key for copy in copies}
        self._nobodies = {r["right_key"] for r in links if r["link_kind"] == NOBODY_LINK}
        self._persons = _Sets()
        self._changes: dict[str, list[tuple[datetime, str]]] = {}
        self._wabas: dict[tuple[str, str], set[str]] = defaultdict(set)
        refused = self._find_changes(links, silence)
        for (left, right), at in _pairs(links, copies).items():
            if (left, right) not in refused and (right, left) not in refused:
                self._persons.join(self.stands_for(left, at), self.stands_for(right, at))

    def _find_changes(self, links: list[Row], silence: timedelta) -> set[tuple[str, str]]:
        """Fill `_changes`; the pairs of phone and user id that join nobody."""
        groups = _Sets()
        for row in links:
            if row["left_kind"] == row["right_kind"] == "bsuid":
                groups.join(row["left_key"], row["right_key"])
        seen, replaced = _sightings(links)
        refused: set[tuple[str, str]] = set()
        changes: dict[str, dict[datetime, str]] = defaultdict(dict)
        for (phone, waba), times in seen.items():
            same = {groups.find(bsuid) for bsuid in replaced[phone]}
            for first, group, node in _new_holders(times, groups, same, silence):
                changes[phone][first] = min(node, changes[phone].get(first, node))
                self._wabas[phone, node].add(waba)
                refused |= {(phone, bsuid) for bsuid in times if groups.find(bsuid) == group}
        self._changes = {phone: sorted(found.items()) for phone, found in changes.items()}
        return refused

    def changed_hands(self, key: str) -> bool:
        """Whether the identity is a phone of several people, one after the other."""
        return key in self._changes

    def stands_for(self, key: str, at: datetime) -> str:
        """The identity itself, or the user id of whoever holds the phone at that time."""
        return next((n for n, p in self._holders(key) if p.covers(at)), key)

    def person(self, nodes: Collection[str]) -> Person:
        """Who has these identities; a phone that changed hands means its first holder."""
        theirs = {self._persons.find(node) for node in nodes}
        found = Person({key for key in nodes if not self.changed_hands(key)})
        for key in self.identities - self._changes.keys():
            if self._persons.find(key) in theirs:
                found.identities.add(key)
        for phone in self._changes:
            self._add_phone(found, phone, theirs)
        return found

    def _add_phone(self, person: Person, phone: str, theirs: set[str]) -> None:
        holders = self._holders(phone)
        is_theirs = [self._persons.find(node) in theirs for node, _ in holders]
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
        """Whom a phone stands for, in order; nothing for other identities."""
        changes = self._changes.get(phone)
        if changes is None:
            return []
        nodes = [phone, *(node for _, node in changes)]
        times = [None, *(at for at, _ in changes), None]
        return [(n, Period(times[i], times[i + 1])) for i, n in enumerate(nodes)]


class _Sets:
    """Sets that grow together; every set is named by its smallest member."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def find(self, node: str) -> str:
        while self._parent.setdefault(node, node) != node:
            self._parent[node] = self._parent[self._parent[node]]
            node = self._parent[node]
        return node

    def join(self, one: str, other: str) -> None:
        small, great = sorted((self.find(one), self.find(other)))
        self._parent[great] = small


def _pairs(links: list[Row], copies: list[Copy]) -> dict[tuple[str, str], datetime]:
    """Every pair that something shows to be one person, with the first time (S1 and S2)."""
    shown = [((row["left_key"], row["right_key"]), row["observed_at"]) for row in links]
    shown += [((copy.message_key, copy.identity_key), copy.shown_at) for copy in copies]
    pairs: dict[tuple[str, str], datetime] = {}
    for (left, right), at in shown:
        if left != right:
            pair = (min(left, right), max(left, right))
            pairs[pair] = min(at, pairs.get(pair, at))
    return pairs


_Times = dict[str, list[datetime]]


def _sightings(links: list[Row]) -> tuple[dict[tuple[str, str], _Times], dict[str, set[str]]]:
    """(phone, WABA) -> user id -> times seen together; phone -> user ids that replaced its id."""
    seen: dict[tuple[str, str], _Times] = defaultdict(lambda: defaultdict(list))
    replaced: dict[str, set[str]] = defaultdict(set)
    for row in links:
        keys = {row["left_kind"]: row["left_key"], row["right_kind"]: row["right_key"]}
        if set(keys) != {"phone", "bsuid"}:
            continue
        if row["link_kind"] == "id_change":
            replaced[keys["phone"]].add(keys["bsuid"])
        elif row["waba_id"] is not None:
            seen[keys["phone"], row["waba_id"]][keys["bsuid"]].append(row["observed_at"])
    return seen, replaced


def _new_holders(
    times: _Times, groups: _Sets, same_person: set[str], silence: timedelta
) -> Iterable[tuple[datetime, str, str]]:
    """First sighting, group, and user id seen first, of each group that got the phone later."""
    moments: dict[str, list[tuple[datetime, str]]] = defaultdict(list)
    for bsuid, seen in times.items():
        moments[groups.find(bsuid)] += [(at, bsuid) for at in seen]
    last_seen: datetime | None = None
    for group in sorted(moments, key=lambda name: (min(moments[name])[0], name)):
        first, node = min(moments[group])
        if last_seen is not None and group not in same_person and last_seen + silence <= first:
            yield first, group, node
        last = max(moments[group])[0]
        last_seen = last if last_seen is None else max(last, last_seen)


__all__ = ["NOBODY_LINK", "Copy", "OtherHolder", "People", "Period", "Person"]
