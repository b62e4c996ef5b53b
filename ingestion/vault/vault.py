"""The vault: every envelope as received, in commit order. The only place with personal data.

Table `envelopes(seq, received_at_us, source, size, body_sha256, body)`. `seq` rises in commit
order and is never used twice: a reader that has read up to a `seq` has missed nothing below it.
Bodies are set to NULL when their retention ends; the row stays as a record. Repeats are kept too.

SQLite by default (`ingestion.vault.sqlite`), PostgreSQL by URL (`ingestion.vault.postgres`).
"""

from __future__ import annotations

import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from ctwa.errors import CtwaError
from ingestion.vault.tables import BEGUN, IDENTITY, LANDED, PROBED, READ_MARK

PAGE_BYTES = 64 * 1024 * 1024
"""Bodies in one batch of `read_batches`, at most (one larger body makes a batch of its own)."""

BATCH_SCHEMA = pa.schema(
    [
        pa.field("seq", pa.int64(), nullable=False),
        pa.field("received_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("body", pa.binary(), nullable=False),
        # Why there is no body that can be trusted: `unreadable`, `body_damaged`; else null.
        pa.field("damage", pa.string()),
    ]
)
UNREADABLE, BODY_DAMAGED = "unreadable", "body_damaged"
"""Values of `damage`: the database cannot return the row (`source` is this word too); by its hash,
the body is not the one that was stored. Neither row has a body."""
_MAX_LOST = 100_000
"""Above this, the numbers themselves must be damaged too."""
_YEAR_2100_US = 4_102_444_800_000_000
_BLIND_ROWS = 256
"""How many numbers to try at once if the database cannot say how many rows make a page."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class VaultError(CtwaError):
    """The vault cannot do what was asked. The text says why and what to do, without values."""


class VaultUnavailableError(VaultError):
    """Nothing could be stored durably (disk full, database gone, locked too long)."""


class VaultDamagedError(VaultError):
    """The database's own pages are damaged. Nothing more is written, because it might not be
    readable; what can still be read is read (`Vault.read_batches`)."""


@dataclass(frozen=True, slots=True)
class NewEnvelope:
    """One body to store. `received_at_us`: microseconds since 1970, UTC."""

    received_at_us: int
    source: str
    body: bytes


class Vault(ABC):
    """A vault, safe to use from several threads. Open it with `ingestion.vault.open_vault`."""

    @abstractmethod
    def append(self, items: Sequence[NewEnvelope]) -> None:
        """Store all of `items`, in this order, in one durable commit, or raise and store none."""

    def append_nowait(self, items: Sequence[NewEnvelope]) -> bool:
        """`append`, but only if nothing has to be waited for except the local disk.

        False: nothing was stored; use `append`, which may wait for a lock or a network.
        """
        return False

    def read_batches(
        self, after_seq: int, *, up_to_seq: int | None = None, batch_rows: int = 20_000
    ) -> Iterator[pa.RecordBatch]:
        """Envelopes with `after_seq < seq <= up_to_seq` as `BATCH_SCHEMA`, ordered by `seq`.

        Purged bodies are left out. Without `up_to_seq`: up to the last one at the time of the call.
        Each batch is a short read of its own, so a slow consumer never delays a checkpoint.

        Damaged pages are skipped: a row that cannot be read has the reason in `damage`, an empty
        body, and the time of receipt of the row before. Every body is compared with the hash that
        was stored with it. Raises `VaultDamagedError` only if nothing can be read at all.
        """
        last = self.last_seq() if up_to_seq is None else up_to_seq
        reader = _Reader(self)
        blind = min(batch_rows, _BLIND_ROWS)
        after_seq = max(after_seq, self.before_first())
        while after_seq < last:
            try:
                bound = self._page_end(after_seq, last, batch_rows)
                if bound is None:
                    if self._is_whole(after_seq, last, 0):
                        return
                    bound = 0
            except VaultDamagedError:
                bound = 0
            if not after_seq < bound <= last:  # a damaged page may return numbers out of order
                bound = min(last, after_seq + blind)
            yield from reader.read(after_seq, bound)
            after_seq = bound

    def last_seq(self) -> int:
        """The highest `seq` whose envelope, and all below it, can be read; 0 when empty."""
        return int(self._scalar("select coalesce(max(seq), 0) from envelopes"))

    def count_after(self, seq: int) -> int:
        """How many envelopes with a body come after `seq`."""
        sql = "select count(*) from envelopes where seq > :seq and body is not null"
        return int(self._scalar(sql, seq=seq))

    def purged_after(self, seq: int) -> int:
        """How many envelopes after `seq` had a body that was purged; not those that were erased."""
        sql = (
            "select count(*) from envelopes "
            "where seq > :seq and body is null and length(body_sha256) > 0"
        )
        return int(self._scalar(sql, seq=seq))

    def extent(self, up_to_seq: int) -> tuple[int, int]:
        """The lowest `seq`, and how many envelopes there are up to `up_to_seq`, purged or not."""
        where = "from envelopes where seq <= :seq"
        lowest = self._scalar(f"select min(seq) {where}", seq=up_to_seq)
        return int(lowest or 0), int(self._scalar(f"select count(*) {where}", seq=up_to_seq))

    def newest_digest(self, up_to_seq: int) -> tuple[int, bytes | None]:
        """`seq` and SHA-256 of the newest body up to `up_to_seq` that has a hash; else (0, None).

        Purged bodies keep their hash, erased ones do not.
        """
        found = self._rows(
            "select seq, body_sha256 from envelopes where seq <= :seq and length(body_sha256) > 0 "
            "order by seq desc limit 1",
            seq=up_to_seq,
        )
        return (int(found[0][0]), bytes(found[0][1])) if found else (0, None)

    def digests(self, up_to_seq: int, *, rows: int = 50_000) -> Iterator[tuple[int, bytes]]:
        """`seq` and SHA-256 (empty if the body was erased) of every envelope, in order."""
        after = 0
        while True:
            found = self._rows(
                "select seq, body_sha256 from envelopes where seq > :after and seq <= :last "
                "order by seq limit :rows",
                after=after,
                last=up_to_seq,
                rows=rows,
            )
            if not found:
                return
            yield from ((int(seq), bytes(digest)) for seq, digest in found)
            after = int(found[-1][0])

    def receipts(self, up_to_seq: int, *, rows: int = 1_000) -> list[tuple[int, int, int, bytes]]:
        """`seq`, time of receipt in microseconds, size and SHA-256 of the newest envelopes up to
        `up_to_seq`; the hash is empty if the body was erased."""
        found = self._rows(
            "select seq, received_at_us, size, body_sha256 from envelopes where seq <= :last "
            "order by seq desc limit :rows",
            last=up_to_seq,
            rows=rows,
        )
        return [(int(seq), int(at_us), int(size), bytes(h)) for seq, at_us, size, h in found]

    @abstractmethod
    def renumber(self, after_seq: int, above: int) -> int:
        """Give every envelope after `after_seq` a number above `above`, in the same order.

        One durable commit; later envelopes get numbers after these. Returns how many were moved.
        """

    def last_received(self, source: str, after_seq: int) -> datetime | None:
        """When the last envelope of a source after `after_seq` arrived; None if there is none."""
        if not source.isalnum():
            raise ValueError(f"not a source: {source!r}")
        sql = (
            "select max(received_at_us) from envelopes "  # noqa: S608 - letters and digits
            f"where seq > :seq and source = '{source}'"
        )
        found = self._scalar(sql, seq=after_seq)
        return None if found is None else _EPOCH + timedelta(microseconds=int(found))

    def identity(self) -> str:
        """An id of this vault; assigned at the first call and never changed."""
        if self._scalar(READ_MARK, mark=IDENTITY) is None:
            self._mark(BEGUN, time.time_ns() // 1000, once=True)
            self._mark(IDENTITY, secrets.randbits(60), once=True)
        return f"{int(self._scalar(READ_MARK, mark=IDENTITY)):015x}"

    def note_landed(self, up_to_seq: int) -> None:
        """Remember that a refresh has read up to here, so that the receiver can see it."""
        self._mark(LANDED, up_to_seq, once=False)

    def waiting_since(self) -> datetime | None:
        """Time of receipt of the oldest body that no refresh has landed; None if there is none."""
        landed = self._scalar(READ_MARK, mark=LANDED)
        oldest = self._scalar(
            "select min(received_at_us) from (select received_at_us from envelopes "
            "where seq > :seq and body is not null order by seq limit 1) as next",
            seq=int(landed or 0),
        )
        if oldest is None:
            return None
        # A vault of an older version may have been read for years without a mark.
        begun = self._scalar(READ_MARK, mark=BEGUN) if landed is None else None
        return _EPOCH + timedelta(microseconds=max(int(oldest), int(begun or 0)))

    @abstractmethod
    def _mark(self, mark: int, value: int, *, once: bool) -> None:
        """Set one of the vault's own numbers in a durable write; `once`: keep an existing value."""

    def damage(self) -> str | None:
        """Known damage to the database itself; None if there is none."""
        return None

    def ping(self) -> None:
        """Make one durable write, or raise `VaultUnavailableError`."""
        self._mark(PROBED, time.time_ns() // 1000, once=False)

    @abstractmethod
    def purge_bodies(self, received_before: datetime, up_to_seq: int) -> int:
        """Set bodies older than `received_before` with `seq <= up_to_seq` to NULL; returns how
        many."""

    @abstractmethod
    def erase_bodies(self, seqs: Sequence[int]) -> int:
        """Remove body and hash from these envelopes; returns how many still had a body."""

    @abstractmethod
    def backup(self, target: Path) -> None:
        """Write a complete, consistent copy to `target` while writers continue. Raises
        `VaultError`."""

    @abstractmethod
    def close(self) -> None:
        """Close every connection."""

    def before_first(self) -> int:
        """The number before the vault's first, if its numbers have no holes; else 0."""
        return 0

    def _is_whole(self, after: int, up_to: int, with_body: int) -> bool:
        """Whether `with_body` rows can be all the rows with a body in (after, up_to].

        A damaged number in a page ends a search early, without an error; if numbers have no holes,
        the count shows that. Raises `VaultDamagedError`.
        """
        return True

    @abstractmethod
    def _scalar(self, sql: str, **values: int) -> Any:
        """First column of the first row of a short read."""

    @abstractmethod
    def _rows(self, sql: str, **values: int) -> Sequence[Any]:
        """All rows of a short read."""

    @abstractmethod
    def _page(self, after: int, up_to: int) -> pa.Table:
        """Columns seq, received_at_us, source, body, body_sha256 of the kept bodies in
        (after, up_to]. Raises `VaultDamagedError` if one of them cannot be read."""

    def _page_end(self, after: int, last: int, rows: int) -> int | None:
        """Last `seq` of the next page: at most `rows` rows and `PAGE_BYTES`, at least one row."""
        found = self._scalar(
            "select max(seq) from ("
            "  select seq, row_number() over (order by seq) as n,"
            "         sum(size) over (order by seq) as s"
            "  from (select seq, size from envelopes where seq > :after and seq <= :last"
            "        and body is not null order by seq limit :rows) as next"
            ") as page where n = 1 or s <= :bytes",
            after=after,
            last=last,
            rows=rows,
            bytes=PAGE_BYTES,
        )
        return None if found is None else int(found)


def row_of(item: NewEnvelope) -> tuple[int, str, int, bytes, bytes]:
    """The values of the columns after `seq`."""
    body = item.body
    return item.received_at_us, item.source, len(body), sha256(body).digest(), body


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970 of an aware datetime."""
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


class _Reader:
    """One pass of `Vault.read_batches`."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._received_us: int | None = None
        self._lost = 0

    def read(self, after: int, up_to: int) -> Iterator[pa.RecordBatch]:
        """The rows in (after, up_to]; a part that cannot be read is split until only bad rows are
        left."""
        page = self._page(after, up_to)
        if page is None:
            if up_to - after > 1:
                middle = (after + up_to) // 2
                yield from self.read(after, middle)
                yield from self.read(middle, up_to)
            else:
                self._lost += 1
                if self._lost > _MAX_LOST:
                    raise VaultDamagedError(
                        f"over {_MAX_LOST} envelopes of the vault cannot be read: restore a backup"
                    )
                at_us = self._last_received(after)
                yield _batch([(up_to, at_us, UNREADABLE, b"", UNREADABLE)])
            return
        for batch in page.to_batches():
            if batch.num_rows:
                yield self._compared(batch)

    def _page(self, after: int, up_to: int) -> pa.Table | None:
        """The rows; None if not all of them can be read."""
        try:
            page = self._vault._page(after, up_to)
            seqs = page.column(0).to_pylist()
            in_order = all(a < b for a, b in pairwise([after, *seqs, up_to + 1]))
            return page if in_order and self._vault._is_whole(after, up_to, len(seqs)) else None
        except VaultDamagedError:
            return None

    def _compared(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        seqs, times, sources, bodies, digests = (c.to_pylist() for c in batch.columns)
        bad = {
            seq
            for seq, at_us, body, digest in zip(seqs, times, bodies, digests, strict=True)
            if sha256(body).digest() != digest or not 0 <= at_us < _YEAR_2100_US
        }
        if not bad:
            self._received_us = times[-1]
            columns = [
                column.cast(field.type)
                for column, field in zip(batch.columns[:4], BATCH_SCHEMA, strict=False)
            ]
            none = pa.nulls(batch.num_rows, pa.string())
            return pa.RecordBatch.from_arrays([*columns, none], schema=BATCH_SCHEMA)
        rows = []
        for seq, at_us, source, body in zip(seqs, times, sources, bodies, strict=True):
            if 0 <= at_us < _YEAR_2100_US:
                self._received_us = at_us
            content = (b"", _damage(source)) if seq in bad else (body, None)
            rows.append((seq, self._last_received(seq - 1), source, *content))
        return _batch(rows)

    def _last_received(self, seq: int) -> int:
        """Time of receipt of the last readable row before `seq`; 1970 if there is none."""
        if self._received_us is None:
            sql = "select max(received_at_us) from envelopes where seq = :seq"
            try:
                found = self._vault._scalar(sql, seq=seq)
            except VaultDamagedError:
                found = None
            self._received_us = int(found or 0)
        return self._received_us


def _damage(source: str) -> str:
    """Rows that a repair could not read have the source `UNREADABLE` (`repair`)."""
    return UNREADABLE if source == UNREADABLE else BODY_DAMAGED


def _batch(rows: Sequence[tuple[int, int, str, bytes, str | None]]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    arrays = [pa.array(c).cast(f.type) for c, f in zip(columns, BATCH_SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=BATCH_SCHEMA)
