"""Source and campaign onto HubSpot's contacts: only what changed, and never over people's edits.

warehouse, `activation.crm_outbox` and `crm_records` -> properties `ctwa_...` of contacts

What is wanted is compared with what was dealt with last (the ledger), so that a run with nothing
new asks nothing of HubSpot. Of the others the values of now are read: one that is neither empty
nor what we wrote is somebody's edit. A write is announced in the ledger first: after a kill the
next run finds its own value, takes it for its own, and writes nothing twice.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from sqlite3 import Connection

from activation.crm_ledger import SCHEMA, noted_contact, settled_contacts
from activation.crm_outbox import read_leads, read_records
from activation.hubspot_contacts import same
from activation.hubspot_plan import Target, is_settled, targets_of
from activation.hubspot_run import PropertiesMissingError, Run
from activation.ledger import open_ledger
from ctwa.settings import Settings
from ingestion.hubspot_api import HubspotClient

log = logging.getLogger(__name__)


@dataclass
class WriteBackCounts:
    """What one run did; in `dry_run` what it would do. All count contacts, except `properties`
    and `kept`.

    `unchanged`: asked nothing of HubSpot; `noted`: had all values already; `kept`: properties that
    stay as somebody edited them; `skipped`, `refusals`: by reason; `properties`: how often each
    was written.
    """

    mode: str
    contacts: int = 0
    unchanged: int = 0
    written: int = 0
    noted: int = 0
    kept: int = 0
    refused: int = 0
    properties: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    refusals: dict[str, int] = field(default_factory=dict)


def write_back(
    settings: Settings,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    client: HubspotClient | None = None,
) -> WriteBackCounts:
    """Bring HubSpot's contacts up to the warehouse; the caller holds the lock.

    Raises errors of `ingestion.hubspot_errors`, `PropertiesMissingError`, `OutboxMissingError`;
    what had been written until then is in the ledger.
    """
    counts = WriteBackCounts(settings.hubspot_write_back)
    if settings.hubspot_write_back == "off" or not settings.hubspot_is_on:
        return counts
    skipped: Counter[str] = Counter()
    targets = targets_of(read_leads(settings), read_records(settings), skipped)
    counts.contacts = len(targets)
    with open_ledger(settings, SCHEMA) as ledger:
        settled = settled_contacts(ledger)
        due = []
        for target in targets:
            before = settled.get(target.key)
            if before is None or not is_settled(target, before, settings.crm_edits):
                due.append(target)
            elif before.skipped:
                skipped[before.skipped] += 1
            else:
                counts.unchanged += 1
                counts.kept += before.kept
        counts.skipped = dict(skipped)
        if settings.hubspot_write_back == "dry_run":
            _foretell(ledger, due, counts)
        elif due:
            _live(settings, ledger, targets, due, counts, now(), client)
    log.info("HubSpot write-back: %s", counts)
    return counts


def _live(
    settings: Settings,
    ledger: Connection,
    targets: Sequence[Target],
    due: Sequence[Target],
    counts: WriteBackCounts,
    now: datetime,
    client: HubspotClient | None,
) -> None:
    api = client or HubspotClient.from_settings(settings)
    run = Run(settings, ledger, api, targets, now)
    try:
        run.run(due)
    finally:
        if client is None:
            api.close()
        counts.written, counts.noted = run.tally["written"], run.tally["noted"]
        counts.kept += run.tally["kept"]
        counts.properties, counts.refusals = dict(run.properties), dict(run.refused)
        counts.refused = run.refused.total()
        counts.skipped = dict(run.skipped + Counter(counts.skipped))


def _foretell(ledger: Connection, due: Sequence[Target], counts: WriteBackCounts) -> None:
    """What `live` would write, as far as can be told without asking HubSpot."""
    names: Counter[str] = Counter()
    for target in due:
        row = noted_contact(ledger, target.key)
        before = row.written if row else {}
        changed = [n for n, v in target.desired.items() if not same(n, v, before.get(n, ""))]
        names.update(changed)
        counts.written += bool(changed)
        counts.noted += not changed
    counts.properties = dict(names)


__all__ = ["PropertiesMissingError", "WriteBackCounts", "write_back"]
