"""What a headless refresh says: a line per step, a moving line on a terminal, no debug flood."""

from __future__ import annotations

import io
import logging
import re
from typing import Any

import dagster as dg
from rich.console import Console
from rich.status import Status

log = logging.getLogger("ctwa.refresh")

_DBT_LINE = re.compile(r"(\d+) of (\d+) (\w+) (.*?) ?\.{2,}|(\d+) of (\d+) (\w+) (.*)")
_BAD = {"FAIL", "WARN", "ERROR"}


class Progress(io.TextIOBase):
    """Standard output of the run: dbt's lines become progress, bad ones a log line."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._status: Status | None = None
        self._rest = ""

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._status = self._console.status("starting")
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status:
            self._status.stop()

    def say(self, text: str) -> None:
        """Show what is being done; on a terminal only."""
        if self._status:
            self._status.update(text)

    def writable(self) -> bool:
        """It is a stream to write to."""
        return True

    def write(self, text: str) -> int:
        """Take dbt's lines; a test that fails or warns is worth a line in every log."""
        lines = (self._rest + text).split("\n")
        self._rest = lines.pop()
        for line in lines:
            match = _DBT_LINE.search(line)
            if match is None:
                continue
            number, total, word, what = (g for g in match.groups() if g is not None)
            if word in _BAD:
                log.warning("dbt: %s %s", word, what.strip())
            self.say(f"dbt {number}/{total} {what.strip()}")
        return len(text)


def plain_console(progress: Progress) -> dg.LoggerDefinition:
    """A console logger for a run: steps begin and end, warnings; nothing else."""

    @dg.logger(None, description="One plain line per step.")
    def console(_: dg.InitLoggerContext) -> logging.Logger:
        logger = logging.Logger("ctwa.run", logging.DEBUG)
        logger.addHandler(_Lines(progress))
        return logger

    return console


class _Lines(logging.Handler):
    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        """Translate Dagster's events; pass on what assets say as warnings or errors."""
        meta: dict[str, Any] = getattr(record, "dagster_meta", {})
        event = meta.get("dagster_event")
        if event is None:
            if record.levelno >= logging.WARNING:
                log.log(record.levelno, "%s", meta.get("orig_message", record.getMessage()))
            return
        if event.event_type == dg.DagsterEventType.STEP_START:
            self._progress.say(event.step_key)
        elif event.event_type == dg.DagsterEventType.STEP_SUCCESS:
            seconds = event.event_specific_data.duration_ms / 1000
            if "." not in event.step_key and seconds >= 0.05:
                log.info("%s: %.1f s", event.step_key, seconds)
        elif event.event_type == dg.DagsterEventType.STEP_UP_FOR_RETRY:
            log.warning("%s: will be tried again", event.step_key)
