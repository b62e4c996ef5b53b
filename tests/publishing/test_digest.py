"""The weekly digest: what the marts say, in the reader's language, and nobody's name."""

from __future__ import annotations

import json
import re
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


HOSTILE = "<img src='https://evil.example/x.png'> & \u202eحملة"


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
            {"rank": 2, "kind": "look_into", "what": "answering", "reason_code": "answered_slowly",
             "reason_values": json.dumps({
                 "leads": 40, "answer_group": "over_24h", "reference_group": "under_5m",
                 "rate_difference": -0.12, "rate_difference_low": -0.2,
                 "rate_difference_high": -0.04})},
            {"rank": 3, "kind": "look_into", "what": "campaign", "campaign_name": "Norte",
             "adset_name": "Grupo 2", "reason_code": "over_budget", "reason_values": json.dumps({
                 "spend_so_far": 800, "expected_spend": 1250.5, "monthly_budget": 1000,
                 "currency": "USD", "month_start": "2026-06-01"})},
            {"rank": 4, "kind": "look_into", "what": "stage", "reason_code": "of_another_version",
             "reason_values": "{}"},
            {"rank": 5, "kind": "look_into", "what": "account", "account_name": HOSTILE,
             "reason_code": "unallocated", "reason_values": json.dumps({
                 "unallocated": 1448.3, "monthly_spend": 4800})},
            {"rank": 6, "kind": "look_into", "what": "alarm", "alarm": "unallocated_spend",
             "reason_code": "alarm", "reason_values": json.dumps({
                 "alarm": "unallocated_spend", "since": "2026-06-09", "measured": 0.3,
                 "expected_high": 0.118})},
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
    assert "for R$900.50: a qualified lead is expected to cost R$400.00 to R$2,000.00" in made.text
    assert "answered after more than 24 hours, fewer qualified than of those" in made.text
    assert "by 12 points (4 points to 20 points)" in made.text
    assert "$800.00 spent so far, $1,250.50 expected by the end of the month" in made.text
    assert "Look into: Grupo 2 · Norte" in made.text
    assert "Look into: Stage of the CRM" in made.text
    assert "R$1,448.30 of R$4,800.00 in 30 days was billed and belongs to no ad" in made.text
    assert "Measured 30.0%, since Jun 9, 2026" in made.text
    assert "Spend that no ad explains (since Jun 9, 2026)" in made.text
    assert "could not be read" not in made.text  # an alarm that does not stand
    assert made.text.endswith("The report: https://reports.example.com/leads.html")
    assert "person-" not in made.text
    # The same as HTML: names are text, and the only address is the report's.
    assert HOSTILE in made.text
    assert HOSTILE not in made.html
    assert "<b><bdi>Stop: Winter (R$1,200.50 at stake in 30 days)</bdi></b>" in made.html
    assert re.findall(r"(?:href|src)='([^']*)'", made.html) == [settings.report_url]


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


def test_e164_the_digest_says_which_published_weeks_were_changed(settings: Settings) -> None:
    def restated(days_ago: int, spend: str, cause: str = "restated_spend") -> dict[str, Any]:
        day, on = AS_OF - timedelta(days=days_ago), AS_OF - timedelta(days=3)
        return {
            "restated_on": on, "cause": cause, "report_date": day, "spend_reporting_delta": spend,
        }  # fmt: skip

    changes = [
        restated(10, "-12"), restated(9, "4"),  # the week has 300: more than a twentieth
        restated(3, "50"),  # so does the week after it: one run of days
        restated(17, "-4"),  # the week has 100: less
        restated(24, "90", cause="rules"),
        restated(40, "90"),  # before these weeks
    ]  # fmt: skip
    spend = [spent(10, "300"), spent(17, "100"), spent(24, "100"), spent(3, "100")]
    write_marts(settings.marts_path, **{**tables(), "fct_ad_spend": spend, "restatements": changes})
    said = [line for line in make_digest(settings).text.splitlines() if "after they were" in line]
    assert said == [
        "Figures of Jun 20, 2026 – Jun 27, 2026 were changed by more than a little after they were "
        "published, last on Jun 27, 2026."
    ]


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
