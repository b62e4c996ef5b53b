"""`Parser`: a batch of envelopes in, one Arrow table for each table of the event log out."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyarrow as pa

from ctwa.phones import DEFAULT_COUNTRY
from ctwa.pseudonym import Pseudonymizer
from ingestion.parser.consents import SOURCE as CONSENTS
from ingestion.parser.consents import Consents
from ingestion.parser.exclusions import SOURCE as EXCLUSIONS
from ingestion.parser.exclusions import Exclusions
from ingestion.parser.gupshup import Gupshup
from ingestion.parser.hubspot import SOURCE as HUBSPOT
from ingestion.parser.hubspot import HubSpot
from ingestion.parser.limits import Reject
from ingestion.parser.link_clicks import LinkClicks
from ingestion.parser.messenger import Messenger
from ingestion.parser.outcomes import Outcomes
from ingestion.parser.people import Keys
from ingestion.parser.rows import Rows
from ingestion.parser.schema import PARSER_VERSION
from ingestion.parser.twilio import Twilio
from ingestion.parser.web_leads import WebLeads
from ingestion.parser.whatsapp import WhatsApp

Reader = Callable[[bytes], None]
"""Adds the rows of one body; raises `Reject` where nothing of it can be read."""


class Parser:
    """Pure: results depend on the envelope, the key, the country and the site only.

    `default_country` (ISO 3166) is where a phone that somebody typed without its country code is;
    `site_id` is the site whose coded links count.
    Not for several threads at once.
    """

    def __init__(
        self, names: Pseudonymizer, default_country: str = DEFAULT_COUNTRY, site_id: str = ""
    ) -> None:
        self._names, self._country = names, default_country
        self._keys = Keys(names, site_id)

    def parse(self, batch: pa.RecordBatch) -> dict[str, pa.Table]:
        """Rows of a batch with columns `seq`, `received_at` (µs, UTC), `source`, `body`.

        Never raises for what an envelope holds. Returns every table of `EVENT_LOG`, with its
        exact schema, in the order of the batch.
        """
        with _no_cycle_collection():
            return self._parse(batch)

    def _parse(self, batch: pa.RecordBatch) -> dict[str, pa.Table]:
        rows = Rows()
        readers = self._readers(rows)
        columns = (
            batch.column("seq").to_pylist(),
            batch.column("received_at").cast(pa.int64()).to_pylist(),
            batch.column("source").to_pylist(),
            batch.column("body").to_pylist(),
        )
        for seq, received_us, source, body in zip(*columns, strict=True):
            rows.begin(seq, received_us, source)
            self._envelope(rows, readers, body)
        return rows.tables()

    def _readers(self, rows: Rows) -> dict[str, Reader]:
        """Who reads the envelopes of a source."""
        keys = self._keys
        whatsapp = WhatsApp(keys, rows)
        return {
            "whatsapp": whatsapp.read,
            "dialog360": whatsapp.read,
            "gupshup": Gupshup(rows, whatsapp).read,
            "twilio": Twilio(keys, rows).read,
            "messenger": Messenger(keys, rows).read,
            "leads": WebLeads(keys, rows, self._country).read,
            "clicks": LinkClicks(keys, rows).read,
            "outcomes": Outcomes(keys, rows, self._country).read,
            CONSENTS: Consents(keys, rows, self._country).read,
            HUBSPOT: HubSpot(keys, rows, self._country).read,
            EXCLUSIONS: Exclusions(keys, rows, self._country).read,
        }

    def _envelope(self, rows: Rows, readers: dict[str, Reader], body: bytes) -> None:
        messages, statuses = len(rows.messages), len(rows.statuses)
        outcome_rows, quarantine = len(rows.outcomes), len(rows.quarantine)
        web_leads, clicks = len(rows.web_leads), len(rows.link_clicks)
        try:
            reader = readers.get(rows.source)
            if reader is None:
                raise Reject(f"unknown_source: expected one of {', '.join(readers)}")
            reader(body)
        except Reject as reject:
            rows.reject("envelope", (), str(reject))
        except Exception as error:  # noqa: BLE001 - one envelope must never stop the others
            rows.reject("envelope", (), f"parser_error: {type(error).__name__}")
        rows.envelopes.append(
            (
                rows.seq,
                rows.received_us,
                rows.source,
                len(body),
                self._names.digest("body", hashlib.sha256(body).hexdigest()),
                PARSER_VERSION,
                rows.message_elements,
                len(rows.messages) - messages,
                rows.rejected_messages,
                len(rows.statuses) - statuses,
                len(rows.outcomes) - outcome_rows,
                len(rows.quarantine) - quarantine,
                len(rows.web_leads) - web_leads,
                len(rows.link_clicks) - clicks,
            )
        )


@contextmanager
def _no_cycle_collection() -> Iterator[None]:
    """Rows are hundred thousands of tuples without any cycle; looking for cycles among them again
    and again takes a fifth of the parser's time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
