"""Meta's Marketing API: the token, what it may and how long, and each ad account."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from ctwa.settings import Settings
from ingestion.doctor import Finding, off, ok, refused, wrong
from ingestion.errors import SourceError
from ingestion.graph import GraphClient
from ingestion.graph_errors import GraphStopError
from ingestion.graph_session import RetryPolicy
from ingestion.meta_token import RENEW, SOON, read_token
from ingestion.sources.meta_account import read_account

_IMPATIENT = RetryPolicy(tries=2, base=0.2, max_total_wait=1.0, timeout=15.0)


def ads(settings: Settings) -> Iterator[Finding]:
    """Nothing but `off` where Meta is not set up at all."""
    token = settings.meta_access_token
    if token is None and not settings.meta_accounts:
        yield off("Meta ads", "META_ACCESS_TOKEN and META_AD_ACCOUNT_IDS are not set")
        return
    if token is None or not settings.meta_accounts:
        missing = "META_ACCESS_TOKEN" if token is None else "META_AD_ACCOUNT_IDS"
        yield wrong("Meta ads", f"{missing} is not set", f"set {missing}; see docs/connect")
        return
    client = GraphClient(
        settings.meta_graph_url,
        token.get_secret_value(),
        version=settings.meta_api_version,
        policy=_IMPATIENT,
    )
    try:
        try:
            yield from _token(client, token.get_secret_value())
        except GraphStopError as error:
            yield refused("Meta token", error)
            return
        for account_id in settings.meta_accounts:
            yield _account(client, account_id)
    finally:
        client.close()


def _token(client: GraphClient, token: str) -> Iterator[Finding]:
    try:
        told = read_token(client, token)
    except GraphStopError:
        raise
    except SourceError as error:
        yield off("Meta token", f"works, but Meta does not tell its age: {error}")
        return
    if not told.is_valid:
        yield wrong("Meta token", "Meta calls it invalid", RENEW)
        return
    if told.ends_at is None:
        yield ok("Meta token", "valid, without an end")
    elif told.ends_at - datetime.now(UTC) < SOON:
        yield wrong("Meta token", f"ends on {told.ends_at:%Y-%m-%d}", RENEW)
    else:
        yield ok("Meta token", f"valid until {told.ends_at:%Y-%m-%d}")
    if not told.may_read_ads:
        yield wrong("Meta permissions", "ads_read is not among the token's permissions", RENEW)
    elif told.scopes is not None:
        yield ok("Meta permissions", "ads_read")


def _account(client: GraphClient, account_id: str) -> Finding:
    subject = f"Meta ad account {account_id}"
    try:
        account = read_account(client, account_id)
    except SourceError as error:
        return refused(subject, error)
    return ok(subject, f"{account.name}, {account.currency}, {account.timezone_name}")
