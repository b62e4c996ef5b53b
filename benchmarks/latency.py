"""From a webhook to its lead in the published marts, with whatever serves an installation.

Every post is the first message of a new number, sent at its time whether or not earlier ones were
answered. Its lead is visible once a reader who opens `marts.duckdb` finds it there.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import duckdb

from benchmarks.bodies import People, message
from benchmarks.figures import BenchmarkError
from benchmarks.measure import environment, peak_memory
from benchmarks.receiver import SECRET, free_port, signed, wait_until_healthy
from benchmarks.worlds import settings_of
from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import PROJECT_DIR

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


def measure(
    data_dir: str,
    rates: Sequence[float],
    *,
    seconds: float = 120.0,
    commands: Sequence[Sequence[str]] | None = None,
    port: int | None = None,
) -> tuple[list[Latency], float]:
    """A row per rate, and the peak memory in MB of all that served.

    `data_dir` may hold a history. `commands`: what to start in place of what `serving` names.
    Raises `BenchmarkError` when leads do not come.
    """
    port = port or free_port()
    with _running(data_dir, commands or serving(port)) as processes, ExitStack() as stack:
        peaks = [stack.enter_context(peak_memory(process.pid)) for process in processes]
        wait_until_healthy(port, START_SECONDS)
        posts = _Posts(data_dir, port, processes)
        posts.run(rate=1, seconds=1, patience=FIRST_SECONDS)  # so that the start is not measured
        rows = [posts.run(rate, seconds, LAST_SECONDS) for rate in rates]
    return rows, sum(peak.mb for peak in peaks)


def serving(port: int) -> list[list[str]]:
    """The commands that bring a message to the marts: `ctwa live` where there is one, else
    `ctwa dev`, whose sensor starts a run for new envelopes."""
    if find_spec("orchestration.live"):
        return [[*_CLI, "serve", "--port", str(port)], [*_CLI, "live"]]
    return [[*_CLI, "dev", "--port", str(port), "--ui-port", str(free_port())]]


@contextmanager
def _running(
    data_dir: str, commands: Sequence[Sequence[str]]
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
class _Posts:
    """Posts new people's first messages, and notes when each lead is visible."""

    data_dir: str
    port: int
    processes: Sequence[subprocess.Popen[bytes]]
    people: People = field(default_factory=lambda: People(1, first=9_000_000))
    sent: int = 0

    def __post_init__(self) -> None:
        settings = settings_of(self.data_dir)
        self._marts = settings.marts_path
        self._names = Pseudonymizer.from_settings(settings)

    def run(self, rate: float, seconds: float, patience: float) -> Latency:
        """Post `rate` a second for so long, then wait up to `patience` seconds for the leads."""
        numbers = range(self.sent, self.sent + max(1, round(rate * seconds)))
        self.sent = numbers.stop
        due: dict[str, float] = {}
        seen: dict[str, float] = {}
        requests = []
        for place, number in enumerate(numbers):
            phone = self.people.phone(number)
            body = message(f"wamid.LIVE{number:012d}", phone, int(time.time() + place / rate))
            key = self._names.phone(phone)
            assert key is not None
            requests.append((key, signed(body)))
        ended = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(due, seen, ended), daemon=True)
        watcher.start()
        try:
            asyncio.run(_post_all(self.port, requests, rate, due))
            deadline = time.monotonic() + patience
            while len(seen) < len(requests) and time.monotonic() < deadline:
                self._check_alive()
                time.sleep(LOOK_SECONDS)
        finally:
            ended.set()
            watcher.join()
        missing = len(requests) - len(seen)
        if missing:
            raise BenchmarkError(
                f"{missing} of {len(requests)} leads were not visible {patience:.0f} s after the "
                f"last post; {self._log()}"
            )
        waits = sorted(seen[key] - due[key] for key, _ in requests)
        return Latency(rate, len(waits), _share(waits, 0.5), _share(waits, 0.95), waits[-1])

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

    def _watch(self, due: dict[str, float], seen: dict[str, float], ended: threading.Event) -> None:
        """Look into each new version of the marts, as a reader does."""
        last = None
        while not ended.wait(LOOK_SECONDS):
            with suppress(OSError, duckdb.Error):
                version = self._marts.stat()
                if (version.st_ino, version.st_mtime_ns) == last:
                    continue
                at = time.monotonic()
                waiting = [key for key in list(due) if key not in seen]
                for key in self._visible(waiting):
                    seen[key] = at
                last = (version.st_ino, version.st_mtime_ns)

    def _visible(self, keys: list[str]) -> list[str]:
        with duckdb.connect(str(self._marts), read_only=True) as marts:
            found = marts.execute(
                "select lead_id from fct_leads where lead_id in (select unnest(?))", [keys]
            ).fetchall()
        return [lead_id for (lead_id,) in found]


async def _post_all(
    port: int, requests: Sequence[tuple[str, bytes]], rate: float, due: dict[str, float]
) -> None:
    """Send each request at its time, on a connection of its own; `due` gets these times."""
    start = time.monotonic()
    posts = []
    for place, (key, request) in enumerate(requests):
        due[key] = start + place / rate
        await asyncio.sleep(max(0.0, due[key] - time.monotonic()))
        posts.append(asyncio.create_task(_post(port, request)))
    await asyncio.gather(*posts)


async def _post(port: int, request: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        head = await reader.readline()
    finally:
        writer.close()
    if b" 200 " not in head:
        raise BenchmarkError(f"the receiver answered {head.decode(errors='replace').strip()}")


def _share(waits: Sequence[float], share: float) -> float:
    """The nearest rank: of so large a share no wait was longer."""
    return waits[max(0, -(-len(waits) * round(share * 100) // 100) - 1)]
