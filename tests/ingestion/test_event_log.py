"""Landing: vault to lake, exactly once whatever is killed, and nothing personal anywhere."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import dlt
import duckdb
import pytest

from ctwa.lock import RefreshBusyError, refresh_lock
from ctwa.settings import Settings, load_settings
from ingestion.event_log import source as event_log
from ingestion.event_log.adoption import VaultMismatchError, adopt_vault
from ingestion.event_log.source import land_event_log
from ingestion.lake import pipeline
from ingestion.lake.check import check
from ingestion.lake.commit import Commit
from ingestion.lake.lake import Lake, LakeDamagedError
from ingestion.parser.schema import EVENT_LOG, PARSER_VERSION
from ingestion.vault import open_vault
from ingestion.vault.vault import NewEnvelope, Vault
from keeping.backup import way_back
from tests.conftest import PII_KEY
from tests.ingestion.landing_crash import POINTS, land_and_die
from tests.ingestion.parser.payloads import RECEIVED, envelope, message, own_payloads, referral

RECEIVED_US = int(RECEIVED.timestamp() * 1_000_000)
CANARY_PHONE = "5541998877665"
CANARY_TEXT = "segredo-do-cliente"


def deliver(
    settings: Settings, *bodies: Any, source: str = "whatsapp", at: int = RECEIVED_US
) -> int:
    """Put bodies into the vault; its last `seq`."""
    raw = [b if isinstance(b, bytes) else json.dumps(b).encode() for b in bodies]
    vault = open_vault(settings.vault_url)
    try:
        vault.append([NewEnvelope(at, source, body) for body in raw])
        return vault.last_seq()
    finally:
        vault.close()


def some(first: int, count: int) -> list[dict[str, Any]]:
    return [envelope(message(n, referral=referral())) for n in range(first, first + count)]


def fingerprint(settings: Settings) -> dict[str, str]:
    """Hash of the sorted rows of every table."""
    lake = Lake.from_settings(settings)
    found = {}
    for name in EVENT_LOG:
        rows = lake.query("select * from {t} order by all", t=f"event_log/{name}").to_pylist()
        found[name] = f"{len(rows)} {hashlib.sha256(repr(rows).encode()).hexdigest()}"
    return found


def seqs(settings: Settings, table: str = "envelopes") -> list[int]:
    lake = Lake.from_settings(settings)
    return lake.query("select seq from {t} order by seq", t=f"event_log/{table}")["seq"].to_pylist()


def lake_files(settings: Settings) -> dict[str, int]:
    root = Path(settings.lake_url)
    return {str(p): p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()}


def test_everything_in_the_vault_lands_once(settings: Settings) -> None:
    deliver(settings, *own_payloads().values())
    deliver(settings, b"not json", *some(1, 3))
    counts = land_event_log(settings)

    total = len(own_payloads()) + 4
    assert (counts.envelopes, counts.first_seq, counts.last_seq) == (total, 1, total)
    assert seqs(settings) == list(range(1, total + 1))
    assert counts.messages == len(seqs(settings, "messages"))
    assert counts.tables["identity_links"] == len(seqs(settings, "identity_links"))
    assert counts.quarantined == 1


def test_nothing_new_is_fast_and_writes_no_file(settings: Settings) -> None:
    deliver(settings, *some(1, 3))
    land_event_log(settings)
    before = lake_files(settings)
    counts = land_event_log(settings)
    assert (counts.envelopes, counts.last_seq) == (0, 0)
    assert lake_files(settings) == before


def test_an_empty_vault_gives_a_readable_lake(settings: Settings) -> None:
    assert land_event_log(settings).envelopes == 0
    assert seqs(settings, "messages") == []


def test_any_split_into_runs_gives_the_same_rows(make_settings: Callable[..., Settings],
                                                 tmp_path: Path) -> None:  # fmt: skip
    bodies = [*own_payloads().values(), *[json.dumps(b).encode() for b in some(1, 5)]]
    prints = []
    for name, size in (("whole", len(bodies)), ("parts", 9)):
        settings = make_settings(data_dir=tmp_path / name)
        for start in range(0, len(bodies), size):
            deliver(settings, *bodies[start : start + size])
            land_event_log(settings)
        prints.append(fingerprint(settings))
    assert prints[0] == prints[1]


def test_two_processes_land_the_same_rows(
    make_settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prints = []
    for limit in (event_log.ONE_PROCESS, 0):
        monkeypatch.setattr(event_log, "ONE_PROCESS", limit)
        settings = make_settings(data_dir=tmp_path / str(limit))
        deliver(settings, b"not json", *own_payloads().values(), *some(1, 9))
        land_event_log(settings)
        deliver(settings, *some(7, 9))
        land_event_log(settings)
        prints.append(fingerprint(settings))
    assert prints[0] == prints[1]


def test_large_arrears_are_loaded_in_bounded_parts(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "LOAD_ENVELOPES", 10)
    vault_read = Vault.read_batches
    monkeypatch.setattr(
        Vault, "read_batches", lambda self, after, **k: vault_read(self, after, batch_rows=4, **k)
    )
    deliver(settings, *some(1, 30))
    counts = land_event_log(settings)
    assert counts.envelopes == 30
    assert seqs(settings) == list(range(1, 31))
    assert len(Lake.from_settings(settings).files("event_log", "envelopes")) == 3


def test_many_small_loads_are_compacted(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    compact = Lake.compact
    monkeypatch.setattr(Lake, "compact", lambda self, d, s: compact(self, d, s, max_small_files=3))
    for n in range(6):
        deliver(settings, *some(n * 2, 2))
        land_event_log(settings)
    assert len(Lake.from_settings(settings).files("event_log", "messages")) <= 4
    assert seqs(settings, "messages") == list(range(1, 13))


# ---- parsing again ---------------------------------------------------------------------------


def test_reparse_replaces_rows_and_keeps_those_of_purged_bodies(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(settings, *some(1, 3), at=RECEIVED_US - 10**12)
    deliver(settings, *some(4, 3))
    land_event_log(settings)
    before = fingerprint(settings)
    vault = open_vault(settings.vault_url)
    assert vault.purge_bodies(RECEIVED, 6) == 3
    vault.close()
    deliver(settings, *some(7, 2))

    monkeypatch.setattr("ingestion.parser.rows.PARSER_VERSION", PARSER_VERSION + 1)
    counts = land_event_log(settings, reparse=True)

    assert (counts.envelopes, counts.first_seq, counts.last_seq) == (5, 4, 8)
    rows = Lake.from_settings(settings).query(
        "select seq, parser_version from {t} order by seq", t="event_log/envelopes"
    )
    assert rows["parser_version"].to_pylist() == [PARSER_VERSION + (seq > 3) for seq in range(1, 9)]
    assert seqs(settings, "messages") == list(range(1, 9))
    assert before["messages"].split()[0] == "6"


def test_reparse_by_the_same_parser_changes_no_row(settings: Settings) -> None:
    deliver(settings, *own_payloads().values())
    land_event_log(settings)
    before = fingerprint(settings)
    land_event_log(settings, reparse=True)
    assert fingerprint(settings) == before
    land_event_log(settings)
    assert fingerprint(settings) == before


# ---- restored and foreign copies -------------------------------------------------------------


def test_a_lake_rolled_back_to_an_older_copy_loses_nothing(
    settings: Settings, tmp_path: Path
) -> None:
    lake = Path(settings.lake_url)
    deliver(settings, *some(1, 4))
    land_event_log(settings)
    shutil.copytree(lake, tmp_path / "old")
    deliver(settings, *some(5, 4))
    land_event_log(settings)
    whole = fingerprint(settings)

    shutil.rmtree(lake)
    shutil.copytree(tmp_path / "old", lake)
    land_event_log(settings)
    assert fingerprint(settings) == whole

    shutil.rmtree(lake)
    land_event_log(settings)
    assert fingerprint(settings) == whole


def test_an_older_vault_is_refused_with_the_mend(settings: Settings, tmp_path: Path) -> None:
    deliver(settings, *some(1, 2))
    vault = open_vault(settings.vault_url)
    vault.backup(tmp_path / "old.db")
    vault.close()
    deliver(settings, *some(3, 2))
    land_event_log(settings)
    before = fingerprint(settings)
    older = settings.model_copy(update={"vault_url": f"sqlite:///{tmp_path / 'old.db'}"})

    with pytest.raises(VaultMismatchError, match="ctwa restore"):
        land_event_log(older)
    deliver(older, *some(90, 5))  # it has gone on, and now has other envelopes of these numbers
    with pytest.raises(VaultMismatchError, match="CTWA_VAULT_URL"):
        land_event_log(older)
    assert fingerprint(settings) == before


def _restored(settings: Settings, tmp_path: Path, first: int, count: int) -> Settings:
    """Four envelopes landed, then the vault put back as it was after two; it has gone on since."""
    deliver(settings, *some(1, 2))
    vault = open_vault(settings.vault_url)
    vault.backup(tmp_path / "old.db")
    vault.close()
    deliver(settings, *some(3, 2))
    land_event_log(settings)
    older = settings.model_copy(update={"vault_url": f"sqlite:///{tmp_path / 'old.db'}"})
    deliver(older, *some(first, count))
    return older


@pytest.mark.parametrize("count", [1, 2, 5])
def test_e100_an_older_vault_that_went_on_is_adopted_behind_the_lake(
    settings: Settings, tmp_path: Path, count: int
) -> None:
    older = _restored(settings, tmp_path, 90, count)
    with pytest.raises(VaultMismatchError, match="ctwa adopt-vault"):
        land_event_log(older)
    assert adopt_vault(older) == (4, 2, count)
    assert land_event_log(older).envelopes == count
    assert seqs(settings) == list(range(1, 5 + count))
    assert len(set(seqs(settings, "messages"))) == 4 + count
    assert adopt_vault(older).moved == 0
    deliver(older, *some(200, 1))
    assert land_event_log(older).envelopes == 1
    whole = fingerprint(older)
    land_event_log(older, reparse=True)  # nothing of the numbers between is missed
    assert fingerprint(older) == whole


def test_e100_another_key_is_named_and_no_vault_is_adopted_under_it(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    """Adopted, all envelopes would land again and every person be a new one."""
    settings = make_settings(pii_key=None)
    deliver(settings, *some(1, 4))
    land_event_log(settings)
    key = settings.data_dir / "pii.key"
    before = key.read_text()
    key.write_text(("1" if before[0] == "0" else "0") + before[1:])
    for work in (land_event_log, adopt_vault):
        with pytest.raises(VaultMismatchError, match="another key of the hashes"):
            work(settings)
    key.write_text(before)
    deliver(settings, *some(5, 1))
    assert land_event_log(settings).envelopes == 1


def test_e100_a_spoilt_hash_is_no_sign_of_another_vault(settings: Settings) -> None:
    """Everything behind it would land a second time."""
    deliver(settings, *some(1, 6))
    land_event_log(settings)
    with sqlite3.connect(settings.data_dir / "vault.db") as connection:
        connection.execute("update envelopes set body_sha256 = zeroblob(32) where seq in (2, 6)")
    connection.close()
    deliver(settings, *some(7, 1))
    assert land_event_log(settings).envelopes == 1
    assert adopt_vault(settings) == (7, 7, 0)


@pytest.mark.parametrize("waiting", [0, 3, 9])
def test_e100_a_new_vault_goes_on_behind_the_lake(
    settings: Settings, tmp_path: Path, waiting: int
) -> None:
    deliver(settings, *some(1, 4))
    land_event_log(settings)
    before = fingerprint(settings)
    new = settings.model_copy(update={"vault_url": f"sqlite:///{tmp_path / 'new.db'}"})
    if waiting:
        deliver(new, *some(50, waiting), at=RECEIVED_US + 1)
    with pytest.raises(VaultMismatchError, match="ctwa adopt-vault"):
        land_event_log(new)
    assert fingerprint(settings) == before
    assert adopt_vault(new) == (4, 0, waiting)
    assert land_event_log(new).envelopes == waiting
    assert deliver(new, *some(70, 2)) == 4 + waiting + 2
    assert land_event_log(new).envelopes == 2
    assert seqs(settings, "messages") == list(range(1, 4 + waiting + 3))
    land_event_log(new, reparse=True)
    assert seqs(settings, "messages") == list(range(1, 4 + waiting + 3))


def test_e100_an_older_vault_of_much_the_same_history_has_the_same_key(
    settings: Settings, tmp_path: Path
) -> None:
    deliver(settings, *some(1, 9))
    vault = open_vault(settings.vault_url)
    vault.backup(tmp_path / "old.db")
    vault.close()
    deliver(settings, *some(20, 1))
    land_event_log(settings)
    older = settings.model_copy(update={"vault_url": f"sqlite:///{tmp_path / 'old.db'}"})
    deliver(older, *some(30, 2))
    with pytest.raises(VaultMismatchError, match="ctwa adopt-vault"):
        land_event_log(older)
    assert adopt_vault(older) == (10, 9, 2)


def test_e100_purged_bodies_still_say_whose_vault_it_is(settings: Settings, tmp_path: Path) -> None:
    older = _restored(settings, tmp_path, 90, 2)  # as many as the lake holds: no number is higher
    vault = open_vault(older.vault_url)
    assert vault.purge_bodies(RECEIVED + timedelta(days=1), 9) == 4
    vault.close()
    deliver(older, *some(95, 5))
    with pytest.raises(VaultMismatchError, match="envelope 4 "):
        land_event_log(older)


def test_e100_an_erased_envelope_agrees_with_any(settings: Settings) -> None:
    deliver(settings, *some(1, 3))
    land_event_log(settings)
    vault = open_vault(settings.vault_url)
    vault.erase_bodies([2, 3])
    vault.close()
    deliver(settings, *some(4, 1))
    assert land_event_log(settings).envelopes == 1
    assert adopt_vault(settings) == (4, 4, 0)


def test_e99_reparse_brings_back_a_damaged_file_and_counts_what_is_lost(
    settings: Settings,
) -> None:
    deliver(settings, *some(1, 3), at=RECEIVED_US - 10**12)
    deliver(settings, *some(4, 3))
    land_event_log(settings)
    before = fingerprint(settings)
    vault = open_vault(settings.vault_url)
    vault.purge_bodies(RECEIVED, 3)
    vault.close()
    lake = Lake.from_settings(settings)
    path = Path(lake.root) / "event_log" / "messages" / lake.files("event_log", "messages")[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    (damage,) = check(lake)
    assert "3 of the 6 bodies: the rows of the other 3 are lost" in way_back(settings, [damage])

    counts = land_event_log(settings, reparse=True)

    assert counts.lost == 3
    assert seqs(settings, "messages") == [4, 5, 6]
    assert seqs(settings) == [1, 2, 3, 4, 5, 6]
    assert fingerprint(settings)["envelopes"] == before["envelopes"]
    assert check(lake) == []
    assert [p.name for p in Path(lake.root).rglob("_damaged/*/*")] == [path.name]


def test_another_key_is_refused_before_people_split_in_two(
    settings: Settings, make_settings: Callable[..., Settings]
) -> None:
    deliver(settings, *some(1, 2))
    land_event_log(settings)
    deliver(settings, *some(3, 1))
    with pytest.raises(VaultMismatchError, match="CTWA_PII_KEY"):
        land_event_log(make_settings(pii_key="ff" * 32))


def test_only_one_landing_at_a_time(settings: Settings) -> None:
    code = (
        "import sys; from pathlib import Path; from ctwa.lock import refresh_lock\n"
        "with refresh_lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(settings.lock_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as holder:  # fmt: skip
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RefreshBusyError):
            land_event_log(settings)
        holder.communicate("")
    with refresh_lock(settings.lock_path):  # within one process it nests
        land_event_log(settings)


# ---- killed at named points ------------------------------------------------------------------


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder with some envelopes landed and some waiting, and what a calm run makes of it."""
    folder = tmp_path_factory.mktemp("interrupted")
    bodies = [*own_payloads().values(), *[json.dumps(b).encode() for b in some(1, 4)]]
    settings = load_settings(_env_file=None, data_dir=folder / "base", pii_key=PII_KEY)
    deliver(settings, *bodies[:30])
    land_event_log(settings)
    deliver(settings, *bodies[30:])
    calm = load_settings(_env_file=None, data_dir=folder / "calm", pii_key=PII_KEY)
    shutil.copytree(settings.data_dir, calm.data_dir)
    land_event_log(calm)
    return settings.data_dir, fingerprint(calm)


