"""An installation's Dagster instance: its home `<data>/dagster`, and `ctwa dev`.

`ctwa dev` runs Dagster's UI and daemon, the receiver and `ctwa live` as child processes. They end
together: on Ctrl-C, on TERM, or when one of them ends.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import yaml
from dagster._core.instance.ref import InstanceRef

from ctwa.environment import export_environment
from ctwa.files import set_aside, write_durably
from ctwa.live_state import takes_envelopes
from ctwa.settings import PROJECT_DIR, Settings

log = logging.getLogger(__name__)

DATABASES = ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")
"""Files of Dagster's SQLite storage, relative to its home."""
_QUICK_CHECK_BYTES = 64 * 2**20
_WAIT_SECONDS = 10.0

KEPT_STORAGE = {
    "storage": {
        "custom": {
            "module": "orchestration.event_store",
            "class": "KeptSqliteStorage",
            "config": {"base_dir": {"env": "DAGSTER_HOME"}},
        }
    }
}
TEMPLATE = PROJECT_DIR / ".dagster_home" / "dagster.yaml"


def prepare_home(settings: Settings) -> Path:
    """Create `DAGSTER_HOME` and set the variable; an existing `dagster.yaml` is kept."""
    home = settings.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    config = home / "dagster.yaml"
    # An interrupted copy leaves an empty file.
    if not config.exists() or not config.read_text(errors="replace").strip():
        write_durably(config, TEMPLATE.read_text())
    os.environ["DAGSTER_HOME"] = str(home)
    return home


@contextmanager
def open_instance(settings: Settings, *, held: bool = False) -> Iterator[dg.DagsterInstance]:
    """The instance that the UI shows, so that a headless refresh is visible there too.

    `held`: Dagster's SQLite files stay open, for a process in which one thread runs a job. The
    daemon, whose threads write at the same time, and the UI use Dagster's own class.
    """
    home = prepare_home(settings)
    set_aside_damaged(home)
    configured = yaml.safe_load((home / "dagster.yaml").read_text()) or {}
    is_sqlite = configured.keys().isdisjoint({"storage", "event_log_storage"})
    overrides = KEPT_STORAGE if held and is_sqlite else None
    ref = InstanceRef.from_dir(str(home), overrides=overrides)
    with dg.DagsterInstance.from_ref(ref) as instance:
        yield instance


def set_aside_damaged(home: Path) -> list[Path]:
    """Set aside files of Dagster that SQLite cannot read; returns their new paths.

    After a power cut, or a copy taken while it ran, nights must go on: only the run history is
    lost.
    """
    kept = []
    for name in DATABASES:
        path = home / name
        if path.exists() and (damage := _damage(path)):
            kept.append(set_aside(path))
            log.error(
                "%s is damaged (%s): kept as %s, a new one is started", path, damage, kept[-1].name
            )
    return kept


def _damage(path: Path) -> str:
    if not path.is_file():
        return "not a file"
    try:
        with closing(sqlite3.connect(path, timeout=_WAIT_SECONDS)) as found:
            found.execute("select count(*) from sqlite_master").fetchone()
            if path.stat().st_size < _QUICK_CHECK_BYTES:
                result = str(found.execute("pragma quick_check(1)").fetchone()[0])
                return "" if result == "ok" else result.splitlines()[0]
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return str(error) if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT) else ""
    return ""


# ---- ctwa dev ---------------------------------------------------------------------------------

log = logging.getLogger("ctwa.dev")

_UNASKED = "ignore:Function `dev_command` is superseded"
"""To use `dg dev`, which no installation has: it is a tool for those who write code locations."""
_GRACE_SECONDS = 20.0
_POLL_SECONDS = 0.3
_PR_SET_PDEATHSIG = 1


@dataclass
class _Child:
    name: str
    process: subprocess.Popen[bytes]
    stop: signal.Signals


LOCAL = "127.0.0.1"


def dev(
    settings: Settings,
    host: str = LOCAL,
    port: int = 8080,
    ui_port: int = 3000,
    ui_host: str = LOCAL,
    with_live: bool = True,
) -> int:
    """Run UI (`ui_port`), daemon, receiver (`port`) and `ctwa live` until told to stop; returns an
    exit code.

    `host` is the receiver's. The UI has no login, so it stays on this machine unless `ui_host` says
    otherwise: then put a proxy with a login in front of it.
    """
    export_environment(settings)
    prepare_home(settings)
    os.environ["DAGSTER_DISABLE_TELEMETRY"] = "yes"
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda n, _: asked.append(n))
    children = [
        _start("receiver", _receiver(host, port), signal.SIGTERM),
        _start("dagster", _dagster(ui_host, ui_port), signal.SIGINT),
    ]
    if with_live and not takes_envelopes(settings):
        children.append(_start("live", _live(), signal.SIGTERM))
    if ui_host not in (LOCAL, "localhost", "::1"):
        log.warning("the UI on %s has no login: anyone who can reach it can do anything", ui_host)
    log.info(
        "UI http://%s:%d, receiver http://%s:%d; Ctrl-C stops all", ui_host, ui_port, host, port
    )
    try:
        while not asked and all(c.process.poll() is None for c in children):
            time.sleep(_POLL_SECONDS)
        ended = [c for c in children if c.process.poll() is not None]
        for child in ended:
            log.error("%s ended unexpectedly with code %d", child.name, child.process.returncode)
        return (ended[0].process.returncode or 1) if ended and not asked else 0
    finally:
        _stop(children)


def _receiver(host: str, port: int) -> list[str]:
    return [sys.executable, "-m", "commands.cli", "serve", "--host", host, "--port", str(port)]


def _live() -> list[str]:
    return [sys.executable, "-m", "commands.cli", "live"]


def _dagster(host: str, port: int) -> list[str]:
    """Reap dead runs, then run `dagster dev`: one code server for both UI and daemon."""
    workspace = str(PROJECT_DIR / "workspace.yaml")
    return [
        *(sys.executable, "-m", "orchestration.reaper"),
        *(sys.executable, "-W", _UNASKED, "-m", "dagster", "dev", "-w", workspace),
        *("--host", host, "--port", str(port)),
    ]


def _start(name: str, command: Sequence[str], stop: signal.Signals) -> _Child:
    process = subprocess.Popen(
        command,
        cwd=PROJECT_DIR,
        # A separate group: Ctrl-C on the terminal reaches only us, and we pass it on in order.
        start_new_session=True,
        preexec_fn=_end_with_parent(stop),
    )
    return _Child(name, process, stop)


def _end_with_parent(stop: signal.Signals) -> Callable[[], None] | None:
    """Ask the kernel to stop the child even if we are killed (Linux)."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, int(stop))


def _stop(children: Sequence[_Child]) -> None:
    """Ask each to end, wait, then kill what is left of their groups."""
    for child in children:
        if child.process.poll() is None:
            child.process.send_signal(child.stop)
    deadline = time.monotonic() + _GRACE_SECONDS
    for child in children:
        try:
            child.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.warning("%s does not end; killing it", child.name)
        try:
            os.killpg(child.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        child.process.wait()
