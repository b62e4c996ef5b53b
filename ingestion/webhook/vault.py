"""The vault: every envelope as received, in commit order. The only place with personal data.

Table `envelopes(seq, received_at_us, source, size, body_sha256, body)`. `seq` rises in commit
order and is never used twice: whoever has read up to a `seq` has missed nothing below it. Bodies
are purged to NULL after their time; the row stays as a fact. Repeats are facts too and are kept.

SQLite by default (`vault_sqlite`), PostgreSQL by URL (`vault_postgres`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

PAGE_BYTES = 64 * 1024 * 1024
"""Bodies in one batch of `read_batches`, at most (one larger body makes a batch of its own)."""

BATCH_SCHEMA = pa.schema(
    [
        pa.field("seq", pa.int64(), nullable=False),
        pa.field("received_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("body", pa.binary(), nullable=False),
    ]
)

METADATA = sa.MetaData()
ENVELOPES = sa.Table(
    "envelopes",
    METADATA,
    # In SQLite only INTEGER PRIMARY KEY AUTOINCREMENT never hands out a deleted row's number.
    sa.Column(
        "seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), sa.Identity(), primary_key=True
    ),
    sa.Column("received_at_us", sa.BigInteger, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("body_sha256", sa.LargeBinary, nullable=False),
    sa.Column("body", sa.LargeBinary),
    sqlite_autoincrement=True,
)
PROBE = sa.Table(
    "vault_probe",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("written_at_us", sa.BigInteger, nullable=False),
)
"""One row that `ping` rewrites: proof that a commit works now."""


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class VaultError(RuntimeError):
    """The vault cannot do what was asked. The text says why and what to do, without values."""


class VaultUnavailableError(VaultError):
    """Nothing could be made durable (disk full, database gone, locked too long)."""


@dataclass(frozen=True, slots=True)
class NewEnvelope:
    """One body to keep. `received_at_us`: microseconds since 1970, UTC."""

    received_at_us: int
    source: str
    body: bytes


class Vault(ABC):
    """One vault, safe to use from several threads. Open it with `Vault.open`."""

    @staticmethod
    def open(url: str) -> Vault:
        """Connect, and create the table if it is missing.

        Raises `VaultError` for a URL of another kind, `VaultUnavailableError` if it is not there.
        """
        try:
            parsed = sa.make_url(url)
        except sa.exc.ArgumentError:
            raise VaultError(
                "CTWA_VAULT_URL is not a URL: expected sqlite:////path/vault.db or "
                "postgresql+psycopg://user:password@host/database"
            ) from None
        if parsed.get_backend_name() == "sqlite":
            from ingestion.webhook.vault_sqlite import SqliteVault

            return SqliteVault(parsed)
        if parsed.get_backend_name() == "postgresql":
            from ingestion.webhook.vault_postgres import PostgresVault

            return PostgresVault(parsed)
        raise VaultError(
            f"CTWA_VAULT_URL: a vault in {parsed.get_backend_name()} is not supported; "
            "use sqlite:///... or postgresql+psycopg://..."
        )

    @abstractmethod
    def append(self, items: Sequence[NewEnvelope]) -> None:
        """Keep all of `items`, in this order, in one durable commit, or raise and keep none."""

    def append_nowait(self, items: Sequence[NewEnvelope]) -> bool:
        """`append`, but only where nothing has to be waited for except the local disk.

        False: nothing was done; use `append`, which may wait for a lock or a network.
        """
        return False

    def read_batches(
        self, after_seq: int, *, up_to_seq: int | None = None, batch_rows: int = 20_000
    ) -> Iterator[pa.RecordBatch]:
        """Envelopes with `after_seq < seq <= up_to_seq` as `BATCH_SCHEMA`, ordered by `seq`.

        Purged bodies are left out. Without `up_to_seq`: up to what was there at the call. Each
        batch is a short read of its own, so a slow consumer never holds back a checkpoint.
        """
        last = self.last_seq() if up_to_seq is None else up_to_seq
        while after_seq < last:
            bound = self._page_end(after_seq, last, batch_rows)
            if bound is None:
                return
            yield from _batches(self._page(after_seq, bound))
            after_seq = bound

    def last_seq(self) -> int:
        """The highest `seq` whose envelope, and all below it, can be read; 0 when empty."""
        return int(self._scalar("select coalesce(max(seq), 0) from envelopes"))

    def count_after(self, seq: int) -> int:
        """How many envelopes with a body come after `seq`."""
        sql = "select count(*) from envelopes where seq > :seq and body is not null"
        return int(self._scalar(sql, seq=seq))

    def extent(self, up_to_seq: int) -> tuple[int, int]:
        """The lowest `seq`, and how many envelopes there are up to `up_to_seq`, purged or not."""
        where = "from envelopes where seq <= :seq"
        lowest = self._scalar(f"select min(seq) {where}", seq=up_to_seq)
        return int(lowest or 0), int(self._scalar(f"select count(*) {where}", seq=up_to_seq))

    def last_received(self, source: str, after_seq: int) -> datetime | None:
        """When the last envelope of a way in behind `after_seq` came; None where there is none."""
        if not source.isalnum():
            raise ValueError(f"not a way in: {source!r}")
        sql = (
            "select max(received_at_us) from envelopes "  # noqa: S608 - letters and digits
            f"where seq > :seq and source = '{source}'"
        )
        found = self._scalar(sql, seq=after_seq)
        return None if found is None else _EPOCH + timedelta(microseconds=int(found))

    @abstractmethod
    def ping(self) -> None:
        """Make one durable write, or raise `VaultUnavailableError`."""

    @abstractmethod
    def purge_bodies(self, received_before: datetime, up_to_seq: int) -> int:
        """Set bodies older than `received_before` with `seq <= up_to_seq` to NULL; their number."""

    @abstractmethod
    def erase_bodies(self, seqs: Sequence[int]) -> int:
        """Empty these envelopes: no body, no hash of it; how many bodies were still kept."""

    @abstractmethod
    def backup(self, target: Path) -> None:
        """Write a complete, consistent copy to `target` while writers go on; else `VaultError`."""

    @abstractmethod
    def close(self) -> None:
        """Close every connection."""

    @abstractmethod
    def _scalar(self, sql: str, **values: int) -> Any:
        """First column of the first row of a short read."""

    @abstractmethod
    def _page(self, after: int, up_to: int) -> pa.Table:
        """Columns seq, received_at_us, source, body of the kept bodies in (after, up_to]."""

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


def page_sql(after: int, up_to: int) -> str:
    """Columns of `Vault._page`; ADBC binds parameters as a table, so the numbers stand in it."""
    return (
        "select seq, received_at_us, source, body from envelopes "  # noqa: S608 - integers
        f"where seq > {after:d} and seq <= {up_to:d} and body is not null order by seq"
    )


def row_of(item: NewEnvelope) -> tuple[int, str, int, bytes, bytes]:
    """Values of the columns after `seq`."""
    body = item.body
    return item.received_at_us, item.source, len(body), sha256(body).digest(), body


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970 of an aware datetime."""
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def _batches(page: pa.Table) -> Iterator[pa.RecordBatch]:
    for batch in page.to_batches():
        if batch.num_rows:
            columns = [
                column.cast(field.type)
                for column, field in zip(batch.columns, BATCH_SCHEMA, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=BATCH_SCHEMA)
