"""Meta's ad accounts, and the token that reads them.

If Meta refuses an account, the check of its asset names it, with the day through which it was read
(E91), unless nothing of it is missing: it was closed or disabled when last read, and either its
last day with spend was read again after Meta's last corrections (`SETTLED_AFTER_DAYS`, or the
look-back), or it was last read longer ago than the look-back. An account whose id was removed from
META_AD_ACCOUNT_IDS keeps its history and is not mentioned.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal

from ctwa.settings import Settings
from ingestion.ads.accounts import Account, known_days, known_zone
from ingestion.ads.meta.errors import (
    GraphError,
    GraphNotFoundError,
    GraphPermissionError,
    GraphStopError,
    GraphThrottledError,
    GraphUnavailableError,
    MetaShapeError,
)
from ingestion.ads.meta.graph import GraphClient
from ingestion.ads.meta.objects import decimal, name, text
from ingestion.ads.tables import AdsTables, Row
from ingestion.apis.client import IMPATIENT
from ingestion.source import Finding, SourceError, not_checked, off, ok, refused, wrong

log = logging.getLogger(__name__)

SETTLED_AFTER_DAYS = 28
"""How long Meta corrects a day's figures."""
_CANNOT_SPEND = {"2": "disabled", "100": "about to be closed", "101": "closed"}
"""Values of Meta's `account_status` in which an account cannot spend."""
_FIELDS = "id,account_id,name,currency,timezone_name,timezone_offset_hours_utc,account_status"


class MetaAccountLostError(SourceError):
    """An account that was read before can no longer be read."""


def read_account(client: GraphClient, account_id: str) -> Account:
    """Ask for one account. Raises `GraphError`, `MetaShapeError`."""
    body = client.get(f"act_{account_id}", fields=_FIELDS)
    currency = text(body, "currency")
    if currency is None:
        raise MetaShapeError(f"ad account {account_id}: the answer has no `currency`")
    return Account(
        account_id=account_id,
        name=name(body, "name"),
        currency=currency,
        timezone=text(body, "timezone_name"),
        status=text(body, "account_status"),
        zone=_zone(account_id, body),
    )


def read_account_or_finished(
    client: GraphClient, tables: AdsTables, account_id: str, lookback_days: int
) -> Account | None:
    """Ask for one account; None if it is refused and nothing of it is missing.

    Raises `MetaAccountLostError` if an account that was read before is refused, and what
    `read_account` raises.
    """
    try:
        return read_account(client, account_id)
    except (GraphPermissionError, GraphNotFoundError) as error:
        refusal: GraphError = error
    row = tables.newest("accounts").get(account_id)
    if row is None:
        raise refusal
    account = Account.of_row(row)
    known = known_days(tables, account)
    if known.read_through is None:
        raise refusal
    closed = _CANNOT_SPEND.get(account.status or "")
    today = account.day_of(tables.now())
    if closed and (
        known.is_finished(SETTLED_AFTER_DAYS, lookback_days)
        or known.is_long_ago(today, lookback_days)
    ):
        return None
    name_of = f" ({account.name})" if account.name else ""
    raise MetaAccountLostError(
        f"it{name_of} was read through {known.read_through} and can no longer be read"
        f"{f', it was {closed} then' if closed else ''}; what it spent from that day on is not "
        f"known. {refusal}. If it is closed or no longer yours, take its id out of "
        "META_AD_ACCOUNT_IDS: what was read stays"
    )


def taken_out(tables: AdsTables, configured: Collection[str]) -> str | None:
    """Accounts read before whose id is no longer configured, for metadata."""
    rows = tables.query("select distinct account_id from {r} order by account_id", r="spend_reads")
    return ", ".join(r["account_id"] for r in rows if r["account_id"] not in configured) or None


def _zone(account_id: str, body: Row) -> tzinfo:
    zone_name = text(body, "timezone_name")
    if zone := known_zone(zone_name):
        return zone
    hours = decimal(body, "timezone_offset_hours_utc") or Decimal(0)
    log.warning(
        "ad account %s has the time zone %r, which is unknown here: using its current offset of "
        "%s h (update the tzdata package)",
        account_id,
        zone_name or "",
        hours,
    )
    return timezone(timedelta(hours=float(hours)))


