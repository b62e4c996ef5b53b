"""Stored envelopes back into the vault: NDJSON, `.gz` too, one envelope on each line.

A line is either the raw body of a webhook of Meta (WhatsApp, Messenger, Instagram), kept byte for
byte, or a wrapper `{"body": …, "received_at": "2026-05-04T14:31:00Z", "source": "whatsapp"}`, where
`body` is the body as text (kept exactly; so are Twilio's forms) or as JSON, and `source` is one of
`SOURCES`, `whatsapp` by default.
Repeats do no harm: a message counts once however often it is delivered.
"""

from __future__ import annotations

import gzip
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

from ctwa.settings import Settings
from ingestion.webhook.vault import NewEnvelope, Vault, microseconds

MAX_BODY_BYTES = 3 * 2**20
SOURCES = (
    "whatsapp", "dialog360", "gupshup", "twilio", "messenger", "leads", "clicks", "outcomes",
    "consents", "hubspot", "exclusions",
)  # fmt: skip
_CHATS = ("page", "instagram")
"""`object` of a raw body that is Messenger's or Instagram's."""
_BATCH = 500
_BATCH_BYTES = 8 * 2**20


@dataclass(slots=True)
class ReplayReport:
    """`problems`: one line of text for each refused line, with file and line number."""

    stored: int = 0
    problems: list[str] = field(default_factory=list)


class _BadLineError(ValueError):
    """A line is not an envelope; the text says what was expected, without values."""


def replay(
    settings: Settings,
    files: Sequence[Path],
    *,
    progress: Callable[[int], None] | None = None,
    now: Callable[[], float] = time.time,
) -> ReplayReport:
    """Put the envelopes of `files` into the vault, in order; bad lines are reported and left out.

    Lines without a time of receipt get the present one. `progress` is called with the number
    stored so far. Raises `VaultUnavailableError` when the vault cannot be written: what was
    reported to `progress` is durable then.
    """
    report = ReplayReport()
    vault = Vault.open(settings.vault_url)
    try:
        for items in _batches(_envelopes(files, report, now)):
            vault.append(items)
            report.stored += len(items)
            if progress is not None:
                progress(report.stored)
    finally:
        vault.close()
    return report


def _batches(items: Iterable[NewEnvelope]) -> Iterator[list[NewEnvelope]]:
    held: list[NewEnvelope] = []
    size = 0
    for item in items:
        held.append(item)
        size += len(item.body)
        if len(held) >= _BATCH or size >= _BATCH_BYTES:
            yield held
            held, size = [], 0
    if held:
        yield held


def _envelopes(
    files: Sequence[Path], report: ReplayReport, now: Callable[[], float]
) -> Iterator[NewEnvelope]:
    for path in files:
        number = 0
        try:
            with _open(path) as file:
                for number, line in enumerate(file, 1):
                    text = line.strip()
                    if not text:
                        continue
                    try:
                        yield _envelope(text, now)
                    except _BadLineError as error:
                        report.problems.append(f"{path.name}:{number}: {error}")
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            # The whole lines before the cut are kept.
            report.problems.append(f"{path.name}:{number + 1}: gzip data ends or breaks: {error}")


def _open(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        return cast(BinaryIO, gzip.open(path, "rb"))
    return path.open("rb")


def _envelope(line: bytes, now: Callable[[], float]) -> NewEnvelope:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise _BadLineError("expected one JSON object on the line") from None
    if type(value) is not dict:
        raise _BadLineError("expected one JSON object on the line")
    if "body" not in value or "object" in value:
        source = "messenger" if value.get("object") in _CHATS else "whatsapp"
        return _checked(int(now() * 1_000_000), source, line)
    source = value.get("source", "whatsapp")
    if source not in SOURCES:
        raise _BadLineError(f"source: expected one of {', '.join(SOURCES)}")
    body = value["body"]
    raw = body.encode() if type(body) is str else orjson.dumps(body)
    return _checked(_received_us(value.get("received_at"), now), source, raw)


def _checked(received_us: int, source: str, body: bytes) -> NewEnvelope:
    if len(body) > MAX_BODY_BYTES:
        raise _BadLineError(f"body: expected at most {MAX_BODY_BYTES} bytes")
    return NewEnvelope(received_us, source, body)


def _received_us(value: Any, now: Callable[[], float]) -> int:
    if value is None:
        return int(now() * 1_000_000)
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise _BadLineError("received_at: expected ISO 8601 with an offset")
    return microseconds(moment)
