"""What only a clock or an API can tell: silence of the webhooks, age and permissions of tokens."""

# No `from __future__ import annotations` here: Dagster reads the annotations of asset functions.

from collections.abc import Iterator

import dagster as dg

from ctwa.settings import Settings
from ingestion.watch.schema import ALARMS
from orchestration.assets.raw import Landed, RawSource, run_source
from orchestration.resources import RefreshLock

DESCRIPTIONS = {
    "observations": (
        "One row per alarm, subject and look at it, of what no model can tell: whether webhooks "
        "have been silent for longer than usual, how long Meta's token lives and what it may."
    ),
}


def build_alarm_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """The looks of each night; never off, as there is always a clock."""
    source = RawSource(
        dataset="alarms",
        schemas=ALARMS,
        descriptions=DESCRIPTIONS,
        kinds=frozenset({"python"}),
        # Of what has landed this night.
        deps=(dg.AssetKey(["event_log", "envelopes"]),),
    )

    @dg.multi_asset(
        name="alarms", specs=source.specs(), check_specs=[source.check_spec()], pool="duckdb"
    )
    def alarms(
        context: dg.AssetExecutionContext, lock: RefreshLock
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        yield from run_source(context, source, lambda: _land(settings))

    return [alarms]


def _land(settings: Settings) -> Landed:
    from ingestion.watch.landing import land_observations

    found = land_observations(settings)
    return Landed({"observations": len(found)}, {o.alarm: o.message for o in found})
