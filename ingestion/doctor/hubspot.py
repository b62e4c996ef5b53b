"""HubSpot: the token, and that it may read what is needed."""

from __future__ import annotations

from collections.abc import Iterator

from ctwa.settings import Settings
from ingestion.doctor import Finding, off, ok, refused
from ingestion.errors import SourceError
from ingestion.graph_session import RetryPolicy
from ingestion.hubspot_api import HubspotClient
from ingestion.hubspot_errors import HubspotStopError

_IMPATIENT = RetryPolicy(tries=2, base=0.2, max_total_wait=1.0, timeout=15.0)
_ASKED = {
    "HubSpot contacts": "crm/v3/objects/contacts",
    "HubSpot deals": "crm/v3/objects/deals",
    "HubSpot stages": "crm/v3/pipelines/deals",
}


def crm(settings: Settings) -> Iterator[Finding]:
    """Nothing but `off` without a token."""
    if settings.hubspot_token is None:
        yield off("HubSpot", "HUBSPOT_TOKEN is not set")
        return
    token = settings.hubspot_token.get_secret_value().strip()
    client = HubspotClient(settings.hubspot_url, token, policy=_IMPATIENT)
    try:
        for subject, path in _ASKED.items():
            try:
                client.get(path, limit=1)
            except HubspotStopError as error:
                yield refused("HubSpot token", error)
                return
            except SourceError as error:
                yield refused(subject, error)
            else:
                yield ok(subject, "can be read")
    finally:
        client.close()
