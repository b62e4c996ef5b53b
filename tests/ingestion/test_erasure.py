"""Erasing one person: no byte is left, no count changes, nobody else's row does (P4, P6)."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from commands.doctor.stores import stores
from ctwa import number_plans
from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings, load_settings
from ingestion.event_log.adoption import adopt_vault
from ingestion.identity.erased import Ledger, LedgerError
from ingestion.identity.sieve import IDENTITY_COLUMNS
from ingestion.vault import open_vault
from ingestion.vault.sqlite import SqliteVault
from ingestion.vault.vault import NewEnvelope
from keeping.backup import BackupError, backup, restore
from keeping.erasure import steps
from keeping.erasure.forget import IdentityError, forget_person, identity_key, repeat_all
from keeping.erasure.steps import land
from orchestration.forget import ForgetResult
from tests.conftest import PII_KEY
from tests.ingestion.erasure_crash import POINTS, forget_and_die
from tests.support.erasure import (
    ANA,
    ANA_ID,
    ANA_MAIL,
    AT,
    BIA,
    all_rows,
    bodies,
    files_with,
    handover,
    message,
    outcomes,
    receive,
    rows,
    shared_envelopes,
    status,
    traces,
    two_holders,
    wamid,
    webhook,
    won,
)

LEDGER = "erasures.json"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Ana and Bia in the lake; the last two envelopes wait in the vault. Only copies change."""
    folder = tmp_path_factory.mktemp("prepared") / "data"
    settings = load_settings(_env_file=None, data_dir=folder, pii_key=PII_KEY)
    receive(settings, shared_envelopes()[:-2])
    land(settings)
    receive(settings, shared_envelopes()[-2:])
    return settings


@pytest.fixture
def landed(prepared: Settings, settings: Settings) -> Settings:
    """A copy of `prepared`."""
    shutil.copytree(prepared.data_dir, settings.data_dir)
    return settings


