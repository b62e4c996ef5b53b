"""What was sent of an erased person stays counted and is nobody's; a backup never sends twice."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from activation.conversions import send_conversions
from activation.conversions_ledger import ConversionsLedger, Row, ensure_states, states_path
from activation.ledger import RESTORED, TABLES, ledger_path, open_ledger
from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.identity.erased import Erasure, Period, marker
from keeping.backup import backup, restore
from keeping.erasure.anonymous import erase_sent
from keeping.erasure.forget import forget_person, repeat_all
from keeping.erasure.steps import land
from tests.activation.conftest import Meta
from tests.conftest import PII_KEY
from tests.ingestion.erasure_crash import forget_and_die
from tests.support.erasure import (
    ANA,
    ANA_ID,
    BIA,
    files_with,
    receive,
    shared_envelopes,
    traces,
)
from tests.support.outbox import NOW, due, ledger_rows, write_outbox


def _row(n: int, lead_id: str, state: str = "sent") -> Row:
    return Row(
        f"{n:032x}", lead_id, "won", f"hubspot_deals|deal:{n}", f"outcome {n}", f"click {n}",
        "Purchase", "77", 1_780_000_000_000_000 + n, Decimal("10.50"), "BRL", "live", state,
        fbtrace_id=f"trace {n}",
    )  # fmt: skip


def _fill(settings: Settings, rows: Iterable[Row]) -> None:
    """Rows as they stand after runs, in any state."""
    with ConversionsLedger.open(settings) as ledger:
        rows = list(rows)
        ledger.plan(rows)
        for row in rows:
            ledger.settle([row.conversion_event_id], row.state, None, 1, row.fbtrace_id)
    ensure_states(settings)


def _tell(settings: Settings) -> Settings:
    """Ana and Bia in the lake; Meta was told of both, Ana by two of her identities."""
    receive(settings, shared_envelopes())
    land(settings)
    names = Pseudonymizer.from_settings(settings)
    ana, ana_id, bia = names.phone(ANA), names.bsuid(ANA_ID), names.phone(BIA)
    _fill(settings, [
        _row(1, f"{ana}"), _row(2, f"{ana_id}:brand#2", "unknown"), _row(3, f"{ana}#2", "pending"),
        _row(4, f"{bia}"),
    ])  # fmt: skip
    with open_ledger(settings) as ledger:
        for lead in (ana, bia):
            ledger.execute(
                "insert into crm_posts values (?, 1, '{}', 'e', 'lead.attributed', 'pending', 0, 0,"
                " null, 0, '')",
                (lead,),
            )
    return settings


@pytest.fixture
def told_in_file(settings: Settings) -> Settings:
    return _tell(settings)


@pytest.fixture(params=["file", "database"])
def told(request: pytest.FixtureRequest, make_settings: Callable[..., Settings]) -> Settings:
    """The ledger is a file, or in the database with the vault."""
    if request.param == "file":
        return _tell(make_settings())
    return _tell(make_settings(vault_url=request.getfixturevalue("postgres_url")))


def kept_of(settings: Settings, wanted: Iterable[bytes]) -> list[str]:
    """Where what was sent holds one of the texts: files, and tables of the ledger."""
    wanted = list(wanted)
    found = files_with(settings.activation_dir, wanted)
    if settings.vault_url.startswith("postgresql"):
        with psycopg.connect(settings.vault_url.replace("+psycopg", "")) as database:
            for table in (f"ctwa_{name}" for name in TABLES):
                texts = database.execute(f"select t::text from {table} as t").fetchall()
                found += [table for (row,) in texts for one in wanted if one in row.encode()]
    return found


def _left(settings: Settings) -> list[Row]:
    return list(ledger_rows(settings).values())


def test_what_was_sent_of_an_erased_person_is_nobodys_and_stays_counted(told: Settings) -> None:
    before = {row.conversion_event_id: row for row in _left(told)}
    assert kept_of(told, traces(told))  # the search does find
    forget_person(told, phone=ANA)
    after = {row.conversion_event_id: row for row in _left(told)}
    assert kept_of(told, traces(told)) == []
    assert kept_of(told, [f"{n:032x}".encode() for n in (1, 2, 3)]) == []
    assert kept_of(told, [f"deal:{n}".encode() for n in (1, 2, 3)]) == []
    assert sorted((r.state, r.occurred_at_us, r.value) for r in after.values()) == sorted(
        (r.state, r.occurred_at_us, r.value) for r in before.values()
    )
    (bia,) = [row for row in after.values() if row.lead_id is not None]
    assert bia == before[f"{4:032x}"]
    with open_ledger(told) as ledger:
        posts = [lead for (lead,) in ledger.execute("select lead_id from crm_posts")]
    assert posts == [bia.lead_id]


def test_states_of_an_erased_person_are_gone_with_the_warehouse(told: Settings) -> None:
    assert states_path(told).exists()
    forget_person(told, phone=ANA)
    assert not states_path(told).exists()


@pytest.mark.parametrize("point", [
    "after the bodies are noted", "after what went out names nobody", "after the record",
])  # fmt: skip
def test_an_erasure_that_was_killed_is_finished_in_what_went_out_too(
    told: Settings, point: str
) -> None:
    forget_and_die(told, PII_KEY, point)
    land(told)
    assert kept_of(told, traces(told)) == []
    assert len(_left(told)) == 4


def test_a_ledger_put_back_by_hand_is_cleaned_when_erasures_are_repeated(
    told_in_file: Settings,
) -> None:
    with closing(sqlite3.connect(ledger_path(told_in_file))) as ledger:
        ledger.execute("pragma wal_checkpoint(truncate)")
    kept = ledger_path(told_in_file).read_bytes()
    forget_person(told_in_file, phone=ANA)
    ledger_path(told_in_file).write_bytes(kept)
    repeat_all(told_in_file)
    assert kept_of(told_in_file, traces(told_in_file)) == []


def test_e28_of_a_phone_that_changed_hands_only_the_erased_holders_lead_is_nobodys(
    settings: Settings,
) -> None:
    names = Pseudonymizer.from_settings(settings)
    mark = marker(names)
    changed_hands = datetime(2026, 3, 1, tzinfo=UTC)
    phone = f"{names.phone(ANA)}"
    _fill(settings, [_row(1, phone)])
    later = Erasure("b", NOW, "pending", frozenset(), {mark(phone): (Period(changed_hands, None),)})
    assert erase_sent(settings, later, mark) == 0
    first = Erasure("a", NOW, "pending", frozenset(), {mark(phone): (Period(None, changed_hands),)})
    assert erase_sent(settings, first, mark) == 1


def test_without_a_ledger_there_is_nothing_to_do(settings: Settings) -> None:
    erasure = Erasure("a", NOW, "pending", frozenset())
    assert erase_sent(settings, erasure, marker(Pseudonymizer.from_settings(settings))) == 0
    assert not ledger_path(settings).exists()


# ---- backup and restore ------------------------------------------------------------------------


@pytest.fixture
def elsewhere(
    meta: Meta, make_settings: Callable[..., Settings], tmp_path: Path
) -> Callable[[], Settings]:
    """The installation's settings, in another folder from now on."""

    def move() -> Settings:
        meta.options["data_dir"] = tmp_path / "restored"
        return meta.settings

    return move


