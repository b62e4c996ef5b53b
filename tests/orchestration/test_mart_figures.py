"""Figures on the marts' materializations: told at the end, in the order they were built in."""

from __future__ import annotations

from datetime import date

import dagster as dg
import duckdb

from ctwa.settings import Settings
from orchestration.dbt_events import with_figures


def test_a_model_that_rests_on_a_mart_is_told_after_it(settings: Settings) -> None:
    settings.data_dir.mkdir(parents=True)
    with duckdb.connect(str(settings.warehouse_path)) as warehouse:
        warehouse.execute("create schema marts; create table marts.health as select 1 as one")
    built = ["staging__messages", "marts__health", "intermediate__alarms", "marts__gone"]
    events = [dg.Output(None, output_name=name) for name in built]
    told = list(with_figures(events, settings, "marts", date(2026, 6, 30)))
    assert [event.output_name for event in told] == built
    counted = [event.metadata.get("dagster/row_count") for event in told]
    assert [count.value if count else None for count in counted] == [None, 1, None, None]
