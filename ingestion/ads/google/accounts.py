"""Google Ads accounts: which to read, what they hold, and those that can no longer be read.

| GAQL resource | lake |
|---|---|
| `customer`, `customer_client` | `accounts` |
| `campaign`, `ad_group`, `ad_group_ad` | `campaigns`, `adsets` (ad groups), `ads` |

Every run lists everything, removed objects too; only what is new or has changed is written.

Accounts that were read before and are no longer active or listed (E91):

| the account | what happens |
|---|---|
| suspended, cancelled, closed, still below its manager | still read; named if Google refuses |
| unlinked, or below another manager | read through the old one, then directly; named if refused |
| its id, or its manager's, was removed from the settings | its history stays; it is not mentioned |
| over: nothing of it is missing | its history stays; it is not mentioned |

An account is *over* if its last day with any activity was read again after Google stopped
correcting it (`SETTLED_AFTER_DAYS`, or the look-back), or if it can no longer spend (cancelled,
closed, suspended) and was last read longer ago than the look-back. It is still asked for each
night, because it may come back.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, timedelta, tzinfo
from typing import Any

from ctwa.settings import Settings
from ingestion.ads.accounts import Account, KnownDays, known_zone
from ingestion.ads.google.api import (
    GoogleAdsClient,
    Row,
    field,
    identifier,
    name,
    readable,
    required,
    text,
)
from ingestion.ads.google.errors import GooglePermissionError, GoogleStopError
from ingestion.apis.client import IMPATIENT
from ingestion.source import Finding, SourceError, off, ok, refused, wrong

log = logging.getLogger(__name__)

SETTLED_AFTER_DAYS = 30
"""How long Google corrects a day's clicks and costs."""
ACTIVE = "ENABLED"
NOT_LISTED, MANAGER_UNREAD = "NOT_LISTED", "MANAGER_UNREAD"
"""Our own words for the status of an account that its manager no longer lists, and of one whose
manager could not be asked."""
NOT_ENABLED = "CUSTOMER_NOT_ENABLED"
"""Google's refusal of an inactive account: its status if no manager reports one."""
_CANNOT_SPEND = frozenset({"CANCELED", "CLOSED", "SUSPENDED", NOT_ENABLED})

OBJECTS = {
    "campaigns": (
        "SELECT campaign.id, campaign.name, campaign.advertising_channel_type, campaign.status "
        "FROM campaign"
    ),
    "adsets": (
        "SELECT ad_group.id, ad_group.name, ad_group.type, ad_group.status, campaign.id "
        "FROM ad_group"
    ),
    "ads": (
        "SELECT ad_group_ad.ad.id, ad_group_ad.ad.name, ad_group_ad.ad.type, ad_group_ad.status, "
        "ad_group_ad.ad.responsive_search_ad.headlines, "
        "ad_group_ad.ad.responsive_search_ad.descriptions, ad_group.id, campaign.id "
        "FROM ad_group_ad"
    ),
}
_CUSTOMER = (
    "SELECT customer.id, customer.descriptive_name, customer.currency_code, customer.time_zone, "
    "customer.status, customer.manager FROM customer"
)
_CLIENTS = (
    "SELECT customer_client.id, customer_client.manager, customer_client.status, "
    "customer_client.level FROM customer_client"
)


def read_account(client: GoogleAdsClient, customer_id: str) -> Account:
    """Ask for one account; raises a `GoogleError`."""
    row = (client.search(customer_id, _CUSTOMER) or [{}])[0]
    zone_name = text(row, "customer.timeZone")
    return Account(
        account_id=required(row, "customer.id"),
        name=name(row, "customer.descriptiveName"),
        currency=required(row, "customer.currencyCode"),
        timezone=zone_name,
        status=text(row, "customer.status"),
        is_manager=field(row, "customer.manager") is True,
        zone=_zone(customer_id, zone_name),
    )


