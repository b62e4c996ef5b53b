"""Ad accounts and their days of spend: which to read, whether they have changed, how they land.

A platform corrects its figures for some weeks. So each run reads the look-back again, and every
earlier day that was never read, or not since the platform stopped correcting it. A killed run
continues where it stopped, and after weeks without a run nothing is missing. A day that changed is
written as a whole new set of rows with a higher `read_no`, without what the platform withdrew.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import orjson

from ingestion.ads.tables import AdsTables, Row
from ingestion.apis.answers import read_json, write_json

log = logging.getLogger(__name__)

PIECE_DAYS = 30
Range = tuple[date, date]
"""First and last day, both included."""


@dataclass(frozen=True, slots=True)
class Account:
    """An ad account as a platform's API describes it, or as it was when last read.

    `status` is the platform's own word. `configured_id`: the id in the settings through which it
    was read, on platforms where that may be a manager's. `zone`: the time zone of its days.
    """

    account_id: str
    name: str | None
    currency: str
    timezone: str | None
    status: str | None
    zone: tzinfo
    configured_id: str | None = None
    is_manager: bool = False

    def day_of(self, moment: datetime) -> date:
        """The account's calendar day at that moment."""
        return moment.astimezone(self.zone).date()

    def row(self) -> Row:
        """As a row of `accounts`."""
        return {
            "account_id": self.account_id,
            "account_name": self.name,
            "currency": self.currency,
            "timezone": self.timezone,
            "account_status": self.status,
            "configured_id": self.configured_id,
        }

    @classmethod
    def of_row(cls, row: Row) -> Account:
        """The account of a row of `accounts`; an unknown time zone is taken as UTC."""
        return cls(
            account_id=row["account_id"],
            name=row["account_name"],
            currency=row["currency"] or "",
            timezone=row["timezone"],
            status=row["account_status"],
            zone=known_zone(row["timezone"]) or UTC,
            configured_id=row["configured_id"],
        )


def known_zone(name: str | None) -> tzinfo | None:
    """The zone of an IANA name; None where this machine does not know it."""
    try:
        return ZoneInfo(name or "")
    except (KeyError, OSError, ValueError):  # unknown, empty, or a path
        return None


# ---- account days: what was read -----------------------------------------------------------------


@dataclass(slots=True)
class AccountDay:
    """One account day that was read completely: the account's own total, and its `spend_rows`."""

    account: Account
    day: date
    currency: str
    spend: Decimal = Decimal(0)
    impressions: int = 0
    clicks: int = 0
    rows: list[Row] = field(default_factory=list)

    @property
    def content_hash(self) -> str:
        """Same figures and names, same hash; the order of rows and actions does not matter."""
        digest = hashlib.sha256(
            orjson.dumps(
                [self.currency, _plain(self.spend), self.impressions, self.clicks, len(self.rows)]
            )
        )
        for row in sorted(self.rows, key=_ids):
            # The level follows from which ids a row has, so it is in the hash already.
            values = [_canonical(k, v) for k, v in sorted(row.items()) if k != "spend_level"]
            digest.update(orjson.dumps(values))
        return digest.hexdigest()

    def row(self) -> Row:
        """As a row of `spend_days`."""
        return {
            "account_id": self.account.account_id,
            "spend_date": self.day,
            "currency": self.currency,
            "account_spend": self.spend,
            "account_impressions": self.impressions,
            "account_clicks": self.clicks,
            "ad_rows": sum(row["spend_level"] == "ad" for row in self.rows),
            "content_hash": self.content_hash,
        }


def _ids(row: Row) -> tuple[str, ...]:
    return tuple(row[key] or "" for key in ("ad_id", "adset_id", "campaign_id"))


def _canonical(name: str, value: Any) -> Any:
    if name == "actions" and value is not None:
        parts = (write_json(a, sort_keys=True) for a in read_json(value.encode()))
        return b",".join(sorted(parts)).decode()
    if isinstance(value, Decimal):
        return _plain(value)
    return value


def _plain(value: Decimal) -> str:
    return f"{value.normalize():f}"


# ---- what is known ---------------------------------------------------------------------------


@dataclass(frozen=True)
class KnownDays:
    """What the lake has of an account's days.

    `hashes`: content hash of each day's newest read. `read_on`: the account's day of that read.
    `reads`: ranges that were read to the end (since, until, the account's day of the read).
    `last_active`: the last day with any spend, impression or click.
    """

    hashes: dict[date, str]
    read_on: dict[date, date]
    reads: list[tuple[date, date, date]]
    last_active: date | None = None

    @property
    def read_through(self) -> date | None:
        """The last day that was read; None where none was."""
        return max((until for _, until, _ in self.reads), default=max(self.hashes, default=None))

    def is_settled(self, day: date, after_days: int) -> bool:
        """Whether the day was read `after_days` days after it, or later."""
        if day not in self.hashes:
            return False
        enough = day + timedelta(days=after_days)
        return self.read_on[day] >= enough or any(
            since <= day <= until and on >= enough for since, until, on in self.reads
        )

    def is_finished(self, settled_after_days: int, lookback_days: int) -> bool:
        """Whether an account that no longer spends has been read to its end: its last active day
        was read again after the platform's last corrections (E91)."""
        settle = min(settled_after_days, lookback_days - 1)
        return self.last_active is None or self.is_settled(self.last_active, settle)

    def is_long_ago(self, today: date, lookback_days: int) -> bool:
        """Whether the last day that was read is before the look-back."""
        through = self.read_through
        return through is not None and today > through + timedelta(days=lookback_days)


