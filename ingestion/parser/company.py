"""What a company's own systems report: CRM outcomes, web leads and clicks on the WhatsApp button.

Each is checked again, element by element, by the model that the endpoint uses. A click says which
page a code belongs to (E21); a web lead is a form with the page it was sent from (R4, R6).
"""

from __future__ import annotations

import json
from contextlib import suppress
from decimal import Decimal
from typing import Any, NamedTuple

import orjson

from ingestion.pages import read_page
from ingestion.parser.limits import Reject
from ingestion.parser.people import Keys, Link, bsuid_country, phone_country
from ingestion.parser.rows import Rows, Statements
from ingestion.parser.values import money
from ingestion.personal import names_somebody, without_people
from ingestion.vault.vault import microseconds
from ingestion.webhook.fields import exact_number, whole_number
from ingestion.webhook.shapes import ClickIn, OutcomeIn, WebLeadIn


class Outcome(NamedTuple):
    """Content of a row of `outcomes`, in the order of its columns. Times in µs."""

    source: str
    event_id: str
    stage: str
    occurred_us: int
    phone_key: str | None = None
    bsuid_key: str | None = None
    country: str | None = None
    email_key: str | None = None
    web_lead_key: str | None = None
    message_id_key: str | None = None
    value: Decimal | None = None
    currency: str | None = None
    crm_record_key: str | None = None
    stage_label: str | None = None


def add_outcome(keys: Keys, rows: Rows, outcome: Outcome, recorded_us: int | None = None) -> None:
    """Add the row of an outcome; `recorded_us`: when the CRM recorded it, if known."""
    content = tuple(outcome)
    key = keys.content(orjson.dumps(content, default=str))
    rows.outcomes.append((*rows.place(), *content, key, recorded_us))


class Outcomes(Statements[OutcomeIn]):
    """Reads envelopes of source `outcomes`."""

    element, model = "outcome", OutcomeIn
    __slots__ = ()

    def _load(self, body: bytes) -> Any:
        value = self._rows.load(body)
        if not self._rows.unfit:
            # Money as written, not as a double. A control character in a key is no JSON here.
            with suppress(ValueError):
                value = json.loads(body, parse_int=whole_number, parse_float=exact_number)
        return value

    def _add(self, outcome: OutcomeIn) -> None:
        keys, rows = self._keys, self._rows
        at_us = microseconds(outcome.occurred_at)
        phones = [p for p in (outcome.wa_id, outcome.phone) if p]
        phone_key = keys.claimed_phone(phones[0]) if phones else None
        bsuid_key = keys.bsuid(outcome.user_id) if outcome.user_id else None
        country = phone_country(phones[0]) if phone_key else None
        if country is None and outcome.user_id:
            country = bsuid_country(outcome.user_id)
        email = keys.email(outcome.email) if outcome.email else None
        web_lead = keys.web_lead(outcome.lead_id) if outcome.lead_id else None
        message = keys.message_id(outcome.message_id) if outcome.message_id else None
        # A filler address or number is still an identity, of an unknown person (E60).
        if not any((*phones, bsuid_key, outcome.email, web_lead, message)):
            raise Reject("identity_unusable: expected a full phone number, e-mail address or id")
        event_id = outcome.event_id
        if names_somebody(event_id, self._country, outcome.people()):
            event_id = f"hashed:{keys.event(event_id)}"
        row = Outcome(
            outcome.source,
            event_id,
            outcome.stage,
            at_us,
            phone_key,
            bsuid_key,
            country,
            email,
            web_lead,
            message,
            money(outcome.value),
            outcome.currency,
        )
        recorded = microseconds(outcome.recorded_at) if outcome.recorded_at else None
        add_outcome(keys, rows, row, recorded)
        known = [
            (phone_key, "phone"),
            (keys.claimed_phone(phones[-1]) if len(phones) > 1 else None, "phone"),
            (bsuid_key, "bsuid"),
            (email, "email"),
            (web_lead, "web_lead"),
        ]
        self._link(known, "outcome", at_us)


_YEAR_2015_US = 1_420_070_400 * 1_000_000
_AHEAD_US = 300 * 1_000_000
"""How far a visitor's clock may be ahead of ours. As with messages, the time of the click counts
however late it is reported (E13, R3); an impossible time is replaced by the time of receipt."""


class LinkClicks(Statements[ClickIn]):
    """Reads envelopes of source `clicks`."""

    element, model, repairable = "link_click", ClickIn, ("page_url", "referrer")
    __slots__ = ()

    def _add(self, click: ClickIn) -> None:
        keys, rows = self._keys, self._rows
        at_us = received_us = rows.received_us
        if click.clicked_at is not None:
            clicked_us = microseconds(click.clicked_at)
            if _YEAR_2015_US <= clicked_us <= received_us + _AHEAD_US:
                at_us = clicked_us
        content = (keys.link_code(click.code), at_us, *read_page(click.page_url, click.referrer))
        rows.link_clicks.append((*rows.place(), *content, keys.content(orjson.dumps(content))))


_NO_INSTANT_FORM = (None,) * 5


class WebLeads(Statements[WebLeadIn]):
    """Reads envelopes of source `leads`."""

    element, model, repairable = "web_lead", WebLeadIn, ("page_url", "referrer", "brand")
    __slots__ = ()

    def _add(self, lead: WebLeadIn) -> None:
        keys, rows = self._keys, self._rows
        at_us = self._plausible_us(lead.submitted_at)
        web_lead = keys.web_lead(lead.lead_id)
        phone = keys.claimed_phone(lead.phone) if lead.phone else None
        email = keys.email(lead.email) if lead.email else None
        # The brand appears in the marts as it is, and people confuse the fields of forms.
        own = [value for value in (lead.phone, lead.email) if value]
        brand = without_people(lead.brand, self._country, own) if lead.brand else None
        content = (
            keys.web_form(lead.lead_id),
            web_lead,
            phone,
            email,
            phone_country(lead.phone) if lead.phone and phone else None,
            brand or None,
            at_us,
            *read_page(lead.page_url, lead.referrer),
        )
        content_key = keys.content(orjson.dumps(content))
        rows.web_leads.append((*rows.place(), *content, content_key, *_NO_INSTANT_FORM))
        for key, kind in ((phone, "phone"), (email, "email")):
            if key is not None:
                rows.add_link(Link(web_lead, "web_lead", key, kind, "web_lead"), at_us)
