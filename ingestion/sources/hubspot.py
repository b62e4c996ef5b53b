"""HubSpot's contacts and deals: what changed since the last read, into the vault.

HubSpot (`hubspot_records`) -> vault, envelopes of source `hubspot` -> parser -> event log
                            -> ``<lake>/hubspot/reads``, ``records``, append only

A read goes on at the time up to which the last one came, and some minutes before, because the
search index is late. HubSpot says "changed" of a contact who only opened a page, so a record comes
to the vault when what we use of it differs from the last time. Envelopes are durable before the
row that says "read": a killed run is done again, and repeats do no harm.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import dlt
import orjson
import pyarrow as pa
from dlt.extract import DltResource, DltSource

from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.errors import SourceError, SourceIncompleteError
from ingestion.hubspot_api import HubspotClient, Row
from ingestion.hubspot_errors import HubspotStopError
from ingestion.lake import Lake
from ingestion.parser.hubspot import SOURCE
from ingestion.parser.schema import EVENT_LOG
from ingestion.sources.hubspot_known import Known, people_of
from ingestion.sources.hubspot_lists import changed_ids, deleted_records
from ingestion.sources.hubspot_records import (
    CONTACTS,
    DEALS,
    Kind,
    Stages,
    oldest_contacts,
    read_currency,
    read_records,
    read_stages,
)
from ingestion.sources.hubspot_schema import HUBSPOT
from ingestion.webhook.vault import NewEnvelope, Vault, microseconds

log = logging.getLogger(__name__)

DATASET = "hubspot"
OVERLAP = timedelta(minutes=10)
"""Read again: records appear in searches some moments after they were written."""
DELETED_EVERY = timedelta(hours=20)
"""The list of deleted records has no order and no filter: it is read whole, once a day."""
ENVELOPE_RECORDS = 100

Clock = Callable[[], datetime]


@dataclass
class HubspotCounts:
    """What one call landed. `records`: contacts and deals read; `changed`: of these, new or
    different from the last time, and now in the vault, in `envelopes` bodies."""

    read_no: int = 0
    records: int = 0
    changed: int = 0
    envelopes: int = 0
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(HUBSPOT, 0))


def hubspot_source(tables: dict[str, pa.Table] | None = None) -> DltSource:
    """The dlt source `hubspot`, with its resources `reads` and `records`."""

    @dlt.source(name=DATASET)
    def source() -> list[DltResource]:
        return [
            dlt.resource([tables[name]] if tables else [], name=name, write_disposition="append")
            for name in HUBSPOT
        ]

    return source()


def land_hubspot(
    settings: Settings,
    now: Clock = lambda: datetime.now(UTC),
    *,
    client: HubspotClient | None = None,
) -> HubspotCounts:
    """Bring the vault up to HubSpot; the caller holds the lock, and lands the event log after.

    Raises `HubspotStopError` when nothing can be read, `SourceIncompleteError` when contacts or
    deals could not, after the others have landed.
    """
    counts = HubspotCounts()
    if not settings.hubspot_is_on:
        log.info("HubSpot is off: HUBSPOT_TOKEN is not set")
        return counts
    lake = Lake.from_settings(settings)
    lake.ensure(DATASET, HUBSPOT)
    lake.ensure("event_log", EVENT_LOG)
    lake.sweep(DATASET)
    lake.compact(DATASET, HUBSPOT)  # a few small files each night
    reader = client or HubspotClient.from_settings(settings)
    vault = Vault.open(settings.vault_url)
    failures: dict[str, SourceError] = {}
    try:
        names = Pseudonymizer.from_settings(settings)
        for kind in (CONTACTS, DEALS):
            try:
                # Its own `Known`: what a pull that failed has noted must never be landed.
                _Pull(kind, reader, vault, lake, Known(lake, names), counts, now).run()
            except HubspotStopError:
                raise
            except SourceError as error:
                log.error("HubSpot, %s: %s", kind.name, error)
                failures[kind.name] = error
    finally:
        vault.close()
        if client is None:
            reader.close()
    if failures:
        raise SourceIncompleteError("HubSpot", counts, failures)
    return counts


def contacts_read(settings: Settings) -> datetime | None:
    """Up to when contacts have been read; None: never."""
    lake = Lake.from_settings(settings)
    lake.ensure(DATASET, HUBSPOT)
    return _read_until(lake, CONTACTS, is_archived=False)


def created_since(client: HubspotClient, last: datetime) -> int:
    """How many contacts were created since the last read and `OVERLAP` before it."""
    created = {
        "propertyName": "createdate",
        "operator": "GTE",
        "value": str(int((last - OVERLAP).timestamp() * 1000)),
    }
    body = {
        "filterGroups": [{"filters": [created]}],
        "sorts": [{"propertyName": "hs_object_id", "direction": "ASCENDING"}],
        "properties": ["createdate"],
        "limit": 1,
    }
    total = client.search(CONTACTS.name, body).get("total")
    return total if isinstance(total, int) else 0


def _read_until(lake: Lake, kind: Kind, *, is_archived: bool) -> datetime | None:
    found = lake.query(
        f"select max(until) as until from {{reads}} "  # noqa: S608 - our own words
        f"where object_type = '{kind.name}' and is_archived = {is_archived}",
        reads=f"{DATASET}/reads",
    )
    last: datetime | None = found["until"][0].as_py()
    return last


class _Pull:
    """One pull of one kind of record: what changed, and once a day what was deleted."""

    def __init__(
        self,
        kind: Kind,
        client: HubspotClient,
        vault: Vault,
        lake: Lake,
        known: Known,
        counts: HubspotCounts,
        now: Clock,
    ) -> None:
        self._kind, self._client, self._vault, self._lake = kind, client, vault, lake
        self._known, self._counts, self._now = known, counts, now
        self._until = now()
        self._waiting: list[Row] = []
        self._stages = Stages({})
        self._header: Row = {}

    def run(self) -> None:
        """Each of the two is landed when it is read to the end."""
        kind, until = self._kind, self._until
        self._stages = read_stages(self._client, kind)
        self._header = {
            "object": kind.name,
            "read_at": until.isoformat(),
            "labels": self._stages.labels,
        }
        if kind is DEALS:
            self._header["currency"] = read_currency(self._client)
        since = self._since(is_archived=False)
        pages = changed_ids(self._client, kind, since, until)
        self._land(since, sum(map(self._page, pages)), is_archived=False)
        since = self._since(is_archived=True)
        if since is None or until - since >= DELETED_EVERY:
            self._land(since, self._deleted(since), is_archived=True)

    def _page(self, ids: list[str]) -> int:
        records = read_records(self._client, self._kind, ids, self._stages)
        if self._kind is DEALS:
            contacts = oldest_contacts(self._client, [r["id"] for r in records])
            for record in records:
                if record["id"] in contacts:
                    record["contact"] = contacts[record["id"]]
        self._keep([r for r in records if self._known.take(self._kind.name, r)])
        return len(records)

    def _deleted(self, since: datetime | None) -> int:
        """What was deleted since then; the list shows all of 90 days."""
        listed = deleted_records(self._client, self._kind)
        ids = [i for i, at in listed if since is None or _is_behind(at, since)]
        records = read_records(self._client, self._kind, ids, self._stages, archived=True)
        gone = [r for r in records if self._known.take(self._kind.name, r)]
        if self._kind is DEALS and gone:
            people = people_of(self._lake, [r["id"] for r in gone])
            for record in gone:
                record["person_key"] = people.get(record["id"])
        self._keep(gone)
        return len(records)

    def _keep(self, records: list[Row]) -> None:
        """Put into the vault what fills an envelope; the rest waits for more."""
        self._waiting += records
        while len(self._waiting) >= ENVELOPE_RECORDS:
            self._put(self._waiting[:ENVELOPE_RECORDS])
            del self._waiting[:ENVELOPE_RECORDS]

    def _put(self, records: list[Row]) -> None:
        """One envelope, durable when this returns."""
        body = _dumps({**self._header, "records": records})
        self._vault.append([NewEnvelope(microseconds(self._now()), SOURCE, body)])
        self._counts.envelopes += 1
        self._counts.changed += len(records)

    def _land(self, since: datetime | None, records: int, *, is_archived: bool) -> None:
        """The rows that say "read", once everything read is durable."""
        if self._waiting:
            self._put(self._waiting)
            self._waiting = []
        read_no = 1 + self._lake.max_value(DATASET, "reads", "read_no")
        read = {
            "read_at": self._now(),
            "object_type": self._kind.name,
            "is_archived": is_archived,
            "since": since,
            "until": self._until,
            "records": records,
        }
        tables = {
            name: pa.Table.from_pylist([{**r, "read_no": read_no} for r in rows], HUBSPOT[name])
            for name, rows in {"reads": [read], "records": self._known.new}.items()
        }
        landed = self._lake.load(DATASET, hubspot_source(tables), HUBSPOT)
        self._known.new = []
        counts = self._counts
        counts.read_no, counts.records = read_no, counts.records + records
        counts.rows = {name: n + counts.rows[name] for name, n in landed.items()}
        what = f"deleted {self._kind.name}" if is_archived else self._kind.name
        log.info("HubSpot: %d %s read since %s", records, what, since or "the beginning")

    def _since(self, *, is_archived: bool) -> datetime | None:
        """Where to go on: where the last read ended, and a little before."""
        last = _read_until(self._lake, self._kind, is_archived=is_archived)
        return last - OVERLAP if last else None


def _is_behind(written: str, moment: datetime) -> bool:
    """Whether a time of HubSpot's is not before that one; one that cannot be read may be."""
    try:
        return datetime.fromisoformat(written) >= moment
    except (TypeError, ValueError):
        return True


def _dumps(body: Any) -> bytes:
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:  # half of a surrogate pair: the parser quarantines it
        return json.dumps(body).encode()


__all__ = ["HubspotCounts", "contacts_read", "created_since", "hubspot_source", "land_hubspot"]
