"""The event log: vault through the parser into the lake.

Vault (`envelopes` after the watermark)  -> parser -> ``<lake>/event_log/<table>``, append only

The watermark is the highest `seq` of what is complete in the lake. dlt's own cursor is not used:
after a kill or a restored backup it repeats or loses rows. Each load holds all tables of its
envelopes and counts as a whole or not at all, so a killed run is simply done again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

import dlt
import numpy as np
import pyarrow as pa
from dlt.extract import DltResource, DltSource

from ctwa.lock import refresh_lock
from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.erasure.ledger import Ledger
from ingestion.erasure.sieve import Sieve
from ingestion.erasure.steps import Stores, finish
from ingestion.errors import SourceError
from ingestion.lake import Lake, conform
from ingestion.parser import Parser
from ingestion.parser.schema import EVENT_LOG
from ingestion.webhook.vault import Vault

log = logging.getLogger(__name__)

DATASET = "event_log"
LOAD_ENVELOPES = 200_000
"""Envelopes in one load: bounds memory and disk of dlt's working folder."""

Parsed = Mapping[str, pa.Table]


class VaultMismatchError(SourceError):
    """Vault and lake are not of one installation; going on would lose or repeat envelopes."""


@dataclass(slots=True)
class EventLogCounts:
    """What one landing added. `first_seq` and `last_seq` are 0 when there was nothing new."""

    envelopes: int = 0
    messages: int = 0
    statuses: int = 0
    outcomes: int = 0
    quarantined: int = 0
    first_seq: int = 0
    last_seq: int = 0
    tables: dict[str, int] = field(default_factory=lambda: dict.fromkeys(EVENT_LOG, 0))

    def add(self, parsed: Parsed) -> None:
        """Count the rows of one parsed batch."""
        for name, table in parsed.items():
            self.tables[name] += table.num_rows
        seqs = parsed["envelopes"]["seq"]
        if len(seqs):
            self.first_seq = self.first_seq or seqs[0].as_py()
            self.last_seq = seqs[-1].as_py()
        self.envelopes = self.tables["envelopes"]
        self.messages, self.statuses = self.tables["messages"], self.tables["statuses"]
        self.outcomes, self.quarantined = self.tables["outcomes"], self.tables["quarantine"]


def event_log_source(batches: Iterable[Parsed]) -> DltSource:
    """A dlt source with one resource for each table, fed by one pass over parsed batches."""

    @dlt.source(name=DATASET)
    def source() -> list[DltResource]:
        @dlt.resource(name="batches", selected=False)
        def parent() -> Iterator[Parsed]:
            yield from batches

        feed = parent()
        return [_table_resource(name, feed) for name in EVENT_LOG]

    return source()


def _table_resource(name: str, feed: DltResource) -> DltResource:
    def rows(parsed: Parsed) -> pa.Table:
        return parsed[name]

    resource: DltResource = dlt.transformer(
        rows, name=name, data_from=feed, write_disposition="append"
    )
    return resource


def land_event_log(settings: Settings, *, reparse: bool = False) -> EventLogCounts:
    """Bring the lake up to the vault; with `reparse`, replace what bodies still exist for.

    Nothing new: no file is written. Raises `VaultMismatchError` when the vault is not the one the
    lake was filled from. Bodies that the parser cannot take are quarantined, never raised. Erased
    people are kept out, and erasures that were cut off are finished.
    """
    with refresh_lock(settings.lock_path):
        lake = Lake.from_settings(settings)
        lake.ensure(DATASET, EVENT_LOG)
        lake.sweep(DATASET)
        ledger = Ledger.of(settings)
        vault = Vault.open(settings.vault_url)
        try:
            counts = _land(settings, lake, vault, ledger, reparse)
            if ledger.bodies or ledger.in_state("pending"):
                names = Pseudonymizer.from_settings(settings)
                finish(Stores(settings, lake, vault, names, ledger))
            return counts
        finally:
            vault.close()


