"""Google Ads over REST: accounts, objects, costs by day, clicks by click id.

`accounts.py` and `days.py` say what is read and where it lands. A load holds whole days only, so a
killed run is simply repeated.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from ctwa.settings import Settings
from ingestion.ads.accounts import PIECE_DAYS, Account, days_to_read, known_days, land_days, pieces
from ingestion.ads.google.accounts import (
    ACTIVE,
    MANAGER_UNREAD,
    NOT_ENABLED,
    NOT_LISTED,
    SETTLED_AFTER_DAYS,
    FormerAccount,
    accounts_below,
    read_account,
    read_objects,
)
from ingestion.ads.google.api import GoogleAdsClient
from ingestion.ads.google.days import (
    click_days_to_read,
    clicks_are_complete,
    known_clicks,
    read_clicks,
    read_cost_days,
)
from ingestion.ads.google.errors import (
    GooglePermissionError,
    GoogleStopError,
    GoogleThrottledError,
)
from ingestion.ads.schema import GOOGLE_ADS
from ingestion.ads.tables import AdsTables, Clock, Row, utc_now
from ingestion.apis.client import Parts
from ingestion.lake.lake import Lake, read_alone
from ingestion.lake.pipeline import Batch, typed_source
from ingestion.source import SourceError

if TYPE_CHECKING:
    from dlt.extract import DltSource

log = logging.getLogger(__name__)


@dataclass
class GoogleAdsCounts:
    """What one call read and landed. `rows`: by table of the lake.

    `accounts_over`, `accounts_taken_out`: accounts that were read before and of which nothing is
    missing, and those whose id was removed from the settings (`accounts.py`).
    """

    read_no: int = 0
    customers: int = 0
    days_read: int = 0
    days_changed: int = 0
    click_days: int = 0
    accounts_over: str | None = None
    accounts_taken_out: str | None = None
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(GOOGLE_ADS, 0))


def google_ads_source(settings: Settings) -> DltSource:
    """The dlt source `google_ads`: objects, spend of the look-back and clicks of the customers in
    `settings`, for any dlt pipeline (docs/dlt.md).

    Raises `SourceIncompleteError` if a customer could not be read, `GoogleStopError` if none could.
    """

    def read() -> Iterator[Batch]:
        return read_alone(
            "google_ads", GOOGLE_ADS, lambda lake: land_google_ads(settings, lake=lake)
        )

    return typed_source("google_ads", GOOGLE_ADS, read, write_disposition="replace")


def land_google_ads(
    settings: Settings,
    *,
    now: Clock = utc_now,
    client: GoogleAdsClient | None = None,
    lake: Lake | None = None,
) -> GoogleAdsCounts:
    """Read every configured customer into the lake; the caller holds the lock.

    Raises `GoogleStopError` when none can be read, `SourceIncompleteError` when some could not,
    after the others have landed. Does nothing if Google Ads is off.
    """
    counts = GoogleAdsCounts()
    if not settings.google_is_on:
        log.info("Google Ads is off: %s is not set", ", ".join(settings.google_missing))
        return counts
    ads = AdsTables.open(lake or Lake.from_settings(settings), "google", GOOGLE_ADS, now)
    counts.read_no = ads.read_no
    landing = _Landing(settings, ads, client or GoogleAdsClient(settings), counts)
    parts = Parts("Google Ads")
    for name, work in landing.parts(parts.failures):
        # All accounts share one quota, so it is waited for once.
        if not any(isinstance(error, GoogleThrottledError) for error in parts.failures.values()):
            landing.client.renew_patience()
        with parts.part(name):
            work()
    parts.finish(counts)
    return counts


@dataclass
class _Landing:
    """One call of `land_google_ads`."""

    settings: Settings
    ads: AdsTables
    client: GoogleAdsClient
    counts: GoogleAdsCounts

    def parts(self, failures: dict[str, SourceError]) -> list[tuple[str, Callable[[], None]]]:
        """One part for each account to read. Managers are replaced by the accounts below them;
        accounts that were read before are included, listed or not (`accounts.py`)."""
        found: dict[str, Callable[[], None]] = {}
        known = self._known_accounts()
        below: dict[str, str] = {}  # account to the configured manager that lists it
        refused: dict[str, GooglePermissionError] = {}
        may_be_manager: set[str] = set()
        for customer_id in self.settings.google_ads_customer_ids:
            try:
                customer = read_account(self.client, customer_id)
                listed = accounts_below(self.client, customer_id) if customer.is_manager else {}
            except GoogleStopError:
                raise
            except SourceError as error:
                failures[customer_id] = error
                if isinstance(error, GooglePermissionError) and customer_id in known:
                    refused[customer_id] = error
                if customer_id not in known:
                    may_be_manager.add(customer_id)
                continue
            if customer.is_manager:
                may_be_manager.add(customer_id)
            else:
                own = replace(customer, configured_id=customer_id)
                found.setdefault(customer_id, partial(self._account, own))
            for other_id, status in listed.items():
                below.setdefault(other_id, customer_id)
                if status == ACTIVE:
                    found.setdefault(other_id, partial(self._below, other_id, customer_id))
                elif other_id in known:
                    former = FormerAccount(known[other_id], status, customer_id)
                    found.setdefault(other_id, partial(self._former, former))
                else:
                    continue
                # Refused when asked directly, but reached through its manager.
                failures.pop(other_id, None)
        for customer_id, refusal in refused.items():
            if customer_id not in found and refusal.problem.note == NOT_ENABLED:
                former = FormerAccount(known[customer_id], NOT_ENABLED)
                found[customer_id] = partial(self._refused, former, refusal)
                del failures[customer_id]
        seen = found.keys() | below.keys() | {*self.settings.google_ads_customer_ids}
        unlisted = [known[i] for i in sorted(known.keys() - seen)]
        self._add_unlisted(unlisted, may_be_manager, failures, found)
        return list(found.items())

    def _add_unlisted(
        self,
        accounts: list[Account],
        managers: set[str],
        failures: Mapping[str, SourceError],
        found: dict[str, Callable[[], None]],
    ) -> None:
        """Add a part for each account read before that is no longer listed, unless its own id or
        its manager's was removed from the settings."""
        taken_out = []
        for account in accounts:
            manager_id = account.configured_id
            if manager_id not in managers and (manager_id is not None or not managers):
                taken_out.append(account.account_id)
                continue
            status = MANAGER_UNREAD if manager_id in failures else NOT_LISTED
            former = FormerAccount(account, status, manager_id or "")
            found[account.account_id] = partial(self._former, former)
        self.counts.accounts_taken_out = ", ".join(taken_out) or None

    def _known_accounts(self) -> dict[str, Account]:
        """Every account that was ever read, as it was when last read."""
        return {i: Account.of_row(row) for i, row in self.ads.newest("accounts").items()}

    def _below(self, customer_id: str, manager_id: str | None) -> None:
        customer = read_account(self.client, customer_id)
        self._account(replace(customer, configured_id=manager_id))

    def _former(self, former: FormerAccount) -> None:
        """Read an account that is no longer active; if that is refused, it is over or reported."""
        customer_id, manager_id = former.account.account_id, former.manager_id or None
        try:
            try:
                if manager_id:
                    self.client.reach_through(manager_id, customer_id)
                self._below(customer_id, manager_id)
            except GooglePermissionError:
                if former.status not in (NOT_LISTED, MANAGER_UNREAD) or manager_id is None:
                    raise
                self.client.reach_by_itself(customer_id)
                self._below(customer_id, manager_id)
        except GooglePermissionError as error:
            self._refused(former, error)

    def _refused(self, former: FormerAccount, refusal: GooglePermissionError) -> None:
        """Record an account that can no longer be read; raises unless it is over."""
        if former.status != MANAGER_UNREAD:
            now = replace(former.account, status=former.status)
            self._load({"accounts": self.ads.changed("accounts", [now.row()])})
        lookback = self.settings.google_ads_lookback_days
        today = former.account.day_of(self.ads.now())
        known = known_days(self.ads, former.account)
        if not former.is_over(known, today, lookback):
            raise former.error(known, refusal, lookback) from None
        over = (self.counts.accounts_over, former.summary(known))
        self.counts.accounts_over = ", ".join(filter(None, over))

    def _account(self, account: Account) -> None:
        self._objects(account)
        failures: list[SourceError] = []
        # Separately: Google shows clicks for a limited time only, whatever is wrong with costs.
        for part in (self._costs, self._clicks):
            try:
                part(account)
            except GoogleStopError:
                raise
            except SourceError as error:
                failures.append(error)
        for other in failures[1:]:
            log.error("Google Ads customer %s: %s", account.account_id, other)
        if failures:
            raise failures[0]
        self.counts.customers += 1

    def _objects(self, account: Account) -> None:
        rows = {"accounts": [account.row()], **dict(read_objects(self.client, account.account_id))}
        self._load({table: self.ads.changed(table, found) for table, found in rows.items()})

    def _costs(self, account: Account) -> None:
        known, today = known_days(self.ads, account), account.day_of(self.ads.now())
        lookback = self.settings.google_ads_lookback_days
        days = days_to_read(known, today, lookback, SETTLED_AFTER_DAYS)
        read = ((piece, read_cost_days(self.client, account, piece)) for piece in pieces(days))
        land_days(self.ads, account, known, days, read, self.counts)

    def _clicks(self, account: Account) -> None:
        now = self.ads.now()
        days = click_days_to_read(self.ads, account, now)
        for start in range(0, len(days), PIECE_DAYS):
            rows: dict[str, list[Row]] = {"click_views": [], "click_reads": []}
            for day in days[start : start + PIECE_DAYS]:
                found = read_clicks(self.client, account, day)
                known = known_clicks(self.ads, account, day) if found else set()
                fresh = {r["gclid"]: r for r in found if r["gclid"] not in known}
                rows["click_views"] += fresh.values()
                if clicks_are_complete(account, day, now):
                    own = {"account_id": account.account_id, "click_date": day}
                    rows["click_reads"].append(own | {"clicks": len(found)})
                self.counts.click_days += 1
            self._load(rows)

    def _load(self, rows: Mapping[str, list[Row]]) -> None:
        for table, count in self.ads.load(rows).items():
            self.counts.rows[table] += count
