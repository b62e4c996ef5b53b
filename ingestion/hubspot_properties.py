"""The contact properties of ours in HubSpot, and how they are made.

| call | does |
|---|---|
| `GET crm/v3/properties/contacts` | which there are |
| `GET`, `POST crm/v3/properties/contacts/groups` | the group they stand in |
| `POST crm/v3/properties/contacts/batch/create` | makes what is missing |

Nothing that is there is changed, not even a property of ours with another label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ingestion.hubspot_api import HubspotClient, Row
from ingestion.sources.hubspot_records import rows_of

GROUP = "ctwa_attribution"
GROUP_LABEL = "Attribution (ctwa)"
FIRST_TOUCH_AT = "ctwa_first_touch_at"
LEAD_ID = "ctwa_lead_id"

_PATH = "crm/v3/properties/contacts"


@dataclass(frozen=True, slots=True)
class Property:
    """One custom property: `kind` is HubSpot's `type`."""

    name: str
    label: str
    says: str
    kind: str = "string"

    @property
    def definition(self) -> Row:
        """As HubSpot takes it."""
        return {
            "name": self.name,
            "label": self.label,
            "description": self.says,
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
    """What HubSpot has of ours. `other_type`: name to the type that it has there."""

    missing: tuple[Property, ...]
    other_type: dict[str, str]

    @property
    def is_whole(self) -> bool:
        """Whether everything can be written."""
        return not (self.missing or self.other_type)


def look_at_properties(client: HubspotClient) -> Found:
    """Which of our properties are missing, and which somebody made with another type."""
    types = {
        str(row.get("name")): str(row.get("type")) for row in rows_of(client.get(_PATH), "results")
    }
    return Found(
        tuple(p for p in PROPERTIES if p.name not in types),
        {p.name: types[p.name] for p in PROPERTIES if types.get(p.name, p.kind) != p.kind},
    )


def create_properties(client: HubspotClient, missing: Sequence[Property]) -> None:
    """Make these properties, and their group if it is not there."""
    groups = rows_of(client.get(f"{_PATH}/groups"), "results")
    if GROUP not in {group.get("name") for group in groups}:
        client.post(f"{_PATH}/groups", {"name": GROUP, "label": GROUP_LABEL, "displayOrder": -1})
    if missing:
        client.post(f"{_PATH}/batch/create", {"inputs": [p.definition for p in missing]})


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
