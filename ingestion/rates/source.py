"""Euro reference exchange rates of the European Central Bank (rule R13).

| ECB data API | lake | disposition |
|---|---|---|
| `service/data/EXR/D..EUR.SP00.A?format=csvdata` | `exchange_rates/ecb_rates` | append, new days |

One call for all currencies. A rate says how many units of a currency one euro is worth, once per
TARGET business day: weekends and holidays have no row, or one without a value. Each run asks for
the days since the last one known, and a few days before it; a known day is written again only if
its rate was corrected. Of several reads of a day the highest `read_no` counts.
"""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from requests import Response

from ctwa.settings import Settings
from ingestion.apis.client import (
    ApiError,
    ApiSession,
    Problem,
    RetryPolicy,
    Rules,
    UnavailableError,
)
from ingestion.lake.lake import Lake
from ingestion.lake.pipeline import Batch, typed_source
from ingestion.rates.tables import DATASET, EXCHANGE_RATES, TABLE
from ingestion.source import SourceError

if TYPE_CHECKING:
    from dlt.extract import DltSource

log = logging.getLogger(__name__)

SERIES = "service/data/EXR/D..EUR.SP00.A"
FIRST_DAYS = 1200
"""Days of the first read: Meta's retention of 37 months, and some more."""
OVERLAP_DAYS = 10
"""Days read again: a rate may be published late or corrected."""

PATIENCE = RetryPolicy(tries=4, timeout=60.0)

_COLUMNS = ("CURRENCY", "CURRENCY_DENOM", "TIME_PERIOD", "OBS_VALUE")
_RATE = Decimal("0.00000001")
_NO_VALUE = {"", "NaN", "NA", "-"}
_ISO_4217 = re.compile(r"[A-Z]{3}")

Clock = Callable[[], datetime]
Rates = dict[tuple[date, str], Decimal]


class EcbUnavailableError(UnavailableError):
    """No usable answer; the rates known so far stay, and are used for 7 more days."""

    setting = "CTWA_ECB_URL"
    what = "the ECB's rates could not be read"
    fix = "the fault is at the ECB; the next run reads them again"


class EcbRefusedError(SourceError):
    """The answer is not the table that was asked for."""


class EcbRequestError(EcbRefusedError, ApiError):
    """The request was refused."""

    what = "the ECB refused the request"
    fix = (
        "check CTWA_ECB_URL, or set CTWA_EXCHANGE_RATES=seed and keep "
        "dbt_project/seeds/exchange_rates.csv up to date"
    )


@dataclass
class EcbCounts:
    """What one call landed. `last_day`: newest day with a rate, as ISO text, '' if none."""

    read_no: int = 0
    last_day: str = ""
    rows: dict[str, int] = field(default_factory=lambda: {TABLE: 0})


def exchange_rates_source(settings: Settings) -> DltSource:
    """The dlt source `exchange_rates`: the rates of the last `FIRST_DAYS`, for any dlt pipeline.

    Its one resource `ecb_rates` is read when dlt extracts, and replaced by each run. Raises
    `EcbUnavailableError`, `EcbRefusedError`.
    """

    def rates() -> Iterator[Batch]:
        at = datetime.now(UTC)
        since = at.date() - timedelta(days=FIRST_DAYS)
        yield {TABLE: _table(parse(_fetch(settings.ecb_url, since, PATIENCE)), 1, at)}

    return typed_source(DATASET, EXCHANGE_RATES, rates, write_disposition="replace")


