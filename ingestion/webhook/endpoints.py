"""The endpoints that accept bodies: who may post there, and how webhooks prove who sent them.

Signatures and shared secrets are compared in constant time. Meta and a company's own senders sign
the raw bytes with HMAC-SHA256. Meta signs the body as it sends it (`\\u00e4` escapes, `\\/`);
parsing and dumping it again gives other bytes, so only the bytes from the wire may be used. The
digest is lower-case hex, as Meta sends it, so a body has one valid signature.

Twilio signs the URL it calls together with what it posts: base64 of HMAC-SHA1, keyed with the auth
token, over the URL and then each parameter's name and value, sorted by name. A body that is not a
form is signed by its SHA-256 in the query (`bodySHA256`).

360dialog and Gupshup send headers that the customer chooses: a secret there shows that they know
whom they call, not that the body is unchanged. For partners, 360dialog also signs the body, with
the platform's secret.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from urllib.parse import parse_qs, parse_qsl, urlsplit

from pydantic import BaseModel

from ctwa.settings import Settings
from ingestion.webhook.fields import validate_all
from ingestion.webhook.http import MAX_BODY_BYTES, OK, Answer, Scope, header
from ingestion.webhook.shapes import ConsentIn, OutcomeIn, WebLeadIn

Authentic = Callable[[Scope, bytes, Sequence[bytes]], bool]
"""Whether a request and its body were signed with, or show, one of the secrets."""

_NO_REPLY = OK._replace(body=b"<Response/>", content_type=b"text/xml")
"""Twilio sends a plain-text answer to the person who wrote, so `ok` would become a message."""


@dataclass(frozen=True)
class Intake:
    """One endpoint for authenticated bodies."""

    source: str
    authentic: Authentic
    secrets: tuple[bytes, ...]
    setting: str
    """The setting that is missing if there are no secrets."""
    check: Callable[[bytes], object] | None = None
    """Raises `IntakeError` if the body must be refused with 422."""
    is_optional: bool = False
    """Not every company needs it, so there is no warning at the start if it is not set."""
    stored: Answer = OK
    """The answer once a body is durable."""
    max_bytes: int = MAX_BODY_BYTES


def intakes(settings: Settings) -> dict[str, Intake]:
    """Every endpoint by path; those without secrets answer 503."""
    meta = signed("x-hub-signature-256")
    app_secrets = tuple(settings.meta_app_secrets)
    twilio_tokens = tuple(settings.twilio_tokens)

    def own_system(source: str, model: type[BaseModel]) -> Intake:
        return Intake(
            source,
            signed("x-signature-256"),
            tuple(settings.intake_secrets),
            "CTWA_INTAKE_SECRET",
            partial(validate_all, model=model, default_country=settings.default_country),
        )

    return {
        "/webhooks/whatsapp": Intake("whatsapp", meta, app_secrets, "META_APP_SECRET"),
        "/webhooks/outcomes": own_system("outcomes", OutcomeIn),
        "/webhooks/leads": own_system("leads", WebLeadIn),
        "/webhooks/consents": own_system("consents", ConsentIn),
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
            # The form is parsed before its signature is verified; real ones are a few KB.
            max_bytes=64 * 1024,
        ),
        "/webhooks/360dialog": Intake(
            "dialog360",
            is_from_360dialog,
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


_PREFIX = b"sha256="
_SIGNATURE_LENGTH = len(_PREFIX) + 64


def sign(body: bytes, secret: bytes) -> str:
    """Header value for `body`: `sha256=` and 64 hex digits."""
    return "sha256=" + hmac.digest(secret, body, "sha256").hex()


def verify(header: bytes | None, body: bytes, secrets: Sequence[bytes]) -> bool:
    """Whether `header` signs `body` with one of `secrets`; the header may hold any bytes.

    Every secret is tried, so that the time taken does not reveal which one matched.
    """
    # A malformed header is refused before the body is hashed, the expensive part.
    if header is None or len(header) != _SIGNATURE_LENGTH or not header.startswith(_PREFIX):
        return False
    given = header[len(_PREFIX) :]
    fits = False
    for secret in secrets:
        expected = hmac.digest(secret, body, "sha256").hex().encode()
        fits |= hmac.compare_digest(expected, given)
    return fits


MAX_PARAMETERS = 1_000
"""Twilio sends a few dozen; more are not worth sorting for an unverified sender."""

_SIGNATURE_CHARS = 28  # base64 of 20 bytes
_DEFAULT_PORTS = {"https": 443, "http": 80}
_BODY_HASH = "bodySHA256"


class TwilioSignature:
    """Checks `X-Twilio-Signature` of calls to `public_url` (`CTWA_PUBLIC_URL`) and its paths."""

    def __init__(self, public_url: str) -> None:
        self._bases = tuple(base.encode() for base in _spellings(public_url.rstrip("/")))

    def __call__(self, scope: Scope, body: bytes, secrets: Sequence[bytes]) -> bool:
        """Whether the request is signed with one of `secrets`.

        Like Twilio's own validators, this accepts the URL with its port and without.
        """
        given = header(scope, b"x-twilio-signature")
        query: bytes = scope["query_string"]
        # A malformed header is refused before the form is parsed, the expensive part.
        if given is None or len(given) != _SIGNATURE_CHARS:
            return False
        signed = _signed_part(query, body)
        if signed is None:
            return False
        path = scope["path"].encode() + (b"?" + query if query else b"")
        fits = False
        for base in self._bases:
            for secret in secrets:
                digest = hmac.digest(secret, base + path + signed, "sha1")
                fits |= hmac.compare_digest(base64.b64encode(digest), given)
        return fits


def shows_secret(scope: Scope, _body: bytes, secrets: Sequence[bytes]) -> bool:
    """Whether the request shows one of `secrets`: as `X-Webhook-Secret`, as a bearer token, or as
    the password of HTTP basic authentication with any user name.

    Never in the URL: proxies write URLs into their logs.
    """
    shown = [header(scope, b"x-webhook-secret"), _authorization(scope)]
    fits = False
    for given in shown:
        for secret in secrets:
            fits |= given is not None and hmac.compare_digest(secret, given)
    return fits


def is_from_360dialog(scope: Scope, body: bytes, secrets: Sequence[bytes]) -> bool:
    """Whether the request shows one of `secrets`, or `X-360dialog-Signature` is made with one.

    Their documentation says HMAC-SHA256 of the body but not the encoding: hex and base64 are
    accepted.
    """
    given = header(scope, b"x-360dialog-signature")
    fits = shows_secret(scope, body, secrets)
    if given is not None:
        given = given.strip().removeprefix(b"sha256=")
        for secret in secrets:
            digest = hmac.digest(secret, body, "sha256")
            fits |= hmac.compare_digest(digest.hex().encode(), given.lower())
            fits |= hmac.compare_digest(base64.b64encode(digest), given)
    return fits


def sign_form(url: str, parameters: Sequence[tuple[str, str]], token: bytes) -> str:
    """Twilio's signature of a form posted to `url`."""
    message = url.encode() + _concatenated(parameters)
    return base64.b64encode(hmac.digest(token, message, "sha1")).decode()


