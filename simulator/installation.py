"""The demo's own installation: its folder, its settings, its receiver.

Nothing of the machine's real installation may be read or touched: not its `.env`, not its
environment, not its data.
"""

from __future__ import annotations

import contextlib
import copy
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import urllib3

from ctwa.live_state import LiveState
from ctwa.lock import RefreshBusyError, refresh_lock
from ctwa.setting_types import as_text
from ctwa.settings import PROJECT_DIR, Settings, load_settings
from simulator.ads_api import AdsApi
from simulator.company import PAGE_ID, SITE, SITE_ID
from simulator.google_advertiser import MANAGER
from simulator.google_api import GoogleApi
from simulator.google_state import GoogleState
from simulator.hubspot_api import HubspotApi
from simulator.lead_forms_api import FormsState
from simulator.serving import DATASETS
from simulator.stories_rules import install_rules
from simulator.world import World

_MARKER = ".ctwa-demo"
_READY_SECONDS = 120
"""It takes two, but on a busy machine many times as long."""
_PREFIXES = ("CTWA_", "META_", "GOOGLE_", "HUBSPOT_")


class DemoError(RuntimeError):
    """The demo cannot go on; the text says why and what to do."""


def fresh_folder(data: Path) -> Path:
    """An empty folder. Only what an earlier demo made is ever deleted."""
    data = data.expanduser().absolute()
    if data.exists() and any(data.iterdir()) and not (data / _MARKER).exists():
        raise DemoError(
            f"{data} holds files that no demo made; give an empty or new folder by --data-dir"
        )
    if data.exists():
        try:
            with refresh_lock(data / "refresh.lock"):
                pass
        except RefreshBusyError as error:
            raise DemoError(f"{data} is in use: {error}") from error
        if (worker := LiveState.read(data)) is not None and worker.is_fresh:
            raise DemoError(f"{data} is in use by `ctwa live` (process {worker.pid}): end it first")
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    (data / _MARKER).write_text("made by `ctwa demo`; wiped by the next\n")
    return data


def google_now(world: World, night: int) -> GoogleState:
    """Google's accounts of a night, moved to the real clock, which the product uses."""
    shown = copy.deepcopy(world.google_nights[night - 1])
    shown.now = lambda: datetime.now(UTC)
    return shown


def page_now(world: World, night: int) -> FormsState:
    """The page and its instant forms of a night, moved to the real clock."""
    shown = world.page(world.end - timedelta(days=len(world.nights) - night))
    shown.behind = max(timedelta(), datetime.now(UTC) - world.end)
    return shown


def clicks_since() -> date:
    """The first day whose clicks Google still reports, in any time zone."""
    return datetime.now(UTC).date() - timedelta(days=88)


def google_settings(api: GoogleApi) -> dict[str, Any]:
    """Settings that read the stand-in of Google Ads, by the manager above all accounts."""
    return {
        "google_ads_url": api.url,
        "google_oauth_url": api.url,
        "google_ads_api_version": api.version,
        "google_ads_developer_token": api.developer_token,
        "google_ads_client_id": api.client_id,
        "google_ads_client_secret": api.client_secret,
        "google_ads_refresh_token": api.refresh_token,
        "google_ads_login_customer_id": MANAGER,
        "google_ads_customer_ids": MANAGER,
    }


def demo_settings(
    data: Path, api: AdsApi, google: GoogleApi, crm: HubspotApi, world: World
) -> Settings:
    """Settings of the demo only: each one is given, so that none comes from `.env`."""
    own: dict[str, Any] = {
        name: None if field.default is None else field.default
        for name, field in Settings.model_fields.items()
    }
    # The world's days are fixed; the job reads back from the real today.
    behind = max(0, (datetime.now(UTC).date() - world.today).days)
    own |= {
        "data_dir": data,
        "meta_lookback_days": min(30 + behind, 1_100),
        "meta_backfill_days": min(90 + behind, 1_125),
        "meta_graph_url": api.url,
        "meta_api_version": api.version,
        "meta_access_token": api.token,
        "meta_ad_account_ids": ",".join(world.account_ids),
        "meta_page_ids": PAGE_ID,
        "meta_app_secret": secrets.token_hex(16),
        "meta_verify_token": secrets.token_urlsafe(16),
        "intake_secret": secrets.token_hex(16),
        "chat_rules": install_rules(data),
        "digest_language": world.names.language or "en",
        "meta_conversions_mode": "live",
        "meta_dataset_ids": ",".join(f"{waba}:{dataset}" for waba, dataset in DATASETS.items()),
        "site_id": SITE_ID,
        "site_origins": SITE,
        "hubspot_url": crm.url,
        "hubspot_token": crm.token,
        **google_settings(google),
        "google_ads_lookback_days": min(90 + behind, 1_100),
    }
    return load_settings(_env_file=None, **own)


def _variables(settings: Settings) -> dict[str, str]:
    """The settings as environment variables; what is unset is blank, which beats a `.env`."""
    values: dict[str, str] = {}
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        value = getattr(settings, name)
        values[alias if isinstance(alias, str) else name.upper()] = (
            "" if value is None else as_text(value)
        )
    return values


@contextlib.contextmanager
def only_settings(settings: Settings) -> Iterator[None]:
    """This process and its children see the demo's settings and no others."""
    saved = {k: v for k, v in os.environ.items() if k.startswith(_PREFIXES)}
    for name in saved:
        os.environ.pop(name)
    os.environ.update(_variables(settings))
    try:
        yield
    finally:
        for name in [k for k in os.environ if k.startswith(_PREFIXES)]:
            os.environ.pop(name)
        os.environ.update(saved)


@contextlib.contextmanager
def running_receiver(settings: Settings) -> Iterator[str]:
    """`ctwa serve` on a free port, in a process of its own, ended at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    log = settings.data_dir / "receiver.log"
    command = [sys.executable, "-m", "commands.cli", "serve", "--port", str(port)]
    with log.open("wb") as sink:
        # Not in the folder of whoever started it, which may have packages of these names.
        child = subprocess.Popen(
            command,
            cwd=PROJECT_DIR,
            stdout=sink,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    try:
        _await_ready(url, child, log)
        yield url
    finally:
        child.terminate()
        try:
            child.wait(15)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _await_ready(url: str, child: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        if child.poll() is not None:
            tail = log.read_text(errors="replace")[-1_000:]
            raise DemoError(f"the receiver ended with code {child.returncode}:\n{tail}")
        with contextlib.suppress(urllib3.exceptions.HTTPError):
            if urllib3.request("GET", f"{url}/readyz", retries=False, timeout=2).status == 200:
                return
        time.sleep(0.1)
    raise DemoError(f"the receiver did not become ready in {_READY_SECONDS} s; see {log}")