@pytest.fixture(scope="module")
def undisturbed(prepared: Settings, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The counts after an erasure that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed") / "data"
    shutil.copytree(prepared.data_dir, folder)
    settings = load_settings(_env_file=None, data_dir=folder, pii_key=PII_KEY)
    forget_person(settings, phone=ANA)
    return _people(settings)


def _people(settings: Settings) -> dict[str, Any]:
    """Counts that must outlive an erasure, by what ads are counted by."""
    messages, found = rows(settings, "messages"), rows(settings, "outcomes")
    return {
        "elements": [
            {k: e[k] for k in e if k not in ("body_key",)} for e in rows(settings, "envelopes")
        ],
        "messages": sorted((m["sent_at"], m["direction"], m["type"]) for m in messages),
        "distinct messages": len({m["message_key"] for m in messages}),
        "ads": sorted(
            (m["referral_source_id"], m["referral_headline"], bool(m["ctwa_clid"]))
            for m in messages
            if m["has_referral"]
        ),
        "people": len({m["bsuid_key"] or m["phone_key"] for m in messages if m["phone_key"]}),
        "outcomes": sorted((o["stage"], o["occurred_at"], o["value"]) for o in found),
        "distinct outcomes": len({o["event_id"] for o in found}),
        "statuses": sorted((s["status"], s["status_at"]) for s in rows(settings, "statuses")),
        "forms": sorted(
            (f["submitted_at"], f["campaign_id"], f["utm_source"], bool(f["gclid"]))
            for f in rows(settings, "web_leads")
        ),
        "distinct forms": len({f["form_key"] for f in rows(settings, "web_leads")}),
    }


def _of_bia(settings: Settings) -> dict[str, list[dict[str, Any]]]:
    names = Pseudonymizer.from_settings(settings)
    theirs = {names.phone(BIA), names.bsuid("BR.9Z8Y7X6W5V4U3T2S")}
    return {
        table: [r for r in found if theirs & {str(v) for v in r.values()}]
        for table, found in all_rows(settings).items()
        if table != "envelopes"
    }


def test_no_byte_of_the_person_is_left_anywhere(landed: Settings) -> None:
    assert files_with(landed.data_dir, traces(landed))  # the search does find
    done = forget_person(landed, phone="+55 (11) 98765-4321")
    assert files_with(landed.data_dir, traces(landed)) == []
    assert done.erased.identities == 6  # two numbers, a BSUID, an e-mail address, two forms
    assert done.erased.rows == {
        "messages": 6, "statuses": 2, "outcomes": 3, "web_leads": 2, "form_notices": 0,
        "exclusions": 1,
        "consents": 0, "handovers": 0, "identity_links": 7, "link_clicks": 0,
        "chat_signals": 0,
    }  # fmt: skip
    assert done.needs_refresh


def test_e79_notices_of_their_chats_are_nobodys_and_do_not_come_again(landed: Settings) -> None:
    receive(landed, [handover(ANA), handover(BIA)])
    land(landed)
    of_bia = rows(landed, "handovers")[1]
    done = forget_person(landed, phone=ANA)
    assert done.erased.rows["handovers"] == 1
    assert files_with(landed.data_dir, traces(landed)) == []
    theirs, others = rows(landed, "handovers")
    assert others == of_bia
    assert (theirs["new_owner_role"], theirs["country"]) == ("ai_agent", None)
    assert theirs["phone_key"] in {m["phone_key"] for m in rows(landed, "messages")}
    receive(landed, [handover(ANA)])
    land(landed)
    assert len(rows(landed, "handovers")) == 2


def test_counts_stay_and_copies_stay_copies(landed: Settings) -> None:
    land(landed)
    before = _people(landed)
    assert before["people"] == 5  # keys: two of Bia, three of Ana
    forget_person(landed, email=ANA_MAIL)
    after = _people(landed)
    assert after.pop("people") == 3  # Bia by two keys, and somebody
    before.pop("people")
    assert after == before
    somebody = {
        key
        for table, columns in IDENTITY_COLUMNS.items()
        for row in rows(landed, table)
        for column in columns
        if (key := row[column])
    } - {v for found in _of_bia(landed).values() for r in found for v in r.values() if v}
    assert len(somebody) == 1


def test_e20_whoever_was_left_out_of_the_counts_stays_so_as_nobody(landed: Settings) -> None:
    land(landed)
    forget_person(landed, phone=ANA)
    (left,) = [r for r in rows(landed, "exclusions") if r["reason"] != "agency"]
    somebody = {m["phone_key"] for m in rows(landed, "messages") if m["country"] is None}
    assert (left["identity_key"], left["is_excluded"]) == (*somebody, True)
    assert left["reason"] == "erased"


def test_other_people_keep_every_row_as_it_was(landed: Settings) -> None:
    land(landed)
    before = _of_bia(landed)
    assert {table for table, found in before.items() if found} == {
        "messages", "statuses", "outcomes", "web_leads", "exclusions", "identity_links",
    }  # fmt: skip
    forget_person(landed, bsuid=ANA_ID)
    assert _of_bia(landed) == before
    quarantined = rows(landed, "quarantine")
    assert len(quarantined) == 1


def test_bodies_that_name_the_person_only_in_passing_go_too(landed: Settings) -> None:
    receive(landed, [webhook(messages=[message(BIA, 90)])])
    forget_person(landed, phone=ANA)
    assert list(bodies(landed)) == [12]  # Bia's own envelope; all others named Ana somewhere
    assert len(rows(landed, "envelopes")) == 12


def test_conversation_order_survives_at_equal_times(settings: Settings) -> None:
    """R3 breaks ties by the message key: the new keys must sort as the old ones did."""
    twins = [
        message(ANA, n) | {"timestamp": "1780000000", "type": kind}
        for n, kind in enumerate(["text", "image", "audio", "video", "sticker"])
    ]
    receive(settings, [webhook(messages=twins)])
    land(settings)

    def in_order() -> list[str]:
        found = sorted(rows(settings, "messages"), key=lambda r: str(r["message_key"]))
        return [str(r["type"]) for r in found]

    before = in_order()
    forget_person(settings, phone=ANA)
    assert in_order() == before


def test_somebody_unknown_is_recorded_and_kept_out(settings: Settings) -> None:
    receive(settings, [webhook(messages=[message(BIA, 1)])])
    land(settings)
    before = all_rows(settings)
    done = forget_person(settings, phone=ANA)
    assert not done.is_known
    assert not done.needs_refresh
    assert all_rows(settings) == before
    receive(settings, shared_envelopes()[:1])
    land(settings)
    assert files_with(settings.data_dir, traces(settings)) == []
    assert [m["referral_source_id"] for m in rows(settings, "messages")] == [None, "121"]


def test_a_second_run_changes_nothing(landed: Settings) -> None:
    forget_person(landed, phone=ANA)
    Ledger.of(landed).move("erased", "done")
    before = {p: p.read_bytes() for p in sorted((landed.data_dir / "lake").rglob("*.parquet"))}
    marks = [e.marks for e in Ledger.of(landed).erasures.values()]
    again = forget_person(landed, phone=ANA)
    assert not again.is_known
    assert not again.needs_refresh
    assert {
        p: p.read_bytes() for p in sorted((landed.data_dir / "lake").rglob("*.parquet"))
    } == before
    assert [e.marks for e in Ledger.of(landed).erasures.values()] == marks


def test_an_old_webhook_delivered_again_does_not_bring_the_person_back(landed: Settings) -> None:
    forget_person(landed, phone=ANA)
    before = {t: len(r) for t, r in all_rows(landed).items()}
    receive(landed, shared_envelopes())
    receive(landed, [webhook(statuses=[status(ANA, 4, "read", at=int(time.time()) + 60)])])
    counts = land(landed)
    assert (counts.messages, counts.statuses, counts.outcomes) == (4, 1, 1)  # Bia's
    assert counts.tables["web_leads"] == 1
    assert files_with(landed.data_dir, traces(landed)) == []
    after = {t: len(r) for t, r in all_rows(landed).items()}
    assert after["envelopes"] == before["envelopes"] + 12
    for envelope in rows(landed, "envelopes"):  # R1 adds up
        seq = envelope["seq"]
        for table in ("messages", "web_leads"):
            assert envelope[table] == sum(m["seq"] == seq for m in rows(landed, table))
        assert (
            envelope["message_elements"] == envelope["messages"] + envelope["quarantined_messages"]
        )


def test_who_writes_after_the_erasure_is_a_new_person(landed: Settings) -> None:
    forget_person(landed, phone=ANA)
    later = (time.time() + 60 - 1_780_000_000) / 60
    receive(landed, [webhook(messages=[message(ANA, int(later) + 1)])], at=time.time() + 120)
    land(landed)
    repeat_all(landed)  # an erasure does not reach what came after it
    key = Pseudonymizer.from_settings(landed).phone(ANA)
    assert [m["phone_key"] == key for m in rows(landed, "messages")].count(True) == 1
    assert len(bodies(landed)) == 1


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("by", ["forget again", "the next landing"])
def test_killed_anywhere_it_is_finished_by_the_next_run(
    landed: Settings, undisturbed: dict[str, Any], point: str, by: str
) -> None:
    forget_and_die(landed, PII_KEY, point)
    started = bool(Ledger.of(landed).erasures)
    if by == "forget again" or not started:
        forget_person(landed, phone=ANA)
    else:
        land(landed)
    assert files_with(landed.data_dir, traces(landed)) == []
    assert _people(landed) == undisturbed
    assert not Ledger.of(landed).in_state("pending")
    assert not Ledger.of(landed).bodies


def test_a_landing_killed_after_keeping_rows_out_still_empties_the_body(
    landed: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_person(landed, phone=ANA)
    receive(landed, shared_envelopes()[:1])
    with monkeypatch.context() as patched:
        patched.setattr("keeping.erasure.steps._finish", lambda _stores: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            land(landed)
    assert Ledger.of(landed).bodies == {12}
    land(landed)
    assert files_with(landed.data_dir, traces(landed)) == []


@pytest.fixture
def elsewhere(make_settings: Callable[..., Settings], tmp_path: Path) -> Settings:
    return make_settings(data_dir=tmp_path / "restored")


def test_an_older_backup_does_not_bring_the_person_back(
    make_settings: Callable[..., Settings], elsewhere: Settings, tmp_path: Path
) -> None:
    settings = make_settings(backup_dir=tmp_path / "backups")
    receive(settings, shared_envelopes()[:3])
    land(settings)
    receive(settings, shared_envelopes()[3:])  # only in the vault's copy
    old = backup(settings)
    done = forget_person(settings, phone=ANA)
    assert done.backups == [old.path]
    expected = _people(settings)
    assert files_with(old.path, [ANA.encode()])  # the backup does hold her

    restore(elsewhere, tmp_path / "backups")
    assert [e.state for e in Ledger.of(elsewhere).erasures.values()] == ["pending"]
    land(elsewhere)
    assert files_with(elsewhere.data_dir, traces(elsewhere)) == []
    assert _people(elsewhere) == expected


def test_a_backup_made_after_the_erasure_knows_of_it(
    landed: Settings, elsewhere: Settings, tmp_path: Path
) -> None:
    forget_person(landed, phone=ANA)
    backup(landed, tmp_path / "backups")
    assert files_with(tmp_path / "backups", traces(landed)) == []
    receive(landed, shared_envelopes()[:1])
    late = backup(landed, tmp_path / "backups")  # the repeated webhook is in its vault only
    restore(elsewhere, late.path)
    assert [e.state for e in Ledger.of(elsewhere).erasures.values()] == ["erased"]
    land(elsewhere)
    assert files_with(elsewhere.data_dir, traces(elsewhere)) == []
    assert _people(elsewhere)["distinct messages"] == _people(landed)["distinct messages"]


def test_repeating_every_erasure_mends_a_restore_by_other_tools(
    landed: Settings, tmp_path: Path
) -> None:
    shutil.copytree(landed.data_dir, tmp_path / "saved")
    forget_person(landed, phone=ANA)
    expected = _people(landed)
    for name in ("vault.db", "lake"):
        path = landed.data_dir / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(tmp_path / "saved" / "lake", landed.data_dir / "lake")
    for saved in (tmp_path / "saved").glob("vault.db*"):
        shutil.copy2(saved, landed.data_dir / saved.name)
    assert repeat_all(landed) == 1
    assert files_with(landed.data_dir, traces(landed)) == []
    assert _people(landed) == expected


@pytest.mark.parametrize("lost", ["bodies", "what showed the change"])
def test_e28_an_erasure_done_again_spares_the_earlier_holder(
    settings: Settings, tmp_path: Path, lost: str
) -> None:
    """Also where the restored lake no longer has the links that tell one holder from the other."""
    receive(settings, two_holders(BIA, "BR.OLDAAAAAAAAAAAA1", "BR.NEWBBBBBBBBBBBB1", "120"))
    land(settings)
    shutil.copytree(settings.data_dir / "lake", tmp_path / "saved")
    forget_person(settings, phone=BIA)
    key = Pseudonymizer.from_settings(settings).phone(BIA)

    def of_bia() -> list[int]:
        return [
            r["seq"] for t in ("messages", "outcomes", "statuses", "identity_links")
            for r in rows(settings, t)
            if key in (r.get("phone_key"), r.get("left_key"), r.get("right_key"))
        ]  # fmt: skip

    expected = of_bia()
    assert expected == [1, 2, 5, 0, 1]  # the earlier holder's, and the link that says: nobody
    shutil.rmtree(settings.data_dir / "lake")
    shutil.copytree(tmp_path / "saved", settings.data_dir / "lake")
    if lost != "bodies":
        for file in (settings.data_dir / "lake/event_log/identity_links").glob("[!0]*.parquet"):
            file.unlink()
        expected = [1, 2, 5]
    assert repeat_all(settings) == 1
    assert of_bia() == expected
    assert repeat_all(settings) == 1
    assert of_bia() == expected


def test_the_ledger_holds_no_identity_key(landed: Settings) -> None:
    forget_person(landed, phone=ANA)
    path = landed.data_dir / LEDGER
    assert path.stat().st_mode & 0o777 == 0o600
    assert not [t for t in traces(landed) if t in path.read_bytes()]


def test_a_damaged_ledger_stops_the_landing_and_the_restore(
    landed: Settings, elsewhere: Settings, tmp_path: Path
) -> None:
    made = backup(landed, tmp_path / "backups")
    (landed.data_dir / LEDGER).write_text('{"version": 1')
    with pytest.raises(LedgerError, match="Restore it from the newest backup"):
        land(landed)
    elsewhere.data_dir.mkdir(parents=True)
    shutil.copy2(landed.data_dir / LEDGER, elsewhere.data_dir)
    with pytest.raises(BackupError, match=r"erasures\.json cannot be read"):
        restore(elsewhere, made.path)


def test_shared_keys_of_others_stay(settings: Settings) -> None:
    """A group's message and an outcome that the CRM gave to somebody else are others' as well."""
    to_group = [
        {"id": wamid("120363", 1), "status": "delivered", "timestamp": "1780000100",
         "recipient_type": "group", "recipient_id": "120363", "recipient_participant_id": phone}
        for phone in (ANA, BIA)
    ]  # fmt: skip
    receive(
        settings,
        [
            webhook(statuses=to_group),
            outcomes(won("crm-1", phone=ANA)),
            outcomes(won("crm-1", phone=BIA)),
        ],
    )
    land(settings)
    forget_person(settings, phone=ANA)
    assert len({s["message_key"] for s in rows(settings, "statuses")}) == 1
    assert {o["event_id"] for o in rows(settings, "outcomes")} == {"crm-1"}
    assert files_with(settings.data_dir, traces(settings)[:1]) == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "exactly one of --phone, --bsuid, --email"),
        ({"phone": ANA, "email": ANA_MAIL}, "exactly one of --phone, --bsuid, --email"),
        ({"phone": "98765"}, "--phone: expected a full number with its country code"),
        ({"bsuid": "1A2B3C"}, "--bsuid: expected a business-scoped user id"),
        ({"email": "ana"}, "--email: expected an e-mail address"),
    ],
)
def test_a_wrong_identity_is_named_with_the_mend(
    settings: Settings, given: dict[str, Any], expected: str
) -> None:
    with pytest.raises(IdentityError, match=expected):
        forget_person(settings, **given)
    assert not (settings.data_dir / LEDGER).exists()


