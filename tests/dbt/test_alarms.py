"""Alarms on silent loss: none fires on an ordinary company, each does when something breaks.

One world for the module, built twice: on a Monday after five ordinary weeks with quiet weekends,
and two days later, when everything that can be lost without an error has been lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import dagster as dg
import pytest

from orchestration import alarm_checks as checks
from tests.support.meta import BR, Meta, ad_row
from tests.support.people import (
    Envelope,
    Inbox,
    form,
    link,
    message,
    outcome,
    quarantined,
    received,
    referral,
    withheld,
)
from tests.support.warehouse import DbtWorld

AD, CAMPAIGN, THEIRS = "120226305854810726", "120226305854810701", "990"
FIRST, MONDAY, WEDNESDAY = date(2026, 5, 1), date(2026, 6, 8), date(2026, 6, 10)
SHARES = {
    "referral_share": (Decimal("0.1"), "10.0 % of 60 on 2026-06-09"),
    "withheld_messages": (Decimal("0.333333"), "33.3 % of 60 on 2026-06-09"),
    "unresolved_ads": (Decimal("0.089552"), "9.0 % of 134 in the seven days to 2026-06-09"),
    "platform_conversations": (Decimal("0.2"), "20.0 % of 30 on 2026-06-09"),
    "unmatched_outcomes": (Decimal("1"), "100.0 % of 40 on 2026-06-09"),
    "shared_identifiers": (Decimal("0.166667"), "16.7 % of 60 on 2026-06-09"),
    "quarantine": (Decimal("0.162602"), "16.3 % of 123 on 2026-06-09"),
    "unallocated_spend": (Decimal("0.235714"), "23.6 % in the seven days to 2026-06-09"),
}
OBSERVED = ("envelopes_missing", "meta_token", "api_versions")
ALARMS = (*SHARES, "silent_sources", "unknown_fields", *OBSERVED)


@dataclass
class Nights:
    """`health_alarms` by alarm, on the ordinary Monday and on the Wednesday after."""

    world: DbtWorld
    quiet: dict[str, dict[str, Any]]
    loud: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Nights:
    """The two builds."""
    world = DbtWorld(tmp_path_factory.mktemp("alarms"), as_of=MONDAY)
    inbox, meta = Inbox(world), Meta(world)
    meta.objects(
        "2026-05-01 12:00",
        accounts=[
            {
                "account_id": BR,
                "account_name": "Loja",
                "currency": "BRL",
                "timezone": "America/Sao_Paulo",
            }
        ],
        campaigns=[{"campaign_id": CAMPAIGN, "campaign_name": "Outono", "account_id": BR}],
        ads=[
            {"ad_id": AD, "campaign_id": CAMPAIGN, "account_id": BR, "effective_status": "ACTIVE"}
        ],
        ad_lookups=[{"ad_id": THEIRS, "lookup_status": "foreign", "attempts": 1}],
    )
    ordinary = _days(FIRST, MONDAY)
    inbox.deliver(*(e for day in ordinary for e in _ordinary(day)))
    _spend(meta, ordinary, "2026-06-08 08:00", ads="99.00")
    _observe(world, 1, "2026-06-08 08:00", "ok")
    quiet = _alarms(world, MONDAY)
    broken = _days(MONDAY, WEDNESDAY)
    inbox.deliver(*(e for day in broken for e in _broken(day)))
    _spend(meta, broken, "2026-06-10 08:00", ads="20.00")
    _observe(world, 2, "2026-06-09 08:00", "warn")
    _observe(world, 3, "2026-06-10 08:00", "warn")
    return Nights(world, quiet, _alarms(world, WEDNESDAY))


def _alarms(world: DbtWorld, as_of: date) -> dict[str, dict[str, Any]]:
    world.build("+health_alarms", as_of=as_of, tests=False)
    return {row["alarm"]: row for row in world.rows("marts.health_alarms", "place")}


def _days(first: date, end: date) -> list[date]:
    return [first + timedelta(n) for n in range((end - first).days)]


def _ordinary(day: date) -> Iterator[Envelope]:
    weekend = day.weekday() >= 5
    chats, from_ads = (40, 16) if weekend else (60, 30)
    for n in range(chats):
        signs = referral(AD) if n < from_ads else withheld() if n == from_ads else {}
        yield _received(day, message(f"{day} 15:00", phone=f"{day}.{n}", id=f"{day}.{n}", **signs))
    yield _received(day, quarantined())
    if weekend:
        return
    for n in range(40):
        who = f"nobody.{n}" if n < 4 else f"{day}.{n}"
        said = outcome(f"{day} 18:00", "lead", f"{day}.{n}", phone=who)
        yield _received(day, said, "outcomes")
    yield _received(day, form(f"{day} 16:00", f"{day}", email=f"{day}"), "leads")


def _broken(day: date) -> Iterator[Envelope]:
    """Few referrals and those of others' ads, texts withheld, strange outcomes, no forms."""
    for n in range(60):
        signs = referral(THEIRS) if n < 6 else withheld() if n < 26 else {}
        yield _received(day, message(f"{day} 15:00", phone=f"{day}.{n}", id=f"{day}.{n}", **signs))
    for _ in range(20):
        yield _received(day, quarantined())
    for n in range(40):
        said = outcome(f"{day} 18:00", "lead", f"{day}.{n}", phone=f"nobody.{n}")
        yield _received(day, said, "outcomes")
    yield _received(day, Envelope({}))
    # The office's mailbox on the records of ten of them.
    at, office = f"{day} 18:00", "email:office"
    said = [link(at, f"phone:{day}.{n}", office, "outcome", waba_id=None) for n in range(50, 60)]
    rows = [row for one in said for row in one.rows["identity_links"]]
    yield _received(day, Envelope({"identity_links": rows}), "outcomes")
    unknown = {"field": "brand_new", "is_known": False, "holds_people": True}
    yield _received(day, Envelope({"account_events": [unknown]}))


