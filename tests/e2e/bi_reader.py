"""What a BI tool does: opens the published marts, reads them, compares totals that must agree.

As a process, `python -m tests.e2e.bi_reader MARTS KIND` looks again and again, one JSON line for
each look: at the `file`, at the `parquet` beside it, or through one connection `held` open. Each
kind is a process of its own: within one, DuckDB gives who opens a path the file that is held.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import duckdb

from publishing.marts import parquet_folder

QUIET_SECONDS, BUSY_SECONDS, AFTERWARDS_SECONDS = 1.0, 0.05, 5.0
"""Between two looks: while nothing is published, while something is; that long is after it."""

# Totals that agree in any whole publication, and in no mixture of two.
_CHECKS = {
    "leads by channel": (
        "select count(*) from fct_leads where not is_test",
        "select sum(leads + excluded_leads) from channel_performance",
    ),
    "spend by campaign": (
        "select sum(spend_reporting) from fct_ad_spend",
        "select sum(spend_reporting) from campaign_performance",
    ),
    "leads have their first touch": (
        "select count(*) from fct_leads",
        "select count(*) from fct_touches as t join fct_leads as l on t.touch_id = l.first_touch_id"
        " and t.is_first_touch and t.lead_id = l.lead_id",
    ),
}


def look(marts: Path) -> dict[str, Any]:
    """Open the published file as a BI tool does, read everything, close."""
    with duckdb.connect(str(marts), read_only=True) as connection:
        return read(connection)


def look_at_parquet(marts: Path) -> dict[str, Any]:
    """The same of the Parquet files that `current` names at this moment."""
    folder = (parquet_folder(marts) / "current").resolve(strict=True)
    with duckdb.connect() as connection:
        for file in folder.iterdir():
            connection.execute(f"create view \"{file.stem}\" as select * from '{file}'")
        return read(connection)


def read(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Version, rows, and what does not agree. All in one transaction, as one report reads."""
    connection.execute("begin")
    try:
        ((version, rows),) = _all(connection, "select version, mart_rows from publication")
        tables = [name for (name,) in _all(connection, "show tables") if name != "publication"]
        counted = sum(_one(connection, f'select count(*) from "{name}"') for name in tables)
        wrong = [] if counted == rows else [f"{counted} rows, {rows} published"]
        for name, (left, right) in _CHECKS.items():
            if _one(connection, left) != _one(connection, right):
                wrong.append(name)
        return {"version": version, "rows": rows, "tables": len(tables), "wrong": wrong}
    finally:
        connection.execute("rollback")


def _all(connection: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[Any, ...]]:
    return connection.execute(sql).fetchall()


def _one(connection: duckdb.DuckDBPyConnection, sql: str) -> Any:
    return _all(connection, sql)[0][0]


def _pause(marts: Path, hurry_until: float) -> float:
    """Until the next look, which is at once when a publication begins; until when to hurry."""
    end = time.monotonic() + QUIET_SECONDS
    while True:
        time.sleep(BUSY_SECONDS)
        now = time.monotonic()
        if any(marts.parent.glob(f"{marts.name}.*.tmp*")):
            hurry_until = now + AFTERWARDS_SECONDS
        if now < hurry_until or now >= end:
            return hurry_until


def main() -> None:
    """Look until the process is ended."""
    marts, kind = Path(sys.argv[1]), sys.argv[2]
    see = {"file": lambda: look(marts), "parquet": lambda: look_at_parquet(marts)}.get(kind)
    if see is None:
        held = duckdb.connect(str(marts), read_only=True)
        see = lambda: read(held)  # noqa: E731
    hurry_until = 0.0
    while True:
        try:
            seen = see()
        except Exception as error:  # noqa: BLE001 - whatever a reader would meet
            seen = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(seen), flush=True)
        hurry_until = _pause(marts, hurry_until)


if __name__ == "__main__":
    main()
