"""The weekly digest: what the marts say, in the reader's language, and nobody's name."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from ctwa.settings import Settings
from publishing.digest import make_digest
from publishing.report.facts import ReportError
from tests.support.report import AS_OF, write_marts

META = {"platform": "meta", "account_id": "1", "campaign_id": "c1", "ad_id": "ad1",
        "channel": "click_to_whatsapp"}  # fmt: skip


def born(name: str, days_ago: int, after: int | None) -> dict[str, Any]:
    """A lead of so many days ago, qualified so many days after its first touch."""
    day = AS_OF - timedelta(days=days_ago)
    touched = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    return {**META, "lead_id": f"person-{name}", "first_touch_date": day, "first_touch_at": touched,
            "is_qualified": after is not None,
            "qualified_at": None if after is None else touched + timedelta(days=after)}  # fmt: skip


def spent(days_ago: int, amount: str) -> dict[str, Any]:
    return {**META, "spend_date": AS_OF - timedelta(days=days_ago), "spend_reporting": amount}


def tables() -> dict[str, Any]:
    return {
        "fct_ad_spend": [spent(10, "300"), spent(38, "120")],
        # Of the period before, two have qualified; at the age of the later one, only the first.
        "fct_leads": [born("a", 10, 3), born("b", 38, 5), born("c", 38, 12)],
        "health_alarms": [
            {"alarm": "unallocated_spend", "status": "warn", "since": date(2026, 6, 9)},
            {"alarm": "quarantine", "status": "ok", "place": 2},
        ],
        "monday": [
            {"rank": 1, "kind": "stop", "what": "campaign", "campaign_name": "Winter",
             "money_at_stake_reporting": "1200.5", "reason_code": "dearer_than_peers",
             "reason_values": json.dumps({
                 "leads": 30, "qualified_leads": 1, "spend": 900.5, "currency": "BRL",
                 "cost_low": 400, "cost_high": 2000, "peer_cost": 80, "spend_share": 0.25,
                 "qualified_share": 0.03})},
            {"rank": 2, "kind": "look_into", "what": "stage", "reason_code": "of_another_version",
             "reason_values": "{}"},
        ],
    }  # fmt: skip


def test_e164_the_digest_says_what_to_do_what_it_costs_and_what_is_wrong(
    make_settings: Callable[..., Settings],
) -> None:
    settings = make_settings(report_url="https://reports.example.com/leads.html")
    write_marts(settings.marts_path, **tables())
    made = make_digest(settings)
    assert made.subject == "What qualified leads cost: Jun 30, 2026"
    assert "Last 28 days: R$300.00, 1 leads, 1 qualified so far." in made.text
    # 120 over one qualified lead, not over the two of today.
    assert "R$300.00; in the same days before, at equal age: R$120.00." in made.text
    assert "Stop: Winter (R$1,200.50 at stake in 30 days)" in made.text
    assert "It takes 25% of the spend and brings 3% of the qualified leads" in made.text
    assert "Look into: stage" in made.text
    assert "Spend that no ad explains (since Jun 9, 2026)" in made.text
    assert "could not be read" not in made.text  # an alarm that does not stand
    assert made.text.endswith("The report: https://reports.example.com/leads.html")
    assert "person-" not in made.text


@pytest.mark.parametrize(
    ("language", "said"),
    [("pt-BR", "R$\xa01.200,50 em jogo"), ("es", "1.200,50\xa0BRL en juego")],
)
def test_e164_the_digest_speaks_the_readers_language(
    make_settings: Callable[..., Settings], language: str, said: str
) -> None:
    settings = make_settings(digest_language=language)
    write_marts(settings.marts_path, **tables())
    text = make_digest(settings).text
    assert said in text
    assert "{" not in text
    assert " the " not in text


def test_e164_unread_spend_is_no_cost(settings: Settings) -> None:
    unread = {**META, "spend_date": AS_OF - timedelta(days=2), "spend_reporting": None}
    write_marts(settings.marts_path, **{**tables(), "fct_ad_spend": [spent(10, "300"), unread]})
    text = make_digest(settings).text
    assert "Last 28 days: –, 1 leads" in text
    assert "Cost per qualified lead: –;" in text
    assert "has not been read" in text


def test_without_marts_there_is_no_digest(settings: Settings) -> None:
    with pytest.raises(ReportError, match="run `ctwa refresh` first"):
        make_digest(settings)