@pytest.mark.parametrize(
    "spelling", ["5511987654321", "551187654321", "+55 (11) 98765-4321", "0055 11 98765.4321"]
)
def test_any_spelling_of_a_number_is_the_same_person(settings: Settings, spelling: str) -> None:
    names = Pseudonymizer.from_settings(settings)
    assert identity_key(names, phone=spelling) == names.phone(ANA)


def test_e82_a_renumbered_number_is_erased_under_both_spellings(settings: Settings) -> None:
    """Rows of before the plan was known have the key of the old spelling."""
    old, new = "22507123456", "2250707123456"

    def of_before(*bodies: bytes) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(number_plans, "current", lambda digits: digits)
            patch.setattr(number_plans, "older", lambda digits: [])
            receive(settings, list(bodies))
            land(settings)

    of_before(webhook(messages=[message(old, 1)]), webhook(messages=[message(BIA, 2)]))
    done = forget_person(settings, phone="+225 07 07 12 34 56")
    assert done.erased.rows["messages"] == 1
    assert len(bodies(settings)) == 1

    # Delivered again in either spelling they stay away; what they write later is somebody new.
    receive(settings, [webhook(messages=[message(old, 1)]), webhook(messages=[message(new, 3)])])
    assert land(settings).messages == 0
    later = int((time.time() + 60 - AT) / 60) + 1
    receive(settings, [webhook(messages=[message(new, later)])], at=time.time() + 120)
    assert land(settings).messages == 1
    assert len(bodies(settings)) == 2


