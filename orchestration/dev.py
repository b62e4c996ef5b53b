"""`ctwa dev`: Dagster's UI and daemon and the receiver, as children of one process.

They are ended together, by Ctrl-C, TERM, or when one of them ends.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ctwa.settings import PROJECT_DIR, Settings, export_environment
from orchestration.instance import prepare_home

log = logging.getLogger("ctwa.dev")

_GRACE_SECONDS = 20.0
_POLL_SECONDS = 0.3
_PR_SET_PDEATHSIG = 1


@dataclass
class _Child:
    name: str
    process: subprocess.Popen[bytes]
    stop: signal.Signals


def dev(settings: Settings, host: str = "127.0.0.1", port: int = 8080, ui_port: int = 3000) -> int:
    """Run UI (`ui_port`), daemon and receiver (`port`) until told to stop; an exit code.

    The UI has no login: bind it to this machine, or put a proxy that asks in front.
    """
    export_environment(settings)
    prepare_home(settings)
    os.environ["DAGSTER_DISABLE_TELEMETRY"] = "yes"
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda n, _: asked.append(n))
    children = [
        _start("receiver", _receiver(host, port), signal.SIGTERM),
        _start("dagster", _dagster(host, ui_port), signal.SIGINT),
    ]
    log.info("UI http://%s:%d, receiver http://%s:%d; Ctrl-C ends both", host, ui_port, host, port)
    try:
        while not asked and all(c.process.poll() is None for c in children):
            time.sleep(_POLL_SECONDS)
        ended = [c for c in children if c.process.poll() is not None]
        for child in ended:
            log.error("%s ended by itself with code %d", child.name, child.process.returncode)
        return (ended[0].process.returncode or 1) if ended and not asked else 0
    finally:
        _stop(children)


def _receiver(host: str, port: int) -> list[str]:
    return [sys.executable, "-m", "ctwa.cli", "serve", "--host", host, "--port", str(port)]


def _dagster(host: str, port: int) -> list[str]:
    """Reap dead runs, then `dagster dev`: one code server for both UI and daemon."""
    workspace = str(PROJECT_DIR / "workspace.yaml")
    return [
        *(sys.executable, "-m", "orchestration.reaper"),
        *(sys.executable, "-m", "dagster", "dev", "-w", workspace),
        *("--host", host, "--port", str(port)),
    ]


def _start(name: str, command: Sequence[str], stop: signal.Signals) -> _Child:
    process = subprocess.Popen(
        command,
        cwd=PROJECT_DIR,
        # A group of its own: Ctrl-C on the terminal reaches us alone, we pass it on in order.
        start_new_session=True,
        preexec_fn=_end_with_parent(stop),
    )
    return _Child(name, process, stop)


def _end_with_parent(stop: signal.Signals) -> Callable[[], None] | None:
    """Ask the kernel to stop the child also when we are killed (Linux)."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, int(stop))


def _stop(children: Sequence[_Child]) -> None:
    """Ask each to end, wait, then end what is left of their groups."""
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
