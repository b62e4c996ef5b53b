"""What WhatsApp bills the company's numbers: message by message, as its published rules say.

Written as a ledger that is kept while things happen, so that an error of the models, which look
back over everything at once, is not made here a second time.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal
from zoneinfo import ZoneInfo

from ctwa.settings import PROJECT_DIR
from simulator.company import PLATFORM_TEST
from simulator.people import Event
from simulator.scene import REPORTING_ZONE

SEEDS = PROJECT_DIR / "dbt_project" / "seeds"
CHARGED_SINCE = date(2026, 10, 1)
"""From this day on service messages cost something, and utility messages wherever they are sent."""
ALLOWANCE = 1_000
"""Free service messages of a number and month."""

Rates = Mapping[tuple[str, str], Decimal]
"""Market and category -> price of one message."""


@dataclass(frozen=True, slots=True)
class Written:
    """A message in a chat with `person`; ours if it has a category.

    `word` is the `pricing.type` of its statuses. `delivered_at` is None where it never arrived.
    """

    at: datetime
    number: str
    person: str
    name: str
    category: str = ""
    market: str = ""
    delivered_at: datetime | None = None
    from_ad: bool = False
    word: str | None = None


Why = Literal["charged", "free_entry_point", "allowance", "service_window"]


@dataclass(slots=True)
class _Chat:
    heard_at: datetime | None = None
    ad_at: datetime | None = None
    free_until: datetime | None = None


def charges(written: Iterable[Written], *, free_hours: int = 72) -> dict[str, Why]:
    """Name of each delivered message of ours -> whether it is charged, and why not."""
    chats: dict[tuple[str, str], _Chat] = defaultdict(_Chat)
    ours: list[tuple[Written, bool, bool]] = []
    for message in sorted(written, key=lambda m: (m.at, bool(m.category), m.name)):
        chat, at = chats[message.number, message.person], message.at
        if not message.category:
            chat.heard_at = at
            chat.ad_at = at if message.from_ad else chat.ad_at
            continue
        if chat.ad_at and at <= chat.ad_at + timedelta(hours=24):
            until = at + timedelta(hours=free_hours)
            chat.free_until = max(until, chat.free_until or until)
        chat.ad_at = None  # answered, or too late
        entry = chat.free_until is not None and at < chat.free_until
        served = chat.heard_at is not None and at < chat.heard_at + timedelta(hours=24)
        ours.append((message, entry, served))
    used: Counter[tuple[str, int, int]] = Counter()
    found: dict[str, Why] = {}
    for message, entry, served in sorted(
        ours, key=lambda o: (o[0].delivered_at or o[0].at, o[0].name)
    ):
        if message.delivered_at is not None:
            found[message.name] = _why(message, entry, served, used)
    return found


def _why(message: Written, entry: bool, served: bool, used: Counter[tuple[str, int, int]]) -> Why:
    assert message.delivered_at is not None
    day = message.delivered_at.astimezone(ZoneInfo(REPORTING_ZONE)).date()
    service, late = message.category == "service", day >= CHARGED_SINCE
    if message.word == "free_entry_point" or (message.word is None and entry):
        return "free_entry_point"
    place = (message.number, day.year, day.month)
    if service and late:
        used[place] += 1
    if message.word == "free_customer_service":
        return "allowance" if service and late else "service_window"
    if message.word is not None:
        return "charged"
    if not late and (service or (message.category == "utility" and served)):
        return "service_window"
    return "allowance" if service and late and used[place] <= ALLOWANCE else "charged"


def price(why: Why, category: str, market: str, rates: Rates) -> Decimal | None:
    """What one message costs; None where the card has no rate."""
    if why != "charged":
        return Decimal(0)
    return rates.get((market, "utility" if category == "service" else category))


def shipped_rates() -> dict[tuple[str, str], Decimal]:
    """The card that comes with the product, whose rates held for the whole of every world."""
    with (SEEDS / "message_rates.csv").open(newline="") as file:
        return {(r["market"], r["category"]): Decimal(r["rate"]) for r in csv.DictReader(file)}


def bill(events: Iterable[Event]) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Business number, month and market -> what was delivered, what is charged, and the sum."""
    rates = shipped_rates()
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    messages = _delivered(events)
    found = charges(messages.values())
    for message in messages.values():
        assert message.delivered_at is not None
        month = message.delivered_at.astimezone(ZoneInfo(REPORTING_ZONE)).strftime("%Y-%m")
        row = rows.setdefault(
            (message.number, month, message.market),
            {"messages": 0, "billable": 0, "cost": Decimal(0)},
        )
        cost = price(found[message.name], message.category, message.market, rates)
        row["messages"] += 1
        row["billable"] += found[message.name] == "charged"
        row["cost"] = None if None in (cost, row["cost"]) else row["cost"] + cost
    return rows


def _delivered(events: Iterable[Event]) -> dict[tuple[str, str], Written]:
    """Our messages that arrived: one each, whatever the number of statuses and ways to us."""
    markets = _markets()
    pricing: dict[tuple[str, str], dict[str, str]] = {}
    first: dict[tuple[str, str], tuple[datetime, str | None]] = {}
    for event in events:
        if event.part != "statuses" or event.malformed or event.number == PLATFORM_TEST:
            continue
        element, key = event.element, (event.number.display, event.element["id"])
        pricing.setdefault(key, {}).update(element.get("pricing", {}))
        if element["status"] in ("delivered", "read"):
            at = datetime.fromtimestamp(int(element["timestamp"]), UTC)
            earlier, phone = first.get(key, (at, None))
            first[key] = (min(at, earlier), phone or element.get("recipient_id"))
    return {
        key: Written(
            at, key[0], "", f"{key[0]}/{key[1]}", pricing[key]["category"],
            _market(phone or key[0], markets), at, word=pricing[key]["type"],
        )
        for key, (at, phone) in first.items()
    }  # fmt: skip


def _markets() -> dict[str, str]:
    with (SEEDS / "message_markets.csv").open(newline="") as file:
        return {row["calling_code"]: row["market"] for row in csv.DictReader(file)}


def _market(digits: str, markets: Mapping[str, str]) -> str:
    return next(markets[digits[:n]] for n in (3, 2, 1) if digits[:n] in markets)
