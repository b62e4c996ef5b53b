"""One write-back to HubSpot: contacts by batches, each in the ledger before and after it.

| a value in HubSpot | becomes |
|---|---|
| what is wanted | noted, nothing is written |
| empty, and never ours | what is wanted |
| what we wrote last, or were about to write | what is wanted |
| anything else, also empty now: somebody's edit | stays, unless `CTWA_CRM_EDITS=overwrite` |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from sqlite3 import Connection
from typing import TypeVar

from activation.crm_ledger import Noted, Values, note_contacts, noted_contact
from activation.hubspot_contacts import (
    BATCH,
    GONE,
    Contact,
    contacts_of_leads,
    read_contacts,
    same,
    update_contacts,
)
from activation.hubspot_plan import Target
from activation.identities import identities_of
from activation.ledger import transaction
from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.errors import SourceError
from ingestion.hubspot_api import HubspotClient
from ingestion.hubspot_properties import look_at_properties
from ingestion.webhook.vault import Vault, microseconds

T = TypeVar("T")

UNKNOWN_ID = "unknown_id"
"""Why nothing was written: the body with the contact's id was purged, and it bears no lead id."""

_RECORD = "contact:"


class PropertiesMissingError(SourceError):
    """HubSpot lacks properties of ours, or has them with another type."""


@dataclass(frozen=True, slots=True)
class Job:
    """A contact that is to be written. `group`: its targets, several where contacts were merged."""

    contact: Contact
    group: tuple[Target, ...]
    changes: Values
    written: Values
    kept: list[str]


class Run:
    """One run in `live`."""

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
        self.refused: Counter[str] = Counter()

    def run(self, due: Sequence[Target]) -> None:
        """Write what is due, in batches; each is in the ledger before the next begins."""
        _check_properties(self._client)
        ids = self._ids_of(due)
        for batch in _batches([t for t in due if t.key in ids]):
            # One that was merged into a contact of an earlier batch is done by now.
            left = [t for t in batch if t.key not in self._done]
            if left:
                self._write(read_contacts(self._client, [ids[t.key] for t in left]))
                self._skip(left, GONE)
        unknown = [t for t in due if t.key not in ids and t.key not in self._done]
        lead_ids = sorted({t.lead.lead_id for t in unknown})
        for found in _batches(list(contacts_of_leads(self._client, lead_ids))):
            self._write(found)
        self._skip(unknown, UNKNOWN_ID)

    def _ids_of(self, due: Sequence[Target]) -> dict[str, str]:
        """HubSpot's ids by their keys, as far as the vault still has the bodies."""
        wanted: dict[int, set[str]] = {}
        for target in due:
            wanted.setdefault(target.seq, set()).add(target.key)
        vault = Vault.open(self._settings.vault_url)
        try:
            found = identities_of(vault, self._settings, wanted)
        finally:
            vault.close()
        return {key: raw.removeprefix(_RECORD) for key, raw in found.items()}

    def _write(self, found: Sequence[Contact]) -> None:
        """Write what differs; the ledger says so before and after."""
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
        fates = update_contacts(self._client, {j.contact.id: j.changes for j in writing})
        with transaction(self._ledger):
            for job in writing:
                reason = fates[job.contact.id]
                if not reason:
                    self._settle(job, "written")
                    self.properties.update(job.changes.keys())
                elif reason != GONE:
                    self._done.update(t.key for t in job.group)
                    self.refused[reason] += 1

    def _job(self, contact: Contact) -> Job | None:
        """What is to be done about a contact; None where it is nobody's, or done already."""
        keys = [self._names.crm_record("hubspot", f"{_RECORD}{i}") for i in contact.ids]
        group = tuple(t for k in keys if (t := self._targets.get(k)))
        if not group or all(t.key in self._done for t in group):
            return None
        # Merged in HubSpot, not yet here: the older lead's source is the right one (E29).
        lead = min(group, key=lambda t: (t.lead.first_touch_us, t.lead.lead_id))
        known = [n for k in keys if (n := noted_contact(self._ledger, k))]
        changes: Values = {}
        written: Values = {}
        kept: list[str] = []
        for name, value in lead.desired.items():
            stands = contact.values.get(name, "")
            past = [n.written[name] for n in known if name in n.written]
            # A write that was cut off: it may stand there, or not.
            intended = [n.intended[name] for n in known if name in n.intended]
            is_ours = any(same(name, stands, own) for own in (*past, *intended))
            if same(name, stands, value):
                written[name] = value
            elif is_ours or not (stands or past) or self._settings.crm_edits == "overwrite":
                changes[name] = value
            else:
                kept.append(name)
            if is_ours:
                written.setdefault(name, stands)
            elif past:  # of an edit, too: it may come back to what we wrote
                written.setdefault(name, past[-1])
        return Job(contact, group, changes, written, kept)

    # ---- the ledger ----------------------------------------------------------------------

    def _announce(self, job: Job) -> None:
        before = Noted("", "", 0, "", job.written, job.changes)
        self._note(job.group, before, is_done=False)

    def _settle(self, job: Job, what: str) -> None:
        written = {**job.written, **job.changes}
        self._note(job.group, Noted("", "", 0, "", written, {}, job.kept), is_done=True)
        self.tally[what] += 1
        self.tally["kept"] += len(job.kept)

    def _skip(self, targets: Iterable[Target], reason: str) -> None:
        """Nothing can be written, and is not tried again before something changes."""
        left = [t for t in targets if t.key not in self._done]
        with transaction(self._ledger):
            for target in left:
                noted = noted_contact(self._ledger, target.key)
                past = noted.written if noted else {}
                state = Noted("", "", 0, "", past, {}, [], reason)
                self._note((target,), state, is_done=True)
                self.skipped[reason] += 1

    def _note(self, group: Sequence[Target], state: Noted, *, is_done: bool) -> None:
        """The same for all contacts of a group. What is not done yet has nothing dealt with."""
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
        note_contacts(self._ledger, rows)
        if is_done:
            self._done.update(row.contact_key for row in rows)


# ---- details -------------------------------------------------------------------------------------


def _check_properties(client: HubspotClient) -> None:
    found = look_at_properties(client)
    if found.is_whole:
        return
    missing = ", ".join(p.name for p in found.missing)
    other = ", ".join(f"{name} is {kind}" for name, kind in found.other_type.items())
    said = [missing and f"contacts in HubSpot have no {missing}", other]
    mend = "run `ctwa doctor --fix`" if missing else "archive what has another type in HubSpot"
    raise PropertiesMissingError(f"{'; '.join(filter(None, said))}: {mend}")


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[i : i + BATCH] for i in range(0, len(items), BATCH))


__all__ = ["UNKNOWN_ID", "PropertiesMissingError", "Run"]
