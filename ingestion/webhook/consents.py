"""Words of consent as posted to `/webhooks/consents`, or given to `ctwa consent`: their shape."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from ctwa.emails import is_filler
from ctwa.phones import DEFAULT_COUNTRY
from ingestion.webhook.fields import (
    Email,
    ExactMoment,
    Name,
    Phone,
    Text,
    WaId,
    validate,
    validate_all,
)

IDENTITIES = ("phone", "wa_id", "user_id", "email")


def _user_id(value: str) -> str:
    if value and "." not in value[1:-1]:
        raise ValueError("expects a WhatsApp user id with its country, e.g. BR.1A2B3C4D5E6F7G8H")
    return value


class ConsentIn(BaseModel):
    """That one person gave or withdrew consent to marketing. Unknown fields are let pass."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    consent_id: Text | None = None
    # Never guessed: `"no"` and 0 are nobody's word.
    given: Annotated[bool, Field(strict=True)]
    declared_at: ExactMoment
    phone: Phone | None = None
    wa_id: WaId | None = None
    user_id: Annotated[Text, AfterValidator(_user_id)] | None = None
    email: Email | None = None
    source: Name = "crm"

    @model_validator(mode="after")
    def _whole(self) -> ConsentIn:
        if any((self.phone, self.wa_id, self.user_id)):
            return self
        if not self.email:
            raise ValueError(f"needs one of {', '.join(IDENTITIES)}")
        if is_filler(self.email):  # a withdrawal that would reach nobody is told at once
            raise ValueError("needs another identity: many people type this e-mail address")
        return self


def validate_consent(
    element: object, *, index: int = 0, default_country: str = DEFAULT_COUNTRY
) -> ConsentIn:
    """One element, already parsed from JSON. Raises `IntakeError`.

    `default_country` (ISO 3166) is where a `phone` without a country code is.
    """
    return validate(ConsentIn, element, index=index, default_country=default_country)


def validate_consents(raw: bytes, *, default_country: str = DEFAULT_COUNTRY) -> list[ConsentIn]:
    """All words of a body, or `IntakeError` with every reason (of at most 100 elements)."""
    return validate_all(
        raw,
        lambda element, index: validate_consent(
            element, index=index, default_country=default_country
        ),
    )


__all__ = ["IDENTITIES", "ConsentIn", "validate_consent", "validate_consents"]
