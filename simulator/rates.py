"""Money in the reporting currency, by the same seed of daily rates that the product uses."""

from __future__ import annotations

import csv
from bisect import bisect_right
from collections import defaultdict
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

from ctwa.settings import PROJECT_DIR

REPORTING_CURRENCY = "BRL"
RATES = PROJECT_DIR / "dbt_project" / "seeds" / "exchange_rates.csv"
MICRO = Decimal("0.000001")
"""What the marts round money to."""


class Rates:
    """The daily rates of the product's own seed: a rate holds for its day and 7 days after."""

    def __init__(self, path: Path = RATES) -> None:
        self._rates: dict[str, list[tuple[date, Decimal]]] = defaultdict(list)
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                if row["reporting_currency"] == REPORTING_CURRENCY:
                    day = date.fromisoformat(row["rate_date"])
                    self._rates[row["currency"]].append((day, Decimal(row["rate"])))
        for rates in self._rates.values():
            rates.sort()

    def convert(self, amount: Decimal, currency: str, day: date) -> Decimal:
        """The amount in the reporting currency; a world must not leave the days with rates."""
        if currency == REPORTING_CURRENCY:
            return amount
        rates = self._rates[currency]
        place = bisect_right(rates, (day, Decimal("Infinity"))) - 1
        if place < 0 or (day - rates[place][0]).days > 7:
            raise LookupError(f"{RATES.name} has no rate of {currency} for {day}")
        return (amount * rates[place][1]).quantize(MICRO, ROUND_HALF_UP)
