"""What an advertiser has at Google Ads: the state behind the stand-in of its API.

Plain, mutable dataclasses, as those of `ads_state`: a test or a world changes them between two
runs and the stand-in tells the new state from then on. `simulator.google_api` only speaks it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

K = TypeVar("K")


@dataclass
class Customer:
    """An account. `visible=False`: the user has no access to it. `zone`: an IANA name.
    `reads_inactive`: it can be read whatever its status."""

    customer_id: str  # digits, without hyphens
    name: str
    currency: str
    zone: str
    status: str = "ENABLED"
    is_manager: bool = False
    manager_id: str | None = None
    visible: bool = True
    reads_inactive: bool = False


@dataclass
class Campaign:
    """A campaign. Nothing is ever deleted: the status becomes REMOVED."""

    campaign_id: str
    customer_id: str
    name: str
    channel_type: str = "SEARCH"
    status: str = "ENABLED"


@dataclass
class AdGroup:
    """An ad group."""

    ad_group_id: str
    customer_id: str
    campaign_id: str
    name: str
    status: str = "ENABLED"
    type: str = "SEARCH_STANDARD"


@dataclass
class Ad:
    """An ad in its ad group. Most have no name, and texts only if they are responsive."""

    ad_id: str
    customer_id: str
    campaign_id: str
    ad_group_id: str
    name: str | None
    status: str = "ENABLED"
    type: str = "RESPONSIVE_SEARCH_AD"
    headlines: tuple[str, ...] = ()
    descriptions: tuple[str, ...] = ()


@dataclass
class Stats:
    """What something did on one day of its customer. `spend`: in the customer's currency."""

    spend: Decimal
    impressions: int = 0
    clicks: int = 0

    def __bool__(self) -> bool:
        """Whether anything happened: rows of only zeros are never reported."""
        return bool(self.spend or self.impressions or self.clicks)

    def __add__(self, other: Stats) -> Stats:
        return Stats(
            self.spend + other.spend,
            self.impressions + other.impressions,
            self.clicks + other.clicks,
        )


@dataclass
class ClickView:
    """A click with its click id. Where Google places ads, `ad_group_id` and `ad_id` are None."""

    gclid: str
    customer_id: str
    day: date
    campaign_id: str | None = None
    ad_group_id: str | None = None
    ad_id: str | None = None
    keyword: str | None = None


Thing = Customer | Campaign | AdGroup | Ad | ClickView
Day = tuple[date, str]
StatsOf = dict[tuple[str, date, str], Stats]


@dataclass
class GoogleState:
    """All customers of a world. `now`: the clock of the API.

    Keys of the three tables of stats are (customer id, the customer's day, id). `spend` is by ad;
    `ad_group_spend` and `campaign_spend` hold what has no ad or no ad group (of a Performance Max
    campaign: everything); `extra_spend` is in the customer's own total only.
    """

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    customers: dict[str, Customer] = field(default_factory=dict)
    campaigns: dict[str, Campaign] = field(default_factory=dict)
    ad_groups: dict[str, AdGroup] = field(default_factory=dict)
    ads: dict[str, Ad] = field(default_factory=dict)
    spend: StatsOf = field(default_factory=dict)
    ad_group_spend: StatsOf = field(default_factory=dict)
    campaign_spend: StatsOf = field(default_factory=dict)
    extra_spend: dict[tuple[str, date], Decimal] = field(default_factory=dict)
    clicks: list[ClickView] = field(default_factory=list)

    def add(self, *things: Thing) -> GoogleState:
        """Add customers, campaigns, ad groups, ads and clicks; returns itself."""
        for thing in things:
            if isinstance(thing, ClickView):
                self.clicks.append(thing)
            elif isinstance(thing, Customer):
                self.customers[thing.customer_id] = thing
            elif isinstance(thing, Campaign):
                self.campaigns[thing.campaign_id] = thing
            elif isinstance(thing, AdGroup):
                self.ad_groups[thing.ad_group_id] = thing
            else:
                self.ads[thing.ad_id] = thing
        return self

    def spent(self, ad_id: str, day: date, spend: Decimal | str, **stats: Any) -> None:
        """Record or restate what an ad did on a day: `impressions=`, `clicks=`."""
        self.spend[self.ads[ad_id].customer_id, day, ad_id] = Stats(Decimal(spend), **stats)

    def today(self, customer_id: str) -> date:
        """The current day of the customer, in its own zone."""
        return self.now().astimezone(ZoneInfo(self.customers[customer_id].zone)).date()

    # ---- days, each level with the whole of its own ------------------------------------------

    def ad_days(self, customer_id: str, since: date, until: date) -> dict[Day, Stats]:
        """(day, ad id) to what the ad did."""
        return _within(self.spend, customer_id, since, until)

    def ad_group_days(self, customer_id: str, since: date, until: date) -> dict[Day, Stats]:
        """(day, ad group id) to what its ads did, and what it did outside them."""
        below = self.ad_days(customer_id, since, until).items()
        own = _within(self.ad_group_spend, customer_id, since, until)
        return _summed(
            [((d, self.ads[ad].ad_group_id), stats) for (d, ad), stats in below] + [*own.items()]
        )

    def campaign_days(self, customer_id: str, since: date, until: date) -> dict[Day, Stats]:
        """(day, campaign id) to what its ad groups did, and what it did outside them."""
        below = self.ad_group_days(customer_id, since, until).items()
        own = _within(self.campaign_spend, customer_id, since, until)
        return _summed(
            [((d, self.ad_groups[g].campaign_id), stats) for (d, g), stats in below]
            + [*own.items()]
        )

    def totals(self, customer_id: str, since: date, until: date) -> dict[date, Stats]:
        """The customer's own total by day, extra spend included; idle days are absent."""
        campaigns = self.campaign_days(customer_id, since, until).items()
        extra = [
            (day, Stats(spend))
            for (customer, day), spend in self.extra_spend.items()
            if customer == customer_id and since <= day <= until
        ]
        return _summed([(day, stats) for (day, _), stats in campaigns] + extra)

    # ---- accounts above and below ------------------------------------------------------------

    def managers_of(self, customer_id: str) -> list[str]:
        """Ids of the managers above a customer, nearest first."""
        found: list[str] = []
        manager = self.customers[customer_id].manager_id
        while manager is not None and manager not in found:
            found.append(manager)
            manager = self.customers[manager].manager_id
        return found

    def below(self, customer_id: str) -> list[tuple[int, Customer]]:
        """(level, customer) of a customer itself, at level 0, and of all below it."""
        found = [(0, self.customers[customer_id])]
        for other in self.customers.values():
            managers = self.managers_of(other.customer_id)
            if customer_id in managers:
                found.append((managers.index(customer_id) + 1, other))
        return sorted(found, key=lambda item: (item[0], item[1].customer_id))


def _within(table: StatsOf, customer_id: str, since: date, until: date) -> dict[Day, Stats]:
    return _summed(
        ((day, key), stats)
        for (customer, day, key), stats in table.items()
        if customer == customer_id and since <= day <= until
    )


def _summed(items: Iterable[tuple[K, Stats]]) -> dict[K, Stats]:
    sums: dict[K, Stats] = {}
    for key, stats in items:
        sums[key] = sums[key] + stats if key in sums else stats
    return {key: sums[key] for key in sorted(sums) if sums[key]}  # type: ignore[type-var]
