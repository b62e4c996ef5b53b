"""Meta's instant forms: notices of the page's webhook, and leads as they were read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.ingestion.parser.payloads import (
    NAMES,
    SENT,
    Rows,
    envelope,
    links,
    message,
    parse,
    reasons,
)

LEAD_ID, FORM, PAGE, AD = "1122334455667788", "900100200300400", "516540199", "120299990000000001"
NAME, EMAIL, PHONE = "Ana Souza Lima", "ana.souza@example.com", "+5531987650001"
NOTICE = {
    "leadgen_id": LEAD_ID, "form_id": FORM, "page_id": PAGE, "ad_id": AD, "adgroup_id": AD,
    "created_time": SENT,
}  # fmt: skip


def notice(**changes: Any) -> dict[str, Any]:
    value = {k: v for k, v in (NOTICE | changes).items() if v is not None}
    change = {"field": "leadgen", "value": value}
    return {"object": "page", "entry": [{"id": PAGE, "time": SENT, "changes": [change]}]}


def lead(*, is_test: bool = False, answers: dict[str, Any] | None = None, **changes: Any) -> Any:
    given = answers if answers is not None else {
        "full_name": NAME, "email": EMAIL, "phone_number": PHONE, "orçamento?": "alto",
    }  # fmt: skip
    body = {
        "id": LEAD_ID, "created_time": "2026-06-09T12:00:00+0000", "ad_id": AD, "form_id": FORM,
        "campaign_id": "7", "adset_id": "8", "is_organic": False, "platform": "ig",
        "field_data": [{"name": n, "values": [v]} for n, v in given.items()],
    }  # fmt: skip
    return {
        "page_id": PAGE, "read_at": "2026-06-09T12:01:00+00:00", "is_test": is_test,
        "lead": {k: v for k, v in (body | changes).items() if v is not None},
    }  # fmt: skip


def read(*bodies: Any) -> Rows:
    return parse(*bodies, source="meta_lead_forms")


@pytest.mark.parametrize("source", ["messenger", "whatsapp"])
def test_a_notice_is_read_at_either_address_of_metas_webhooks(source: str) -> None:
    rows = parse(notice(), source=source)
    (row,) = rows["form_notices"]
    assert (row["leadgen_id"], row["form_id"], row["page_id"]) == (LEAD_ID, FORM, PAGE)
    assert (row["ad_id"], row["is_test"]) == (AD, False)
    assert row["web_lead_key"] == NAMES.web_lead(LEAD_ID)
    assert row["created_at"] == datetime.fromtimestamp(SENT, UTC)
    assert rows["quarantine"] == rows["web_leads"] == rows["messages"] == []


def test_a_message_that_quotes_a_page_is_still_a_message() -> None:
    rows = parse(envelope(message(text={"body": 'see "page"'}), contacts=[{"wa_id": "page"}]))
    assert len(rows["messages"]) == 1


def test_ids_of_a_notice_may_be_numbers_and_a_bad_one_is_quarantined_alone() -> None:
    body = notice(leadgen_id=int(LEAD_ID), ad_id=None, adgroup_id=None)
    body["entry"][0]["changes"] += [
        {"field": "leadgen", "value": NOTICE | {"form_id": "x"}},
        {"field": "leadgen", "value": 7},
    ]
    rows = parse(body, source="messenger")
    assert [row["leadgen_id"] for row in rows["form_notices"]] == [LEAD_ID]
    assert rows["form_notices"][0]["ad_id"] is None
    assert reasons(rows) == ["form_id_not_digits", "notice_not_object"]


def test_the_sample_of_the_app_dashboard_is_marked() -> None:
    sample = notice(leadgen_id="444444444444", form_id="444444444444", page_id="444444444444")
    assert parse(sample, source="messenger")["form_notices"][0]["is_test"]


def test_a_lead_becomes_a_form_with_its_ids_and_identities() -> None:
    rows = read(lead())
    (row,) = rows["web_leads"]
    phone, email, web_lead = NAMES.phone(PHONE), NAMES.email(EMAIL), NAMES.web_lead(LEAD_ID)
    assert (row["form_key"], row["web_lead_key"]) == (NAMES.web_form(LEAD_ID), web_lead)
    assert (row["phone_key"], row["email_key"], row["country"]) == (phone, email, "BR")
    assert (row["ad_platform"], row["ad_id"], row["adset_id"], row["campaign_id"]) == (
        "meta", AD, "8", "7",
    )  # fmt: skip
    assert (row["leadgen_id"], row["lead_form_id"], row["page_id"]) == (LEAD_ID, FORM, PAGE)
    assert (row["is_organic"], row["is_test"]) == (False, False)
    assert row["submitted_at"] == datetime(2026, 6, 9, 12, tzinfo=UTC)
    assert links(rows) == {(web_lead, phone, "web_lead"), (web_lead, email, "web_lead")}
    assert rows["envelopes"][0]["web_leads"] == 1


def test_no_answer_is_in_any_row() -> None:
    rows = read(lead(), lead(created_time="soon"), lead(form_id="x"), lead(ad_id="y"))
    assert reasons(rows) == ["time_unreadable", "form_id_not_digits", "ad_id_not_digits"]
    for secret in (NAME, EMAIL, PHONE, "31987650001", "alto"):
        assert secret not in str(rows)


@pytest.mark.parametrize(
    ("answers", "phone", "email"),
    [
        ({"work_phone_number": PHONE, "work_email": EMAIL}, PHONE, EMAIL),
        ({"Qual seu WhatsApp?": "(31) 98765-0001", "seu_e-mail": EMAIL}, PHONE, EMAIL),
        # Meta's own question decides; what a company asks besides may be somebody else's.
        ({"phone_number": PHONE, "telefone_do_gerente": "+5531987650002"}, PHONE, None),
        ({"phone_number": "999999999999", "email": "nao@tem.com"}, None, None),
        ({"phone_number": "amanhã", "email": "none"}, None, None),
        ({"PHONE_NUMBER": "031 98765-0001", "Email": f" {EMAIL.upper()} "}, PHONE, EMAIL),
        ({"phone_number": "5531987650001"}, PHONE, None),
        ({"phone_number": "0055 (31) 98765-0001"}, PHONE, None),
        ({"phone_number": "+55 31 8765-0001"}, PHONE, None),  # without its ninth digit
        ({"phone_number": "31 98765-0001 ou 31 98765-0002"}, None, None),  # whose?
        ({"teléfono_móvil": "+52 1 55 2841 9073", "correo": EMAIL}, "+525528419073", EMAIL),
        ({"qual_modelo_do_seu_celular?": "Galaxy S23", "email": EMAIL}, None, EMAIL),
        ({"full_name": EMAIL, "cidade": PHONE}, None, None),
        ({}, None, None),
    ],
)
def test_e184_phone_and_email_are_found_by_their_questions(
    answers: dict[str, str], phone: str | None, email: str | None
) -> None:
    (row,) = read(lead(answers=answers))["web_leads"]
    assert row["phone_key"] == (phone and NAMES.phone(phone))
    assert row["email_key"] == (email and NAMES.email(email))


def test_e184_several_choices_and_a_question_asked_twice_lose_nothing() -> None:
    answers = [
        {"name": "services", "values": ["botox", "peeling", PHONE, 7, None]},
        {"name": "email", "values": []},
        {"name": "email", "values": [EMAIL, "ana@example.org"]},
        {"name": "phone_number", "values": [PHONE]},
        {"name": 7, "values": ["x"]},
        {"values": "x"},
        "x",
    ]
    rows = read(lead(field_data=answers))
    (row,) = rows["web_leads"]
    assert (row["phone_key"], row["email_key"]) == (NAMES.phone(PHONE), NAMES.email(EMAIL))
    assert {other for _, other, _ in links(rows)} == {
        NAMES.phone(PHONE), NAMES.email(EMAIL), NAMES.email("ana@example.org"),
    }  # fmt: skip
    assert read(lead(field_data="x"))["web_leads"][0]["phone_key"] is None


@pytest.mark.parametrize(
    "written", ["2026-06-09T09:00:00-0300", "2026-06-09T12:00:00Z", "2026-06-09T17:30:00+05:30"]
)
def test_times_of_any_offset_are_one_moment(written: str) -> None:
    (row,) = read(lead(created_time=written))["web_leads"]
    assert row["submitted_at"] == datetime(2026, 6, 9, 12, tzinfo=UTC)


def test_ids_beyond_two_to_the_53_stay_whole() -> None:
    longest = "12345678901234567"
    rows = parse(notice(leadgen_id=int(longest)), source="messenger")["form_notices"]
    rows += read(lead(id=longest))["web_leads"] + read(lead(id=int(longest)))["web_leads"]
    assert [row["leadgen_id"] for row in rows] == [longest] * 3
    assert reasons(read(lead(id=1.2345678901234567e16))) == ["id_not_text"]


@pytest.mark.parametrize(
    "made",
    [
        lead(is_test=True),
        lead(answers={"email": "test@meta.com", "phone_number": PHONE}),
        lead(answers={"full_name": "<test lead: dummy data for full_name>", "email": EMAIL}),
    ],
)
def test_a_test_lead_is_kept_marked_and_links_nobody(made: Any) -> None:
    rows = read(made)
    assert rows["web_leads"][0]["is_test"]
    assert rows["identity_links"] == []


def test_a_body_that_is_not_ours_is_quarantined() -> None:
    assert reasons(read({}, [], {"lead": 7})) == ["lead_missing", "lead_missing", "id_missing"]
