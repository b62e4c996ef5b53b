"""Records read from HubSpot: who the contacts are, and the stages that they and deals reached.

A body is of our own making (`ingestion.sources.hubspot_records`): `object` (`contacts` or
`deals`), `read_at`, `labels` (stage to the CRM's words for it), `currency` (the account's) and
`records`. A record has its `id`, `properties`, the `history` of its stage, and where it applies
`contact` (the deal's), `archived_at`, `restored_at` and `person_key`.

| record | rows |
|---|---|
| contact | links of `contact:<id>` with its phones, e-mails and the contacts merged into it (E29) |
| contact | source `hubspot`: an outcome for each time its lifecycle stage changed |
| deal | source `hubspot_deals`: the same of its deal stage, matched by the deal's contact |
| deleted | an outcome of stage `deleted` more; what was reached stays (E63) |

A deal's amount stands on the latest of its outcomes alone: one that is won twice is paid once. A
deal that was deleted, or merged into another, has none any more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ctwa.phones import DEFAULT_COUNTRY, PhoneError, typed_phone
from ingestion.parser.hubspot_stages import Entry, moment_us, stages_of, written_moment
from ingestion.parser.limits import Reject, hostile, read_body
from ingestion.parser.messages import Link
from ingestion.parser.outcomes import Outcome, add_outcome
from ingestion.parser.people import Keys, phone_country
from ingestion.parser.rows import Path, Rows
from ingestion.parser.values import child, children, money

SOURCE = "hubspot"
DEALS = "hubspot_deals"
DELETED = "deleted"
PHONES = ("hs_whatsapp_phone_number", "mobilephone", "phone")
EMAILS = ("email", "hs_additional_emails")

_KINDS = {"contacts": "contact", "deals": "deal"}
_LABEL_CHARS = 256
_ID = re.compile(r"[0-9]{1,20}")
_KEY = re.compile(r"[0-9a-f]{32}")
_CURRENCY = re.compile(r"[A-Z]{3}")
_LIST = re.compile(r"[;,\s]+")


class _Said(NamedTuple):
    """What all outcomes of one record have in common."""

    source: str
    kind: str
    # Names of the record in event ids: its own first, then of records merged into it. A contact's
    # is its key: event ids stand in the marts, where no id of a person may.
    ids: tuple[str, ...]
    person: Outcome  # who: the identity columns alone


class HubSpot:
    """Reads envelopes of source `hubspot`."""

    __slots__ = ("_country", "_doubtful", "_header", "_keys", "_recorded_us", "_rows")

    def __init__(self, keys: Keys, rows: Rows, default_country: str = DEFAULT_COUNTRY) -> None:
        self._keys, self._rows, self._country = keys, rows, default_country
        self._header: dict[str, Any] = {}
        self._doubtful, self._recorded_us = False, 0

    def read(self, body: bytes) -> None:
        """Add the rows of one body; raises `Reject` where it is none of ours."""
        value, self._doubtful = read_body(body)
        kind = _KINDS.get(str(value.get("object"))) if type(value) is dict else None
        if kind is None:
            raise Reject("hubspot_object_unknown: expected contacts or deals")
        self._header = value
        self._recorded_us = self._time(value.get("read_at"))
        add = self._contact if kind == "contact" else self._deal
        for index, record in enumerate(children(value, "records")):
            self._rows.take(kind, record, ("records", index), add)

    # ---- contacts ------------------------------------------------------------------------

    def _contact(self, record: Any, path: Path) -> None:
        record_id = _record_id(record)
        properties, keys = child(record, "properties"), self._keys
        own = keys.crm_record(SOURCE, f"contact:{record_id}")
        created_us = self._time_or(properties.get("createdate"), self._recorded_us)
        phones = list(self._each(properties, PHONES, path, self._phones))
        emails = list(self._each(properties, EMAILS, path, self._emails))
        known = [(keys.phone(p), "phone") for p in phones] + [
            (keys.email(e), "email") for e in emails
        ]
        identities = [(key, kind) for key, kind in dict.fromkeys(known) if key is not None]
        for key, kind in identities:
            self._link(Link(own, "crm_record", key, kind, "crm_record"), created_us)
        self._merged(record_id, record, path)
        by_kind = {kind: key for key, kind in reversed(identities)}  # the first of each kind
        person = _person(
            phone_key=by_kind.get("phone"),
            country=phone_country(phones[0]) if phones else None,
            email_key=by_kind.get("email"),
            crm_record_key=own,
        )
        self._outcomes(_Said(SOURCE, "contact", (own,), person), record, path)

    def _merged(self, record_id: str, record: dict[str, Any], path: Path) -> None:
        """Contacts that went into this one are the same person (E29)."""
        at_us = self._time_or(record.get("updated_at"), self._recorded_us)
        own, *others = (
            self._keys.crm_record(SOURCE, f"contact:{i}")
            for i in (record_id, *self._merged_ids(record, path))
        )
        for other in others:
            self._link(Link(own, "crm_record", other, "crm_record", "crm_merge"), at_us)

    def _merged_ids(self, record: dict[str, Any], path: Path) -> list[str]:
        names = ("hs_merged_object_ids",)
        found = self._each(child(record, "properties"), names, path, _LIST.split)
        return [i for i in dict.fromkeys(found) if _ID.fullmatch(i) and i != record["id"]]

    def _each(
        self,
        properties: dict[str, Any],
        names: tuple[str, ...],
        path: Path,
        split: Callable[[str], list[str]],
    ) -> Iterator[str]:
        """Values of properties that hold one or several; what is none is quarantined by itself."""
        found: list[str] = []

        def add(value: Any, at: Path) -> None:
            if type(value) is not str:
                raise Reject(f"{at[-1]}_not_text: expected text")
            found.extend(filter(None, split(value.strip())))

        for name in names:
            if (value := properties.get(name)) is not None:
                self._take("identity", value, (*path, "properties", name), add)
        return iter(found)

    def _phones(self, value: str) -> list[str]:
        """Digits of the number; nothing where it is none: people type many things there."""
        try:
            return [typed_phone(value, self._country)] if len(value) <= 512 else []
        except PhoneError:
            return []

    @staticmethod
    def _emails(value: str) -> list[str]:
        return [part for part in _LIST.split(value) if len(part) <= 512]

    def _link(self, link: Link, at_us: int) -> None:
        if link.left_key != link.right_key:
            self._rows.identity_links.append((*self._rows.place(), None, None, *link, at_us))

    # ---- deals ---------------------------------------------------------------------------

    def _deal(self, record: Any, path: Path) -> None:
        record_id = _record_id(record)
        contact = _matching(_ID, record.get("contact"))
        own = f"contact:{contact}" if contact else f"deal:{record_id}"
        # Of a deleted deal HubSpot tells no contact any more: the event log knows whose it was.
        key = _matching(_KEY, record.get("person_key")) or self._keys.crm_record(SOURCE, own)
        ids = (record_id, *self._merged_ids(record, path))
        person = _person(crm_record_key=key)
        self._outcomes(_Said(DEALS, "deal", ids, person), record, path)

    def _amount(self, record: dict[str, Any], path: Path) -> tuple[Any, str | None]:
        """Value and currency of a deal; nothing where it has none, or no longer counts."""
        properties, found = child(record, "properties"), []
        if record.get("archived_at") is not None or properties.get("amount") is None:
            return None, None

        def add(value: Any, at: Path) -> None:
            if type(value) is not str:
                raise Reject("value_not_a_number: expected a decimal number")
            found.append(money(value.strip()))

        self._take("value", properties["amount"], (*path, "properties", "amount"), add)
        # An account with one currency says it once, not on every deal.
        codes = (properties.get("deal_currency_code"), self._header.get("currency"))
        named = (c for c in codes if type(c) is str and _CURRENCY.fullmatch(c))
        return (found[0], next(named, None)) if found and found[0] is not None else (None, None)

    # ---- outcomes ------------------------------------------------------------------------

    def _outcomes(self, said: _Said, record: dict[str, Any], path: Path) -> None:
        entries = stages_of(said.kind, record, path, self._take, self._rows.received_us)
        value, currency = self._amount(record, path) if said.kind == "deal" else (None, None)
        latest = entries[-1] if entries else None
        for name in said.ids:
            for entry in entries:
                is_paid = entry is latest and name == said.ids[0]
                money_of = (value, currency) if is_paid else (None, None)
                self._outcome(said, name, entry, *money_of)
        if record.get("archived_at") is not None:
            deleted = Entry(self._time(record["archived_at"]), DELETED)
            self._outcome(said, said.ids[0], deleted, None, None)

    def _outcome(
        self, said: _Said, name: str, entry: Entry, value: Any, currency: str | None
    ) -> None:
        outcome = said.person._replace(
            source=said.source,
            event_id=f"{said.kind}:{name}:{entry.stage}:{written_moment(entry.at_us)}",
            stage=entry.stage,
            occurred_us=entry.at_us,
            value=value,
            currency=currency,
            stage_label=self._label(entry.stage),
        )
        add_outcome(self._keys, self._rows, outcome, self._recorded_us)

    def _label(self, stage: str) -> str | None:
        label = child(self._header, "labels").get(stage)
        if type(label) is not str or (self._doubtful and hostile(label)):
            return None
        return label.strip()[:_LABEL_CHARS] or None

    # ---- details -------------------------------------------------------------------------

    def _take(self, element: str, item: Any, path: Path, add: Callable[[Any, Path], None]) -> None:
        doubt = hostile(item) if self._doubtful else None
        self._rows.take(element, item, path, add, doubt)

    def _time(self, value: Any) -> int:
        return moment_us(value, self._rows.received_us)

    def _time_or(self, value: Any, instead: int) -> int:
        try:
            return self._time(value)
        except Reject:
            return instead


def _record_id(record: Any) -> str:
    found = _matching(_ID, record.get("id")) if type(record) is dict else None
    if found is None:
        raise Reject("id_not_digits: expected HubSpot's id of a record")
    return found


def _matching(pattern: re.Pattern[str], value: Any) -> str | None:
    return value if type(value) is str and pattern.fullmatch(value) else None


def _person(**identities: str | None) -> Outcome:
    return Outcome("", "", "", 0, **identities)  # type: ignore[arg-type]


__all__ = ["DEALS", "DELETED", "EMAILS", "PHONES", "SOURCE", "HubSpot"]
