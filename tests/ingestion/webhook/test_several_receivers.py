"""Two receivers over one PostgreSQL behind the shipped proxies, each killed in turn under load."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import orjson
import pytest

from ctwa.settings import PROJECT_DIR
from ingestion.vault import open_vault
from tests.ingestion.webhook.clients import get, post_whatsapp
from tests.ingestion.webhook.receiver_process import receiver
from tests.ingestion.webhook.test_durability import Load

PROXIES = ("nginx", pytest.param("caddy", marks=pytest.mark.deep))
BATCH = 80


def nginx(folder: Path, port: int, receivers: list[str]) -> list[str]:
    """The command of the shipped nginx.conf, without TLS and with these receivers."""
    text = (PROJECT_DIR / "deploy/nginx.conf").read_text()
    lines = "\n".join(f"server {one} fail_timeout=1s;" for one in receivers)
    text, changed = re.subn(r"    server 127\.0\.0\.1:8080;", lines, text)
    assert changed == 1
    text = re.sub(r"listen 443 ssl;", f"listen 127.0.0.1:{port};", text)
    text = re.sub(r"^ *(listen \[::\]|ssl_).*\n", "", text, flags=re.MULTILINE)
    text = text.replace("/var/log/nginx", str(folder))
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    who = "user root;" if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(
        f"{who} daemon off; pid {folder}/pid; error_log {folder}/start.log;\n"
        f"events {{}}\nhttp {{ {places}\n{text} }}\n"
    )
    return ["nginx", "-c", str(config), "-e", str(folder / "start.log")]


def caddy(folder: Path, port: int, receivers: list[str]) -> list[str]:
    """The command of the shipped Caddyfile, without TLS and with these receivers."""
    text = (PROJECT_DIR / "deploy/Caddyfile").read_text()
    text, changed = re.subn(
        r"reverse_proxy 127\.0\.0\.1:8080", f"reverse_proxy {' '.join(receivers)}", text
    )
    assert changed == 2
    text = text.replace("fail_duration 10s", "fail_duration 1s")
    text = text.replace("webhooks.example.com {", f"http://127.0.0.1:{port} {{")
    text = text.replace("{\n\tservers {", "{\n\tadmin off\n\tservers {", 1)
    config = folder / "Caddyfile"
    config.write_text(text)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(config)]


@contextmanager
def proxy(name: str, folder: Path, receivers: list[str]) -> Iterator[str]:
    """Its URL; it passes on what the shipped file lets through."""
    folder.mkdir()
    port = free_port()
    command = {"nginx": nginx, "caddy": caddy}[name](folder, port, receivers)
    environment = {**os.environ, "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    log = folder / "out.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: process.poll() is not None or answers(url))
        assert process.poll() is None, log.read_text()
        yield url
    finally:
        process.terminate()
        process.wait(30)


def free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def answers(url: str) -> bool:
    try:
        get(url, "/elsewhere")
    except OSError:
        return False
    return True


def until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Follower:
    """Reads the vault by `seq` all the while, as landing does from night to night."""

    def __init__(self, url: str) -> None:
        self.seen: list[tuple[int, bytes]] = []
        self._url, self._stop = url, threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with closing(open_vault(self._url)) as vault:
            is_last = False
            while not is_last:
                is_last = self._stop.is_set()
                for batch in vault.read_batches(self.seen[-1][0] if self.seen else 0):
                    columns = (batch.column(name).to_pylist() for name in ("seq", "body"))
                    self.seen += zip(*columns, strict=True)


def stored(url: str) -> list[tuple[int, bytes]]:
    with closing(open_vault(url)) as vault:
        batches = list(vault.read_batches(0))
    return [
        row
        for b in batches
        for row in zip(b.column("seq").to_pylist(), b.column("body").to_pylist(), strict=True)
    ]


def killed_in_turn(
    name: str, folder: Path, vault_url: str, *, early: bool
) -> tuple[int, int, list[int]]:
    """How many were acknowledged, and how many of those are missing; clients whose envelopes are
    not in the order in which they sent them. What the follower saw is compared here."""
    ports = [free_port(), free_port()]
    with ExitStack() as stack:

        def start(place: int, life: int) -> subprocess.Popen[bytes]:
            data = folder / f"receiver{place}-{life}"
            one = receiver(data, early=early, vault_url=vault_url, port=ports[place])
            return stack.enter_context(one).process

        lives = [start(0, 0), start(1, 0)]
        url = stack.enter_context(proxy(name, folder / name, [f"127.0.0.1:{p}" for p in ports]))
        assert post_whatsapp(url).status == 200
        assert get(url, "/metrics").status == 404
        follower, load = Follower(vault_url), Load(url, clients=4)
        try:
            for place in (0, 1):
                until_more(load, BATCH)
                lives[place].kill()
                lives[place].wait()
                until_more(load, BATCH)  # by the other one
                if place == 0:
                    lives[0] = start(0, 1)
                    # Well again for the proxy, too, before the other one is killed.
                    until(lambda: rows_of(f"http://127.0.0.1:{ports[0]}") > 0)
        finally:
            load.end()
            follower.end()
    rows = stored(vault_url)
    assert follower.seen == rows
    seqs = {body: seq for seq, body in rows}
    kept = [body for body in load.acknowledged if body in seqs]
    numbers: dict[int, list[int]] = {}
    for body in kept:  # each client sent each after the answer to the one before
        numbers.setdefault(orjson.loads(body)["client"], []).append(seqs[body])
    disordered = [client for client, own in numbers.items() if own != sorted(own)]
    return len(load.acknowledged), len(set(load.acknowledged) - set(seqs)), disordered


def until_more(load: Load, number: int) -> None:
    goal = len(load.acknowledged) + number
    until(lambda: len(load.acknowledged) >= goal)


def rows_of(url: str) -> float:
    """How many envelopes this receiver has stored."""
    text = get(url, "/metrics").body.decode()
    return sum(float(n) for n in re.findall(r"^ctwa_vault_commit_rows_sum (\S+)", text, re.M))


def installed(name: str) -> str:
    if shutil.which(name) is None:
        pytest.skip(f"needs {name} (Debian's package)")
    return name


@pytest.mark.parametrize("name", PROXIES)
def test_nothing_acknowledged_is_lost_whichever_receiver_dies(
    name: str, tmp_path: Path, postgres_url: str
) -> None:
    found = killed_in_turn(installed(name), tmp_path, postgres_url, early=False)
    assert found[0] >= 4 * BATCH
    assert found[1:] == (0, [])


@pytest.mark.deep
def test_known_bad_answers_before_the_commit_are_lost_or_out_of_order(
    tmp_path: Path, postgres_url: str
) -> None:
    name = installed("nginx")
    for attempt in range(10):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        _, missing, disordered = killed_in_turn(name, folder, postgres_url, early=True)
        if missing or disordered:
            return
    pytest.fail("ten rounds of receivers that answer early did no harm: the test is blind")
