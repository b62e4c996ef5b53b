"""`ctwa report`: writes the report beside the published marts, whole or not at all."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from ctwa.settings import Settings
from publishing import files
from publishing.report.data import read_payload
from publishing.report.page import render

log = logging.getLogger(__name__)

FILE_NAME = "report.html"


@dataclass(frozen=True)
class ReportWritten:
    """What was written."""

    path: Path
    bytes: int
    rows: int
    """Rows of figures: a day's of an account, campaign, ad and channel."""
    as_of: date
    """The last day that the marts speak of."""


def report_path(settings: Settings) -> Path:
    """Where the report stands when nobody says otherwise: beside the published marts."""
    return settings.marts_path.with_name(FILE_NAME)


def write_report(settings: Settings, target: Path | None = None) -> ReportWritten:
    """Write the report of the published marts to `target`. Raises `ReportError`.

    A file that stands there is replaced in one step; the same marts give the same bytes.
    """
    started = time.monotonic()
    final = (target or report_path(settings)).expanduser().absolute()
    payload = read_payload(settings.marts_path, settings.reporting_currency)
    page = render(payload.content)
    final.parent.mkdir(parents=True, exist_ok=True)
    draft = final.with_name(f"{final.name}.{os.getpid()}.tmp")
    try:
        draft.write_bytes(page)
        files.fsync(draft)
        files.replace_durably(draft, final)
    finally:
        draft.unlink(missing_ok=True)
    log.info("report of %d rows in %.1f s: %s", payload.rows, time.monotonic() - started, final)
    return ReportWritten(final, len(page), payload.rows, payload.as_of)
