"""Signatures: Meta's way of signing, and every way of getting it wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ingestion.webhook.endpoints import sign, verify

# 205 bytes as on the wire: escapes and backslashes are literal.
VECTOR = (
    rb'{"object":"whatsapp_business_account","entry":[{"id":"0","changes":[{"field":"messages",'
    rb'"value":{"messages":[{"id":"wamid.T","text":{"body":"Ol\u00e1 \ud83d\udc4b '
    rb'https:\/\/fb.me\/x"},"type":"text"}]}}]}]}'
)
DIGEST = "14c6df56c5efc5ff4d63e4a30a0297e164f072364d63638e9e4479567dae808f"
KEY = b"test_app_secret"


def test_known_vector_of_escaped_body() -> None:
    assert len(VECTOR) == 205
    assert sign(VECTOR, KEY) == f"sha256={DIGEST}"
    assert verify(f"sha256={DIGEST}".encode(), VECTOR, [KEY])


def test_a_reserialised_body_no_longer_fits() -> None:
    import json

    again = json.dumps(json.loads(VECTOR), separators=(",", ":")).encode()
    assert not verify(f"sha256={DIGEST}".encode(), again, [KEY])


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"sha256=",
        DIGEST.encode(),
        f"sha1={DIGEST}".encode(),
        f"sha256={DIGEST.upper()}".encode(),
        f"SHA256={DIGEST}".encode(),
        f"sha256={DIGEST} ".encode(),
        f"sha256={DIGEST[:-1]}".encode(),
        f"sha256={DIGEST}0".encode(),
        f"sha256={'0' * 64}".encode(),
        "sha256=ação".encode(),
        b"sha256=\xff\xfe\x00" + b"a" * 61,
    ],
)
def test_e75_every_other_header_is_refused(header: bytes | None) -> None:
    assert not verify(header, VECTOR, [KEY])


def test_one_changed_bit_is_refused() -> None:
    header = f"sha256={DIGEST}".encode()
    for place in (0, 100, 204):
        changed = bytearray(VECTOR)
        changed[place] ^= 1
        assert not verify(header, bytes(changed), [KEY])


class _Watched(list[bytes]):
    """Notes which secrets were tried."""

    def __init__(self, secrets: list[bytes]) -> None:
        super().__init__(secrets)
        self.tried: list[bytes] = []

    def __iter__(self) -> Iterator[bytes]:
        for secret in super().__iter__():
            self.tried.append(secret)
            yield secret


@pytest.mark.parametrize("secrets", [[b"new", b"old"], [b"old", b"new"]])
def test_any_of_several_secrets_fits_and_all_are_tried(secrets: list[bytes]) -> None:
    watched = _Watched(secrets)
    assert verify(sign(VECTOR, b"new").encode(), VECTOR, watched)
    assert watched.tried == secrets  # no early exit that tells which one fitted


def test_without_a_secret_nothing_fits() -> None:
    assert not verify(sign(VECTOR, b"").encode(), VECTOR, [])
