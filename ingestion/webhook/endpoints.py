"""The endpoints that take bodies: who may post there, and what is looked at before 200."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from ctwa.settings import Settings
from ingestion.webhook.consents import validate_consents
from ingestion.webhook.http import OK, Answer, Scope, header
from ingestion.webhook.intake import validate_outcomes
from ingestion.webhook.providers import TwilioSignature, shows_secret
from ingestion.webhook.signature import verify
from ingestion.webhook.site import validate_web_leads

Authentic = Callable[[Scope, bytes, Sequence[bytes]], bool]
"""Whether one of the secrets is behind a request and its body."""

_NO_REPLY = OK._replace(body=b"<Response/>", content_type=b"text/xml")
"""Twilio sends a plain text to the person who wrote: an answer of `ok` would be a message."""


@dataclass(frozen=True)
class Intake:
    """One endpoint for bodies that show where they come from."""

    source: str
    authentic: Authentic
    secrets: tuple[bytes, ...]
    setting: str
    """The setting that is missing where there are no secrets."""
    check: Callable[[bytes], object] | None = None
    """Raises `IntakeError` if the body is to be refused with 422."""
    is_optional: bool = False
    """Not every company has it: nothing is said at the start where it is not set."""
    stored: Answer = OK
    """The answer once a body is durable."""


def intakes(settings: Settings) -> dict[str, Intake]:
    """Every such endpoint by path; those without secrets answer 503."""
    meta = signed("x-hub-signature-256")
    app_secrets = tuple(settings.meta_app_secrets)
    twilio_tokens = tuple(settings.twilio_tokens)
    return {
        "/webhooks/whatsapp": Intake("whatsapp", meta, app_secrets, "META_APP_SECRET"),
        "/webhooks/outcomes": Intake(
            "outcomes",
            signed("x-signature-256"),
            tuple(settings.intake_secrets),
            "CTWA_INTAKE_SECRET",
            partial(validate_outcomes, default_country=settings.default_country),
        ),
        "/webhooks/leads": Intake(
            "leads",
            signed("x-signature-256"),
            tuple(settings.intake_secrets),
            "CTWA_INTAKE_SECRET",
            partial(validate_web_leads, default_country=settings.default_country),
        ),
        "/webhooks/consents": Intake(
            "consents",
            signed("x-signature-256"),
            tuple(settings.intake_secrets),
            "CTWA_INTAKE_SECRET",
            partial(validate_consents, default_country=settings.default_country),
        ),
        "/webhooks/messenger": Intake(
            "messenger", meta, app_secrets, "META_APP_SECRET", is_optional=True
        ),
        "/webhooks/twilio": Intake(
            "twilio",
            TwilioSignature(settings.public_url),
            twilio_tokens if settings.public_url else (),
            "CTWA_PUBLIC_URL" if twilio_tokens else "TWILIO_AUTH_TOKEN",
            is_optional=not twilio_tokens,
            stored=_NO_REPLY,
        ),
        "/webhooks/360dialog": Intake(
            "dialog360",
            shows_secret,
            tuple(settings.dialog360_secrets),
            "DIALOG360_WEBHOOK_SECRET",
            is_optional=True,
        ),
        "/webhooks/gupshup": Intake(
            "gupshup",
            shows_secret,
            tuple(settings.gupshup_secrets),
            "GUPSHUP_WEBHOOK_SECRET",
            is_optional=True,
            stored=OK._replace(body=b""),  # as they ask
        ),
    }


def signed(name: str) -> Authentic:
    """Whether the header `name` holds `sha256=` and the HMAC of the body."""
    key = name.encode()
    return lambda scope, body, secrets: verify(header(scope, key), body, secrets)
