"""What the reports must say: leads and money, as the truth has them, added up by day.

Nothing is decided here: who counts, where from and from when on is stated by the stories; this only
adds up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

from simulator.people import Lead, Outcome
from simulator.rates import MICRO, Rates
from simulator.scene import REPORTING_ZONE

Row = dict[str, Any]
Rows = dict[tuple[Any, ...], Row]
Facts = list[tuple[Lead, Row]]
"""Stated leads, each with its row of `fct_leads`."""
READ_PLATFORMS = {"meta", "google"}
"""Those whose spend can be read; what others' leads cost is not known, which is not 0."""
UNBILLED = {"direct", "organic_social", "outbound", "web_other", "unknown_ad"}
"""Channels without spend of their own: their leads have no price."""
_COSTS = ("cost_per_lead", "cost_per_qualified_lead")
_OF_PLATFORM = ("spend", "spend_reporting", "impressions", "clicks")
WINDOWS = (7, 14, 30, 90)
"""Ages in days within which qualified leads are counted."""


def campaigns(facts: Facts, spend: Rows, today: date) -> Rows:
    """Rows of `campaign_performance`."""
    return _performance(facts, spend, today, campaign_of_lead, campaign_of_spend)


def ads(facts: Facts, spend: Rows, today: date) -> Rows:
    """Rows of `ad_performance`."""
    return _performance(facts, spend, today, ad_of_lead, ad_of_spend)


def cash(facts: Facts, outcomes: Iterable[Outcome], spend: Rows, rates: Rates) -> Rows:
    """Rows of `campaign_cash_performance`: what was spent and what happened on the same day."""
    cells: dict[tuple[Any, ...], _CashDay] = defaultdict(_CashDay)
    for key, row in spend.items():
        cell = cells[key[1], row["platform"], campaign_of_spend(key, row)]
        cell.spend += row["spend"]
        cell.spend_reporting += row["spend_reporting"]
    told = {o.body["event_id"]: o for o in outcomes if not o.superseded}
    for lead, row in facts:
        if row["platform"] is None or row["is_excluded"]:
            continue
        place = lead.ad.campaign if lead.ad and lead.ad.is_resolved else lead.campaign
        account = place.account if place else None
        zone = ZoneInfo(account.zone if account else REPORTING_ZONE)
        where = (row["platform"], campaign_of_lead(row))
        if lead.funnel.qualified_at:
            cells[lead.funnel.qualified_at.astimezone(zone).date(), *where].qualifications += 1
        # No rule of a chat wins anything here.
        of_crm = (told[e] for e in lead.event_ids if e in told)
        won = [_sale(o) for o in of_crm if o.funnel_stage == "won"]
        won += [(s.at, s.value, s.currency) for s in lead.stages if s.funnel_stage == "won"]
        for number, (at, amount, currency) in enumerate(sorted(won, key=lambda sale: sale[0])):
            cell = cells[at.astimezone(zone).date(), *where]
            cell.wins += number == 0
            if amount is not None and currency is not None:
                cell.won_value += rates.convert(amount, currency, at.date())
    rows = {key: cell.row() for key, cell in cells.items()}
    for (_, platform, campaign), row in rows.items():
        if campaign == "unresolved":
            row |= dict.fromkeys(("cost_per_qualification", "cost_per_qualification_reporting"))
        if platform not in READ_PLATFORMS:
            row |= dict.fromkeys(("spend", "spend_reporting"))
    return rows


def _sale(outcome: Outcome) -> tuple[datetime, Decimal | None, str | None]:
    value = outcome.body.get("value")
    amount = None if value is None else Decimal(str(value))
    return outcome.occurred_at, amount, outcome.body.get("currency")


@dataclass(slots=True)
class _CashDay:
    spend: Decimal = Decimal(0)
    spend_reporting: Decimal = Decimal(0)
    qualifications: int = 0
    wins: int = 0
    won_value: Decimal = Decimal(0)

    def row(self) -> Row:
        return {
            "spend": self.spend,
            "spend_reporting": self.spend_reporting,
            "qualifications": self.qualifications,
            "wins": self.wins,
            "won_value_cash_reporting": self.won_value,
            "cost_per_qualification": _ratio(self.spend, self.qualifications),
            "cost_per_qualification_reporting": _ratio(self.spend_reporting, self.qualifications),
        }


def campaign_of_lead(row: Row) -> str:
    """Key of a lead in `campaign_performance`."""
    return row["campaign_id"] or "unresolved"


def campaign_of_spend(key: tuple[Any, ...], row: Row) -> str:
    """Key of spend in `campaign_performance`."""
    return row["campaign_id"] or f"unallocated:{key[0]}"