def _land(
    settings: Settings, lake: Lake, vault: Vault, ledger: Ledger, reparse: bool
) -> EventLogCounts:
    watermark = lake.max_value(DATASET, "envelopes", "seq")
    last = vault.last_seq()
    counts = EventLogCounts()
    if last == watermark and not reparse:
        return counts
    names = Pseudonymizer.from_settings(settings)
    _check_same_vault(lake, vault, names, watermark, last)
    batches = vault.read_batches(0 if reparse else watermark, up_to_seq=last)
    parser = Parser(names, settings.default_country, settings.site_id)
    parsed = _parsed(batches, parser, Sieve(ledger, names), counts, ledger)
    if reparse:
        _replace(lake, parsed)
    else:
        for part in _parts(parsed):
            lake.load(DATASET, event_log_source(part), EVENT_LOG)
    lake.compact(DATASET, EVENT_LOG)
    log.info(
        "event log: %d envelopes, %d messages, %d quarantined",
        counts.envelopes,
        counts.messages,
        counts.quarantined,
    )
    return counts


def _parsed(
    batches: Iterable[pa.RecordBatch],
    parser: Parser,
    sieve: Sieve,
    counts: EventLogCounts,
    ledger: Ledger,
) -> Iterator[Parsed]:
    for batch in batches:
        parsed: Parsed = parser.parse(batch)
        if sieve:
            parsed, strained = sieve.strain(parsed)
            if strained:  # noted before the load counts: a kill must not leave these bodies
                ledger.bodies |= strained
                ledger.save()
        counts.add(parsed)
        yield parsed


def _parts(parsed: Iterator[Parsed]) -> Iterator[Iterator[Parsed]]:
    """Cut into loads of about `LOAD_ENVELOPES`; each part must be used up before the next."""

    def part(first: Parsed) -> Iterator[Parsed]:
        size = first["envelopes"].num_rows
        yield first
        while size < LOAD_ENVELOPES and (batch := next(parsed, None)) is not None:
            size += batch["envelopes"].num_rows
            yield batch

    while (first := next(parsed, None)) is not None:
        yield part(first)


def _check_same_vault(
    lake: Lake, vault: Vault, names: Pseudonymizer, watermark: int, last: int
) -> None:
    """The lake's newest envelope must be the vault's, byte for byte, under the same key."""
    if last < watermark:
        raise VaultMismatchError(
            f"the lake holds envelopes up to {watermark}, the vault only up to {last}: the vault "
            f"is older than the lake (a restored backup?). Restore both from one backup "
            f"(`ctwa restore`), or move {lake.url}/{DATASET} away and refresh again to land what "
            f"this vault holds"
        )
    for batch in vault.read_batches(watermark - 1, up_to_seq=watermark) if watermark else ():
        body = batch.column("body")[0].as_py()
        found = lake.query(
            f"select distinct body_key from {{e}} where seq = {watermark:d}",  # noqa: S608
            e=f"{DATASET}/envelopes",
        )
        if found["body_key"].to_pylist() != [names.digest("body", sha256(body).hexdigest())]:
            raise VaultMismatchError(
                f"envelope {watermark} of the vault is not envelope {watermark} of the lake: "
                f"CTWA_VAULT_URL or CTWA_LAKE_URL names another installation's, or CTWA_PII_KEY "
                f"has changed. Set them as they were; with a new key on purpose, move "
                f"{lake.url}/{DATASET} away and refresh again"
            )


def _replace(lake: Lake, parsed: Iterable[Parsed]) -> None:
    """Put the rows of `parsed` in the place of these envelopes' old rows, in one commit.

    Rows of envelopes whose bodies are purged stay as they are; files of such only are not touched.
    """
    with lake.commit(DATASET) as commit:
        fresh: list[np.ndarray] = []
        for tables in parsed:
            fresh.append(tables["envelopes"]["seq"].to_numpy())
            for name, rows in tables.items():
                commit.write(name, rows)
        if not fresh:
            return
        seqs = np.concatenate(fresh)
        for name, schema in EVENT_LOG.items():
            old = [
                file
                for file in lake.files(DATASET, name)
                if lake.bounds(DATASET, name, file, "seq")[1] >= seqs[0]
            ]
            for rows in lake.read(DATASET, name, old):
                commit.write(name, conform(_without(rows, seqs), schema))
            commit.remove(name, old)


def _without(rows: pa.Table, seqs: np.ndarray) -> pa.Table:
    """Rows whose envelope is not among `seqs` (sorted)."""
    return rows.filter(pa.array(~np.isin(rows["seq"].to_numpy(), seqs)))
