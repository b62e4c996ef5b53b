"""The receiver as a process of its own, to be killed: `python -m ... <data dir> <vault URL> <port>
[--early]`.

`--early` is the known-bad variant: it answers as soon as a body is queued, before the commit.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ctwa.settings import PROJECT_DIR, Settings, load_settings
from tests.ingestion.webhook.clients import APP_SECRET, INTAKE_SECRET, VERIFY_TOKEN

KEY = "00112233445566778899aabbccddeeff" * 2


def settings_for(data_dir: Path | str, vault_url: str = "") -> Settings:
    """The settings of the process."""
    return load_settings(
        _env_file=None,
        data_dir=data_dir,
        vault_url=vault_url,
        pii_key=KEY,
        meta_app_secret=APP_SECRET,
        meta_verify_token=VERIFY_TOKEN,
        intake_secret=INTAKE_SECRET,
    )


class Receiver(NamedTuple):
    """A running receiver."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path


@contextmanager
def receiver(
    data_dir: Path, *, early: bool = False, vault_url: str = "", port: int = 0
) -> Iterator[Receiver]:
    """Start one, wait until it listens, and make sure it has ended."""
    log = data_dir.parent / f"{data_dir.name}.log"
    arguments = [str(data_dir), vault_url, str(port), *(["--early"] if early else [])]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, *arguments],
            cwd=PROJECT_DIR,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 120
        while not (found := re.search(r"listens on (\S+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        yield Receiver(process, found[1], log)
    finally:
        process.kill()
        process.wait()


def _answer_early() -> None:
    from ingestion.vault.vault import NewEnvelope
    from ingestion.webhook.committer import GroupCommitter

    honest = GroupCommitter.submit

    def submit(self: GroupCommitter, item: NewEnvelope) -> asyncio.Future[bool]:
        honest(self, item)
        lie: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        lie.set_result(True)
        return lie

    GroupCommitter.submit = submit  # type: ignore[method-assign]


if __name__ == "__main__":
    from ingestion.webhook.server import serve

    if "--early" in sys.argv:
        _answer_early()
    serve(settings_for(sys.argv[1], sys.argv[2]), "127.0.0.1", int(sys.argv[3]))
