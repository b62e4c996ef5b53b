"""Customers of Google Ads: which to read, and what their accounts hold.

| GAQL resource | lake | disposition |
|---|---|---|
| `customer`, `customer_client` | `google_ads/customers` | append, new and changed |
| `campaign`, `ad_group`, `ad_group_ad` | `campaigns`, `ad_groups`, `ads` | the same |

Every run lists everything, removed objects too; only what is new or has changed is written.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from ingestion.google_api import GoogleAdsClient
from ingestion.sources.google_values import Row, field, required, text

log = logging.getLogger(__name__)

OBJECTS = {
    "campaigns": (
        "SELECT campaign.id, campaign.name, campaign.advertising_channel_type, campaign.status "
        "FROM campaign"
    ),
    "ad_groups": (
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
KEYS: dict[str, tuple[str, ...]] = {
    "customers": ("customer_id",),
    "campaigns": ("campaign_id",),
    "ad_groups": ("ad_group_id",),
    "ads": ("ad_group_id", "ad_id"),  # one ad may stand in several ad groups
}
_CUSTOMER = (
    "SELECT customer.id, customer.descriptive_name, customer.currency_code, customer.time_zone, "
    "customer.status, customer.manager FROM customer"
)
_CLIENTS = (
    "SELECT customer_client.id, customer_client.manager, customer_client.status, "
    "customer_client.level FROM customer_client WHERE customer_client.status = 'ENABLED'"
)


@dataclass(frozen=True, slots=True)
class Customer:
    """An account as the API tells it."""

    customer_id: str
    name: str | None
    currency: str
    zone_name: str | None
    status: str | None
    is_manager: bool
    zone: tzinfo

    def day_of(self, moment: datetime) -> date:
        """The account's calendar day at that moment."""
        return moment.astimezone(self.zone).date()

    def row(self) -> Row:
        """As a row of `customers`."""
        return {
            "customer_id": self.customer_id,
            "customer_name": self.name,
            "currency": self.currency,
            "timezone_name": self.zone_name,
            "status": self.status,
        }


def read_customer(client: GoogleAdsClient, customer_id: str) -> Customer:
    """Ask for one account; raises a `GoogleError`."""
    row = (client.search(customer_id, _CUSTOMER) or [{}])[0]
    zone_name = text(row, "customer.timeZone")
    return Customer(
        customer_id=required(row, "customer.id"),
        name=text(row, "customer.descriptiveName"),
        currency=required(row, "customer.currencyCode"),
        zone_name=zone_name,
        status=text(row, "customer.status"),
        is_manager=field(row, "customer.manager") is True,
        zone=_zone(customer_id, zone_name),
    )


def accounts_below(client: GoogleAdsClient, manager_id: str) -> list[str]:
    """Ids of the active accounts below a manager that are none themselves, however deep.

    From then on `client` asks for them through that manager.
    """
    rows = client.search(manager_id, _CLIENTS)
    ids = (
        required(row, "customerClient.id")
        for row in rows
        if field(row, "customerClient.manager") is not True
    )
    found = list(dict.fromkeys(ids))
    for customer_id in found:
        client.reach_through(manager_id, customer_id)
    return found


def read_objects(client: GoogleAdsClient, customer_id: str) -> Iterator[tuple[str, list[Row]]]:
    """Table and rows of all campaigns, ad groups and ads of one account."""
    makers = {"campaigns": _campaign, "ad_groups": _ad_group, "ads": _ad}
    for table, query in OBJECTS.items():
        found = client.search(customer_id, query)
        yield table, [{"customer_id": customer_id} | makers[table](row) for row in found]


def _campaign(row: Row) -> Row:
    return {
        "campaign_id": required(row, "campaign.id"),
        "campaign_name": text(row, "campaign.name"),
        "channel_type": text(row, "campaign.advertisingChannelType"),
        "status": text(row, "campaign.status"),
    }


def _ad_group(row: Row) -> Row:
    return {
        "ad_group_id": required(row, "adGroup.id"),
        "campaign_id": required(row, "campaign.id"),
        "ad_group_name": text(row, "adGroup.name"),
        "ad_group_type": text(row, "adGroup.type"),
        "status": text(row, "adGroup.status"),
    }


def _ad(row: Row) -> Row:
    return {
        "ad_id": required(row, "adGroupAd.ad.id"),
        "ad_group_id": required(row, "adGroup.id"),
        "campaign_id": required(row, "campaign.id"),
        "ad_name": text(row, "adGroupAd.ad.name"),
        "ad_type": text(row, "adGroupAd.ad.type"),
        "status": text(row, "adGroupAd.status"),
        "headline": _first(row, "headlines"),
        "body": _first(row, "descriptions"),
    }


def _first(row: Row, name: str) -> str | None:
    assets: Any = field(row, f"adGroupAd.ad.responsiveSearchAd.{name}")
    first = assets[0] if isinstance(assets, list) and assets else {}
    return text(first, "text") if isinstance(first, dict) else None


def _zone(customer_id: str, name: str | None) -> tzinfo:
    try:
        return ZoneInfo(name or "")
    except (KeyError, OSError, ValueError):  # unknown, empty, or a path
        log.warning(
            "Google Ads customer %s has the time zone %r, which is unknown here: its days are "
            "taken as UTC's (update the tzdata package)",
            customer_id,
            name,
        )
        return UTC
