"""Web leads: forms that people sent, with the page they first came by (rules R4 and R6)."""

from __future__ import annotations

from typing import Any

import orjson

from ctwa.phones import DEFAULT_COUNTRY
from ingestion.parser.limits import Reject, read_body
from ingestion.parser.messages import Link
from ingestion.parser.pages import read_page
from ingestion.parser.people import Keys, phone_country
from ingestion.parser.rows import Rows
from ingestion.parser.statements import each_statement
from ingestion.webhook.fields import IntakeError
from ingestion.webhook.site import validate_web_lead
from ingestion.webhook.vault import microseconds

_DAY_US = 86_400 * 1_000_000


class WebLeads:
    """Reads envelopes of source `leads`: an object, or a list of objects."""

    __slots__ = ("_country", "_keys", "_rows")

    def __init__(self, keys: Keys, rows: Rows, default_country: str = DEFAULT_COUNTRY) -> None:
        self._keys, self._rows, self._country = keys, rows, default_country

    def read(self, body: bytes) -> None:
        """Add the rows of one body; raises `Reject` where it is not JSON."""
        value, suspicious = read_body(body)
        each_statement(value, suspicious, self._rows, "web_lead", self._add)

    def _add(self, item: Any) -> None:
        try:
            lead = validate_web_lead(item, default_country=self._country)
        except IntakeError as error:
            raise Reject(f"web_lead_invalid: {error}") from None
        keys, rows = self._keys, self._rows
        at_us = microseconds(lead.submitted_at)
        if at_us > rows.received_us + _DAY_US:  # a clock that is wrong (E13)
            at_us = rows.received_us
        web_lead = keys.web_lead(lead.lead_id)
        phone = keys.phone(lead.phone) if lead.phone else None
        email = keys.email(lead.email) if lead.email else None
        content = (
            keys.web_form(lead.lead_id),
            web_lead,
            phone,
            email,
            phone_country(lead.phone) if lead.phone else None,
            lead.brand or None,
            at_us,
            *read_page(lead.page_url, lead.referrer),
        )
        rows.web_leads.append((*rows.place(), *content, keys.content(orjson.dumps(content))))
        for key, kind in ((phone, "phone"), (email, "email")):
            if key is not None:
                link = Link(web_lead, "web_lead", key, kind, "web_lead")
                rows.identity_links.append((*rows.place(), None, None, *link, at_us))
