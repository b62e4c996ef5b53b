"""What an erasure does to vault, lake and warehouse, in an order that any kill leaves repeatable.

1. the ledger names the erasure, pending: from here on every landing finishes it
2. the ledger notes the envelopes whose bodies go
3. what went out names the person no more
4. the bodies are emptied
5. the rows are rewritten in one commit, the links dropped
6. the warehouse file is removed: the next build is a full one
7. the ledger says: erased

Steps 2 to 7 find by the ledger's marks what is still to do, so doing them again does no harm.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.erasure.bodies import envelopes_naming
from ingestion.erasure.closure import connected
from ingestion.erasure.ledger import Erasure, Ledger, marker
from ingestion.erasure.outbound import make_nobodys
from ingestion.erasure.people import Period, Person
from ingestion.erasure.rows import (
    DATASET,
    Found,
    body_keys,
    find,
    identities_marked,
    make_anonymous,
    nobodies,
)
from ingestion.lake import Lake
from ingestion.webhook.vault import Vault, microseconds

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Erased:
    """What one erasure did; all zero when there was nothing of the person."""

    identities: int
    rows: dict[str, int]
    """Rows made anonymous by table; of `identity_links`: dropped."""
    bodies: int
    """Bodies of the vault emptied now."""


@dataclass(frozen=True, slots=True)
class Stores:
    """What an erasure works on; the caller holds the lock and has landed what the vault has."""

    settings: Settings
    lake: Lake
    vault: Vault
    names: Pseudonymizer
    ledger: Ledger

    @property
    def landed(self) -> int:
        """The last envelope whose rows are in the lake: no body behind it may go."""
        return self.lake.max_value(DATASET, "envelopes", "seq")


def who(
    stores: Stores, identities: Collection[str], at: datetime, *, on: datetime | None = None
) -> Person:
    """The person of these identities; of a phone that changed hands its holder at `on`."""
    silence = timedelta(days=stores.settings.recycled_number_days)
    return connected(stores.lake, identities, at, silence, on=on)


def look(stores: Stores, person: Person, marks: frozenset[str], at: datetime) -> Found:
    """Rows of the person in the lake, and (in `bodies`) whatever names them in the vault."""
    found = find(stores.lake, person, at)
    mark = marker(stores.names)
    marks |= {mark(key) for key in person.identities}
    batches = stores.vault.read_batches(0, up_to_seq=stores.landed)
    phones = phones_of(stores.names, person)
    found.bodies = set(envelopes_naming(batches, marks, stores.names, microseconds(at), phones))
    return found


def marks_of(names: Pseudonymizer, found: Found) -> frozenset[str]:
    """Marks by which the ledger knows the person and their messages again."""
    mark = marker(names)
    return frozenset(
        mark(key) for key in found.person.identities | found.message_ids | found.link_codes
    )


def phones_of(names: Pseudonymizer, person: Person) -> dict[str, tuple[Period, ...]]:
    """Marks of the phones that are the person's for a time only, and those times."""
    mark = marker(names)
    return {mark(phone): tuple(periods) for phone, periods in person.phones.items()}


def carry_out(stores: Stores, erasure: Erasure, found: Found) -> Erased:
    """Steps 2 to 7 for an erasure that the ledger has as pending."""
    ledger, landed = stores.ledger, stores.landed
    seqs = found.seqs | found.bodies
    mark = marker(stores.names)
    repeats = {mark(key) for key in body_keys(stores.lake, seqs)}
    ledger.bodies |= seqs
    links = nobodies(
        found.person, erasure.at, lambda text: stores.names.digest("nobody", erasure.id + text)
    )
    marks = erasure.marks | marks_of(stores.names, found) | repeats
    marks |= {mark(key) for key in links["right_key"].to_pylist()}
    phones = {**erasure.phones, **phones_of(stores.names, found.person)}
    erasure = replace(erasure, marks=marks, phones=phones)
    ledger.put(erasure)
    make_nobodys(stores.settings, erasure, mark)
    due = {seq for seq in ledger.bodies if seq <= landed}
    emptied = stores.vault.erase_bodies(sorted(due))
    make_anonymous(stores.lake, found, due, links)
    remove_warehouse(stores.settings)
    ledger.bodies -= due
    ledger.put(replace(ledger.erasures[erasure.id], state="erased"))
    identities = len(found.person.keys) if found.seqs else 0
    return Erased(identities, found.counts(), emptied)


def finish(stores: Stores) -> None:
    """After a landing: carry out what is pending, empty bodies whose rows were kept out."""
    for erasure in stores.ledger.in_state("pending"):
        found = look(stores, _again(stores, erasure), erasure.marks, erasure.at)
        done = carry_out(stores, erasure, found)
        log.info("erasure %s done again: %d rows", erasure.id[:8], sum(done.rows.values()))
    due = {seq for seq in stores.ledger.bodies if seq <= stores.landed}
    if due:
        stores.vault.erase_bodies(sorted(due))
        stores.ledger.bodies -= due
        stores.ledger.save()


def _again(stores: Stores, erasure: Erasure) -> Person:
    """The person of an erasure, as far as the lake still has them.

    A restored lake may lack what showed that a phone changed hands: the noted times hold.
    """
    mark = marker(stores.names)
    known = identities_marked(stores.lake, mark, erasure.marks | erasure.phones.keys())
    person = who(stores, [key for key in known if mark(key) in erasure.marks], erasure.at)
    for key in known - person.identities:
        if noted := erasure.phones.get(mark(key)):
            person.phones[key] = [*person.phones.get(key, []), *noted]
    return person


def remove_warehouse(settings: Settings) -> None:
    """DuckDB's DELETE leaves bytes in the file: it goes, with what was set aside of it."""
    path = settings.warehouse_path
    for doomed in path.parent.glob(f"{path.name}*"):
        if doomed.is_file():
            doomed.unlink(missing_ok=True)
