"""CRM outcomes as posted to `/webhooks/outcomes`, or read from a file: their shape."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictStr, model_validator

from ctwa.phones import DEFAULT_COUNTRY
from ingestion.webhook.fields import (
    MAX_ELEMENTS,
    Amount,
    Email,
    Filled,
    IntakeError,
    Moment,
    Name,
    Phone,
    Problem,
    Text,
    WaId,
    load_elements,
    validate,
    validate_all,
)

IDENTITIES = ("phone", "wa_id", "user_id", "email", "lead_id", "message_id")


class OutcomeIn(BaseModel):
    """What a CRM says of one lead at one moment. Unknown fields are let pass."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    event_id: Filled
    stage: Name
    occurred_at: Moment
    phone: Phone | None = None
    wa_id: WaId | None = None
    user_id: Text | None = None
    email: Email | None = None
    lead_id: Text | None = None
    message_id: Text | None = None
    value: Amount | None = None
    currency: Annotated[StrictStr, Field(pattern=r"^[A-Z]{3}$")] | None = None
    source: Name = "crm"

    @model_validator(mode="after")
    def _whole(self) -> OutcomeIn:
        if not any(getattr(self, name) for name in IDENTITIES):
            raise ValueError(f"needs one of {', '.join(IDENTITIES)}")
        return self


def validate_outcome(
    element: object, *, index: int = 0, default_country: str = DEFAULT_COUNTRY
) -> OutcomeIn:
    """One element, already parsed from JSON. Raises `IntakeError`.

    `default_country` (ISO 3166) is where a `phone` without a country code is.
    """
    return validate(OutcomeIn, element, index=index, default_country=default_country)


def validate_outcomes(raw: bytes, *, default_country: str = DEFAULT_COUNTRY) -> list[OutcomeIn]:
    """All outcomes of a body, or `IntakeError` with every reason (of at most 100 elements)."""
    return validate_all(
        raw,
        lambda element, index: validate_outcome(
            element, index=index, default_country=default_country
        ),
    )


__all__ = [
    "IDENTITIES",
    "MAX_ELEMENTS",
    "IntakeError",
    "OutcomeIn",
    "Problem",
    "load_elements",
    "validate_outcome",
    "validate_outcomes",
]
