"""Records read from HubSpot: who the contacts are, and the stages that they and deals reached.

The bodies are written by `ingestion.crm.hubspot.records`: `object` (`contacts` or `deals`),
`read_at`, `labels` (stage to the CRM's words for it), `currency` (the account's) and `records`. A
record has its `id`, `properties`, the `history` of its stage, and where they apply `contact` and
`amounts` (a deal's contact and the history of its amount), `archived_at`, `restored_at` and
`person_key`.

| record | rows |
|---|---|
| contact | links of `contact:<id>` with its phones, e-mails and the contacts merged into it (E29) |
| contact | source `hubspot`: an outcome for each time its lifecycle stage changed |
| deal | source `hubspot_deals`: the same of its deal stage, matched by the deal's contact |
| deleted | one more outcome, of stage `deleted`; the stages reached before stay (E63) |

Each outcome of a deal has the amount that the deal had when it left that stage: what happens to the
amount later does not belong to the win (E90). That a deal counts once however often it is won is
left to `int_outcomes__staged`, because only the models know which stages are wins. A deal that was
deleted, or merged into another, no longer has an amount.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

from ctwa.phones import DEFAULT_COUNTRY, PhoneError, typed_phone
from ingestion.parser.company import Outcome, add_outcome
from ingestion.parser.limits import Reject, Unfit, left_out
from ingestion.parser.people import Keys, Link, phone_country
from ingestion.parser.rows import Path, Rows
from ingestion.parser.values import (
    child,
    children,
    extra,
    iso_moment,
    iso_text,
    money,
    settled,
    text,
)

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


class _Common(NamedTuple):
    """What all outcomes of one record have in common."""

    source: str
    kind: str
    # Names of the record in event ids: its own first, then those of records merged into it. For a
    # contact it is the key, because event ids appear in the marts and may not identify a person.
    ids: tuple[str, ...]
    person: Outcome  # only its identity columns are set


class _Amounts(NamedTuple):
    """A deal's amounts: the current one, and the earlier ones (time in µs, amount), by time."""

    now: Decimal | None = None
    past: tuple[tuple[int, Decimal | None], ...] = ()
    currency: str | None = None

    def until(self, end_us: int | None) -> tuple[Decimal | None, str | None]:
        """Amount and currency just before that time; None: the current ones.

        If the deal had no amount by then, the first amount that it got afterwards.
        """
        amount = self.now
        if end_us is not None and self.past:
            before = [amount for at_us, amount in self.past if at_us < end_us]
            after = [amount for at_us, amount in self.past if at_us >= end_us]
            amount = before[-1] if before else None
            if amount is None:
                amount = next((a for a in after if a is not None), None)
        return (amount, self.currency) if amount is not None else (None, None)