def known_days(tables: AdsTables, account: Account) -> KnownDays:
    """The newest read of every day of an account."""
    account_id = _digits(account.account_id)
    days = tables.query(
        "select spend_date, arg_max(content_hash, read_no) as content_hash, "  # noqa: S608
        "max(read_at) as read_at, arg_max(account_spend <> 0 or account_impressions <> 0 "
        "or account_clicks <> 0, read_no) as is_active "
        f"from {{days}} where account_id = '{account_id}' group by spend_date",
        days="spend_days",
    )
    reads = tables.query(
        "select since_date, until_date, max(read_at) as read_at "  # noqa: S608
        f"from {{reads}} where account_id = '{account_id}' group by all",
        reads="spend_reads",
    )
    return KnownDays(
        hashes={r["spend_date"]: r["content_hash"] for r in days},
        read_on={r["spend_date"]: account.day_of(r["read_at"]) for r in days},
        reads=[(r["since_date"], r["until_date"], account.day_of(r["read_at"])) for r in reads],
        last_active=max((r["spend_date"] for r in days if r["is_active"]), default=None),
    )


def _digits(account_id: str) -> str:
    """An account id that is safe to put into SQL."""
    if not account_id.isdecimal():
        raise ValueError("an account id is digits")
    return account_id


# ---- which days to read ----------------------------------------------------------------------


def days_to_read(
    known: KnownDays,
    today: date,
    lookback_days: int,
    settled_after_days: int,
    *,
    first: date | None = None,
    oldest: date = date.min,
    again: Collection[date] = (),
) -> list[date]:
    """The look-back, and every earlier day that has not settled, ascending.

    Earlier days go back to the first one known, or to `first`, where a back-fill starts, but never
    beyond `oldest`. `again`: settled days that are worth another read.
    """
    fresh = today - timedelta(days=lookback_days - 1)
    settle = min(settled_after_days, lookback_days - 1)
    start = max(min([fresh, first or fresh, *known.hashes]), oldest)
    return [
        day
        for day in span(start, today)
        if day >= fresh or day in again or not known.is_settled(day, settle)
    ]


def span(first: date, last: date) -> list[date]:
    """Every day from `first` to `last`, both included."""
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def ranges(days: Iterable[date]) -> list[Range]:
    """Unbroken ranges of ascending days, ascending."""
    found: list[Range] = []
    for day in days:
        if found and found[-1][1] == day - timedelta(days=1):
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found


def pieces(days: Iterable[date]) -> list[Range]:
    """Ranges of at most `PIECE_DAYS` days, newest first: recent figures are worth the most."""
    found: list[Range] = []
    for first, last in reversed(ranges(days)):
        while first <= last:
            start = max(first, last - timedelta(days=PIECE_DAYS - 1))
            found.append((start, last))
            last = start - timedelta(days=1)
    return found


# ---- landing ---------------------------------------------------------------------------------


class DayCounts(Protocol):
    """Counts of a landing that `land_days` adds to. `rows`: by table of the lake."""

    days_read: int
    days_changed: int
    rows: dict[str, int]


def land_days(
    tables: AdsTables,
    account: Account,
    known: KnownDays,
    days: list[date],
    read_pieces: Iterable[tuple[Range, list[AccountDay]]],
    counts: DayCounts,
    unreadable: Collection[date] = (),
) -> None:
    """Land the pieces of `days` as they are read, each as one complete load of whole days.

    The load of the last piece also says which of `days` were read to the end: all but `unreadable`,
    which may grow while pieces are read.
    """
    last = len(pieces(days))
    for number, (piece, read) in enumerate(read_pieces, 1):
        changed = [day for day in read if known.hashes.get(day.day) != day.content_hash]
        done = ranges(d for d in days if d not in unreadable) if number == last else []
        own = {"account_id": account.account_id}
        landed = tables.load(
            {
                "spend_rows": [row for day in changed for row in day.rows],
                "spend_days": [day.row() for day in changed],
                "spend_reads": [own | {"since_date": a, "until_date": b} for a, b in done],
            }
        )
        for table, rows in landed.items():
            counts.rows[table] += rows
        counts.days_read += len(read)
        counts.days_changed += len(changed)
        log.info(
            "%s account %s, %s to %s: %d of %d days changed",
            *(tables.platform, account.account_id, *piece, len(changed), len(read)),
        )
