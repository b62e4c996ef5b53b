"""A tour of the Dagster UI in headless Chromium, on the data directory of `ctwa demo`.

Opens the asset graph with all groups, materializes `campaign_performance` with everything
upstream by clicking, waits for the run to succeed, looks at its checks, and saves screenshots:
the one in the README is `asset-graph.png`. Fails when any of it is not there. Run it with
`make ui-tour`; it needs Debian's `chromium` and the dependency group `ui` (playwright), which is
why it is a script and not one of the tests.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

GROUPS = (
    *("sources", "event_log", "ad_platforms", "messages", "conversations", "touches", "leads"),
    *("outcomes", "spend", "marts", "outboxes", "activation", "publish", "ads", "pages"),
    "identity",
)
TARGET = "marts/campaign_performance"
_CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=Path("data/demo"))
    parser.add_argument("--images", type=Path, default=Path("docs/images"))
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()
    options.images.mkdir(parents=True, exist_ok=True)
    with _dagster(options.data_dir) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.chromium, args=_CHROMIUM)
        page = browser.new_page(device_scale_factor=2)
        _graph(page, url, options.images)
        run_id = _materialize(page, url)
        _run(page, url, run_id)
        _checks(page, url, options.images)
        browser.close()
    print("the tour found everything it looked for")


@contextmanager
def _dagster(data_dir: Path) -> Iterator[str]:
    """`ctwa dev` on free ports, ended by its own id."""
    ui_port, port = _free_port(), _free_port()
    command = [str(Path(".venv/bin/ctwa").absolute()), "dev", "--data-dir", str(data_dir)]
    command += ["--ui-port", str(ui_port), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{ui_port}"
    try:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            with suppress(OSError), urllib.request.urlopen(f"{url}/server_info", timeout=5):
                break
            time.sleep(1)
        else:
            raise SystemExit("the Dagster UI did not come up within 4 minutes")
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=90)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _graph(page: Page, url: str, images: Path) -> None:
    """The whole graph, from sources on the left to activation and publishing on the right."""
    page.set_viewport_size({"width": 1500, "height": 1000})
    page.goto(f"{url}/asset-groups")
    page.get_by_text("Hide navigation").click()
    for group in GROUPS:
        page.get_by_text(group, exact=True).first.wait_for(timeout=60_000)
    page.wait_for_timeout(10_000)  # until every group's states are there
    jump = page.get_by_placeholder("Jump to…").bounding_box()
    assert jump is not None
    page.mouse.click(jump["x"] + jump["width"] + 25, jump["y"] + jump["height"] / 2)  # the list
    for _ in range(2):  # out, until all is in view; the button has no name
        page.mouse.click(1472, 851)
        page.wait_for_timeout(1_000)
    middle = {"x": 370, "y": 232, "width": 670, "height": 600}
    page.screenshot(path=images / "asset-graph.png", clip=middle)
    page.set_viewport_size({"width": 1800, "height": 1100})


def _materialize(page: Page, url: str) -> str:
    """Select the target with all that is upstream, click, and return the run's id."""
    before = _runs(url)
    page.locator(".CodeMirror").first.click()
    page.keyboard.type(f'+key:"{TARGET}"')
    page.wait_for_timeout(1_000)
    page.keyboard.press("Enter")
    page.wait_for_timeout(4_000)
    page.get_by_role("button", name="Materialize all").click()
    # The event log's tables are landed together: the UI asks about those not selected.
    page.get_by_role("button", name="Confirm").click(timeout=30_000)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        new = [run for run in _runs(url) if run not in before]
        if new:
            return new[0]
        page.wait_for_timeout(1_000)
    page.screenshot(path="ui-tour-failed.png")
    raise SystemExit("the click on Materialize started no run: see ui-tour-failed.png")


def _run(page: Page, url: str, run_id: str) -> None:
    """Look on until the run has ended; it must end well."""
    page.goto(f"{url}/runs/{run_id}")
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        status = _runs(url).get(run_id)
        if status in ("SUCCESS", "FAILURE", "CANCELED"):
            break
        page.wait_for_timeout(2_000)
    if status != "SUCCESS":
        raise SystemExit(f"the run ended as {status}")


def _checks(page: Page, url: str, images: Path) -> None:
    page.set_viewport_size({"width": 1280, "height": 760})
    page.goto(f"{url}/assets/{TARGET}?view=checks")
    page.get_by_text("sound_rows").first.wait_for(timeout=60_000)
    page.wait_for_timeout(2_000)
    page.screenshot(path=images / "checks.png")


def _runs(url: str) -> dict[str, str]:
    """Ids and states of the latest runs, as the UI itself asks for them."""
    query = "{ runsOrError(limit: 20) { ... on Runs { results { runId status } } } }"
    request = urllib.request.Request(
        f"{url}/graphql",
        data=json.dumps({"query": query}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found = json.load(answer)["data"]["runsOrError"]["results"]
    return {run["runId"]: run["status"] for run in found}


if __name__ == "__main__":
    main()
