"""What is declared about people: consent to marketing (E72), and who does not count (E20).

Envelopes of source `consents`, posted to `/webhooks/consents` or written by `ctwa consent`, hold an
object or a list of `{"given": false, "declared_at": ISO 8601, "phone" | "wa_id" | "user_id" |
"email": text, "source": text}`. What people choose in WhatsApp itself comes as
`value.user_preferences[]`. For each person the latest statement counts; of statements at the same
instant, a withdrawal.

Envelopes of source `exclusions`, written by `ctwa exclude`, hold an object or a list of
`{"phone" | "user_id" | "email" | "business_number": text, "reason": text, "declared_at": ISO 8601,
"excluded": true}`; `"excluded": false` takes one back. The latest statement on each target counts.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, NamedTuple

import orjson
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StrictStr,
    ValidationError,
    model_validator,
)

from ctwa.phones import DEFAULT_COUNTRY, PhoneError, typed_phone
from ingestion.parser.limits import Reject
from ingestion.parser.messages import Business, Messages
from ingestion.parser.people import Contacts, Keys, identify
from ingestion.parser.rows import Rows, Statements
from ingestion.parser.values import code, moment, settled, text
from ingestion.personal import without_people
from ingestion.vault.vault import microseconds
from ingestion.webhook.shapes import ConsentIn

CONSENTS = "consents"
PREFERENCES_SOURCE = "whatsapp_user_preferences"
MARKETING = "marketing"
_PREFERENCES = {
    "stop": False,
    "resume": True,
    "signup": True,  # by a sign-up link, with a `signup_id`
}


class Consent(NamedTuple):
    """Content of a row of `consents`, in the order of its columns. Time in µs."""

    phone_key: str | None
    bsuid_key: str | None
    email_key: str | None
    purpose: str
    is_given: bool
    declared_us: int
    source: str


def _add(keys: Keys, rows: Rows, consent: Consent) -> None:
    content = tuple(consent)
    rows.consents.append((*rows.place(), *content, keys.content(orjson.dumps(content))))


class Consents(Statements[ConsentIn]):
    """Reads envelopes of source `consents`."""

    element, model = "consent", ConsentIn
    __slots__ = ()

    def _add(self, consent: ConsentIn) -> None:
        keys, rows = self._keys, self._rows
        at_us = self._plausible_us(consent.declared_at)
        phones = [keys.claimed_phone(phone) for phone in (consent.wa_id, consent.phone) if phone]
        # A number that WhatsApp shows is real even if it looks like filler.
        shown = keys.phone(consent.wa_id) if consent.wa_id else None
        phone = next((key for key in (shown, *phones) if key), None)
        bsuid = keys.bsuid(consent.user_id) if consent.user_id else None
        email = keys.email(consent.email) if consent.email else None
        if not any((phone, bsuid, email)):
            raise Reject("identity_unusable: expected a full phone number, e-mail address or id")
        own = [v for v in (consent.phone, consent.wa_id, consent.user_id, consent.email) if v]
        source = without_people(consent.source, self._country, own) or "crm"
        _add(keys, rows, Consent(phone, bsuid, email, MARKETING, consent.given, at_us, source))
        known = [
            *((key, "phone") for key in phones),
            (bsuid, "bsuid"),
            (email, "email"),
        ]
        self._link(known, "consent", at_us)


class Preferences:
    """Reads `user_preferences[]` of WhatsApp: the person's own switch for marketing messages."""

    __slots__ = ("_keys", "_messages", "_rows")

    def __init__(self, keys: Keys, rows: Rows, messages: Messages) -> None:
        self._keys, self._rows, self._messages = keys, rows, messages

    def add(self, item: Any, business: Business, contacts: Contacts) -> None:
        """Add the row of one choice, and the links it shows. Raises `Reject`."""
        if type(item) is not dict:
            raise Reject("user_preference_not_object: expected an object")
        if settled(item, "category") not in ("marketing_messages", None):  # no other is documented
            raise Reject("category_unknown: expected marketing_messages")
        word = code(item, "value")
        if word not in _PREFERENCES:
            raise Reject(f"preference_unknown: expected one of {', '.join(_PREFERENCES)}")
        phone, bsuid = text(item, "wa_id"), text(item, "user_id")
        parent = text(item, "parent_user_id")
        person, links = identify(self._keys, contacts, phone, bsuid, parent, "contact")
        if person.phone_key is None and person.bsuid_key is None:
            raise Reject("person_missing: expected wa_id, user_id or one contact")
        rows = self._rows
        at_us = moment(item.get("timestamp"), rows.received_us)
        at_us = rows.received_us if at_us is None else at_us
        consent = Consent(
            person.phone_key,
            person.bsuid_key,
            None,
            MARKETING,
            _PREFERENCES[word],
            at_us,
            PREFERENCES_SOURCE,
        )
        _add(self._keys, rows, consent)
        self._messages.add_links(links, business, at_us)


