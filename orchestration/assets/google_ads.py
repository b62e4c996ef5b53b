"""Google Ads: accounts, campaigns, costs by day, and clicks by click id."""

# No `from __future__ import annotations` here: Dagster reads the annotations of asset functions.

from collections.abc import Iterator

import dagster as dg

from ctwa.settings import Settings
from ingestion.sources.google_schema import GOOGLE_ADS
from orchestration.assets.raw import Landed, RawSource, landed_by, run_source
from orchestration.resources import RefreshLock

DESCRIPTIONS = {
    "customers": "One row per account of Google Ads and read that found it new or changed.",
    "campaigns": "One row per campaign and read that found it new or changed; removed ones too.",
    "ad_groups": "One row per ad group and read that found it new or changed.",
    "ads": "One row per ad, ad group and read that found it new or changed.",
    "costs": "One row per campaign, ad group or ad, account day and read: cost and clicks.",
    "cost_days": "One row per complete read of an account day, with the account's own total.",
    "cost_reads": "One row each time an account's costs were read to the end.",
    "click_views": "One row per click, with the ad that its click id (gclid) was a click on.",
    "click_reads": "One row per account and day whose clicks were read to the end.",
}


def build_google_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """The tables of Google Ads as one step; does nothing when the source is off."""
    source = RawSource(
        dataset="google_ads",
        schemas=GOOGLE_ADS,
        descriptions=DESCRIPTIONS,
        kinds=frozenset({"googleads"}),
        off_because=_off(settings),
    )

    @dg.multi_asset(
        name="google_ads",
        specs=source.specs(),
        check_specs=[source.check_spec()],
        pool="duckdb",
    )
    def google_ads(
        context: dg.AssetExecutionContext, lock: RefreshLock
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        yield from run_source(context, source, lambda: _land(settings))

    return [google_ads]


def _off(settings: Settings) -> str | None:
    missing = settings.google_missing
    if not missing:
        return None
    return f"set {', '.join(missing)} to read Google Ads (docs/connect/google-ads.md)."


def _land(settings: Settings) -> Landed:
    from ingestion.sources.google_ads import land_google_ads

    return landed_by(lambda: land_google_ads(settings))
