"""Daily exchange rates of the European Central Bank, where the settings ask for them."""

# No `from __future__ import annotations` here: Dagster reads the annotations of asset functions.

from collections.abc import Iterator

import dagster as dg

from ctwa.settings import Settings
from ingestion.sources.ecb_schema import EXCHANGE_RATES
from orchestration.assets.raw import Landed, RawSource, run_source
from orchestration.resources import RefreshLock

OFF = (
    "set CTWA_EXCHANGE_RATES=ecb to convert at the European Central Bank's rates; until then "
    "those of dbt_project/seeds/exchange_rates.csv count."
)

DESCRIPTIONS = {
    "ecb_rates": "One row per day, currency and read that found the rate new or corrected.",
}


def build_exchange_rate_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """The ECB's rates; does nothing when the source is off."""
    source = RawSource(
        dataset="exchange_rates",
        schemas=EXCHANGE_RATES,
        descriptions=DESCRIPTIONS,
        kinds=frozenset({"csv"}),
        off_because=None if settings.exchange_rates == "ecb" else OFF,
    )

    @dg.multi_asset(
        name="exchange_rates",
        specs=source.specs(),
        check_specs=[source.check_spec()],
        pool="duckdb",
    )
    def exchange_rates(
        context: dg.AssetExecutionContext, lock: RefreshLock
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        yield from run_source(context, source, lambda: _land(settings))

    return [exchange_rates]


def _land(settings: Settings) -> Landed:
    from ingestion.sources.ecb import land_ecb_rates

    counts = land_ecb_rates(settings)
    return Landed(counts.rows, {"read_no": counts.read_no, "last_day": counts.last_day})
