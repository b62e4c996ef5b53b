"""`ctwa live`: a process that stays loaded and brings each new envelope into the marts in seconds.

It looks at the vault several times a second. What has arrived becomes one cycle
(`orchestration.live_cycle`) under the lock of the refresh; the more waits, the more one cycle
takes. Between cycles the lock is free, and a process that waits for it goes first. Marts that no
message makes urgent follow within about a minute.

Where it cannot continue (the warehouse is missing, models or rules have changed, somebody was
erased) a whole refresh in a process of its own puts that right. Where a check fails, readers keep
the marts they have, people are alerted once, and it tries again after growing pauses. Neither
Dagster nor dbt is imported here, and dlt only for clients of APIs. Killed at any moment it leaves
what a killed refresh leaves.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ctwa.errors import CtwaError, LockLostError
from ctwa.files import private_files
from ctwa.live_state import HEARTBEAT_SECONDS, STOPPED, LiveState
from ctwa.lock import LIVE_LOCK, RefreshBusyError, refresh_lock, someone_waits
from ctwa.project import project_of
from ctwa.settings import Settings
from ingestion.vault import open_vault
from ingestion.vault.vault import Vault
from orchestration.alerts import RunEnd, send_alerts
from orchestration.faults import describe, where
from orchestration.live_cycle import (
    CheckFailedError,
    Cycles,
    Done,
    RebuildNeededError,
    preload,
)
from orchestration.rebuild import BuildState

log = logging.getLogger("ctwa.live")

POLL_SECONDS = 0.25
BREATH_SECONDS = 0.1
"""Between two cycles, however much waits."""
_LOCK_SECONDS = 2.0
_LOCKED_OUT = "waiting for the lock"
_COURTESY_SECONDS = 30.0
"""How long a waiting process has to take the lock."""
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 5.0, 300.0
_RESTART_SECONDS = 30.0
_READERS_SECONDS, _BUSY_READERS_SECONDS = 60.0, 300.0
"""Report and PostgreSQL follow the marts at most so often: when all is done, and amidst work."""
_JOB = "live"
"""Name of its failures in alerts."""

RESTART = 3
"""What `Worker.run` returns if code or settings on disk differ from those it has loaded."""


class LiveBusyError(CtwaError):
    """Another `ctwa live` works on this data directory. Exits with 75 (EX_TEMPFAIL)."""

    exit_code = 75


class LiveEngineError(CtwaError):
    """The models are built by another engine than the worker's own."""


Rebuild = Callable[[], list[str]]
"""Runs a whole refresh; returns what failed."""


def live(settings: Settings) -> int:
    """Work until SIGTERM or SIGINT, which end it after the current cycle; returns an exit code.

    Raises `LiveBusyError` if another one runs, `LiveEngineError` where Spark builds the models.
    """
    if settings.engine != "duckdb":
        raise LiveEngineError(
            "CTWA_ENGINE=spark: `ctwa live` builds with DuckDB only. Without it, Dagster's sensor "
            "starts a run after new envelopes"
        )
    preload(settings)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    code = Worker(settings, stop=stop).run()
    if code == RESTART:
        log.warning("starting again: code or settings have changed since the start")
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - the same program again
    return code


@dataclass
class _Memory:
    """What the worker knows between cycles."""

    state: LiveState
    written_at: float = float("-inf")
    pause: float = 0.0
    """Seconds until the next try after a failure, doubled each time; 0: none failed."""
    not_before: float = float("-inf")
    rebuilt: int = 0
    """Refreshes in a row that left the same reason to rebuild."""
    alerted: tuple[Any, ...] = ()
    shown: str = ""
    """The publication that report and PostgreSQL show."""
    shown_at: float = float("-inf")
    news: Done = field(default_factory=Done)


