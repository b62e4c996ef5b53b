"""Meta's Marketing API: the token, what it may and how long, and each ad account."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from ctwa.settings import Settings
from ingestion.doctor import Finding, off, ok, refused, wrong
from ingestion.errors import SourceError
from ingestion.graph import GraphClient
from ingestion.graph_errors import GraphStopError
from ingestion.graph_session import RetryPolicy
from ingestion.sources.meta_account import read_account

SOON = timedelta(days=14)
_IMPATIENT = RetryPolicy(tries=2, base=0.2, max_total_wait=1.0, timeout=15.0)
_RENEW = (
    "make a system user token with ads_read that never expires (Business settings > System users) "
    "and put it into META_ACCESS_TOKEN"
)


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
        told = client.get("debug_token", input_token=token).get("data", {})
    except GraphStopError:
        raise
    except SourceError as error:
        yield off("Meta token", f"works, but Meta does not tell its age: {error}")
        return
    if not told.get("is_valid", True):
        yield wrong("Meta token", "Meta calls it invalid", _RENEW)
        return
    # 0: never. Data access of a person's token ends by itself, a system user's does not.
    ends = [t for k in ("expires_at", "data_access_expires_at") if (t := int(told.get(k) or 0))]
    if ends:
        last_day = datetime.fromtimestamp(min(ends), UTC)
        if last_day - datetime.now(UTC) < SOON:
            yield wrong("Meta token", f"ends on {last_day:%Y-%m-%d}", _RENEW)
        else:
            yield ok("Meta token", f"valid until {last_day:%Y-%m-%d}")
    else:
        yield ok("Meta token", "valid, without an end")
    scopes = told.get("scopes")
    if isinstance(scopes, list) and not {"ads_read", "ads_management"} & set(scopes):
        yield wrong("Meta permissions", "ads_read is not among the token's permissions", _RENEW)
    elif isinstance(scopes, list):
        yield ok("Meta permissions", "ads_read")


def _account(client: GraphClient, account_id: str) -> Finding:
    subject = f"Meta ad account {account_id}"
    try:
        account = read_account(client, account_id)
    except SourceError as error:
        return refused(subject, error)
    return ok(subject, f"{account.name}, {account.currency}, {account.timezone_name}")
