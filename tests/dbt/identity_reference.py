"""Who is one person (rule R4), the simple way: all rows at hand, loops, a union-find.

The models must find the same, whatever the order and the number of runs. Deliberately slow and
plain, and written from the rule, not from the SQL.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

Row = dict[str, Any]


class UnionFind:
    """Sets that grow together; every set is named by its smallest member."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def find(self, node: str) -> str:
        """Smallest member of the set that `node` is in."""
        while self._parent.setdefault(node, node) != node:
            node = self._parent[node]
        return node

    def join(self, one: str, other: str) -> None:
        """Make two sets one."""
        small, great = sorted((self.find(one), self.find(other)))
        self._parent[great] = small


@dataclass
class People:
    """What the rows show: `persons` of identities and `holders` of phones that changed hands."""

    identities: set[str] = field(default_factory=set)
    persons: UnionFind = field(default_factory=UnionFind)
    holders: dict[str, list[tuple[datetime, str]]] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)

    def stands_for(self, identity: str, at: datetime) -> str:
        """The identity itself, or the user id of whoever holds the phone at that time."""
        found = identity
        for since, holder in self.holders.get(identity, []):
            if since <= at:
                found = holder
        return found

    def person(self, identity: str, at: datetime) -> str:
        """Whose the identity is at that time."""
        return self.persons.find(self.stands_for(identity, at))

    def refusals(self) -> int:
        """Changes of hands that part two people in the end."""
        found = 0
        for phone, changes in self.holders.items():
            nodes = [phone, *(holder for _, holder in changes)]
            persons = [self.persons.find(node) for node in nodes]
            found += sum(a != b for a, b in pairwise(persons))
        return found


CLAIMS = {"outcome", "web_lead", "crm_record", "consent", "contact_card", "contact_book"}


def people_of(
    links: Iterable[Row],
    copies: Iterable[tuple[str, str, datetime]],
    silence: timedelta,
    degree: int = 5,
) -> People:
    """`links`: rows of identity_links. `copies`: message, identity shown, time, for each copy."""
    links, copies = list(links), list(copies)
    found = People(identities={key for pair in _pairs(links, copies) for key in pair})
    links = _of_newest_versions(links)
    pairs = _pairs(links, copies)
    groups = UnionFind()
    for row in links:
        if row["left_kind"] == row["right_kind"] == "bsuid":
            groups.join(row["left_key"], row["right_key"])
    seen, replaced = _sightings(links)
    refused: set[tuple[str, str]] = set()
    holders: dict[str, dict[datetime, str]] = defaultdict(dict)
    for (phone, _waba), times in seen.items():
        for first, group, node in _new_holders(times, groups, replaced[phone], silence):
            holders[phone][first] = min(node, holders[phone].get(first, node))
            refused |= {(phone, b) for b in found.identities if groups.find(b) == group}
    found.holders = {phone: sorted(changes.items()) for phone, changes in holders.items()}
    joins = [
        (pair, (found.stands_for(pair[0], at), found.stands_for(pair[1], at)))
        for pair, at in pairs.items()
        if pair not in refused and pair[::-1] not in refused
    ]
    claims = {pair for pair, _ in joins} - {
        (min(row["left_key"], row["right_key"]), max(row["left_key"], row["right_key"]))
        for row in links
        if row["link_kind"] not in CLAIMS
    }
    claims = {pair for pair in claims if "message" not in {_kind(key) for key in pair}}
    found.shared = _shared(joins, claims, degree)
    found.persons = _joined(joins, claims, found.shared)
    return found


def _kind(key: str) -> str:
    """Of a key of these tests: `phone:ana`; messages have other names."""
    head = key.partition(":")[0]
    return head if head in _KINDS else "message"


_KINDS = {"phone", "bsuid", "email", "web_lead", "crm_record"}

Pair = tuple[str, str]


