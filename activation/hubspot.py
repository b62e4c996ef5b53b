"""Source and campaign onto HubSpot's contacts: only what changed, and never over people's edits.

warehouse, `activation.crm_outbox` and `crm_records` -> properties `ctwa_...` of contacts

The wanted values are compared with those of the ledger, so that a run with nothing new makes no
request to HubSpot. The contacts that differ are read first:

| a value in HubSpot | what happens |
|---|---|
| the wanted one | the ledger records it, nothing is written |
| empty, and never written by us | the wanted one is written |
| what we wrote last, or were about to write | the wanted one is written |
| anything else, also empty now: somebody's edit | stays, unless `CTWA_CRM_EDITS=overwrite` |

A write is in the ledger before it is sent. After a crash the next run finds that value in HubSpot,
recognises it as its own and does not write it twice.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TypeVar

from activation.crm_ledger import (
    ContactRow,
    Refusal,
    Values,
    read_contact,
    read_statuses,
    save_contacts,
)
from activation.hubspot_contacts import (
    BATCH,
    GONE,
    POSTPONED,
    SPLITS,
    Contact,
    Fate,
    Splits,
    Target,
    contacts_of_leads,
    is_up_to_date,
    read_contacts,
    same,
    targets_of,
    update_contacts,
)
from activation.ledger import Connection, open_ledger, transaction
from activation.outbox import read_leads, read_records
from activation.people import identities_of
from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.crm.hubspot.account import look_at_properties
from ingestion.crm.hubspot.client import HubspotClient
from ingestion.source import SourceError
from ingestion.vault import open_vault
from ingestion.vault.vault import microseconds

T = TypeVar("T")

log = logging.getLogger(__name__)

NAMED = 20
"""Refused contacts that a run names."""
UNKNOWN_ID = "unknown_id"
"""Why nothing was written: the body with the contact's id was purged, and no contact in HubSpot
carries the lead's id."""

_RECORD = "contact:"


class PropertiesMissingError(SourceError):
    """HubSpot lacks some of our properties, or has them with another type."""


@dataclass(frozen=True, slots=True)
class Job:
    """A contact to write. `group`: its targets, several where contacts were merged."""

    contact: Contact
    group: tuple[Target, ...]
    changes: Values
    written: Values
    kept: list[str]
    tries: int
    """How often these same values were refused."""


