"""The jobs: everything, the small path from webhook to lead, the back-fill of insights."""

from __future__ import annotations

import dagster as dg

NIGHTLY = "nightly_refresh"
FRESH = "fresh_leads"
BACKFILL = "meta_backfill"
REFRESH_JOBS = (NIGHTLY, FRESH)

_HOUR = 3600
_RAW_ADS = dg.AssetSelection.key_prefixes(["meta_ads"])
_BACKFILL = dg.AssetSelection.assets(["meta_ads", "insights_backfill"])
_RETENTION = dg.AssetSelection.assets(["vault", "retention"])


def build_jobs() -> list[dg.UnresolvedAssetJobDefinition]:
    """Every job has an end: a run that hangs holds the lock, and with it all the others."""
    return [
        dg.define_asset_job(
            NIGHTLY,
            selection=dg.AssetSelection.all() - _BACKFILL,
            tags=_max_runtime(3),
            description="Reads every source, builds every model, publishes the marts.",
        ),
        dg.define_asset_job(
            FRESH,
            selection=dg.AssetSelection.all() - _RAW_ADS - _RETENTION,
            tags=_max_runtime(2),
            description="New envelopes into the marts, with the ads and spend that are there.",
        ),
        dg.define_asset_job(
            BACKFILL,
            selection=_BACKFILL,
            tags=_max_runtime(6),
            description="Reads insights of chosen days again; launch it with a range of days.",
        ),
    ]


def _max_runtime(hours: int) -> dict[str, str]:
    return {"dagster/max_runtime": str(hours * _HOUR)}