def accounts_below(client: GoogleAdsClient, manager_id: str) -> dict[str, str]:
    """Id to status (`ENABLED`, `SUSPENDED` …) of the accounts below a manager, at any depth and
    hidden ones included, that are not managers themselves.

    Not filtered by status: an account that is no longer active may have spent until yesterday.
    From now on `client` asks for them through that manager.
    """
    rows = client.search(manager_id, _CLIENTS)
    found = {
        required(row, "customerClient.id"): text(row, "customerClient.status") or "UNKNOWN"
        for row in rows
        if field(row, "customerClient.manager") is not True
    }
    for customer_id in found:
        client.reach_through(manager_id, customer_id)
    return found


def read_objects(client: GoogleAdsClient, customer_id: str) -> Iterator[tuple[str, list[Row]]]:
    """Table and rows of all campaigns, ad groups and ads of one account.

    An ad in several ad groups is one ad, in the ad group with the lowest id, as is its spend.
    """
    makers = {"campaigns": _campaign, "adsets": _ad_group, "ads": _ad}
    for table, query in OBJECTS.items():
        found = client.search(customer_id, query)
        rows = readable(found, makers[table], f"{table} of customer {customer_id}")
        if table == "ads":
            rows = list({r["ad_id"]: r for r in sorted(rows, key=_adset_id, reverse=True)}.values())
        own = {"account_id": customer_id}
        yield table, [own | row | {"effective_status": row["status"]} for row in rows]


def _adset_id(row: Row) -> str:
    adset_id: str = row["adset_id"]
    return adset_id


def _campaign(row: Row) -> Row:
    return {
        "campaign_id": identifier(row, "campaign.id"),
        "campaign_name": name(row, "campaign.name"),
        "objective": text(row, "campaign.advertisingChannelType"),
        "status": text(row, "campaign.status"),
    }


def _ad_group(row: Row) -> Row:
    return {
        "adset_id": identifier(row, "adGroup.id"),
        "campaign_id": identifier(row, "campaign.id"),
        "adset_name": name(row, "adGroup.name"),
        "optimization_goal": text(row, "adGroup.type"),
        "status": text(row, "adGroup.status"),
    }


def _ad(row: Row) -> Row:
    headline = _first(row, "headlines")
    return {
        "ad_id": identifier(row, "adGroupAd.ad.id"),
        "adset_id": identifier(row, "adGroup.id"),
        "campaign_id": identifier(row, "campaign.id"),
        "ad_name": name(row, "adGroupAd.ad.name") or headline,
        "ad_type": text(row, "adGroupAd.ad.type"),
        "status": text(row, "adGroupAd.status"),
        "headline": headline,
        "body": _first(row, "descriptions"),
    }


def _first(row: Row, kind: str) -> str | None:
    assets: Any = field(row, f"adGroupAd.ad.responsiveSearchAd.{kind}")
    first = assets[0] if isinstance(assets, list) and assets else {}
    return name(first, "text") if isinstance(first, dict) else None


def _zone(customer_id: str, zone_name: str | None) -> tzinfo:
    if zone := known_zone(zone_name):
        return zone
    log.warning(
        "Google Ads customer %s has the time zone %r, which is unknown here: its days are "
        "taken as UTC's (update the tzdata package)",
        customer_id,
        zone_name,
    )
    return UTC


# ---- accounts that can no longer be read -----------------------------------------------------


class GoogleAccountLostError(SourceError):
    """An account that was read before can no longer be read."""


