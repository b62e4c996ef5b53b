"""The jobs: everything, the small path from webhook to lead, insights again, rules compared."""

from __future__ import annotations

import dagster as dg

NIGHTLY = "nightly_refresh"
FRESH = "fresh_leads"
BACKFILL = "meta_backfill"
COMPARE = "compare_rules"
REFRESH_JOBS = (NIGHTLY, FRESH)

_HOUR = 3600
_RAW_APIS = dg.AssetSelection.key_prefixes(
    ["meta_ads"], ["google_ads"], ["exchange_rates"], ["hubspot"]
)
_BACKFILL = dg.AssetSelection.assets(["meta_ads", "insights_backfill"])
_COMPARISON = dg.AssetSelection.assets(["comparison", "credit_diff"])
_RETENTION = dg.AssetSelection.assets(["vault", "retention"])


def build_jobs() -> list[dg.UnresolvedAssetJobDefinition]:
    """Every job has an end: a run that hangs holds the lock, and with it all the others."""
    return [
        dg.define_asset_job(
            NIGHTLY,
            selection=dg.AssetSelection.all() - _BACKFILL - _COMPARISON,
            tags=_max_runtime(3),
            description="Reads every source, builds every model, publishes the marts.",
        ),
        dg.define_asset_job(
            FRESH,
            selection=dg.AssetSelection.all() - _RAW_APIS - _RETENTION - _COMPARISON,
            tags=_max_runtime(2),
            description="New envelopes into the marts, with the ads and spend that are there.",
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


def _max_runtime(hours: int) -> dict[str, str]:
    return {"dagster/max_runtime": str(hours * _HOUR)}
