"""What comes from a company's own site: web leads, and clicks on its WhatsApp button."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictStr

from ctwa.link_code import is_fit, is_whole
from ctwa.phones import DEFAULT_COUNTRY
from ingestion.webhook.fields import (
    Address,
    Email,
    ExactMoment,
    Filled,
    IntakeError,
    Phone,
    Problem,
    Text,
    load_elements,
    validate,
    validate_all,
)

_EXPECTED_CODE = "expects the ten characters of a code that this site's page made"


class WebLeadIn(BaseModel):
    """A form that somebody sent. Unknown fields are let pass."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    lead_id: Filled
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
    """A click on the WhatsApp button, as the page tells it. Unknown fields are let pass."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    code: Annotated[StrictStr, AfterValidator(_code)]
    page_url: Address
    referrer: Address | None = None
    clicked_at: ExactMoment | None = None


def validate_web_lead(
    element: object, *, index: int = 0, default_country: str = DEFAULT_COUNTRY
) -> WebLeadIn:
    """One element, already parsed from JSON. Raises `IntakeError`."""
    return validate(WebLeadIn, element, index=index, default_country=default_country)


def validate_web_leads(raw: bytes, *, default_country: str = DEFAULT_COUNTRY) -> list[WebLeadIn]:
    """All leads of a body, or `IntakeError` with every reason (of at most 100 elements)."""
    return validate_all(
        raw,
        lambda element, index: validate_web_lead(
            element, index=index, default_country=default_country
        ),
    )


def validate_click(element: object) -> ClickIn:
    """One click, already parsed from JSON; of whichever site. Raises `IntakeError`."""
    return validate(ClickIn, element)


def check_click(raw: bytes, site_id: str) -> None:
    """Raise `IntakeError` if a body is not one click with a code of this site's."""
    elements = load_elements(raw)
    if len(elements) != 1:
        raise IntakeError([Problem(0, "", "expects one click")])
    if not is_fit(validate_click(elements[0]).code, site_id):
        raise IntakeError([Problem(0, "code", _EXPECTED_CODE)])


__all__ = [
    "ClickIn",
    "WebLeadIn",
    "check_click",
    "validate_click",
    "validate_web_lead",
    "validate_web_leads",
]
