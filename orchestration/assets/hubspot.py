"""HubSpot: contacts and deals that changed, into the vault, before the event log is landed."""

# No `from __future__ import annotations` here: Dagster reads the annotations of asset functions.

from collections.abc import Iterator

import dagster as dg

from ctwa.settings import Settings
from ingestion.sources.hubspot_schema import HUBSPOT
from orchestration.assets.raw import Landed, RawSource, landed_by, run_source
from orchestration.resources import RefreshLock

OFF = "set HUBSPOT_TOKEN to read contacts and deals (see docs/connect/hubspot.md)."

DESCRIPTIONS = {
    "reads": (
        "One row each time contacts or deals were read to the end. The records themselves go "
        "through the vault into the event log, as outcomes and identity links."
    ),
    "records": "One row per record and read that found it new or changed, as keyed hashes only.",
}


def build_hubspot_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """What is remembered of reading HubSpot; does nothing when the source is off."""
    source = RawSource(
        dataset="hubspot",
        schemas=HUBSPOT,
        descriptions=DESCRIPTIONS,
        kinds=frozenset({"hubspot"}),
        off_because=None if settings.hubspot_is_on else OFF,
    )

    @dg.multi_asset(
        name="hubspot", specs=source.specs(), check_specs=[source.check_spec()], pool="duckdb"
    )
    def hubspot(
        context: dg.AssetExecutionContext, lock: RefreshLock
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        yield from run_source(context, source, lambda: _land(settings))

    return [hubspot]


def _land(settings: Settings) -> Landed:
    from ingestion.sources.hubspot import land_hubspot

    return landed_by(lambda: land_hubspot(settings))
