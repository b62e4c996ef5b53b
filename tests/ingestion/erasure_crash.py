"""An erasure that is killed with SIGKILL at a named point; run in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any, NoReturn

from ctwa.settings import Settings, load_settings
from ingestion.identity.erased import Ledger
from ingestion.lake.commit import Commit
from ingestion.lake.lake import Lake
from ingestion.vault.sqlite import SqliteVault
from keeping.erasure import steps
from keeping.erasure.forget import forget_person
from tests.support.erasure import ANA

POINTS = [
    "after landing",
    "after the ledger says pending",
    "after the bodies are noted",
    "after what went out names nobody",
    "after the bodies are emptied",
    "while rewriting",
    "before the record",
    "after the record",
    "after the warehouse is removed",
]

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


def forget_and_die(settings: Settings, key: str, point: str) -> None:
    """Forget Ana in another process, which must have been killed at the point."""
    arguments = (str(settings.data_dir), settings.vault_url, key, point)
    child = _CONTEXT.Process(target=_forget, args=arguments)
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


def _forget(data_dir: str, vault_url: str, key: str, point: str) -> None:
    owner, name, nth = {
        "after landing": (Lake, "load", 1),
        "after the ledger says pending": (Ledger, "put", 1),
        "after the bodies are noted": (Ledger, "put", 2),
        "after what went out names nobody": (steps, "erase_sent", 1),
        "after the bodies are emptied": (SqliteVault, "erase_bodies", 1),
        "while rewriting": (Commit, "write", 2),
        "before the record": (Commit, "_publish", 0),
        "after the record": (Commit, "_publish", 1),
        "after the warehouse is removed": (steps, "remove_warehouse", 1),
    }[point]
    if nth:
        _die_after(owner, name, nth)
    else:
        setattr(owner, name, _die)
    settings = load_settings(
        _env_file=None, data_dir=Path(data_dir), vault_url=vault_url, pii_key=key
    )
    forget_person(settings, phone=ANA)
