"""What the boards must count of each ad, ad set and campaign: leads, qualified leads and money.

Estimates and verdicts follow from these counts by formula, which tests of the formulae look at.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal

from simulator.company import ADS, FORM_DESTINATIONS
from simulator.rates import MICRO
from simulator.truth_reports import Facts, Row, Rows

BOARD_WINDOWS = (30, 90, 180)
"""Lengths of the windows in account days."""
_MATURE = 31
"""Days from the last day of a window to today: thirty whole ones, and today is not over."""
_ELSEWHERE = {
    name
    for ad in ADS
    if ad.campaign.destination in ("WEBSITE", *FORM_DESTINATIONS)
    for name in (ad.ad_id, ad.adset_id, ad.campaign.campaign_id)
}

Peers = tuple[str, str | None, bool]
"""Platform, account (None: not ours), and whether the ads lead to WhatsApp."""


@dataclass(slots=True)
class _Day:
    spend: Decimal = Decimal(0)
    reporting: Decimal = Decimal(0)
    seen: int = 0
    leads: int = 0
    qualified: int = 0


@dataclass(slots=True)
class _Ad:
    peers: Peers
    days: dict[date, _Day] = field(default_factory=lambda: defaultdict(_Day))

    def total(self, first: date, last: date) -> tuple[Decimal, int, int]:
        """Spend, leads and qualified leads of the days from first to last."""
        days = [day for on, day in self.days.items() if first <= on <= last]
        spend = sum((d.spend for d in days), Decimal(0))
        return spend, sum(d.leads for d in days), sum(d.qualified for d in days)

    def reporting(self, first: date, last: date) -> Decimal:
        """Spend of the days from first to last, in the reporting currency."""
        days = (day.reporting for on, day in self.days.items() if first <= on <= last)
        return sum(days, Decimal(0))


def board(facts: Facts, spend: Rows, today: date, level: str = "ad") -> Rows:
    """Rows of the board of a level (`ad`, `adset`, `campaign`), without what is estimated."""
    ads = _ads(facts, spend, level)
    listening = _listening(ads)
    last = today - timedelta(days=_MATURE)
    rows: Rows = {}
    for window in BOARD_WINDOWS:
        start = last - timedelta(days=window - 1)
        totals = {
            key: ad.total(max(start, listening.get(ad.peers, start)), last)
            for key, ad in ads.items()
        }
        for key, (money, leads, qualified) in totals.items():
            ours = ads[key].peers[1] is not None
            others = [totals[k] for k in ads if ads[k].peers == ads[key].peers and k != key]
            if not ours:
                others = []
            if money or leads:
                rows[*key, window] = {
                    "account_id": ads[key].peers[1],
                    "window_start": start,
                    "window_end": last,
                    "spend": money if ours else None,
                    "leads": leads,
                    "qualified_leads": qualified,
                    "cost_per_lead": _ratio(money, leads) if ours else None,
                    "cost_per_qualified_lead": _ratio(money, qualified) if ours else None,
                    **_others(others),
                }
    return rows


def most_wasteful(facts: Facts, spend: Rows, today: date) -> Rows:
    """The campaign that Monday must name before all others, where it is beyond doubt.

    Its leads cost more than those of its peers, or the company's where it has none, by more than
    chance explains, and the money at stake is half as much again as of any other.
    """
    ads = {key: ad for key, ad in _ads(facts, spend, "campaign").items() if ad.peers[1]}
    listening = _listening(ads)
    last = today - timedelta(days=_MATURE)
    totals = {}
    for key, ad in ads.items():
        start = max(last - timedelta(days=89), listening.get(ad.peers, date.min))
        totals[key] = (ad.reporting(start, last), *ad.total(start, last)[1:])
    wasted: list[tuple[float, bool, tuple[str, str]]] = []
    for key, (money, leads, qualified) in totals.items():
        before = [today - timedelta(days=n) for n in (28, 7, 1)]
        month = float(ads[key].reporting(before[0], before[2]))
        peer = _yardstick(ads, totals, key)
        if not (money and leads and peer and ads[key].reporting(before[1], before[2])):
            continue
        over = float(money) / max(qualified, 0.5) / peer
        chance = math.exp(2.4 * math.sqrt(1 / max(qualified, 0.5) + 1 / leads))
        wasted.append((month * (1 - 1 / over), leads >= 10 and over > chance, key))
    wasted.sort(reverse=True)
    if not wasted or not wasted[0][1] or (len(wasted) > 1 and wasted[1][0] * 1.5 > wasted[0][0]):
        return {}
    return {wasted[0][2]: {"is_first": True}}


def _yardstick(
    ads: dict[tuple[str, str], _Ad],
    totals: dict[tuple[str, str], tuple[Decimal, int, int]],
    key: tuple[str, str],
) -> float | None:
    """What the others of the account pay for a qualified lead; if they are too few, the company."""
    account, kind = ads[key].peers, ads[key].peers[2]
    for others in (
        [t for k, t in totals.items() if k != key and ads[k].peers == account],
        [t for k, t in totals.items() if k != key and ads[k].peers[2] == kind],
    ):
        money, qualified = sum(float(t[0]) for t in others), sum(t[2] for t in others)
        if qualified >= 5 and money:
            return money / qualified
    return None


def _listening(ads: dict[tuple[str, str], _Ad]) -> dict[Peers, date]:
    """First day with a lead, by account and kind."""
    first: dict[Peers, date] = {}
    for ad in ads.values():
        for on, day in ad.days.items():
            if day.seen and ad.peers[1] is not None:
                first[ad.peers] = min(on, first.get(ad.peers, on))
    return first


def _ads(facts: Facts, spend: Rows, level: str) -> dict[tuple[str, str], _Ad]:
    """Whatever is judged, by platform and id."""
    column = f"{level}_id"
    ads: dict[tuple[str, str], _Ad] = {}

    def of(platform: str, account: str | None, name: str) -> _Ad:
        peers = (platform, account, platform == "meta" and name not in _ELSEWHERE)
        return ads.setdefault((platform, name), _Ad(peers))

    for (account, on, ad_id, kind), row in spend.items():
        name = ad_id if level == "ad" else row[column]
        # A campaign also has what is spent beyond its ads.
        if name is not None and kind in (
            {"ad"} if level != "campaign" else {"ad", "ad_group", "campaign"}
        ):
            day = of(row["platform"], account, name).days[on]
            day.spend += row["spend"]
            day.reporting += row["spend_reporting"]
    for _, row in facts:
        # A lead that names no ad is in no ad set: only its campaign has it.
        if row[column] is not None and (level == "campaign" or row["ad_id"] is not None):
            day = of(row["platform"], row["account_id"], row[column]).days[row["first_touch_date"]]
            day.seen += 1
            if not row["is_excluded"]:
                day.leads += 1
                day.qualified += row["_qualified_30d"]
    return ads


def _others(others: list[tuple[Decimal, int, int]]) -> Row:
    qualified = sum(total[2] for total in others)
    money = sum((total[0] for total in others), Decimal(0))
    return {
        "peer_qualified_leads": qualified,
        "peer_cost_per_qualified_lead": _ratio(money, qualified),
    }


def _ratio(money: Decimal, count: int) -> Decimal | None:
    return (money / count).quantize(MICRO, ROUND_HALF_UP) if count else None