def _of_newest_versions(links: list[Row]) -> list[Row]:
    """Without what a CRM record said before it was read the last time."""
    newest: dict[str, datetime] = {}
    for row in links:
        if row["link_kind"] in ("crm_record", "crm_merge"):
            at, record = row["recorded_at"], row["left_key"]
            newest[record] = max(at, newest.get(record, at))
    return [
        row
        for row in links
        if row["link_kind"] != "crm_record" or row["recorded_at"] == newest[row["left_key"]]
    ]


def _joined(joins: list[tuple[Pair, Pair]], claims: set[Pair], nobodys: set[str]) -> UnionFind:
    """Persons, where claims of these identifiers join nobody."""
    persons = UnionFind()
    for pair, ends in joins:
        if pair not in claims or not nobodys & set(pair):
            persons.join(*ends)
    return persons


def _shared(joins: list[tuple[Pair, Pair]], claims: set[Pair], degree: int) -> set[str]:
    """Identifiers that `degree` people or more are said to have, whom nothing else connects."""
    said: dict[str, dict[str, str]] = defaultdict(dict)  # identifier -> other end, and its holder
    for (left, right), (left_node, right_node) in joins:
        if (left, right) in claims:
            said[left][right] = right_node
            said[right][left] = left_node

    def beside(identifier: str) -> set[str]:
        found: set[str] = set()
        for other in said[identifier]:
            if _kind(other) != "web_lead":
                found.add(other)
            elif len(said[other]) < degree:  # a form of so many is no form of one person
                found |= said[other].keys() - {identifier}
        return found

    suspects = {key for key in said if _kind(key) != "crm_record" and len(beside(key)) >= degree}
    while True:
        persons = _joined(joins, claims, suspects)
        everybody = {node for _, ends in joins for node in ends}
        somebody = {
            persons.find(node)
            for node in everybody
            if _kind(node) != "web_lead" and node not in suspects
        }
        still = {
            key
            for key in suspects
            if len(
                {persons.find(node) for node in said[key].values()} & somebody - {persons.find(key)}
            )
            >= degree
        }
        if still == suspects:
            return suspects
        suspects = still


def _pairs(
    links: list[Row], copies: Iterable[tuple[str, str, datetime]]
) -> dict[tuple[str, str], datetime]:
    """Every pair that something shows to be one person, with the first time."""
    pairs: dict[tuple[str, str], datetime] = {}
    by_message: dict[str, dict[str, datetime]] = defaultdict(dict)
    for message, identity, at in copies:
        by_message[message][identity] = min(at, by_message[message].get(identity, at))
    shown = [
        ((message, identity), at)
        for message, identities in by_message.items()
        if len(identities) > 1
        for identity, at in identities.items()
    ]
    shown += [((row["left_key"], row["right_key"]), row["observed_at"]) for row in links]
    for (left, right), at in shown:
        if left != right:
            pair = (min(left, right), max(left, right))
            pairs[pair] = min(at, pairs.get(pair, at))
    return pairs


Times = dict[str, list[datetime]]


def _sightings(
    links: list[Row],
) -> tuple[dict[tuple[str, str], Times], dict[str, set[str]]]:
    """(phone, WABA) -> user id -> times seen together; phone -> user ids that replaced its id."""
    seen: dict[tuple[str, str], Times] = defaultdict(lambda: defaultdict(list))
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
    times: Times, groups: UnionFind, replaced: set[str], silence: timedelta
) -> Iterable[tuple[datetime, str, str]]:
    """First sighting, group, and user id seen first, of each group that got the phone later."""
    found: dict[str, list[tuple[datetime, str]]] = defaultdict(list)
    for bsuid, moments in times.items():
        found[groups.find(bsuid)] += [(moment, bsuid) for moment in moments]
    same_person = {groups.find(bsuid) for bsuid in replaced}
    in_order = sorted(found, key=lambda group: (min(found[group])[0], group))
    for place, group in enumerate(in_order):
        first, node = min(found[group])
        last_before = [max(found[earlier])[0] for earlier in in_order[:place]]
        if last_before and group not in same_person and max(last_before) + silence <= first:
            yield first, group, node
