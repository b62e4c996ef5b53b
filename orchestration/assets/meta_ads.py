"""Meta's Marketing API: ads and their names, spend by ad and day, and the back-fill of days."""

# No `from __future__ import annotations` here: Dagster reads the annotations of asset functions.

import warnings
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg

from ctwa.settings import Settings
from ingestion.sources.meta_schema import META_ADS
from orchestration.assets.raw import OWNERS, Landed, RawSource, describe, landed_by, run_source
from orchestration.resources import RefreshLock

OFF = "set META_ACCESS_TOKEN and META_AD_ACCOUNT_IDS to read ads and spend (see .env.example)."

DESCRIPTIONS = {
    "accounts": "One row per ad account and read that found it new or changed.",
    "campaigns": "One row per campaign and read that found it new or changed.",
    "adsets": "One row per ad set and read that found it new or changed.",
    "ads": "One row per ad and read that found it new or changed; deleted ads stay.",
    "creatives": "One row per creative and read that found it new or changed.",
    "ad_lookups": "One row per attempt to look up, by id, an ad that the lists do not show.",
    "insights": "One row per ad, account day and read: spend, impressions, clicks.",
    "insight_days": "One row per complete read of an account day, with the account's own total.",
    "insight_reads": "One row each time an account's insights were read to the end.",
}
_INSIGHT_TABLES = ("insights", "insight_days", "insight_reads")
_OLDEST_DAYS = 37 * 30
"""Meta keeps insights for about 37 months."""


def build_meta_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """Ads, insights, and the back-fill by days; each does nothing when the source is off."""
    off = None if settings.meta_is_on else OFF
    ads = _source(off, [t for t in META_ADS if t not in _INSIGHT_TABLES], _AFTER_REFERRALS)
    insights = _source(off, _INSIGHT_TABLES, _AFTER_ADS)

    @dg.multi_asset(
        name="meta_ads", specs=ads.specs(), check_specs=[ads.check_spec()], pool="duckdb"
    )
    def meta_ads(
        context: dg.AssetExecutionContext, lock: RefreshLock
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        yield from run_source(context, ads, lambda: _land_ads(settings))

    @dg.multi_asset(
        name="meta_insights",
        specs=insights.specs(),
        check_specs=[insights.check_spec()],
        pool="duckdb",
    )
    def meta_insights(
        context: dg.AssetExecutionContext, lock: RefreshLock
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        yield from run_source(context, insights, lambda: _land_insights(settings))

    return [meta_ads, meta_insights, _backfill_asset(settings, off)]


# Ads seen only in referrals are looked up by id, so messages come first; insights of deleted ads
# are read by id, so the look-up that says "deleted" comes before them.
_AFTER_REFERRALS = (dg.AssetKey(["event_log", "messages"]),)
_AFTER_ADS = (dg.AssetKey(["meta_ads", "ads"]),)


def _source(off: str | None, tables: Any, deps: Any) -> RawSource:
    return RawSource(
        dataset="meta_ads",
        schemas={t: META_ADS[t] for t in tables},
        descriptions=DESCRIPTIONS,
        kinds=frozenset({"facebook"}),
        off_because=off,
        deps=deps,
    )


def _land_ads(settings: Settings) -> Landed:
    from ingestion.sources.meta_ads import land_meta_ads

    return landed_by(lambda: land_meta_ads(settings))


def _land_insights(
    settings: Settings, since: date | None = None, until: date | None = None
) -> Landed:
    from ingestion.sources.meta_insights import land_insights

    return landed_by(lambda: land_insights(settings, since=since, until=until))


def _backfill_asset(settings: Settings, off: str | None) -> dg.AssetsDefinition:
    start = datetime.now(UTC).date() - timedelta(days=_OLDEST_DAYS)
    # Back-fill policies are "beta" in Dagster; every load of the definitions would say so.
    warnings.filterwarnings("ignore", "Parameter `backfill_policy`", dg.BetaWarning)

    @dg.asset(
        key=["meta_ads", "insights_backfill"],
        group_name="raw",
        owners=OWNERS,
        kinds={"dlt", "parquet", "facebook"},
        pool="duckdb",
        partitions_def=dg.DailyPartitionsDefinition(
            start_date=start.replace(day=1).isoformat(), timezone=settings.reporting_timezone
        ),
        # A range of days is one read of that range, in the pieces that Meta allows.
        backfill_policy=dg.BackfillPolicy.single_run(),
        description=(
            (f"**Off**: {off}\n\n" if off else "")
            + "Reads insights of chosen days again, into the same tables as `meta_ads/insights`: "
            "choose a range of days and materialize. The marts follow in the run after it."
        ),
    )
    def insights_backfill(
        context: dg.AssetExecutionContext, lock: RefreshLock
    ) -> dg.MaterializeResult:
        if off:
            return dg.MaterializeResult(metadata={"status": "off"})
        since, until = partition_days(context)
        try:
            landed = _land_insights(settings, since, until)
        except Exception as error:
            raise dg.Failure(describe(error)) from error
        days = {"since": since.isoformat(), "until": until.isoformat()}
        rows = {f"rows_{t}": n for t, n in landed.rows.items() if isinstance(n, int)}
        return dg.MaterializeResult(metadata={"status": "loaded", **days, **rows})

    return insights_backfill


def partition_days(context: dg.AssetExecutionContext) -> tuple[date, date]:
    """First and last day of the chosen partitions, both included."""
    keys = context.partition_key_range
    return date.fromisoformat(keys.start), date.fromisoformat(keys.end)