class HubSpot:
    """Reads envelopes of source `hubspot`."""

    __slots__ = ("_country", "_header", "_keys", "_recorded_us", "_rows")

    def __init__(self, keys: Keys, rows: Rows, default_country: str = DEFAULT_COUNTRY) -> None:
        self._keys, self._rows, self._country = keys, rows, default_country
        self._header: dict[str, Any] = {}
        self._recorded_us = 0

    def read(self, body: bytes) -> None:
        """Add the rows of one body; raises `Reject` if it is not one of ours."""
        value = self._rows.load(body)
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
        known = [(keys.claimed_phone(p), "phone") for p in phones] + [
            (keys.email(e), "email") for e in emails
        ]
        identities = [(key, kind) for key, kind in dict.fromkeys(known) if key is not None]
        for key, kind in identities:
            self._link(Link(own, "crm_record", key, kind, "crm_record"), created_us)
        others = self._merged(record_id, record, path)
        if not identities and not others and record.get("archived_at") is None:
            # A link with itself: the newest version names nobody, which withdraws earlier links.
            self._rows.add_link(
                Link(own, "crm_record", own, "crm_record", "crm_record"),
                created_us,
                recorded_us=self._recorded_us,
            )
        by_kind = {kind: key for key, kind in reversed(identities)}  # the first of each kind
        person = _person(
            phone_key=by_kind.get("phone"),
            country=next((phone_country(p) for p in phones if keys.claimed_phone(p)), None),
            email_key=by_kind.get("email"),
            crm_record_key=own,
        )
        self._outcomes(_Common(SOURCE, "contact", (own,), person), record, path)

    def _merged(self, record_id: str, record: dict[str, Any], path: Path) -> int:
        """Link contacts that were merged into this one (E29); returns how many there are."""
        at_us = self._time_or(record.get("updated_at"), self._recorded_us)
        own, *others = (
            self._keys.crm_record(SOURCE, f"contact:{i}")
            for i in (record_id, *self._merged_ids(record, path))
        )
        for other in others:
            self._link(Link(own, "crm_record", other, "crm_record", "crm_merge"), at_us)
        return len(others)

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
        """Values of properties that hold one or several; a value that is not text is
        quarantined."""
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
        """The number's digits; nothing if it is not a number, as people type many things there."""
        try:
            return [typed_phone(value, self._country)] if len(value) <= 512 else []
        except PhoneError:
            return []

    @staticmethod
    def _emails(value: str) -> list[str]:
        return [part for part in _LIST.split(value) if len(part) <= 512]

    def _link(self, link: Link, at_us: int) -> None:
        if link.left_key != link.right_key:
            self._rows.add_link(link, at_us, recorded_us=self._recorded_us)

    # ---- deals ---------------------------------------------------------------------------

    def _deal(self, record: Any, path: Path) -> None:
        record_id = _record_id(record)
        contact = _matching(_ID, settled(record, "contact"))
        own = f"contact:{contact}" if contact else f"deal:{record_id}"
        # HubSpot no longer names the contact of a deleted deal; the event log knows whose it was.
        key = _matching(_KEY, settled(record, "person_key")) or self._keys.crm_record(SOURCE, own)
        ids = (record_id, *self._merged_ids(record, path))
        person = _person(crm_record_key=key)
        self._outcomes(_Common(DEALS, "deal", ids, person), record, path)

    def _amounts(self, record: dict[str, Any], path: Path) -> _Amounts:
        """A deal's amounts over time; none if it has no amount, or no longer counts."""
        properties = child(record, "properties")
        if record.get("archived_at") is not None:
            return _Amounts()
        found: list[tuple[int, Decimal | None]] = []
        latest: list[Decimal | None] = []

        def add(value: Any, at: Path) -> None:
            if type(value) is not str:
                raise Reject("value_not_a_number: expected a decimal number")
            settled(properties, "deal_currency_code")  # never another currency instead
            latest.append(money(value.strip()))

        def add_past(entry: Any, at: Path) -> None:
            if type(entry) is not dict or type(value := entry.get("value") or "") is not str:
                raise Reject("value_not_a_number: expected a decimal number")
            settled(properties, "deal_currency_code")
            amount = money(value.strip()) if value.strip() else None
            found.append((self._time(entry.get("timestamp")), amount))

        if (amount := properties.get("amount")) is not None:
            self._take("value", amount, (*path, "properties", "amount"), add)
        history = children(record, "amounts")
        for index in reversed(range(len(history))):  # HubSpot lists the latest first
            self._take("value", history[index], (*path, "amounts", index), add_past)
        found.sort(key=lambda entry: entry[0])
        # An account with a single currency names it once, not on every deal.
        codes = (properties.get("deal_currency_code"), self._header.get("currency"))
        named = (c for c in codes if type(c) is str and _CURRENCY.fullmatch(c))
        return _Amounts(latest[0] if latest else None, tuple(found), next(named, None))

    # ---- outcomes ------------------------------------------------------------------------

    def _outcomes(self, common: _Common, record: dict[str, Any], path: Path) -> None:
        entries = stages_of(common.kind, record, path, self._take, self._rows.received_us)
        amounts = self._amounts(record, path) if common.kind == "deal" else _Amounts()
        left_at: list[int | None] = [entry.at_us for entry in entries[1:]]
        for name in common.ids:
            for entry, end_us in zip(entries, [*left_at, None], strict=False):
                worth = amounts if name == common.ids[0] else _Amounts()
                self._outcome(common, name, entry, *worth.until(end_us))
        if record.get("archived_at") is not None:
            deleted = Entry(self._time(record["archived_at"]), DELETED)
            self._outcome(common, common.ids[0], deleted, None, None)

    def _outcome(
        self, common: _Common, name: str, entry: Entry, value: Any, currency: str | None
    ) -> None:
        outcome = common.person._replace(
            source=common.source,
            event_id=f"{common.kind}:{name}:{entry.stage}:{iso_text(entry.at_us)}",
            stage=entry.stage,
            occurred_us=entry.at_us,
            value=value,
            currency=currency,
            stage_label=self._label(entry.stage),
        )
        add_outcome(self._keys, self._rows, outcome, self._recorded_us)

    def _label(self, stage: str) -> str | None:
        label = extra(self._header, "labels").get(stage)
        left_out(label)
        return label.strip()[:_LABEL_CHARS] or None if type(label) is str else None

    # ---- details -------------------------------------------------------------------------

    def _take(self, element: str, item: Any, path: Path, add: Callable[[Any, Path], None]) -> None:
        doubt = item.reason if type(item) is Unfit else None
        self._rows.take(element, item, path, add, doubt)

    def _time(self, value: Any) -> int:
        return iso_moment(value, self._rows.received_us)

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