class _Run:
    """One run in mode `live`."""

    def __init__(
        self,
        settings: Settings,
        ledger: Connection,
        client: HubspotClient,
        targets: Sequence[Target],
        now: datetime,
    ) -> None:
        self._settings, self._ledger, self._client = settings, ledger, client
        self._names = Pseudonymizer.from_settings(settings)
        self._targets = {t.key: t for t in targets}
        self._now_us = microseconds(now)
        self._done: set[str] = set()
        self.tally: Counter[str] = Counter()
        self.properties: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.refused: list[Refusal] = []
        self._splits = Splits(SPLITS)
        self._is_spent = False

    def run(self, due: Sequence[Target]) -> None:
        """Write what is due, in batches; each is in the ledger before the next begins."""
        _check_properties(self._client)
        ids = self._ids_of(due)
        for batch in _batches([t for t in due if t.key in ids]):
            # One that was merged into a contact of an earlier batch is done already.
            left = [t for t in batch if t.key not in self._done]
            if left:
                self._write(read_contacts(self._client, [ids[t.key] for t in left]))
                self._skip(left, GONE)
            if self._is_spent:
                return
        unknown = [t for t in due if t.key not in ids and t.key not in self._done]
        lead_ids = sorted({t.lead.lead_id for t in unknown})
        for found in _batches(list(contacts_of_leads(self._client, lead_ids))):
            self._write(found)
            if self._is_spent:
                return
        self._skip(unknown, UNKNOWN_ID)

    def _ids_of(self, due: Sequence[Target]) -> dict[str, str]:
        """HubSpot's ids by key, of the contacts whose bodies are still in the vault."""
        wanted: dict[int, set[str]] = {}
        for target in due:
            wanted.setdefault(target.seq, set()).add(target.key)
        vault = open_vault(self._settings.vault_url)
        try:
            found = identities_of(vault, self._settings, wanted)
        finally:
            vault.close()
        return {key: raw.removeprefix(_RECORD) for key, raw in found.items()}

    def _write(self, found: Sequence[Contact]) -> None:
        """Write what differs, each contact in the ledger before and after."""
        jobs = [job for contact in found if (job := self._job(contact))]
        writing = [job for job in jobs if job.changes]
        with transaction(self._ledger):
            for job in jobs:
                if job.changes:
                    self._announce(job)
                else:
                    self._settle(job, "noted")
        if not writing:
            return
        changes = {j.contact.id: j.changes for j in writing}
        fates = update_contacts(self._client, changes, self._splits)
        with transaction(self._ledger):
            for job in writing:
                fate = fates[job.contact.id]
                if not fate.reason:
                    self._settle(job, "written")
                    self.properties.update(job.changes.keys())
                elif fate.reason == POSTPONED:
                    self._done.update(t.key for t in job.group)
                    self.skipped[POSTPONED] += 1
                    self._is_spent = True
                elif fate.reason != GONE:
                    self._refuse(job, fate)

    def _job(self, contact: Contact) -> Job | None:
        """What to do about a contact; None where no target has it, or it is done already."""
        keys = [self._names.crm_record("hubspot", f"{_RECORD}{i}") for i in contact.ids]
        group = tuple(t for k in keys if (t := self._targets.get(k)))
        if not group or all(t.key in self._done for t in group):
            return None
        # Merged in HubSpot, not yet here: the older lead's source is the right one (E29).
        lead = min(group, key=lambda t: (t.lead.first_touch_us, t.lead.lead_id))
        known = [n for k in keys if (n := read_contact(self._ledger, k))]
        changes: Values = {}
        written: Values = {}
        kept: list[str] = []
        past_refusals = [Refusal.read(n.skipped) for n in known if n.settled == lead.lead.content]
        tries = max((r.tries for r in past_refusals if r), default=0)
        for name, value in lead.desired.items():
            current = contact.values.get(name, "")
            past = [n.written[name] for n in known if name in n.written]
            # An interrupted write: HubSpot may have the value or not.
            intended = [n.intended[name] for n in known if name in n.intended]
            is_ours = any(same(name, current, own) for own in (*past, *intended))
            if same(name, current, value):
                written[name] = value
            elif is_ours or not (current or past) or self._settings.crm_edits == "overwrite":
                changes[name] = value
            else:
                kept.append(name)
            if is_ours:
                written.setdefault(name, current)
            elif past:  # after an edit, too: it may be changed back to what we wrote
                written.setdefault(name, past[-1])
        return Job(contact, group, changes, written, kept, tries)

    # ---- the ledger ----------------------------------------------------------------------

    def _announce(self, job: Job) -> None:
        before = ContactRow("", "", 0, "", job.written, job.changes)
        self._save(job.group, before, is_done=False)

    def _settle(self, job: Job, what: str) -> None:
        written = {**job.written, **job.changes}
        self._save(job.group, ContactRow("", "", 0, "", written, {}, job.kept), is_done=True)
        self.tally[what] += 1
        self.tally["kept"] += len(job.kept)

    def _refuse(self, job: Job, fate: Fate) -> None:
        """HubSpot refused it. `intended` stays: HubSpot may have the values all the same."""
        refusal = Refusal(job.contact.id, *fate, job.tries + 1)
        state = ContactRow("", "", 0, "", job.written, job.changes, job.kept, str(refusal))
        self._save(job.group, state, is_done=True)
        self.refused.append(refusal)

    def _skip(self, targets: Iterable[Target], reason: str) -> None:
        """Nothing can be written, or tried again until something changes."""
        left = [t for t in targets if t.key not in self._done]
        with transaction(self._ledger):
            for target in left:
                noted = read_contact(self._ledger, target.key)
                past = noted.written if noted else {}
                state = ContactRow("", "", 0, "", past, {}, [], reason)
                self._save((target,), state, is_done=True)
                self.skipped[reason] += 1

    def _save(self, group: Sequence[Target], state: ContactRow, *, is_done: bool) -> None:
        """Store `state` for all contacts of a group; `settled` stays empty until it is done."""
        rows = [
            replace(
                state,
                contact_key=t.key,
                lead_id=t.lead.lead_id,
                seq=t.seq,
                settled=t.lead.content if is_done else "",
                noted_us=self._now_us,
            )
            for t in group
        ]
        save_contacts(self._ledger, rows)
        if is_done:
            self._done.update(row.contact_key for row in rows)


