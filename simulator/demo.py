"""`ctwa demo`: the whole product on a synthetic company, checked against its known truth.

Everything runs as it does in production: the receiver is `ctwa serve` in a process of its own,
webhooks are signed and posted, the nightly job is the one of `ctwa refresh`. Only settings differ.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import urllib3
from rich.console import Console

from ctwa.lock import RefreshBusyError, refresh_lock
from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings, load_settings
from simulator import report
from simulator.ads_api import AdsApi, serve_ads_api
from simulator.compare import Comparison, compare
from simulator.delivery import Delivery, deliver, deliveries, forged_status
from simulator.truth import truth
from simulator.world import World, build_world

DEFAULT_DIR = Path("data/demo")
_MARKER = ".ctwa-demo"
_PREFIXES = ("CTWA_", "META_", "GOOGLE_", "HUBSPOT_")


class DemoError(RuntimeError):
    """The demo cannot go on; the text says why and what to do."""


def demo(
    data_dir: Path | None = None,
    *,
    seed: int = 7,
    leads: int = 400,
    console: Console | None = None,
) -> int:
    """Run it; 0 only if every mart equals the truth, row by row.

    `data_dir` is wiped first, if an earlier demo made it or it is empty. Two nights are played, so
    that the second is incremental: late and repeated webhooks, restated spend, renamed ads.
    """
    say = report.Story(console or Console(highlight=False, soft_wrap=True))
    try:
        with _calm(), _terminable():
            return _run(_fresh(data_dir or DEFAULT_DIR), build_world(seed, leads), say)
    except DemoError as error:
        say.fail(str(error))
    except KeyboardInterrupt:
        say.fail("stopped; everything that was started has been ended")
        return 130
    return 1


def _run(data: Path, world: World, say: report.Story) -> int:
    started = time.monotonic()
    say.title(world)
    world.ads.now = world.nights[0].now
    with serve_ads_api(world.nights[0], token=secrets.token_urlsafe(24), page_size=25) as api:
        settings = _settings(data, api, world)
        with _environment(settings), _receiver(settings) as url:
            say.step(f"stand-in of Meta's ads API at {api.url}, receiver (ctwa serve) at {url}")
            _forge(url, say)
            bodies = _night_one(world, settings, url, say)
            _switch(api, world)
            bodies += _night_two(world, settings, url, bodies, say)
    if api.wrong:
        raise DemoError(f"the ads API was asked wrongly: {api.wrong[0]}")
    result = check(world, settings, bodies)
    report.cost_tables(say.console, settings.marts_path)
    report.verdict(say.console, result)
    report.where_next(say.console, settings, time.monotonic() - started)
    return 0 if result.is_equal else 1


def check(world: World, settings: Settings, bodies: list[Delivery]) -> Comparison:
    """The published marts of `settings` against the truth of `world`, after all `bodies`."""
    names = Pseudonymizer.from_settings(settings)
    quarantined = sum(body.malformed for body in bodies)
    return compare(truth(world, names, quarantined=quarantined), settings.marts_path)


# ---- the two nights ------------------------------------------------------------------------------


def _night_one(world: World, settings: Settings, url: str, say: report.Story) -> list[Delivery]:
    bodies = deliveries(world, night=1)
    say.heading("First night")
    _deliver(settings, url, bodies, say)
    _refresh(settings, world.today - timedelta(days=1), say)
    return bodies


def _night_two(
    world: World, settings: Settings, url: str, first: list[Delivery], say: report.Story
) -> list[Delivery]:
    # Meta redelivers for up to seven days: some of yesterday's bodies come again.
    bodies = deliveries(world, night=2) + first[::25]
    say.heading("Second night: late webhooks, restated spend, renamed and deleted ads")
    _deliver(settings, url, bodies, say)
    _refresh(settings, world.today, say)
    return bodies


def _switch(api: AdsApi, world: World) -> None:
    """From now on the API shows the accounts of the second night."""
    shown, second = world.nights
    for name in ("campaigns", "adsets", "ads", "creatives", "spend", "extra_spend"):
        setattr(shown, name, getattr(second, name))


def _deliver(settings: Settings, url: str, bodies: list[Delivery], say: report.Story) -> None:
    app_secret, intake_secret = settings.meta_app_secret, settings.intake_secret
    if app_secret is None or intake_secret is None:
        raise DemoError("the demo's own settings lack the signature keys")
    with say.waiting(f"posting {len(bodies)} signed webhooks") as done:
        receipts = deliver(
            url,
            bodies,
            app_secret=app_secret.get_secret_value(),
            intake_secret=intake_secret.get_secret_value(),
        )
        done(f"{receipts.answers[200]} signed webhooks posted, all acknowledged after being stored")


def _forge(url: str, say: report.Story) -> None:
    status = forged_status(url)
    if status != 401:
        raise DemoError(f"a webhook with a forged signature was answered {status}, not 401")
    say.step("a webhook with a forged signature is refused (401)")


def _refresh(settings: Settings, as_of: date, say: report.Story) -> None:
    from orchestration.refresh import refresh  # it loads Dagster and dbt: seconds

    with say.waiting(f"nightly job as of {as_of}: load, build, test, publish") as done:
        before = time.monotonic()
        result = refresh(settings, as_of=as_of)
        if not result.ok:
            raise DemoError("the nightly job failed:\n" + "\n".join(result.failures))
        done(
            f"nightly job as of {as_of}: loaded, built, tested, published "
            f"({time.monotonic() - before:.0f} s)"
        )


# ---- a place of its own --------------------------------------------------------------------------


def _fresh(data: Path) -> Path:
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
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    (data / _MARKER).write_text("made by `ctwa demo`; wiped by the next\n")
    return data


def _settings(data: Path, api: AdsApi, world: World) -> Settings:
    """Settings of the demo alone: each one is given, so that none comes from `.env`."""
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
        "meta_app_secret": secrets.token_hex(16),
        "meta_verify_token": secrets.token_urlsafe(16),
        "intake_secret": secrets.token_hex(16),
    }
    return load_settings(_env_file=None, **own)


def _variables(settings: Settings) -> dict[str, str]:
    """The settings as environment variables; what is unset is blank, which beats a `.env`."""
    values: dict[str, str] = {}
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        value = getattr(settings, name)
        if hasattr(value, "get_secret_value"):
            value = value.get_secret_value()
        values[alias if isinstance(alias, str) else name.upper()] = (
            "" if value is None else str(value)
        )
    return values


@contextlib.contextmanager
def _environment(settings: Settings) -> Iterator[None]:
    """This process and its children see the demo's settings and nobody else's."""
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
def _receiver(settings: Settings) -> Iterator[str]:
    """`ctwa serve` on a free port, in a process of its own, ended at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    log = settings.data_dir / "receiver.log"
    command = [sys.executable, "-m", "ctwa.cli", "serve", "--port", str(port)]
    with log.open("wb") as sink:
        child = subprocess.Popen(
            command, stdout=sink, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
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
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if child.poll() is not None:
            tail = log.read_text(errors="replace")[-1_000:]
            raise DemoError(f"the receiver ended with code {child.returncode}:\n{tail}")
        with contextlib.suppress(urllib3.exceptions.HTTPError):
            if urllib3.request("GET", f"{url}/readyz", retries=False, timeout=2).status == 200:
                return
        time.sleep(0.1)
    raise DemoError(f"the receiver did not become ready in 30 s; see {log}")


# ---- manners -------------------------------------------------------------------------------------


@contextlib.contextmanager
def _calm() -> Iterator[None]:
    """No log lines of the tools between ours, unless they warn."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(max(level, logging.WARNING) if level != logging.DEBUG else level)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """A polite `kill` ends what was started, as Ctrl-C does."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread: the caller minds signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
