"""How messages come in: the receiver, and each way in with its secret."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import requests

from ctwa.settings import Settings
from ingestion.doctor import Finding, off, ok, wrong

MIN_SECRET_CHARS = 16
_SECONDS = 5.0


def receiver(settings: Settings, url: str) -> Iterator[Finding]:
    """Up, ready, and reachable by the address that others call."""
    yield _answers("receiver", f"{url}/readyz", "start it: `ctwa serve` (docs/operations.md)")
    if settings.public_url:
        # A handshake without its token: the proxies of deploy/ let only /webhooks through.
        yield _answers(
            "public address",
            f"{settings.public_url.rstrip('/')}/webhooks/whatsapp",
            "check CTWA_PUBLIC_URL, DNS, the TLS proxy (deploy/) and the firewall",
            expected=403,
        )
        if urlsplit(settings.public_url).scheme != "https":
            yield wrong(
                "public address",
                "is not https",
                "Meta and the others call https only: put a TLS proxy in front",
            )


def _answers(subject: str, url: str, mend: str, *, expected: int = 200) -> Finding:
    try:
        answer = requests.get(url, timeout=_SECONDS, allow_redirects=False)
    except requests.RequestException as error:
        return wrong(subject, f"{url} does not answer ({type(error).__name__})", mend)
    if answer.status_code != expected:
        return wrong(
            subject, f"{url} answers {answer.status_code}: {answer.text[:80].strip()}", mend
        )
    return ok(subject, f"{url} answers")


def ways_in(settings: Settings) -> Iterator[Finding]:
    """Every endpoint with its secret; a company needs one of WhatsApp's at least."""
    secret, token = settings.meta_app_secrets, settings.meta_verify_token
    providers = {
        "Twilio": ("TWILIO_AUTH_TOKEN", settings.twilio_tokens),
        "360dialog": ("DIALOG360_WEBHOOK_SECRET", settings.dialog360_secrets),
        "Gupshup": ("GUPSHUP_WEBHOOK_SECRET", settings.gupshup_secrets),
    }
    if secret and token:
        yield ok("WhatsApp webhook", "META_APP_SECRET and META_VERIFY_TOKEN are set")
    elif secret or token:
        missing = "META_VERIFY_TOKEN" if secret else "META_APP_SECRET"
        yield wrong(
            "WhatsApp webhook",
            f"{missing} is not set",
            "see docs/connect/whatsapp.md for where to get it",
        )
    elif not any(values for _, values in providers.values()):
        yield wrong(
            "WhatsApp webhook",
            "no way in: neither Meta's app secret nor another provider's is set",
            "set META_APP_SECRET and META_VERIFY_TOKEN (docs/connect/whatsapp.md)",
        )
    else:
        yield off("WhatsApp webhook", "META_APP_SECRET is not set; another provider delivers")
    for name, (variable, values) in providers.items():
        yield _provider(settings, name, variable, values)
    yield _secret("web leads, outcomes, consents", "CTWA_INTAKE_SECRET", settings.intake_secrets)
    yield from _site(settings)


def _provider(settings: Settings, name: str, variable: str, values: list[bytes]) -> Finding:
    found = _secret(name, variable, values)
    if found.status == "ok" and name == "Twilio" and not settings.public_url:
        return wrong(
            name,
            "CTWA_PUBLIC_URL is not set, and Twilio signs the address it calls",
            "set CTWA_PUBLIC_URL to the receiver's address as Twilio has it",
        )
    return found


def _secret(subject: str, variable: str, values: list[bytes]) -> Finding:
    if not values:
        return off(subject, f"{variable} is not set")
    if min(map(len, values)) < MIN_SECRET_CHARS:
        return wrong(
            subject,
            f"{variable} is shorter than {MIN_SECRET_CHARS} characters",
            "make a long random one, e.g. `openssl rand -hex 32`, and set it on both sides",
        )
    rotating = f", {len(values)} accepted while rotating" if len(values) > 1 else ""
    return ok(subject, f"{variable} is set{rotating}")


def _site(settings: Settings) -> Iterator[Finding]:
    site, origins = settings.site_id, settings.allowed_origins
    if site and origins:
        yield ok("site button", f"codes of site {site}, clicks from {', '.join(sorted(origins))}")
    elif site or origins:
        missing = "CTWA_SITE_ORIGINS" if site else "CTWA_SITE_ID"
        yield wrong("site button", f"{missing} is not set", "see docs/connect/website.md")
    else:
        yield off("site button", "CTWA_SITE_ID and CTWA_SITE_ORIGINS are not set")
