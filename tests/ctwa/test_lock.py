"""The lock: one refresh at a time, freed only when the last process of the run has ended."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from ctwa.lock import RefreshBusyError, refresh_lock, someone_waits

HOLD = """
import subprocess, sys, time
from pathlib import Path
from ctwa.lock import refresh_lock
with refresh_lock(Path(sys.argv[1])):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3)"], close_fds=False)
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_told_who_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "refresh.lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(RefreshBusyError, match=f"process {holder.pid}"), refresh_lock(path):
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    # The orphan inherited the lock: a new run may not start beside it.
    with pytest.raises(RefreshBusyError), refresh_lock(path):
        pass
    started = time.monotonic()
    with refresh_lock(path, wait_seconds=30):
        assert time.monotonic() - started < 20


BRIEF = """
import sys, time
from pathlib import Path
from ctwa.lock import refresh_lock, someone_waits
path = Path(sys.argv[1])
with refresh_lock(path, briefly=True):
    print("held", flush=True)
    deadline = time.monotonic() + 30
    while not someone_waits(path) and time.monotonic() < deadline:
        time.sleep(0.02)
    print("waited for" if someone_waits(path) else "not waited for", flush=True)
    time.sleep(1)
"""


def test_a_lock_held_briefly_is_waited_for_and_its_holder_sees_it(tmp_path: Path) -> None:
    path = tmp_path / "refresh.lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", BRIEF, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with refresh_lock(path):
        assert holder.stdout.readline() == "waited for\n"
    assert not someone_waits(path)
    holder.wait()
    holder.stdout.close()


def test_the_lock_is_reentrant_within_a_process(tmp_path: Path) -> None:
    path = tmp_path / "refresh.lock"
    with refresh_lock(path):
        with refresh_lock(path):
            pass
        check = subprocess.run(
            [sys.executable, "-c", HOLD, str(path)], capture_output=True, text=True, timeout=60
        )
        assert "RefreshBusyError" in check.stderr
    with refresh_lock(path):
        pass
