"""HubSpot: the token, that it may read what is needed, and what the write-back needs there."""

from __future__ import annotations

from collections.abc import Iterator

from ctwa.settings import Settings
from ingestion.doctor import Finding, off, ok, refused, wrong
from ingestion.errors import SourceError
from ingestion.graph_session import RetryPolicy
from ingestion.hubspot_api import HubspotClient
from ingestion.hubspot_errors import HubspotRequestError, HubspotStopError
from ingestion.hubspot_properties import create_properties, look_at_properties

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
    client = _client(settings)
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


def write_back(settings: Settings, *, fix: bool = False) -> Iterator[Finding]:
    """The contact properties of ours, and that contacts may be written; `fix` makes what is
    missing. In `dry_run` nothing needs them yet."""
    subject, mode = "HubSpot write-back", settings.hubspot_write_back
    if mode == "off" or settings.hubspot_token is None:
        yield off(subject, "HUBSPOT_WRITE_BACK is off" if mode == "off" else "no HUBSPOT_TOKEN")
        return
    client = _client(settings)
    try:
        yield _properties(client, subject, is_live=mode == "live", fix=fix)
        if mode == "live":
            yield _may_write(client)
    except SourceError as error:
        yield refused(subject, error)
    finally:
        client.close()


def _properties(client: HubspotClient, subject: str, *, is_live: bool, fix: bool) -> Finding:
    found = look_at_properties(client)
    made = ""
    if fix and found.missing:
        create_properties(client, found.missing)
        made = f"made {', '.join(p.name for p in found.missing)}; "
        found = look_at_properties(client)
    if found.other_type:
        said = ", ".join(f"{name} is of type {kind}" for name, kind in found.other_type.items())
        mend = "archive it in HubSpot (Settings > Properties), then run `ctwa doctor --fix`"
        return wrong(subject, f"{made}somebody made a property of ours differently: {said}", mend)
    if found.is_whole:
        return ok(subject, f"{made}all properties are there")
    said = f"contacts have no {', '.join(p.name for p in found.missing)}"
    if is_live:
        return wrong(subject, said, "run `ctwa doctor --fix`, which makes them")
    return off(subject, f"dry run; {said}, `ctwa doctor --fix` makes them")


def _may_write(client: HubspotClient) -> Finding:
    subject = "HubSpot contacts"
    try:
        # A batch of nothing changes nothing: the permission is looked at first.
        client.post("crm/v3/objects/contacts/batch/update", {"inputs": []})
    except HubspotRequestError:
        pass
    except SourceError as error:
        return refused(subject, error)
    return ok(subject, "can be written")


def _client(settings: Settings) -> HubspotClient:
    assert settings.hubspot_token is not None
    token = settings.hubspot_token.get_secret_value().strip()
    return HubspotClient(settings.hubspot_url, token, policy=_IMPATIENT)
