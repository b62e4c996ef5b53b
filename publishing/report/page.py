"""`ctwa report`: one HTML file that makes no network requests, beside the published marts.

Scripts and styles are inline, and the content policy allows exactly these, by hash. Data are in
blocks that a browser does not execute (`application/json`), escaped by `embed`: `</script>` in a
campaign's name must stay data.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import orjson

from ctwa.files import replacing
from ctwa.settings import Settings
from publishing.publication import open_to_group
from publishing.report import current, thumbnails
from publishing.report.data import Limits, ReportError, read_payload
from publishing.report.room import REPORT_BYTES

LANGUAGES = ("en", "es", "pt-BR")
VENDORED = ("charts.min.js", "tables.min.js")
SCRIPTS = (
    "dom.js", "state.js", "texts.js", "format.js", "facts.js", "model.js", "measures.js",
    "csv.js", "table.js", "charts.js", "filters.js", "unread.js", "marks.js", "overview.js",
    "campaigns.js", "shift.js", "intervals.js", "creatives.js", "leads.js", "funnel.js",
    "answering.js", "forecast.js", "cohorts.js", "alarms.js", "health.js", "targets.js",
    "monday.js", "definitions.js", "main.js",
)  # fmt: skip
"""In this order, in one function: later files use what earlier ones define."""
FILE_NAME = "report.html"

log = logging.getLogger(__name__)


def render(payload: dict[str, Any]) -> bytes:
    """The whole file. The same payload gives the same bytes."""
    style = _web("style.css")
    scripts = [*_vendored(), _app()]
    parts = {
        b"policy": _policy(style, scripts).encode(),
        b"style": b"<style>" + style + b"</style>",
        b"data": b"\n".join([_block("data", payload), _block("texts", _texts())]),
        b"scripts": b"\n".join(b"<script>" + script + b"</script>" for script in scripts),
    }
    # Split, not replaced: data must not be mistaken for a placeholder.
    made = []
    for piece in _web("index.html").split(b"<!--"):
        name, end, rest = piece.partition(b"-->")
        made.append(parts[name.strip()] + rest if end else piece)
    return b"".join(made)


def _policy(style: bytes, scripts: Iterable[bytes]) -> str:
    allowed = " ".join(_hash(script) for script in scripts)
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {allowed}",
            f"style-src {_hash(style)}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _hash(content: bytes) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'"


def embed(payload: Any) -> bytes:
    """JSON for a <script type="application/json">: nothing in it can close the element."""
    text = orjson.dumps(payload)
    for character in ("<", ">", "&", "\u2028", "\u2029"):
        text = text.replace(character.encode(), b"\\u%04x" % ord(character))
    return text


def _block(name: str, content: Any) -> bytes:
    return b'<script type="application/json" id="%s">%s</script>' % (name.encode(), embed(content))


def _app() -> bytes:
    parts = b"\n".join(_web(name) for name in SCRIPTS)
    return b'(() => {\n"use strict";\n' + parts + b"\n})();"


def _texts() -> dict[str, Any]:
    return {name: texts_of(name) for name in LANGUAGES}


def texts_of(language: str) -> dict[str, str]:
    """The report's texts of one of `LANGUAGES`, by key."""
    made: dict[str, str] = orjson.loads(_web(f"texts/{language}.json"))
    return made


@cache
def _web(name: str) -> bytes:
    return _read(resources.files("publishing.report") / "web" / name)


@cache
def _vendored() -> tuple[bytes, ...]:
    """The libraries; `vendor/README.md` lists them, `make report-vendor` fetches them again."""
    folder = resources.files("publishing.report") / "vendor"
    return tuple(_read(folder / name).strip() for name in VENDORED)


def _read(path: Traversable) -> bytes:
    # Line ends changed by a checkout must not change the hashes.
    return path.read_bytes().replace(b"\r\n", b"\n")


@dataclass(frozen=True)
class ReportWritten:
    """What was written."""

    path: Path
    bytes: int
    rows: int
    """Rows of figures, one per day, account, campaign, ad and channel."""
    as_of: date
    """The last day that the marts cover."""
    pictures: str = ""
    """How many ads have a picture, and why others have none; empty where none were wanted."""


def report_path(settings: Settings) -> Path:
    """Default path of the report: beside the published marts."""
    return settings.marts_path.with_name(FILE_NAME)


def write_report(
    settings: Settings, target: Path | None = None, *, fetch: bool = True
) -> ReportWritten:
    """Write the report of the published marts to `target`. Raises `ReportError`.

    `fetch` false: pictures of ads, if they are wanted, are those that were fetched before.
    An existing file is replaced in one step; the same marts give the same bytes. Beside the marts
    it is written only if it would be another one (`publishing.report.current`).
    """
    started = time.monotonic()
    final = (target or report_path(settings)).expanduser().absolute()
    if final.is_dir():
        raise ReportError(
            f"{final} is a folder: give a file in it, such as {final / 'report.html'}"
        )
    made_of = current.made_from(settings) if target is None else None
    if made_of and (as_written := current.rows_if_current(final, made_of)):
        log.info("the report is current: %s", final)
        return ReportWritten(final, final.stat().st_size, *as_written)
    limits = Limits(REPORT_BYTES - len(render({})))
    payload = read_payload(settings.marts_path, settings.reporting_currency, limits)
    page = render(payload.content)
    found = thumbnails.thumbnails(settings, fetch=fetch) if settings.report_thumbnails else None
    if found is not None and found.uris:
        thumbnails.put(payload.content, found, len(page))
        page = render(payload.content)
    final.parent.mkdir(parents=True, exist_ok=True)
    with replacing(final) as draft:
        draft.write_bytes(page)
        if target is None:
            open_to_group([draft], settings.marts_group)
    if target is None:
        is_final = found is None or found.is_final
        current.note(final, made_of if is_final else None, payload.rows, payload.as_of)
    log.info("report of %d rows in %.1f s: %s", payload.rows, time.monotonic() - started, final)
    pictures = "" if found is None else str(found)
    return ReportWritten(final, len(page), payload.rows, payload.as_of, pictures)
