"""A world of many histories: their envelopes through parser and lake, their marts by dbt."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from ctwa.pseudonym import Pseudonymizer
from ingestion.lake.lake import Lake
from ingestion.parser import Parser
from tests.conftest import PII_KEY
from tests.properties.happenings import RECEIVED, SITE, Cast, Piece, envelope
from tests.properties.histories import History
from tests.properties.spend import by_table
from tests.support.warehouse import AS_OF, DbtWorld

MARTS = "+path:dbt_project/models/marts"
# Selections that leave the models at different watermarks, like runs that failed there.
HALF_WAY = (
    "+int_messages__deduplicated",
    "+int_messages__with_person",
    "+int_conversations__built",
    "+int_touches__classified",
)
_PARSER = Parser(Pseudonymizer(bytes.fromhex(PII_KEY)), site_id=SITE)

Body = tuple[str, bytes]


@dataclass(frozen=True)
class Cases:
    """Histories by salt. `owners` knows every id and key of theirs: whose row it is."""

    by_salt: dict[int, History]
    owners: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, histories: Sequence[History], first_salt: int = 0) -> Cases:
        """Give each history the next salt."""
        cases = cls(dict(enumerate(histories, first_salt)))
        for salt, history in cases.by_salt.items():
            cases.owners.update(dict.fromkeys(_names(Cast(salt), history), salt))
        return cases

    def __or__(self, more: Cases) -> Cases:
        return Cases(self.by_salt | more.by_salt, self.owners | more.owners)

    def pieces(self, run: int | None = None) -> list[Piece]:
        """The elements of one run, or all of them; each history in its own order."""
        return [
            Cast(salt).piece(event.happening)
            for salt, history in self.by_salt.items()
            for event in history.events
            if run is None or event.run == run
        ]

    def read_rows(self, run: int | None = None) -> dict[str, list[dict[str, Any]]]:
        """What the ad API said in one run, or ever. A read has its number whatever is asked."""
        return by_table(
            row
            for salt, history in self.by_salt.items()
            for place, (of_run, read) in enumerate(
                zip(history.read_runs, history.account.reads, strict=True)
            )
            if run is None or of_run == run
            for row in history.account.rows(
                Cast(salt), place, read, of_run * 10_000_000 + salt * 100 + place + 1
            )
        )


def _names(cast: Cast, history: History) -> Iterator[str]:
    bodies = [envelope([cast.piece(event.happening)]) for event in history.events]
    for name, table in _PARSER.parse(_batch(bodies, 1)).items():
        for column in table.column_names if name != "envelopes" else ():
            if column.endswith("_key"):
                yield from table[column].drop_null().to_pylist()
    yield cast.account
    yield from (f"{cast.account}{kind}{n}" for kind in (1, 2) for n in (0, 1))
    yield from (f"{cast.ad(n)}{end}" for n in range(3) for end in ("", "9"))
    yield from (cast.event(n) for n in range(8))


def _batch(bodies: Sequence[Body], first_seq: int) -> pa.RecordBatch:
    seqs = range(first_seq, first_seq + len(bodies))
    columns = {
        "seq": pa.array(seqs, pa.int64()),
        "received_at": pa.array([RECEIVED] * len(bodies), pa.timestamp("us", "UTC")),
        "source": pa.array([source for source, _ in bodies], pa.string()),
        "body": pa.array([body for _, body in bodies], pa.binary()),
    }
    return pa.RecordBatch.from_pydict(columns)


def one_by_one(pieces: Iterable[Piece]) -> list[Body]:
    """Each element in an envelope of its own."""
    return [envelope([piece]) for piece in pieces]


def disordered(pieces: Iterable[Piece], rng: random.Random) -> list[Body]:
    """In any order, a third of them twice, and in batches of any size."""
    all_of_them = list(pieces)
    all_of_them += rng.sample(all_of_them, len(all_of_them) // 3)
    rng.shuffle(all_of_them)
    bodies: list[Body] = []
    for source in dict.fromkeys(piece.source for piece in all_of_them):
        mine = [piece for piece in all_of_them if piece.source == source]
        while mine:
            size = rng.choice([1, 1, 2, 5, 40])
            bodies.append(envelope(mine[:size]))
            mine = mine[size:]
    bodies += rng.sample(bodies, len(bodies) // 5)
    rng.shuffle(bodies)
    return bodies


class Company(DbtWorld):
    """A lake that is filled by the parser, and a warehouse that dbt builds from it."""

    def __init__(self, root: Path, **overrides: Any) -> None:
        super().__init__(root, CTWA_PII_KEY=PII_KEY, **overrides)
        self._last_seq = 0

    def receive(self, bodies: Sequence[Body]) -> None:
        """Land these envelopes in this order."""
        parsed = _PARSER.parse(_batch(bodies, self._last_seq + 1))
        self._last_seq += len(bodies)
        with Lake.from_settings(self.settings).commit("event_log") as commit:
            for table, rows in parsed.items():
                if rows.num_rows:
                    commit.write(table, rows)

    def read(self, rows: dict[str, list[dict[str, Any]]]) -> None:
        """Land these reads of the ad API."""
        for table, of_table in rows.items():
            self.write(f"meta_ads.{table}", of_table)

    def night(self, *select: str, nights_to_come: int = 0) -> None:
        """Build all marts, or what is selected. The last night's day is `as_of`."""
        self.build(
            *(select or (MARTS,)),
            tests=False,
            # Alarms speak of everybody and of days of receipt: test_alarms and test_order.
            without=("path:dbt_project/models/marts/alarms",),
            as_of=AS_OF - timedelta(days=nights_to_come),
        )
