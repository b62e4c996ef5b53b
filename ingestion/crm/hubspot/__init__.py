"""HubSpot: contacts and deals that changed, into the vault, before the event log is landed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ctwa.settings import Settings
from ingestion.crm.hubspot.tables import DATASET, HUBSPOT
from ingestion.source import Finding, Landing, Source

if TYPE_CHECKING:
    from dlt.extract import DltSource


def _land(settings: Settings) -> Any:
    from ingestion.crm.hubspot.source import land_hubspot

    return land_hubspot(settings)


def _examine(settings: Settings) -> Iterator[Finding]:
    from ingestion.crm.hubspot.account import examine

    return examine(settings)


def _dlt_source(settings: Settings) -> DltSource:
    from ingestion.crm.hubspot.source import hubspot_source

    return hubspot_source(settings)


def _off_because(settings: Settings) -> str | None:
    if settings.hubspot_is_on:
        return None
    return "set HUBSPOT_TOKEN to read contacts and deals (see docs/connect/hubspot.md)."


HUBSPOT_SOURCE = Source(
    dataset=DATASET,
    title="HubSpot",
    group="sources",
    schemas=HUBSPOT,
    descriptions={
        "reads": (
            "One row each time contacts or deals were read to the end. The records themselves go "
            "through the vault into the event log, as outcomes and identity links."
        ),
        "records": "One row per record and read that found it new or changed; keyed hashes only.",
        "stages": "One row per stage and read that found it new or renamed; archived ones stay.",
    },
    landings=(Landing("hubspot", list(HUBSPOT), _land),),
    kinds=frozenset({"hubspot"}),
    runs="with the CRM",
    off_because=_off_because,
    examine=_examine,
    dlt_source=_dlt_source,
    settings=("HUBSPOT_TOKEN",),
    docs="docs/connect/hubspot.md",
    reaches_models_by=(("event_log", "outcomes"),),
)
