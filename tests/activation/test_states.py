"""The file of states: empty at first, replaced whole, never of other columns."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from activation.conversions_ledger import STATES, ensure_states, states_path, write_states
from ctwa.settings import Settings

SENT = {
    "conversion_event_id": "1" * 32,
    "lead_id": "lead",
    "funnel_stage": "won",
    "event_name": "Purchase",
    "dataset_id": "900",
    "status": "sent",
    "reason": None,
    "occurred_at": datetime(2026, 5, 3, 14, tzinfo=UTC),
    "sent_at": datetime(2026, 5, 4, 5, tzinfo=UTC),
    "value": Decimal("129.900000"),
    "currency": "BRL",
}


def test_there_is_an_empty_file_before_anything_is_sent(settings: Settings) -> None:
    ensure_states(settings)
    assert pq.read_table(states_path(settings)).equals(STATES.empty_table())


def test_making_sure_of_it_keeps_what_stands_there(settings: Settings) -> None:
    write_states(settings, pa.Table.from_pylist([SENT], schema=STATES))
    ensure_states(settings)
    assert pq.read_table(states_path(settings)).to_pylist() == [SENT]


def test_a_reader_of_the_old_file_keeps_it_and_no_draft_is_left(settings: Settings) -> None:
    ensure_states(settings)
    with states_path(settings).open("rb") as before:
        write_states(settings, pa.Table.from_pylist([SENT], schema=STATES))
        assert pq.read_table(before).num_rows == 0
    assert pq.read_table(states_path(settings)).num_rows == 1
    assert [p.name for p in settings.activation_dir.iterdir()] == ["conversions.parquet"]


def test_other_columns_are_refused_and_the_file_stays(settings: Settings) -> None:
    ensure_states(settings)
    with pytest.raises(ValueError, match="expected"):
        write_states(settings, pa.table({"conversion_event_id": ["1"]}))
    assert pq.read_table(states_path(settings)).equals(STATES.empty_table())


def test_the_file_of_a_fresh_folder_is_nobody_elses(settings: Settings) -> None:
    assert not settings.activation_dir.exists()
    ensure_states(settings)
    assert settings.activation_dir.stat().st_mode & 0o077 == 0
