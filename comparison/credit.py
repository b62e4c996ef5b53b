"""Two databases with marts, compared: which leads' credit differs, and what that adds up to.

Every difference of leads, qualified leads and spend of a campaign's day is explained by rows by
cause whose deltas add up exactly to it; what no row of the marts explains would have the cause
`other`, and is none. Decimals and integers throughout.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from comparison import result_statements, spend_statements, statements
from comparison.causes import causes_of_nights
from comparison.sides import NotComparableError, open_sides
from comparison.tables import CREDIT_DIFF, CREDIT_DIFF_CAMPAIGNS, DAY_CHANGES
from ingestion.lake import conform

__all__ = ["ComparisonError", "CreditDifference", "NotComparableError", "changes", "compare"]


class ComparisonError(RuntimeError):
    """The explained changes do not add up to the difference: a defect of this package."""


@dataclass(frozen=True)
class CreditDifference:
    """What differs between two databases with marts, `b` less `a`."""

    leads: pa.Table
    """One row per lead whose credit differs; columns of `CREDIT_DIFF`, comparison_id null."""
    campaigns: pa.Table
    """Every campaign under both sides; columns of `CREDIT_DIFF_CAMPAIGNS`."""
    days: pa.Table
    """Deltas by campaign day and cause; columns of `DAY_CHANGES`."""


def compare(
    before: Path, after: Path, *, causes: Mapping[str, str] | None = None, prefix: str = ""
) -> CreditDifference:
    """Compare two files, leads and all; `causes` as `comparison.causes` makes them.

    `prefix` begins every sentence of `because`. Raises `NotComparableError`, `ComparisonError`.
    """
    with duckdb.connect() as connection:
        _prepare(connection, before, after, causes)
        days = _changes(connection)
        connection.execute(result_statements.SOURCE_MACRO)
        leads = connection.sql(
            result_statements.CREDIT_DIFF, params={"prefix": prefix}
        ).to_arrow_table()
        campaigns = connection.sql(result_statements.CAMPAIGNS).to_arrow_table().to_pylist()
    return CreditDifference(
        leads=conform(leads, CREDIT_DIFF),
        campaigns=pa.Table.from_pylist(
            [with_deltas(row) for row in campaigns], schema=CREDIT_DIFF_CAMPAIGNS
        ),
        days=days,
    )


def changes(
    before: Path,
    after: Path,
    *,
    causes: Mapping[str, str] | None = None,
    days_before: date | None = None,
) -> pa.Table:
    """Only the deltas by campaign day and cause (`DAY_CHANGES`), of days before `days_before`."""
    with duckdb.connect() as connection:
        _prepare(connection, before, after, causes)
        return _changes(connection, days_before)


def _prepare(
    connection: duckdb.DuckDBPyConnection,
    before: Path,
    after: Path,
    causes: Mapping[str, str] | None,
) -> None:
    connection.execute("set timezone = 'UTC'")
    open_sides(connection, before, after)
    mapping = causes if causes is not None else causes_of_nights()
    connection.execute("create temp table causes (mechanic varchar, cause varchar)")
    connection.executemany(
        "insert into causes values (?, ?)", [[m, c] for m, c in sorted(mapping.items())]
    )
    owners = statements.OWNERS
    sides = ({"here": "b", "there": "a"}, {"here": "a", "there": "b"})
    flips = " union all ".join(f"({statements.FLIPS.format(**s)})" for s in sides)
    _run(
        connection,
        [
            statements.PAIRS,
            *(owners.format(**s) for s in sides),
            statements.ERASED,
            statements.MECHANICS,
            f"create temp table flips as {flips}",
            statements.LEAD_DELTAS,
            spend_statements.SPEND_PAIRS,
            spend_statements.SPEND_SPLIT,
            spend_statements.SPEND_DELTAS,
            statements.DELTAS,
            statements.REST,
            statements.CHANGES,
        ],
    )
    wrong = connection.execute(statements.UNRECONCILED).fetchall()
    if wrong:
        raise ComparisonError(
            f"the changes of {len(wrong)} campaign days do not add up, first of {wrong[0][0]} "
            f"({wrong[0][1]}): please report this"
        )


def _changes(connection: duckdb.DuckDBPyConnection, days_before: date | None = None) -> pa.Table:
    table = connection.sql(
        "select * from changes where report_date < coalesce(?, date '9999-12-31') order by all",
        params=[days_before],
    ).to_arrow_table()
    return conform(table, DAY_CHANGES)


def _run(connection: duckdb.DuckDBPyConnection, sql: Iterable[str]) -> None:
    for statement in sql:
        connection.execute(statement)


def with_deltas(row: dict[str, Any]) -> dict[str, Any]:
    """A campaign's row with cost per qualified lead and the difference of each measure."""
    for side in ("a", "b"):
        spend, leads = row[f"spend_reporting_{side}"], row[f"qualified_leads_{side}"]
        row[f"cost_per_qualified_lead_reporting_{side}"] = ratio(spend, leads)
    for name in (
        "leads",
        "qualified_leads",
        "spend_reporting",
        "cost_per_qualified_lead_reporting",
    ):
        a, b = row[f"{name}_a"], row[f"{name}_b"]
        row[f"{name}_delta"] = None if a is None or b is None else b - a
    return row


def ratio(amount: Decimal | None, count: int) -> Decimal | None:
    """`amount / count` in millionths, rounded as the marts do; None where either is missing."""
    if amount is None or not count:
        return None
    return (Decimal(amount) / int(count)).quantize(Decimal("0.000001"), ROUND_HALF_UP)
