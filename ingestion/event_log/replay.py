"""Puts stored envelopes back into the vault: NDJSON, also gzipped, with one envelope per line.

A line is either the raw body of a webhook of Meta (WhatsApp, Messenger, Instagram), kept byte for
byte, or a wrapper `{"body": …, "received_at": "2026-05-04T14:31:00Z", "source": "whatsapp"}`, where
`body` is the body as text (kept exactly; so are Twilio's forms) or as JSON, and `source` is one of
`SOURCES`, `whatsapp` by default.
Repeats are harmless: a message counts once however often it is delivered.

A vault in SQLite, such as a backup's `vault.db`, is accepted too: from it come the bodies that the
vault does not have, or does not have as they were stored.
"""

from __future__ import annotations

import gzip
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson
import pyarrow.compute as pc

from ctwa.settings import Settings
from ingestion.vault import open_vault
from ingestion.vault.vault import NewEnvelope, Vault, microseconds

MAX_BODY_BYTES = 3 * 2**20
MAX_LINE_BYTES = 6 * MAX_BODY_BYTES + 4_096
"""Longest valid line: a wrapper whose body is a text of nothing but escapes."""
_PIECE_BYTES = 2**20
_SQLITE = b"SQLite format 3\0"
SOURCES = (
    "whatsapp", "dialog360", "gupshup", "twilio", "messenger", "leads", "clicks", "outcomes",
    "consents", "hubspot", "meta_lead_forms", "exclusions",
)  # fmt: skip
_CHATS = ("page", "instagram")
"""`object` in raw bodies of Messenger and Instagram."""
_BATCH = 500
_BATCH_BYTES = 8 * 2**20


@dataclass(slots=True)
class ReplayReport:
    """`problems`: a line of text for each refused line, with file and line number."""

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
    """Put the envelopes of `files` into the vault, in order; bad lines are reported and skipped.

    Lines without a time of receipt get the current time. `progress` is called with the number
    stored so far. Raises `VaultUnavailableError` if the vault cannot be written; what was reported
    to `progress` is durable then.
    """
    report = ReplayReport()
    with closing(open_vault(settings.vault_url)) as vault:
        for items in _batches(_envelopes(files, report, now, partial(_known, vault))):
            vault.append(items)
            report.stored += len(items)
            if progress is not None:
                progress(report.stored)
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
    files: Sequence[Path],
    report: ReplayReport,
    now: Callable[[], float],
    known: Callable[[], set[bytes]],
) -> Iterator[NewEnvelope]:
    for path in files:
        number = 0
        try:
            if _is_vault(path):
                yield from _of_vault(path, known())
                continue
            with _open(path) as file:
                for number, line in enumerate(_lines(file), 1):
                    try:
                        text = _whole(line).strip()
                        if text:
                            yield _envelope(text, now)
                    except _BadLineError as error:
                        report.problems.append(f"{path.name}:{number}: {error}")
        except sqlite3.Error as error:
            report.problems.append(f"{path.name}: not a vault that can be read: {error}")
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            # The complete lines before the break are kept.
            report.problems.append(f"{path.name}:{number + 1}: gzip data ends or breaks: {error}")


def _is_vault(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def _of_vault(path: Path, known: set[bytes]) -> Iterator[NewEnvelope]:
    """Undamaged bodies of another vault whose hashes are not in `known`."""
    wal = path.with_name(f"{path.name}-wal")
    # A backup has no WAL, and no file may be created next to it.
    how = "mode=ro" if wal.exists() and wal.stat().st_size else "immutable=1"
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)) as found:
        for at_us, source, body, digest in found.execute(
            "select received_at_us, source, body, body_sha256 from envelopes "
            "where typeof(body) = 'blob' and length(body) > 0 "
            "and typeof(received_at_us) = 'integer' order by seq"
        ):
            if source in SOURCES and digest not in known and sha256(body).digest() == digest:
                yield NewEnvelope(at_us, source, body)


def _known(vault: Vault) -> set[bytes]:
    """Hashes of the bodies that the vault has, or had before they were purged."""
    bad = {
        row["seq"]
        for batch in vault.read_batches(0)
        for row in batch.filter(pc.is_valid(batch.column("damage"))).to_pylist()
    }
    return {digest for seq, digest in vault.digests(vault.last_seq()) if seq not in bad}


def _lines(file: BinaryIO) -> Iterator[bytes | None]:
    """Lines; None for a line that is too long, which is not kept in memory: a few MB of a
    compressed file may be a line of several GB."""
    while line := file.readline(MAX_LINE_BYTES + 1):
        if len(line) <= MAX_LINE_BYTES:
            yield line
            continue
        while not line.endswith(b"\n") and (line := file.readline(_PIECE_BYTES)):
            pass
        yield None


def _whole(line: bytes | None) -> bytes:
    if line is None:
        raise _BadLineError(f"expected a line of at most {MAX_LINE_BYTES} bytes")
    return line


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
    if moment is None or moment.tzinfo is None or not 2000 <= moment.year < 2100:
        raise _BadLineError("received_at: expected ISO 8601 with an offset")
    return microseconds(moment)
