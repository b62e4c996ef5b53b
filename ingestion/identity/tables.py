"""The tables of the dataset `identity`: rows made of what rule R4 finds in links, and their proof.

The proof is written from the rule, in SQL and independently of `ingestion.identity.persons`, and
runs before anything is published: if the two disagree, readers keep the previous tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from ctwa.errors import CtwaError
from ctwa.settings import Settings
from ingestion.identity.links import CLAIMS, LINKS, TIME, in_parts
from ingestion.identity.persons import Persons, Sighting, find_persons
from ingestion.lake.lake import Lake, conform

DATASET = "identity"
_PART_LINKS = 5_000_000
"""Links judged at a time; they take about 2 GB."""

_IDENTITIES = pa.schema(
    [
        # May also be the key of a message whose copies show several identities (E2).
        pa.field("identity_key", pa.string(), nullable=False),
        # The smallest identity of the person. An identity without a row is its own person.
        pa.field("person_key", pa.string(), nullable=False),
        pa.field("is_shared", pa.bool_(), nullable=False),
        # The smallest identity that any links connect it with, even links that join nobody.
        pa.field("component_key", pa.string(), nullable=False),
        # The lake's highest envelope when person or `is_shared` last changed.
        pa.field("changed_seq", pa.int64(), nullable=False),
    ]
)
IDENTITY = {
    "links": LINKS,
    "identities": _IDENTITIES,
    # Rows that replace those in `identities`, so that a landing writes only what changed.
    "identities_changed": _IDENTITIES,
    "phones_seen": pa.schema(
        [
            pa.field("phone_key", pa.string(), nullable=False),
            pa.field("waba_id", pa.string(), nullable=False),
            pa.field("bsuid_key", pa.string(), nullable=False),
            ("holder_key", pa.string()),
            ("held_from", TIME),
            ("last_seen_earlier_at", TIME),
            pa.field("component_key", pa.string(), nullable=False),
            pa.field("changed_seq", pa.int64(), nullable=False),
        ]
    ),
    "phones_held": pa.schema(
        [
            pa.field("phone_key", pa.string(), nullable=False),
            pa.field("identity_key", pa.string(), nullable=False),
            pa.field("held_from", TIME, nullable=False),
            ("held_until", TIME),
            ("last_seen_earlier_at", TIME),
        ]
    ),
    "refused": pa.schema(
        [
            pa.field("refusal_id", pa.string(), nullable=False),
            # recycled_number shared_identifier corrected
            pa.field("reason", pa.string(), nullable=False),
            pa.field("identifier_key", pa.string(), nullable=False),
            pa.field("earlier_person_key", pa.string(), nullable=False),
            pa.field("later_person_key", pa.string(), nullable=False),
            ("last_seen_earlier_at", TIME),
            ("first_seen_later_at", TIME),
            pa.field("component_key", pa.string(), nullable=False),
        ]
    ),
    # One row: up to which envelope, and by which rules and code, the other tables were made; and
    # the number of links when they were last aggregated.
    "progress": pa.schema(
        [
            pa.field("seq", pa.int64(), nullable=False),
            pa.field("silence_days", pa.int64(), nullable=False),
            pa.field("degree", pa.int64(), nullable=False),
            pa.field("code", pa.string(), nullable=False),
            pa.field("links", pa.int64(), nullable=False),
        ]
    ),
}
"""Table name to columns, as stored in `<lake>/identity/<table>/*.parquet`."""

HELD = """
    select phone_key, min(holder_key) as identity_key, held_from,
        lead(held_from) over (partition by phone_key order by held_from) as held_until,
        max(last_seen_earlier_at) as last_seen_earlier_at
    from {seen} where held_from is not null
    group by phone_key, held_from
"""
"""Who holds a phone from when until when. If two WABAs show a change at the same moment, the
smaller user id counts."""

_REFUSED = """
    with changes as (
        select phone_key,
            lag(identity_key, 1, phone_key) over (partition by phone_key order by held_from)
                as earlier_key,
            identity_key as later_key, last_seen_earlier_at, held_from
        from {held}
    ),
    recycled as (
        select md5(changes.phone_key || '@' || cast(changes.held_from as varchar)) as refusal_id,
            'recycled_number' as reason, changes.phone_key as identifier_key,
            coalesce(earlier.person_key, changes.earlier_key) as earlier_person_key,
            coalesce(later.person_key, changes.later_key) as later_person_key,
            changes.last_seen_earlier_at, changes.held_from as first_seen_later_at
        from changes
        left join {persons} as earlier on changes.earlier_key = earlier.identity_key
        left join {persons} as later on changes.later_key = later.identity_key
    ),
    refused as (
        select * from recycled where earlier_person_key <> later_person_key
        union all
        select md5(reason || '@' || identifier_key || '@' || earlier_person_key || '@'
                || later_person_key) as refusal_id,
            reason, identifier_key, earlier_person_key, later_person_key,
            min(last_seen_earlier_at) as last_seen_earlier_at,
            min(first_seen_later_at) as first_seen_later_at
        from {refusals}
        group by reason, identifier_key, earlier_person_key, later_person_key
    )
    select refused.*, persons.component_key
    from refused inner join {persons} as persons
        on refused.identifier_key = persons.identity_key
