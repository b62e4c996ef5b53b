"""What the benchmark measured, with the limit that was set for it and whether it was kept."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ctwa.errors import CtwaError


class BenchmarkError(CtwaError):
    """Something could not be measured; the text says what happened."""


class WrongAnswerError(BenchmarkError):
    """What was measured gave a wrong result, so its time says nothing."""


@dataclass(frozen=True)
class Figure:
    """One measured value; `limit` is the highest that is good enough, if one was set.

    `is_least`: the limit is the lowest instead. A value of NaN was not measured on this machine.
    """

    name: str
    value: float
    unit: str = ""
    limit: float | None = None
    is_least: bool = False

    @property
    def verdict(self) -> str:
        """`kept`, `missed`, or nothing where no limit was set."""
        if self.limit is None or math.isnan(self.value):
            return ""
        is_kept = self.value >= self.limit if self.is_least else self.value <= self.limit
        return "kept" if is_kept else "missed"

    def row(self) -> str:
        """As a row of the table in docs/performance.md."""
        sign = "≥" if self.is_least else "≤"
        limit = "" if self.limit is None else f"{sign} {_number(self.limit)} {self.unit}".rstrip()
        unknown = math.isnan(self.value)
        measured = "–" if unknown else f"{_number(self.value)} {self.unit}".rstrip()
        return f"| {self.name} | {measured} | {limit} | {self.verdict} |"


HEAD = ("| figure | measured | limit | |", "|---|---|---|---|")


def _number(value: float) -> str:
    """Three digits that matter, and no more decimals than they need."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def check_leads(product: int, statement: int) -> None:
    """Raise `WrongAnswerError` where the product and the base do not count the same leads."""
    if product != statement:
        raise WrongAnswerError(
            f"the product has {product:,} leads where the statement counts {statement:,}: figures "
            "of a wrong answer are worth nothing. Look at benchmarks/bodies.py and rule R4"
        )