def test_e82_an_erasure_of_before_the_plan_was_known_holds(settings: Settings) -> None:
    old, new = "22507123456", "2250707123456"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(number_plans, "current", lambda digits: digits)
        patch.setattr(number_plans, "older", lambda digits: [])
        receive(settings, [webhook(contacts=[(old, "CI.1A2B3C4D")], messages=[message(old, 1)])])
        land(settings)
        forget_person(settings, bsuid="CI.1A2B3C4D")  # typed, the old number was none any more
    receive(settings, [webhook(messages=[message(old, 2)]), webhook(messages=[message(new, 3)])])
    assert land(settings).messages == 0
    assert not bodies(settings)


def test_both_kinds_of_vault_empty_bodies(settings: Settings, postgres_url: str) -> None:
    for url in (settings.vault_url, postgres_url):
        vault = open_vault(url)
        vault.append([NewEnvelope(1, "whatsapp", b"body %d" % n) for n in range(5)])
        assert vault.erase_bodies([]) == 0
        assert vault.erase_bodies([2, 4]) == 2
        assert vault.erase_bodies([2, 4, 5]) == 1
        assert [s for b in vault.read_batches(0) for s in b.column("seq").to_pylist()] == [1, 3]
        assert vault.last_seq() == 5
        vault.close()


