"""Tables of the vault, and the statements that SQLite and PostgreSQL share."""

from __future__ import annotations

import sqlalchemy as sa

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
# Numbers of the vault itself, by `id`.
sa.Table(
    "vault_probe",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("written_at_us", sa.BigInteger, nullable=False),
)
PROBED, IDENTITY, LANDED, BEGUN = 1, 2, 3, 4
"""Ids: when `Vault.ping` last proved that a commit works; a random number that identifies the
vault; the last `seq` that a refresh has landed; when the identity was made (older vaults have
none). Times in microseconds."""

READ_MARK = "select max(written_at_us) from vault_probe where id = :mark"
SET_MARK = (
    "insert into vault_probe (id, written_at_us) values (:mark, :value) "
    "on conflict (id) do update set written_at_us = excluded.written_at_us"
)
SET_MARK_ONCE = (
    "insert into vault_probe (id, written_at_us) values (:mark, :value) on conflict (id) do nothing"
)


def page_sql(after: int, up_to: int) -> str:
    """Query of the columns of `Vault._page`. ADBC binds parameters as a table, so the numbers are
    written into the text."""
    return (
        "select seq, received_at_us, source, body, body_sha256 from envelopes "  # noqa: S608 - integers
        f"where seq > {after:d} and seq <= {up_to:d} and body is not null order by seq"
    )


RENUMBER = (
    # By way of negative numbers: envelopes not yet moved may hold the new numbers.
    "update envelopes set seq = -seq where seq > {after:d}",
    "update envelopes set seq = -seq + {above:d} - {after:d} where seq < 0",
)
STAND_INS = (
    "with recursive missing (seq) as (select {first:d} union all "
    "select seq + 1 from missing where seq < {above:d}) "
    "insert into envelopes (seq, received_at_us, source, size, body_sha256) "
    "select seq, {now:d}, 'adopted', 0, {empty} from missing"
)
"""Statements of `Vault.renumber`, in one transaction. Rows without a body stand in for what only
the lake has, so that numbers have no holes and even a vault that is still empty reaches as far as
the lake."""


def first_stand_in(after_seq: int, above: int) -> int:
    """The first number that needs a stand-in; in a new vault, which may begin at any number, only
    the last one does."""
    return after_seq + 1 if after_seq else above
