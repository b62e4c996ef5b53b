"""The synthetic company with an installation of its own, worked by real `ctwa` processes."""

from __future__ import annotations

import copy
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

from ctwa.settings import Settings, load_settings
from ingestion.vault import open_vault
from ingestion.vault.vault import NewEnvelope
from simulator.ads_insights import JobScript
from simulator.delivery import Delivery
from simulator.google_api import GoogleApi, serve_google_api
from simulator.hubspot_api import serve_hubspot_api
from simulator.installation import demo_settings, google_now, only_settings, page_now
from simulator.lead_forms_api import LeadFormsApi, serve_lead_forms_api
from simulator.world import World
from tests.support.plans import prepare

_ON_ANOTHER_HOST = """
import runpy, socket
socket.gethostname = lambda: "{host}"
runpy.run_module("commands.cli", run_name="__main__")
"""
_OBJECTS = ("campaigns", "adsets", "ads", "creatives", "spend", "extra_spend")


def receive(settings: Settings, bodies: Iterable[Delivery], at: datetime) -> int:
    """Put bodies into the vault as the receiver does, in this order; the vault's last `seq`."""
    moment = int(at.timestamp() * 1_000_000)
    vault = open_vault(settings.vault_url)
    try:
        vault.append([NewEnvelope(moment, b.source, b.body) for b in bodies])
        return vault.last_seq()
    finally:
        vault.close()


@dataclass
class Refresh:
    """A running `ctwa refresh` and where it writes what it says."""

    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        """Everything it has said so far."""
        return self.log.read_text(errors="replace")


@dataclass
class Installation:
    """A data folder, the world it hears of, and the ads APIs as of one of the world's nights."""

    settings: Settings
    world: World
    api: LeadFormsApi
    google: GoogleApi

    def show_night(self, night: int) -> None:
        """From now on the APIs show the accounts of that night (1 or 2)."""
        self.google.state = google_now(self.world, night)
        self.api.forms = page_now(self.world, night)
        for name in _OBJECTS:
            setattr(
                self.api.state, name, copy.deepcopy(getattr(self.world.nights[night - 1], name))
            )

    def start_refresh(self, as_of: date, host: str = "") -> Refresh:
        """`ctwa refresh` in a process of its own, on this host or on one of that name."""
        as_host = ("-c", _ON_ANOTHER_HOST.format(host=host)) if host else ("-m", "commands.cli")
        command = [sys.executable, *as_host, "refresh", "--as-of", as_of.isoformat()]
        log = self.settings.data_dir.with_name(f"refresh-{secrets.token_hex(4)}.log")
        with only_settings(self.settings), log.open("wb") as sink:
            return Refresh(subprocess.Popen(command, stdout=sink, stderr=sink), log)

    def refresh(self, as_of: date) -> None:
        """One refresh that must succeed."""
        run = self.start_refresh(as_of)
        assert run.process.wait() == 0, run.said()[-3_000:]

    def lake_files(self) -> dict[str, int]:
        """Every file of the lake, with the time it was last written."""
        root = Path(self.settings.lake_url)
        return {
            str(p.relative_to(root)): p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()
        }

    def save(self) -> Path:
        """A copy of the whole data folder."""
        folder = self.settings.data_dir
        copied = folder.with_name(f"{folder.name}-{secrets.token_hex(4)}")
        shutil.copytree(folder, copied, symlinks=True)
        return copied

    def on_host(self, folder: Path, vault_url: str) -> Installation:
        """The same company on a host with this data folder, over a vault that hosts share."""
        own = {"data_dir": str(folder), "vault_url": vault_url}
        own |= dict.fromkeys(("lake_url", "warehouse_path", "marts_path"), "")
        with only_settings(self.settings):
            os.environ |= {f"CTWA_{name.upper()}": value for name, value in own.items()}
            return replace(self, settings=load_settings(_env_file=None))

    @contextmanager
    def as_saved(self, saved: Path) -> Iterator[None]:
        """The data folder as it was then, at the same path; afterwards as it is now."""
        folder = self.settings.data_dir
        aside = folder.with_name(f"{folder.name}-aside")
        folder.rename(aside)
        try:
            shutil.copytree(saved, folder, symlinks=True)
            yield
        finally:
            shutil.rmtree(folder)
            aside.rename(folder)


@contextmanager
def installed(folder: Path, world: World) -> Iterator[Installation]:
    """A new installation whose ads APIs show the first night."""
    shown = copy.deepcopy(world.nights[0])
    folder.mkdir(parents=True)
    options = {"token": secrets.token_urlsafe(24), "page_size": 25}
    with (
        serve_lead_forms_api(page_now(world, 1), shown, **options) as api,
        serve_google_api(google_now(world, 1), batch_size=200) as google,
        serve_hubspot_api(world.hubspot(world.end)) as crm,
    ):
        # Report runs are complete at the first look: nothing to wait for between two.
        api.jobs_to_come = [JobScript(["Job Completed"]) for _ in range(500)]
        settings = demo_settings(folder, api, google, crm, world)
        prepare(settings)  # `test_demo` has that made by the refresh itself
        yield Installation(settings, world, api, google)


def now() -> datetime:
    """This moment, UTC."""
    return datetime.now(UTC)
