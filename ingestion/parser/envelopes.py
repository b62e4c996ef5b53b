"""`Parser`: a batch of envelopes in, one Arrow table for each table of the event log out."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyarrow as pa

from ctwa.phones import DEFAULT_COUNTRY
from ctwa.pseudonym import Pseudonymizer
from ingestion.parser.chat_rules import NO_RULES, ChatRules
from ingestion.parser.company import LinkClicks, Outcomes, WebLeads
from ingestion.parser.declarations import CONSENTS, EXCLUSIONS, Consents, Exclusions
from ingestion.parser.hubspot import SOURCE as HUBSPOT
from ingestion.parser.hubspot import HubSpot
from ingestion.parser.lead_forms import SOURCE as LEAD_FORMS
from ingestion.parser.lead_forms import LeadForms
from ingestion.parser.limits import Reject
from ingestion.parser.messenger import Messenger
from ingestion.parser.people import Keys, Link
from ingestion.parser.providers import Gupshup, Twilio
from ingestion.parser.rows import Rows
from ingestion.parser.whatsapp import WhatsApp

Reader = Callable[[bytes], None]
"""Adds the rows of one body; raises `Reject` if nothing in it can be read."""


class Parser:
    """Pure: results depend on the envelope, the key, the country, the site and the rules only.

    `default_country` (ISO 3166): where a phone is that somebody typed without a country code.
    `site_id`: the site whose coded links count. `chat_rules`: how a chat qualifies. Not for use by
    several threads at once.
    """

    def __init__(
        self,
        names: Pseudonymizer,
        default_country: str = DEFAULT_COUNTRY,
        site_id: str = "",
        chat_rules: ChatRules = NO_RULES,
    ) -> None:
        self._names, self._country, self._chat_rules = names, default_country, chat_rules
        self._keys = Keys(names, site_id)

    def parse(self, batch: pa.RecordBatch) -> dict[str, pa.Table]:
        """Rows of a batch with columns `seq`, `received_at` (µs, UTC), `source`, `body`, and
        `damage`: why the vault could not return a body (`Vault.read_batches`).

        Never raises because of an envelope's content. Returns every table of `EVENT_LOG`, with its
        exact schema, in the order of the batch.
        """
        with _no_cycle_collection():
            return self._parse(batch)

    def _parse(self, batch: pa.RecordBatch) -> dict[str, pa.Table]:
        rows = Rows(self._chat_rules)
        readers = self._readers(rows)
        columns = (
            batch.column("seq").to_pylist(),
            batch.column("received_at").cast(pa.int64()).to_pylist(),
            batch.column("source").to_pylist(),
            batch.column("body").to_pylist(),
            batch.column("damage").to_pylist()
            if "damage" in batch.schema.names
            else [None] * batch.num_rows,
        )
        for seq, received_us, source, body, damage in zip(*columns, strict=True):
            rows.begin(seq, received_us, source)
            self._envelope(rows, readers, body, damage)
        return rows.tables(batch)

    def _readers(self, rows: Rows) -> dict[str, Reader]:
        """The reader for each source of envelopes."""
        keys = self._keys
        whatsapp, messenger = WhatsApp(keys, rows), Messenger(keys, rows)
        return {
            "whatsapp": _of_any_object(whatsapp, messenger),
            "dialog360": whatsapp.read,
            "gupshup": Gupshup(rows, whatsapp).read,
            "twilio": Twilio(keys, rows).read,
            "messenger": messenger.read,
            "leads": WebLeads(keys, rows, self._country).read,
            "clicks": LinkClicks(keys, rows, self._country).read,
            "outcomes": Outcomes(keys, rows, self._country).read,
            CONSENTS: Consents(keys, rows, self._country).read,
            HUBSPOT: HubSpot(keys, rows, self._country).read,
            LEAD_FORMS: LeadForms(keys, rows, self._country).read,
            EXCLUSIONS: Exclusions(keys, rows, self._country).read,
        }

    def _envelope(
        self, rows: Rows, readers: dict[str, Reader], body: bytes, damage: str | None
    ) -> None:
        digest = hashlib.sha256(body).hexdigest()
        try:
            if damage is not None:
                digest = damaged_digest(rows.seq)
                raise Reject(f"{damage}: expected the body as it was stored")
            reader = readers.get(rows.source)
            if reader is None:
                raise Reject(f"unknown_source: expected one of {', '.join(readers)}")
            reader(body)
        except Reject as reject:
            rows.reject("envelope", (), str(reject))
        except Exception as error:  # noqa: BLE001 - one envelope must never stop the others
            rows.reject("envelope", (), f"parser_error: {type(error).__name__}")
        if self._keys.renumbered:
            self._number_plans(rows)
        key = self._names.digest("body", digest)
        rows.envelopes.append(
            (key, rows.message_elements, rows.rejected_messages, rows.mended_values)
        )

    def _number_plans(self, rows: Rows) -> None:
        """Link both spellings of the numbers in the envelope (E82): rows from before this plan was
        known have the key of the older spelling, and still belong to that person."""
        for key, older_keys in self._keys.renumbered.items():
            at_us = min(_times_of(key, rows), default=rows.received_us)
            for older_key in older_keys:
                link = Link(key, "phone", older_key, "phone", "number_plan")
                rows.add_link(link, at_us)
        self._keys.renumbered.clear()


def _of_any_object(whatsapp: WhatsApp, messenger: Messenger) -> Reader:
    """An app may have one address for everything: what is about a page is read as such."""

    def read(body: bytes) -> None:
        # In a text the quotes are escaped, so hardly any other body has this.
        if b'"page"' in body and messenger.is_about_a_page(body):
            messenger.read(body)
        else:
            whatsapp.read(body)

    return read


_PHONES = {
    # Table to the positions of keys that may be a phone's, and of the row's time.
    "messages": ((10,), 13),
    "statuses": ((8,), 12),
    "outcomes": ((7,), 6),
    "chat_signals": ((8,), 11),
    "web_leads": ((5,), 9),
    "consents": ((3,), 8),
    "identity_links": ((5, 7), 10),
}


def _times_of(key: str, rows: Rows) -> Iterator[int]:
    """Times of the envelope's rows with this phone, in microseconds."""
    for table, (places, time_at) in _PHONES.items():
        for row in reversed(getattr(rows, table)):
            if row[0] != rows.seq:
                break
            if key in (row[place] for place in places):
                yield row[time_at]


def damaged_digest(seq: int) -> str:
    """Replaces the hash of a body that could not be read: never equal to any other."""
    return f"damaged:{seq:d}"


@contextmanager
def _no_cycle_collection() -> Iterator[None]:
    """Rows are hundreds of thousands of tuples without any cycle; searching them for cycles again
    and again takes a fifth of the parser's time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