@pytest.mark.parametrize("point", POINTS)
def test_e73_killed_anywhere_the_next_run_converges(
    settings: Settings, interrupted: tuple[Path, dict[str, str]], point: str
) -> None:
    base, calm = interrupted
    shutil.copytree(base, settings.data_dir)

    land_and_die(settings, PII_KEY, point)
    land_event_log(settings)

    assert fingerprint(settings) == calm
    assert not list((settings.data_dir / "dlt").rglob("*.parquet"))
    assert Lake.from_settings(settings).sweep("event_log") == 0


def test_e73_known_bad_without_sweep_a_kill_shows_rows_twice(settings: Settings) -> None:
    """The test above has teeth: leave the sweep out, and it sees the kill."""
    deliver(settings, *some(1, 6))
    land_and_die(settings, PII_KEY, "load before record")

    def sweepless(self: Lake, dataset: str) -> int:
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lake, "sweep", sweepless)
        land_event_log(settings)
    assert len(seqs(settings)) == 12
    with pytest.raises(LakeDamagedError):  # too old by now to be surely what a kill left
        Lake.from_settings(settings).sweep("event_log")


def test_e73_known_bad_dlts_own_cursor_loses_rows_of_a_restored_lake(tmp_path: Path) -> None:
    """Why the watermark is read from the lake: dlt's cursor stays ahead of a restored copy."""
    pipeline.configure()

    def run(last: int) -> None:
        cursor = dlt.sources.incremental("seq", initial_value=0)

        @dlt.resource(name="rows", write_disposition="append")
        def rows(seq: Any = cursor) -> Any:
            yield [{"seq": n} for n in range(int(seq.last_value) + 1, last + 1)]

        dlt.pipeline(
            "naive", pipelines_dir=str(tmp_path / "dlt"), dataset_name="d",
            destination=dlt.destinations.filesystem(str(tmp_path / "lake")),
        ).run(rows(), loader_file_format="parquet")  # fmt: skip

    run(2)
    shutil.copytree(tmp_path / "lake", tmp_path / "old")
    run(4)
    shutil.rmtree(tmp_path / "lake")
    shutil.copytree(tmp_path / "old", tmp_path / "lake")
    run(6)
    found = duckdb.sql(
        f"select seq from '{tmp_path}/lake/d/rows/*.parquet' order by seq"
    ).fetchall()
    assert [n for (n,) in found] == [1, 2, 5, 6]


