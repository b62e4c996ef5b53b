"""A warehouse file with an outbox of conversion events, as the models would have built it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from hashlib import md5
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from activation.conversions_ledger import ConversionsLedger, Row, states_path
from activation.ledger import read_ledger
from ctwa.settings import Settings

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
WABA, PAGE, DATASET = "100000000000001", "516540199", "770000000000001"

_COLUMNS = {
    "conversion_event_id": "varchar",
    "lead_id": "varchar",
    "funnel_stage": "varchar",
    "occurrence": "varchar",
    "outcome_key": "varchar",
    "occurred_at": "timestamp",
    "value": "decimal(18, 6)",
    "currency": "varchar",
    "touch_id": "varchar",
    "ctwa_clid": "varchar",
    "click_at": "timestamp",
    "waba_id": "varchar",
    "leadgen_id": "varchar",
    "page_id": "varchar",
    "email_key": "varchar",
    "phone_key": "varchar",
    "bsuid_key": "varchar",
    "campaign_id": "varchar",
    "ad_id": "varchar",
    "ineligible_reason": "varchar",
}


def due(n: int, *, stage: str = "qualified", at: datetime = NOW, **changed: Any) -> dict[str, Any]:
    """A row that may be sent: lead `n`, whose outcome was a minute before `at` unless said."""
    key = f"{n:032x}"
    occurrence = "first" if stage != "won" else f"deal-{n}"
    row: dict[str, Any] = dict.fromkeys(_COLUMNS)
    del row["conversion_event_id"]
    row |= {
        "lead_id": key,
        "funnel_stage": stage,
        "occurrence": occurrence,
        "outcome_key": _md5(f"crm|{stage}-{n}"),
        "occurred_at": at - timedelta(minutes=1),
        "value": "1250.50" if stage == "won" else None,
        "currency": "BRL" if stage == "won" else None,
        "touch_id": _md5(f"touch {n}"),
        "ctwa_clid": f"AfClick{n}",
        "click_at": at - timedelta(days=2),
        "waba_id": WABA,
        "phone_key": key,
        "campaign_id": "238",
        "ad_id": "120",
    } | changed
    name = f"{row['lead_id']}|{row['funnel_stage']}|{row['occurrence']}"
    return {"conversion_event_id": _md5(name)} | row | changed


def form_stage(n: int, name: str = "lead", **changed: Any) -> dict[str, Any]:
    """As `due`: a stage of lead `n`, of an instant form; `lead` is that it was sent."""
    occurrences = {"lead": f"form-{n}", "won": f"deal-{n}"}
    made = {
        "leadgen_id": f"1122334455{n:06}", "page_id": PAGE, "waba_id": None, "ctwa_clid": None,
        "occurrence": occurrences.get(name, "first"), "email_key": f"{n:032x}",
    }  # fmt: skip
    return due(n, stage=name, **(made | changed))


def write_outbox(settings: Settings, rows: Iterable[dict[str, Any]]) -> None:
    """Make it the whole outbox of the installation."""
    settings.warehouse_path.parent.mkdir(parents=True, exist_ok=True)
    columns = ", ".join(f"cast({name} as {kind}) as {name}" for name, kind in _COLUMNS.items())
    found = [{name: _plain(row[name]) for name in _COLUMNS} for row in rows]
    texts = pa.schema([(name, pa.string()) for name in _COLUMNS])
    with duckdb.connect(str(settings.warehouse_path)) as connection:
        connection.register("found", pa.Table.from_pylist(found, schema=texts))
        connection.execute("create schema if not exists activation")
        connection.execute(
            f"create or replace table activation.conversion_outbox as select {columns} from found"
        )


def states(settings: Settings) -> dict[str, dict[str, Any]]:
    """The states file, by event id; two rows of one id are an error."""
    rows = pq.read_table(states_path(settings)).to_pylist()
    found = {row["conversion_event_id"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def told(settings: Settings) -> dict[str, tuple[str, str | None]]:
    """Event id to (status, reason)."""
    return {key: (row["status"], row["reason"]) for key, row in states(settings).items()}


def ledger_rows(settings: Settings) -> dict[str, Row]:
    """The ledger, by event id."""
    with read_ledger(settings) as ledger:
        rows = ConversionsLedger(ledger).rows() if ledger is not None else []
    return {row.conversion_event_id: row for row in rows}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat()
    return None if value is None else str(value)


def _md5(text: str) -> str:
    return md5(text.encode(), usedforsecurity=False).hexdigest()
