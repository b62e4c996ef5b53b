"""Age and permissions of Meta's tokens: known before the night on which nothing can be read."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from ctwa.settings import Settings
from ingestion.errors import SourceError
from ingestion.graph import GraphClient
from ingestion.graph_errors import GraphStopError
from ingestion.graph_session import RetryPolicy
from ingestion.meta_token import RENEW, SOON, TokenFacts, read_token
from ingestion.watch import META_TOKEN, Observation

_IMPATIENT = RetryPolicy(tries=2, base=0.2, max_total_wait=1.0, timeout=15.0)
_SUBJECT = "META_ACCESS_TOKEN"
_DAY = 86_400


def look(settings: Settings, now: datetime) -> Observation:
    """Ask Meta of the token that reads ads. Never raises: no answer is no judgement."""
    token = settings.meta_access_token
    if token is None or not settings.meta_is_on:
        return Observation(META_TOKEN, "off", "Meta's ads are not connected")
    client = GraphClient(
        settings.meta_graph_url,
        token.get_secret_value(),
        version=settings.meta_api_version,
        policy=_IMPATIENT,
    )
    try:
        told = read_token(client, token.get_secret_value())
    except GraphStopError:
        return _warn("Meta does not take the token any more")
    except SourceError:
        # Meta's outage, which the source's own check tells.
        return Observation(META_TOKEN, "off", "Meta did not tell its age", subject=_SUBJECT)
    finally:
        client.close()
    return judge(told, now)


def judge(told: TokenFacts, now: datetime) -> Observation:
    """`measured`: days to its end; null where it has none."""
    if not told.is_valid:
        return _warn("Meta calls the token invalid")
    if not told.may_read_ads:
        return _warn("ads_read is not among the token's permissions")
    if told.ends_at is None:
        return Observation(META_TOKEN, "ok", "valid, without an end", subject=_SUBJECT)
    days = Decimal((told.ends_at - now).total_seconds() / _DAY).quantize(Decimal("0.1"))
    limit = Decimal(SOON.days)
    found = f"the token ends on {told.ends_at:%Y-%m-%d}"
    if days < limit:
        return _warn(f"{found}, in {days} days", days)
    return Observation(META_TOKEN, "ok", found, subject=_SUBJECT, measured=days, expected_low=limit)


def _warn(found: str, days: Decimal | None = None) -> Observation:
    low = None if days is None else Decimal(SOON.days)
    return Observation(
        META_TOKEN,
        "warn",
        found,
        subject=_SUBJECT,
        mend=RENEW,
        measured=days,
        expected_low=low,
    )