# ---- privacy ---------------------------------------------------------------------------------


def canaries() -> list[bytes]:
    """Bodies with personal values in every place, good and bad."""
    person = {"from": CANARY_PHONE, "text": {"body": CANARY_TEXT}}
    contact = {
        "profile": {"name": CANARY_TEXT},
        "wa_id": CANARY_PHONE,
        "user_id": f"BR.{CANARY_PHONE}",
    }
    bodies: list[Any] = [
        envelope(message(1, **{**person, "id": f"wamid.{CANARY_PHONE}"}), contacts=[contact]),
        envelope(message(2, **{**person, "id": [CANARY_PHONE]}), {CANARY_TEXT: CANARY_PHONE}),
        envelope(statuses=[{"id": CANARY_PHONE, "status": {"x": CANARY_TEXT}}]),
        {"entry": [{"changes": [{"value": CANARY_PHONE}]}]},
        CANARY_TEXT,
    ]
    return [*(json.dumps(b).encode() for b in bodies), f'{{"{CANARY_PHONE}'.encode()]


def assert_clean(root: Path, *texts: str) -> None:
    needles = [CANARY_PHONE.encode(), CANARY_PHONE[:4].encode() + CANARY_PHONE[5:].encode(),
               CANARY_TEXT.encode()]  # fmt: skip
    for path in root.rglob("*"):
        if path.is_file() and not path.name.startswith("vault.db"):
            data = path.read_bytes()
            assert not [n for n in needles if n in data], path
    for text in texts:
        assert not [n for n in needles if n.decode() in text]