def test_e71_a_restored_ledger_sends_nothing_of_before_and_knows_what_it_sent(
    meta: Meta, elsewhere: Callable[[], Settings], tmp_path: Path
) -> None:
    receive(meta.settings, [])
    meta.send([due(1)])
    backup(meta.settings, tmp_path / "backups")
    meta.send([due(1), due(2)])  # not in the backup
    again = elsewhere()
    restore(again, tmp_path / "backups")
    assert (again.activation_dir / RESTORED).exists()
    meta.at = NOW + timedelta(minutes=5)
    counts = meta.send([due(1), due(2), due(3, at=NOW + timedelta(minutes=5))])
    assert (counts.sent, counts.skipped) == (0, {"before_activation": 2})
    assert meta.told()[due(1)["conversion_event_id"]] == ("sent", None)
    assert not (again.activation_dir / RESTORED).exists()
    meta.at = NOW + timedelta(minutes=15)
    counts = meta.send([due(2), due(4, at=NOW + timedelta(minutes=12))])
    assert (counts.sent, counts.skipped) == (1, {"before_activation": 1})


def test_a_newer_ledger_that_is_there_stays_and_its_activation_ends(
    meta: Meta, tmp_path: Path
) -> None:
    settings = meta.settings
    backup(settings, tmp_path / "backups")
    meta.send([due(1)])
    settings.warehouse_path.unlink()
    for path in settings.data_dir.glob("vault.db*"):
        path.unlink()
    restore(settings, tmp_path / "backups")
    meta.at = NOW + timedelta(minutes=5)
    assert meta.send([due(1), due(2)]).skipped == {"before_activation": 1}
    assert len(meta.api.accepted) == 1


def test_a_backup_holds_what_is_still_in_the_write_ahead_log(
    settings: Settings, tmp_path: Path
) -> None:
    with ConversionsLedger.open(settings) as ledger:
        ledger.plan([_row(1, "a")])
        made = backup(settings, tmp_path / "backups").path
    with closing(sqlite3.connect(made / "activation.db")) as copy:
        assert copy.execute("select count(*) from conversions").fetchall() == [(1,)]


def test_a_restored_ledger_is_cleaned_of_whoever_was_erased_since(
    told_in_file: Settings, make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    backed_up = told_in_file.model_copy(update={"backup_dir": folder})
    backup(backed_up)
    forget_person(backed_up, phone=ANA)
    again = make_settings(data_dir=tmp_path / "restored")
    restore(again, folder)
    assert files_with(again.activation_dir, traces(again))  # as the backup has them
    land(again)
    assert files_with(again.activation_dir, traces(again)) == []
    assert len(_left(again)) == 4


def test_e72_a_person_erased_before_the_sending_is_not_told_of(meta: Meta) -> None:
    """`ctwa forget` removes the warehouse: there is no outbox until the models are built anew."""
    settings = meta.settings
    receive(settings, shared_envelopes())
    write_outbox(settings, [due(1)])
    forget_person(settings, phone=ANA)
    assert not settings.warehouse_path.exists()
    write_outbox(settings, [due(1, ctwa_clid="erased", ineligible_reason="erased")])
    assert send_conversions(settings, now=lambda: NOW).skipped == {"erased": 1}
    assert meta.api.calls == []
