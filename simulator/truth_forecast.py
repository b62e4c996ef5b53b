"""What the forecast must count of young cohorts: leads and those qualified so far.

What is expected of them follows from these counts by formula, which tests of the formulae look at.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

from simulator.truth_reports import Facts, Row, Rows, campaign_of_lead

_YOUNG_DAYS = 90
HORIZONS = (30, 90)
"""Days of birth within which a lead has to qualify."""
SOURCE = "(select * from marts.cohort_forecast where leads > 0 and level <> 'ad')"
"""Ads have rows from a number of leads on, and spend without leads has none here."""


def cohorts(facts: Facts, today: date) -> Rows:
    """Rows of `cohort_forecast` with leads, without ads and what is expected."""
    counted: dict[tuple[Any, ...], Row] = defaultdict(lambda: {"leads": 0, "qualified_so_far": 0})
    for _, row in facts:
        if row["is_excluded"]:
            continue
        for grain, start, end in _periods(row["first_touch_date"]):
            if end < today - timedelta(days=_YOUNG_DAYS):
                continue
            for level, key in _entities(row):
                for horizon in HORIZONS:
                    cell = counted[level, key, grain, start, horizon]
                    cell["leads"] += 1
                    cell["qualified_so_far"] += row[f"_qualified_{horizon}d"]
    return dict(counted)


def _entities(row: Row) -> Iterator[tuple[str, str]]:
    yield "company", "all"
    yield "channel", row["channel"]
    if row["platform"] is not None:
        yield "platform", row["platform"]
        yield "campaign", f"{row['platform']}:{campaign_of_lead(row)}"
        if row["account_id"] is not None:
            yield "account", f"{row['platform']}:{row['account_id']}"


def _periods(day: date) -> Iterator[tuple[str, date, date]]:
    """Grain, first and last day."""
    yield "day", day, day
    monday = day - timedelta(days=day.weekday())
    yield "week", monday, monday + timedelta(days=6)
    first = day.replace(day=1)
    yield "month", first, (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
