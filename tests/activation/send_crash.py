"""A sending that is killed with SIGKILL, wherever it is; run in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet  # noqa: F401 - loaded once, before the forks

from activation.conversions import Patience, send_conversions
from activation.conversions_api import EventsApi
from activation.conversions_ledger import ConversionsLedger
from activation.delivery import Delivered, Delivery, Planned
from ctwa.settings import load_settings

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


def send_and_die(
    values: dict[str, Any], at: datetime, moment: int, *, late: bool, is_bad: bool = False
) -> bool:
    """One run in another process, killed at its `moment`-th call; whether it came so far.

    `late`: counted from when all is planned and sending begins. `is_bad`: it notes nothing before
    a request.
    """
    return _run(values, at, moment, late, Path(os.devnull), is_bad) == -signal.SIGKILL


def calls_of_a_run(values: dict[str, Any], at: datetime, report: Path, *, late: bool) -> int:
    """How many calls (and returns) a whole run has: moments at which it can be killed."""
    assert _run(values, at, 0, late, report) == 0
    return int(report.read_text())


def _run(
    values: dict[str, Any],
    at: datetime,
    moment: int,
    late: bool,
    report: Path,
    is_bad: bool = False,
) -> int | None:
    child = _CONTEXT.Process(target=_send, args=(values, at, moment, late, str(report), is_bad))
    child.start()
    child.join()  # the test's own timeout ends one that hangs
    code = child.exitcode
    assert code in (0, -signal.SIGKILL), code
    return code


def _send(
    values: dict[str, Any], at: datetime, moment: int, late: bool, report: str, is_bad: bool
) -> None:
    calls = 0
    if is_bad:
        ConversionsLedger.start = lambda *_: None  # type: ignore[method-assign]

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    real = Delivery.run

    def run(self: Delivery, planned: Sequence[Planned]) -> Delivered:
        sys.setprofile(count)
        return real(self, planned)

    settings = load_settings(_env_file=None, **values)
    api = EventsApi.from_settings(settings, answer_seconds=20.0)
    if late:
        Delivery.run = run  # type: ignore[method-assign]
    else:
        sys.setprofile(count)
    send_conversions(
        settings,
        now=lambda: at,
        sleep=lambda _: None,
        patience=Patience(total=1e9),
        api=api,
    )
    sys.setprofile(None)
    Path(report).write_text(str(calls))