def test_e77_no_personal_value_reaches_lake_or_logs(
    settings: Settings, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(0)
    deliver(settings, *canaries())
    outcome = {"event_id": "1", "stage": "won", "occurred_at": "2026-06-10T09:00:00Z",
               "phone": CANARY_PHONE, "email": f"{CANARY_TEXT}@example.com"}  # fmt: skip
    deliver(settings, outcome, [outcome | {"occurred_at": CANARY_TEXT}], source="outcomes")
    counts = land_event_log(settings)
    assert (counts.messages, counts.outcomes) == (1, 1)
    assert counts.quarantined >= 5
    out, err = capfd.readouterr()
    assert_clean(settings.data_dir, caplog.text, out, err)
    # Compressed pages hide text from a search of bytes: look at the values as well.
    lake = Lake.from_settings(settings)
    values = [lake.query("select * from {t}", t=f"event_log/{t}").to_pylist() for t in EVENT_LOG]
    assert CANARY_PHONE not in str(values)
    assert CANARY_TEXT not in str(values)


def test_e77_a_failed_load_shows_and_leaves_nothing_personal(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def full(*_of_the_file: Any) -> None:
        raise OSError(28, "No space left on device")

    caplog.set_level(0)
    deliver(settings, *canaries())
    monkeypatch.setattr(Commit, "add", full)
    with pytest.raises(Exception, match=r"(?i)space|failed|retr") as caught:
        land_event_log(settings)
    out, err = capfd.readouterr()
    shown = "".join(traceback.format_exception(caught.value))
    assert_clean(settings.data_dir, caplog.text, out, err, shown)
    assert not [p for p in (settings.data_dir / "dlt").rglob("*") if p.is_file()]

    monkeypatch.undo()
    assert land_event_log(settings).envelopes == len(canaries())
