"""A reader of the report: Chromium without a network, and what the page says to be compared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

if TYPE_CHECKING:  # installed by `make test-browser` only
    from playwright.sync_api import Browser, Page

PAGES = (
    "overview", "campaigns", "creatives", "leads", "funnel", "cohorts", "health", "definitions",
)  # fmt: skip
ALL_PAGES = ("monday", *PAGES, "answering")
"""Also those that a report has only if the marts have them."""
AXE = Path(__file__).parent / "vendor" / "axe.min.js"

_ROWS = """(selector) => [...document.querySelectorAll(selector)].map((row) => ({
    name: (row.querySelector("th .first") ?? row.querySelector("th")).textContent,
    ...Object.fromEntries([...row.querySelectorAll("data")].map(
        (one) => [one.dataset.figure, one.value === "" ? null : Number(one.value)])),
}))"""


@dataclass
class Reader:
    """One open report. Whatever goes wrong on the page, or leaves it, is kept."""

    page: Page
    url: str
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def show(self, name: str = "overview", **view: Any) -> None:
        """Go to a page of the report, with a view of its address: period, channel, within …"""
        self.page.goto(f"{self.url}#/{name}?{urlencode(view, doseq=True)}")
        self.page.wait_for_selector(f".page-{name}")

    def tile(self, name: str) -> float | None:
        """The number of a tile; None where it is not known."""
        value = self.page.get_attribute(f"#tile-{name} data", "value")
        return None if value in ("", None) else float(value)

    def tiles(self) -> tuple[float | None, ...]:
        """Spend, leads, qualified leads, cost per lead, cost per qualified lead."""
        return tuple(self.tile(name) for name in ("spend", "leads", "qualified", "cpl", "cpql"))

    def rows(self, table: str, part: str = "tbody") -> list[dict[str, Any]]:
        """The rows of a table, all of them: what stands first, and the numbers by measure."""
        buttons = self.page.locator(f".data-table:has(#table-{table}) .pager button")
        # Previous, next and "show all"; once all are shown, only the way back.
        if part == "tbody" and buttons.count() > 1 and buttons.last.is_visible():
            buttons.last.click()
        made: list[dict[str, Any]] = self.page.evaluate(_ROWS, f"#table-{table} {part} tr")
        return made

    def overflow(self) -> int:
        """By how many pixels the page is wider than the screen."""
        width: int = self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return width

    def complaints(self) -> list[str]:
        """What axe-core has to say about accessibility."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(AXE.read_text())
        result = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{violation['id']}: {node['html'][:160]} {node['failureSummary']}"
            for violation in result["violations"]
            for node in violation["nodes"]
        ]


@contextmanager
def reading(
    chromium: Browser, url: str, *, locale: str = "en-US", width: int = 1280, **options: Any
) -> Iterator[Reader]:
    """Open a report in a profile of its own; fails when the page erred or asked for something."""
    context = chromium.new_context(
        locale=locale, viewport={"width": width, "height": 900}, **options
    )
    page = context.new_page()
    reader = Reader(page, url)
    context.on("request", lambda request: reader.requests.append(request.url))
    context.on("weberror", lambda error: reader.errors.append(str(error.error)))
    context.on("console", lambda said: reader.errors.append(said.text))
    page.on("dialog", lambda dialog: reader.errors.append(dialog.message) or dialog.dismiss())
    page.goto(url)
    yield reader
    context.close()
    strays = [asked for asked in reader.requests if not asked.startswith((url, "data:"))]
    assert (reader.errors, strays) == ([], [])
