"""Identities grouped into persons (rule R4), from all links at once: same rows, same persons.

Three things keep apart what links connect:

- a phone changed hands (E28): it belongs to one person until then, and to another from then on;
- an identifier is shared (E85, E86): so many people are said to have it that it joins nobody;
- the CRM was corrected (E86): only the newest version of a record counts.

Only WhatsApp's own evidence shows that a phone changed hands, and the other two rules never cut
such evidence: they concern what somebody typed, exported or saved (`CLAIMS`). Nothing depends on
the order of rows or on an earlier result, so people are separated again when late rows show that an
identifier is shared. No link leads out of a component, so each component can be judged alone.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ingestion.identity.links import (
    BSUID,
    FORM,
    IDENTIFIERS,
    LINKS,
    PHONE,
    RECORD,
    TIME,
    Flags,
    Graph,
    Ints,
    components,
    least,
    moment,
    several,
)

REFUSALS = pa.schema(
    [
        ("reason", pa.string()),  # shared_identifier corrected
        ("identifier_key", pa.string()),
        ("earlier_person_key", pa.string()),
        ("later_person_key", pa.string()),
        ("last_seen_earlier_at", TIME),
        ("first_seen_later_at", TIME),
    ]
)
"""Pairs of people kept apart although they share an identifier. A shared identifier of n people has
n-1 pairs: each person with the next, by time."""


class Sighting(NamedTuple):
    """A phone seen with a user id, if one WABA saw that phone with several user ids (E28).

    `holder`, `held_from`, `last_seen_earlier`: set if this user id's person got the phone later.
    """

    phone: str
    waba: str
    bsuid: str
    holder: str | None
    held_from: datetime | None
    last_seen_earlier: datetime | None


@dataclass(slots=True)
class Persons:
    """What `find_persons` found: `keys` (sorted), and each key's person as a position in `keys`."""

    keys: pa.StringArray
    person: Ints
    component: Ints
    """The smallest key that any links connect it with, even links that join nobody."""
    is_shared: Flags
    """Identifiers that join nobody, because too many people are said to have them."""
    sightings: list[Sighting] = field(default_factory=list)
    changes: dict[str, list[tuple[datetime, str]]] = field(default_factory=dict)
    """Phone -> times from which somebody new holds it, with the user id it stands for from then."""
    wabas: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    """(phone, user id it stands for) -> WABAs that showed the change."""
    refusals: pa.Table = field(default_factory=lambda: REFUSALS.empty_table())


def find_persons(links: pa.Table, silence: timedelta, degree: int) -> Persons:
    """Persons from links (`LINKS`).

    `silence`: how long a phone must not have been seen before it counts as having changed hands.
    `degree`: from this many people on, an identifier joins nobody. The time taken grows with the
    number of links, as sorting does.
    """
    graph = Graph(links.select(LINKS.names).cast(LINKS))
    hands = _Hands(graph, silence)
    pairs = _Pairs(graph, hands)
    is_shared = _shared(graph, pairs, degree)
    kept = ~(pairs.is_claim & (is_shared[pairs.left] | is_shared[pairs.right]))
    person = components(graph.size, pairs.left_node[kept], pairs.right_node[kept])
    refusals = [_parted(graph, pairs, is_shared, person), _corrected(graph, hands, person)]
    return Persons(
        graph.keys,
        person,
        components(graph.size, graph.left, graph.right),
        is_shared,
        hands.sightings,
        hands.changes,
        hands.wabas,
        pa.concat_tables(refusals),
    )


