"""Rules R1, R12, R13: nothing disappears, whatever was restated, and in however many runs."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import timedelta
from decimal import Decimal
from typing import Any

from tests.properties.examination import Examination
from tests.properties.happenings import START, Cast

ZERO = Decimal(0)
MESSAGES = {"messages", "message_echoes", "history"}


def total(rows: list[dict[str, Any]], column: str) -> Decimal:
    """Sum of what is known."""
    return sum((row[column] for row in rows if row[column] is not None), ZERO)


def test_e40_e41_e45_every_account_day_holds_what_meta_billed(examined: Examination) -> None:
    spent: dict[tuple[str, Any], Decimal] = defaultdict(Decimal)
    for row in examined.in_runs.rows("marts.fct_ad_spend"):
        spent[row["account_id"], row["spend_date"]] += row["spend"]
    billed = {
        (Cast(salt).account, (START + timedelta(days=day)).date()): amount
        for salt, history in examined.cases.by_salt.items()
        for day, amount in history.account.totals().items()
    }
    assert len(billed) > 100
    assert {day: amount for day, amount in spent.items() if amount} == {
        day: amount for day, amount in billed.items() if amount
    }
    rows = examined.in_runs.rows("marts.spend_reconciliation")
    controls = [row for row in rows if row["account_spend"] is not None]
    assert {row["spend_status"] for row in rows if row["account_spend"] is None} == {"unread"}
    found = {(row["account_id"], row["spend_date"]): row["account_spend"] for row in controls}
    assert found == billed
    assert all(r["ads_spend"] + r["unallocated"] == r["account_spend"] for r in controls)


def test_every_report_holds_every_amount_once(examined: Examination) -> None:
    state = examined.in_runs
    spend = state.rows("marts.fct_ad_spend")
    # USD has a rate and CLP has none: nothing is converted at 1 (rule R13).
    assert {row["currency"] for row in spend if row["spend_reporting"] is None} == {"CLP"}
    by_channel: dict[tuple[Any, str], list[Decimal | None]] = defaultdict(list)
    for row in spend:
        by_channel[row["spend_date"], row["channel"]].append(row["spend_reporting"])
    expected = {key: whole_sum(amounts) for key, amounts in by_channel.items()}
    assert any(expected.values())
    found = {
        (row["report_date"], row["channel"]): row["spend_reporting"]
        for row in state.rows("marts.channel_performance")
    }
    # E87: a day of one account that was not read makes the total of all unknown.
    unread = {row["spend_date"] for row in state.rows("intermediate.int_spend_days__unread")}
    assert unread & {day for day, _ in expected}
    for key, amount in expected.items():
        assert found[key] == (None if key[0] in unread else amount), key
    assert all(not amount for key, amount in found.items() if key not in expected)
    for report in ("marts.campaign_performance", "marts.ad_performance"):
        rows = state.rows(report)
        assert total(rows, "spend_reporting") == total(spend, "spend_reporting"), report
        assert spend_by_currency(rows) == spend_by_currency(spend), report


def whole_sum(amounts: list[Decimal | None]) -> Decimal | None:
    """The sum; never that of a part, where one amount is not known."""
    known = [amount for amount in amounts if amount is not None]
    return sum(known, ZERO) if len(known) == len(amounts) else None


def spend_by_currency(rows: list[dict[str, Any]]) -> dict[str | None, Decimal]:
    """Native amounts of each currency, where there are any."""
    found: dict[str | None, Decimal] = defaultdict(Decimal)
    for row in rows:
        found[row["currency"]] += row["spend"] or ZERO
    return {currency: amount for currency, amount in found.items() if amount}


def test_e20_every_lead_is_in_exactly_one_row_of_the_channels(examined: Examination) -> None:
    state = examined.in_runs
    leads = state.rows("marts.fct_leads")
    assert len(leads) > 100
    assert len({lead["lead_id"] for lead in leads}) == len(leads)
    counted = Counter(
        (lead["first_touch_date"], lead["channel"]) for lead in leads if not lead["is_excluded"]
    )
    excluded = Counter(
        (lead["first_touch_date"], lead["channel"]) for lead in leads if lead["is_excluded"]
    )
    rows = state.rows("marts.channel_performance")
    assert len({(row["report_date"], row["channel"]) for row in rows}) == len(rows)
    for column, expected in (("leads", counted), ("excluded_leads", excluded)):
        found = {(row["report_date"], row["channel"]): row[column] for row in rows if row[column]}
        assert found == expected, column


def test_leads_of_campaigns_and_ads_are_those_with_an_ad(examined: Examination) -> None:
    state = examined.in_runs
    of_ads = [lead for lead in state.rows("marts.fct_leads") if lead["platform"] is not None]
    expected = Counter(lead["is_excluded"] for lead in of_ads)
    assert expected[False] > 25
    for report in ("marts.campaign_performance", "marts.ad_performance"):
        rows = state.rows(report)
        assert sum(row["leads"] for row in rows) == expected[False], report
        assert sum(row["excluded_leads"] for row in rows) == expected[True], report


def test_e01_messages_are_rows_repeats_and_quarantined(examined: Examination) -> None:
    pieces = [piece for piece in examined.cases.pieces() if piece.part in MESSAGES]
    refused = [piece for piece in pieces if not isinstance(piece.item, dict)]
    rows = examined.in_runs.rows("intermediate.int_messages__deduplicated")
    kept, repeats = len(rows), sum(row["copies"] - 1 for row in rows)
    assert min(len(refused), repeats) >= 5
    assert kept + repeats + len(refused) == len(pieces)


def test_e21_e62_forms_and_coded_links_happen_in_these_histories(examined: Examination) -> None:
    """Of what never happens nothing would be proved."""
    touches = examined.whole.rows("marts.fct_touches")
    states = Counter(row["link_code_state"] for row in touches)
    assert {"matched", "unknown", "used"} <= states.keys()
    assert {row["basis"] for row in touches} >= {"web_ad_id", "web_click_id", "web_utm"}
    leads = examined.whole.rows("marts.fct_leads")
    assert any(row["origin"] == "web" and row["inbound_messages"] for row in leads)