@dataclass(frozen=True, slots=True)
class FormerAccount:
    """An account read before, with its `status` now; `manager_id`: the manager above it."""

    account: Account
    status: str
    manager_id: str = ""

    def is_over(self, known: KnownDays, today: date, lookback_days: int) -> bool:
        """Whether nothing of it is missing, as the head of this module says."""
        return known.is_finished(SETTLED_AFTER_DAYS, lookback_days) or (
            self.status in _CANNOT_SPEND and known.is_long_ago(today, lookback_days)
        )

    def summary(self, known: KnownDays) -> str:
        """For metadata."""
        through = known.read_through
        return f"{self.account.account_id} ({self.status}, read through {through or 'no day'})"

    def error(
        self, known: KnownDays, refusal: GooglePermissionError, lookback_days: int
    ) -> GoogleAccountLostError:
        """What is missing since when, and how to fix it."""
        through = known.read_through
        name = f" ({self.account.name})" if self.account.name else ""
        since = f", was read through {through}" if through else ""
        word = refusal.problem.note or "refused"
        manager = f"manager {self.manager_id}" if self.manager_id else "any of our managers"
        if self.status == NOT_LISTED:
            now = f"is no longer below {manager}"
            fix = (
                "link it to the manager again, or give the Google user behind "
                "GOOGLE_ADS_REFRESH_TOKEN access to it and add its id to GOOGLE_ADS_CUSTOMER_IDS; "
                "if it is no longer yours, list the accounts that you still have there instead of "
                "the manager: what was read stays"
            )
        elif self.status == MANAGER_UNREAD:
            now = f"is below {manager}, which cannot be read,"
            fix = "fix what is reported for the manager"
        else:
            now = f"is {self.status} now"
            fix = "resolve its status in Google Ads so that its last days can be read"
            if not self.manager_id:
                fix += ", or take its id out of GOOGLE_ADS_CUSTOMER_IDS: what was read stays"
            if self.status in _CANNOT_SPEND and through:
                until = through + timedelta(days=lookback_days)
                fix += f"; after {until} this is no longer reported, and those days stay unread"
        missing = f"what it spent{f' from {through} on' if through else ''} is not known"
        return GoogleAccountLostError(
            f"account {self.account.account_id}{name}{since}, {now} and cannot be read ({word}); "
            f"{missing}: {fix}"
        )


_ALL_SETTINGS = 4


def examine(settings: Settings) -> Iterator[Finding]:
    """The token exchange, and each customer with the accounts below it; only `off` if nothing is
    set up."""
    missing = settings.google_missing
    if len(missing) == _ALL_SETTINGS:
        yield off("Google Ads", "its settings are not set (docs/connect/google-ads.md)")
        return
    if missing:
        names = ", ".join(missing)
        yield wrong(
            "Google Ads", f"{names} not set", f"set {names}; see docs/connect/google-ads.md"
        )
        return
    client = GoogleAdsClient(settings, policy=IMPATIENT)
    try:
        try:
            client.authenticate()
        except SourceError as error:
            yield refused("Google token", error)
            return
        yield ok("Google token", "the refresh token gives an access token")
        for customer_id in settings.google_ads_customer_ids:
            try:
                yield _customer(client, customer_id)
            except GoogleStopError as error:
                yield refused("Google Ads", error)
                return
    finally:
        client.close()


def _customer(client: GoogleAdsClient, customer_id: str) -> Finding:
    subject = f"Google Ads {customer_id}"
    try:
        customer = read_account(client, customer_id)
        below = accounts_below(client, customer_id) if customer.is_manager else {}
    except GoogleStopError:
        raise
    except SourceError as error:
        return refused(subject, error)
    active = sum(status == ACTIVE for status in below.values())
    if customer.is_manager and not active:
        return wrong(
            subject,
            f"{customer.name} is a manager without active accounts below it",
            "link accounts to it, or give their own ids in GOOGLE_ADS_CUSTOMER_IDS",
        )
    if customer.is_manager:
        accounts = f"{active} active account{'s' if active > 1 else ''}"
        others = f", {len(below) - active} not active" if len(below) > active else ""
        return ok(subject, f"{customer.name}, a manager of {accounts}{others}")
    return ok(subject, f"{customer.name}, {customer.currency}, {customer.timezone}")
