"""HubSpot's contacts and deals: what changed since the last read, into the vault.

HubSpot (`hubspot_records`) -> vault, envelopes of source `hubspot` -> parser -> event log
                            -> ``<lake>/hubspot/reads``, ``records``, ``stages``, append only

A read continues from the end of the last one, and some minutes before, because the search index
lags. HubSpot calls a contact "changed" who only opened a page, so a record goes to the vault only
if what we use of it differs from the last time. Envelopes are durable before the row that says
"read": a killed run is repeated, and repeats do no harm.

Some changes do not update the time of change, such as adding a contact to a deal, so all deals are
read and compared once in `COMPARED_EVERY`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa

from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.apis.answers import write_json
from ingestion.apis.client import ONCE, Parts
from ingestion.crm.hubspot.client import HubspotClient, Row
from ingestion.crm.hubspot.records import (
    CONTACTS,
    DEALS,
    OLD_PAGE,
    Kind,
    Stages,
    changed_ids,
    deleted_records,
    oldest_contacts,
    read_currency,
    read_records,
    read_stages,
)
from ingestion.crm.hubspot.tables import (
    DATASET,
    HUBSPOT,
    KnownRecords,
    never_read,
    people_of,
    with_known_stages,
)
from ingestion.lake.lake import Lake
from ingestion.lake.pipeline import Batch, typed_source
from ingestion.parser.hubspot import SOURCE
from ingestion.parser.schema import EVENT_LOG
from ingestion.source import SourceError
from ingestion.vault import open_vault
from ingestion.vault.vault import NewEnvelope, Vault, microseconds

if TYPE_CHECKING:
    from dlt.extract import DltSource

log = logging.getLogger(__name__)

OVERLAP = timedelta(minutes=10)
"""Read again: records appear in searches some moments after they were written."""
DELETED_EVERY = timedelta(hours=20)
"""The list of deleted records has no order and no filter, so all of it is read, once a day."""
COMPARED_EVERY = timedelta(days=7)
"""How often all deals are read: after those that changed, so that these never wait for it."""
ENVELOPE_RECORDS = 100

RECORD_COLUMNS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("updated_at", pa.string()),  # ISO 8601, as HubSpot writes it
        pa.field("contact", pa.string()),  # of a deal: the lowest id of its contacts
        pa.field("properties", pa.string()),  # JSON, as are the two below
        pa.field("history", pa.string()),  # of the stage, the latest first
        pa.field("amounts", pa.string()),  # history of a deal's amount
    ]
)
_STAGE_NAMES = ("object_type", "stage_id", "label")
STAGE_COLUMNS = pa.schema([HUBSPOT["stages"].field(name) for name in _STAGE_NAMES])
"""Columns of the resources of `hubspot_source`."""

Clock = Callable[[], datetime]


@dataclass
class HubspotCounts:
    """What one call landed. `records`: contacts and deals read; `changed`: of these, new or
    different from the last time, and now in the vault, in `envelopes` bodies. `stages_left`: labels
    of stages that HubSpot no longer lists, e.g. those of an archived pipeline; they are kept."""

    read_no: int = 0
    records: int = 0
    changed: int = 0
    envelopes: int = 0
    stages_left: str | None = None
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(HUBSPOT, 0))


def hubspot_source(settings: Settings) -> DltSource:
    """The dlt source `hubspot`: contacts, deals and stages as they are now, for any dlt pipeline.

    Resources are read when dlt extracts, and replaced by each run. Their rows hold personal data:
    the product itself puts records into the vault instead (`land_hubspot`). Raises `HubspotError`.
    """

    def read() -> Iterator[Batch]:
        with closing(HubspotClient.from_settings(settings)) as client:
            for kind in (CONTACTS, DEALS):
                stages = read_stages(client, kind)
                rows = [
                    {"object_type": kind.name, "stage_id": stage, "label": label}
                    for stage, label in stages.labels.items()
                ]
                yield {"stages": pa.Table.from_pylist(rows, STAGE_COLUMNS)}
                for ids in changed_ids(client, kind, None, datetime.now(UTC)):
                    records = read_records(client, kind, ids, stages)
                    if kind is DEALS:
                        _add_contacts(client, records)
                    rows = [_as_row(record) for record in records]
                    yield {kind.name: pa.Table.from_pylist(rows, RECORD_COLUMNS)}

    schemas = {"contacts": RECORD_COLUMNS, "deals": RECORD_COLUMNS, "stages": STAGE_COLUMNS}
    return typed_source(DATASET, schemas, read, write_disposition="replace")


def _add_contacts(client: HubspotClient, deals: list[Row]) -> None:
    contacts = oldest_contacts(client, [deal["id"] for deal in deals])
    for deal in deals:
        if deal["id"] in contacts:
            deal["contact"] = contacts[deal["id"]]


def _as_row(record: Row) -> Row:
    texts = {name: record.get(name) for name in ("id", "updated_at", "contact")}
    values = {
        name: write_json(record.get(name)).decode() if name in record else None
        for name in ("properties", "history", "amounts")
    }
    return texts | values


def land_hubspot(
    settings: Settings,
    now: Clock = lambda: datetime.now(UTC),
    *,
    client: HubspotClient | None = None,
    with_dlt: bool = True,
) -> HubspotCounts:
    """Put what changed into the vault; the caller holds the lock, and lands the event log after.

    `with_dlt`: as `Lake.from_settings`.

    Raises `HubspotStopError` when nothing can be read, `SourceIncompleteError` when contacts or
    deals could not, after the others have landed.
    """
    counts = HubspotCounts()
    if not settings.hubspot_is_on:
        log.info("HubSpot is off: HUBSPOT_TOKEN is not set")
        return counts
    lake = Lake.from_settings(settings, with_dlt=with_dlt)
    lake.ensure(DATASET, HUBSPOT)
    lake.ensure("event_log", EVENT_LOG)
    lake.sweep(DATASET)
    lake.compact(DATASET, HUBSPOT)  # a few small files each night
    reader = client or HubspotClient.from_settings(settings)
    vault = open_vault(settings.vault_url)
    parts = Parts("HubSpot")
    try:
        names = Pseudonymizer.from_settings(settings)
        for kind in (CONTACTS, DEALS):
            with parts.part(kind.name):
                # New ones for each: what a pull that failed has noted must never land.
                _Pull(kind, reader, vault, lake, KnownRecords(lake, names), counts, now).run()
    finally:
        vault.close()
        if client is None:
            reader.close()
    parts.finish(counts)
    return counts


def contacts_read(settings: Settings) -> datetime | None:
    """Up to when contacts have been read; None: never."""
    lake = Lake.from_settings(settings)
    lake.ensure(DATASET, HUBSPOT)
    return _read_until(lake, CONTACTS, is_archived=False)


def created_since(client: HubspotClient, last: datetime) -> int:
    """How many contacts were created since the last read and `OVERLAP` before it."""
    return _created_since(client, last, 1)[0]


def _created_since(client: HubspotClient, last: datetime, limit: int) -> tuple[int, list[str]]:
    """The same, with the lowest ids, at most `limit` of them."""
    created = {
        "propertyName": "createdate",
        "operator": "GTE",
        "value": str(int((last - OVERLAP).timestamp() * 1000)),
    }
    body = {
        "filterGroups": [{"filters": [created]}],
        "sorts": [{"propertyName": "hs_object_id", "direction": "ASCENDING"}],
        "properties": ["createdate"],
        "limit": limit,
    }
    found = client.search(CONTACTS.name, body)
    total, records = found.get("total"), found.get("results")
    ids = [str(record["id"]) for record in records] if isinstance(records, list) else []
    return total if isinstance(total, int) else 0, ids


def client_of_one_try(settings: Settings) -> HubspotClient:
    """A client that gives up at the first failure: its caller asks again soon."""
    return HubspotClient.from_settings(settings, policy=ONCE)


def new_contacts(settings: Settings) -> tuple[str, int] | str:
    """When contacts were last read, and how many that no read has found were created around then
    or since; one call.

    Returns a text if that is not known. "Around", because HubSpot's searches find a contact some
    moments late. Of very many only the first are looked up and the rest count as new.
    """
    last = contacts_read(settings)
    if last is None or settings.hubspot_token is None:
        return "contacts were never read: the nightly refresh must run first"
    with closing(client_of_one_try(settings)) as client:
        try:
            created, ids = _created_since(client, last, OLD_PAGE)
        except SourceError as error:
            return str(error)
    lake, names = Lake.from_settings(settings), Pseudonymizer.from_settings(settings)
    unread = never_read(lake, names, CONTACTS.name, ids)
    return last.isoformat(), len(unread) + max(0, created - len(ids))


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
        known: KnownRecords,
        counts: HubspotCounts,
        now: Clock,
    ) -> None:
        self._kind, self._client, self._vault, self._lake = kind, client, vault, lake
        self._known, self._counts, self._now = known, counts, now
        self._until = now()
        self._waiting: list[Row] = []
        self._stages = Stages({})
        self._header: Row = {}
        self._new_stages: list[Row] = []

    def run(self) -> None:
        """Each of the two lands once it has been read to the end."""
        kind, until = self._kind, self._until
        listed = read_stages(self._client, kind)
        labels, self._new_stages, left = with_known_stages(self._lake, kind.name, listed.labels)
        self._stages = replace(listed, labels=labels)
        if left:
            log.info("HubSpot no longer lists %d stages of %s: %s", len(left), kind.name, left)
            gone = (self._counts.stages_left, *left)
            self._counts.stages_left = ", ".join(filter(None, gone))
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
        if kind is DEALS and self._is_comparison_due():
            pages = changed_ids(self._client, kind, None, until)
            self._land(None, sum(map(self._page, pages)), is_archived=False)
        since = self._since(is_archived=True)
        if since is None or until - since >= DELETED_EVERY:
            self._land(since, self._deleted(since), is_archived=True)

    def _is_comparison_due(self) -> bool:
        """Whether the last read from the beginning is `COMPARED_EVERY` old."""
        found = self._lake.query(
            "select max(until) as until from {reads} "  # noqa: S608 - our own words
            f"where object_type = '{self._kind.name}' and not is_archived and since is null",
            reads=f"{DATASET}/reads",
        )
        last: datetime | None = found["until"][0].as_py()
        # A little less: nightly runs do not start at the same second.
        return last is None or self._until - last >= COMPARED_EVERY - timedelta(hours=4)

    def _page(self, ids: list[str]) -> int:
        records = read_records(self._client, self._kind, ids, self._stages)
        if self._kind is DEALS:
            _add_contacts(self._client, records)
        self._store([r for r in records if self._known.take(self._kind.name, r)])
        return len(records)

    def _deleted(self, since: datetime | None) -> int:
        """What was deleted since then; the list covers 90 days."""
        listed = deleted_records(self._client, self._kind)
        ids = [i for i, at in listed if since is None or _is_since(at, since)]
        records = read_records(self._client, self._kind, ids, self._stages, archived=True)
        gone = [r for r in records if self._known.take(self._kind.name, r)]
        if self._kind is DEALS and gone:
            people = people_of(self._lake, [r["id"] for r in gone])
            for record in gone:
                record["person_key"] = people.get(record["id"])
        self._store(gone)
        return len(records)

    def _store(self, records: list[Row]) -> None:
        """Put full envelopes into the vault; the rest waits for more records."""
        self._waiting += records
        while len(self._waiting) >= ENVELOPE_RECORDS:
            self._put(self._waiting[:ENVELOPE_RECORDS])
            del self._waiting[:ENVELOPE_RECORDS]

    def _put(self, records: list[Row]) -> None:
        """One envelope, durable when this returns."""
        body = write_json({**self._header, "records": records})
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
            for name, rows in {
                "reads": [read],
                "records": self._known.new,
                "stages": self._new_stages,
            }.items()
        }
        landed = self._lake.load(DATASET, [tables], HUBSPOT)
        self._known.new, self._new_stages = [], []
        counts = self._counts
        counts.read_no, counts.records = read_no, counts.records + records
        counts.rows = {name: n + counts.rows[name] for name, n in landed.items()}
        what = f"deleted {self._kind.name}" if is_archived else self._kind.name
        log.info("HubSpot: %d %s read since %s", records, what, since or "the beginning")

    def _since(self, *, is_archived: bool) -> datetime | None:
        """Where to continue: a little before the end of the last read."""
        last = _read_until(self._lake, self._kind, is_archived=is_archived)
        return last - OVERLAP if last else None


def _is_since(written: str, moment: datetime) -> bool:
    """Whether a time of HubSpot's is not before `moment`; true if it cannot be read."""
    try:
        return datetime.fromisoformat(written) >= moment
    except (TypeError, ValueError):
        return True


__all__ = ["HubspotCounts", "contacts_read", "created_since", "hubspot_source", "land_hubspot"]
