"""CRM outcomes: checked by the model that the endpoint uses, again, element by element."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import orjson

from ctwa.phones import DEFAULT_COUNTRY
from ingestion.parser.limits import Reject, read_body
from ingestion.parser.messages import Link
from ingestion.parser.people import Keys, bsuid_country, phone_country
from ingestion.parser.rows import Rows
from ingestion.parser.statements import each_statement
from ingestion.parser.values import money
from ingestion.webhook.intake import IntakeError, validate_outcome

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
    """Add the row of an outcome; `recorded_us`: when the CRM said so, where it was read."""
    content = tuple(outcome)
    key = keys.content(orjson.dumps(content, default=str))
    rows.outcomes.append((*rows.place(), *content, key, recorded_us))


class Outcomes:
    """Reads envelopes of source `outcomes`: an object, or a list of objects."""

    __slots__ = ("_country", "_keys", "_rows")

    def __init__(self, keys: Keys, rows: Rows, default_country: str = DEFAULT_COUNTRY) -> None:
        self._keys, self._rows, self._country = keys, rows, default_country

    def read(self, body: bytes) -> None:
        """Add the rows of one body; raises `Reject` where it is not JSON."""
        value, suspicious = read_body(body)
        if not suspicious:
            value = json.loads(body, parse_float=Decimal)  # money as written, not as a double
        each_statement(value, suspicious, self._rows, "outcome", self._add)

    def _add(self, item: Any) -> None:
        try:
            outcome = validate_outcome(item, default_country=self._country)
        except IntakeError as error:
            raise Reject(f"outcome_invalid: {error}") from None
        keys, rows = self._keys, self._rows
        at_us = _micros(outcome.occurred_at)
        phones = [p for p in (outcome.wa_id, outcome.phone) if p]
        phone_key = keys.phone(phones[0]) if phones else None
        bsuid_key = keys.bsuid(outcome.user_id) if outcome.user_id else None
        country = phone_country(phones[0]) if phone_key else None
        if country is None and outcome.user_id:
            country = bsuid_country(outcome.user_id)
        email = keys.email(outcome.email) if outcome.email else None
        web_lead = keys.web_lead(outcome.lead_id) if outcome.lead_id else None
        message = keys.message_id(outcome.message_id) if outcome.message_id else None
        # Nobody's address (`ctwa.emails`) is an identity that was given: of somebody unknown (E60).
        if not any((phone_key, bsuid_key, outcome.email, web_lead, message)):
            raise Reject("identity_unusable: expected a full phone number, e-mail address or id")
        said = Outcome(
            outcome.source,
            outcome.event_id,
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
        add_outcome(keys, rows, said)
        known = [
            (phone_key, "phone"),
            (keys.phone(phones[-1]) if len(phones) > 1 else None, "phone"),
            (bsuid_key, "bsuid"),
            (email, "email"),
            (web_lead, "web_lead"),
        ]
        self._link([(k, kind) for k, kind in known if k is not None], at_us)

    def _link(self, known: list[tuple[str, str]], at_us: int) -> None:
        """All identities of one outcome are one person: each is linked to the first."""
        links = [Link(*known[0], *other, "outcome") for other in known[1:]]
        for link in dict.fromkeys(links):
            if link.left_key != link.right_key:
                self._rows.identity_links.append((*self._rows.place(), None, None, *link, at_us))


def _micros(moment: datetime) -> int:
    delta = moment.astimezone(UTC) - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
