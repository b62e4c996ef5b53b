"""Rates of the European Central Bank into the lake: new days, corrections, holidays, failures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ctwa.settings import Settings
from ingestion.apis.client import RetryPolicy
from ingestion.lake.lake import Lake
from ingestion.rates.source import (
    EcbCounts,
    EcbRefusedError,
    EcbUnavailableError,
    land_ecb_rates,
    parse,
)
from simulator.ecb_api import EcbApi, serve_ecb_api

D = Decimal
QUICK = RetryPolicy(tries=4, base=0.001)
FRIDAY, MONDAY, TUESDAY = date(2026, 5, 8), date(2026, 5, 11), date(2026, 5, 12)


@dataclass
class Bank:
    """The stand-in, and landings against it at a time that tests move."""

    api: EcbApi
    settings: Settings
    now: datetime = datetime(2026, 5, 11, 16, tzinfo=UTC)

    def land(self) -> EcbCounts:
        return land_ecb_rates(self.settings, now=lambda: self.now, policy=QUICK)

    def rows(self) -> list[dict[str, Any]]:
        lake = Lake.from_settings(self.settings)
        sql = "select * from {r} order by read_no, rate_date, currency"
        found: list[dict[str, Any]] = lake.query(sql, r="exchange_rates/ecb_rates").to_pylist()
        return found


@pytest.fixture
def bank(make_settings: Callable[..., Settings]) -> Iterator[Bank]:
    rates = {
        (FRIDAY, "USD"): "1.1265",
        (FRIDAY, "BRL"): "6.3412",
        (MONDAY, "USD"): "1.1106",
        (MONDAY, "BRL"): "6.2938",
    }
    with serve_ecb_api(rates) as api:
        yield Bank(api, make_settings(exchange_rates="ecb", ecb_url=api.url))


def test_rates_land_as_exact_decimals_and_only_once(bank: Bank) -> None:
    first = bank.land()
    assert (first.rows["ecb_rates"], first.last_day, first.read_no) == (4, "2026-05-11", 1)
    assert [(r["rate_date"], r["currency"], r["rate_per_eur"]) for r in bank.rows()] == [
        (FRIDAY, "BRL", D("6.3412")),
        (FRIDAY, "USD", D("1.1265")),
        (MONDAY, "BRL", D("6.2938")),
        (MONDAY, "USD", D("1.1106")),
    ]
    assert bank.land().rows["ecb_rates"] == 0
    assert len(bank.rows()) == 4
    assert bank.api.wrong == []


def test_a_new_day_and_a_corrected_rate_are_a_new_read_of_their_own(bank: Bank) -> None:
    bank.land()
    bank.api.rates[TUESDAY, "USD"] = "1.1152"
    bank.api.rates[FRIDAY, "USD"] = "1.1266"
    bank.now += timedelta(days=1)
    assert bank.land().rows["ecb_rates"] == 2
    assert [(r["rate_date"], r["rate_per_eur"]) for r in bank.rows() if r["read_no"] == 2] == [
        (FRIDAY, D("1.1266")),
        (TUESDAY, D("1.1152")),
    ]


def test_the_first_read_goes_back_as_far_as_spend_may_the_next_a_few_days(bank: Bank) -> None:
    bank.land()
    bank.land()
    asked = [dict(p.split("=") for p in c.split("&"))["startPeriod"] for c in bank.api.calls]
    assert asked == ["2023-01-27", "2026-05-01"]


def test_holidays_suspended_currencies_and_odd_codes_leave_no_row(bank: Bank) -> None:
    bank.api.rates |= {
        (MONDAY, "RUB"): "NaN",
        (MONDAY, "HRK"): "",
        (MONDAY, "E01"): "101.5",
    }
    bank.land()
    assert {r["currency"] for r in bank.rows()} == {"USD", "BRL"}


def test_a_period_without_rates_is_no_error(bank: Bank) -> None:
    bank.api.rates.clear()
    assert bank.land() == EcbCounts(read_no=1)


def test_the_full_form_of_the_answer_is_read_as_well() -> None:
    body = (
        "KEY,FREQ,CURRENCY,CURRENCY_DENOM,EXR_TYPE,EXR_SUFFIX,TIME_PERIOD,OBS_VALUE,OBS_STATUS,"
        "TITLE_COMPL\r\nEXR.D.USD.EUR.SP00.A,D,USD,EUR,SP00,A,2026-05-11,1.1106,A,"
        '"ECB reference exchange rate, US dollar/Euro, 2.15 pm (C.E.T.)"\r\n'
    )
    assert parse(body) == {(MONDAY, "USD"): D("1.11060000")}


def test_an_outage_is_tried_again_and_then_told(bank: Bank) -> None:
    bank.api.faults = [503, 503]
    assert bank.land().rows["ecb_rates"] == 4
    bank.api.faults = [503] * 9
    with pytest.raises(EcbUnavailableError, match="HTTP 503") as caught:
        bank.land()
    assert caught.value.is_transient
    assert len(bank.rows()) == 4


def test_a_bank_that_cannot_be_reached_is_an_outage(bank: Bank) -> None:
    settings = bank.settings.model_copy(update={"ecb_url": "http://127.0.0.1:9"})
    with pytest.raises(EcbUnavailableError, match="check CTWA_ECB_URL"):
        land_ecb_rates(settings, now=lambda: bank.now, policy=QUICK)


def test_a_refusal_is_told_with_its_mend(bank: Bank) -> None:
    bank.api.faults = [403]
    with pytest.raises(EcbRefusedError, match=r"HTTP 403.*CTWA_EXCHANGE_RATES=seed"):
        bank.land()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("<html>moved</html>", "no column CURRENCY, CURRENCY_DENOM, TIME_PERIOD, OBS_VALUE"),
        ("CURRENCY,CURRENCY_DENOM,TIME_PERIOD,OBS_VALUE\nUSD,EUR,2026-05-11,abc\n", "USD"),
        ("CURRENCY,CURRENCY_DENOM,TIME_PERIOD,OBS_VALUE\nUSD,EUR,2026-05,1.1\n", "of a day"),
        ("CURRENCY,CURRENCY_DENOM,TIME_PERIOD,OBS_VALUE\nUSD,EUR,2026-05-11,0\n", "positive"),
    ],
)
def test_a_changed_format_lands_nothing(body: str, reason: str) -> None:
    with pytest.raises(EcbRefusedError, match=reason):
        parse(body)


def test_off_asks_nobody(bank: Bank) -> None:
    settings = bank.settings.model_copy(update={"exchange_rates": "seed"})
    assert land_ecb_rates(settings) == EcbCounts()
    assert bank.api.calls == []