def test_what_is_set_aside_of_the_warehouse_goes(settings: Settings) -> None:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    names = ["warehouse.duckdb", "warehouse.duckdb.wal", "warehouse.duckdb.build.json",
             "warehouse.duckdb.broken-20260101T000000"]  # fmt: skip
    for name in [*names, "marts.duckdb"]:
        (settings.data_dir / name).write_text("x")
    steps.remove_warehouse(settings)
    assert [p.name for p in settings.data_dir.iterdir()] == ["marts.duckdb"]


@pytest.mark.parametrize("receiver_ahead", [0, 600])
def test_clocks_that_are_ahead_spare_no_row(landed: Settings, receiver_ahead: int) -> None:
    """A phone's clock, and the receiver's: what had landed is erased, whatever time it shows."""
    ahead = message(ANA, 3) | {"timestamp": str(int(time.time()) + 90_000)}
    receive(landed, [webhook(messages=[ahead])], at=time.time() + receiver_ahead)
    forget_person(landed, phone=ANA)
    assert files_with(landed.data_dir, traces(landed)) == []


@pytest.mark.parametrize("killed", [False, True])
def test_e100_an_older_vault_that_is_adopted_loses_the_person_again_and_repeats_nobody(
    landed: Settings, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    land(landed)
    before = landed.data_dir / "before.db"
    vault = open_vault(landed.vault_url)
    vault.backup(before)
    last = vault.last_seq()
    vault.close()
    receive(landed, [webhook(messages=[message(BIA, 900)])])
    forget_person(landed, phone=ANA)
    people = _people(landed)
    for name in ("vault.db", "vault.db-wal", "vault.db-shm"):
        (landed.data_dir / name).unlink(missing_ok=True)
    before.rename(landed.data_dir / "vault.db")
    receive(landed, [webhook(messages=[message(BIA, 901)])])
    if killed:
        with monkeypatch.context() as patch:
            patch.setattr(SqliteVault, "renumber", _die_after(SqliteVault.renumber))
            with pytest.raises(KeyboardInterrupt):
                adopt_vault(landed)
        assert adopt_vault(landed) == (last + 1, last + 1, 0)
    else:
        assert adopt_vault(landed) == (last + 1, last, 1)
    assert land(landed).envelopes == 1
    assert files_with(landed.data_dir, traces(landed)) == []
    assert len(_people(landed)["messages"]) == len(people["messages"]) + 1


def _die_after(work: Callable[..., Any]) -> Callable[..., None]:
    def done(*given: Any) -> None:
        work(*given)
        raise KeyboardInterrupt

    return done


def test_a_damaged_vault_that_was_mended_is_named_as_a_place_that_still_has_the_person(
    landed: Settings,
) -> None:
    copy = landed.data_dir / "vault.db.damaged-copy"
    shutil.copy(landed.data_dir / "vault.db", copy)
    done = forget_person(landed, phone=ANA)
    assert done.copies == [copy]
    assert any(str(copy) in text for text in ForgetResult(done).warnings())
    assert any(f.status == "wrong" and f.subject == copy.name for f in stores(landed))
    left = files_with(landed.data_dir, traces(landed))
    assert {text.partition(":")[0] for text in left} == {copy.name}
