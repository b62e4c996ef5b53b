"""Euro reference exchange rates of the European Central Bank (rule R13).

| ECB data API | lake | disposition |
|---|---|---|
| `service/data/EXR/D..EUR.SP00.A?format=csvdata` | `exchange_rates/ecb_rates` | append, new days |

One call for all currencies. A rate says how many units of a currency one euro is worth, once per
TARGET business day: weekends and holidays have no row, or one without a value. Each run asks for
what lies behind the last day known and a few days more; a day that is known already and has not
been corrected is not written again. Of several reads of a day the highest `read_no` counts.
"""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import dlt
import pyarrow as pa
from dlt.extract import DltResource, DltSource
from dlt.sources.helpers import requests
from requests import RequestException, Response

from ctwa.settings import Settings
from ingestion.errors import SourceError
from ingestion.lake import Lake
from ingestion.sources.ecb_schema import EXCHANGE_RATES

log = logging.getLogger(__name__)

DATASET = "exchange_rates"
TABLE = "ecb_rates"
SERIES = "service/data/EXR/D..EUR.SP00.A"
FIRST_DAYS = 1200
"""Days of the first read: Meta's retention of 37 months, and some."""
OVERLAP_DAYS = 10
"""Days read again: a rate may be published late or corrected."""

_TRIES = 4
_TIMEOUT = 60.0
_COLUMNS = ("CURRENCY", "CURRENCY_DENOM", "TIME_PERIOD", "OBS_VALUE")
_RATE = Decimal("0.00000001")
_NO_VALUE = {"", "NaN", "NA", "-"}
_ISO_4217 = re.compile(r"[A-Z]{3}")

Clock = Callable[[], datetime]
Rates = dict[tuple[date, str], Decimal]


class EcbUnavailableError(SourceError):
    """No usable answer; the rates known so far stay, and serve 7 days more."""

    is_transient = True


class EcbRefusedError(SourceError):
    """The request was refused, or the answer is not the table that was asked for."""


@dataclass
class EcbCounts:
    """What one call landed. `last_day`: newest day with a rate, as ISO text, '' if none."""

    read_no: int = 0
    last_day: str = ""
    rows: dict[str, int] = field(default_factory=lambda: {TABLE: 0})


def ecb_source(rates: pa.Table | None = None) -> DltSource:
    """The dlt source `exchange_rates`, with its one resource `ecb_rates`."""

    @dlt.source(name=DATASET)
    def source() -> list[DltResource]:
        items = [] if rates is None else [rates]
        return [dlt.resource(items, name=TABLE, write_disposition="append")]

    return source()


def land_ecb_rates(
    settings: Settings,
    *,
    now: Clock = lambda: datetime.now(UTC),
    backoff: float = 1.0,
) -> EcbCounts:
    """Read new rates into the lake; the caller holds the lock.

    `backoff`: seconds that pauses between tries start from. Raises `EcbUnavailableError` when the
    ECB does not answer, `EcbRefusedError` when it answers something else; nothing has landed then.
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
    read = parse(_fetch(settings.ecb_url, since, backoff))
    new = {key: rate for key, rate in read.items() if known.get(key) != rate}
    if new:
        table = _table(new, counts.read_no, now())
        counts.rows[TABLE] = lake.load(DATASET, ecb_source(table), EXCHANGE_RATES)[TABLE]
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


def _fetch(base_url: str, since: date, backoff: float) -> str:
    """The CSV from `since` on; '' where there is nothing newer."""
    client = requests.Client(
        request_timeout=_TIMEOUT,
        request_max_attempts=_TRIES,
        request_backoff_factor=backoff,
        raise_for_status=False,
    )
    url = f"{base_url.rstrip('/')}/{SERIES}"
    params = {"startPeriod": since.isoformat(), "detail": "dataonly", "format": "csvdata"}
    try:
        response = client.get(url, params=params, headers={"Accept": "text/csv"})
    except RequestException as error:
        raise EcbUnavailableError(
            f"the ECB's rates could not be read ({type(error).__name__}): usually passes by "
            "itself, the next run tries again; check CTWA_ECB_URL and the way out of your network"
        ) from None
    return _body(response)


def _body(response: Response) -> str:
    status = response.status_code
    if status == 404:
        return ""  # SDMX's way to say: no observation in this period
    if status == 429 or status >= 500:
        raise EcbUnavailableError(
            f"the ECB's rates could not be read (HTTP {status}): usually passes by itself, the "
            "next run tries again"
        )
    if status >= 300:
        raise EcbRefusedError(
            f"the ECB refused the request (HTTP {status}): check CTWA_ECB_URL, or set "
            "CTWA_EXCHANGE_RATES=seed and keep dbt_project/seeds/exchange_rates.csv up to date"
        )
    return response.content.decode("utf-8-sig", "replace")


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