class _Hands:
    """Phones that changed hands (E28), judged within each WABA: `changes` and `sightings`.

    User ids that notices link are one group: the same person, before and after. A later group holds
    the phone from its first sighting on, as a new person, if every earlier group was last seen with
    it `silence` or longer before. A user id is not a new person if a notice says that it replaced
    the id of this very phone. Of two changes at the same moment the smaller user id counts.
    """

    def __init__(self, graph: Graph, silence: timedelta) -> None:
        self.sightings: list[Sighting] = []
        self.changes: dict[str, list[tuple[datetime, str]]] = {}
        self.wabas: dict[tuple[str, str], set[str]] = defaultdict(set)
        self.refused: set[tuple[int, int]] = set()
        """Phone and any user id of a later holder: no evidence that both holders are one person."""
        self._holders: dict[int, list[tuple[int, int]]] = {}
        self._find(graph, round(silence.total_seconds() * 1_000_000))

    def stands_for(self, place: int, at: int) -> int:
        """The identity itself, or the user id of the person who holds the phone at that time."""
        node = place
        for since, holder in self._holders.get(place, ()):
            if since <= at:
                node = holder
        return node

    def nodes(self, ends: Ints, at: Ints) -> Ints:
        """`stands_for` for many identities."""
        nodes = ends.copy()
        if self._holders:
            for i in np.flatnonzero(np.isin(ends, list(self._holders))):
                nodes[i] = self.stands_for(int(ends[i]), int(at[i]))
        return nodes

    def _find(self, graph: Graph, silence_us: int) -> None:
        forward = (graph.left_kind == PHONE) & (graph.right_kind == BSUID)
        is_pair = forward | ((graph.left_kind == BSUID) & (graph.right_kind == PHONE))
        phone = np.where(forward, graph.left, graph.right)
        bsuid = np.where(forward, graph.right, graph.left)
        seen = np.flatnonzero(is_pair & ~graph.is_id_change & (graph.waba >= 0))
        place = phone[seen] * max(len(graph.wabas), 1) + graph.waba[seen]
        contested = several(place, bsuid[seen])
        if not len(contested):
            return
        both = (graph.left_kind == BSUID) & (graph.right_kind == BSUID)
        group = components(graph.size, graph.left[both], graph.right[both])
        replaced: dict[int, set[int]] = defaultdict(set)
        for i in np.flatnonzero(is_pair & graph.is_id_change):
            replaced[int(phone[i])].add(int(group[bsuid[i]]))
        times: dict[tuple[int, int], dict[int, tuple[int, int]]] = defaultdict(dict)
        for i in seen[np.isin(place, contested)]:
            known = times[int(phone[i]), int(graph.waba[i])]
            first, last = known.get(int(bsuid[i]), (int(graph.first[i]), int(graph.last[i])))
            known[int(bsuid[i])] = min(first, int(graph.first[i])), max(last, int(graph.last[i]))
        found: dict[int, dict[int, int]] = defaultdict(dict)
        refused: set[tuple[int, int]] = set()
        for (number, waba), known in sorted(times.items()):
            later = {
                g: (since, node, before)
                for since, g, node, before in _new_holders(
                    known, group, replaced[number], silence_us
                )
            }
            waba_id = graph.wabas[waba].as_py()
            for since, node, _ in later.values():
                found[number][since] = min(node, found[number].get(since, node))
                self.wabas[graph.text(number), graph.text(node)].add(waba_id)
            for one in sorted(known):
                shown = graph.text(number), waba_id, graph.text(one)
                if (change := later.get(int(group[one]))) is None:
                    self.sightings.append(Sighting(*shown, None, None, None))
                    continue
                since, node, before = change
                refused.add((number, int(group[one])))
                self.sightings.append(
                    Sighting(*shown, graph.text(node), moment(since), moment(before))
                )
        # With every user id of the later holder, also one that only another WABA saw with the
        # phone: it would connect both holders again.
        for i in np.flatnonzero(is_pair & np.isin(phone, list(found))):
            if (int(phone[i]), int(group[bsuid[i]])) in refused:
                self.refused.add((int(phone[i]), int(bsuid[i])))
        self._holders = {number: sorted(held.items()) for number, held in found.items()}
        self.changes = {
            graph.text(number): [(moment(since), graph.text(node)) for since, node in held]
            for number, held in self._holders.items()
        }


def _new_holders(
    times: dict[int, tuple[int, int]], group: Ints, same_person: set[int], silence_us: int
) -> list[tuple[int, int, int, int]]:
    """For each group that got the phone later: first sighting, group, the user id seen first, and
    the last sighting of anybody before."""
    members: dict[int, list[int]] = defaultdict(list)
    for bsuid in times:
        members[int(group[bsuid])].append(bsuid)
    first = {g: min((times[b][0], b) for b in ids) for g, ids in members.items()}
    found = []
    last_seen: int | None = None
    for g in sorted(members, key=lambda name: (first[name][0], name)):
        since, node = first[g]
        is_new = last_seen is not None and last_seen + silence_us <= since
        if last_seen is not None and is_new and g not in same_person:
            found.append((since, g, node, last_seen))
        last = max(times[b][1] for b in members[g])
        last_seen = last if last_seen is None else max(last, last_seen)
    return found


class _Pairs:
    """Every pair that something shows to be one person, once, without stale claims and without
    pairs of a phone and its later holder. `left_node` and `right_node`: whom the ends stood for at
    first."""

    def __init__(self, graph: Graph, hands: _Hands) -> None:
        rows = np.flatnonzero((graph.left != graph.right) & ~graph.is_stale)
        low = np.minimum(graph.left[rows], graph.right[rows])
        high = np.maximum(graph.left[rows], graph.right[rows])
        code = low * graph.size + high
        order = np.argsort(code, kind="stable")
        code, starts = np.unique(code[order], return_index=True)
        first = least(graph.first[rows][order], starts)
        is_claim = least(graph.is_claim[rows][order].astype(np.int64), starts) == 1
        if hands.refused:
            apart = [min(p) * graph.size + max(p) for p in hands.refused]
            kept = ~np.isin(code, np.array(apart, dtype=np.int64))
            code, first, is_claim = code[kept], first[kept], is_claim[kept]
        self.left, self.right = np.divmod(code, graph.size) if graph.size else (code, code)
        self.first, self.is_claim = first, is_claim
        self.left_node = hands.nodes(self.left, first)
        self.right_node = hands.nodes(self.right, first)

    def claims(self) -> tuple[Ints, Ints, Ints, Ints]:
        """Each claim from either end: this end, the other end, whom the other stood for, and
        when."""
        c = self.is_claim
        return (
            np.concatenate([self.left[c], self.right[c]]),
            np.concatenate([self.right[c], self.left[c]]),
            np.concatenate([self.right_node[c], self.left_node[c]]),
            np.concatenate([self.first[c], self.first[c]]),
        )


