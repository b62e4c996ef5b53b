"""What a long command is doing, for whoever waits for it: a moving line on a terminal, plain lines
elsewhere.

An entry point opens `shown`; whatever runs below it says what it is at with `doing`, which costs
nothing where nobody watches.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.file_proxy import FileProxy
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

QUIET_SECONDS = 10.0
"""Off a terminal, a line comes after this long without any other."""
_FIRST_SECONDS = 1.0
"""The first one comes then: a command that has ended by then says nothing but its result."""


class _Display(Protocol):
    def change(self, text: str) -> None: ...


_display: _Display | None = None
_text = ""
"""What is shown."""


def doing(text: str) -> None:
    """Say what is being done from now on; does nothing where no command shows it."""
    global _text
    if _display is not None:
        _text = text
        _display.change(text)


@contextmanager
def and_then_as_before() -> Iterator[None]:
    """After what `doing` says within, such as for whom it waits, what was shown before it."""
    before = _text
    try:
        yield
    finally:
        doing(before)


@contextmanager
def shown(
    text: str,
    say: Callable[[str], None],
    *,
    console: Console | None = None,
    quiet_seconds: float = QUIET_SECONDS,
) -> Iterator[None]:
    """While it lasts, show `text` and later what `doing` says.

    On a terminal (`console`, by default standard error) that is one moving line with the time since
    the beginning. Elsewhere `say` gets `text` after a second, and after each `quiet_seconds` in
    which nothing was logged, what is being done and for how long the command has been running.
    Inside another `shown`, only the text changes.
    """
    global _display, _text
    if _display is not None:
        doing(text)
        yield
        return
    console = console or Console(stderr=True)
    display = _Moving(console) if console.is_terminal else _Lines(say, quiet_seconds)
    _display, _text = display, text
    try:
        with display.open(text):
            yield
    finally:
        _display = None


class _Moving:
    """A line that is always the last on the terminal; log lines come above it."""

    def __init__(self, console: Console) -> None:
        self._file = _descriptor_of_its_own(console)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=Console(file=self._file, force_terminal=True, width=console.width),
            transient=True,
            # Standard output is the run's own: dbt's lines are read there.
            redirect_stdout=False,
        )
        self._task = self._progress.add_task("")

    @contextmanager
    def open(self, text: str) -> Iterator[None]:
        self.change(text)
        with self._logs_above(), self._progress:
            yield

    @contextmanager
    def _logs_above(self) -> Iterator[None]:
        logs = [
            handler
            for handler in logging.getLogger().handlers
            if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr
        ]
        proxy: Any = FileProxy(self._progress.console, sys.stderr)
        streams = [(handler, handler.setStream(proxy)) for handler in logs]
        try:
            yield
        finally:
            for handler, stream in streams:
                handler.setStream(stream)

    def change(self, text: str) -> None:
        self._progress.update(self._task, description=escape(text))


def _descriptor_of_its_own(console: Console) -> Any:
    """The console's file once more: Dagster makes pipes of standard output and error for each step,
    and its files of what a step printed would be full of moving lines."""
    try:
        return os.fdopen(os.dup(console.file.fileno()), "w", encoding="utf-8")
    except (OSError, ValueError):
        return console.file


class _Lines:
    """A line soon after it begins, and whenever it has been quiet for long."""

    def __init__(self, say: Callable[[str], None], quiet_seconds: float) -> None:
        self._say, self._quiet = say, quiet_seconds
        self._text = ""
        self._last = self._began = time.monotonic()
        self._ended = threading.Event()

    @contextmanager
    def open(self, text: str) -> Iterator[None]:
        self._text = text
        heard = _Heard(self._mark)
        root = logging.getLogger()
        # What no handler writes, nobody has read.
        heard.setLevel(min((handler.level for handler in root.handlers), default=logging.WARNING))
        root.addHandler(heard)
        watch = threading.Thread(target=self._watch, name="progress", daemon=True)
        watch.start()
        try:
            yield
        finally:
            self._ended.set()
            root.removeHandler(heard)
            watch.join()

    def change(self, text: str) -> None:
        self._text = text

    def _mark(self) -> None:
        self._last = time.monotonic()

    def _watch(self) -> None:
        # What is done at once needs no line of its own.
        if self._ended.wait(min(_FIRST_SECONDS, self._quiet)):
            return
        self._last = time.monotonic()
        self._say(self._text)
        while not self._ended.wait(min(1.0, self._quiet / 4)):
            now = time.monotonic()
            if now - self._last >= self._quiet:
                self._last = now
                self._say(f"{self._text} ({now - self._began:.0f} s)")


class _Heard(logging.Handler):
    def __init__(self, mark: Callable[[], None]) -> None:
        super().__init__()
        self._mark = mark

    def emit(self, record: logging.LogRecord) -> None:
        self._mark()
