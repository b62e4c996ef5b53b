"""The site, the receiver, and a browser from which nothing leaves this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ctwa.settings import Settings
from ingestion.vault import open_vault
from ingestion.webhook.server import running
from tests.browser.company_site import SITE_ID, Site, running_site
from tests.ingestion.webhook.clients import APP_SECRET, INTAKE_SECRET

if TYPE_CHECKING:  # installed by `make test-browser` only
    from playwright.sync_api import BrowserContext, Page, Route

CHROMIUM = Path("/usr/bin/chromium")
_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]  # fmt: skip


@dataclass
class Browser:
    """A browser with nothing kept yet. `chats`: addresses of WhatsApp it was led to."""

    context: BrowserContext
    chats: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)

    def open(self, url: str, **options: Any) -> Page:
        """A page of its own tab."""
        page = self.context.new_page()
        page.goto(url, **options)
        return page

    def chat_text(self) -> str:
        """The text that the latest chat was opened with."""
        return parse_qs(urlsplit(self.chats[-1]).query)["text"][0]


@dataclass(frozen=True)
class World:
    """A company: its settings, its site, and its receiver's address."""

    settings: Settings
    site: Site
    receiver: str

    def bodies(self, source: str) -> list[bytes]:
        """What the receiver has kept of a source."""
        vault = open_vault(self.settings.vault_url)
        try:
            rows = [row for batch in vault.read_batches(0) for row in batch.to_pylist()]
        finally:
            vault.close()
        return [row["body"] for row in rows if row["source"] == source]

    def wait_for(self, source: str, count: int) -> list[bytes]:
        """The bodies of a source once there are so many: a beacon tells nobody when it is done."""
        deadline = time.monotonic() + 20
        while len(found := self.bodies(source)) < count:
            assert time.monotonic() < deadline, f"{len(found)} of {count} {source} came"
            time.sleep(0.02)
        return found


@pytest.fixture
def world(make_settings: Callable[..., Settings]) -> Iterator[World]:
    with running_site() as site:
        settings = make_settings(
            meta_app_secret=APP_SECRET,
            intake_secret=INTAKE_SECRET,
            site_id=SITE_ID,
            site_origins=site.url,
        )
        with running(settings) as receiver:
            site.receiver = receiver
            yield World(settings, site, receiver)


@pytest.fixture
def browser(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Browser]:
    """Chromium with a new profile; pages that fail or call strangers fail the test."""
    from playwright.sync_api import sync_playwright

    # Fixtures end in reverse order: a receiver that ended first would reset a beacon on its way.
    if "world" in request.fixturenames:
        request.getfixturevalue("world")

    assert CHROMIUM.exists(), "install Debian's package chromium"
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path / "profile", executable_path=CHROMIUM, headless=True, args=_FLAGS
        )
        found = Browser(context)
        context.route("**/*", lambda route: _answer(found, route))
        context.on("console", lambda m: found.errors.append(m.text) if m.type == "error" else None)
        context.on("weberror", lambda error: found.errors.append(str(error.error)))
        yield found
        seen = (list(found.errors), list(found.strays))
        context.close()
    assert seen == ([], [])


def _answer(browser: Browser, route: Route) -> None:
    url = route.request.url
    host = urlsplit(url).hostname
    if host == "127.0.0.1":
        route.continue_()
    elif host in ("wa.me", "api.whatsapp.com"):
        browser.chats.append(url)
        route.fulfill(status=200, content_type="text/html", body="<link rel=icon href='data:,'>ok")
    else:
        browser.strays.append(url)
        route.abort()
