"""Dates and amounts as people write them, read with one order and one sign for a whole column.

A value may have several readings: `05/06/2026` is a day in June or in May, `1.200` is twelve
hundred or a little over one. `Poll` collects the readings of all values in a column; if more than
one fits all of them, the column is refused, with the readings and the option that decides. Nothing
is guessed.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any

from ctwa.errors import CtwaError
from ctwa.phones import NumeralError, mended
from ingestion.files import TableError
from ingestion.files.tables import Amount, Cell, Unread

Readings = Mapping[str, Any]
"""Reading to value; under `""` if there is only one reading."""


class CellError(CtwaError, ValueError):
    """A cell does not fit its column; the text does not contain its value."""


@dataclass
class Poll:
    """The readings of a column's values. `chosen`: the reading given by a command-line option.

    `options`: all possible readings; `examples`: what each one is; `doubtful`: how the readings of
    a value differ; `option`: the command-line option that decides.
    """

    column: str
    options: tuple[str, ...]
    examples: Mapping[str, str]
    doubtful: str
    option: str
    chosen: str | None = None
    values: int = 0
    fits: Counter[str] = field(default_factory=Counter)
    only: Counter[str] = field(default_factory=Counter)
    first: dict[str, int] = field(default_factory=dict)
    doubt: int = 0
    """Line of the first value with several readings."""

    def add(self, line: int, readings: Readings) -> None:
        """Add one value; one without a reading, or with the same by all, does not help to
        decide."""
        if not readings or "" in readings:
            return
        if len(readings) > 1 and len(set(readings.values())) == 1:
            return
        self.values += 1
        self.fits.update(readings.keys())
        if len(readings) == 1:
            (one,) = readings
            self.only[one] += 1
            self.first.setdefault(one, line)
        else:
            self.doubt = self.doubt or line

    def decide(self, file: str) -> Verdict:
        """How to read the column. Raises `TableError` if it can be read in several ways."""
        if self.chosen:
            return Verdict(self.chosen, f"{self.examples[self.chosen]} (by {self.option})")
        whole = [o for o in self.options if self.fits[o] == self.values]
        if not self.values:
            return Verdict(None, "")
        if len(whole) == 1:
            line = self.first.get(whole[0]) or self.doubt
            return Verdict(whole[0], f"{self.examples[whole[0]]} (line {line} can be nothing else)")
        if whole:
            choices = " or ".join(f'{self.option} "{o}" ({self.examples[o]})' for o in whole)
            raise TableError(
                f"{file}: column {self.column} has two readings from line {self.doubt} on, and "
                f"no value in it rules one out: {self.doubtful}. Use {choices}"
            )
        ranked = self.only.most_common(2)
        if not ranked or (len(ranked) > 1 and ranked[0][1] == ranked[1][1]):
            lines = ", ".join(f"line {n} as {self.examples[o]}" for o, n in self.first.items())
            raise TableError(
                f"{file}: column {self.column} is written in two ways: {lines}: write it in "
                f"one way, or use {self.option}, which refuses the other rows"
            )
        best = ranked[0][0]
        return Verdict(best, f"{self.examples[best]}; other rows are refused", is_mixed=True)


@dataclass(frozen=True)
class Verdict:
    """How a column is read. `text` is for people; empty if there was nothing to decide.

    `is_mixed`: it is written in two ways, so values that could be either are refused.
    """

    reading: str | None
    text: str
    is_mixed: bool = False

    def choose(self, readings: Readings, expected: str) -> Any:
        """The value in this reading. Raises `CellError`."""
        if not readings:
            raise CellError(expected)
        if "" in readings:
            return readings[""]
        values = set(readings.values())
        if self.reading is None or (len(values) == 1 and len(readings) > 1):
            return next(iter(readings.values()))
        if self.reading not in readings:
            raise CellError(f"{expected}; the column is read as {self.text.partition(' (')[0]}")
        if self.is_mixed and len(values) > 1:
            raise CellError("has two readings, and the column is written in two ways")
        return readings[self.reading]


# ---- dates ---------------------------------------------------------------------------------------

DATE_ORDERS = ("dmy", "mdy", "ymd")
DATE_EXAMPLES = {
    "dmy": "day/month/year",
    "mdy": "month/day/year",
    "ymd": "year/month/day",
}
DATE_DOUBT = (
    "05/06/2026 is the 5th of June or the 6th of May; with a year of two digits, 05/06/26 may be "
    "a day of 2005 too"
)
DATE_EXPECTED = "expects a date such as 2026-05-04 14:31 or 04/05/2026"

_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "jan january janeiro ene enero", "feb february fev fevereiro febrero",
            "mar march marco marzo", "apr april abr abril", "may mai maio mayo",
            "jun june junho junio", "jul july julho julio", "aug august ago agosto",
            "sep sept september set setembro septiembre setiembre",
            "oct october out outubro octubre", "nov november novembro noviembre",
            "dec december dez dezembro dic diciembre",
        ),
        1,
    )
    for name in names.split()
}  # fmt: skip
_ISO_DATE = r"(?P<y>\d{4})(?P<s>[-/.]?)(?P<m>\d{1,2})(?P=s)(?P<d>\d{1,2})"
_TIME = re.compile(
    r"(?P<h>\d{1,2})(?:\s*(?:[:h]|hs)\s*(?P<min>\d{2})?)?(?:[:m]\s*(?P<sec>\d{2})(?P<frac>[.,]\d+)?s?)?"
    r"\s*(?:h(?:s|rs)?)?\s*(?P<half>[ap]\.?\s?m\.?)?"
    r"\s*(?P<zone>z|\(?(?:utc|gmt)?\s*(?:[+-]\d{1,2}(?::?\d{2})?)?\)?)?",
    re.IGNORECASE,
)
_ISO = re.compile(rf"{_ISO_DATE}(?:[t\s,]+(?P<rest>.+))?", re.IGNORECASE)
_NUMBERS = re.compile(
    r"(?P<a>\d{1,2})(?P<s>[/.\- ])(?P<b>\d{1,2})(?P=s)(?P<c>\d{4}|\d{2})(?:[t\s,]+(?P<rest>.+))?"
)
_NAMED = re.compile(
    r"(?:(?P<d1>\d{1,2})(?:st|nd|rd|th|o|a)?[\s/.\-]*(?:de\s+)?)?(?P<month>[a-z]{3,10})\.?[\s/.\-]*"
    r"(?:(?P<d2>\d{1,2})(?:st|nd|rd|th)?,?\s+)?(?:de[l]?\s+)?(?P<y>\d{4}|\d{2})"
    r"(?:[t\s,]+(?P<rest>.+))?"
)
_WEEKDAY = re.compile(
    r"^(?:mon|tue|wed|thu|fri|sat|sun|seg|ter|qua|qui|sex|sab|dom|lun|mie|jue|vie)"
    r"[a-z]*(?:-feira)?\.?,?\s+(?=\d)"
)
_AT = re.compile(r"^(?:as|at|a las?|a los?|a)\s+(?=\d)")
_SERIAL = re.compile(r"\d{5}(?:[.,]\d+)?")
_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001 - the wall clock of the spreadsheet
_SERIALS = range(36_526, 73_051)  # the years 2000 to 2099


def dates(cell: Cell) -> Readings:
    """What a cell can mean as a time; naive if it names no time zone."""
    if isinstance(cell, datetime):
        return {"": cell}
    if isinstance(cell, date):
        return {"": datetime(cell.year, cell.month, cell.day)}  # noqa: DTZ001
    if isinstance(cell, Unread):
        raise CellError(cell.reason)
    if isinstance(cell, int | float | Decimal) and not isinstance(cell, bool):
        return _serial(str(cell))
    return _written(cell) if isinstance(cell, str) and len(cell) <= 80 else {}


def _written(text: str) -> Readings:
    if _SERIAL.fullmatch(text):
        return _serial(text)
    letters = unicodedata.normalize("NFKD", text).casefold()
    text = "".join(c for c in letters if not unicodedata.combining(c))
    text = " ".join(_WEEKDAY.sub("", text).split())
    if iso := _ISO.fullmatch(text):
        if not iso["s"] and len(iso["m"] + iso["d"]) != 4:
            return {}
        found = _moment(int(iso["y"]), int(iso["m"]), int(iso["d"]), iso["rest"])
        return {"": found} if found else {}
    if numbers := _NUMBERS.fullmatch(text):
        a, b, c = (int(numbers[n]) for n in "abc")
        orders = {"dmy": (c, b, a), "mdy": (c, a, b)}
        if len(numbers["c"]) == 2:
            orders["ymd"] = (a, b, c)
        moments = {o: _moment(*_full_year(parts), numbers["rest"]) for o, parts in orders.items()}
        return {o: moment for o, moment in moments.items() if moment}
    if named := _NAMED.fullmatch(text):
        month = _MONTHS.get(named["month"])
        day = named["d1"] or named["d2"]
        if month and day and not (named["d1"] and named["d2"]):
            year, _, _ = _full_year((int(named["y"]), 1, 1))
            found = _moment(year, month, int(day), named["rest"])
            return {"": found} if found else {}
    return {}


def _full_year(parts: tuple[int, int, int]) -> tuple[int, int, int]:
    year, month, day = parts
    return (year + 2000 if year < 100 else year), month, day


def _moment(year: int, month: int, day: int, rest: str | None) -> datetime | None:
    time = _time(_AT.sub("", rest)) if rest else (0, 0, 0, 0, None)
    if time is None:
        return None
    hour, minute, second, micro, zone = time
    try:
        return datetime(year, month, day, hour, minute, second, micro, zone)
    except ValueError:
        return None


def _time(text: str) -> tuple[int, int, int, int, tzinfo | None] | None:
    found = _TIME.fullmatch(text.strip())
    if found is None or not (found["min"] or found["half"] or "h" in text):
        return None
    hour, half = int(found["h"]), (found["half"] or "").lower()
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half.startswith("p") else 0)
    micro = int(f"{found['frac'][1:]:0<6}"[:6]) if found["frac"] else 0
    zone = (found["zone"] or "").strip("() ").lower()
    parsed: tzinfo | None = None
    if zone:
        offset = re.fullmatch(r"(?:z|utc|gmt)?\s*(?:([+-])(\d{1,2}):?(\d{2})?)?", zone)
        if offset is None:
            return None
        parsed = UTC
        if offset[1]:
            minutes = int(offset[2]) * 60 + int(offset[3] or 0)
            if minutes > 14 * 60:
                return None
            parsed = timezone(timedelta(minutes=minutes if offset[1] == "+" else -minutes))
    return hour, int(found["min"] or 0), int(found["sec"] or 0), micro, parsed


def _serial(text: str) -> Readings:
    """Days since the end of 1899, as a spreadsheet stores dates."""
    try:
        days = Decimal(text.replace(",", "."))
    except ArithmeticError:
        return {}
    if not days.is_finite() or int(days) not in _SERIALS:
        return {}
    return {"": _EPOCH + timedelta(seconds=round(float(days) * 86_400))}


# ---- amounts -------------------------------------------------------------------------------------

SIGNS = (",", ".")
SIGN_EXAMPLES = {",": "decimal comma, 1.200,50", ".": "decimal point, 1,200.50"}
SIGN_DOUBT = "1.200 is 1200 or 1.2, and 1,200 is 1.2 or 1200"
AMOUNT_EXPECTED = "expects a number such as 1200.50"

_CURRENCIES = {
    "R$": "BRL", "REAL": "BRL", "REAIS": "BRL", "US$": "USD", "U$S": "USD", "U$D": "USD",
    "U$": "USD", "MX$": "MXN", "MEX$": "MXN", "MXN$": "MXN", "AR$": "ARS", "ARS$": "ARS",
    "CLP$": "CLP", "CL$": "CLP", "COP$": "COP", "COL$": "COP", "S/": "PEN", "S/.": "PEN",
    "$U": "UYU", "UY$": "UYU", "UYU$": "UYU", "€": "EUR", "EURO": "EUR", "EUROS": "EUR", "£": "GBP",
    "C$": "CAD", "CA$": "CAD", "A$": "AUD", "AU$": "AUD", "₹": "INR", "₲": "PYG", "₡": "CRC",
    "BRL$": "BRL", "USD$": "USD",
}  # fmt: skip
AMBIGUOUS_SIGNS = ("$", "¥", "PESO", "PESOS")
_CODE = re.compile(r"[A-Z]{3}")
_AMOUNT = re.compile(
    r"(?P<open>\()?(?P<s1>[-+−])?\s*(?P<pre>[^\d.,+\-−()\s]{0,6})\s*(?P<s2>[-+−])?\s*"
    r"(?P<number>\d[\d.,'’ ]*|[.,]\d+)\s*(?P<post>[^\d.,+\-−()\s]{0,6})\s*(?P<s3>-)?(?P<close>\))?"
)
_BLANK_GROUPS = re.compile(r"\d{1,3}(?:[ '’]\d{3})+(?=[.,]|$)")


def amounts(cell: Cell) -> tuple[Readings, str]:
    """What a cell can mean as an amount, and its currency or sign ('' if it has none)."""
    if isinstance(cell, Unread):
        raise CellError(cell.reason)
    if isinstance(cell, Amount):
        return {"": cell.value}, cell.sign
    if isinstance(cell, bool):
        return {}, ""
    if isinstance(cell, int | float | Decimal):
        return {"": Decimal(str(cell))}, ""
    return _amount(cell) if isinstance(cell, str) and len(cell) <= 60 else ({}, "")


def _amount(text: str) -> tuple[Readings, str]:
    if re.fullmatch(r"[+-]?\d+([.,]\d+)?[eE]-\d{1,9}", text):  # practically zero
        return {"": Decimal(0) if len(text) > 20 else Decimal(text.replace(",", "."))}, ""
    if re.search(r"\d[eE]\+?\d", text):
        try:
            mended(text)
        except NumeralError as error:
            raise CellError(
                str(error).replace("format its column as text", "show all digits")
            ) from None
    found = _AMOUNT.fullmatch(text.replace("S/.", "S/"))
    if found is None or bool(found["open"]) != bool(found["close"]):
        return {}, ""
    if found["pre"] and found["post"]:
        return {}, ""
    number = found["number"].strip()
    if blanks := _BLANK_GROUPS.match(number):
        number = re.sub("[ '’]", "", blanks[0]) + number[blanks.end() :]
    minus = [s for s in (found["s1"], found["s2"], found["s3"], found["open"]) if s and s != "+"]
    sign = Decimal(-1 if minus else 1)
    readings = {s: sign * value for s in SIGNS if (value := _by(number, s)) is not None}
    return readings, (found["pre"] or found["post"]).upper()


def _by(number: str, sign: str) -> Decimal | None:
    """A number read with this decimal sign; the other sign groups thousands."""
    other = "." if sign == "," else ","
    whole, _, part = number.partition(sign)
    if part and not part.isdecimal():
        return None
    if other in whole:
        first, *groups = whole.split(other)
        threes = all(len(g) == 3 for g in groups) and len(first) <= 3
        lakhs = len(groups[-1]) == 3 and all(len(g) == 2 for g in groups[:-1]) and len(first) <= 2
        if not (threes or lakhs) or not first or first.startswith("0"):
            return None
        whole = first + "".join(groups)
    if not (whole or part) or not (whole or "0").isdecimal() or not number.isascii():
        return None
    return Decimal(f"{whole or 0}.{part or 0}")


def currency_of(text: str) -> str | None:
    """The code for a currency's sign or name; None if it is unknown, or means several
    currencies."""
    text = text.strip().upper()
    return _CURRENCIES.get(text) or (text if _CODE.fullmatch(text) else None)


__all__ = [
    "AMBIGUOUS_SIGNS",
    "AMOUNT_EXPECTED",
    "DATE_DOUBT",
    "DATE_EXAMPLES",
    "DATE_EXPECTED",
    "DATE_ORDERS",
    "SIGNS",
    "SIGN_DOUBT",
    "SIGN_EXAMPLES",
    "CellError",
    "Poll",
    "Verdict",
    "amounts",
    "currency_of",
    "dates",
]