"""


@dataclass(frozen=True, slots=True)
class Rules:
    """How long a phone must not have been seen before it counts as having changed hands (E28), and
    from how many people on an identifier joins nobody (E86)."""

    silence: timedelta
    degree: int

    @classmethod
    def of(cls, settings: Settings) -> Rules:
        """CTWA_RECYCLED_NUMBER_DAYS and CTWA_SHARED_IDENTIFIER_DEGREE."""
        return cls(timedelta(days=settings.recycled_number_days), settings.shared_identifier_degree)


class Judged(NamedTuple):
    """What links show, as rows of the tables with the same names."""

    identities: pa.Table
    phones_seen: pa.Table
    refused: pa.Table


def judge(lake: Lake, links: pa.Table, rules: Rules, seq: int) -> Judged:
    """All persons in whole components of links; every row is marked as changed at `seq`.

    Works in parts, so that memory does not grow with the number of links. Raises `PersonsError`.
    """
    parts = [_judge(lake, part, rules, seq) for part in in_parts(links, _PART_LINKS)]
    return Judged(*(pa.concat_tables(tables) for tables in zip(*parts, strict=True)))


def _judge(lake: Lake, links: pa.Table, rules: Rules, seq: int) -> Judged:
    found = find_persons(links, rules.silence, rules.degree)
    persons = pa.table(
        {
            "identity_key": found.keys,
            "person_key": found.keys.take(pa.array(found.person)),
            "is_shared": pa.array(found.is_shared),
            "component_key": found.keys.take(pa.array(found.component)),
        }
    )
    identities = _stamped(persons, seq).cast(_IDENTITIES)
    seen = _sightings(found, seq)
    held = lake.query(HELD, seen=seen)
    prove(lake, links, persons=identities, seen=seen, held=held)
    refused = lake.query(_REFUSED, held=held, persons=identities, refusals=found.refusals)
    return Judged(identities, seen, conform(refused, IDENTITY["refused"]))


def _sightings(found: Persons, seq: int) -> pa.Table:
    names = IDENTITY["phones_seen"].names[: len(Sighting._fields)]
    columns = zip(*found.sightings, strict=True) if found.sightings else [()] * len(names)
    table = pa.table(
        {
            name: pa.array(column, IDENTITY["phones_seen"].field(name).type)
            for name, column in zip(names, columns, strict=True)
        }
    )
    places = pc.index_in(table["phone_key"], value_set=found.keys)
    component = pa.array(found.component).take(places)
    table = table.append_column("component_key", found.keys.take(component))
    return _stamped(table, seq).cast(IDENTITY["phones_seen"])


def _stamped(table: pa.Table, seq: int) -> pa.Table:
    return table.append_column("changed_seq", pa.repeat(pa.scalar(seq, pa.int64()), table.num_rows))


_CLAIMS = ", ".join(f"'{kind}'" for kind in sorted(CLAIMS))
_PARTED = f"""
    with refused as (
        -- Any user id of the later holder, also one that another WABA showed with the phone.
        select distinct seen.phone_key, own.identity_key as bsuid_key
        from {{seen}} as seen
        inner join {{persons}} as holder on seen.bsuid_key = holder.identity_key
        inner join {{persons}} as own on holder.person_key = own.person_key
        where seen.held_from is not null
    ),
    versions as (
        select left_key as record_key, max(last_recorded_at) as newest_at
        from {{links}} where link_kind in ('crm_record', 'crm_merge')
        group by left_key
    ),
    pairs as (
        select least(links.left_key, links.right_key) as left_key,
            greatest(links.left_key, links.right_key) as right_key,
            min(links.first_observed_at) as first_observed_at,
            bool_and(links.link_kind in ({_CLAIMS})) as is_claim
        from {{links}} as links
        left join versions
            on links.left_key = versions.record_key and links.link_kind = 'crm_record'
        where links.left_key <> links.right_key
            and (versions.newest_at is null or links.last_recorded_at = versions.newest_at)
        group by all
    ),
    holders as (
        select pairs.*, coalesce(left_held.identity_key, pairs.left_key) as left_identity,
            coalesce(right_held.identity_key, pairs.right_key) as right_identity
        from pairs
        anti join refused as forward
            on pairs.left_key = forward.phone_key and pairs.right_key = forward.bsuid_key
        anti join refused as backward
            on pairs.right_key = backward.phone_key and pairs.left_key = backward.bsuid_key
        left join {{held}} as left_held
            on pairs.left_key = left_held.phone_key
            and pairs.first_observed_at >= left_held.held_from
            and (left_held.held_until is null or pairs.first_observed_at < left_held.held_until)
        left join {{held}} as right_held
            on pairs.right_key = right_held.phone_key
            and pairs.first_observed_at >= right_held.held_from
            and (right_held.held_until is null or pairs.first_observed_at < right_held.held_until)
    )
    select count(*) as parted
    from holders
    left join {{persons}} as one on holders.left_identity = one.identity_key
    left join {{persons}} as other on holders.right_identity = other.identity_key
    left join {{persons}} as left_end on holders.left_key = left_end.identity_key
    left join {{persons}} as right_end on holders.right_key = right_end.identity_key
    where one.person_key is distinct from other.person_key
        and not (holders.is_claim and (left_end.is_shared or right_end.is_shared))
"""  # noqa: S608


class PersonsError(CtwaError):
    """The persons contradict the links that they were found from: a defect of this package."""


def prove(
    lake: Lake, links: pa.Table, *, persons: pa.Table, seen: pa.Table, held: pa.Table
) -> None:
    """Raises `PersonsError` if a link joins two people and there is no reason to keep them apart.

    Reasons: the phone changed hands (E28), a claim names a shared identifier (E86), or the CRM has
    withdrawn what it said. `persons`, `seen` and `held` are rows of the tables `identities`,
    `phones_seen` and `phones_held`, of whole components of `links`.
    """
    found = lake.query(_PARTED, links=links, persons=persons, seen=seen, held=held)
    if parted := int(found["parted"][0].as_py()):
        raise PersonsError(
            f"{parted} links join identities that were found to be two people: nothing was "
            "published; please report this"
        )
