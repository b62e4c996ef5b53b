"""`ctwa demo`: the whole product on a synthetic company, checked against its known truth.

Everything runs as it does in production: the receiver is `ctwa serve` in a process of its own,
webhooks are signed and posted, the nightly job is the one of `ctwa refresh`. Only settings differ.
"""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.files.declarations import exclude
from simulator import report
from simulator.compare import Comparison, compare
from simulator.delivery import Delivery, deliver, deliveries, forged_status
from simulator.google_api import serve_google_api
from simulator.hubspot_api import serve_hubspot_api
from simulator.installation import (
    DemoError,
    clicks_since,
    demo_settings,
    fresh_folder,
    google_now,
    only_settings,
    page_now,
    running_receiver,
)
from simulator.lead_forms_api import LeadFormsApi, serve_lead_forms_api
from simulator.names import HOSTILE, Names
from simulator.serving import Meta, Serve, go_on
from simulator.truth import truth
from simulator.world import World, build_world

DEFAULT_DIR, NASTY_DIR = Path("data/demo"), Path("data/demo-nasty")


def demo(
    data_dir: Path | None = None,
    *,
    seed: int = 7,
    leads: int = 400,
    console: Console | None = None,
    serve: Serve | None = None,
    names: Names = HOSTILE,
) -> int:
    """Run it; 0 only if every mart equals the truth, row by row.

    `serve`: where the company then goes on, until it is stopped. `names`: of an ordinary company,
    or those of the tests, whose people then live through every edge case.

    `data_dir` is wiped first, if an earlier demo made it or it is empty. Two nights are played, so
    that the second is incremental: late and repeated webhooks, restated spend, renamed ads.
    """
    if console is None:
        # Fixed: within a refresh, standard output is what dbt writes to.
        console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
        if not console.is_terminal:
            console.width = 120  # a file has no edge to cut names at
    say = report.Story(console)
    try:
        with _calm(), _terminable():
            folder = fresh_folder(data_dir or (DEFAULT_DIR if names.language else NASTY_DIR))
            return _run(folder, build_world(seed, leads, names=names), say, serve)
    except DemoError as error:
        say.fail(str(error))
    except KeyboardInterrupt:
        say.fail("stopped; everything that was started has been ended")
        return 130
    return 1


def _run(data: Path, world: World, say: report.Story, serve: Serve | None) -> int:
    started = time.monotonic()
    say.title(world)
    options = {"token": secrets.token_urlsafe(24), "page_size": 25}
    with (
        serve_lead_forms_api(page_now(world, 1), world.nights[0], kind=Meta, **options) as api,
        serve_google_api(google_now(world, 1), batch_size=40, version="v26") as google,
        # Read on the real clock, so everything has happened there by the first night.
        serve_hubspot_api(world.hubspot(world.end)) as crm,
    ):
        settings = demo_settings(data, api, google, crm, world)
        with only_settings(settings), running_receiver(settings) as url:
            say.step(f"stand-ins: Meta at {api.url}, Google at {google.url}, HubSpot at {crm.url}")
            say.step(f"receiver (ctwa serve) at {url}")
            _forge(url, say)
            bodies = _night_one(world, settings, url, say)
            _switch(api, world)
            google.state = google_now(world, 2)
            bodies += _night_two(world, settings, url, bodies, say)
        if wrong := [*api.wrong, *google.wrong, *crm.wrong]:
            raise DemoError(f"an API was asked wrongly: {wrong[0]}")
        result = check(world, settings, bodies)
        if world.names.language:  # nobody reads a table of hostile names
            report.cost_tables(say.console, settings.marts_path)
        report.verdict(say.console, result)
        report.where_next(say.console, settings, time.monotonic() - started)
        if serve is not None and result.is_equal:
            say.heading("Going on: people write every few seconds; Ctrl-C ends it")
            say.step(f"Dagster UI at {serve.url} in half a minute, sources on")
            say.step(f"the report {settings.marts_path.with_name('report.html')} renews itself")
            with only_settings(settings):
                return go_on(settings, world.names, serve)
    return 0 if result.is_equal else 1


def check(world: World, settings: Settings, bodies: list[Delivery]) -> Comparison:
    """The published marts of `settings` against the truth of `world`, after all `bodies`."""
    names = Pseudonymizer.from_settings(settings)
    quarantined = sum(body.malformed for body in bodies)
    expected = truth(world, names, quarantined=quarantined, clicks_since=clicks_since())
    return compare(expected, settings.marts_path)


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


def _switch(api: LeadFormsApi, world: World) -> None:
    """From now on the API shows the accounts of the second night."""
    shown, second = world.nights
    for name in ("campaigns", "adsets", "ads", "creatives", "spend", "extra_spend"):
        setattr(shown, name, getattr(second, name))
    api.forms = page_now(world, 2)


def _deliver(settings: Settings, url: str, bodies: list[Delivery], say: report.Story) -> None:
    app_secret, intake_secret = settings.meta_app_secret, settings.intake_secret
    if app_secret is None or intake_secret is None:
        raise DemoError("the demo's own settings lack the signature keys")
    posted = sum(body.is_posted for body in bodies)
    with say.waiting(f"posting {posted} signed webhooks") as done:
        receipts = deliver(
            url,
            bodies,
            app_secret=app_secret.get_secret_value(),
            intake_secret=intake_secret.get_secret_value(),
        )
        for body in bodies:
            if not body.is_posted:
                _exclude(settings, json.loads(body.body))
        done(f"{receipts.answers[200]} signed webhooks posted, all acknowledged after being stored")


def _exclude(settings: Settings, said: dict[str, Any]) -> None:
    """As somebody in the company would do it: `ctwa exclude`."""
    moment = datetime.fromisoformat(said["declared_at"])
    exclude(
        settings,
        phone=said.get("phone"),
        bsuid=said.get("user_id"),
        email=said.get("email"),
        business_number=said.get("business_number"),
        reason=said["reason"],
        undo=not said["excluded"],
        now=lambda: moment,
    )


def _forge(url: str, say: report.Story) -> None:
    status = forged_status(url)
    if status != 401:
        raise DemoError(f"a webhook with a forged signature was answered {status}, not 401")
    say.step("a webhook with a forged signature is refused (401)")


def _refresh(settings: Settings, as_of: date, say: report.Story) -> None:
    text = f"nightly job as of {as_of}: load, build, test, publish"
    with say.waiting(text) as done:
        from orchestration.refresh import refresh  # loads Dagster and dbt, which takes seconds

        before = time.monotonic()
        result = refresh(settings, as_of=as_of)
        if not result.ok:
            raise DemoError("the nightly job failed:\n" + "\n".join(result.failures))
        done(
            f"nightly job as of {as_of}: loaded, built, tested, published "
            f"({time.monotonic() - before:.0f} s)"
        )


# ---- output and signals --------------------------------------------------------------------------


@contextlib.contextmanager
def _calm() -> Iterator[None]:
    """No log lines from the tools between ours; the job's result says what failed.

    By the handlers, not the loggers: tools set the levels of theirs. `ctwa -v demo` shows all.
    """
    root = logging.getLogger()
    levels = {handler: handler.level for handler in root.handlers}
    if root.level > logging.DEBUG:
        for handler in levels:
            handler.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for handler, level in levels.items():
            handler.setLevel(level)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """A plain `kill` ends what was started, as Ctrl-C does."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread: the caller handles signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
