"""What the sources of Meta's Marketing API share: the account, the lake's part of theirs, values.

Numbers arrive as text, times as `2026-05-01T10:00:00-0300`, and a field without value is absent.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa

from ctwa.settings import Settings
from ingestion.errors import SourceError
from ingestion.graph import GraphClient
from ingestion.lake import Lake
from ingestion.sources import tables
from ingestion.sources.meta_schema import META_ADS

log = logging.getLogger(__name__)

DATASET = "meta_ads"
Row = dict[str, Any]

_ACCOUNT_FIELDS = (
    "id,account_id,name,currency,timezone_name,timezone_offset_hours_utc,account_status"
)


class MetaShapeError(SourceError):
    """Meta's answer does not look as documented: a field is missing or of another kind."""


@dataclass(frozen=True, slots=True)
class AdAccount:
    """An ad account as the API tells it."""

    account_id: str
    name: str | None
    currency: str
    timezone_name: str | None
    account_status: str | None
    zone: tzinfo

    def day_of(self, moment: datetime) -> date:
        """The account's calendar day at that moment."""
        return moment.astimezone(self.zone).date()

    def row(self) -> Row:
        """As a row of `accounts`."""
        return {
            "account_id": self.account_id,
            "account_name": self.name,
            "currency": self.currency,
            "timezone_name": self.timezone_name,
            "account_status": self.account_status,
        }


def read_account(client: GraphClient, account_id: str) -> AdAccount:
    """Ask for one account; raises `GraphPermissionError` and others of its kind."""
    body = client.get(f"act_{account_id}", fields=_ACCOUNT_FIELDS)
    currency = text(body, "currency")
    if currency is None:
        raise MetaShapeError(f"ad account {account_id}: the answer has no `currency`")
    return AdAccount(
        account_id=account_id,
        name=text(body, "name"),
        currency=currency,
        timezone_name=text(body, "timezone_name"),
        account_status=text(body, "account_status"),
        zone=_zone(account_id, body),
    )


def _zone(account_id: str, body: Row) -> tzinfo:
    name = text(body, "timezone_name") or ""
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):  # unknown, empty, or a path
        hours = decimal(body, "timezone_offset_hours_utc") or Decimal(0)
    log.warning(
        "ad account %s has the time zone %r, which is unknown here: using its present offset of "
        "%s h (update the tzdata package)",
        account_id,
        name,
        hours,
    )
    return timezone(timedelta(hours=float(hours)))


# ---- the lake --------------------------------------------------------------------------------


def open_lake(settings: Settings) -> Lake:
    """The lake with all of Meta's tables, cleared of what killed runs left."""
    lake = Lake.from_settings(settings)
    lake.ensure(DATASET, META_ADS)
    lake.sweep(DATASET)
    lake.compact(DATASET, META_ADS)  # each pull adds a few small files
    return lake


def next_read_no(lake: Lake) -> int:
    """One more than any pull has had that landed."""
    return tables.next_read_no(lake, DATASET, list(META_ADS))


def to_table(name: str, rows: list[Row], read_no: int, read_at: datetime) -> pa.Table:
    """Rows of one table, stamped with the pull they came with."""
    return tables.stamped(META_ADS[name], rows, read_no, read_at)


# ---- values ----------------------------------------------------------------------------------


def text(body: Row, field: str) -> str | None:
    """A value as text: ids and enumerations may come as numbers; ids are text from here on."""
    value = body.get(field)
    if value is None or value == "":
        return None
    if isinstance(value, (dict, list, float, bool)):
        raise MetaShapeError(f"`{field}` is a {type(value).__name__} where text was expected")
    return str(value)


def required(body: Row, field: str) -> str:
    """Text that must be there."""
    value = text(body, field)
    if value is None:
        raise MetaShapeError(f"Meta's answer has no `{field}`, which every row must have")
    return value


def decimal(body: Row, field: str) -> Decimal | None:
    """An exact number; None if absent."""
    value = body.get(field)
    if value is None:
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or isinstance(value, bool):
        raise MetaShapeError(f"`{field}` is not a number in Meta's answer")
    return number


def integer(body: Row, field: str) -> int | None:
    """A whole number; None if absent."""
    number = decimal(body, field)
    if number is None:
        return None
    if number != number.to_integral_value():
        raise MetaShapeError(f"`{field}` is not a whole number in Meta's answer")
    return int(number)


def moment(body: Row, field: str) -> datetime | None:
    """A time with offset, as UTC; None if absent."""
    value = text(body, field)
    if value is None:
        return None
    try:
        parsed: datetime | None = datetime.fromisoformat(value)
    except ValueError:
        parsed = None
    if parsed is None or parsed.tzinfo is None:
        raise MetaShapeError(f"`{field}` is not a time with offset in Meta's answer")
    return parsed.astimezone(UTC)
