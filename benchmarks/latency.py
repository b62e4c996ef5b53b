"""From a webhook to its lead in the published marts, with whatever serves an installation.

Every post is the first message of a new number, sent at its time whether or not earlier ones were
answered. Its lead is visible once a reader who opens `marts.duckdb` finds it there. Where HubSpot
is measured too, the number is that of a contact of its stand-in, and the lead has arrived once its
source is on that contact.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from pathlib import Path

import duckdb

from benchmarks.bodies import People, message
from benchmarks.figures import BenchmarkError
from benchmarks.measure import environment, peak_memory
from benchmarks.receiver import SECRET, free_port, signed, wait_until_healthy
from benchmarks.worlds import settings_of
from ctwa.phones import is_filler
from ctwa.progress import doing
from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import PROJECT_DIR
from ingestion.crm.hubspot.account import PROPERTIES, create_properties
from ingestion.crm.hubspot.client import HubspotClient
from simulator.hubspot_api import WRITE_SCOPES, serve_hubspot_api
from simulator.hubspot_state import HubspotState

PEOPLE = People(1, first=9_000_000)
"""Those who write, but for numbers that look like filler: from a CRM they lead to nobody (E85)."""
LOOK_SECONDS = 0.2
START_SECONDS = 300.0
"""For the receiver to answer."""
FIRST_SECONDS = 900.0
"""For the first lead, which also waits until all that serves has started."""
LAST_SECONDS = 900.0
"""After the last post, for all leads to be visible."""
_CLI = (sys.executable, "-m", "commands.cli")


@dataclass(frozen=True)
class Latency:
    """How long leads took at one rate of posts, in seconds."""

    per_second: float
    posts: int
    p50: float
    p95: float
    highest: float
    crm_p50: float
    """To HubSpot's contact, as `crm_p95`; NaN where it was not measured."""
    crm_p95: float
    answered_p99_ms: float
    """From a post to the receiver's answer."""
    growth: float
    """Median wait of the later half of the posts ÷ that of the earlier half: of what falls further
    behind with every post it is far above 1, however long the posts go on."""
    behind: float
    """From the last post until all leads were visible."""


def measure(
    data_dir: str,
    rates: Sequence[float],
    *,
    seconds: float = 120.0,
    commands: Sequence[Sequence[str]],
    port: int,
    with_crm: bool = False,
) -> tuple[list[Latency], float]:
    """A row per rate, and the peak memory in MB of all that served.

    `data_dir` may hold a history. `commands`: what to start so that `port` is served.
    `with_crm`: until sources are on HubSpot's contacts, too. Raises `BenchmarkError` when leads do
    not come.
    """
    with ExitStack() as stack:
        crm = stack.enter_context(_crm(rates, seconds)) if with_crm else None
        running = _running(data_dir, commands, crm.settings if crm else {})
        processes = stack.enter_context(running)
        peaks = [stack.enter_context(peak_memory(process.pid)) for process in processes]
        doing("starting what serves")
        wait_until_healthy(port, START_SECONDS)
        posts = _Posts(data_dir, port, processes, crm)
        posts.run(rate=1, seconds=1, patience=FIRST_SECONDS)  # so that the start is not measured
        rows = [posts.run(rate, seconds, LAST_SECONDS) for rate in rates]
    return rows, sum(peak.mb for peak in peaks)


@dataclass(frozen=True)
class _Crm:
    """HubSpot's stand-in, with a contact for each person who will write."""

    state: HubspotState
    contacts: dict[str, int]
    """Phone -> id."""
    settings: dict[str, str]

    def has_source(self, phone: str) -> bool:
        """Whether the worker has written to the contact."""
        return "ctwa_source" in self.state.find("contacts", self.contacts[phone]).properties


