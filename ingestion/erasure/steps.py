"""What an erasure does to vault, lake and warehouse, in an order that any kill leaves repeatable.

1. the ledger names the erasure, pending: from here on every landing finishes it
2. the ledger notes the envelopes whose bodies go
3. the bodies are emptied
4. the rows are rewritten in one commit, the links dropped
5. the warehouse file is removed: the next build is a full one
6. the ledger says: erased

Steps 2 to 6 find by the ledger's marks what is still to do, so doing them again does no harm.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import datetime

from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.erasure.bodies import envelopes_naming
from ingestion.erasure.ledger import Erasure, Ledger, marker
from ingestion.erasure.rows import (
    DATASET,
    Found,
    body_keys,
    connected,
    find,
    identities_marked,
    make_anonymous,
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


def look(stores: Stores, identities: set[str], marks: frozenset[str], at: datetime) -> Found:
    """Rows of the person in the lake, and (in `bodies`) whatever names them in the vault."""
    found = find(stores.lake, connected(stores.lake, identities, at), at)
    mark = marker(stores.names)
    marks |= {mark(key) for key in found.identities}
    batches = stores.vault.read_batches(0, up_to_seq=stores.landed)
    found.bodies = set(envelopes_naming(batches, marks, stores.names, microseconds(at)))
    return found


def marks_of(names: Pseudonymizer, found: Found) -> frozenset[str]:
    """Marks by which the ledger knows the person and their messages again."""
    mark = marker(names)
    return frozenset(mark(key) for key in found.identities | found.message_ids)


def carry_out(stores: Stores, erasure: Erasure, found: Found) -> Erased:
    """Steps 2 to 6 for an erasure that the ledger has as pending."""
    ledger, landed = stores.ledger, stores.landed
    seqs = found.seqs | found.bodies
    mark = marker(stores.names)
    repeats = {mark(key) for key in body_keys(stores.lake, seqs)}
    ledger.bodies |= seqs
    marks = erasure.marks | marks_of(stores.names, found) | repeats
    ledger.put(replace(erasure, marks=marks))
    due = {seq for seq in ledger.bodies if seq <= landed}
    emptied = stores.vault.erase_bodies(sorted(due))
    make_anonymous(stores.lake, found, due)
    remove_warehouse(stores.settings)
    ledger.bodies -= due
    ledger.put(replace(ledger.erasures[erasure.id], state="erased"))
    identities = len(found.identities) if found.seqs else 0
    return Erased(identities, found.counts(), emptied)


def finish(stores: Stores) -> None:
    """After a landing: carry out what is pending, empty bodies whose rows were kept out."""
    mark = marker(stores.names)
    for erasure in stores.ledger.in_state("pending"):
        identities = identities_marked(stores.lake, mark, erasure.marks)
        found = look(stores, identities, erasure.marks, erasure.at)
        done = carry_out(stores, erasure, found)
        log.info("erasure %s done again: %d rows", erasure.id[:8], sum(done.rows.values()))
    due = {seq for seq in stores.ledger.bodies if seq <= stores.landed}
    if due:
        stores.vault.erase_bodies(sorted(due))
        stores.ledger.bodies -= due
        stores.ledger.save()


def remove_warehouse(settings: Settings) -> None:
    """DuckDB's DELETE leaves bytes in the file: it goes, with what was set aside of it."""
    path = settings.warehouse_path
    for doomed in path.parent.glob(f"{path.name}*"):
        if doomed.is_file():
            doomed.unlink(missing_ok=True)