def _signed_part(query: bytes, body: bytes) -> bytes | None:
    """What follows the URL in the signed text; None if there cannot be a valid signature."""
    try:
        hashes = parse_qs(query.decode("ascii"), max_num_fields=20).get(_BODY_HASH)
        if hashes is not None:
            digest = hashlib.sha256(body).hexdigest()
            fits = len(hashes) == 1 and hmac.compare_digest(digest, hashes[0].lower())
            return b"" if fits else None
        text = body.decode("utf-8", "surrogateescape")
        pairs = parse_qsl(
            text, keep_blank_values=True, errors="surrogateescape", max_num_fields=MAX_PARAMETERS
        )
    except (ValueError, TypeError):
        return None
    return _concatenated(pairs)


def _concatenated(parameters: Sequence[tuple[str, str]]) -> bytes:
    # If a parameter comes twice, each distinct value counts once, in order, as in Twilio's own
    # validators.
    text = "".join(name + value for name, value in sorted(set(parameters)))
    return text.encode("utf-8", "surrogateescape")


def _spellings(url: str) -> list[str]:
    """`url` without its port, and with it (or with the port that its scheme implies)."""
    parts = urlsplit(url)
    if parts.port is not None:
        bare, full = parts.netloc.rpartition(":")[0], parts.netloc
    else:
        bare, full = parts.netloc, f"{parts.netloc}:{_DEFAULT_PORTS.get(parts.scheme, 443)}"
    return [parts._replace(netloc=netloc).geturl() for netloc in (bare, full)]


def _authorization(scope: Scope) -> bytes | None:
    scheme, _, value = (header(scope, b"authorization") or b"").partition(b" ")
    value = value.strip()
    if scheme.lower() == b"bearer":
        return value
    if scheme.lower() != b"basic":
        return None
    try:
        _user, colon, password = base64.b64decode(value, validate=True).partition(b":")
    except binascii.Error:
        return None
    return password if colon else None