@contextmanager
def _crm(rates: Sequence[float], seconds: float) -> Iterator[_Crm]:
    state = HubspotState(datetime.now(UTC) - timedelta(hours=1))
    people = 1 + sum(_posts_at(rate, seconds) for rate in rates)
    contacts = {p: state.contact(phone=f"+{p}") for p in islice(writers(), people)}
    with serve_hubspot_api(state, token="pat-bench", scopes=WRITE_SCOPES) as api:
        create_properties(HubspotClient(api.url, "pat-bench"), PROPERTIES)
        names = {
            "HUBSPOT_URL": api.url,
            "HUBSPOT_TOKEN": "pat-bench",
            "HUBSPOT_WRITE_BACK": "live",
        }
        yield _Crm(state, contacts, names)


def writers() -> Iterator[str]:
    """Phone numbers of those who write, always the same ones in the same order."""
    return (phone for phone in map(PEOPLE.phone, count()) if not is_filler(phone))


def _posts_at(rate: float, seconds: float) -> int:
    return max(1, round(rate * seconds))


def serving(port: int) -> list[list[str]]:
    """Receiver and worker alone, as systemd starts them."""
    return [[*_CLI, "serve", "--port", str(port)], [*_CLI, "live"]]


def dev(port: int) -> list[list[str]]:
    """All that serves an installation on one's own machine, with Dagster's UI and daemon."""
    return [[*_CLI, "dev", "--port", str(port), "--ui-port", str(free_port())]]


