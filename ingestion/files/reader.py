"""A file's rows as fields. Columns, date order and decimal sign are decided before a row is taken.

The file is read twice: once to decide how to read its columns, once for its rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from ctwa.phones import DIGITS, NumeralError, id_text
from ctwa.settings import Settings
from ingestion.files import TableError
from ingestion.files.columns import columns_of, in_brackets, known, shown
from ingestion.files.readings import (
    AMBIGUOUS_SIGNS,
    AMOUNT_EXPECTED,
    DATE_DOUBT,
    DATE_EXAMPLES,
    DATE_EXPECTED,
    DATE_ORDERS,
    SIGN_DOUBT,
    SIGN_EXAMPLES,
    SIGNS,
    CellError,
    Poll,
    Verdict,
    amounts,
    currency_of,
    dates,
)
from ingestion.files.tables import Amount, Cell, Table, Unread, open_table

BEYOND = ""
"""Key in place of a field: the row has cells beyond the header."""

Fields = dict[str, Cell]
"""The cells of one row by field, without empty ones."""


@dataclass(frozen=True)
class ReadOptions:
    """What the command line says about a file.

    `columns`: header to field; `dates`: dmy, mdy or ymd; `decimal`: `,` or `.`; `currency`: ISO
    4217, for amounts without one; `timezone`: IANA name.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    sheet: str | None = None
    dates: str | None = None
    decimal: str | None = None
    currency: str | None = None
    timezone: str | None = None

    def __post_init__(self) -> None:
        """Raises `TableError` for an invalid value."""
        if self.dates not in (None, *DATE_ORDERS):
            raise TableError(f"--dates expects one of {', '.join(DATE_ORDERS)}")
        if self.decimal not in (None, *SIGNS):
            raise TableError('--decimal expects "," or "."')
        if self.currency is not None and currency_of(self.currency) is None:
            raise TableError("--currency expects a code of ISO 4217, such as BRL")
        if self.timezone is not None:
            try:
                ZoneInfo(self.timezone)
            except (KeyError, ValueError, OSError):
                raise TableError(
                    "--timezone expects a name such as America/Sao_Paulo or UTC"
                ) from None


