"""Shapes of the bodies that a company's own systems post: outcomes, consents, web leads, clicks.

The receiver checks a whole body before it answers; the parser and imports of files check the same
shapes element by element.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ctwa.link_code import is_fit, is_whole
from ctwa.phones import DEFAULT_COUNTRY
from ctwa.phones import is_filler as is_filler_phone
from ctwa.pseudonym import is_filler_email
from ingestion.personal import without_people
from ingestion.webhook.fields import (
    Address,
    Amount,
    Email,
    ExactMoment,
    FilledId,
    Id,
    IntakeError,
    Moment,
    Name,
    Phone,
    Problem,
    Text,
    WaId,
    load_elements,
    validate,
)

OUTCOME_IDENTITIES = ("phone", "wa_id", "user_id", "email", "lead_id", "message_id")


class OutcomeIn(BaseModel):
    """What a CRM reports about one lead at one moment. Unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    event_id: FilledId
    stage: Name
    occurred_at: Moment
    phone: Phone | None = None
    wa_id: WaId | None = None
    user_id: Id | None = None
    email: Email | None = None
    lead_id: Id | None = None
    message_id: Id | None = None
    value: Amount | None = None
    currency: Annotated[StrictStr, Field(pattern=r"^[A-Z]{3}$")] | None = None
    source: Name = "crm"
    recorded_at: Moment | None = None
    """When the CRM recorded it: of copies of one event at one time, the latest recorded counts."""

    @field_validator("source", "stage")
    @classmethod
    def _without_people(cls, value: str, info: ValidationInfo) -> str:
        """Both appear in the marts as sent, so addresses and phone numbers are removed."""
        return _without(value, _country(info), ())

    @model_validator(mode="after")
    def _whole(self) -> OutcomeIn:
        if not any(getattr(self, name) for name in OUTCOME_IDENTITIES):
            raise ValueError(f"needs one of {', '.join(OUTCOME_IDENTITIES)}")
        stage = _without(self.stage, DEFAULT_COUNTRY, self.people())
        return self if stage == self.stage else self.model_copy(update={"stage": stage})

    def people(self) -> list[str]:
        """The identities that name a person."""
        return [v for v in (self.phone, self.wa_id, self.user_id, self.email, self.message_id) if v]


def _country(info: ValidationInfo) -> str:
    return str((info.context or {}).get("default_country", DEFAULT_COUNTRY))


def _without(value: str, country: str, own: Iterable[str]) -> str:
    left = without_people(value, country, own)
    if not left:
        raise ValueError("holds nothing but somebody's address or number: send its name alone")
    return left


CONSENT_IDENTITIES = ("phone", "wa_id", "user_id", "email")


def _user_id(value: str) -> str:
    if value and "." not in value[1:-1]:
        raise ValueError("expects a WhatsApp user id with its country, e.g. BR.1A2B3C4D5E6F7G8H")
    return value


class ConsentIn(BaseModel):
    """One person gave or withdrew consent to marketing. Unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    consent_id: Id | None = None
    # Never guessed: `"no"` and 0 are not accepted.
    given: Annotated[bool, Field(strict=True)]
    declared_at: ExactMoment
    phone: Phone | None = None
    wa_id: WaId | None = None
    user_id: Annotated[Id, AfterValidator(_user_id)] | None = None
    email: Email | None = None
    source: Name = "crm"

    @model_validator(mode="after")
    def _whole(self) -> ConsentIn:
        if not any(getattr(self, name) for name in CONSENT_IDENTITIES):
            raise ValueError(f"needs one of {', '.join(CONSENT_IDENTITIES)}")
        # Refuse a withdrawal that would apply to no one.
        is_phone_known = bool(self.phone) and not is_filler_phone(self.phone or "")
        is_email_known = bool(self.email) and not is_filler_email(self.email or "")
        if not any((self.wa_id, self.user_id, is_phone_known, is_email_known)):
            what = "phone number" if self.phone else "e-mail address"
            how = " (or `wa_id`, if it is the number that WhatsApp shows)" if self.phone else ""
            raise ValueError(f"needs another identity: many people type this {what}{how}")
        return self


_EXPECTED_CODE = "expects the ten characters of a code that this site's page made"


class WebLeadIn(BaseModel):
    """A form that a visitor sent. Unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    lead_id: FilledId
    submitted_at: ExactMoment
    phone: Phone | None = None
    email: Email | None = None
    page_url: Address | None = None
    referrer: Address | None = None
    brand: Annotated[Text, Field(max_length=80)] | None = None


def _code(value: str) -> str:
    if not is_whole(value):
        raise ValueError(_EXPECTED_CODE)
    return value


class ClickIn(BaseModel):
    """A click on the WhatsApp button, as the page reports it. Unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    code: Annotated[StrictStr, AfterValidator(_code)]
    page_url: Address
    referrer: Address | None = None
    clicked_at: ExactMoment | None = None


def read_click(raw: bytes, site_id: str) -> ClickIn:
    """A click; raises `IntakeError` if the body is not a click with a code of this site."""
    elements = load_elements(raw)
    if len(elements) != 1:
        raise IntakeError([Problem(0, "", "expects one click")])
    click = validate(ClickIn, elements[0])
    if not is_fit(click.code, site_id):
        raise IntakeError([Problem(0, "code", _EXPECTED_CODE)])
    return click
