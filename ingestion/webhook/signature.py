"""Signatures of webhooks: HMAC-SHA256 over the raw bytes, in constant time.

Meta signs the body as it sends it (`\\u00e4` escapes, `\\/`); parsing and dumping it again gives
other bytes, so only the bytes from the wire may be used. The digest is lower-case hex, as Meta
sends it: one body has one valid spelling of its signature.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

_PREFIX = b"sha256="


def sign(body: bytes, secret: bytes) -> str:
    """Header value for `body`: `sha256=` and 64 hex digits."""
    return "sha256=" + hmac.digest(secret, body, "sha256").hex()


def verify(header: bytes | None, body: bytes, secrets: Sequence[bytes]) -> bool:
    """Whether `header` signs `body` with one of `secrets`; any bytes may stand in the header.

    Every secret is tried, so that the time taken does not tell which one fitted.
    """
    if header is None or not header.startswith(_PREFIX):
        return False
    given = header[len(_PREFIX) :]
    fits = False
    for secret in secrets:
        expected = hmac.digest(secret, body, "sha256").hex().encode()
        fits |= hmac.compare_digest(expected, given)
    return fits