ENTERED = "hs_v2_date_entered_"
"""Prefix of HubSpot properties that say when a record last entered a stage."""

_STAGE_CHARS = 128
_STAGE_OF = {"contact": "lifecyclestage", "deal": "dealstage"}

Take = Callable[[str, Any, Path, Callable[[Any, Path], None]], None]
"""As `Rows.take`: runs the function on an element, or quarantines the element."""


class Entry(NamedTuple):
    """A stage that a record entered at a time (µs)."""

    at_us: int
    stage: str


def stages_of(
    kind: str, record: dict[str, Any], path: Path, take: Take, received_us: int
) -> list[Entry]:
    """Stages of a record by time; those at the same time in HubSpot's order."""
    found: list[Entry] = []

    def add(entry: Any, _at: Path) -> None:
        if type(entry) is not dict:
            raise Reject("entry_not_object: expected an object")
        stage = (text(entry, "value", _STAGE_CHARS) or "").strip()
        if stage:  # otherwise the stage was cleared
            found.append(Entry(iso_moment(entry.get("timestamp"), received_us), stage))

    listed = children(record, "history") or list(_without_history(kind, record))
    for index in reversed(range(len(listed))):  # HubSpot lists the latest first
        take("outcome", listed[index], (*path, "history", index), add)
    found.sort(key=lambda entry: entry.at_us)
    found += _current_stage(kind, record, found, received_us)
    if found and record.get("restored_at") is not None:
        # Deleted and restored: from now on it has the same stage as before.
        found.append(Entry(iso_moment(record["restored_at"], received_us), found[-1].stage))
    return list(dict.fromkeys(found))


def _current_stage(
    kind: str, record: dict[str, Any], found: list[Entry], received_us: int
) -> list[Entry]:
    """The current stage by its property, if the history lacks it (after a merge, or because it
    lags).

    Its time is when HubSpot says it was entered, else the last change of the record.
    """
    properties = child(record, "properties")
    stage = properties.get(_STAGE_OF[kind])
    if not found or type(stage) is not str or not (stage := stage.strip()[:_STAGE_CHARS]):
        return []
    last_us = found[-1].at_us
    if any(entry.stage == stage for entry in found if entry.at_us == last_us):
        return []
    for written in (properties.get(ENTERED + stage), record.get("updated_at")):
        try:
            at_us = iso_moment(written, received_us)
        except Reject:
            continue
        if at_us >= last_us:
            return [Entry(at_us, stage)]
    return [Entry(last_us, stage)]


def _without_history(kind: str, record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Entries of a record without a history, from its other properties."""
    properties = child(record, "properties")
    entered = [
        {"value": name.removeprefix(ENTERED), "timestamp": value}
        for name, value in properties.items()
        if name.startswith(ENTERED) and value
    ]
    stage = properties.get(_STAGE_OF[kind])
    if entered or not stage:
        yield from entered
    else:
        yield {"value": stage, "timestamp": properties.get("createdate")}
