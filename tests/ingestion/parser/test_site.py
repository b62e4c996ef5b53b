"""Web leads, clicks on the site's button, and codes in messages."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ctwa.link_code import code_of, shown
from ctwa.pseudonym import is_filler_email
from ingestion.parser import Parser
from tests.ingestion.parser.payloads import (
    NAMES,
    RECEIVED,
    Rows,
    batch_of,
    envelope,
    links,
    message,
    parse,
    reasons,
)

RECEIPT = datetime.fromtimestamp(RECEIVED.timestamp(), UTC)
CODE = code_of("7KQ2M9XF", "aurora")
LEAD = {
    "lead_id": " form-1 ",
    "submitted_at": "2026-06-10T09:00:00-03:00",
    "phone": "(31) 98765-0001",
    "email": "Ana.Souza@example.com",
    "page_url": "https://www.example.com/lp?utm_source=google&utm_medium=cpc&gclid=Cj0KCQ-abc_DEF",
    "referrer": "https://www.google.com",
    "brand": "aurora",
}


def _lead(**extra: Any) -> dict[str, Any]:
    return LEAD | extra


def _leads(*leads: Any) -> Rows:
    return parse(list(leads), source="leads")


def test_a_form_becomes_one_row_with_its_page_and_links() -> None:
    rows = parse(_lead(), source="leads")
    (row,) = rows["web_leads"]
    phone, email = NAMES.phone("+55 31 98765-0001"), NAMES.email("ana.souza@example.com")
    web_lead = NAMES.web_lead("form-1")
    assert (row["form_key"], row["web_lead_key"]) == (NAMES.web_form("form-1"), web_lead)
    assert (row["phone_key"], row["email_key"], row["country"]) == (phone, email, "BR")
    assert row["submitted_at"] == datetime(2026, 6, 10, 12, tzinfo=UTC)
    assert (row["brand"], row["page_host"], row["page_path"]) == (
        "aurora", "www.example.com", "/lp",
    )  # fmt: skip
    assert (row["ad_platform"], row["gclid"], row["referrer_host"]) == (
        "google", "Cj0KCQ-abc_DEF", "www.google.com",
    )  # fmt: skip
    assert links(rows) == {(web_lead, phone, "web_lead"), (web_lead, email, "web_lead")}
    assert {(r["waba_id"], r["observed_at"]) for r in rows["identity_links"]} == {
        (None, row["submitted_at"])
    }
    (counted,) = rows["envelopes"]
    assert (counted["web_leads"], counted["link_clicks"], counted["quarantined"]) == (1, 0, 0)


@pytest.mark.parametrize(
    ("brand", "kept"),
    [
        ("Aurora - Ana.Souza@example.com", "Aurora"), ("aurora 31 98765-0001", "aurora"),
        ("someone@else.example", None), ("+55 11 98765-4321", None), ("Aurora 24h", "Aurora 24h"),
    ],
)  # fmt: skip
def test_a_brand_holds_nobodys_address_or_number(brand: str, kept: str | None) -> None:
    assert [row["brand"] for row in _leads(_lead(brand=brand))["web_leads"]] == [kept]


def test_an_outcome_of_the_same_lead_id_has_the_same_key() -> None:
    outcome = {"event_id": "e", "stage": "won", "occurred_at": "2026-06-11T09:00:00Z",
               "lead_id": "form-1"}  # fmt: skip
    told = parse(outcome, source="outcomes")["outcomes"][0]["web_lead_key"]
    assert told == _leads(LEAD)["web_leads"][0]["web_lead_key"]


def test_a_form_without_phone_and_email_is_a_lead_all_the_same() -> None:
    rows = _leads({"lead_id": "x", "submitted_at": "2026-06-10T09:00:00Z"})
    (row,) = rows["web_leads"]
    assert (row["phone_key"], row["email_key"], row["country"], row["brand"]) == (None,) * 4
    assert row["has_unexpanded_macro"] is False
    assert rows["identity_links"] == []


@pytest.mark.parametrize(
    "filler", ["(11) 99999-9999", "+55 21 98888-8888", "91234-5678", "12345678", "000000000"]
)
def test_e85_filler_numbers_are_nobodys_unless_whatsapp_shows_them(filler: str) -> None:
    rows = _leads(_lead(phone=filler), _lead(lead_id="2", phone=filler, email=None))
    assert [(r["phone_key"], r["country"]) for r in rows["web_leads"]] == [(None, None)] * 2
    assert [r["right_kind"] for r in rows["identity_links"]] == ["email"]
    assert reasons(rows) == []
    outcome = {"event_id": "e", "stage": "won", "occurred_at": "2026-06-11T09:00:00Z",
               "phone": filler, "user_id": "BR.1234567890"}  # fmt: skip
    rows = parse(outcome, source="outcomes")
    assert (rows["outcomes"][0]["phone_key"], rows["identity_links"]) == (None, [])
    consent = {"given": False, "declared_at": "2026-06-11T09:00:00Z", "phone": filler}
    assert reasons(parse(consent, source="consents")) == ["consent_invalid"]
    rows = parse(consent | {"email": "ana@example.com"}, source="consents")
    assert (rows["consents"][0]["phone_key"], rows["identity_links"]) == (None, [])


def test_e85_a_message_from_such_a_number_is_somebodys() -> None:
    real = "5511999999999"
    (row,) = parse(envelope(message(1, **{"from": real})))["messages"]
    assert row["phone_key"] == NAMES.phone(real) is not None
    word = {"given": False, "declared_at": "2026-06-11T09:00:00Z", "wa_id": real}
    rows = parse(word | {"email": "ana@example.com"}, source="consents")
    assert (rows["consents"][0]["phone_key"], rows["identity_links"]) == (NAMES.phone(real), [])


@pytest.mark.parametrize(
    "address",
    ["test@test.com", "a@a.com", "nao@tem.com", "Teste@Gmail.com", "x@x", "aaa@aaa.com.br",
     "nao.tenho@hotmail.com", "email@email.com", "sem@email.com", "test+1@example.com",
     "asd@asd.asd", "123@123.com"],
)  # fmt: skip
def test_filler_addresses_make_nobody_the_same_person(address: str) -> None:
    rows = _leads(_lead(email=address), _lead(lead_id="2", phone="(31) 98765-0002", email=address))
    assert [row["email_key"] for row in rows["web_leads"]] == [None, None]
    assert {kind for row in rows["identity_links"] for kind in (row["right_kind"],)} == {"phone"}
    outcome = {"event_id": "e", "stage": "won", "occurred_at": "2026-06-11T09:00:00Z",
               "email": address}  # fmt: skip
    (kept,) = parse(outcome, source="outcomes")["outcomes"]
    assert kept["email_key"] is None


@pytest.mark.parametrize(
    "address",
    ["ana@example.com", "ana@teste.com.br", "test@aurora.com.br", "contato@imob.com.br",
     "jose.tem@gmail.com", "naomi@gmail.com", "email@aurora.com", "aa1@gmail.com"],
)  # fmt: skip
def test_addresses_of_somebody_are_kept(address: str) -> None:
    assert not is_filler_email(address)
    assert _leads(_lead(email=address))["web_leads"][0]["email_key"] == NAMES.email(address)


def test_one_bad_lead_takes_no_other_with_it() -> None:
    bad = [_lead(submitted_at="2026-06-10T09:00:00"), _lead(phone="canary"), "text"]
    rows = _leads(LEAD, *bad, _lead(lead_id="2"))
    assert len(rows["web_leads"]) == 2
    assert reasons(rows) == ["web_lead_invalid"] * 3
    assert [row["path"] for row in rows["quarantine"]] == ["[1]", "[2]", "[3]"]
    assert "canary" not in str(rows["quarantine"])


def test_e13_a_form_from_the_future_gets_the_time_of_receipt() -> None:
    late = (RECEIPT + timedelta(days=2)).isoformat()
    soon = (RECEIPT + timedelta(hours=2)).isoformat()
    rows = _leads(_lead(submitted_at=late), _lead(submitted_at=soon))
    assert [row["submitted_at"] for row in rows["web_leads"]] == [
        RECEIPT, RECEIPT + timedelta(hours=2),
    ]  # fmt: skip


def test_e77_nothing_personal_of_a_form_reaches_the_event_log() -> None:
    page = "https://x.example/ola/ana.souza@example.com?name=Ana&email=ana.souza@example.com"
    rows = _leads(_lead(page_url=page, name="Ana Souza", referrer=f"{page}#ana"))
    text = json.dumps(rows, default=str).lower()
    assert rows["web_leads"]
    assert not [trace for trace in ("ana", "souza", "98765") if trace in text]


# ---- clicks ------------------------------------------------------------------------------------


def _click(**extra: Any) -> dict[str, Any]:
    return {"code": CODE, "page_url": LEAD["page_url"], **extra}


@pytest.mark.parametrize(
    ("told", "counts"),
    [
        (timedelta(seconds=-3), True),
        (timedelta(hours=-23), True),
        (timedelta(days=-80), True),
        (timedelta(days=-5_000), False),
        (timedelta(minutes=4), True),
        (timedelta(minutes=6), False),
    ],
)
def test_a_click_has_the_visitors_time_where_it_can_be_right(told: timedelta, counts: bool) -> None:
    rows = parse(_click(clicked_at=(RECEIPT + told).isoformat()), source="clicks")
    (row,) = rows["link_clicks"]
    assert row["clicked_at"] == (RECEIPT + told if counts else RECEIPT)
    assert (row["link_code_key"], row["gclid"]) == (NAMES.link_code(CODE), "Cj0KCQ-abc_DEF")
    assert rows["envelopes"][0]["link_clicks"] == 1


def test_a_click_without_a_time_has_that_of_receipt() -> None:
    assert parse(_click(), source="clicks")["link_clicks"][0]["clicked_at"] == RECEIPT


def test_a_click_that_is_none_is_quarantined() -> None:
    rows = parse(_click(code="CW"), source="clicks")
    assert (rows["link_clicks"], reasons(rows)) == ([], ["link_click_invalid"])


# ---- codes in messages -------------------------------------------------------------------------


def _coded(body: str, site_id: str = "aurora", **extra: Any) -> tuple[str | None, str | None]:
    raw = envelope(message(type="text", text={"body": body}, **extra))
    tables = Parser(NAMES, site_id=site_id).parse(batch_of([raw]))
    (row,) = tables["messages"].to_pylist()
    return row["link_code_key"], row["link_code_state"]


FIT = (NAMES.link_code(CODE), "fit")


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (f"Olá! ({shown(CODE)})", FIT),
        (shown(CODE).lower(), FIT),
        (f"oi {shown(CODE)}, {shown(CODE).lower()}.", FIT),
        ("Olá!", (None, None)),
        ("a CW-1 is no code, a cw- neither", (None, None)),
        (f"oi {shown(code_of('00000000', 'another-site'))}", (None, "unfit")),
        (f"oi {shown(CODE)[:-1]}", (None, "unfit")),
        (f"oi CW-{CODE[:4]}-{CODE[4:]}", (None, "unfit")),
        (f"oi x{shown(CODE)}", (None, None)),
        (f"oi {shown(CODE)}-2", (None, None)),
        (f"{shown(CODE)} {shown(code_of('00000000', 'aurora'))}", (None, "several")),
    ],
)
def test_e21_the_code_in_a_message(body: str, found: tuple[str | None, str | None]) -> None:
    assert _coded(body) == found


def test_e21_without_a_site_of_our_own_no_code_is_ours() -> None:
    assert _coded(shown(CODE), site_id="") == (None, "unfit")


def test_e21_a_code_in_a_quoted_or_other_kind_of_message_is_none() -> None:
    button = {"type": "button", "button": {"text": shown(CODE), "payload": shown(CODE)}}
    raws = [
        envelope(message(**button)),
        envelope(message(type="image", image={"caption": shown(CODE)})),
        envelope(message(type="text", text={"body": 7})),
        envelope(field="smb_message_echoes", message_echoes=[
            message(type="text", text={"body": shown(CODE)}, to="5531987650001")]),
        envelope(field="history", history=[{"threads": [
            {"id": "5531987650001",
             "messages": [message(type="text", text={"body": shown(CODE)})]}]}]),
    ]  # fmt: skip
    tables = Parser(NAMES, site_id="aurora").parse(batch_of(raws))
    rows = tables["messages"].to_pylist()
    assert [row["origin"] for row in rows] == ["live", "live", "live", "echo", "history"]
    assert {row["link_code_state"] for row in rows} == {None}
