"""A landing that is killed with SIGKILL at a named point; run in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any, NoReturn

from ctwa.settings import Settings, load_settings
from ingestion.event_log import source as event_log
from ingestion.lake import lake
from ingestion.lake.commit import Commit
from ingestion.lake.lake import Lake
from ingestion.parser import Parser
from ingestion.vault.vault import Vault

POINTS = [
    "after parse",
    "during load",
    "load before record",
    "load after record",
    "between loads",
    "compact while writing",
    "compact before record",
    "compact after record",
    "compact while pruning",
    "reparse while writing",
    "reparse before record",
    "reparse after record",
]

# Forked from a server that has the imports done: a tenth of a second instead of seconds.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


def land_and_die(settings: Settings, key: str, point: str) -> None:
    """Land in another process, which must have been killed at the point."""
    child = _CONTEXT.Process(target=_land, args=(str(settings.data_dir), key, point))
    child.start()
    child.join(120)
    assert child.exitcode == -signal.SIGKILL, f"{point}: ended with {child.exitcode}"


def _die(*_args: Any, **_kwargs: Any) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def _die_after(owner: Any, name: str, nth: int = 1) -> None:
    real, calls = getattr(owner, name), [0]

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = real(*args, **kwargs)
        calls[0] += 1
        if calls[0] == nth:
            _die()
        return result

    setattr(owner, name, wrapped)


def _land(data_dir: str, key: str, point: str) -> None:
    subject, _, moment = point.partition(" ")
    if point == "after parse":
        _die_after(Parser, "parse")
    elif point == "during load":
        _die_after(Commit, "add", 2)
    elif point == "between loads":
        event_log.LOAD_ENVELOPES = 1
        read: Any = Vault.read_batches
        Vault.read_batches = lambda s, n, **k: read(s, n, batch_rows=9, **k)  # type: ignore[method-assign]
        _die_after(Lake, "load", 2)
    elif moment == "while writing":
        _die_after(Commit, "write", 2)
    elif moment == "before record":
        Commit._publish = _die  # type: ignore[method-assign]
    elif moment == "after record":
        _die_after(Commit, "_publish")
    elif moment == "while pruning":
        lake.prune_records = _die
    if subject == "compact":
        compact: Any = Lake.compact
        Lake.compact = lambda s, d, t: compact(s, d, t, max_small_files=0)  # type: ignore[method-assign]
    settings = load_settings(_env_file=None, data_dir=Path(data_dir), pii_key=key)
    event_log.land_event_log(settings, reparse=subject == "reparse")
