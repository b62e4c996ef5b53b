"""Pictures of the report in headless Chromium, from the data folder of `ctwa demo --language en`.

Without more they are those of the docs, with the film of the README; with `--language es`, of a
demo in that language, those of its pages; with `--all DIR` every page, desktop and phone, light and
dark, in three languages, to be looked at. Needs what `make ui-tour` needs.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.report_reader import ALL_PAGES

_CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
DESKTOP, PHONE = (1280, 900), (390, 844)
DOCS = {
    "report-monday": ("monday", DESKTOP, ""),
    "report-overview": ("overview", DESKTOP, "period=90d"),
    "report-campaigns": ("campaigns", DESKTOP, "period=90d"),
    "report-creatives": ("creatives", DESKTOP, "period=90d"),
    "report-leads": ("leads", DESKTOP, "period=30d"),
    "report-funnel": ("funnel", DESKTOP, "period=90d"),
    "report-answering": ("answering", DESKTOP, ""),
    "report-cohorts": ("cohorts", DESKTOP, "period=30d"),
    "report-health": ("health", DESKTOP, "period=30d"),
    "report-definitions": ("definitions", DESKTOP, ""),
    "report-phone": ("overview", PHONE, "period=90d"),
    **{
        f"report-phone-{page}": (page, PHONE, "period=90d")
        for page in ALL_PAGES
        if page not in ("overview", "definitions")
    },
}
TRANSLATED = ("report-monday", "report-overview", "report-campaigns", "report-creatives")
"""Those of the pages in other languages: `report-overview-es.png`."""
FILM = (
    "table#table-campaigns tbody a.first",
    "table#table-adsets tbody a.first",
    "table#table-creatives tbody a.first",
)
"""What is clicked after Monday and the overview: a campaign, its ad set, its ad; then its leads."""
FILM_SIZE, FRAME_MS = (1000, 640), 2_200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", type=Path, default=Path("data/demo/report.html"))
    parser.add_argument("--images", type=Path, default=Path("docs/images"))
    parser.add_argument("--all", type=Path)
    parser.add_argument("--language", choices=("es", "pt-BR"))
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()
    url = options.report.absolute().as_uri()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.chromium, args=_CHROMIUM)
        if language := options.language:
            for name in TRANSLATED:
                page, size, view = DOCS[name]
                path = options.images / f"{name}-{language}.png"
                _picture(browser, f"{url}#/{page}?{view}", path, size, "light", language)
        elif options.all is None:
            for name, (page, size, view) in DOCS.items():
                _picture(browser, f"{url}#/{page}?{view}", options.images / f"{name}.png", size)
            _film(browser, url, options.images / "report.gif")
        else:
            options.all.mkdir(parents=True, exist_ok=True)
            for name, address, size, theme, language in _every_view(url):
                path = options.all / f"{name}.png"
                _picture(browser, address, path, size, theme, language, whole=True)
        browser.close()


def _every_view(url: str) -> Iterator[tuple[str, str, tuple[int, int], str, str]]:
    views = product(ALL_PAGES, (DESKTOP, PHONE), ("light", "dark"), ("en", "es", "pt-BR"))
    for page, size, theme, language in views:
        device = "phone" if size == PHONE else "desktop"
        name = f"{page}-{device}-{theme}-{language}"
        yield name, f"{url}#/{page}?period=90d&lang={language}", size, theme, language


def _picture(
    browser: Browser,
    address: str,
    path: Path,
    size: tuple[int, int],
    theme: str = "light",
    language: str = "en",
    *,
    whole: bool = False,
) -> None:
    """One view as a PNG; fails on any error in the page's console."""
    locale = "en-GB" if language == "en" else language
    width, height = size
    page = browser.new_page(
        viewport={"width": width, "height": height}, locale=locale,
        color_scheme="dark" if theme == "dark" else "light",
    )  # fmt: skip
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.goto(address)
    page.wait_for_selector("main .page")
    page.wait_for_timeout(300)
    page.screenshot(path=path, full_page=whole)
    page.close()
    if wrong:
        raise SystemExit(f"{address}: {wrong[0]}")


def _film(browser: Browser, url: str, path: Path) -> None:
    """From what to do on Monday to the leads of one ad, as an endless GIF."""
    width, height = FILM_SIZE
    page = browser.new_page(viewport={"width": width, "height": height}, locale="en-GB")
    frames = []
    for address in ("monday", "overview?period=90d", "campaigns?period=90d"):
        page.goto(f"{url}#/{address}")
        page.wait_for_selector("main .page")
        frames.append(_frame(page))
    for link in FILM:
        first = page.locator(link).first
        first.scroll_into_view_if_needed()
        frames.append(_frame(page))
        first.click()
        page.wait_for_timeout(500)
        page.evaluate("scrollTo(0, 0)")
        frames.append(_frame(page))
    page.close()
    colours = frames[2].quantize(96)
    first, *rest = (frame.quantize(palette=colours, dither=Image.Dither.NONE) for frame in frames)
    first.save(path, save_all=True, append_images=rest, duration=FRAME_MS, loop=0, optimize=True)


def _frame(page: Page) -> Image.Image:
    page.wait_for_timeout(300)
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


if __name__ == "__main__":
    main()
