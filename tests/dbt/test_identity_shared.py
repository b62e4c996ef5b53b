"""E85, E86: fillers and office numbers, from the bodies in the vault to the marts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from ctwa.settings import Settings
from ingestion.lake.lake import Lake
from ingestion.parser.schema import EVENT_LOG
from ingestion.vault import open_vault
from ingestion.vault.vault import NewEnvelope
from keeping.erasure.forget import forget_person
from keeping.erasure.steps import land
from tests.support.erasure import message, webhook
from tests.support.hubspot import Crm, crm
from tests.support.people import people_models
from tests.support.warehouse import DbtWorld

Row = dict[str, Any]
FILLERS = ("(11) 99999-9999", "+55 11 91234-5678", "(21) 98888-8888", "12345678", "000000000")
OFFICE = "+55 11 3003-4000"
AS_OF = date(2026, 6, 30)


def put(settings: Settings, source: str, *bodies: bytes) -> None:
    """Bodies into the vault, and on into the event log."""
    received = int(datetime(2026, 6, 20, 12, tzinfo=UTC).timestamp() * 1_000_000)
    vault = open_vault(settings.vault_url)
    try:
        vault.append([NewEnvelope(received, source, body) for body in bodies])
    finally:
        vault.close()
    land(settings)


def web_lead(lead_id: str, day: int, source: str, **identities: str) -> Row:
    return {
        "lead_id": lead_id,
        "submitted_at": f"2026-05-{day:02d}T10:00:00-03:00",
        "page_url": f"https://loja.example/lp?utm_source={source}&utm_medium=cpc",
        **identities,
    }


def leads(world: DbtWorld) -> list[Row]:
    return world.query(
        "select lead_id, first_touch_date, is_qualified from marts.fct_leads"
        " order by first_touch_at, lead_id"
    )


def conflicts(world: DbtWorld) -> dict[str, int]:
    rows = world.query(
        "select reason, count(*) as n from marts.identity_conflicts group by reason order by all"
    )
    return {row["reason"]: row["n"] for row in rows}


def test_e85_strangers_who_type_a_filler_are_as_many_leads(tmp_path: Path) -> None:
    world = DbtWorld(tmp_path, as_of=AS_OF)
    forms = [
        web_lead(f"F{n}-{m}", 10 + n, "google", phone=filler, email=f"p{n}.{m}@example.org")
        for m, filler in enumerate(FILLERS)
        for n in range(3)
    ]
    alone = [web_lead(f"A{n}", 20, "facebook", phone=FILLERS[0]) for n in range(2)]
    put(world.settings, "leads", orjson.dumps([*forms, *alone]))
    # One of these numbers is somebody's: they are a person, and no form or sale is theirs.
    put(world.settings, "whatsapp", webhook(messages=[message("5511999999999", 1)]))
    sale = {
        "event_id": "1",
        "stage": "won",
        "occurred_at": "2026-06-01T10:00:00Z",
        "phone": "11 99999-9999",
    }
    put(world.settings, "outcomes", orjson.dumps([sale]))
    world.build(*people_models())
    assert len(leads(world)) == len(forms) + len(alone) + 1
    lake = Lake.from_settings(world.settings)
    assert lake.query("select * from {q}", q="event_log/quarantine").num_rows == 0
    assert world.one("marts.fct_outcomes")["lead_id"] is None


@pytest.fixture
def office(make_settings: Callable[..., Settings], tmp_path: Path) -> Any:
    """Six people by the site, whom HubSpot then gives the number of their office."""
    with crm(make_settings) as company:
        world = DbtWorld(tmp_path, settings=company.settings, as_of=AS_OF)
        forms = [
            web_lead(f"L{n}", n, "google", email=f"pessoa{n}@empresa.example") for n in range(1, 7)
        ]
        put(company.settings, "leads", orjson.dumps(forms))
        world.build(*people_models(), tests=False)
        yield company, world


def test_e86_an_office_number_on_six_contacts_joins_nobody(
    office: tuple[Crm, DbtWorld],
) -> None:
    company, world = office
    before = leads(world)
    assert len(before) == 6
    for n in range(1, 7):
        contact = company.state.contact(email=f"pessoa{n}@empresa.example", phone=OFFICE)
        company.state.deal("qualifiedtobuy" if n < 3 else "closedlost", contact, amount="100")
        if n in (1, 4, 6):  # night by night: up to four they are one, from the fifth on none is
            company.night()
            world.build(*people_models(), tests=n == 6)
            assert len(leads(world)) == {1: 6, 4: 3, 6: 6}[n]
    after = leads(world)
    assert [row["lead_id"] for row in after] == [row["lead_id"] for row in before]
    assert [row["is_qualified"] for row in after] == [True, True, *[False] * 4]
    assert conflicts(world) == {"shared_identifier": 5}
    in_nights = world.snapshot()
    world.build(*people_models(), tests=False, full_refresh=True)
    assert world.snapshot() == in_nights


def test_e86_a_correction_in_the_crm_parts_two_people_again(office: tuple[Crm, DbtWorld]) -> None:
    company, world = office
    contacts = [
        company.state.contact(email=f"pessoa{n}@empresa.example", phone="+55 11 98111-2233")
        for n in (1, 2)
    ]
    company.state.deal("qualifiedtobuy", contacts[1], amount="100")
    company.night()
    world.build(*people_models(), tests=False)
    assert [row["is_qualified"] for row in leads(world)] == [True, *[False] * 4]
    company.state.update("contacts", contacts[1], phone="+55 11 98111-4455")
    company.night(hours=24)
    world.build(*people_models())
    assert [row["is_qualified"] for row in leads(world)] == [False, True, *[False] * 4]
    assert conflicts(world) == {"corrected": 1}
    in_nights = world.snapshot()
    world.build(*people_models(), tests=False, full_refresh=True)
    assert world.snapshot() == in_nights


def test_e86_erasing_one_of_an_office_takes_exactly_theirs(tmp_path: Path) -> None:
    world = DbtWorld(tmp_path, as_of=AS_OF)
    forms = [
        web_lead(f"L{n}", n, "google", phone=OFFICE, email=f"pessoa{n}@empresa.example")
        for n in range(1, 6)
    ]
    put(world.settings, "leads", *(orjson.dumps(one) for one in forms))
    desk = webhook(messages=[message("551130034000", 1)], contacts=[("551130034000", "BR.1DESK")])
    put(world.settings, "whatsapp", desk)
    world.build(*people_models(), tests=False)
    before, all_before = leads(world), rows_by_seq(world)
    assert len(before) == 6

    erased = forget_person(world.settings, email="pessoa3@empresa.example").erased
    assert (erased.rows["web_leads"], erased.rows["messages"], erased.bodies) == (1, 0, 1)
    all_after = rows_by_seq(world)
    assert {seq for seq in all_before if all_before[seq] != all_after[seq]} == {3}
    # They were the fifth who made the number shared: the four others stay apart.
    world.build(*people_models(), full_refresh=True)
    after = leads(world)
    assert len(after) == 6
    assert {row["lead_id"] for row in before} - {row["lead_id"] for row in after} == {
        before[2]["lead_id"]
    }
    assert conflicts(world) == {"shared_identifier": 4}

    # Whoever answers at the office's number is one person; what others typed stays theirs.
    erased = forget_person(world.settings, phone=OFFICE).erased
    assert (erased.rows["web_leads"], erased.rows["messages"]) == (0, 1)
    world.build(*people_models(), tests=False, full_refresh=True)
    assert len(leads(world)) == 6
    assert len({row["lead_id"] for row in leads(world)} & {row["lead_id"] for row in before}) == 4


def rows_by_seq(world: DbtWorld) -> dict[int, list[str]]:
    """Everything of the event log but the hashes of bodies, by envelope."""
    lake = Lake.from_settings(world.settings)
    found: dict[int, list[str]] = {}
    for table in EVENT_LOG.keys() - {"envelopes"}:
        for row in lake.query("select * from {t}", t=f"event_log/{table}").to_pylist():
            found.setdefault(row["seq"], []).append(f"{table} {sorted(row.items())}")
    return {seq: sorted(rows) for seq, rows in found.items()}
