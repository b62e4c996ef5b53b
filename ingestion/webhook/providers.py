"""How other providers' webhooks show that they are theirs.

Twilio signs the address it calls together with what it posts: base64 of HMAC-SHA1, with the auth
token as the key, over the URL and then each parameter's name and value, sorted by name. A body
that is no form is signed by its SHA-256 in the query (`bodySHA256`). 360dialog and Gupshup sign
nothing, but send headers of one's own choice: a secret shows that they know whom they call, not
that the body is as they wrote it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from urllib.parse import parse_qs, parse_qsl, urlsplit

from ingestion.webhook.http import Scope, header

MAX_PARAMETERS = 1_000
"""Twilio sends some dozens; more are not worth sorting for somebody who is not known yet."""

_DEFAULT_PORTS = {"https": 443, "http": 80}
_BODY_HASH = "bodySHA256"


class TwilioSignature:
    """Checks `X-Twilio-Signature` of calls to `public_url` (`CTWA_PUBLIC_URL`) and its paths."""

    def __init__(self, public_url: str) -> None:
        self._bases = tuple(base.encode() for base in _spellings(public_url.rstrip("/")))

    def __call__(self, scope: Scope, body: bytes, secrets: Sequence[bytes]) -> bool:
        """Whether the request is signed with one of `secrets`.

        Twilio's own validators take a URL with its port and without, and so does this.
        """
        given = header(scope, b"x-twilio-signature")
        query: bytes = scope["query_string"]
        signed = _signed_part(query, body)
        if given is None or signed is None:
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

    Never from the URL: proxies write URLs into their logs.
    """
    shown = [header(scope, b"x-webhook-secret"), _authorization(scope)]
    fits = False
    for given in shown:
        for secret in secrets:
            fits |= given is not None and hmac.compare_digest(secret, given)
    return fits


def sign_form(url: str, parameters: Sequence[tuple[str, str]], token: bytes) -> str:
    """Twilio's signature of a form posted to `url`."""
    message = url.encode() + _concatenated(parameters)
    return base64.b64encode(hmac.digest(token, message, "sha1")).decode()


def _signed_part(query: bytes, body: bytes) -> bytes | None:
    """What follows the URL in the signed text; None where nothing can be signed like that."""
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
    # Of a parameter that comes twice, each different value counts once, in order: so do Twilio's
    # validators.
    text = "".join(name + value for name, value in sorted(set(parameters)))
    return text.encode("utf-8", "surrogateescape")


def _spellings(url: str) -> list[str]:
    """`url` with its port, or the one that its scheme implies, and without."""
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