class Reader:
    """One file, by its columns. `when`: the field with the time; `who`: fields that identify a
    person.

    Raises `TableError` if columns are missing, or a column can be read in several ways.
    """

    def __init__(
        self,
        path: Path,
        fields: Sequence[str],
        settings: Settings,
        options: ReadOptions,
        *,
        who: Sequence[str],
        when: str | None = None,
        ids: Sequence[str] = (),
    ) -> None:
        self.table: Table = open_table(path, sheet=options.sheet)
        self.table.find_header(lambda names: known(names, fields, options.columns))
        self.columns = columns_of(path.name, self.table.header, fields, options.columns)
        self._who, self._when, self._ids, self._options = who, when, ids, options
        zone = options.timezone or settings.reporting_timezone
        self.zone = ZoneInfo(zone)
        origin = "--timezone" if options.timezone else "the reporting zone; --timezone sets another"
        self.zone_text = f"{zone} ({origin}), for times without a zone of their own"
        self.passed_over: list[int] = []
        self._last = 0
        # For amounts that name no currency: the header's, else the command line's.
        named = currency_in(self.header("value")) if "value" in self.columns else None
        self._currency = named or (currency_of(options.currency) if options.currency else None)
        self._rounded: set[str] = set()
        self._dates = Verdict(None, "")
        self._amounts = Verdict(None, "")

    def header(self, name: str) -> str:
        """The header of a field's column, as written in the file."""
        return self.table.header[self.columns[name]]

    def require(self, names: Sequence[str], one_of: Sequence[str]) -> None:
        """Raises `TableError` if one of `names`, or every one of `one_of`, has no column."""
        missing = [name for name in names if name not in self.columns]
        if one_of and not any(name in self.columns for name in one_of):
            missing.append(f"one of {', '.join(one_of)}")
        if missing:
            raise TableError(
                f"{self.table.name}: columns missing: {'; '.join(missing)}; "
                f"{_remedy(self.table, *shown(self.table.header))}"
            )

    def survey(self) -> None:
        """Read the file once, to decide how to read its columns."""
        options, when = self._options, self._when
        orders = Poll(
            self._column(when), DATE_ORDERS, DATE_EXAMPLES, DATE_DOUBT, "--dates", options.dates
        )
        signs = Poll(
            self._column("value"), SIGNS, SIGN_EXAMPLES, SIGN_DOUBT, "--decimal", options.decimal
        )
        ended: dict[str, tuple[int, int]] = {}
        cells = _TypedCells()
        waiting: list[int] = []
        for line, row in self._fields():
            if not any(name in row for name in (*self._who, *([when] if when else []))):
                waiting.append(line)
                continue
            waiting, self._last = [], line
            if BEYOND in row:  # its cells may be in the wrong columns
                continue
            try:
                if when in row:
                    orders.add(line, dates(row[when]))
            except CellError:
                pass
            try:
                if "value" in row:
                    signs.add(line, amounts(row["value"])[0])
            except CellError:
                pass
            cells.add(row.get(when or ""), row.get("value"))
            for name in self._ids:
                _count_zeros(ended, name, row.get(name))
        # Totals and notes below the last row have neither a person nor a time. If a file has no
        # complete row at all, such rows are not totals.
        self.passed_over = waiting if self._last else []
        self._rounded = {n for n, (zeros, others) in ended.items() if zeros >= 3 and not others}
        try:
            cells.check(self.table.name, orders, signs)
            self._dates = orders.decide(self.table.name)
            self._amounts = signs.decide(self.table.name)
        except TableError as error:
            error.readings = self.readings()
            raise

    def rows(self) -> Iterator[tuple[int, Fields]]:
        """Rows with their line numbers, without totals at the end."""
        for line, row in self._fields():
            if line <= self._last or not self._last:
                yield line, row

    def readings(self) -> list[tuple[str, str]]:
        """How the file and its columns are understood, for people."""
        found = [*self.table.readings]
        if self.table.header_line > 1:
            found.append(("header", f"line {self.table.header_line}"))
        taken = {place: name for name, place in self.columns.items()}
        for place, header in enumerate(self.table.header):
            if header:
                found.append((f"column {header}", taken.get(place, "not used")))
        if self._dates.text:
            found.append(("dates", self._dates.text))
        if self._amounts.text:
            found.append(("decimal sign", self._amounts.text))
        if self._currency and "value" in self.columns:
            found.append(("currency", f"{self._currency}, for amounts that name none"))
        if self._when in self.columns:
            found.append(("time zone", self.zone_text))
        if self.passed_over:
            lines = ", ".join(map(str, self.passed_over[:5]))
            more = ", ..." if len(self.passed_over) > 5 else ""
            found.append(("passed over", f"line {lines}{more}: no time and nobody, a total?"))
        return found

    def named(self, error: ValueError) -> str:
        """The reason, with the header of the column if that is not the field's name."""
        text = str(error).removeprefix("body: ")  # about the row as a whole
        name = text.partition(":")[0]
        if name in self.columns and (header := self.header(name)) != name:
            return f"{name} (column {header}){text[len(name) :]}"
        return text

    @staticmethod
    def check(row: Fields) -> None:
        """Raises `CellError` if cells of a row may be in the wrong columns."""
        if BEYOND in row:
            raise CellError(
                "has more cells than the header: does an unquoted text contain the delimiter?"
            )

    # ---- cells -------------------------------------------------------------------------------

    def moment(self, cell: Cell) -> str:
        """ISO 8601 with an offset. Raises `CellError`."""
        found: datetime = self._dates.choose(dates(cell), DATE_EXPECTED)
        if found.tzinfo is None:
            found = found.replace(tzinfo=self.zone)
        return found.isoformat()

    def text(self, name: str, cell: Cell) -> str:
        """An id, a phone or a name: text as it is, whole numbers as their digits. Raises
        `CellError`."""
        if isinstance(cell, str):
            if name in self._rounded and _is_long(cell):
                raise CellError(_ROUNDED)
            return cell
        if isinstance(cell, Unread):
            raise CellError(cell.reason)
        value = cell.value if isinstance(cell, Amount) else cell
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            kind = "a date" if hasattr(value, "isoformat") else type(value).__name__
            raise CellError(f"is {kind}, not text: format its column as text")
        try:
            text = str(id_text(value))
        except NumeralError as error:
            raise CellError(str(error)) from None
        if self.table.number_digits and len(text.lstrip("-")) > self.table.number_digits:
            raise CellError(_ROUNDED)
        return text

    def money(self, row: Fields) -> tuple[Decimal | None, str | None]:
        """Amount and currency of a row. Raises `CellError`."""
        cell = row.get("currency")
        if isinstance(cell, Unread):
            raise CellError(f"currency: {cell.reason}")
        given = currency_of(cell) if isinstance(cell, str) else None
        is_bare = str(cell).strip().upper() in AMBIGUOUS_SIGNS
        if cell is not None and given is None and not is_bare:
            raise CellError("currency: expects a code of ISO 4217, such as BRL, or a sign like R$")
        if "value" not in row:
            return None, given
        if isinstance(row["value"], str) and _DASH.fullmatch(row["value"]):
            return None, given
        try:
            readings, sign = amounts(row["value"])
            value = self._amounts.choose(readings, AMOUNT_EXPECTED)
        except CellError as error:
            raise CellError(f"value: {error}") from None
        own = currency_of(sign) if sign else None
        currency = given or own or self._currency
        if sign and own is None and sign not in AMBIGUOUS_SIGNS:
            raise CellError("value: has unknown words or an unknown currency next to the number")
        if own and given and own != given:
            raise CellError("value: its currency differs from the one in the column currency")
        if (is_bare or sign in AMBIGUOUS_SIGNS) and currency is None:
            raise CellError(
                "value: a bare $ is the sign of many currencies: add a column currency, "
                "or use --currency USD"
            )
        return value, currency

    # ---- details -----------------------------------------------------------------------------

    def _column(self, name: str | None) -> str:
        return self.header(name) if name in self.columns else str(name)

    def _fields(self) -> Iterator[tuple[int, Fields]]:
        places = list(self.columns.items())
        named = max((n for n, h in enumerate(self.table.header, 1) if h), default=0)
        for line, cells in self.table.rows():
            row = {n: cells[p] for n, p in places if p < len(cells) and cells[p] is not None}
            if self.table.is_text and any(cell is not None for cell in cells[named:]):
                row[BEYOND] = True
            yield line, row


