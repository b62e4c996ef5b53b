"""Account days of insights: from Meta's rows to whole days with their total and content hash."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import orjson

from ingestion.sources.meta_account import (
    AdAccount,
    MetaShapeError,
    Row,
    decimal,
    integer,
    required,
    text,
)

CONVERSATION_STARTED = "onsite_conversion.messaging_conversation_started_7d"
"""The one action type that is a started conversation; look-alikes end differently."""

AD_FIELDS = (
    *("account_id", "account_currency", "campaign_id", "campaign_name", "adset_id"),
    *("adset_name", "ad_id", "ad_name", "spend", "impressions", "reach", "clicks"),
    *("inline_link_clicks", "actions", "date_start", "date_stop"),
)
ACCOUNT_FIELDS = (
    *("account_id", "account_currency", "spend", "impressions", "clicks"),
    *("date_start", "date_stop"),
)
_MICRO = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class DayRead:
    """One account day, read whole. `ads` are rows of `insights`, by ad id."""

    account_id: str
    day: date
    currency: str
    spend: Decimal
    impressions: int
    clicks: int
    ads: list[Row]

    @property
    def content_hash(self) -> str:
        """Same figures and names, same hash; the order of rows and actions does not matter."""
        digest = hashlib.sha256(
            orjson.dumps(
                [self.currency, _plain(self.spend), self.impressions, self.clicks, len(self.ads)]
            )
        )
        for row in self.ads:
            digest.update(orjson.dumps([_canonical(k, v) for k, v in sorted(row.items())]))
        return digest.hexdigest()

    def row(self) -> Row:
        """As a row of `insight_days`."""
        return {
            "account_id": self.account_id,
            "spend_date": self.day,
            "currency": self.currency,
            "account_spend": self.spend,
            "account_impressions": self.impressions,
            "account_clicks": self.clicks,
            "ad_rows": len(self.ads),
            "content_hash": self.content_hash,
        }


def compact(page: list[Row]) -> list[Row]:
    """A page with `actions` as JSON text and its one count taken out: a tenth of the memory."""
    for row in page:
        actions = row.get("actions")
        if actions is not None:
            row["platform_conversations"] = _conversations(actions)
            row["actions"] = orjson.dumps(actions).decode()
    return page


def check_fields(account_id: str, ads: list[Row], totals: list[Row]) -> None:
    """A field may be absent in a row; a field that is in no row at all has been renamed."""
    for what, rows in (("ad", ads), ("account", totals)):
        if rows and not any("spend" in row for row in rows):
            raise MetaShapeError(
                f"ad account {account_id}: none of {len(rows)} {what} rows has `spend`; Meta has "
                "changed the field, or META_API_VERSION is too new"
            )


def split_days(
    account: AdAccount, piece: tuple[date, date], ads: list[Row], totals: list[Row]
) -> list[DayRead]:
    """Every day of `piece`, also those without delivery: their total is a read zero.

    Raises `MetaShapeError` where rows contradict each other, so that no half a day lands.
    """
    by_day: dict[date, dict[str, Row]] = {day: {} for day in _span(piece)}
    for row in ad_rows(account, piece, ads):
        # Of a row that two pages show, the later read is nearer to the truth.
        by_day[row["spend_date"]][row["ad_id"]] = row
    total_of = {_day(body, by_day): body for body in totals}
    return [
        _day_read(account, day, total_of.get(day), [rows[a] for a in sorted(rows)])
        for day, rows in by_day.items()
    ]


def ad_rows(account: AdAccount, piece: tuple[date, date], bodies: list[Row]) -> list[Row]:
    """Meta's rows of ads as rows of `insights`; raises if one is of a day outside of `piece`."""
    days = dict.fromkeys(_span(piece))
    return [_ad_row(account, body, days) for body in bodies]


def _span(piece: tuple[date, date]) -> list[date]:
    since, until = piece
    return [since + timedelta(days=n) for n in range((until - since).days + 1)]


def _day_read(account: AdAccount, day: date, total: Row | None, ads: list[Row]) -> DayRead:
    if total is None and any(row["spend"] for row in ads):
        # Taking it as zero would book all that the ads spent as a credit (E52).
        raise MetaShapeError(
            f"ad account {account.account_id}: ads spent on {day}, but the account's own total "
            "has no row for that day; usually passes by itself, the next run reads it again"
        )
    total = total or {}
    currency = text(total, "account_currency") or account.currency
    if others := {row["currency"] for row in ads} - {currency}:
        raise MetaShapeError(
            f"ad account {account.account_id}, {day}: ads in {', '.join(sorted(others))}, the "
            f"account in {currency}; amounts of two currencies cannot be one total (E43)"
        )
    return DayRead(
        account_id=account.account_id,
        day=day,
        currency=currency,
        spend=_money(total),
        impressions=integer(total, "impressions") or 0,
        clicks=integer(total, "clicks") or 0,
        ads=ads,
    )


def _ad_row(account: AdAccount, body: Row, days: dict[date, Any]) -> Row:
    return {
        "account_id": account.account_id,
        "spend_date": _day(body, days),
        "ad_id": required(body, "ad_id"),
        **{f: text(body, f) for f in ("ad_name", "adset_id", "adset_name")},
        **{f: text(body, f) for f in ("campaign_id", "campaign_name")},
        "currency": text(body, "account_currency") or account.currency,
        "spend": _money(body),
        "impressions": integer(body, "impressions") or 0,
        "reach": integer(body, "reach"),  # not additive: absent is unknown
        "clicks": integer(body, "clicks") or 0,
        "inline_link_clicks": integer(body, "inline_link_clicks") or 0,
        "platform_conversations": body.get("platform_conversations", 0),
        "actions": body.get("actions"),
    }


def _day(body: Row, days: dict[date, Any]) -> date:
    start = required(body, "date_start")
    try:
        day = date.fromisoformat(start)
    except ValueError:
        raise MetaShapeError(f"`date_start` is not a day in Meta's answer: {start[:20]}") from None
    if day not in days or body.get("date_stop", start) != start:
        raise MetaShapeError(f"Meta's answer has a row for {day} that was not asked for")
    return day


def _money(body: Row) -> Decimal:
    spend = decimal(body, "spend") or Decimal(0)
    return spend.quantize(_MICRO, ROUND_HALF_EVEN)


def _conversations(actions: Any) -> int:
    if not isinstance(actions, list):
        raise MetaShapeError("`actions` is not a list in Meta's answer")
    found = [a for a in actions if isinstance(a, dict)]
    return sum(
        integer(a, "value") or 0 for a in found if a.get("action_type") == CONVERSATION_STARTED
    )


def _canonical(name: str, value: Any) -> Any:
    if name == "actions" and value is not None:
        parts = (orjson.dumps(a, option=orjson.OPT_SORT_KEYS) for a in orjson.loads(value))
        return b",".join(sorted(parts)).decode()
    if isinstance(value, Decimal):
        return _plain(value)
    return value


def _plain(value: Decimal) -> str:
    return f"{value.normalize():f}"