def _received(day: date, envelope: Envelope, source: str = "whatsapp") -> Envelope:
    return received(envelope, f"{day} 18:00", source)


def _spend(meta: Meta, days: list[date], at: str, *, ads: str) -> None:
    counted = {d: 16 if d.weekday() >= 5 else 30 for d in days}
    meta.spend(
        at,
        {
            (BR, d.isoformat()): (
                "100.00",
                [ad_row(AD, ads, campaign_id=CAMPAIGN, platform_conversations=counted[d])],
            )
            for d in days
        },
    )


def _observe(world: DbtWorld, read_no: int, at: str, status: str) -> None:
    row = {"read_no": read_no, "read_at": at, "status": status, "message": f"seen {read_no}"}
    world.write(
        "alarms.observations",
        [
            {**row, "alarm": "envelopes_missing", "subject": "twilio", "mend": "look"},
            {**row, "alarm": "meta_token", "measured": "3", "expected_low": "14", "mend": "renew"},
            {**row, "alarm": "api_versions", "measured": "3", "expected_low": "60", "mend": "set"},
        ],
    )


@pytest.mark.parametrize("alarm", ALARMS)
def test_e74_an_ordinary_company_with_quiet_weekends_raises_no_alarm(
    nights: Nights, alarm: str
) -> None:
    row = nights.quiet[alarm]
    assert (row["status"], row["since"], row["mend"]) == ("ok", None, None), row


@pytest.mark.parametrize("alarm", ALARMS)
def test_what_is_lost_without_an_error_raises_its_alarm(nights: Nights, alarm: str) -> None:
    row = nights.loud[alarm]
    assert row["status"] == "warn", row
    assert row["message"]
    assert row["mend"]
    assert row["as_of"] == WEDNESDAY


@pytest.mark.parametrize("alarm", ALARMS)
def test_the_check_of_an_alarm_warns_with_what_happened_and_what_to_do(
    nights: Nights, alarm: str
) -> None:
    key = dg.AssetCheckKey(checks.ALARMS[alarm][0], alarm)
    assert checks.result_of(key, nights.quiet[alarm]).passed
    row = checks.alarm_rows(nights.world.settings)[alarm]
    failed = checks.result_of(key, row)
    assert (failed.passed, failed.severity) == (False, dg.AssetCheckSeverity.WARN)
    said = f"{row['message']} (since {row['since']}). {row['mend']}"
    assert failed.description == f"{said} (docs/runbooks.md#{alarm})"


def test_every_alarm_has_its_check_and_one_that_was_taken_out_is_quiet() -> None:
    assert set(checks.ALARMS) == set(ALARMS)
    key = dg.AssetCheckKey(checks.ALARMS["quarantine"][0], "quarantine")
    assert checks.result_of(key, None).passed


def test_the_mart_has_one_row_for_each_alarm(nights: Nights) -> None:
    assert nights.quiet.keys() == nights.loud.keys() == set(ALARMS)


@pytest.mark.parametrize("alarm", SHARES)
def test_e06_e45_e55_e60_a_share_is_told_with_its_cases_its_day_and_its_range(
    nights: Nights, alarm: str
) -> None:
    row, (measured, text) = nights.loud[alarm], SHARES[alarm]
    assert row["measured"] == measured
    assert text in row["message"]
    outside = [
        row["expected_low"] is not None and measured < row["expected_low"],
        row["expected_high"] is not None and measured > row["expected_high"],
    ]
    assert any(outside)
    assert row["since"] in (MONDAY, MONDAY + timedelta(1))


def test_a_source_that_was_up_and_brought_nothing_is_named(nights: Nights) -> None:
    row = nights.loud["silent_sources"]
    assert (row["subject"], row["measured"], row["expected_high"]) == ("webhooks of leads", 4, 2)
    assert row["since"] == date(2026, 6, 6)


def test_what_was_observed_is_told_since_its_first_warning(nights: Nights) -> None:
    token = nights.loud["meta_token"]
    assert (token["since"], token["message"], token["mend"]) == (
        date(2026, 6, 9),
        "seen 3",
        "renew",
    )


def test_figures_of_the_alarms_stand_in_attribution_health_by_day(nights: Nights) -> None:
    day = nights.world.one("marts.attribution_health", "report_date = '2026-06-09'")
    assert (day["withheld"], day["outcomes"], day["unmatched_outcomes"]) == (20, 40, 40)
    assert (day["account_spend_reporting"], day["unallocated_reporting"]) == (100, 80)
    assert day["last_envelope_at"].isoformat() == "2026-06-09T18:00:00+00:00"


def test_every_rule_of_the_alarms_holds_in_its_unit_test(nights: Nights) -> None:
    chosen = "test_type:unit,path:dbt_project/models/marts/alarms"
    result = nights.world.dbt("test", "--select", chosen)
    assert len(result.result) >= 6
    assert {r.status for r in result.result} == {"pass"}
