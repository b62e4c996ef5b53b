"""What the marts must say about days whose spend was not read: no amount, and that it is unread.

An account of Meta's is silent from a night on: its objects are read, its insights are refused. What
is known of it is what the night before told; the account's day of that night is only begun. Every
later day up to yesterday is unread: its leads count, money and costs are null, in all totals.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from simulator.ads_state import AdsState
from simulator.truth_reports import Facts, Row, Rows
from simulator.world import World

_MONEY = ("spend", "spend_reporting", "impressions", "clicks")
_COSTS = ("cost_per_lead", "cost_per_qualified_lead")
_CASH = (
    "spend", "spend_reporting", "cost_per_qualification", "cost_per_qualification_reporting",
)  # fmt: skip
_NEAR = timedelta(days=30)
"""An ad that spent so near to an unread day may have spent on it as well."""
_BILLED = {"click_to_whatsapp", "meta_web", "meta_lead_form", "meta_unallocated", "unknown_ad"}
"""Channels in which a Meta account may have spent."""


@dataclass(frozen=True, slots=True)
class Silence:
    """`account_id` was read for the last time in `night`, 1 to the number of nights."""

    account_id: str
    night: int

    def told(self, world: World) -> AdsState:
        """The ad accounts as far as they were read."""
        state = copy.deepcopy(world.ads)
        then = world.nights[self.night - 1]
        for table, before in (
            (state.spend, then.spend), (state.extra_spend, then.extra_spend)
        ):  # fmt: skip
            for key in [k for k in table if k[0] == self.account_id]:
                del table[key]  # type: ignore[arg-type]
            last = world.day(self.night)
            kept = {k: v for k, v in before.items() if k[0] == self.account_id and k[1] <= last}
            table.update(copy.deepcopy(kept))  # type: ignore[arg-type]
        for ad_id, ad in then.ads.items():
            if ad.account_id == self.account_id:
                state.ads[ad_id] = copy.deepcopy(ad)
        return state

    def world(self, world: World) -> World:
        """The world as far as its money was read."""
        return replace(world, nights=(*world.nights[:-1], self.told(world)))

    def days(self, world: World) -> list[date]:
        """Unread days that are over."""
        first, today = world.day(self.night) + timedelta(days=1), world.today
        return [first + timedelta(days=n) for n in range((today - first).days)]


@dataclass(frozen=True, slots=True)
class Unread:
    """Applies a silence to the expected rows of the reports."""

    silence: Silence
    days: list[date]
    today: date
    facts: Facts
    spend: Rows

    def report(self, rows: Rows, of_lead: Any, of_spend: Any) -> Rows:
        """Rows of `campaign_performance` or `ad_performance`, by their keys of leads and spend."""
        account = self.silence.account_id
        for _, lead in self.facts:
            # It is unknown whose ads the others are: they may belong to this account.
            if lead["platform"] == "meta" and lead["account_id"] in (account, None):
                day = lead["first_touch_date"]
                if day in self.days or day == self.today:
                    self._forget(rows, (day, "meta", of_lead(lead)))
        for day in self.days:
            self._forget(rows, (day, "meta", f"unallocated:{account}"))
            for name in self._near(day, of_spend):
                self._forget(rows, (day, "meta", name))
        return rows

    def _near(self, day: date, of_spend: Any) -> Iterable[str]:
        spent: dict[Any, list[date]] = {}
        for key, row in self.spend.items():
            is_own = key[0] == self.silence.account_id and key[3] == "ad"
            if is_own and (row["spend"] or row["impressions"]):
                spent.setdefault((key[2], of_spend(key, row)), []).append(key[1])
        for (_, name), on in spent.items():
            if min(on) - _NEAR <= day <= max(on) + _NEAR:
                yield name

    def _forget(self, rows: Rows, key: tuple[Any, ...]) -> None:
        empty: Row = {"leads": 0, "excluded_leads": 0, "qualified_leads": 0}
        row = rows.setdefault(key, empty)
        row |= dict.fromkeys((*_MONEY, *_COSTS)) | {"spend_status": "unread"}
        row.pop("currency", None)

    def cash(self, rows: Rows, campaigns: Rows) -> Rows:
        """Rows of `campaign_cash_performance`; `campaigns`: those by cohort, with this applied."""
        own = {row["campaign_id"] for row in self.spend.values() if row["campaign_id"]}
        own &= {c for c in own if self._is_own(c)}
        unread = {k for k, row in campaigns.items() if row.get("spend_status") == "unread"}
        for day, platform, name in {*unread, *rows}:
            if platform != "meta" or (day not in self.days and (day, platform, name) not in unread):
                continue
            if (day, platform, name) in unread or name in own or name == "unresolved":
                row = rows.setdefault((day, platform, name), {"qualifications": 0, "wins": 0})
                row |= dict.fromkeys(_CASH)
        return rows

    def _is_own(self, campaign: str) -> bool:
        return any(
            key[0] == self.silence.account_id and row["campaign_id"] == campaign
            for key, row in self.spend.items()
        )

    def channels(self, rows: Rows) -> Rows:
        """Rows of `channel_performance`."""
        paid = {row["channel"] for row in self.spend.values() if row["platform"] == "meta"}
        paid |= {f["channel"] for _, f in self.facts if f["platform"] == "meta"} | {
            "meta_unallocated"
        }
        for day in self.days:
            for name in paid & _BILLED:
                row = rows.setdefault((day, name), {"leads": 0, "qualified_leads": 0})
                row |= dict.fromkeys(("spend_reporting", *_COSTS)) | {"spend_status": "unread"}
        account = self.silence.account_id
        for _, lead in self.facts:
            is_open = lead["platform"] == "meta" and lead["account_id"] in (account, None)
            if is_open and lead["first_touch_date"] == self.today:
                row = rows[self.today, lead["channel"]]
                row |= dict.fromkeys(("spend_reporting", *_COSTS))
        return rows

    def account_days(self) -> Rows:
        """Account days that are shown as unread."""
        account = self.silence.account_id
        return {
            (account, day): {"account_spend": None, "spend_unread_reason": "after_last_read"}
            for day in self.days
        }