def _remedy(table: Table, there: str, has_names: bool) -> str:
    if not table.header:
        remedy = "the file is empty" if not table.others else "the sheet is empty"
    elif has_names:
        remedy = f'its header has {there}: say which is which with --map "header=name"'
    else:
        remedy = f"it has {there}: put a row of names such as phone on top"
    others = f"; or --sheet with another sheet: {', '.join(table.others)}" if table.others else ""
    return remedy + others


@dataclass
class _TypedCells:
    """What a workbook's columns hold as dates and numbers, apart from what they hold as text.

    A spreadsheet set to another country reads what it can by its own rules, 05/06 as the 6th of May
    and 1.200 as 1.2, and leaves as text only what it cannot read: 28/11 and 1.200,50.
    """

    days: set[int] = field(default_factory=set)
    has_numbers: bool = False

    def add(self, when: Cell, value: Cell) -> None:
        if isinstance(when, date):
            self.days.add(when.day)
        if isinstance(value, int | float | Amount):
            self.has_numbers = True

    def check(self, file: str, orders: Poll, signs: Poll) -> None:
        """Raises `TableError` if cells that are not text may be misread and no option decides."""
        if self.days and max(self.days) <= 12 and orders.values and not orders.chosen:
            raise TableError(
                f"{file}: column {orders.column} holds dates and, as text, "
                f"{DATE_EXAMPLES['dmy']} or the like, and none of its dates is later than the "
                "12th of a month: a spreadsheet with the settings of another country takes the "
                "day for the month where it can, and leaves the others as text. Import the file "
                "that it was made from, or, if the dates are right, use --dates with the order "
                "of the texts"
            )
        if self.has_numbers and signs.values and not signs.chosen:
            raise TableError(
                f"{file}: column {signs.column} holds numbers and, as text, amounts with a decimal "
                "sign: a spreadsheet with the settings of another country takes 1.200 for 1.2, or "
                "500,00 for 50000, where it can, and leaves the others as text. Import the file "
                "that it was made from, or, if the numbers are right, use --decimal with the "
                "decimal sign of the texts"
            )


def currency_in(header: str) -> str | None:
    """The currency that a header names in brackets, such as `Valor (R$)`."""
    return next(filter(None, map(currency_of, in_brackets(header))), None)


# How a spreadsheet shows an empty amount: `R$ -`.
_DASH = re.compile(r"[^\d\w]{0,3}\w{0,3}[^\d\w]{0,3}\s*[-–—]\s*(?:[?]{2})?")
_ROUNDED = (
    f"has more than {DIGITS} digits and was a number in a spreadsheet, which keeps {DIGITS}: "
    "format its column as text"
)


def _is_long(text: str) -> bool:
    return len(text) > DIGITS and text.isascii() and text.isdigit()


def _count_zeros(ended: dict[str, tuple[int, int]], name: str, cell: Any) -> None:
    """Count ids longer than a spreadsheet's numbers: with zeros from the 16th digit on, and
    without.

    A single id may end like that by chance; a column of ids does not.
    """
    if isinstance(cell, str) and _is_long(cell):
        zeros, others = ended.get(name, (0, 0))
        is_rounded = not cell[DIGITS:].strip("0")
        more = len(cell) - DIGITS if is_rounded else 0
        ended[name] = zeros + more, others + (not is_rounded)


__all__ = ["Fields", "ReadOptions", "Reader"]