def ad_of_lead(row: Row) -> str:
    """Key of a lead in `ad_performance`."""
    campaign = row["campaign_id"]
    return row["ad_id"] or (f"campaign:{campaign}" if campaign else "unknown")


def ad_of_spend(key: tuple[Any, ...], row: Row) -> str:
    """Key of spend in `ad_performance`."""
    return f"unallocated:{key[0]}" if key[3] == "unallocated" else key[2]


@dataclass(slots=True)
class _Cell:
    """One row of a report that is being built."""

    spend: Decimal = Decimal(0)
    spend_reporting: Decimal = Decimal(0)
    impressions: int = 0
    clicks: int = 0
    accounts: set[tuple[str, str]] = field(default_factory=set)
    leads: list[Row] = field(default_factory=list)
    born: list[Row] = field(default_factory=list)
    """With those that do not count."""
    excluded: int = 0

    def take(self, lead: Row) -> None:
        """A lead that first came in within the cell: counted, or counted as excluded (E20)."""
        self.born.append(lead)
        if lead["is_excluded"]:
            self.excluded += 1
        else:
            self.leads.append(lead)

    def counts(self) -> Row:
        """What both kinds of reports say."""
        return {
            "leads": len(self.leads),
            "excluded_leads": self.excluded,
            "replied_leads": sum(r["has_replied"] for r in self.leads),
            "qualified_leads": self.qualified,
        }

    def cohort(self, day: date, today: date) -> Row:
        windows = {
            f"qualified_leads_{n}d": sum(r[f"_qualified_{n}d"] for r in self.leads) for n in WINDOWS
        }
        return {
            **self.counts(),
            **windows,
            "is_mature_30d": day + timedelta(days=30) < today,
            "won_value_reporting": sum(
                (r["won_value_reporting"] or Decimal(0) for r in self.leads), Decimal(0)
            ),
        }

    @property
    def qualified(self) -> int:
        return sum(r["is_qualified"] for r in self.leads)


def _ratio(amount: Decimal, count: int) -> Decimal | None:
    """Sums over sums, to the millionth; nothing where nobody came."""
    return (amount / count).quantize(MICRO, ROUND_HALF_UP) if count else None


def _performance(
    facts: Facts,
    spend: Rows,
    today: date,
    lead_key: Callable[[Row], str],
    spend_key: Callable[[tuple[Any, ...], Row], str],
) -> Rows:
    cells: dict[tuple[Any, ...], _Cell] = defaultdict(_Cell)
    for key, row in spend.items():
        cell = cells[key[1], row["platform"], spend_key(key, row)]
        _add(cell, row)
        cell.accounts.add((key[0], row["currency"]))
    for _, row in facts:
        if row["platform"] is not None:
            cells[row["first_touch_date"], row["platform"], lead_key(row)].take(row)
    rows: Rows = {}
    for (day, platform, name), cell in cells.items():
        rows[day, platform, name] = {
            "spend": cell.spend,
            "spend_reporting": cell.spend_reporting,
            "impressions": cell.impressions,
            "clicks": cell.clicks,
            **cell.cohort(day, today),
            "cost_per_lead": _ratio(cell.spend, len(cell.leads)),
            "cost_per_qualified_lead": _ratio(cell.spend, cell.qualified),
        }
        if not cell.accounts and not any(r["account_id"] for r in cell.born):
            # It is unknown whose ads these are: their spend is in none of our rows.
            rows[day, platform, name] |= dict.fromkeys(_COSTS)
        if platform not in READ_PLATFORMS:
            rows[day, platform, name] |= dict.fromkeys(_OF_PLATFORM)
        for account, currency in cell.accounts:
            rows[day, platform, name] |= {"account_id": account, "currency": currency}
    return rows


def _add(cell: _Cell, row: Row) -> None:
    cell.spend += row["spend"]
    cell.spend_reporting += row["spend_reporting"]
    cell.impressions += row["impressions"]
    cell.clicks += row["clicks"]


def channels(facts: Facts, spend: Rows) -> Rows:
    """Rows of `channel_performance`."""
    cells: dict[tuple[date, str], _Cell] = defaultdict(_Cell)
    for key, row in spend.items():
        _add(cells[key[1], row["channel"]], row)
    for _, row in facts:
        cells[row["first_touch_date"], row["channel"]].take(row)
    return {
        key: {
            "spend_reporting": cell.spend_reporting,
            **cell.counts(),
            "cost_per_lead": _ratio(cell.spend_reporting, len(cell.leads)),
            "cost_per_qualified_lead": _ratio(cell.spend_reporting, cell.qualified),
            **(dict.fromkeys(_COSTS) if key[1] in UNBILLED else {}),
        }
        for key, cell in cells.items()
    }
