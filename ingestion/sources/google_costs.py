"""Days of cost: each level's rows of a customer's day, the customer's own total, a content hash.

| GAQL resource | lake | disposition |
|---|---|---|
| `campaign`, `ad_group`, `ad_group_ad` | `google_ads/costs` | append, days that changed |
| `customer` | `google_ads/cost_days` | append, one row per day read whole |
| | `google_ads/cost_reads` | append, one row per customer and range read to the end |

Google corrects clicks and costs; each run reads the look-back again. A day is a new set of rows
under a higher `read_no`; what Google withdrew is simply not in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

import orjson

from ingestion.errors import SourceError
from ingestion.google_api import GoogleAdsClient
from ingestion.lake import Lake
from ingestion.sources.google_customers import Customer
from ingestion.sources.google_values import Row, money, required, text, whole

PIECE_DAYS = 30
SETTLED_AFTER_DAYS = 30
"""A day outside of the look-back is read again unless it was read so long after it was over; with
a shorter look-back, when the look-back had passed."""

_METRICS = "segments.date, metrics.cost_micros, metrics.impressions, metrics.clicks"
_LEVELS = {
    "campaign": ("campaign", "campaign.id, campaign.name"),
    "ad_group": ("ad_group", "ad_group.id, ad_group.name, campaign.id, campaign.name"),
    "ad": (
        "ad_group_ad",
        "ad_group_ad.ad.id, ad_group_ad.ad.name, ad_group.id, ad_group.name, campaign.id, "
        "campaign.name",
    ),
}
Range = tuple[date, date]


class GoogleCostError(SourceError):
    """Costs contradict each other, so that booking them would be wrong."""


@dataclass(slots=True)
class CostDay:
    """One customer's day, read whole. `rows` are rows of `costs`."""

    customer: Customer
    day: date
    spend: Decimal = Decimal(0)
    impressions: int = 0
    clicks: int = 0
    rows: list[Row] = field(default_factory=list)

    @property
    def content_hash(self) -> str:
        """Same figures and names, same hash, in whatever order rows came."""
        head = [str(self.spend), self.impressions, self.clicks, self.customer.currency]
        digest = hashlib.sha256(orjson.dumps(head))
        for line in sorted(orjson.dumps(row, default=str) for row in self.rows):
            digest.update(line)
        return digest.hexdigest()

    def row(self) -> Row:
        """As a row of `cost_days`."""
        return {
            "customer_id": self.customer.customer_id,
            "spend_date": self.day,
            "currency": self.customer.currency,
            "customer_spend": self.spend,
            "customer_impressions": self.impressions,
            "customer_clicks": self.clicks,
            "ad_rows": sum(row["level"] == "ad" for row in self.rows),
            "content_hash": self.content_hash,
        }


def read_days(client: GoogleAdsClient, customer: Customer, piece: Range) -> list[CostDay]:
    """Every day of `piece`, also those without cost: their total is a read zero."""
    days = {day: CostDay(customer, day) for day in span(*piece)}
    where = f"WHERE segments.date BETWEEN '{piece[0]}' AND '{piece[1]}'"
    totals = f"SELECT {_METRICS} FROM customer {where}"  # noqa: S608 - GAQL of ours
    for found in client.search(customer.customer_id, totals):
        day = _day_of(found, days, customer)
        day.spend += money(found, "metrics.costMicros")
        day.impressions += whole(found, "metrics.impressions")
        day.clicks += whole(found, "metrics.clicks")
    for level, (resource, fields) in _LEVELS.items():
        query = f"SELECT {fields}, {_METRICS} FROM {resource} {where}"  # noqa: S608
        for found in client.search(customer.customer_id, query):
            _day_of(found, days, customer).rows.append(_row(level, found, customer))
    for day in days.values():
        _check(day)
    return list(days.values())


def _row(level: str, found: Row, customer: Customer) -> Row:
    day = date.fromisoformat(required(found, "segments.date"))
    return {
        "customer_id": customer.customer_id,
        "spend_date": day,
        "level": level,
        "campaign_id": required(found, "campaign.id"),
        "campaign_name": text(found, "campaign.name"),
        "ad_group_id": None if level == "campaign" else required(found, "adGroup.id"),
        "ad_group_name": text(found, "adGroup.name"),
        "ad_id": required(found, "adGroupAd.ad.id") if level == "ad" else None,
        "ad_name": text(found, "adGroupAd.ad.name"),
        "currency": customer.currency,
        "spend": money(found, "metrics.costMicros"),
        "impressions": whole(found, "metrics.impressions"),
        "clicks": whole(found, "metrics.clicks"),
    }


