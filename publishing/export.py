"""A published mart as a file for people: CSV, Parquet or a workbook (`ctwa export`).

Filters are values, never SQL: a column's name is one of the table's, and what it is compared with
is a parameter of the column's type. In files that a spreadsheet opens, text stays text: ids keep
all their digits, and what begins like a formula (`=HYPERLINK(…)` as the name of a campaign) is not
one. A workbook's cells are of type text; in CSV, text is quoted and such a beginning gets an
apostrophe (OWASP, CSV injection). Times are UTC; null is an empty cell.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb

from ctwa.errors import CtwaError
from publishing.publication import Publication

FORMATS = (".csv", ".parquet", ".xlsx")

DAYS = (
    "report_date", "spend_date", "cost_date", "first_touch_date", "period_start",
    "occurred_at", "started_at", "first_seen_later_at",
)  # fmt: skip
"""A mart's day is the first of these columns that it has; a time counts by the reporting zone."""

_SHEET_ROWS = 1_048_576
_CELL_LETTERS = 32_767
_FORMULA = r"^[=+\-@\t\r]"
_LINE_PARTS = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)


class ExportError(CtwaError):
    """Nothing was exported. The text names what was wrong and how to fix it."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    path: Path
    table: str
    rows: int
    as_of: date


@dataclass(frozen=True)
class _Query:
    """A `select` over one mart, with the values that stand for its question marks."""

    table: str
    columns: Mapping[str, str]
    """Name -> type, as DuckDB spells it."""
    condition: str
    values: Sequence[Any]

    def sql(self, *, for_sheet: str = "") -> str:
        """All columns, in an order that depends on the rows alone. `for_sheet`: `csv` or `xlsx`,
        which know no time zone; text that begins like a formula is no longer one in `csv`."""
        listed = ", ".join(self._column(name, for_sheet) for name in self.columns)
        return f"select {listed} from marts.{self.table} where {self.condition} order by all"  # noqa: S608

    def _column(self, name: str, for_sheet: str) -> str:
        kind = self.columns[name]
        if for_sheet and kind.startswith("TIMESTAMP WITH TIME ZONE"):
            return f'timezone(\'UTC\', "{name}") as "{name}"'
        if for_sheet == "csv" and kind == "VARCHAR":
            formula = f"regexp_matches(\"{name}\", '{_FORMULA}')"
            return f'case when {formula} then \'\'\'\' || "{name}" else "{name}" end as "{name}"'
        return f'"{name}"'


def export_mart(
    marts_path: Path,
    target: Path,
    table: str,
    *,
    where: Iterable[str] = (),
    since: date | None = None,
    until: date | None = None,
    force: bool = False,
) -> Exported:
    """Write the rows of a published mart to a new file, whose ending says its format.

    `where`: `column=value` texts. Those of one column are alternatives, different columns must all
    fit; `column=` means null. `since`, `until`: first and last day, both included (`DAYS`).
    An existing file is replaced with `force` only. Raises `ExportError`.
    """
    kind = target.suffix.lower()
    if kind not in FORMATS:
        raise ExportError(f"{target}: the file's name must end in one of {', '.join(FORMATS)}")
    if not target.parent.is_dir():
        raise ExportError(f"{target.parent} is not a folder: create it first")
    if target.exists() and (not force or not target.is_file()):
        raise ExportError(f"{target} exists: choose another name, or replace it with --force")
    publication = Publication.read(marts_path)
    if publication is None:
        raise ExportError(f"there are no published marts at {marts_path}; run `ctwa refresh` first")
    draft = target.with_name(f".{target.name}.tmp")
    try:
        with duckdb.connect(str(marts_path), read_only=True) as marts:
            marts.execute("set timezone = 'UTC'")
            query = _query(marts, publication, table, where, since, until)
            rows = _WRITERS[kind](marts, query, draft)
        draft.replace(target)
    except duckdb.Error as error:
        raise ExportError(f"{table} could not be exported: {str(error).splitlines()[0]}") from error
    finally:
        draft.unlink(missing_ok=True)
    return Exported(target, table, rows, publication.as_of)


def tables_of(marts: duckdb.DuckDBPyConnection) -> list[str]:
    """Names of the published tables, sorted."""
    found = marts.execute("select distinct table_name from duckdb_tables() order by 1").fetchall()
    return [name for (name,) in found]


# ---- what is asked ------------------------------------------------------------------------------


def _query(
    marts: duckdb.DuckDBPyConnection,
    publication: Publication,
    table: str,
    where: Iterable[str],
    since: date | None,
    until: date | None,
) -> _Query:
    known = tables_of(marts)
    if table not in known:
        raise ExportError(f"there is no table {table}; {_nearest(table, known)}")
    described = marts.execute(f"describe marts.{table}").fetchall()
    columns = {name: kind for name, kind, *_ in described}
    conditions: list[str] = []
    values: list[Any] = []
    for name, wanted in _wanted(table, columns, where).items():
        given = [value for value in wanted if value]
        parts = [f'"{name}" = cast(? as {columns[name]})'] * len(given)
        parts += [f'"{name}" is null'] if len(given) < len(wanted) else []
        _check_values(marts, name, columns[name], given)
        conditions.append(f"({' or '.join(parts)})")
        values += given
    for sign, day in ((">=", since), ("<", until and until + timedelta(days=1))):
        if day is not None:
            name = _day_of(table, columns)
            is_time = columns[name].startswith("TIMESTAMP")
            conditions.append(f'"{name}" {sign} ?')
            values.append(_midnight(day, publication) if is_time else day)
    if since and until and until < since:
        raise ExportError(f"--from {since} is later than --to {until}")
    return _Query(table, columns, " and ".join(conditions) or "true", values)


def _wanted(
    table: str, columns: Mapping[str, str], where: Iterable[str]
) -> Mapping[str, list[str]]:
    wanted: dict[str, list[str]] = {}
    for text in where:
        parts = _LINE_PARTS.fullmatch(text)
        if parts is None:
            raise ExportError(
                f"--where {text}: expected column=value, such as channel=click_to_whatsapp"
            )
        name, value = parts.groups()
        if name not in columns:
            raise ExportError(
                f"--where {text}: {table} has no such column; {_nearest(name, columns)}"
            )
        wanted.setdefault(name, []).append(value)
    return wanted


def _check_values(
    marts: duckdb.DuckDBPyConnection, name: str, kind: str, values: Sequence[str]
) -> None:
    for value in values:
        try:
            marts.execute(f"select cast(? as {kind})", [value])
        except duckdb.Error:
            raise ExportError(
                f"--where {name}={value}: the column is of type {kind.lower()}"
            ) from None


def _day_of(table: str, columns: Mapping[str, str]) -> str:
    found = next((name for name in DAYS if name in columns), None)
    if found is None:
        raise ExportError(
            f"{table} has no day: leave out --from and --to, or filter with --where column=value"
        )
    return found


def _midnight(day: date, publication: Publication) -> datetime:
    rules = dict(rule.split("=", 1) for rule in publication.rules.split(",") if "=" in rule)
    zone = ZoneInfo(rules.get("reporting_timezone", "UTC"))
    # Its offset, so that the driver need not know the zone.
    return datetime.fromisoformat(datetime.combine(day, time(), zone).isoformat())


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, 3)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"there are {', '.join(sorted(known))}"


# ---- how it is written --------------------------------------------------------------------------


def _text(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def _count(marts: duckdb.DuckDBPyConnection, query: _Query) -> int:
    sql = f"select count(*) from marts.{query.table} where {query.condition}"  # noqa: S608
    rows = marts.execute(sql, query.values).fetchall()
    return int(rows[0][0])


def _copy(
    marts: duckdb.DuckDBPyConnection, query: _Query, draft: Path, options: str, for_sheet: str = ""
) -> int:
    marts.execute(
        f"copy ({query.sql(for_sheet=for_sheet)}) to {_text(draft)} ({options})", query.values
    )
    return _count(marts, query)


def _write_parquet(marts: duckdb.DuckDBPyConnection, query: _Query, draft: Path) -> int:
    return _copy(marts, query, draft, "format parquet, compression zstd")


def _write_csv(marts: duckdb.DuckDBPyConnection, query: _Query, draft: Path) -> int:
    texts = ", ".join(f'"{name}"' for name, kind in query.columns.items() if kind == "VARCHAR")
    quoted = f", force_quote ({texts})" if texts else ""
    return _copy(marts, query, draft, f"format csv, header{quoted}", for_sheet="csv")


def _write_workbook(marts: duckdb.DuckDBPyConnection, query: _Query, draft: Path) -> int:
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    rows = _count(marts, query)
    if rows >= _SHEET_ROWS:
        raise ExportError(
            f"{query.table} has {rows:,} such rows, and a sheet {_SHEET_ROWS:,}: filter them with "
            "--where, --from and --to, or write .csv or .parquet"
        )
    book = Workbook(write_only=True)
    sheet = book.create_sheet(query.table[:31])
    sheet.freeze_panes = "A2"
    sheet.append(list(query.columns))

    def cell(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        made = WriteOnlyCell(sheet)
        made.value = ILLEGAL_CHARACTERS_RE.sub("\N{REPLACEMENT CHARACTER}", value)[:_CELL_LETTERS]
        # Not a formula, and not a number where somebody edits it.
        made.data_type, made.number_format = "s", "@"
        return made

    found = marts.execute(query.sql(for_sheet="xlsx"), query.values)
    while batch := found.fetchmany(10_000):
        for row in batch:
            sheet.append([cell(value) for value in row])
    book.save(draft)
    return rows


_WRITERS = {".csv": _write_csv, ".parquet": _write_parquet, ".xlsx": _write_workbook}