SOON = timedelta(days=14)
"""How early a token has to be renewed: time for a holiday and to find who may create tokens."""
READ_ADS = frozenset({"ads_read", "ads_management"})
"""Each of these lets a token read ads and spend."""
RENEW = (
    "make a system user token with ads_read that never expires (Business settings > System users) "
    "and put it into META_ACCESS_TOKEN"
)


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """What Meta says about a token. `ends_at`: None if it never expires; `scopes`: None if Meta
    does not list them."""

    is_valid: bool
    ends_at: datetime | None
    scopes: frozenset[str] | None

    @property
    def may_read_ads(self) -> bool:
        """Whether it has permission to read ads, as far as that is known."""
        return self.scopes is None or bool(READ_ADS & self.scopes)


def read_token(client: GraphClient, token: str) -> TokenFacts:
    """Ask Meta (`debug_token`). Raises what the client raises: `GraphStopError` for a dead one."""
    facts = client.get("debug_token", input_token=token).get("data", {})
    # 0 means never. Data access ends separately for a person's token, not for a system user's.
    ends = [t for k in ("expires_at", "data_access_expires_at") if (t := int(facts.get(k) or 0))]
    scopes = facts.get("scopes")
    return TokenFacts(
        is_valid=bool(facts.get("is_valid", True)),
        ends_at=datetime.fromtimestamp(min(ends), UTC) if ends else None,
        scopes=frozenset(scopes) if isinstance(scopes, list) else None,
    )


def examine(settings: Settings) -> Iterator[Finding]:
    """The token, what it may do and how long, and each account; only `off` if nothing is set up."""
    token = settings.meta_access_token
    if token is None and not settings.meta_ad_account_ids:
        yield off("Meta ads", "META_ACCESS_TOKEN and META_AD_ACCOUNT_IDS are not set")
        return
    if token is None or not settings.meta_ad_account_ids:
        missing = "META_ACCESS_TOKEN" if token is None else "META_AD_ACCOUNT_IDS"
        yield wrong("Meta ads", f"{missing} is not set", f"set {missing}; see docs/connect")
        return
    client = GraphClient(
        settings.meta_graph_url,
        token.get_secret_value(),
        version=settings.meta_api_version,
        policy=IMPATIENT,
    )
    try:
        try:
            yield from _token(client, token.get_secret_value())
        except GraphStopError as error:
            yield refused("Meta token", error)
            return
        for account_id in settings.meta_ad_account_ids:
            yield _account(client, account_id)
    finally:
        client.close()


def _token(client: GraphClient, token: str) -> Iterator[Finding]:
    try:
        facts = read_token(client, token)
    except GraphStopError:
        raise
    except (GraphUnavailableError, GraphThrottledError) as error:
        yield not_checked("Meta token", error)
        return
    except SourceError as error:
        # Only this question was refused; whether the token reads the accounts is seen below.
        yield off("Meta token", f"not checked, Meta does not describe it: {error}")
        return
    if not facts.is_valid:
        yield wrong("Meta token", "Meta calls it invalid", RENEW)
        return
    if facts.ends_at is None:
        yield ok("Meta token", "valid, without an end")
    elif facts.ends_at - datetime.now(UTC) < SOON:
        yield wrong("Meta token", f"ends on {facts.ends_at:%Y-%m-%d}", RENEW)
    else:
        yield ok("Meta token", f"valid until {facts.ends_at:%Y-%m-%d}")
    if not facts.may_read_ads:
        yield wrong("Meta permissions", "ads_read is not among the token's permissions", RENEW)
    elif facts.scopes is not None:
        yield ok("Meta permissions", "ads_read")


def _account(client: GraphClient, account_id: str) -> Finding:
    subject = f"Meta ad account {account_id}"
    try:
        account = read_account(client, account_id)
    except SourceError as error:
        return refused(subject, error)
    return ok(subject, f"{account.name}, {account.currency}, {account.timezone}")
