"""Which bodies of the vault name an erased person, anywhere in them.

The rows of the event log lead to most of them. This search finds the others: elements that were
quarantined, fields that make no row, a phone number inside a message id or in somebody's text.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from urllib.parse import unquote_plus

import orjson
import pyarrow as pa

from ctwa.pseudonym import Pseudonymizer
from ingestion.erasure.ledger import marker
from ingestion.erasure.people import Period
from ingestion.erasure.sieve import span

_DIGITS = re.compile(r"\d{7,17}")
_WRITTEN_PHONE = re.compile(r"\+?\d(?:[ ().\-]{0,2}\d){6,16}")
_BSUID = re.compile(r"(?<![A-Za-z])[A-Za-z]{2}\.(?:ENT\.)?[A-Za-z0-9]{4,128}")
_EMAIL = re.compile(r"[^\s\"'<>,;:\\()]+@[^\s\"'<>,;:\\()]+")
_BETWEEN_FIELDS = re.compile("[&=]")
_WAMID = re.compile(r"wamid\.([A-Za-z0-9+/_\-]{8,})")


def envelopes_naming(
    batches: Iterable[pa.RecordBatch],
    marks: Collection[str],
    names: Pseudonymizer,
    received_before_us: int,
    phones: Mapping[str, Sequence[Period]],
) -> Iterator[int]:
    """`seq` of the envelopes received before then (µs) whose body names one of the marked.

    One of `phones`, which are also other people's, counts where it was received in those times.
    """
    mark = marker(names)
    always = (span(Period()),)
    spans = {m: tuple(map(span, periods)) for m, periods in phones.items()}
    spans |= dict.fromkeys(marks, always)

    def known(of: Callable[[str], str | None]) -> Callable[[str, int], bool]:
        @lru_cache(1 << 16)
        def times(text: str) -> tuple[tuple[int, int], ...]:
            key = of(text)
            return () if key is None else spans.get(mark(key), ())

        return lambda text, at: any(since <= at < until for since, until in times(text))

    tests = (
        (_DIGITS, known(names.phone)),
        (_WRITTEN_PHONE, known(names.phone)),
        (_BSUID, known(names.bsuid)),
    )
    is_email = known(names.email)
    for batch in batches:
        times = batch.column("received_at").cast(pa.int64()).to_pylist()
        columns = batch.column("seq").to_pylist(), times, batch.column("body").to_pylist()
        for seq, received_us, body in zip(*columns, strict=True):
            if received_us >= received_before_us:
                continue
            text = _readable(body)
            if any(
                test(m, received_us) for pattern, test in tests for m in set(pattern.findall(text))
            ) or ("@" in text and any(is_email(m, received_us) for m in set(_EMAIL.findall(text)))):
                yield seq


def _readable(body: bytes) -> str:
    """The body's text without escapes, followed by what its message ids hold."""
    text = body.decode("utf-8", "replace").replace("\\/", "/")
    if "%" in text and ("%40" in text or text.lstrip()[:1] not in ("{", "[")):  # a form, or a page
        text += " " + unquote_plus(_BETWEEN_FIELDS.sub(" ", text))
    if "\\u00" in text:
        with suppress(orjson.JSONDecodeError):
            text = orjson.dumps(orjson.loads(body)).decode()
    return text + "".join(f" {_decoded(wamid)}" for wamid in _WAMID.findall(text))


def _decoded(wamid: str) -> str:
    """Text in a message id: base64 of a record that holds the phone number."""
    whole = wamid.translate(str.maketrans("-_", "+/"))
    try:
        return base64.b64decode(whole + "=" * (-len(whole) % 4)).decode("latin-1")
    except binascii.Error:
        return ""