@contextmanager
def _running(
    data_dir: str, commands: Sequence[Sequence[str]], more: Mapping[str, str]
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start the commands on the data folder and end them, by their ids, with the block."""
    settings = settings_of(data_dir)
    folder = settings.data_dir.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    assert settings.pii_key is not None
    names = {
        "CTWA_DATA_DIR": str(folder),
        "CTWA_PII_KEY": settings.pii_key.get_secret_value(),
        "META_APP_SECRET": SECRET,
        "META_VERIFY_TOKEN": "bench",
        "PYTHONPATH": str(PROJECT_DIR),
        **more,
    }
    with (folder / "serving.log").open("ab") as log:
        processes = [
            # In the data folder, where no `.env` switches a source on.
            subprocess.Popen(c, stdout=log, stderr=log, env=environment(**names), cwd=folder)
            for c in commands
        ]
    try:
        yield processes
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(timeout=90)
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)


@dataclass
class _Waits:
    """Of posts by the ids of their leads: when they were due, and when their leads arrived."""

    due: dict[str, float] = field(default_factory=dict)
    seen: dict[str, float] = field(default_factory=dict)
    written: dict[str, float] = field(default_factory=dict)
    answered: list[float] = field(default_factory=list)
    """Seconds until each answer."""

    def until(self, arrivals: Mapping[str, float]) -> list[float]:
        """Seconds from each post to its arrival, in order."""
        return sorted(at - self.due[key] for key, at in arrivals.items())

    def halves(self) -> tuple[list[float], list[float]]:
        """Seconds until leads were visible, of the earlier and of the later posts, each in order;
        of one post twice the same."""
        by_post = [
            self.seen[key] - due for key, due in sorted(self.due.items(), key=lambda d: d[1])
        ]
        half = len(by_post) // 2
        return sorted(by_post[:half] or by_post), sorted(by_post[half:])


@dataclass
class _Posts:
    """Posts new people's first messages, and notes when each lead is visible."""

    data_dir: str
    port: int
    processes: Sequence[subprocess.Popen[bytes]]
    crm: _Crm | None = None
    sent: int = 0

    def __post_init__(self) -> None:
        settings = settings_of(self.data_dir)
        self._marts = settings.marts_path
        self._names = Pseudonymizer.from_settings(settings)

    def run(self, rate: float, seconds: float, patience: float) -> Latency:
        """Post `rate` a second for so long, then wait up to `patience` seconds for the leads."""
        first, self.sent = self.sent, self.sent + _posts_at(rate, seconds)
        waits = _Waits()
        phones: dict[str, str] = {}
        requests = []
        for place, phone in enumerate(islice(writers(), first, self.sent)):
            body = message(f"wamid.LIVE{phone}", phone, int(time.time() + place / rate))
            key = self._names.phone(phone)
            assert key is not None
            phones[key] = phone
            requests.append((key, signed(body)))
        ended = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(phones, waits, ended), daemon=True)
        watcher.start()
        arrivals = [waits.seen, *([waits.written] if self.crm else [])]
        try:
            doing(f"posting {rate:g} a second for {seconds:g} seconds")
            asyncio.run(_post_all(self.port, requests, rate, waits))
            deadline = time.monotonic() + patience
            doing("waiting until all of their leads are visible")
            while min(map(len, arrivals)) < len(requests) and time.monotonic() < deadline:
                self._check_alive()
                time.sleep(LOOK_SECONDS)
        finally:
            ended.set()
            watcher.join()
        for found, where in zip(arrivals, ("visible", "on HubSpot's contact"), strict=False):
            if missing := len(requests) - len(found):
                raise BenchmarkError(
                    f"{missing} of {len(requests)} leads were not {where} {patience:.0f} s after "
                    f"the last post; {self._log()}"
                )
        visible = waits.until(waits.seen)
        earlier, later = waits.halves()
        written = waits.until(waits.written) if self.crm else [math.nan]
        return Latency(
            rate,
            len(visible),
            p50=_share(visible, 0.5),
            p95=_share(visible, 0.95),
            highest=visible[-1],
            crm_p50=_share(written, 0.5),
            crm_p95=_share(written, 0.95),
            answered_p99_ms=_share(sorted(waits.answered), 0.99) * 1e3,
            growth=_share(later, 0.5) / _share(earlier, 0.5),
            behind=max(waits.seen.values()) - max(waits.due.values()),
        )

    def _check_alive(self) -> None:
        for process in self.processes:
            if process.poll() is not None:
                raise BenchmarkError(
                    f"what serves ended by itself with code {process.returncode}; {self._log()}"
                )

    def _log(self) -> str:
        """The end of what the serving processes wrote: their folder is removed afterwards."""
        with suppress(OSError):
            return "its log ends: " + Path(self.data_dir, "serving.log").read_text()[-1000:]
        return "it has no log"

    def _watch(self, phones: dict[str, str], waits: _Waits, ended: threading.Event) -> None:
        """Look into each new version of the marts, as a reader does, and at HubSpot's contacts."""
        last = None
        while not ended.wait(LOOK_SECONDS):
            at = time.monotonic()
            if self.crm:
                self.crm.state.now = datetime.now(UTC)
                for key in [k for k in list(waits.due) if k not in waits.written]:
                    if self.crm.has_source(phones[key]):
                        waits.written[key] = at
            with suppress(OSError, duckdb.Error):
                version = self._marts.stat()
                if (version.st_ino, version.st_mtime_ns) == last:
                    continue
                for key in self._visible([k for k in list(waits.due) if k not in waits.seen]):
                    waits.seen[key] = at
                last = (version.st_ino, version.st_mtime_ns)

    def _visible(self, keys: list[str]) -> list[str]:
        with duckdb.connect(str(self._marts), read_only=True) as marts:
            found = marts.execute(
                "select lead_id from fct_leads where lead_id in (select unnest(?))", [keys]
            ).fetchall()
        return [lead_id for (lead_id,) in found]


async def _post_all(
    port: int, requests: Sequence[tuple[str, bytes]], rate: float, waits: _Waits
) -> None:
    """Send each request at its time, on a connection of its own."""
    start = time.monotonic()
    posts = []
    for place, (key, request) in enumerate(requests):
        waits.due[key] = start + place / rate
        await asyncio.sleep(max(0.0, waits.due[key] - time.monotonic()))
        posts.append(asyncio.create_task(_post(port, request, waits.answered)))
    await asyncio.gather(*posts)


async def _post(port: int, request: bytes, answered: list[float]) -> None:
    started = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        head = await reader.readline()
        answered.append(time.monotonic() - started)
    finally:
        writer.close()
    if b" 200 " not in head:
        raise BenchmarkError(f"the receiver answered {head.decode(errors='replace').strip()}")


def _share(waits: Sequence[float], share: float) -> float:
    """The nearest rank: of so large a share no wait was longer."""
    return waits[max(0, -(-len(waits) * round(share * 100) // 100) - 1)]
