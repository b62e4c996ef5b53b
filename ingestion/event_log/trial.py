"""What chat rules would make of the bodies that are still kept, beside the lake and without it.

The rows are those that `--reparse` would land: of kept bodies by the rules that are tried, of
purged ones those that an earlier version made. Only `chat_signals` is written, and only there.
"""

from __future__ import annotations

import json
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.event_log.adoption import DATASET
from ingestion.identity.erased import Ledger
from ingestion.identity.sieve import Sieve
from ingestion.lake.lake import Lake, conform
from ingestion.parser import Parser
from ingestion.parser.chat_rules import ChatRules
from ingestion.parser.schema import EVENT_LOG
from ingestion.vault import open_vault

TABLE = "chat_signals"


_ABOUT = "about.json"


@dataclass
class Signals:
    """How much was read. `met`: messages by rule id and position of the condition."""

    bodies: int = 0
    since: datetime | None = None
    numbers: set[str] = field(default_factory=set)
    met: Counter[tuple[str, int]] = field(default_factory=Counter)

    @classmethod
    def read(cls, folder: Path) -> Signals:
        """What `write_signals` found while it filled this folder."""
        about = json.loads((folder / _ABOUT).read_text())
        since = about["since"] and datetime.fromisoformat(about["since"])
        met = Counter({(rule, part): count for rule, part, count in about["met"]})
        return cls(about["bodies"], since, set(about["numbers"]), met)

    def write(self, folder: Path) -> None:
        """Beside the rows, for whoever reads them next."""
        about = {
            "bodies": self.bodies,
            "since": self.since and self.since.isoformat(),
            "numbers": sorted(self.numbers),
            "met": [[*key, count] for key, count in sorted(self.met.items())],
        }
        (folder / _ABOUT).write_text(json.dumps(about))


def write_signals(settings: Settings, rules: ChatRules, folder: Path) -> Signals:
    """Write the rows into `folder`, a Parquet file for each batch of bodies."""
    folder.mkdir(parents=True)
    names = Pseudonymizer.from_settings(settings)
    parser = Parser(names, settings.default_country, settings.site_id, rules)
    sieve, found = Sieve(Ledger.of(settings), names), Signals()
    kept: list[np.ndarray] = [np.array([], dtype=np.int64)]
    schema = EVENT_LOG[TABLE]
    pq.write_table(schema.empty_table(), folder / "0.schema.parquet")
    with closing(open_vault(settings.vault_url)) as vault:
        for batch in vault.read_batches(0):
            whole = batch.filter(pc.is_null(batch.column("damage")))
            parsed, _ = sieve.without_erased(parser.parse(whole))
            kept.append(whole.column("seq").to_numpy())
            _count(found, whole, parsed[TABLE], parsed["messages"])
            pq.write_table(parsed[TABLE], folder / f"kept-{len(kept)}.parquet")
    lake, seqs = Lake.from_settings(settings), np.concatenate(kept)
    for place, rows in enumerate(lake.read(DATASET, TABLE, lake.files(DATASET, TABLE))):
        older = rows.filter(pa.array(~np.isin(rows["seq"].to_numpy(), seqs)))
        pq.write_table(conform(older, schema), folder / f"purged-{place}.parquet")
    found.write(folder)
    return found


def _count(found: Signals, batch: pa.RecordBatch, rows: pa.Table, messages: pa.Table) -> None:
    found.bodies += batch.num_rows
    if found.since is None and batch.num_rows:
        found.since = batch.column("received_at")[0].as_py()
    for column in ("business_number_id", "phone_number_id"):
        found.numbers.update(pc.unique(messages[column].drop_null()).to_pylist())
    of_rules = rows.filter(pc.is_valid(rows["rule_id"]))
    pairs = of_rules.select(["rule_id", "part"]).group_by(["rule_id", "part"])
    for row in pairs.aggregate([([], "count_all")]).to_pylist():
        found.met[row["rule_id"], row["part"]] += row["count_all"]
