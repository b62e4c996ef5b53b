"""Vault to marts, in whole and in parts, and the one hand-written DuckDB statement as the base.

Each function is called in a process of its own (`benchmarks.measure`).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.measure import cpu_seconds
from benchmarks.worlds import TODAY, settings_of

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


def product(data_dir: str, full: bool = False, later: int = 0) -> dict[str, Any]:
    """The refresh as it runs at night: landing, models with their tests, publishing.

    `later`: days after `TODAY`.
    """
    from orchestration.refresh import refresh

    day = TODAY + timedelta(days=later)
    result = refresh(settings_of(data_dir), full=full, as_of=day)
    if not result.ok:
        raise RuntimeError("; ".join(result.failures))
    return {"rows": result.rows}


def report(data_dir: str) -> int:
    """The report of the published marts; bytes of the file."""
    from publishing.report.page import write_report

    return write_report(settings_of(data_dir)).bytes


def land(data_dir: str) -> dict[str, float]:
    """Vault to lake alone. `cpu`: of the landing without imports."""
    from ingestion.event_log.source import land_event_log

    before = cpu_seconds()
    counts = land_event_log(settings_of(data_dir))
    return {"envelopes": counts.envelopes, "cpu": cpu_seconds() - before}


def parse(data_dir: str) -> dict[str, float]:
    """Bodies to Arrow rows alone: `cpu` without reading the vault, and nothing is written."""
    from ctwa.pseudonym import Pseudonymizer
    from ingestion.parser import Parser
    from ingestion.vault import open_vault

    settings = settings_of(data_dir)
    parser = Parser(
        Pseudonymizer.from_settings(settings), settings.default_country, settings.site_id
    )
    vault = open_vault(settings.vault_url)
    envelopes, cpu = 0, 0.0
    for batch in vault.read_batches(0):
        before = cpu_seconds()
        envelopes += parser.parse(batch)["envelopes"].num_rows
        cpu += cpu_seconds() - before
    vault.close()
    return {"envelopes": envelopes, "cpu": cpu}


# Each takes an engine that backtracks longer than anybody waits.
_HOSTILE = (r"(a+)+b", r"(a|aa)+b", r"(a*)*b", r"(.*a){20}b", r"a{0,500}a{500}b")


def longest_body(data_dir: str) -> dict[str, float]:
    """The largest body that the receiver takes, one text, under chat rules of hostile patterns:
    CPU seconds with them, and without any rule."""
    import pyarrow as pa

    from benchmarks.bodies import message
    from ctwa.pseudonym import Pseudonymizer
    from ingestion.parser import Parser
    from ingestion.parser.chat_rules import read_chat_rules
    from ingestion.vault.vault import BATCH_SCHEMA
    from ingestion.webhook.http import MAX_BODY_BYTES

    rules = Path(data_dir, "chat_rules.yml")
    rules.parent.mkdir(parents=True, exist_ok=True)
    rules.write_text(
        "".join(
            f"- {{id: hostile_{n}, stage: qualified, when: {{they_wrote: {{pattern: '{p}'}}}}}}\n"
            for n, p in enumerate(_HOSTILE)
        )
    )
    ready = read_chat_rules(rules, "UTC")
    if ready.problems:
        raise RuntimeError("; ".join(ready.problems))
    at = datetime(TODAY.year, TODAY.month, TODAY.day, tzinfo=UTC)
    around = len(message("wamid.LONG", "551190000000", int(at.timestamp()), text=""))
    text = "a" * (MAX_BODY_BYTES - around)
    body = message("wamid.LONG", "551190000000", int(at.timestamp()), text=text)
    row = {"seq": 1, "received_at": at, "source": "whatsapp", "body": body}
    batch = pa.RecordBatch.from_pylist([row], schema=BATCH_SCHEMA)
    names = Pseudonymizer.from_settings(settings_of(data_dir))
    spent = []
    for parser in (Parser(names, chat_rules=ready), Parser(names)):
        before = cpu_seconds()
        found = parser.parse(batch)
        spent.append(cpu_seconds() - before)
        if found["messages"].num_rows != 1 or found["quarantine"].num_rows:
            raise RuntimeError("the message of the largest body was not taken")
    return {"bytes": len(body), "rules": len(_HOSTILE), "cpu": spent[0], "without": spent[1]}


def leads(data_dir: str) -> int:
    """Leads in the published marts, whoever they are."""
    import duckdb

    with duckdb.connect(str(settings_of(data_dir).marts_path), read_only=True) as marts:
        row = marts.execute("select count(*) from fct_leads").fetchone()
    return int(row[0]) if row else 0


def statement(data_dir: str) -> dict[str, int]:
    """The base: the same vault streamed into one DuckDB statement."""
    import duckdb
    import pyarrow as pa

    from ingestion.vault import open_vault

    vault = open_vault(settings_of(data_dir).vault_url)
    path = Path(data_dir, "base.duckdb")
    path.unlink(missing_ok=True)
    connection = duckdb.connect(str(path))
    batches = vault.read_batches(0)
    first = next(batches)
    reader = pa.RecordBatchReader.from_batches(first.schema, _chain(first, batches))
    connection.register("bodies", reader)
    connection.execute("create temp table vault as select seq, decode(body) as body from bodies")
    connection.execute(STATEMENT)
    row = connection.execute("select count(*), sum(leads) from leads_per_ad").fetchone()
    connection.close()
    path.unlink()
    return {"ads": row[0], "leads": int(row[1])} if row else {"ads": 0, "leads": 0}


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest
