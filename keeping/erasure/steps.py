"""What an erasure does to vault, lake and warehouse, in an order that can be repeated after a kill.

1. the ledger records the erasure as pending: from now on every landing finishes it
2. the ledger records the envelopes whose bodies are to be emptied
3. the person is removed from the ledger of what was sent
4. the bodies are emptied
5. the rows are rewritten and the links dropped, in one commit
6. the warehouse file is removed: the next build is a full one
7. the ledger records the erasure as erased

Steps 2 to 7 use the ledger's marks to find what is left to do, so they are safe to repeat.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ctwa.lock import refresh_lock
from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.event_log.source import EventLogCounts, LandedError, land_event_log
from ingestion.identity.erased import Erasure, Ledger, Period, marker
from ingestion.lake.lake import Lake
from ingestion.vault import open_vault
from ingestion.vault.vault import Vault, microseconds
from keeping.erasure.anonymous import erase_sent, make_anonymous, vacancies
from keeping.erasure.person import DATASET, Person, connected
from keeping.erasure.traces import Found, body_keys, envelopes_naming, find, identities_marked

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Erased:
    """What one erasure did; all zero if nothing of the person was found."""

    identities: int
    rows: dict[str, int]
    """Rows made anonymous by table; those of `identity_links` were dropped."""
    bodies: int
    """Bodies in the vault that were emptied now."""


@dataclass(frozen=True, slots=True)
class Stores:
    """What an erasure works on. The caller holds the lock and has landed the vault."""

    settings: Settings
    lake: Lake
    vault: Vault
    names: Pseudonymizer
    ledger: Ledger

    @property
    def landed(self) -> int:
        """The last envelope whose rows are in the lake: no later body may be emptied."""
        return self.lake.max_value(DATASET, "envelopes", "seq")


def who(
    stores: Stores, identities: Collection[str], at: datetime, *, on: datetime | None = None
) -> Person:
    """The person with these identities; for a phone that changed hands, its holder at `on`."""
    silence = timedelta(days=stores.settings.recycled_number_days)
    degree = stores.settings.shared_identifier_degree
    return connected(stores.lake, identities, at, silence, degree, on=on)


def look(stores: Stores, person: Person, marks: frozenset[str], at: datetime) -> Found:
    """Rows of the person in the lake, and (in `bodies`) envelopes of the vault that name them."""
    found = find(stores.lake, person, at)
    mark = marker(stores.names)
    marks |= {mark(key) for key in person.identities}
    batches = stores.vault.read_batches(0, up_to_seq=stores.landed)
    phones = phones_of(stores.names, person)
    found.bodies = set(envelopes_naming(batches, marks, stores.names, microseconds(at), phones))
    return found


def marks_of(names: Pseudonymizer, found: Found) -> frozenset[str]:
    """Marks by which the ledger recognises the person and their messages."""
    mark = marker(names)
    return frozenset(
        mark(key) for key in found.person.identities | found.message_ids | found.link_codes
    )


def phones_of(names: Pseudonymizer, person: Person) -> dict[str, tuple[Period, ...]]:
    """Marks of phones that are the person's only for a time, and those times."""
    mark = marker(names)
    return {mark(phone): tuple(periods) for phone, periods in person.phones.items()}


def carry_out(stores: Stores, erasure: Erasure, found: Found) -> Erased:
    """Steps 2 to 7 for an erasure that the ledger has as pending."""
    ledger, landed = stores.ledger, stores.landed
    seqs = found.seqs | found.bodies
    mark = marker(stores.names)
    repeats = {mark(key) for key in body_keys(stores.lake, seqs)}
    ledger.bodies |= seqs
    links = vacancies(
        found.person, erasure.at, lambda text: stores.names.digest("nobody", erasure.id + text)
    )
    marks = erasure.marks | marks_of(stores.names, found) | repeats
    marks |= {mark(key) for key in links["right_key"].to_pylist()}
    phones = {**erasure.phones, **phones_of(stores.names, found.person)}
    erasure = replace(erasure, marks=marks, phones=phones)
    ledger.put(erasure)
    erase_sent(stores.settings, erasure, mark)
    due = {seq for seq in ledger.bodies if seq <= landed}
    emptied = stores.vault.erase_bodies(sorted(due))
    make_anonymous(stores.lake, found, due, links)
    remove_warehouse(stores.settings)
    ledger.bodies -= due
    ledger.put(replace(ledger.erasures[erasure.id], state="erased"))
    identities = len(found.person.keys) if found.seqs else 0
    return Erased(identities, found.counts(), emptied)


def land(settings: Settings, *, reparse: bool = False, with_dlt: bool = True) -> EventLogCounts:
    """Land what waits in the vault (`land_event_log`), then finish interrupted erasures.

    Every landing of an installation goes through here: a pending erasure must not wait for the next
    `ctwa forget`. Raises what `land_event_log` raises; a `LandedError` at the end.
    """
    with refresh_lock(settings):
        damage: LandedError | None = None
        try:
            counts = land_event_log(settings, reparse=reparse, with_dlt=with_dlt)
        except LandedError as error:  # everything readable has landed
            damage, counts = error, error.counts
        ledger = Ledger.of(settings)
        if ledger.bodies or ledger.in_state("pending"):
            vault = open_vault(settings.vault_url)
            try:
                names = Pseudonymizer.from_settings(settings)
                _finish(Stores(settings, Lake.from_settings(settings), vault, names, ledger))
            finally:
                vault.close()
        if damage is not None:
            raise damage
        return counts


def _finish(stores: Stores) -> None:
    """Carry out pending erasures, and empty bodies whose rows were kept out of the lake."""
    for erasure in stores.ledger.in_state("pending"):
        found = look(stores, _again(stores, erasure), erasure.marks, erasure.at)
        done = carry_out(stores, erasure, found)
        log.info("erasure %s repeated: %d rows", erasure.id[:8], sum(done.rows.values()))
    due = {seq for seq in stores.ledger.bodies if seq <= stores.landed}
    if due:
        stores.vault.erase_bodies(sorted(due))
        stores.ledger.bodies -= due
        stores.ledger.save()


def _again(stores: Stores, erasure: Erasure) -> Person:
    """The person of an erasure, as far as the lake still has them.

    A restored lake may lack the rows that show when a phone changed hands: then the recorded times
    count.
    """
    mark = marker(stores.names)
    known = identities_marked(stores.lake, mark, erasure.marks | erasure.phones.keys())
    person = who(stores, [key for key in known if mark(key) in erasure.marks], erasure.at)
    for key in known - person.identities:
        if noted := erasure.phones.get(mark(key)):
            person.phones[key] = [*person.phones.get(key, []), *noted]
    return person


def remove_warehouse(settings: Settings) -> None:
    """Remove the file and its set-aside copies: DuckDB's DELETE would leave bytes in it."""
    path = settings.warehouse_path
    for doomed in path.parent.glob(f"{path.name}*"):
        if doomed.is_file():
            doomed.unlink(missing_ok=True)
