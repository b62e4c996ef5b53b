"""Tables as Excel, Google Sheets and CRMs save them, read by pandas: a header, and rows by line.

| file | read |
|---|---|
| text (.csv, .tsv, .txt) | UTF-8, UTF-16 or Windows-1252; `;`, `,`, tab or bar; a `sep=` line |
| .xlsx, .xlsm | numbers and dates as their cells have them; the first sheet, or the named one |
| Parquet | as typed |

Text and Parquet are read in pieces of `CHUNK` rows, so their size is limited only by the disk; a
workbook is held in memory (a sheet has at most 1,048,576 rows), up to `MAX_WORKBOOK` unpacked.
"""

from __future__ import annotations

import codecs
import csv
import re
import zipfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ingestion.files import TableError

# Columns of notes that CRMs export may hold whole e-mails; Python's default limit is 131,072
# characters.
csv.field_size_limit(1 << 30)

CHUNK = 20_000
MAX_WORKBOOK = 1 << 30
HEAD = 20
"""How many rows are searched for the header: exports put titles above it."""
SPARE = 16
"""How many cells a row may have beyond the longest of the first rows."""

_DELIMITERS = {";": "semicolon", ",": "comma", "\t": "tab", "|": "bar"}
_SEP_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)
# Characters that look like a blank but are not one, and invisible marks.
_BLANKS = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_UNSEEN = re.compile("[\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
_AS_TEXT = re.compile(r'="(.*)"')
_ERRORS = frozenset((
    "#n/a", "#n/d", "#ref!", "#¡ref!", "#value!", "#valor!", "#¡valor!", "#div/0!", "#¡div/0!",
    "#name?", "#nome?", "#¿nombre?", "#num!", "#núm!", "#¡num!", "#¡núm!", "#null!", "#nulo!",
    "#¡nulo!", "#error!", "#erro!", "#spill!", "#calc!", "#getting_data",
))  # fmt: skip
_NOTHING = frozenset({"", "-", "–", "—", "nan", "null", "none", "nat", "<na>"})

Cell = Any
"""Text without surrounding blanks, a number, `datetime`, `Amount`, `Unread`, or None."""


class Unread(NamedTuple):
    """A cell without a usable value. `reason` is for people."""

    reason: str


class Amount(NamedTuple):
    """A number whose cell is formatted as money; `sign` is the format's."""

    value: Decimal
    sign: str


ERROR_CELL = Unread("holds a spreadsheet's error such as #N/A")
FORMULA_CELL = Unread("holds a formula whose result is not in the file: save it with its values")


@dataclass
class Table:
    """A file as a table. `readings`: how the file was understood, for people. `number_digits`: how
    many digits its number cells keep; None: all."""

    name: str
    readings: list[tuple[str, str]]
    lines: Callable[[], Generator[tuple[int, list[Cell]]]]
    """Every row with its line number in an editor or the spreadsheet, including header and
    titles."""
    header: list[str] = field(default_factory=list)
    header_line: int = 0
    number_digits: int | None = None
    is_text: bool = False
    others: list[str] = field(default_factory=list)
    """Names of a workbook's other sheets, if no sheet was asked for."""

    def find_header(self, count: Callable[[list[str]], int]) -> None:
        """Of the first rows, the one with the most names that `count` knows becomes the header."""
        best = -1
        with closing(self.lines()) as lines:
            for line, cells in islice(lines, HEAD):
                names = [c if isinstance(c, str) else "" for c in cells]
                if any(names) and (known := count(names)) > best:
                    best, self.header, self.header_line = known, names, line

    def rows(self) -> Iterator[tuple[int, list[Cell]]]:
        """Rows below the header that are not empty; may be called repeatedly."""
        for line, cells in self.lines():
            if line > self.header_line and any(cell is not None for cell in cells):
                yield line, cells


def open_table(path: Path, *, sheet: str | None = None) -> Table:
    """The file as a table, by its content rather than its name. Raises `TableError` if it is
    none."""
    if not path.is_file():  # it is read more than once
        raise TableError(f"{path.name}: is a pipe or a device: save it to a file first")
    with path.open("rb") as file:
        start = file.read(8)
    if path.suffix.lower() in (".parquet", ".pq") or start.startswith(b"PAR1"):
        found = _parquet(path)
    elif start.startswith(b"PK\x03\x04"):
        return _workbook(path, sheet)
    elif start.startswith(b"\xd0\xcf\x11\xe0"):
        raise TableError(
            f"{path.name}: is an .xls file, or one with a password: save it as .xlsx without one"
        )
    elif start.lstrip().startswith(b"<"):
        raise TableError(
            f"{path.name}: is a web page under another name: open it, and save it as .xlsx"
        )
    elif path.suffix.lower() in (".xlsx", ".xlsm", ".xls", ".ods"):
        raise TableError(f"{path.name}: is not a workbook: save it as .xlsx or CSV")
    else:
        found = _text(path)
    if sheet is not None:
        raise TableError(f"{path.name}: has no sheets: leave out --sheet")
    return found


def cleaned(text: str) -> Cell:
    """A cell's text as people see it: None if it is empty, `Unread` for an error."""
    if not text.isascii():
        text = _UNSEEN.sub("", _BLANKS.sub(" ", text))
    text = text.strip()
    if not text:
        return None
    if quoted := _AS_TEXT.fullmatch(text):  # how exports stop a spreadsheet changing a number
        text = quoted[1].strip()
    lower = text.lower()
    if lower in _NOTHING:
        return None
    if lower in _ERRORS:
        return ERROR_CELL
    return FORMULA_CELL if text.startswith("=") and len(text) > 1 else text


# ---- text ----------------------------------------------------------------------------------------


def _text(path: Path) -> Table:
    encoding, name = _encoding(path)
    with path.open(encoding=encoding, newline="") as file:
        first = file.readline()
        sep_line = _SEP_LINE.fullmatch(first)
        if not sep_line:
            file.seek(0)
        start = list(islice(file, 200))
    delimiter = sep_line[1] if sep_line else _delimiter(start)
    width = max((len(row) for row in csv.reader(start, delimiter=delimiter)), default=1)
    width += SPARE

    def lines() -> Generator[tuple[int, list[Cell]]]:
        import pandas as pd  # slow to import: only when a file is read

        line = 2 if sep_line else 1
        try:
            with pd.read_csv(
                path, sep=delimiter, encoding=encoding, header=None, names=range(width),
                index_col=False, dtype=object, na_filter=False, skip_blank_lines=False,
                skiprows=1 if sep_line else 0, chunksize=CHUNK, engine="c",
            ) as pieces:  # fmt: skip
                for piece in pieces:
                    for texts in piece.itertuples(index=False, name=None):
                        yield line, [cleaned(t) if isinstance(t, str) else None for t in texts]
                        # A quoted text may span several lines: a row's number is its first line.
                        line += 1 + sum(_breaks(t) for t in texts if isinstance(t, str))
        except pd.errors.EmptyDataError:
            return
        except pd.errors.ParserError as error:
            raise TableError(f"{path.name}: {_structure(str(error), bool(sep_line))}") from None

    readings = [
        ("encoding", name),
        (
            "delimiter",
            f"{_DELIMITERS.get(delimiter, delimiter)}{' (sep= line)' if sep_line else ''}",
        ),
    ]
    return Table(path.name, readings, lines, is_text=True)


def _breaks(text: str) -> int:
    return text.count("\n") + text.count("\r") - text.count("\r\n")


def _structure(error: str, has_sep_line: bool) -> str:
    """What pandas says about a broken table, without the values that it may quote."""
    line = re.search(r"(line|row) (\d+)", error)
    # pandas counts rows from 0 and lines from 1.
    where = f"line {int(line[2]) + (line[1] == 'row') + has_sep_line}" if line else "some line"
    if "inside string" in error:
        return f"a quotation mark that opens near {where} is never closed"
    hint = "does an unquoted text contain the delimiter?"
    return f"{where} has more cells than the header: {hint}"


def _encoding(path: Path) -> tuple[str, str]:
    """Codec and its name for people."""
    with path.open("rb") as file:
        start = file.read(4_096)
    for mark, codec, name in _BOMS:
        if start.startswith(mark):
            return _checked(path, codec, name)
    if start.count(b"\0") > len(start) // 4:  # Latin letters have a zero byte in UTF-16
        little = start[1::2].count(0) >= start[0::2].count(0)
        return _checked(path, "utf-16-le" if little else "utf-16-be", "UTF-16")
    good = bad = 0
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        while piece := file.read(1 << 20):
            if not piece.isascii():
                lost = piece.count("\ufffd")
                bad, good = bad + lost, good + sum(c > "\x7f" for c in piece) - lost
    if not bad:
        return "utf-8", "UTF-8"
    if good > bad:
        raise TableError(f"{path.name}: {bad} characters of its UTF-8 are damaged: save it again")
    return _checked(path, "cp1252", "Windows-1252")


def _checked(path: Path, codec: str, name: str) -> tuple[str, str]:
    try:
        with path.open(encoding=codec, newline="") as file:
            while file.read(1 << 20):
                pass
    except UnicodeError:
        raise TableError(
            f"{path.name}: is neither UTF-8, UTF-16 nor Windows-1252; save it as 'CSV UTF-8'"
        ) from None
    return codec, name


def _delimiter(start: list[str]) -> str:
    """The delimiter that gives the most of the first rows the same number of cells."""

    def alike(delimiter: str) -> tuple[int, int]:
        try:
            widths = [len(r) for r in csv.reader(start, delimiter=delimiter) if any(r)]
        except csv.Error:
            return 0, 0
        usual = max(set(widths), key=lambda w: (widths.count(w), w), default=1)
        return (widths.count(usual) if usual > 1 else 0), usual

    return max(_DELIMITERS, key=lambda d: (alike(d)[0] > 0, alike(d)[1] > 1, *alike(d)))


# ---- workbooks -----------------------------------------------------------------------------------


def _workbook(path: Path, sheet: str | None) -> Table:
    import pandas as pd

    try:
        with zipfile.ZipFile(path) as parts:
            size = sum(part.file_size for part in parts.infolist())
        if size > MAX_WORKBOOK:
            raise TableError(f"{path.name}: is larger than a gigabyte unpacked: save it as CSV")
        with pd.ExcelFile(path, engine="openpyxl") as book:
            names = [str(name) for name in book.sheet_names]
            name = names[0] if sheet is None else _sheet(path, names, sheet)
            frame = pd.read_excel(
                book, sheet_name=name, header=None, dtype=object, na_filter=False,
                keep_default_na=False,
            )  # fmt: skip
        marks = _marks(path, name)
    except TableError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a damaged workbook makes a reader raise
        raise TableError(
            f"{path.name}: is not a workbook that can be read ({type(error).__name__}): "
            "save it as .xlsx again"
        ) from None

    def lines() -> Generator[tuple[int, list[Cell]]]:
        for line, values in enumerate(frame.itertuples(index=False, name=None), 1):
            yield line, [_cell(v, marks.get((line, n), "")) for n, v in enumerate(values, 1)]

    others = f" (the first of {len(names)}; --sheet names another)" if len(names) > 1 else ""
    read = [("workbook", "Excel"), ("sheet", name + (others if sheet is None else ""))]
    unread = names[1:] if sheet is None else []
    return Table(path.name, read, lines, number_digits=15, others=unread)


def _sheet(path: Path, names: list[str], wanted: str) -> str:
    for name in names:
        if name.strip().casefold() == wanted.strip().casefold():
            return name
    raise TableError(f"{path.name}: has no sheet with that name: it has {', '.join(names)}")


def _cell(value: Any, mark: str) -> Cell:
    is_formula, sign = mark.startswith("="), mark.removeprefix("=")
    if value is None or isinstance(value, str):
        text = None if value is None else cleaned(value)
        return FORMULA_CELL if text is None and is_formula else text
    if isinstance(value, float) and value != value:  # pandas' value for #N/A
        return ERROR_CELL
    if sign and isinstance(value, int | float) and not isinstance(value, bool):
        return Amount(Decimal(str(value)), sign)
    return value


_MONEY = re.compile(r'\[\$([^\]\-]+)(?:-[^\]]*)?\]|"([^"]{1,5})"|([€£¥])')


def _marks(path: Path, sheet: str) -> dict[tuple[int, int], str]:
    """What pandas does not say about cells, by row and column: `=` for a formula, and the currency
    sign of the cell's format."""
    import openpyxl

    found: dict[tuple[int, int], str] = {}
    book = openpyxl.load_workbook(path, read_only=True)
    try:
        found_sheet = book[sheet]
        # The size stated in the file counts formatted empty cells, up to the last column: each row
        # would be padded to it.
        if hasattr(found_sheet, "reset_dimensions"):
            found_sheet.reset_dimensions()
        for row in found_sheet.iter_rows():
            for cell in row:
                if cell.value is None:
                    continue
                mark = "=" if cell.data_type == "f" else ""
                if cell.data_type in ("f", "n"):
                    mark += _sign_of(cell.number_format or "")
                if mark:
                    found[cell.row, cell.column] = mark
    finally:
        book.close()
    return found


def _sign_of(number_format: str) -> str:
    """The currency sign in a number format such as `[$R$-416] #,##0.00`."""
    found = _MONEY.search(number_format)
    text = next(filter(None, found.groups()), "").strip() if found else ""
    is_sign = any(c in text for c in "$€£¥/") or re.fullmatch("[A-Z]{3}", text)
    return text if is_sign else ""


# ---- Parquet -------------------------------------------------------------------------------------


def _parquet(path: Path) -> Table:
    try:
        with pq.ParquetFile(path) as file:
            names = list(file.schema_arrow.names)
    except (pa.ArrowInvalid, OSError):
        raise TableError(f"{path.name}: is not a Parquet file") from None

    def lines() -> Generator[tuple[int, list[Cell]]]:
        yield 0, [str(name).strip() for name in names]
        number = 0
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(CHUNK):
                columns = [column.to_pylist() for column in batch.columns]
                for values in zip(*columns, strict=True):
                    number += 1
                    yield number, [cleaned(v) if isinstance(v, str) else _number(v) for v in values]

    return Table(path.name, [("file", "Parquet; lines are its rows, the first is 1")], lines)


def _number(value: Any) -> Cell:
    return None if isinstance(value, float) and value != value else value
