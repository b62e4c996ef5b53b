"""Rows of the states file: what the ledger says, and what a run decided of the outbox's rows."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from activation.conversions_ledger import Row
from activation.outbox import Candidate
from activation.states import STATES
from ctwa.settings import Settings

Decision = tuple[Candidate, str, str]
"""A row of the outbox, its status and the reason."""


def states_of(
    settings: Settings, ledger: Sequence[Row], decided: Sequence[Decision], others: pa.Table
) -> pa.Table:
    """One row per event. The ledger's word comes before what was decided, `others` come last."""
    found = {row.conversion_event_id: _of_ledger(row) for row in ledger}
    for one, status, reason in decided:
        found.setdefault(one.conversion_event_id, _of_outbox(settings, one, status, reason))
    told = pa.Table.from_pylist(list(found.values()), schema=STATES)
    known = pc.is_in(others["conversion_event_id"], told["conversion_event_id"].combine_chunks())
    return pa.concat_tables([told, others.filter(pc.invert(known))])


def _of_ledger(row: Row) -> dict[str, Any]:
    # What is `sending` while states are written was cut off by an error.
    is_cut = row.state == "sending"
    return {
        "conversion_event_id": row.conversion_event_id,
        "lead_id": row.lead_id,
        "funnel_stage": row.funnel_stage,
        "event_name": row.event_name,
        "dataset_id": row.dataset_id,
        "status": "unknown" if is_cut else row.state,
        "reason": "interrupted" if is_cut else row.reason,
        "occurred_at": row.occurred_at_us,
        "sent_at": row.settled_at_us if row.state == "sent" else None,
        "value": _money(row.value),
        "currency": row.currency,
    }


def _of_outbox(settings: Settings, one: Candidate, status: str, reason: str) -> dict[str, Any]:
    return {
        "conversion_event_id": one.conversion_event_id,
        "lead_id": one.lead_id,
        "funnel_stage": one.funnel_stage,
        "event_name": settings.conversion_names[one.funnel_stage][0],
        "dataset_id": settings.datasets[one.waba_id],
        "status": status,
        "reason": reason,
        "occurred_at": one.occurred_at_us,
        "sent_at": None,
        "value": _money(one.value),
        "currency": one.currency,
    }


def _money(value: Decimal | None) -> Decimal | None:
    return None if value is None else value.quantize(Decimal("0.000001"))


__all__ = ["Decision", "states_of"]
