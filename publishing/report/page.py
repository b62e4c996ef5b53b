"""The page around the data: one HTML file that asks the network for nothing.

Scripts and styles stand inside it, and its content policy lets run exactly these, by their hashes.
Data stand in blocks that a browser does not run (`application/json`), escaped by `embed`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from publishing.report.columns import embed

LANGUAGES = ("en", "es", "pt-BR")
VENDORED = ("charts.min.js", "tables.min.js")
SCRIPTS = (
    "dom.js", "state.js", "texts.js", "format.js", "model.js", "measures.js", "table.js",
    "charts.js", "filters.js", "overview.js", "campaigns.js", "shift.js", "intervals.js",
    "creatives.js", "cohorts.js", "health.js", "definitions.js", "main.js",
)  # fmt: skip
"""In this order, in one function: what stands earlier is known to what stands later."""


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
    # Split, not replaced: data must not be read as a place for something else.
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


def _block(name: str, content: Any) -> bytes:
    return b'<script type="application/json" id="%s">%s</script>' % (name.encode(), embed(content))


def _app() -> bytes:
    parts = b"\n".join(_web(name) for name in SCRIPTS)
    return b'(() => {\n"use strict";\n' + parts + b"\n})();"


def _texts() -> dict[str, Any]:
    import orjson

    return {name: orjson.loads(_web(f"texts/{name}.json")) for name in LANGUAGES}


@cache
def _web(name: str) -> bytes:
    return _read(files("publishing.report") / "web" / name)


@cache
def _vendored() -> tuple[bytes, ...]:
    """The libraries; `vendor/README.md` says which, and `make report-vendor` fetches them again."""
    folder = files("publishing.report") / "vendor"
    return tuple(_read(folder / name).strip() for name in VENDORED)


def _read(path: Traversable) -> bytes:
    # What a checkout made of line ends must not change the hashes.
    return path.read_bytes().replace(b"\r\n", b"\n")