class Worker:
    """The loop. `rebuild` replaces the process that builds everything again."""

    def __init__(
        self,
        settings: Settings,
        *,
        stop: threading.Event | None = None,
        project_dir: Path | None = None,
        rebuild: Rebuild | None = None,
    ) -> None:
        self._settings, self._stop = settings, stop or threading.Event()
        self._rebuild = rebuild or self._refresh_elsewhere
        self._cycles = Cycles(settings, project_dir or project_of(settings), self._beat)
        self._vault: Vault | None = None
        now, before = time.time(), LiveState.read(settings.data_dir)
        is_behind = before is not None and before.is_behind
        self._memory = _Memory(LiveState(os.getpid(), now, now, is_behind=is_behind))

    def run(self) -> int:
        """Cycles until told to stop: 0, or `RESTART`. Raises `LiveBusyError`."""
        with private_files(), self._alone():
            log.info("waiting for envelopes")
            try:
                self._save_state()
                while not self._stop.is_set():
                    if (code := self._turn()) is not None:
                        return code
                return 0
            finally:
                self._save_state(doing=STOPPED)
                self._close_vault()

    @property
    def has_begun(self) -> bool:
        """Whether other processes can see it."""
        return self._memory.written_at > 0

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with ExitStack() as stack:
            try:
                stack.enter_context(refresh_lock(self._settings, file=LIVE_LOCK))
            except RefreshBusyError as error:
                raise LiveBusyError(f"another `ctwa live` works here ({error.who})") from None
            yield

    def _turn(self) -> int | None:
        """Look once; a cycle if there is something to do, else a short sleep."""
        memory = self._memory
        try:
            if time.monotonic() >= memory.not_before and self._has_work():
                self._update_readers(_BUSY_READERS_SECONDS)  # it may never be quiet
                return self._work()
            self._update_readers()
        except LockLostError:  # another host works on
            raise
        except Exception as error:  # noqa: BLE001 - the loop goes on, after a pause
            self._failed([f"live: {describe(error)}"], error)
        self._beat()
        self._stop.wait(POLL_SECONDS)
        return None

    # ---- what there is to do ------------------------------------------------------------------

    def _has_work(self) -> bool:
        memory, last = self._memory, self._last_seq()
        if memory.rebuilt:  # a refresh of what is here sends nothing
            return True
        if memory.state.is_behind and self._cycles.rest_is_due:
            return True
        if last > memory.state.published_seq:
            # At the start, and after a refresh by somebody else, the marts may show it already.
            published = BuildState.published_seq(self._settings)
            if published >= last:
                self._save_state(
                    doing="waiting", published_seq=published, waiting_since=0.0, error=""
                )
            else:
                self._note_waiting()
                return True
        wait = self._cycles.next_try_in()
        return wait == 0.0 or self._cycles.contacts_are_new()

    def _last_seq(self) -> int:
        """The highest envelope of the vault, by a connection that stays open."""
        if self._vault is None:
            file = self._settings.vault_url.removeprefix("sqlite:///")
            if file != self._settings.vault_url and not Path(file).exists():
                return 0
            self._vault = open_vault(self._settings.vault_url)
        return self._vault.last_seq()

    def _note_waiting(self) -> None:
        state = self._memory.state
        if not state.waiting_since and self._vault is not None:
            oldest = self._vault.waiting_since()
            since = oldest.timestamp() if oldest else time.time()
            self._memory.state = replace(state, waiting_since=since)

    # ---- a cycle ------------------------------------------------------------------------------

    def _work(self) -> int | None:
        started = time.monotonic()
        try:
            self._save_state(doing="preparing")
            plan = self._cycles.plan()
            with self._lock() as is_held:
                if not is_held:
                    return None
                # Until the cycle says otherwise, also for the next worker.
                self._save_state(doing="working", is_behind=True)
                done = self._cycles.run(plan)
        except RebuildNeededError as error:
            return self._build_again(str(error))
        except LockLostError:
            raise
        except CheckFailedError as error:
            self._failed(error.failures, None)
        except Exception as error:  # noqa: BLE001 - the loop goes on, after a pause
            self._failed([f"live: {describe(error)}"], error)
        else:
            self._succeeded(done, time.monotonic() - started)
        self._let_others_go_first()
        return None

    @contextmanager
    def _lock(self) -> Iterator[bool]:
        """Hold the lock of the refresh; False: told to stop while waiting for it."""
        settings, is_held = self._settings, False
        with ExitStack() as stack:
            while not is_held and not self._stop.is_set():
                try:
                    stack.enter_context(
                        refresh_lock(settings, wait_seconds=_LOCK_SECONDS, briefly=True)
                    )
                    is_held = True
                except RefreshBusyError as error:
                    if self._memory.state.doing != _LOCKED_OUT:
                        log.info("waiting: %s", error)
                    self._save_state(doing=_LOCKED_OUT)
            yield is_held

    def _let_others_go_first(self) -> None:
        deadline = time.monotonic() + _COURTESY_SECONDS
        self._stop.wait(BREATH_SECONDS)
        while someone_waits(self._settings) and time.monotonic() < deadline:
            self._stop.wait(BREATH_SECONDS)

    def _succeeded(self, done: Done, seconds: float) -> None:
        memory, now = self._memory, time.time()
        state = memory.state
        lag = now - state.waiting_since if state.waiting_since else state.last_lag_seconds
        memory.pause, memory.not_before, memory.rebuilt, memory.news = 0.0, 0.0, 0, done
        log.info(
            "%d envelopes in the marts after %.1f s (cycle of %.1f s)", done.envelopes, lag, seconds
        )
        self._save_state(
            doing="waiting",
            cycles=state.cycles + 1,
            envelopes=state.envelopes + done.envelopes,
            last_cycle_at=now,
            last_cycle_seconds=round(seconds, 3),
            last_cycle_envelopes=done.envelopes,
            last_lag_seconds=round(lag, 3),
            published_seq=done.last_seq,
            is_behind=not done.is_whole,
            waiting_since=0.0,
            error="; ".join(done.problems),
        )
        self._alert(done.problems, done.warnings, done.passed, is_published=True)

    def _failed(self, failures: list[str], error: Exception | None) -> None:
        memory = self._memory
        memory.pause = min(max(2 * memory.pause, _FIRST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)
        memory.not_before = time.monotonic() + memory.pause
        for failure in failures:
            log.error("%s", failure)
        if error is not None and (stack := where(error)):
            log.error("%s", stack)
        log.error("the marts stay as they are; trying again in %.0f s", memory.pause)
        self._close_vault()
        self._save_state(doing="trying again later", error="; ".join(failures))
        self._alert(failures, {}, set(), is_published=False)

    def _alert(
        self, failures: list[str], warnings: Mapping[str, str], passed: set[str], *,
        is_published: bool,
    ) -> None:  # fmt: skip
        """Report what has changed since the last report; the ledger of alerts knows the rest."""
        said = (tuple(failures), tuple(sorted(warnings)), is_published)
        if said != self._memory.alerted:
            self._memory.alerted = said
            end = RunEnd(_JOB, "", failures, warnings, frozenset(passed), is_published)
            send_alerts(self._settings, end)

    # ---- what it leaves to others -------------------------------------------------------------

    def _build_again(self, reason: str) -> int | None:
        """A whole refresh; if the reason stays, our code or settings are out of date."""
        memory = self._memory
        if memory.rebuilt:
            log.warning("%s, also after a refresh", reason)
            self._save_state(doing="trying again later", error=reason)
            self._stop.wait(_RESTART_SECONDS)
            return RESTART
        log.warning("a whole refresh puts this right: %s", reason)
        self._save_state(doing="rebuilding")
        if failures := self._rebuild():
            self._failed(failures, None)
        else:
            memory.rebuilt += 1
        return None

    def _refresh_elsewhere(self) -> list[str]:
        command = [sys.executable, "-m", "orchestration.catch_up"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            is_stopped = False
            while True:
                try:
                    code = child.wait(POLL_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    self._beat()
                    if self._stop.is_set() and not is_stopped:
                        child.terminate()
                        is_stopped = True
            failures = [json.loads(line) for line in child.stdout if line.startswith('"')]
        return failures or ([f"live: the refresh ended with code {code}"] if code else [])

    def _update_readers(self, every: float = _READERS_SECONDS) -> None:
        """Write the report and PostgreSQL's copy of the marts, if they are behind."""
        memory, settings = self._memory, self._settings
        version = memory.news.version
        if version == memory.shown or time.monotonic() - memory.shown_at < every:
            return
        from publishing.report.page import write_report

        with self._lock() as is_held:
            if not is_held:
                return
            memory.shown, memory.shown_at = version, time.monotonic()
            started = time.monotonic()
            write_report(settings, fetch=False)  # the nightly run waits for pictures
            if settings.marts_url is not None:
                from publishing.postgres import publish_to_postgres

                publish_to_postgres(settings.marts_url.get_secret_value(), settings.marts_path)
            # On a large installation the report alone takes long: never most of the time.
            memory.shown_at += 20 * (time.monotonic() - started)
        self._save_state(doing="waiting")

    # ---- its state ----------------------------------------------------------------------------

    def _beat(self) -> None:
        if time.monotonic() - self._memory.written_at >= HEARTBEAT_SECONDS:
            self._save_state()

    def _save_state(self, **changes: Any) -> None:
        memory = self._memory
        memory.state = replace(memory.state, **{"heartbeat_at": time.time(), **changes})
        memory.written_at = time.monotonic()
        try:
            memory.state.save(self._settings.data_dir)
        except OSError as error:  # a full disk: the cycle itself says so
            log.warning("the state could not be written: %s", error)

    def _close_vault(self) -> None:
        if self._vault is not None:
            self._vault.close()
            self._vault = None
