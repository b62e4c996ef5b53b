"""`/webhooks/leads`: what a form may look like, and what its sender is told otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ctwa.settings import Settings
from ingestion.vault import open_vault
from ingestion.webhook.fields import IntakeError, validate_all
from ingestion.webhook.server import running
from ingestion.webhook.shapes import WebLeadIn
from tests.ingestion.webhook.clients import INTAKE_SECRET, WEB_LEAD, get, post_leads, request


@pytest.fixture
def url(signed_settings: Settings) -> Iterator[str]:
    with running(signed_settings) as base:
        yield base


def _stored(settings: Settings) -> list[tuple[str, bytes]]:
    vault = open_vault(settings.vault_url)
    rows = [row for batch in vault.read_batches(0) for row in batch.to_pylist()]
    vault.close()
    return [(row["source"], row["body"]) for row in rows]


def test_a_lead_and_a_list_of_leads_are_kept_as_they_came(
    url: str, signed_settings: Settings
) -> None:
    one, many = json.dumps(WEB_LEAD).encode(), json.dumps([WEB_LEAD] * 1_000).encode()
    assert post_leads(url, one).status == 200
    assert post_leads(url, many).status == 200
    assert _stored(signed_settings) == [("leads", one), ("leads", many)]
    assert b'endpoint="/webhooks/leads",outcome="stored"} 2.0' in get(url, "/metrics").body


def test_unsigned_and_too_large_leads_are_refused(url: str, signed_settings: Settings) -> None:
    body = json.dumps(WEB_LEAD).encode()
    assert request(url, "POST", "/webhooks/leads", body).status == 401
    assert post_leads(url, body, secret="another").status == 401
    assert post_leads(url, b" " * (3 * 2**20 + 1)).status == 413
    assert request(url, "GET", "/webhooks/leads").status == 405
    assert _stored(signed_settings) == []


def test_a_misfit_names_each_field_and_nothing_is_stored(
    url: str, signed_settings: Settings
) -> None:
    bad = WEB_LEAD | {"submitted_at": "2026-05-04T14:31:00", "phone": "canary 4711"}
    reply = post_leads(url, [WEB_LEAD, bad])
    assert reply.status == 422
    assert json.loads(reply.body)["problems"] == [
        {"element": 1, "field": "submitted_at",
         "reason": "expects ISO 8601 with an offset, e.g. 2026-05-04T14:31:00-03:00"},
        {"element": 1, "field": "phone",
         "reason": "expects a phone number that can exist, best in full, e.g. +5511987654321"},
    ]  # fmt: skip
    assert b"4711" not in reply.body
    assert _stored(signed_settings) == []


@pytest.mark.parametrize(
    ("phone", "kept"), [("(11) 98765-4321", ["phone", "email"]), ("canary", ["email"])]
)
def test_the_example_of_the_docs_keeps_every_lead(
    url: str,
    signed_settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    phone: str,
    kept: list[str],
) -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "connect" / "website.md"
    code = page.read_text().partition("```python\n")[2].partition("```")[0]
    example: dict[str, Any] = {}
    exec(compile(code, page, "exec"), example)
    example["URL"] = f"{url}/webhooks/leads"
    monkeypatch.setenv("CTWA_INTAKE_SECRET", INTAKE_SECRET)
    example["send_lead"]({"phone": phone, "email": "ana.souza@example.com"})
    ((source, body),) = _stored(signed_settings)
    assert source == "leads"
    assert [name for name in ("phone", "email") if json.loads(body).get(name)] == kept


def test_without_the_secret_leads_wait_at_the_sender(settings: Settings) -> None:
    with running(settings) as base:
        assert post_leads(base, WEB_LEAD).status == 503


@pytest.mark.parametrize(
    "change",
    [
        {"phone": None, "email": None, "page_url": None, "referrer": None, "brand": None},
        {"phone": "", "email": "", "page_url": "", "referrer": "", "brand": ""},
        {"phone": "1111111111"},
        {"page_url": "about:blank"},
        {"email": "nao@tem.com"},
        {"name": "Ana", "utm_source": "elsewhere"},
        {"submitted_at": "2026-05-04T17:31:00Z"},
    ],
)
def test_what_a_form_may_lack_or_have_more(change: dict[str, object]) -> None:
    (lead,) = validate_all(json.dumps(WEB_LEAD | change).encode(), WebLeadIn)
    assert lead.submitted_at == datetime(2026, 5, 4, 17, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"lead_id": ""}, "lead_id"),
        ({"lead_id": True}, "lead_id"),
        ({"submitted_at": None}, "submitted_at"),
        ({"submitted_at": "2026-05-04"}, "submitted_at"),
        ({"submitted_at": 1777000000}, "submitted_at"),
        ({"phone": 5511987654321}, "phone"),
        ({"email": "ana"}, "email"),
        ({"page_url": 1}, "page_url"),
        ({"page_url": "https://x.example/" + "a" * 8_192}, "page_url"),
        ({"page_url": "https://x.example/\x00"}, "page_url"),
        ({"brand": "x" * 81}, "brand"),
    ],
)
def test_each_misfit_names_its_field(change: dict[str, object], field: str) -> None:
    with pytest.raises(IntakeError) as caught:
        validate_all(json.dumps(WEB_LEAD | change).encode(), WebLeadIn)
    assert [problem.field for problem in caught.value.problems] == [field]
