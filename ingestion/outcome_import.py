"""CRM outcomes from a file into the vault: good rows are kept, bad ones named with the reason.

CSV (comma or semicolon, UTF-8, a header) or Parquet, with the fields of an outcome as columns.
Rows go the way posted outcomes go: as envelopes of source `outcomes`, up to 1,000 in each.
Importing a file twice changes nothing, as an outcome is known by its source and `event_id`.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ctwa.settings import Settings
from ingestion.webhook.intake import IDENTITIES, MAX_ELEMENTS, IntakeError, validate_outcome
from ingestion.webhook.vault import NewEnvelope, Vault

REQUIRED = ("event_id", "stage", "occurred_at")
COLUMNS = (*REQUIRED, *IDENTITIES, "value", "currency", "source")

Row = dict[str, Any]


class OutcomeFileError(ValueError):
    """The file as a whole cannot be read as outcomes; the text says what is missing."""


@dataclass(slots=True)
class ImportReport:
    """`rejected`: line in the file (row number for Parquet, the first is 1) and the reason."""

    accepted: int = 0
    rejected: list[tuple[int, str]] = field(default_factory=list)


def import_outcomes(
    settings: Settings, path: Path, *, now: Callable[[], float] = time.time
) -> ImportReport:
    """Check every row and store the good ones. Raises `OutcomeFileError` for another kind of file.

    `VaultUnavailableError`: import the file again once the vault is back.
    """
    rows = _parquet_rows(path) if path.suffix.lower() in (".parquet", ".pq") else _csv_rows(path)
    report = ImportReport()
    vault = Vault.open(settings.vault_url)
    held: list[str] = []
    try:
        for line, row in rows:
            try:
                held.append(_element(row, settings.default_country))
            except (IntakeError, _CellError) as error:
                report.rejected.append((line, str(error)))
            if len(held) == MAX_ELEMENTS:
                _store(vault, held, now, report)
        if held:
            _store(vault, held, now, report)
    finally:
        vault.close()
    return report


class _CellError(ValueError):
    """One cell does not fit its column."""


def _store(vault: Vault, held: list[str], now: Callable[[], float], report: ImportReport) -> None:
    body = f"[{','.join(held)}]".encode()
    vault.append([NewEnvelope(int(now() * 1_000_000), "outcomes", body)])
    report.accepted += len(held)
    held.clear()


def _element(row: Row, default_country: str) -> str:
    """The outcome as JSON text, checked. Money keeps its digits: no double in between."""
    outcome = {k: _text(k, row[k]) for k in COLUMNS if k != "value" and not _empty(row.get(k))}
    amount = None if _empty(row.get("value")) else _amount(row["value"])
    given = outcome if amount is None else outcome | {"value": amount}
    found = validate_outcome(given, default_country=default_country)
    text = json.dumps(outcome)
    # The checked value: `1e-999999999` as it came would be written out in a billion digits.
    return text if found.value is None else f'{text[:-1]}, "value": {found.value:f}}}'


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _text(column: str, value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool) or not isinstance(value, int | datetime):
        # A float has lost digits of a long id already.
        raise _CellError(f"{column}: expects a text column")
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _amount(value: Any) -> Decimal:
    try:
        amount = Decimal(str(value).strip())
    except InvalidOperation:
        raise _CellError("value: expects a number such as 1200.50") from None
    if not amount.is_finite():
        raise _CellError("value: expects a number such as 1200.50")
    return amount


def _csv_rows(path: Path) -> Iterator[tuple[int, Row]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            delimiter = ";" if header.count(";") > header.count(",") else ","
            file.seek(0)
            reader = csv.DictReader(file, delimiter=delimiter)
            _check_columns(path, reader.fieldnames or [])
            first = reader.line_num + 1
            for row in reader:
                # Spreadsheets leave rows of nothing but delimiters behind.
                if not all(map(_empty, row.values())):
                    # A quoted text may span lines: the one it starts on is the one to look at.
                    yield first, {(k or "").strip().lower(): v for k, v in row.items()}
                first = reader.line_num + 1
    except UnicodeDecodeError:
        raise OutcomeFileError(f"{path.name}: expects UTF-8; save it as 'CSV UTF-8'") from None
    except csv.Error as error:
        raise OutcomeFileError(f"{path.name}: is not CSV: {error}") from None


def _parquet_rows(path: Path) -> Iterator[tuple[int, Row]]:
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid:
        raise OutcomeFileError(f"{path.name}: is not a Parquet file") from None
    with file:
        names = file.schema_arrow.names
        _check_columns(path, names)
        number = 0
        for batch in file.iter_batches(columns=[n for n in names if n.strip().lower() in COLUMNS]):
            for row in batch.to_pylist():
                number += 1
                yield number, {k.strip().lower(): v for k, v in row.items()}


def _check_columns(path: Path, names: Any) -> None:
    found = {str(name).strip().lower() for name in names}
    missing = [name for name in REQUIRED if name not in found]
    if not found & set(IDENTITIES):
        missing.append(f"one of {', '.join(IDENTITIES)}")
    if missing:
        raise OutcomeFileError(f"{path.name}: columns missing: {'; '.join(missing)}")