EXCLUSIONS = "exclusions"
TARGETS = ("phone", "user_id", "email", "business_number")
EXPECTED = {
    "user_id": "expected a business-scoped user id with its country, such as BR.1A2B3C4D5E6F7G8H",
    "email": "expected an e-mail address, such as ana@example.com",
    "business_number": "expected the business's number in full, as in fct_conversations",
}
_UNFIT = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_NOT_DIGIT = re.compile(r"\D+")


class Target(NamedTuple):
    """What is excluded: an identity key and its kind, or a business number."""

    identity_key: str | None
    identity_kind: str | None
    business_number_id: str | None


def _clean(value: str) -> str:
    if _UNFIT.search(value):
        raise ValueError("holds a control character or half of a surrogate pair")
    return value.strip()


_Text = Annotated[StrictStr, Field(max_length=512), AfterValidator(_clean)]


class ExclusionIn(BaseModel):
    """One statement. Unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    phone: _Text | None = None
    user_id: _Text | None = None
    email: _Text | None = None
    business_number: _Text | None = None
    # Appears in the marts: a word such as `staff`, never somebody's name.
    reason: Annotated[StrictStr, Field(max_length=80), AfterValidator(_clean), Field(min_length=1)]
    declared_at: AwareDatetime
    excluded: Annotated[bool, Field(strict=True)] = True

    @model_validator(mode="after")
    def _whole(self) -> ExclusionIn:
        if sum(bool(getattr(self, name)) for name in TARGETS) != 1:
            raise ValueError(f"needs exactly one of {', '.join(TARGETS)}")
        if not 2000 <= self.declared_at.year < 2100:
            raise ValueError("declared_at: expects ISO 8601, e.g. 2026-05-04T14:31:00-03:00")
        return self


def target_of(keys: Keys, exclusion: ExclusionIn, default_country: str = DEFAULT_COUNTRY) -> Target:
    """The keys of what is excluded. Raises `Reject` if the value cannot be an identity."""
    name = next(name for name in TARGETS if getattr(exclusion, name))
    value: str = getattr(exclusion, name)
    if name == "business_number":
        digits = _NOT_DIGIT.sub("", value)
        if not 5 <= len(digits) <= 20:
            raise Reject(f"identity_unusable: {EXPECTED[name]}")
        return Target(None, None, digits)
    if name == "phone":
        try:
            value = typed_phone(value, default_country)
        except PhoneError as error:
            raise Reject(f"identity_unusable: {error}") from None
    key = {"phone": keys.phone, "user_id": keys.bsuid, "email": keys.email}[name](value)
    if key is None or (name == "user_id" and "." not in value):
        raise Reject(f"identity_unusable: {EXPECTED.get(name, 'expected a phone number')}")
    return Target(key, {"user_id": "bsuid"}.get(name, name), None)


def reason_of(exclusion: ExclusionIn, default_country: str = DEFAULT_COUNTRY) -> str:
    """The reason as it appears in the marts, without addresses and phone numbers. Raises `Reject`
    if nothing else is left."""
    own = [value for name in TARGETS if (value := getattr(exclusion, name))]
    left = without_people(exclusion.reason, default_country, own)
    if not left:
        raise Reject("reason_unusable: holds nothing but somebody's address or number")
    return left


class Exclusions(Statements[ExclusionIn]):
    """Reads envelopes of source `exclusions`."""

    element, model = "exclusion", ExclusionIn
    __slots__ = ()

    def _checked(self, item: Any) -> ExclusionIn:
        try:
            return ExclusionIn.model_validate(item)
        except ValidationError as error:
            raise Reject(f"exclusion_invalid: {_reasons(error)}") from None

    def _add(self, statement: ExclusionIn) -> None:
        declared_us = microseconds(statement.declared_at)
        content = (
            *target_of(self._keys, statement, self._country),
            reason_of(statement, self._country),
            statement.excluded,
            declared_us,
        )
        key = self._keys.content(orjson.dumps(content))
        self._rows.exclusions.append((*self._rows.place(), *content, key))


def _reasons(error: ValidationError) -> str:
    """Field and reason of every problem, without values."""
    return "; ".join(
        f"{e['loc'][0] if e['loc'] else 'body'}: {e['msg'].removeprefix('Value error, ')}"
        for e in error.errors()
    )
