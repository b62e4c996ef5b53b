"""Whether a report needs to be written: not where what it shows, and its code, are what they were.

The report's own words about its publication (version and time) are then of the one that brought the
last change.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from datetime import date
from pathlib import Path

from ctwa import fingerprint
from ctwa.files import write_durably
from ctwa.settings import Settings
from publishing.carried import Carried
from publishing.publication import Publication


def made_from(settings: Settings) -> str | None:
    """What the report is made from; None where it is not known."""
    publication, known = Publication.read(settings.marts_path), Carried.read(settings.marts_path)
    if publication is None or known is None or not known.tables:
        return None
    if publication.version != known.version:
        return None
    code = sorted(p for p in Path(__file__).parent.rglob("*") if p.suffix != ".pyc" and p.is_file())
    parts = (
        sorted((name, table.stamp) for name, table in known.tables.items()),
        (publication.as_of, publication.rules, publication.rule_version),
        (settings.reporting_currency, settings.marts_group, settings.report_thumbnails),
        [(path.name, fingerprint.of_file(path)) for path in code],
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def rows_if_current(page: Path, made_of: str | None) -> tuple[int, date] | None:
    """Rows and last day of a report that is as it was written, from what it would be made of."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(_path(page).read_text())
        if (made_of, fingerprint.of_file(page)) == (known["made_from"], known["page"]):
            return known["rows"], date.fromisoformat(known["as_of"])
    return None


def note(page: Path, made_of: str | None, rows: int, as_of: date) -> None:
    """Remember what a report was made from, once it is written."""
    if made_of is None:
        _path(page).unlink(missing_ok=True)
        return
    known = {
        "made_from": made_of,
        "page": fingerprint.of_file(page),
        "rows": rows,
        "as_of": as_of.isoformat(),
    }
    write_durably(_path(page), json.dumps(known, indent=1) + "\n")


def _path(page: Path) -> Path:
    return page.with_name(f"{page.name}.made.json")
