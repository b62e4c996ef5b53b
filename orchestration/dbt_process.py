"""`ctwa-dbt`: the dbt executable that Dagster starts.

dbt's own command, with three things that a refresh needs:

- `--version` answers from the installed metadata. dbt's own answer costs four CPU seconds and
  asks the package index; dagster-dbt asks it before each invocation.
- It does not outlive the process that started it. Killed with `kill -9`, a run cannot stop its
  child, and a dbt that goes on writing under the next refresh is how a warehouse gets two writers.
- It holds a lock of its own while it lives (`CTWA_DBT_LOCK`): the refresh lock is free a moment
  before the kernel has ended the orphan, and this one is not.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import importlib.metadata
import os
import signal
import sys
import threading
import time
from pathlib import Path

LOCK_VARIABLE = "CTWA_DBT_LOCK"
ORPHAN_WAIT_SECONDS = 60
EXIT_BUSY = 75

_PR_SET_PDEATHSIG = 1
_WATCH_SECONDS = 0.5


def main() -> None:
    """Entry point of the console script; the arguments are dbt's."""
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(version_text())
        return
    parent = os.getppid()
    die_with_parent(parent)
    if not _hold_lock(os.environ.get(LOCK_VARIABLE)):
        sys.stderr.write("another dbt is still writing to this warehouse; run the refresh again\n")
        sys.exit(EXIT_BUSY)

    # dbt keeps hundreds of thousands of objects for its whole life; by default Python looks
    # through all of them again and again, for a tenth of a build's time or more.
    gc.set_threshold(20_000, 20, 100)
    from dbt.cli.main import cli

    cli()


def version_text() -> str:
    """What `dbt --version` says, in the part that dagster-dbt reads: the core version."""
    lines = ["Core:", f"  - installed: {importlib.metadata.version('dbt-core')}", "", "Plugins:"]
    lines.append(f"  - duckdb: {importlib.metadata.version('dbt-duckdb')}")
    return "\n".join(lines) + "\n"


def die_with_parent(parent: int) -> None:
    """End this process, at once and without clean-up, as soon as `parent` has ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # Also covers other systems, and a parent that ended before the call above.
    threading.Thread(target=_watch, args=(parent,), name="parent-watch", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os._exit(1)


def _hold_lock(path: str | None) -> bool:
    """Take the lock for the life of this process; the descriptor is left open on purpose."""
    if not path:
        return True
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    deadline = time.monotonic() + ORPHAN_WAIT_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.1)
        else:
            return True


if __name__ == "__main__":
    main()
