"""Google Ads over REST: accounts, objects, costs by day, clicks by click id.

What is read and where it lands stands in `google_customers`, `google_costs` and `google_clicks`.
Everything is appended; of several reads the one with the highest `read_no` counts.
A load holds whole days only, so a killed run is simply done again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pyarrow as pa
from dlt.extract import DltSource

from ctwa.settings import Settings
from ingestion.errors import SourceError, SourceIncompleteError
from ingestion.google_api import GoogleAdsClient
from ingestion.google_errors import GoogleStopError, GoogleThrottledError
from ingestion.lake import Lake
from ingestion.sources import google_clicks, google_costs
from ingestion.sources.google_customers import (
    KEYS,
    Customer,
    accounts_below,
    read_customer,
    read_objects,
)
from ingestion.sources.google_schema import GOOGLE_ADS
from ingestion.sources.tables import Row, arrow_source, current, next_read_no, stamped

log = logging.getLogger(__name__)

DATASET = "google_ads"

Clock = Callable[[], datetime]


@dataclass
class GoogleAdsCounts:
    """What one call read and landed. `rows`: by table of the lake."""

    read_no: int = 0
    customers: int = 0
    days_read: int = 0
    days_changed: int = 0
    click_days: int = 0
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(GOOGLE_ADS, 0))


def google_ads_source(tables: Mapping[str, pa.Table] | None = None) -> DltSource:
    """The dlt source `google_ads`: a resource for each table of the lake."""
    return arrow_source(DATASET, list(GOOGLE_ADS), tables)


def land_google_ads(
    settings: Settings,
    *,
    now: Clock = lambda: datetime.now(UTC),
    client: GoogleAdsClient | None = None,
) -> GoogleAdsCounts:
    """Read every configured customer into the lake; the caller holds the lock.

    Raises `GoogleStopError` when none can be read, `SourceIncompleteError` when some could not,
    after the others have landed. Off: nothing is done.
    """
    counts = GoogleAdsCounts()
    if not settings.google_is_on:
        log.info("Google Ads is off: %s is not set", ", ".join(settings.google_missing))
        return counts
    lake = Lake.from_settings(settings)
    lake.ensure(DATASET, GOOGLE_ADS)
    lake.sweep(DATASET)
    lake.compact(DATASET, GOOGLE_ADS)
    counts.read_no = next_read_no(lake, DATASET, list(GOOGLE_ADS))
    landing = _Landing(settings, lake, client or GoogleAdsClient(settings), now, counts)
    failures: dict[str, SourceError] = {}
    for name, work in landing.parts(failures):
        # The quota is one for all accounts: it is waited for once.
        if not any(isinstance(error, GoogleThrottledError) for error in failures.values()):
            landing.client.renew_patience()
        try:
            work()
        except GoogleStopError:
            raise
        except SourceError as error:
            log.error("Google Ads customer %s: %s", name, error)
            failures[name] = error
        else:
            counts.customers += 1
    if failures:
        raise SourceIncompleteError("Google Ads", counts, failures)
    return counts


@dataclass
class _Landing:
    """One call of `land_google_ads`."""

    settings: Settings
    lake: Lake
    client: GoogleAdsClient
    now: Clock
    counts: GoogleAdsCounts

    def parts(self, failures: dict[str, SourceError]) -> list[tuple[str, Callable[[], None]]]:
        """A part for each account to read; managers are replaced by the accounts below them."""
        found: dict[str, Callable[[], None]] = {}
        for customer_id in self.settings.google_customers:
            try:
                customer = read_customer(self.client, customer_id)
                below = accounts_below(self.client, customer_id) if customer.is_manager else []
            except GoogleStopError:
                raise
            except SourceError as error:
                failures[customer_id] = error
                continue
            if not customer.is_manager:
                found.setdefault(customer_id, partial(self._account, customer))
            for other_id in below:
                found.setdefault(other_id, partial(self._below, other_id))
                failures.pop(other_id, None)  # refused by itself, but reached through its manager
        return list(found.items())

    def _below(self, customer_id: str) -> None:
        self._account(read_customer(self.client, customer_id))

    def _account(self, customer: Customer) -> None:
        self._objects(customer)
        failures: list[SourceError] = []
        # Each by itself: Google tells of clicks for a limited time, whatever is wrong with costs.
        for part in (self._costs, self._clicks):
            try:
                part(customer)
            except GoogleStopError:
                raise
            except SourceError as error:
                failures.append(error)
        for other in failures[1:]:
            log.error("Google Ads customer %s: %s", customer.customer_id, other)
        if failures:
            raise failures[0]

    def _objects(self, customer: Customer) -> None:
        rows = {
            "customers": [customer.row()],
            **dict(read_objects(self.client, customer.customer_id)),
        }
        self._load({table: self._changed(table, found) for table, found in rows.items()})

    def _changed(self, table: str, rows: list[Row]) -> list[Row]:
        """Rows that are new, or differ from the newest of their object."""
        keys = KEYS[table]
        columns = [n for n in GOOGLE_ADS[table].names if n not in ("read_no", "read_at")]
        known = current(self.lake, f"{DATASET}/{table}", keys, columns)
        content = {tuple(r[k] for k in keys): r for r in rows}
        return [r for k, r in content.items() if known.get(k) != tuple(r.get(c) for c in columns)]

    def _costs(self, customer: Customer) -> None:
        known = google_costs.known_days(self.lake, customer)
        today = customer.day_of(self.now())
        days = google_costs.days_to_read(known, today, self.settings.google_ads_lookback_days)
        ranges = google_costs.pieces(days)
        for number, piece in enumerate(ranges, 1):
            read = google_costs.read_days(self.client, customer, piece)
            changed = [d for d in read if known.hashes.get(d.day) != d.content_hash]
            # A range counts as read when its last piece has landed.
            done = ranges if number == len(ranges) else []
            own = {"customer_id": customer.customer_id}
            self._load(
                {
                    "costs": [row for day in changed for row in day.rows],
                    "cost_days": [day.row() for day in changed],
                    "cost_reads": [own | {"since": a, "until": b} for a, b in done],
                }
            )
            self.counts.days_read += len(read)
            self.counts.days_changed += len(changed)
            log.info(
                "Google Ads customer %s, %s to %s: %d of %d days changed",
                *(customer.customer_id, *piece, len(changed), len(read)),
            )

    def _clicks(self, customer: Customer) -> None:
        now = self.now()
        days = google_clicks.days_to_read(self.lake, customer, now)
        for start in range(0, len(days), google_costs.PIECE_DAYS):
            rows: dict[str, list[Row]] = {"click_views": [], "click_reads": []}
            for day in days[start : start + google_costs.PIECE_DAYS]:
                found = google_clicks.read_clicks(self.client, customer, day)
                known = google_clicks.known_clicks(self.lake, customer, day) if found else set()
                fresh = {r["gclid"]: r for r in found if r["gclid"] not in known}
                rows["click_views"] += fresh.values()
                if google_clicks.is_whole(customer, day, now):
                    own = {"customer_id": customer.customer_id, "click_date": day}
                    rows["click_reads"].append(own | {"clicks": len(found)})
                self.counts.click_days += 1
            self._load(rows)

    def _load(self, rows: Mapping[str, list[Row]]) -> None:
        """One complete load of these tables; nothing new, no load."""
        if not any(rows.values()):
            return
        at = self.now()
        tables: dict[str, Any] = {
            name: stamped(GOOGLE_ADS[name], found, self.counts.read_no, at)
            for name, found in rows.items()
        }
        landed = self.lake.load(DATASET, google_ads_source(tables), GOOGLE_ADS)
        for name, count in landed.items():
            self.counts.rows[name] += count
