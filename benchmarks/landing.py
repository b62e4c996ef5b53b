"""Vault to marts for a million envelopes, against one hand-written DuckDB statement."""

from __future__ import annotations

import shutil
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from benchmarks.bodies import bodies

TODAY = date(2026, 11, 20)

# The simplest thing that could answer "leads per ad": no quarantine, no identity, no
# conversations, no spend, personal data in clear.
STATEMENT = """
create table leads_per_ad as
with raw as (select seq, try(from_json(body, '{"entry":[{"changes":[{"value":{
    "metadata":{"phone_number_id":"VARCHAR"},
    "messages":[{"id":"VARCHAR","from":"VARCHAR","timestamp":"VARCHAR",
                 "referral":{"source_id":"VARCHAR","ctwa_clid":"VARCHAR"}}]}}]}]}')) as v
    from vault where contains(body, '"messages":')),
messages as (select seq, unnest(c.value.messages) as m, c.value.metadata.phone_number_id as number
    from (select seq, unnest(e.changes) as c from (select seq, unnest(v.entry) as e from raw))),
once as (select * from messages
    qualify row_number() over (partition by number, m.id order by seq) = 1),
first as (select m."from" as person, m.referral.source_id as ad from once
    qualify row_number() over (
        partition by m."from" order by m."timestamp"::bigint, m.referral is null, m.id) = 1)
select ad, count(*) as leads from first group by ad
"""


def fill_vault(data_dir: str, count: int, *, days: int = 30, seed: int = 1, age: int = 0) -> int:
    """Put `count` synthetic bodies into the vault, as the receiver would have."""
    from ingestion.webhook.vault import NewEnvelope, Vault

    settings = _settings(data_dir)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    vault = Vault.open(settings.vault_url)
    received = int(time.mktime(TODAY.timetuple())) * 1_000_000
    batch: list[NewEnvelope] = []
    first_day = TODAY - timedelta(days=days + age)
    for body in bodies(count, first_day=first_day, days=days, seed=seed):
        batch.append(NewEnvelope(received, "whatsapp", body))
        if len(batch) == 5000:
            vault.append(batch)
            batch = []
    if batch:
        vault.append(batch)
    vault.close()
    return count


def _settings(data_dir: str) -> Any:
    from ctwa.settings import load_settings

    return load_settings(_env_file=None, data_dir=data_dir, pii_key="0123456789abcdef" * 4)


def product(data_dir: str, full: bool = False) -> dict[str, Any]:
    """The refresh as it runs at night: landing, dbt with its tests, publishing."""
    from orchestration.refresh import refresh

    result = refresh(_settings(data_dir), full=full, as_of=TODAY)
    if not result.ok:
        raise RuntimeError("; ".join(result.failures))
    return {"ok": True}


def land_only(data_dir: str) -> dict[str, int]:
    """Vault to lake alone, for the share of capture in the whole."""
    from ingestion.sources.event_log import land_event_log

    counts = land_event_log(_settings(data_dir))
    return {"envelopes": counts.envelopes, "messages": counts.messages}


def statement(data_dir: str) -> dict[str, int]:
    """The base: the same vault streamed into one DuckDB statement."""
    import duckdb
    import pyarrow as pa

    from ingestion.webhook.vault import Vault

    vault = Vault.open(_settings(data_dir).vault_url)
    path = Path(data_dir, "base.duckdb")
    path.unlink(missing_ok=True)
    connection = duckdb.connect(str(path))
    batches = vault.read_batches(0)
    first = next(batches)
    reader = pa.RecordBatchReader.from_batches(first.schema, _chain(first, batches))
    connection.register("bodies", reader)
    connection.execute("create temp table vault as select seq, decode(body) as body from bodies")
    connection.execute(STATEMENT)
    rows = connection.execute("select count(*), sum(leads) from leads_per_ad").fetchone()
    connection.close()
    path.unlink()
    return {"ads": rows[0], "leads": int(rows[1])}


def _chain(first: Any, rest: Any) -> Any:
    yield first
    yield from rest


def copy_world(source: str, target: str) -> None:
    """The same world again, so that two variants start from equal ground."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