# ---- details -------------------------------------------------------------------------------------


def _check_properties(client: HubspotClient) -> None:
    found = look_at_properties(client)
    if found.is_complete:
        return
    missing = ", ".join(p.name for p in found.missing)
    other = ", ".join(f"{name} is {kind}" for name, kind in found.other_type.items())
    problems = [missing and f"contacts in HubSpot have no {missing}", other]
    fix = "run `ctwa doctor --fix`" if missing else "archive those of another type in HubSpot"
    raise PropertiesMissingError(f"{'; '.join(filter(None, problems))}: {fix}")


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[i : i + BATCH] for i in range(0, len(items), BATCH))


@dataclass
class WriteBackCounts:
    """What one run did; in `dry_run`, what it would do. All are counts of contacts, except
    `properties` and `kept`.

    `unchanged`: up to date by the ledger, HubSpot was not asked; `noted`: HubSpot had all values
    already; `kept`: properties left as somebody edited them; `skipped`, `refusals`: by reason;
    `properties`: how often each was written. `refused`: in this run, or in an earlier one and not
    accepted since; `named`: the first `NAMED` of them, with HubSpot's id, property and reason.
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
    named: list[str] = field(default_factory=list)

    def add_refusals(self, refused: Sequence[Refusal]) -> None:
        """Count and name these refusals as well."""
        # Contacts merged into one are refused once, and stored for each.
        refused = list({r.record_id: r for r in refused}.values())
        self.refused += len(refused)
        self.refusals = dict(Counter(self.refusals) + Counter(r.reason for r in refused))
        self.named = [*self.named, *(r.text() for r in refused)][:NAMED]


def write_back(
    settings: Settings,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    client: HubspotClient | None = None,
) -> WriteBackCounts:
    """Bring HubSpot's contacts up to date with the warehouse; the caller holds the lock.

    Raises errors of `ingestion.crm.hubspot.client`, `PropertiesMissingError`, `OutboxError`,
    `VaultError`; what was written before the error is in the ledger.
    """
    counts = WriteBackCounts(settings.hubspot_write_back)
    if settings.hubspot_write_back == "off" or not settings.hubspot_is_on:
        return counts
    skipped: Counter[str] = Counter()
    refused: list[Refusal] = []
    moment = now()
    targets = targets_of(read_leads(settings), read_records(settings), skipped)
    counts.contacts = len(targets)
    with open_ledger(settings) as ledger:
        settled = read_statuses(ledger)
        due = []
        for target in targets:
            before = settled.get(target.key)
            if before is None or not is_up_to_date(
                target, before, settings.crm_edits, microseconds(moment)
            ):
                due.append(target)
            elif refusal := Refusal.read(before.skipped):
                refused.append(refusal)
            elif before.skipped:
                skipped[before.skipped] += 1
            else:
                counts.unchanged += 1
                counts.kept += before.kept
        counts.skipped = dict(skipped)
        counts.add_refusals(refused)
        if settings.hubspot_write_back == "dry_run":
            _preview(ledger, due, counts)
        elif due:
            _live(settings, ledger, targets, due, counts, moment, client)
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
    run = _Run(settings, ledger, api, targets, now)
    try:
        run.run(due)
    finally:
        if client is None:
            api.close()
        counts.written, counts.noted = run.tally["written"], run.tally["noted"]
        counts.kept += run.tally["kept"]
        counts.properties = dict(run.properties)
        counts.add_refusals(run.refused)
        counts.skipped = dict(run.skipped + Counter(counts.skipped))


def _preview(ledger: Connection, due: Sequence[Target], counts: WriteBackCounts) -> None:
    """What `live` would write, as far as the ledger can tell without asking HubSpot."""
    names: Counter[str] = Counter()
    for target in due:
        row = read_contact(ledger, target.key)
        before = row.written if row else {}
        changed = [n for n, v in target.desired.items() if not same(n, v, before.get(n, ""))]
        names.update(changed)
        counts.written += bool(changed)
        counts.noted += not changed
    counts.properties = dict(names)


__all__ = ["PropertiesMissingError", "WriteBackCounts", "write_back"]
