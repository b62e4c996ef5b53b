"""The HubSpot account: what the token may do there, and our contact properties.

| call | does |
|---|---|
| `GET crm/properties/<version>/contacts` | lists those that exist |
| `GET`, `POST crm/properties/<version>/contacts/groups` | finds or creates their group |
| `POST crm/properties/<version>/contacts/batch/create` | creates what is missing |

Nothing that exists is changed, not even a property of ours with another label.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ctwa.settings import Settings
from ingestion.apis.client import IMPATIENT
from ingestion.crm.hubspot.client import (
    API_VERSION,
    HubspotClient,
    HubspotRequestError,
    HubspotStopError,
    Row,
)
from ingestion.crm.hubspot.records import rows_of
from ingestion.source import Finding, SourceError, not_checked, off, ok, refused, wrong

GROUP = "ctwa_attribution"
GROUP_LABEL = "Attribution (ctwa)"
FIRST_TOUCH_AT = "ctwa_first_touch_at"
LEAD_ID = "ctwa_lead_id"

_PATH = f"crm/properties/{API_VERSION}/contacts"


@dataclass(frozen=True, slots=True)
class Property:
    """One custom property: `kind` is HubSpot's `type`."""

    name: str
    label: str
    description: str
    kind: str = "string"

    @property
    def definition(self) -> Row:
        """As HubSpot expects it."""
        return {
            "name": self.name,
            "label": self.label,
            "description": self.description,
            "groupName": GROUP,
            "type": self.kind,
            "fieldType": "date" if self.kind == "datetime" else "text",
            "formField": False,
        }


PROPERTIES = (
    Property(LEAD_ID, "Lead id (ctwa)", "The lead in the attribution marts."),
    Property("ctwa_source", "Source (ctwa)", "meta, google, microsoft, a utm_source or a channel."),
    Property("ctwa_channel", "Channel (ctwa)", "Channel of the first touch."),
    Property("ctwa_basis", "Basis (ctwa)", "The evidence behind the source."),
    Property("ctwa_campaign", "Campaign (ctwa)", "Name of the campaign, as it is today."),
    Property("ctwa_campaign_id", "Campaign id (ctwa)", "Id of the campaign on its platform."),
    Property("ctwa_adset", "Ad set (ctwa)", "Name of the ad set, as it is today."),
    Property("ctwa_ad", "Ad (ctwa)", "Name of the ad, as it is today."),
    Property("ctwa_ad_id", "Ad id (ctwa)", "Id of the ad on its platform."),
    Property("ctwa_headline", "Headline (ctwa)", "Headline of the ad."),
    Property(FIRST_TOUCH_AT, "First touch (ctwa)", "When the person came first.", "datetime"),
)


@dataclass(frozen=True, slots=True)
class Found:
    """Which of our properties HubSpot has. `other_type`: name to the type that it has there."""

    missing: tuple[Property, ...]
    other_type: dict[str, str]

    @property
    def is_complete(self) -> bool:
        """Whether everything can be written."""
        return not (self.missing or self.other_type)


def look_at_properties(client: HubspotClient) -> Found:
    """Which of our properties are missing, and which exist with another type."""
    types = {
        str(row.get("name")): str(row.get("type")) for row in rows_of(client.get(_PATH), "results")
    }
    return Found(
        tuple(p for p in PROPERTIES if p.name not in types),
        {p.name: types[p.name] for p in PROPERTIES if types.get(p.name, p.kind) != p.kind},
    )


def create_properties(client: HubspotClient, missing: Sequence[Property]) -> None:
    """Create these properties, and their group if it is missing."""
    groups = rows_of(client.get(f"{_PATH}/groups"), "results")
    if GROUP not in {group.get("name") for group in groups}:
        client.post(f"{_PATH}/groups", {"name": GROUP, "label": GROUP_LABEL, "displayOrder": -1})
    if missing:
        client.post(f"{_PATH}/batch/create", {"inputs": [p.definition for p in missing]})


_ASKED = {
    "HubSpot contacts": f"crm/objects/{API_VERSION}/contacts",
    "HubSpot deals": f"crm/objects/{API_VERSION}/deals",
    "HubSpot stages": f"crm/pipelines/{API_VERSION}/deals",
}


def examine(settings: Settings) -> Iterator[Finding]:
    """Whether the token is valid and reads all that is needed; only `off` without a token."""
    if settings.hubspot_token is None:
        yield off("HubSpot", "HUBSPOT_TOKEN is not set")
        return
    client = HubspotClient.from_settings(settings, policy=IMPATIENT)
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


def examine_write_back(settings: Settings, *, fix: bool = False) -> Iterator[Finding]:
    """Our contact properties, and whether contacts may be written; `fix` creates what is missing.
    In `dry_run` nothing needs them yet."""
    subject, mode = "HubSpot write-back", settings.hubspot_write_back
    if mode == "off" or settings.hubspot_token is None:
        yield off(subject, "HUBSPOT_WRITE_BACK is off" if mode == "off" else "no HUBSPOT_TOKEN")
        return
    client = HubspotClient.from_settings(settings, policy=IMPATIENT)
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
        made = f"created {', '.join(p.name for p in found.missing)}; "
        found = look_at_properties(client)
    if found.other_type:
        types = ", ".join(f"{name} is of type {kind}" for name, kind in found.other_type.items())
        fix_by_hand = "archive it in HubSpot (Settings > Properties), then run `ctwa doctor --fix`"
        return wrong(
            subject, f"{made}a property of ours exists with another type: {types}", fix_by_hand
        )
    if found.is_complete:
        return ok(subject, f"{made}all properties are there")
    missing = f"contacts have no {', '.join(p.name for p in found.missing)}"
    if is_live:
        return wrong(subject, missing, "run `ctwa doctor --fix`, which creates them")
    return off(subject, f"dry run; {missing}, `ctwa doctor --fix` creates them")


def _may_write(client: HubspotClient) -> Finding:
    subject = "HubSpot contacts"
    try:
        # An empty batch changes nothing, and HubSpot looks at the permission first.
        client.post(f"crm/objects/{API_VERSION}/contacts/batch/update", {"inputs": []})
    except HubspotRequestError as error:
        if error.problem.status != 400:  # not HubSpot's answer to an empty batch
            return not_checked(subject, error)
    except SourceError as error:
        return refused(subject, error)
    return ok(subject, "can be written")


__all__ = [
    "FIRST_TOUCH_AT",
    "GROUP",
    "LEAD_ID",
    "PROPERTIES",
    "Found",
    "Property",
    "create_properties",
    "look_at_properties",
]
