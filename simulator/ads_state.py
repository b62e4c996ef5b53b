"""What an advertiser has: the state behind the stand-in of the Marketing API.

Plain, mutable dataclasses: a test or a world changes them between two runs (renames, archives,
deletes, restates, withdraws) and the stand-in tells the new state from then on. The truth of a
world's spend is here; `simulator.ads_api` only speaks it in Meta's words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

_START = datetime(2026, 1, 5, 12, tzinfo=UTC)
_PARENT_STATES = {"ARCHIVED", "DELETED"}


@dataclass
class Account:
    """An ad account. `visible=False`: it exists, but the token has no right to see it."""

    id: str  # digits, without act_
    name: str
    currency: str = "BRL"
    timezone: str = "America/Sao_Paulo"
    visible: bool = True
    account_status: int = 1


@dataclass
class Campaign:
    """A campaign; `effective_status` is Meta's, e.g. ACTIVE, PAUSED, ARCHIVED, DELETED."""

    id: str
    account_id: str
    name: str
    objective: str = "OUTCOME_ENGAGEMENT"
    effective_status: str = "ACTIVE"
    buying_type: str = "AUCTION"
    created: datetime = _START
    updated: datetime = _START


@dataclass
class AdSet:
    """An ad set; the defaults are those of click-to-WhatsApp."""

    id: str
    account_id: str
    campaign_id: str
    name: str
    effective_status: str = "ACTIVE"
    destination_type: str | None = "WHATSAPP"
    optimization_goal: str = "CONVERSATIONS"
    promoted_object: dict[str, str] | None = None
    attribution_spec: list[dict[str, Any]] | None = None
    created: datetime = _START
    updated: datetime = _START


@dataclass
class Creative:
    """A creative. `media_type`: image, video or carousel."""

    id: str
    account_id: str
    name: str
    title: str | None = None
    body: str | None = None
    media_type: str = "image"
    call_to_action_type: str | None = "WHATSAPP_MESSAGE"
    effective_object_story_id: str | None = None
    effective_instagram_media_id: str | None = None
    url_tags: str | None = None
    lead_form_id: str | None = None


@dataclass
class Ad:
    """An ad."""

    id: str
    account_id: str
    campaign_id: str
    adset_id: str
    name: str
    creative_id: str | None = None
    effective_status: str = "ACTIVE"
    created: datetime = _START
    updated: datetime = _START


@dataclass
class DailyStats:
    """What one ad did on one account day. Money in the account's currency."""

    spend: Decimal
    impressions: int = 0
    clicks: int = 0
    link_clicks: int = 0
    conversations: int = 0
    reach: int | None = None


AdObject = Campaign | AdSet | Ad | Creative
Day = tuple[str, date]
AdDay = tuple[str, date, str]


@dataclass
class AdsState:
    """All ad accounts of a world.

    `spend`: (account id, account day, ad id) to what the ad did. `extra_spend`: (account id,
    account day) to money in the account's total that no ad carries. `now`: the clock of the API.
    """

    accounts: dict[str, Account] = field(default_factory=dict)
    campaigns: dict[str, Campaign] = field(default_factory=dict)
    adsets: dict[str, AdSet] = field(default_factory=dict)
    ads: dict[str, Ad] = field(default_factory=dict)
    creatives: dict[str, Creative] = field(default_factory=dict)
    spend: dict[AdDay, DailyStats] = field(default_factory=dict)
    extra_spend: dict[Day, Decimal] = field(default_factory=dict)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def add(self, *things: Account | AdObject) -> AdsState:
        """Add accounts, campaigns, ad sets, ads and creatives; returns itself."""
        for thing in things:
            self._table(thing)[thing.id] = thing
        return self

    def find(self, object_id: str) -> AdObject | None:
        """The campaign, ad set, ad or creative of that id."""
        for table in (self.ads, self.adsets, self.campaigns, self.creatives):
            if object_id in table:
                return table[object_id]
        return None

    def update(self, object_id: str, **changes: Any) -> None:
        """Change attributes of an object (e.g. `name="new"`) and move its update time."""
        thing = self.find(object_id)
        if thing is None:
            raise KeyError(f"no object {object_id} in this state")
        for name, value in changes.items():
            if not hasattr(thing, name):
                raise AttributeError(f"{type(thing).__name__} has no {name}")
            setattr(thing, name, value)
        if not isinstance(thing, Creative):
            thing.updated = self.now()

    def archive(self, object_id: str) -> None:
        """Archive a campaign, ad set or ad, with all below it."""
        self._set_status(object_id, "ARCHIVED")

    def delete(self, object_id: str) -> None:
        """Delete a campaign, ad set or ad, with all below it: from then on readable by id only."""
        self._set_status(object_id, "DELETED")

    def spent(self, ad_id: str, day: date, spend: Decimal | str, **stats: Any) -> None:
        """Record or restate what an ad did on a day: `impressions=`, `conversations=` and so on."""
        ad = self.ads[ad_id]
        self.spend[ad.account_id, day, ad_id] = DailyStats(Decimal(spend), **stats)

    def withdraw(self, ad_id: str, day: date) -> None:
        """Remove an ad's row of a day, as a restatement to nothing does."""
        self.spend.pop((self.ads[ad_id].account_id, day, ad_id), None)

    def ad_days(self, account_id: str, since: date, until: date) -> Iterator[tuple[date, str]]:
        """(day, ad id) with delivery in the account, both ends included, by day and id."""
        keys = (k for k in self.spend if k[0] == account_id and since <= k[1] <= until)
        for _, day, ad_id in sorted(keys):
            yield day, ad_id

    def account_days(self, account_id: str, since: date, until: date) -> dict[date, DailyStats]:
        """The account's own totals, deleted ads and extra spend included; idle days are absent."""
        totals: dict[date, DailyStats] = {}
        for (account, day), extra in self.extra_spend.items():
            if account == account_id and since <= day <= until:
                totals[day] = DailyStats(extra)
        for day, ad_id in self.ad_days(account_id, since, until):
            total = totals.setdefault(day, DailyStats(Decimal(0)))
            stats = self.spend[account_id, day, ad_id]
            total.spend += stats.spend
            total.impressions += stats.impressions
            total.clicks += stats.clicks
            total.link_clicks += stats.link_clicks
            total.conversations += stats.conversations
        return dict(sorted(totals.items()))

    def today(self, account_id: str) -> date:
        """The current day of the account, in its own zone."""
        return self.now().astimezone(ZoneInfo(self.accounts[account_id].timezone)).date()

    def _table(self, thing: Account | AdObject) -> dict[str, Any]:
        tables: dict[type, dict[str, Any]] = {
            Account: self.accounts,
            Campaign: self.campaigns,
            AdSet: self.adsets,
            Ad: self.ads,
            Creative: self.creatives,
        }
        return tables[type(thing)]

    def _set_status(self, object_id: str, status: str) -> None:
        self.update(object_id, effective_status=status)
        below: list[AdSet | Ad] = [a for a in self.adsets.values() if a.campaign_id == object_id]
        below += [a for a in self.ads.values() if object_id in (a.campaign_id, a.adset_id)]
        for child in below:
            # A deleted object stays deleted when its parent is only archived.
            if child.effective_status != "DELETED":
                self.update(child.id, effective_status=status)


def configured_status(effective_status: str) -> str:
    """The `status` behind an `effective_status`: what a person set on that object itself."""
    if effective_status in _PARENT_STATES or effective_status == "PAUSED":
        return effective_status
    return "ACTIVE"