def _day_of(found: Row, days: dict[date, CostDay], customer: Customer) -> CostDay:
    stamp = required(found, "segments.date")
    try:
        return days[date.fromisoformat(stamp)]
    except (KeyError, ValueError):
        raise GoogleCostError(
            f"Google Ads customer {customer.customer_id}: the answer has a row for {stamp[:10]}, "
            "which was not asked for: the next run reads it again"
        ) from None


def _check(day: CostDay) -> None:
    """Raise where the levels cannot all be right, so that no half a day lands."""
    names: dict[str, set[tuple[str | None, ...]]] = {level: set() for level in _LEVELS}
    for row in day.rows:
        name = (row["campaign_id"], row["ad_group_id"], row["ad_id"])
        if name in names[row["level"]]:
            raise _unsound(day, f"two rows of one {row['level']}")
        names[row["level"]].add(name)
    for row in day.rows:
        above = {
            "ad_group": ("campaign", (row["campaign_id"], None, None)),
            "ad": ("ad_group", (row["campaign_id"], row["ad_group_id"], None)),
        }.get(row["level"])
        if row["spend"] and above and above[1] not in names[above[0]]:
            # Its parent without a row would be short of all that it spent (E52).
            raise _unsound(day, f"costs of one {row['level']}, but none of its {above[0]}")
    spent = sum((r["spend"] for r in day.rows if r["level"] == "campaign"), Decimal(0))
    if spent and not day.spend and not day.impressions:
        # Taking the total as zero would book all that the campaigns spent as a credit (E52).
        raise _unsound(day, "costs of campaigns, but no total of the account")


def _unsound(day: CostDay, what: str) -> GoogleCostError:
    return GoogleCostError(
        f"Google Ads customer {day.customer.customer_id}: the answer for {day.day} has {what}: "
        "usually passes by itself, the next run reads it again"
    )


# ---- which days ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """What the lake has of a customer: hash of each day, and reads (since, until, read on)."""

    hashes: dict[date, str]
    reads: list[tuple[date, date, date]]

    def is_settled(self, day: date, after_days: int) -> bool:
        """Whether the day was read at least so many days after it."""
        enough = day + timedelta(days=after_days)
        return any(since <= day <= until and on >= enough for since, until, on in self.reads)


def known_days(lake: Lake, customer: Customer) -> Known:
    """The latest read of every day of a customer."""
    days = lake.query(
        "select customer_id, spend_date, arg_max(content_hash, read_no) as content_hash "
        "from {d} group by all",
        d="google_ads/cost_days",
    ).to_pylist()
    reads = lake.query("select * from {r}", r="google_ads/cost_reads").to_pylist()
    own = customer.customer_id
    return Known(
        {r["spend_date"]: r["content_hash"] for r in days if r["customer_id"] == own},
        [
            (r["since"], r["until"], customer.day_of(r["read_at"]))
            for r in reads
            if r["customer_id"] == own
        ],
    )


def days_to_read(known: Known, today: date, lookback_days: int) -> list[date]:
    """The look-back, and every day since the first known one that has not settled."""
    fresh = today - timedelta(days=lookback_days - 1)
    first = min([fresh, *known.hashes])
    settle = min(SETTLED_AFTER_DAYS, lookback_days - 1)
    return [d for d in span(first, today) if d >= fresh or not known.is_settled(d, settle)]


def span(first: date, last: date) -> list[date]:
    """Every day from `first` to `last`, both included."""
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def pieces(days: Iterable[date]) -> list[Range]:
    """Unbroken ranges of at most `PIECE_DAYS` days of ascending ones, newest first."""
    ranges: list[Range] = []
    for day in days:
        if (
            ranges
            and ranges[-1][1] == day - timedelta(days=1)
            and (day - ranges[-1][0]).days < PIECE_DAYS
        ):
            ranges[-1] = (ranges[-1][0], day)
        else:
            ranges.append((day, day))
    return ranges[::-1]
