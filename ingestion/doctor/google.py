"""Google Ads: the token exchange, and each customer with the accounts below it."""

from __future__ import annotations

from collections.abc import Iterator

from ctwa.settings import Settings
from ingestion.doctor import Finding, off, ok, refused, wrong
from ingestion.errors import SourceError
from ingestion.google_api import GoogleAdsClient
from ingestion.google_errors import GoogleStopError
from ingestion.graph_session import RetryPolicy
from ingestion.sources.google_customers import accounts_below, read_customer

_IMPATIENT = RetryPolicy(tries=2, base=0.2, max_total_wait=1.0, timeout=15.0)
_ALL = 4


def ads(settings: Settings) -> Iterator[Finding]:
    """Nothing but `off` where Google Ads is not set up at all."""
    missing = settings.google_missing
    if len(missing) == _ALL:
        yield off("Google Ads", "its settings are not set (docs/connect/google-ads.md)")
        return
    if missing:
        names = ", ".join(missing)
        yield wrong(
            "Google Ads", f"{names} not set", f"set {names}; see docs/connect/google-ads.md"
        )
        return
    client = GoogleAdsClient(settings, policy=_IMPATIENT)
    try:
        try:
            client.authenticate()
        except SourceError as error:
            yield refused("Google token", error)
            return
        yield ok("Google token", "the refresh token gives an access token")
        for customer_id in settings.google_customers:
            try:
                yield _customer(client, customer_id)
            except GoogleStopError as error:
                yield refused("Google Ads", error)
                return
    finally:
        client.close()


def _customer(client: GoogleAdsClient, customer_id: str) -> Finding:
    subject = f"Google Ads {customer_id}"
    try:
        customer = read_customer(client, customer_id)
        below = accounts_below(client, customer_id) if customer.is_manager else []
    except GoogleStopError:
        raise
    except SourceError as error:
        return refused(subject, error)
    if customer.is_manager and not below:
        return wrong(
            subject,
            f"{customer.name} is a manager without active accounts below it",
            "link accounts to it, or give their own ids in GOOGLE_ADS_CUSTOMER_IDS",
        )
    if customer.is_manager:
        accounts = f"{len(below)} active account{'s' if len(below) > 1 else ''}"
        return ok(subject, f"{customer.name}, a manager of {accounts}")
    return ok(subject, f"{customer.name}, {customer.currency}, {customer.zone_name}")