def land_ecb_rates(
    settings: Settings,
    *,
    now: Clock = lambda: datetime.now(UTC),
    policy: RetryPolicy = PATIENCE,
) -> EcbCounts:
    """Read new rates into the lake; the caller holds the lock.

    Raises `EcbUnavailableError` when the ECB does not answer, `EcbRefusedError` when it answers
    something else; nothing has landed then.
    """
    counts = EcbCounts()
    if settings.exchange_rates != "ecb":
        log.info("ECB rates are off: CTWA_EXCHANGE_RATES is not `ecb`")
        return counts
    lake = Lake.from_settings(settings)
    lake.ensure(DATASET, EXCHANGE_RATES)
    lake.sweep(DATASET)
    lake.compact(DATASET, EXCHANGE_RATES)  # one small file a day
    counts.read_no = 1 + lake.max_value(DATASET, TABLE, "read_no")
    known = _known(lake)
    last = max((day for day, _ in known), default=None)
    today = now().date()
    since = last - timedelta(days=OVERLAP_DAYS) if last else today - timedelta(days=FIRST_DAYS)
    read = parse(_fetch(settings.ecb_url, since, policy))
    new = {key: rate for key, rate in read.items() if known.get(key) != rate}
    if new:
        table = _table(new, counts.read_no, now())
        counts.rows[TABLE] = lake.load(DATASET, [{TABLE: table}], EXCHANGE_RATES)[TABLE]
    newest = max((day for day, _ in known | new), default=None)
    counts.last_day = newest.isoformat() if newest else ""
    log.info("ECB: %d new rates, the last of %s", counts.rows[TABLE], newest or "no day yet")
    return counts


def parse(body: str) -> Rates:
    """Rates by day and currency of the ECB's CSV; days without a value are left out."""
    if not body.strip():
        return {}
    reader = csv.DictReader(io.StringIO(body))
    missing = [c for c in _COLUMNS if c not in (reader.fieldnames or [])]
    if missing:
        raise EcbRefusedError(
            f"the ECB's answer has no column {', '.join(missing)}; check CTWA_ECB_URL "
            "(https://data-api.ecb.europa.eu), or the format has changed"
        )
    rates: Rates = {}
    for row in reader:
        found = _rate(row)
        if found is not None:
            rates[found[0]] = found[1]
    return rates


def _rate(row: dict[str, str | None]) -> tuple[tuple[date, str], Decimal] | None:
    currency, denominator, day, value = (str(row[c] or "").strip() for c in _COLUMNS)
    if denominator != "EUR" or not _ISO_4217.fullmatch(currency) or value in _NO_VALUE:
        return None
    try:
        rate, on = Decimal(value), date.fromisoformat(day)
    except (InvalidOperation, ValueError):
        rate, on = Decimal(0), date.min
    if not rate.is_finite() or rate <= 0:
        raise EcbRefusedError(
            f"the ECB's rate of {currency} for {day[:20]!r} is not a positive number of a day"
        )
    return (on, currency), rate.quantize(_RATE)


def _judge(call: str, response: Response, _: Any) -> ApiError | None:
    status = response.status_code
    if status < 300 or status == 404:  # 404: SDMX's way to say that the period has no observation
        return None
    problem = Problem(call, status)
    return (
        EcbUnavailableError(problem) if status == 429 or status >= 500 else EcbRequestError(problem)
    )


_RULES = Rules(
    judge=_judge,
    unavailable=EcbUnavailableError,
    malformed=EcbRequestError,
    read=lambda content: content.decode("utf-8-sig", "replace"),
    follows_redirects=True,  # nothing secret is sent
)


def _fetch(base_url: str, since: date, policy: RetryPolicy) -> str:
    """The CSV from `since` on; '' where there is nothing newer."""
    url = f"{base_url.rstrip('/')}/{SERIES}"
    params = {"startPeriod": since.isoformat(), "detail": "dataonly", "format": "csvdata"}
    with ApiSession(_RULES, policy) as session:
        response = session.get(url, params=params, headers={"Accept": "text/csv"})
    return "" if response.status_code == 404 else str(response.json())


def _known(lake: Lake) -> Rates:
    rows: list[dict[str, Any]] = lake.query(
        "select rate_date, currency, arg_max(rate_per_eur, read_no) as rate "
        "from {rates} group by all",
        rates=f"{DATASET}/{TABLE}",
    ).to_pylist()
    return {(row["rate_date"], row["currency"]): row["rate"] for row in rows}


def _table(rates: Rates, read_no: int, at: datetime) -> pa.Table:
    rows = [
        {
            "rate_date": day,
            "currency": currency,
            "rate_per_eur": rate,
            "read_no": read_no,
            "read_at": at,
        }
        for (day, currency), rate in sorted(rates.items())
    ]
    return pa.Table.from_pylist(rows, schema=EXCHANGE_RATES[TABLE])
