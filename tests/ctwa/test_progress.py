"""What a waiting person sees of long work: on a terminal, and in a log."""

from __future__ import annotations

import io
import logging
import os
import pty
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from ctwa.progress import doing, shown

# Standard error becomes a pipe in between, as in each of Dagster's steps.
PIPED = """
import logging, os, sys
from ctwa.progress import doing, shown
logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
with shown("preparing", print):
    terminal = os.dup(2)
    reader, writer = os.pipe()
    os.dup2(writer, 2)
    doing("building 7 of [9]")
    logging.info("a line of the log")
    logging.getLogger().handlers[0].flush()
    import time
    for _ in range(100):
        time.sleep(0.1)
        if os.path.exists(sys.argv[1]):
            break
    os.dup2(terminal, 2)
"""


def _quiet() -> Console:
    return Console(file=io.StringIO())


def test_a_log_gets_the_first_line_soon_and_one_after_each_silence() -> None:
    said: list[str] = []
    came = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        if "building 2 of 3" in text:
            came.set()

    with shown("preparing", say, console=_quiet(), quiet_seconds=0.05):
        deadline = time.monotonic() + 30
        while not said and time.monotonic() < deadline:
            time.sleep(0.01)
        doing("building 2 of 3")
        assert came.wait(30)
    before = len(said)
    doing("nobody watches any more")

    assert said[0] == "preparing"
    assert any(text.startswith("building 2 of 3 (") for text in said)
    assert len(said) == before


def test_lines_that_are_logged_and_seen_make_up_for_it() -> None:
    said: list[str] = []
    log = logging.getLogger("ctwa.test_progress")
    root = logging.getLogger()
    seen = logging.StreamHandler(io.StringIO())
    root.addHandler(seen)
    try:
        with shown("preparing", said.append, console=_quiet(), quiet_seconds=1.5):
            for _ in range(30):
                log.error("a step is done")
                threading.Event().wait(0.1)
    finally:
        root.removeHandler(seen)

    assert said == ["preparing"]


def test_inside_another_only_the_text_changes() -> None:
    said: list[str] = []
    with (
        shown("the demo", said.append, console=_quiet(), quiet_seconds=0.05),
        shown("a refresh", lambda _: said.append("a second display"), console=_quiet()),
    ):
        deadline = time.monotonic() + 30
        while len(said) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert said[0] == "a refresh"
    assert said[1].startswith("a refresh (")
    assert "a second display" not in said


def test_what_is_done_at_once_says_nothing() -> None:
    said: list[str] = []
    with shown("preparing", said.append, console=_quiet()):
        pass
    assert said == []


def test_a_terminal_gets_one_moving_line_although_steps_redirect_theirs(tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    terminal, child_end = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", PIPED, str(stop)],
        stdin=child_end, stdout=subprocess.DEVNULL, stderr=child_end,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    ) as run:  # fmt: skip
        os.close(child_end)
        found = b""
        with suppress(OSError):  # the other end is closed
            while chunk := os.read(terminal, 4096):
                found += chunk
                if found.count(b"building 7 of [9]") > 3:
                    stop.touch()
        code = run.wait(30)
    os.close(terminal)

    assert code == 0
    assert b"preparing" in found
    assert found.count(b"building 7 of [9]") > 3, "it does not move"
    assert b"a line of the log\r\n" in found