def _shared(graph: Graph, pairs: _Pairs, degree: int) -> Flags:
    """Identifiers that `degree` or more people are said to have, if nothing else connects these
    people.

    People are counted, not rows: a form by itself is nobody, it counts by what else it names. An
    identifier that may be shared connects nobody while people are counted; one that turns out not
    to be shared connects again, and the count is repeated until nothing changes.
    """
    hub, other, node, _ = pairs.claims()
    is_form = graph.kind == FORM
    candidate = _most(graph.size, hub, other, is_form, degree) >= degree
    candidate &= IDENTIFIERS[graph.kind]
    while candidate.any():
        kept = ~(pairs.is_claim & (candidate[pairs.left] | candidate[pairs.right]))
        label = components(graph.size, pairs.left_node[kept], pairs.right_node[kept])
        is_somebody = np.zeros(graph.size, dtype=np.bool_)
        is_somebody[label[~is_form & ~candidate]] = True
        claimed = candidate[hub] & is_somebody[label[node]] & (label[node] != label[hub])
        people = np.unique(hub[claimed] * graph.size + label[node[claimed]]) // max(graph.size, 1)
        still = candidate & (np.bincount(people, minlength=graph.size) >= degree)
        if (still == candidate).all():
            break
        candidate = still
    return candidate


def _most(size: int, hub: Ints, other: Ints, is_form: Flags, degree: int) -> Ints:
    """An upper bound of how many people have an identifier: what else its claims and forms name."""
    direct = ~is_form[other]
    alongside = [hub[direct] * size + other[direct]]
    of_form = is_form[hub]
    form, named = hub[of_form], other[of_form]
    order = np.argsort(form, kind="stable")
    form, named = form[order], named[order]
    # A form that names so many is no form of one person, and is a candidate itself.
    few = np.bincount(form, minlength=size)[form] < degree
    form, named = form[few], named[few]
    for step in range(1, degree):
        same = (
            np.flatnonzero(form[step:] == form[:-step]) if len(form) > step else np.array([], int)
        )
        if not len(same):
            break
        one, two = named[same], named[same + step]
        alongside += [one * size + two, two * size + one]
    return np.bincount(np.unique(np.concatenate(alongside)) // max(size, 1), minlength=size)


def _parted(graph: Graph, pairs: _Pairs, is_shared: Flags, person: Ints) -> pa.Table:
    """The people of each shared identifier in the order of their first claims, each with the
    next."""
    hub, other, node, at = pairs.claims()
    rows = np.flatnonzero(is_shared[hub])
    rows = rows[np.lexsort((other[rows], at[rows], hub[rows]))]
    who = person[node[rows]]
    _, first = np.unique(hub[rows] * graph.size + who, return_index=True)
    rows = rows[np.sort(first)]
    who, hubs, times = person[node[rows]], hub[rows], at[rows]
    follows = np.flatnonzero(hubs[1:] == hubs[:-1])
    return _refusals(
        graph, "shared_identifier", hubs[follows], who[follows], who[follows + 1],
        times[follows], times[follows + 1],
    )  # fmt: skip


def _corrected(graph: Graph, hands: _Hands, person: Ints) -> pa.Table:
    """Joins that an earlier version of a CRM record would have made."""
    rows = np.flatnonzero(graph.is_stale & (graph.left != graph.right))
    is_left = graph.left_kind[rows] == RECORD
    record = np.where(is_left, graph.left[rows], graph.right[rows])
    named = np.where(is_left, graph.right[rows], graph.left[rows])
    earlier, later = person[hands.nodes(named, graph.first[rows])], person[record]
    apart = earlier != later
    return _refusals(
        graph, "corrected", named[apart], earlier[apart], later[apart],
        graph.recorded[rows][apart], graph.newest[rows][apart],
    )  # fmt: skip


def _refusals(
    graph: Graph, reason: str, named: Ints, earlier: Ints, later: Ints, at: Ints, then: Ints
) -> pa.Table:
    columns = [graph.keys.take(pa.array(places)) for places in (named, earlier, later)]
    times = [pa.array(us, pa.int64()).cast(TIME) for us in (at, then)]
    reasons = pa.array([reason] * len(named), pa.string())
    return pa.Table.from_arrays([reasons, *columns, *times], schema=REFUSALS)


__all__ = ["REFUSALS", "Persons", "Sighting", "find_persons"]
