"""What is carried over from one publication to the next: tables that have not changed.

Beside the published file stands of each table what it was made from. A table with the same stamp is
taken from the file before, which is copied, and its Parquet file gets another name in the new
folder; so a publication writes what has changed. Nothing is carried over from a damaged file: both
are compared with their checksums first.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ctwa import fingerprint
from ctwa.files import write_durably
from publishing.publication import link_or_copy

log = logging.getLogger(__name__)

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Table:
    """One table of a publication."""

    stamp: str
    """The same for the same description, columns and rows."""
    rows: int
    parquet: str = ""
    """Checksum of its Parquet file."""
    shape: str = ""
    """The same for the same description and columns; empty where it is not known."""


@dataclass(frozen=True)
class Carried:
    """What a publication was made of."""

    version: str
    rows: Mapping[str, int]
    """Rows by table."""
    tables: Mapping[str, Table] = field(default_factory=dict)
    """Empty where nothing is carried over."""
    file: str = ""
    """Checksum of the DuckDB file; empty: nothing is carried over from it."""

    @classmethod
    def read(cls, marts_path: Path) -> Carried | None:
        """None where it is not known."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            known = json.loads(_path(marts_path).read_text())
            tables = {name: Table(**table) for name, table in known["tables"].items()}
            return cls(known["version"], known["rows"], tables, known["file"])
        return None

    def save(self, marts_path: Path) -> None:
        """Write it beside the published file."""
        write_durably(_path(marts_path), json.dumps(asdict(self), indent=1) + "\n")

    def copy_file(self, marts_path: Path, draft: Path) -> bool:
        """Copy the published file; False, and no copy, where it is not as it was written."""
        digest = hashlib.sha256()
        try:
            with marts_path.open("rb") as source, draft.open("wb") as target:
                while chunk := source.read(_CHUNK):
                    digest.update(chunk)
                    target.write(chunk)
        except FileNotFoundError:
            return False
        if digest.hexdigest() == self.file:
            return True
        draft.unlink()
        return False

    def link_parquet(self, table: str, folder: Path, target: Path) -> bool:
        """Give the Parquet file of a table in `folder` another name; False where it is damaged."""
        source = folder / f"{table}.parquet"
        try:
            if fingerprint.of_file(source) != self.tables[table].parquet:
                return False
        except OSError:
            return False
        link_or_copy(source, target)
        return True


def _path(marts_path: Path) -> Path:
    return marts_path.with_name(f"{marts_path.name}.contents.json")
