"""What the ad API says of a history's account: objects, and account days that it restates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from tests.properties.happenings import RECEIVED, START, Cast

ZONES = ("America/Sao_Paulo", "Pacific/Auckland")
CURRENCIES = ("BRL", "USD", "CLP")
"""The reporting currency, one that the seed has rates for, one that it has none for."""

CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Day:
    """One complete read of one account day: cents of each ad, and cents of no ad at all."""

    day: int
    ads: tuple[tuple[int, int], ...]
    extra: int = 0

    @property
    def total(self) -> Decimal:
        """The account's own total."""
        return CENT * (sum(cents for _, cents in self.ads) + self.extra)


@dataclass(frozen=True, slots=True)
class Objects:
    """One read of metadata: which ads are known, under which name and campaign."""

    ads: tuple[int, ...]
    name: int
    campaign: int
    lost: tuple[int, ...] = ()  # looked up by id, and gone


Read = Day | Objects


@dataclass(frozen=True, slots=True)
class Account:
    """The ad account of a history, and all that was ever read of it, in order."""

    currency: int = 0
    zone: int = 0
    reads: tuple[Read, ...] = ()

    def rows(self, cast: Cast, place: int, read: Read, read_no: int) -> Iterator[Row]:
        """Rows of the lake for one read; the first read of an account names it."""
        known = {"read_no": read_no, "read_at": RECEIVED + timedelta(milliseconds=read_no)}
        if place == 0:
            yield (
                "accounts",
                known
                | {
                    "account_id": cast.account,
                    "currency": CURRENCIES[self.currency],
                    "timezone": ZONES[self.zone],
                },
            )
        if isinstance(read, Day):
            yield from self._day(cast, read, known)
        else:
            yield from _objects(cast, read, known)

    def _day(self, cast: Cast, read: Day, known: dict[str, Any]) -> Iterator[Row]:
        day = (START + timedelta(days=read.day)).date()
        at = known | {"account_id": cast.account}
        of_day = at | {"spend_date": day, "currency": CURRENCIES[self.currency]}
        for ad, cents in read.ads:
            counts = {"impressions": cents * 3, "clicks": cents // 50, "platform_conversations": 1}
            yield "spend_rows", of_day | counts | {"ad_id": cast.ad(ad), "spend": CENT * cents}
        yield (
            "spend_days",
            of_day
            | {
                "account_spend": read.total,
                "account_impressions": sum(cents * 3 for _, cents in read.ads),
                "account_clicks": sum(cents // 50 for _, cents in read.ads),
                "ad_rows": len(read.ads),
                "content_hash": f"{cast.account}/{known['read_no']}",
            },
        )
        yield "spend_reads", at | {"since_date": day, "until_date": day}

    def totals(self) -> dict[int, Decimal]:
        """Day -> what Meta billed by its latest word."""
        return {read.day: read.total for read in self.reads if isinstance(read, Day)}


Row = tuple[str, dict[str, Any]]
"""Table of dataset `meta_ads`, and a row of it."""


def _objects(cast: Cast, read: Objects, known: dict[str, Any]) -> Iterator[Row]:
    campaign, adset = f"{cast.account}1{read.campaign}", f"{cast.account}2{read.campaign}"
    mine = known | {"account_id": cast.account, "campaign_id": campaign}
    yield "campaigns", mine | {"campaign_name": f"Campaign {read.campaign} v{read.name}"}
    yield (
        "adsets",
        mine
        | {
            "adset_id": adset,
            "adset_name": f"Ad set {read.campaign}",
            "destination_type": "WHATSAPP" if read.campaign == 0 else "WEBSITE",
        },
    )
    for ad in read.ads:
        names = {"ad_id": cast.ad(ad), "ad_name": f"Ad {ad} v{read.name}", "adset_id": adset}
        yield "ads", mine | names | {"creative_id": f"{cast.ad(ad)}9"}
    for ad in read.lost:
        yield "ad_lookups", known | {"ad_id": cast.ad(ad), "lookup_status": "gone", "attempts": 3}


def by_table(rows: Iterable[Row]) -> dict[str, list[dict[str, Any]]]:
    """Rows of each table together, to be written as one file."""
    found: dict[str, list[dict[str, Any]]] = {}
    for table, row in rows:
        found.setdefault(table, []).append(row)
    return found
