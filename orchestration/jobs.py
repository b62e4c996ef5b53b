"""The jobs: everything, the small paths, insights again, rules compared."""

from __future__ import annotations

import dagster as dg

from ctwa.settings import Settings

NIGHTLY = "nightly_refresh"
FRESH = "fresh_leads"
BACKFILL = "meta_backfill"
COMPARE = "compare_rules"
ACTIVATION = "activation"
REFRESH_JOBS = (NIGHTLY, FRESH, ACTIVATION)

_HOUR = 3600
_RAW_APIS = dg.AssetSelection.key_prefixes(
    ["meta_ads"], ["google_ads"], ["exchange_rates"], ["alarms"]
)
_CRM = dg.AssetSelection.key_prefixes(["hubspot"])
_BACKFILL = dg.AssetSelection.assets(["meta_ads", "insights_backfill"])
_COMPARISON = dg.AssetSelection.assets(["comparison", "credit_diff"])
_RETENTION = dg.AssetSelection.assets(["vault", "retention"])


def build_jobs(settings: Settings) -> list[dg.UnresolvedAssetJobDefinition]:
    """Every job has an end: a run that hangs holds the lock, and with it all the others."""
    small = dg.AssetSelection.all() - _RAW_APIS - _RETENTION - _COMPARISON
    return [
        dg.define_asset_job(
            NIGHTLY,
            selection=dg.AssetSelection.all() - _BACKFILL - _COMPARISON,
            tags=_max_runtime(3),
            description="Reads every source, builds every model, publishes the marts.",
        ),
        dg.define_asset_job(
            FRESH,
            # Who is to be written onto a contact must know the contact: it is as new as the lead.
            selection=small if writes_to_hubspot(settings) else small - _CRM,
            tags=_max_runtime(2),
            description="New envelopes into the marts, with the ads and spend that are there.",
        ),
        dg.define_asset_job(
            ACTIVATION,
            selection=small,
            tags=_max_runtime(2),
            description="What the CRM says of leads by now; what of it is due goes to Meta.",
        ),
        dg.define_asset_job(
            BACKFILL,
            selection=_BACKFILL,
            tags=_max_runtime(6),
            description="Reads insights of chosen days again; launch it with a range of days.",
        ),
        dg.define_asset_job(
            COMPARE,
            selection=_COMPARISON,
            tags=_max_runtime(3),
            description="Builds the leads under two sets of rules and shows which credit moves.",
        ),
    ]


def writes_to_hubspot(settings: Settings) -> bool:
    """Whether leads' sources are written onto HubSpot's contacts."""
    return settings.hubspot_is_on and settings.hubspot_write_back == "live"


def _max_runtime(hours: int) -> dict[str, str]:
    return {"dagster/max_runtime": str(hours * _HOUR)}
