"""Leads of instant forms: each lead that a notice names, and all of each form, into the vault.

Graph API -> vault, envelopes of source `meta_lead_forms` -> parser -> ``event_log/web_leads``
          -> ``<lake>/meta_lead_forms/reads``, ``forms``, ``leads``, append only

Meta misses a webhook now and then, and keeps leads for 90 days. So the bulk read of every form is
the truth: it continues from the end of the last one, and a day before, because listings lag. A lead
that a notice names is read at once, by its id. A lead is put into the vault once, whichever of the
two comes first, and is durable before the row that says "read": a killed run is repeated.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.ads.meta.errors import GraphNotFoundError, GraphRequestError
from ingestion.apis.answers import write_json
from ingestion.apis.client import ONCE, Parts
from ingestion.crm.lead_forms.page import (
    Pages,
    read_forms,
    read_lead,
    read_leads,
    read_test_ids,
)
from ingestion.crm.lead_forms.tables import DATASET, LEAD_FORMS, Known
from ingestion.lake.lake import Lake
from ingestion.parser import Parser
from ingestion.parser.lead_forms import FIELD, SOURCE
from ingestion.parser.schema import EVENT_LOG
from ingestion.source import SourceError
from ingestion.vault import open_vault
from ingestion.vault.vault import NewEnvelope, Vault, microseconds

log = logging.getLogger(__name__)

Row = dict[str, Any]
Clock = Callable[[], datetime]

KEPT = timedelta(days=90)
"""How long Meta keeps a lead."""
OVERLAP = timedelta(days=1)
"""Read again: listings lag behind submissions."""
BULK_EVERY = timedelta(minutes=50)
"""Runs come after each message; forms are read in full by the hourly and the nightly one."""
ASKED_FOR = timedelta(days=3)
"""How long a lead that Meta refuses is asked for again."""


class LeadRefusedError(SourceError):
    """Meta announced a lead and does not give it."""


class UnknownPageError(SourceError):
    """Notices come from a page that is not configured."""


@dataclass
class LeadFormsCounts:
    """What one call landed. `leads`: new ones, now in the vault; `by_notice`: of these, read by the
    id in a notice. `forms_gone`: names of forms that have left their page's list since the last
    read; what was read of them stays."""

    leads: int = 0
    by_notice: int = 0
    forms: int = 0
    forms_gone: str | None = None
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LEAD_FORMS, 0))


def land_lead_forms(
    settings: Settings,
    now: Clock = lambda: datetime.now(UTC),
    *,
    pages: Pages | None = None,
    with_dlt: bool = True,
    in_bulk: bool = True,
) -> LeadFormsCounts:
    """Put new leads into the vault; the caller holds the lock, and lands the event log after.

    Without `in_bulk`, for `ctwa live`: only leads that notices name, each asked for once; what
    Meta refuses, and notices of other pages, are left to the next read in bulk to name.

    Raises `GraphStopError` when nothing can be read, `SourceIncompleteError` when a page, a form or
    a lead could not, after the others have landed.
    """
    counts = LeadFormsCounts()
    if not settings.meta_page_ids:
        log.info("instant forms are off: META_PAGE_IDS is not set")
        return counts
    lake = Lake.from_settings(settings, with_dlt=with_dlt)
    lake.ensure(DATASET, LEAD_FORMS)
    lake.ensure("event_log", EVENT_LOG)
    lake.sweep(DATASET)
    lake.compact(DATASET, LEAD_FORMS)
    reader = pages or Pages(settings, None if in_bulk else ONCE)
    parts = Parts("Meta instant forms")
    try:
        with closing(open_vault(settings.vault_url)) as vault:
            known = Known(lake, Pseudonymizer.from_settings(settings))
            pull = _Pull(reader, vault, known, parts, counts, now, in_bulk)
            notices = _open_notices(settings, lake, vault, known, now() - KEPT)
            try:
                for page_id in settings.meta_page_ids:
                    with parts.part(f"page {page_id}"):
                        pull.page(page_id, notices.pop(page_id, {}))
            finally:
                pull.load()
            for page_id, left in notices.items() if in_bulk else ():
                with parts.part(f"page {page_id}"):
                    raise UnknownPageError(
                        f"{len(left)} notices are of page {page_id}, which is not configured: add "
                        "it to META_PAGE_IDS, or end the app's subscription to it"
                    )
    finally:
        if pages is None:
            reader.close()
    parts.finish(counts)
    return counts


def _open_notices(
    settings: Settings, lake: Lake, vault: Vault, known: Known, since: datetime
) -> dict[str, dict[str, datetime]]:
    """Leads that notices name and nothing has read, by page: id to the time of the notice's lead.

    Those in the lake, and those in bodies that the event log has not landed yet.
    """
    landed = lake.query(
        "select page_id, leadgen_id, min(created_at) as created_at from {t} "
        "where not is_test and leadgen_id <> 'erased' group by page_id, leadgen_id",
        t="event_log/form_notices",
    ).to_pylist()
    parser = Parser(Pseudonymizer.from_settings(settings), settings.default_country)
    word = f'"{FIELD}"'.encode()
    after = lake.max_value("event_log", "envelopes", "seq")
    for batch in vault.read_batches(after):
        has_word = pc.match_substring(batch.column("body"), word.decode())
        landed += _unlanded(parser, batch.filter(has_word))
    found: dict[str, dict[str, datetime]] = defaultdict(dict)
    for row in landed:
        if row["created_at"] >= since and not known.is_read(row["leadgen_id"]):
            found[row["page_id"]][row["leadgen_id"]] = row["created_at"]
    return found


def _unlanded(parser: Parser, batch: pa.RecordBatch) -> list[Row]:
    rows: list[Row] = parser.parse(batch)["form_notices"].to_pylist() if batch.num_rows else []
    return [row for row in rows if not row["is_test"]]


class _Pull:
    """One pull over all pages."""

    def __init__(
        self,
        pages: Pages,
        vault: Vault,
        known: Known,
        parts: Parts,
        counts: LeadFormsCounts,
        now: Clock,
        in_bulk: bool,
    ) -> None:
        self._pages, self._vault, self._known, self._parts = pages, vault, known, parts
        self._counts, self._now, self._in_bulk = counts, now, in_bulk
        self._test_ids: dict[str, set[str]] = {}

    def page(self, page_id: str, notices: dict[str, datetime]) -> None:
        """The bulk read if it is due, then the leads that notices name and it did not find. Where
        Meta does not answer for one of them, the page's others wait as well."""
        if self._in_bulk and self._is_due(page_id):
            with self._parts.part(f"forms of page {page_id}"):
                self._forms(page_id)
        for leadgen_id, created_at in sorted(notices.items()):
            is_late = not self._in_bulk or self._now() - created_at > ASKED_FOR
            if self._known.is_read(leadgen_id):
                continue
            if is_late and self._known.is_refused(leadgen_id):
                continue
            refusal = self._one(page_id, leadgen_id)
            if refusal is not None and self._in_bulk:
                with self._parts.part(f"lead {leadgen_id}"):
                    raise refusal

    def load(self) -> None:
        """Land what was noted."""
        for table, rows in self._known.load().items():
            self._counts.rows[table] += rows

    def _is_due(self, page_id: str) -> bool:
        last = self._known.page_read_at(page_id)
        return last is None or self._now() - last >= BULK_EVERY

    def _forms(self, page_id: str) -> None:
        forms = read_forms(self._pages, page_id)
        for form in forms:
            form_id, name = str(form["id"]), _text(form.get("name"))
            status = _text(form.get("status")) or "ACTIVE"
            self._known.take_form(page_id, form_id, name, status)
            self._counts.forms += 1
            with self._parts.part(f"form {form_id}"):
                self._form(page_id, form_id, name)
        for row in self._known.left(page_id, [str(form["id"]) for form in forms]):
            self._gone(page_id, row["form_id"], row["form_name"])

    def _form(self, page_id: str, form_id: str, name: str | None) -> None:
        until = self._now()
        last = self._known.read_until.get(form_id)
        since = max(last - OVERLAP, until - KEPT) if last else until - KEPT
        try:
            leads = read_leads(self._pages, page_id, form_id, since)
        except GraphNotFoundError:  # deleted since it was listed
            self._gone(page_id, form_id, name)
            return
        new = [lead for lead in leads if not self._known.is_read(str(lead["id"]))]
        self._store(page_id, form_id, new, "bulk")
        self._known.take_read(
            read_at=self._now(), page_id=page_id, form_id=form_id, since=since, until=until,
            leads=len(leads),
        )  # fmt: skip
        log.info("form %s: %d leads since %s, %d new", form_id, len(leads), since, len(new))

    def _one(self, page_id: str, leadgen_id: str) -> LeadRefusedError | None:
        try:
            lead = read_lead(self._pages, page_id, leadgen_id)
        except (GraphNotFoundError, GraphRequestError) as error:
            self._known.take_lead(
                leadgen_id, "refused", page_id=page_id, form_id=None, found_by="notice"
            )
            refusal = LeadRefusedError(
                f"Meta announced it and refuses it by its id ({error.problem.http}): if it was "
                "deleted, nothing is to be done; else check the token's access to leads. It is "
                f"asked for again for {ASKED_FOR.days} days"
            )
        else:
            form_id = _text(lead.get("form_id")) or ""
            self._store(page_id, form_id, [lead | {"id": leadgen_id}], "notice")
            self._counts.by_notice += 1
            return None
        return refusal

    def _store(self, page_id: str, form_id: str, leads: Iterable[Row], found_by: str) -> None:
        """One envelope for each lead, so that an erasure empties nobody else's."""
        leads = list(leads)
        if not leads:
            return
        tests = self._tests(page_id, form_id)
        read_at = self._now()
        header = {"page_id": page_id, "read_at": read_at.isoformat()}
        self._vault.append(
            [
                NewEnvelope(
                    microseconds(read_at),
                    SOURCE,
                    write_json({**header, "is_test": str(lead["id"]) in tests, "lead": lead}),
                )
                for lead in leads
            ]
        )
        for lead in leads:
            self._known.take_lead(
                str(lead["id"]), "read", page_id=page_id, form_id=form_id, found_by=found_by
            )
        self._counts.leads += len(leads)

    def _tests(self, page_id: str, form_id: str) -> set[str]:
        if form_id and form_id not in self._test_ids:
            self._test_ids[form_id] = read_test_ids(self._pages, page_id, form_id)
        return self._test_ids.get(form_id, set())

    def _gone(self, page_id: str, form_id: str, name: str | None) -> None:
        log.warning("form %s (%s) is no longer there; what was read of it stays", form_id, name)
        self._known.take_form(page_id, form_id, name, "GONE")
        listed = (self._counts.forms_gone, f"{name or 'form'} ({form_id})")
        self._counts.forms_gone = ", ".join(filter(None, listed))


def _text(value: Any) -> str | None:
    return str(value) if isinstance(value, str | int) and value != "" else None


__all__ = ["LeadFormsCounts", "LeadRefusedError", "UnknownPageError", "land_lead_forms"]
