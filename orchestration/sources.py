"""The sources as assets: one step and one check per landing, with failures kept local.

A source that fails stops neither the other sources nor the build: its assets record what happened
and since when they are stale, a failed check shows it in the UI, the marts are built from what is
there, and `publish/refresh_verdict` fails the run at its end.

After each landing, identities are grouped into persons; models and erasures use the same rule.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of asset functions.

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any, ClassVar, Self

import dagster as dg
import pyarrow as pa

from ctwa.settings import Settings
from ingestion import sources
from ingestion.event_log import EVENT_LOG_SOURCE
from ingestion.source import Backfill, Landed, Landing, Source
from ingestion.vault.vault import VaultUnavailableError
from keeping.erasure.steps import land as land_and_finish_erasures
from orchestration.faults import describe, where
from orchestration.keys import LOADED, OWNERS, PROBLEM, ROWS_LOADED, SAW, STALE_SINCE, STATUS
from orchestration.resources import RefreshLock, RefreshOptions

_RETRIES = 2
_RETRY_SECONDS = 30.0
_MOST_SECONDS = 300.0
"""Total wait in one run, over all its sources: by then our network is back, or it is not."""
_HISTORY = 200


def build_source_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """A step per landing of each source, the back-fills by days, and the persons."""
    assets = [_identity_asset(settings)]
    for source in sources.SOURCES:
        for landing in source.landings:
            assets.append(_landing_asset(settings, source, landing))
            if landing.backfill is not None:
                assets.append(_backfill_asset(settings, source, landing.backfill))
    return assets


def loaded_keys() -> list[dg.AssetKey]:
    """For each landing, the asset with its check `loaded`."""
    return [_keys(source, landing)[0] for source in sources.SOURCES for landing in source.landings]


def _landing_asset(settings: Settings, source: Source, landing: Landing) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=landing.name,
        specs=_specs(source, landing, source.off_because(settings)),
        check_specs=[_check_spec(source, landing)],
        pool="duckdb",
    )
    def land(
        context: dg.AssetExecutionContext, lock: RefreshLock, options: RefreshOptions
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        yield from _run(context, settings, source, landing, _how_to_land(landing, options))

    return land


def _how_to_land(landing: Landing, options: RefreshOptions) -> Callable[[Settings], Any]:
    """The landing's own function; for the event log, one that also finishes erasures."""
    if landing.name == EVENT_LOG_SOURCE.dataset:
        return partial(land_and_finish_erasures, reparse=options.reparse)
    return landing.land


def _backfill_asset(settings: Settings, source: Source, backfill: Backfill) -> dg.AssetsDefinition:
    off = source.off_because(settings)
    start = datetime.now(UTC).date() - timedelta(days=backfill.oldest_days)
    # Back-fill policies are "beta" in Dagster; each load of the definitions would warn.
    warnings.filterwarnings("ignore", "Parameter `backfill_policy`", dg.BetaWarning)

    @dg.asset(
        key=[source.dataset, backfill.name],
        group_name=source.group,
        owners=OWNERS,
        kinds={"dlt", "parquet", *source.kinds},
        pool="duckdb",
        partitions_def=dg.DailyPartitionsDefinition(
            start_date=start.replace(day=1).isoformat(), timezone=settings.reporting_timezone
        ),
        # A range of days is read at once, in the pieces that the API allows.
        backfill_policy=dg.BackfillPolicy.single_run(),
        description=(
            (f"**Off**: {off}\n\n" if off else "")
            + f"Reads chosen days of {source.title} again, into the same tables: choose a range of "
            "days and materialize it. The marts follow in the next run."
        ),
    )
    def land_days(context: dg.AssetExecutionContext, lock: RefreshLock) -> dg.MaterializeResult:
        if off:
            return dg.MaterializeResult(metadata={STATUS: "off"})
        keys = context.partition_key_range
        since, until = date.fromisoformat(keys.start), date.fromisoformat(keys.end)
        try:
            landed = Landed.of(backfill.land(settings, since, until))
        except Exception as error:
            raise dg.Failure(describe(error)) from error
        days = {"since": since.isoformat(), "until": until.isoformat()}
        rows = {f"rows_{t}": n for t, n in landed.rows.items() if isinstance(n, int)}
        return dg.MaterializeResult(metadata={STATUS: "loaded", **days, **rows})

    return land_days


# ---- specs -----------------------------------------------------------------------------------


def _keys(source: Source, landing: Landing) -> list[dg.AssetKey]:
    """`[dataset, table]`, like the keys of the dbt sources."""
    return [dg.AssetKey([source.dataset, table]) for table in landing.tables]


def _specs(source: Source, landing: Landing, off: str | None) -> list[dg.AssetSpec]:
    """One asset per table, with the key of the dbt source."""
    note = f"**Off**: {off}\n\n" if off else ""
    return [
        dg.AssetSpec(
            [source.dataset, table],
            deps=[dg.AssetKey(list(other)) for other in landing.after],
            description=note + source.descriptions[table],
            group_name=source.group,
            owners=OWNERS,
            kinds={"dlt", "parquet", *source.kinds},
            metadata={
                "dagster/table_name": f"{source.dataset}.{table}",
                "dagster/column_schema": _columns(source.schemas[table]),
            },
        )
        for table in landing.tables
    ]


def _check_spec(source: Source, landing: Landing) -> dg.AssetCheckSpec:
    """The check that fails if the source could not be landed; it never blocks."""
    return dg.AssetCheckSpec(
        name=LOADED,
        asset=_keys(source, landing)[0],
        description="The source was read completely. If not: what happened and what to do.",
        blocking=False,
    )


def _columns(schema: pa.Schema) -> dg.TableSchema:
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                f.name, str(f.type), constraints=dg.TableColumnConstraints(nullable=f.nullable)
            )
            for f in schema
        ]
    )


# ---- a run -----------------------------------------------------------------------------------


def _run(
    context: dg.AssetExecutionContext,
    settings: Settings,
    source: Source,
    landing: Landing,
    land: Callable[[Settings], Any],
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Land a source, or say why not; yields one result per asset and the check.

    The first asset of a source that meets an outage waits, with growing pauses. If nothing
    answered at all, the source's other assets do not try again in that run.
    """
    keys, off = _keys(source, landing), source.off_because(settings)
    if off:
        yield from _results(context, keys, Landed(), "off", off)
        return
    patience = _Patience.of(context.run.run_id, source.dataset)
    if patience.is_down and patience.step != landing.name:
        yield from _results(context, keys, Landed(), "failed", *patience.is_down)
        return
    try:
        landed = Landed.of(land(settings))
    except Exception as error:
        wait = patience.wait(landing.name, context.retry_number)
        if wait and _passes(error):
            patience.spend(wait)
            context.log.warning("%s; trying again in %.0f s", error, wait)
            raise dg.RetryRequested(max_retries=_RETRIES, seconds_to_wait=wait) from error
        problem, saw = describe(error), str(getattr(error, "saw", ""))
        context.log.error("%s: %s\n%s", source.dataset, problem, where(error))
        # What has landed counts; the failure says what has not.
        partial = Landed.of(getattr(error, "counts", None) or Landed())
        if getattr(error, "is_unreachable", False) and not _any_rows(partial):
            patience.is_down = (problem, saw)
        yield from _results(context, keys, partial, "failed", problem, saw)
        return
    yield from _results(context, keys, landed, "loaded", "")


class _Patience:
    """How long one run has waited: per source in one step, for all sources within a budget."""

    _run = ""
    _of: ClassVar[dict[str, Any]] = {}
    _spent = 0.0

    def __init__(self) -> None:
        self.step = ""
        """The step that waits for this source."""
        self.is_down: tuple[str, str] | None = None
        """The problem and what was seen, once it was clear that nothing answers."""

    @classmethod
    def of(cls, run_id: str, dataset: str) -> Self:
        """One per source and run; those of earlier runs are dropped."""
        if run_id != _Patience._run:
            _Patience._run, _Patience._of, _Patience._spent = run_id, {}, 0.0
        found: Self = cls._of.setdefault(dataset, cls())
        return found

    def wait(self, step: str, tries: int) -> float:
        """Seconds until the next try; 0 if there is none."""
        self.step = self.step or step
        if step != self.step or tries >= _RETRIES:
            return 0.0
        seconds = _RETRY_SECONDS * 4**tries
        return seconds if _Patience._spent + seconds <= _MOST_SECONDS else 0.0

    def spend(self, seconds: float) -> None:
        """Count a pause."""
        _Patience._spent += seconds


def _any_rows(landed: Landed) -> bool:
    return any(isinstance(n, int) and n for n in landed.rows.values())


def _passes(error: BaseException) -> bool:
    """Whether waiting helps: outages pass, dead tokens and wrong requests do not."""
    outages = (VaultUnavailableError, ConnectionError, TimeoutError)
    return isinstance(error, outages) or bool(getattr(error, "is_transient", False))


def _results(
    context: dg.AssetExecutionContext,
    keys: Sequence[dg.AssetKey],
    landed: Landed,
    status: str,
    problem: str,
    saw: str = "",
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    seen = {SAW: saw} if saw else {}
    for key in keys:
        metadata: dict[str, Any] = {STATUS: status, **landed.metadata}
        if status != "off":
            metadata[ROWS_LOADED] = int(landed.rows.get(key.path[-1], 0))
        if status == "failed":
            metadata |= {PROBLEM: problem, STALE_SINCE: last_done(context.instance, key), **seen}
        yield dg.MaterializeResult(asset_key=key, metadata=metadata)
    stale = {STALE_SINCE: last_done(context.instance, keys[0])} if status == "failed" else {}
    yield dg.AssetCheckResult(
        asset_key=keys[0],
        check_name=LOADED,
        passed=status != "failed",
        severity=dg.AssetCheckSeverity.ERROR,
        description=problem or "read completely",
        metadata={**stale, **seen},
    )


def last_done(instance: dg.DagsterInstance, key: dg.AssetKey, status: str = "loaded") -> str:
    """When this asset last had that status, from its own history."""
    records = instance.fetch_materializations(key, limit=_HISTORY).records
    for record in records:
        materialization = record.asset_materialization
        if materialization and status_of(materialization) == status:
            at = datetime.fromtimestamp(record.timestamp, UTC)
            return at.isoformat(timespec="seconds")
    return f"never {status}" if len(records) < _HISTORY else "long ago"


def status_of(materialization: dg.AssetMaterialization) -> str:
    """The `status` of a materialization; '' if it has none."""
    value = materialization.metadata.get(STATUS)
    return str(value.value) if value else ""


# ---- who is one person ------------------------------------------------------------------------

DESCRIPTIONS = {
    "identities": "One row per identity linked with another, with the person it belongs to.",
    "phones_seen": "One row per phone and user id seen with it, for phones seen with several.",
    "phones_held": "One row per holder of a phone that changed hands, and when they got it.",
    "refused": "One row per pair of people kept apart although they share an identifier.",
    "links": "One row per pair of identities that something shows to be one person.",
}
_EVIDENCE = ("envelopes", "identity_links", "messages", "statuses")


def _identity_asset(settings: Settings) -> dg.AssetsDefinition:
    """The tables of the dataset `identity` as one step.

    Unlike a source that cannot be read, a failure stops the build: without these tables it is
    unknown whose a message is.
    """
    specs = [
        dg.AssetSpec(
            ["identity", table],
            deps=[dg.AssetKey(["event_log", name]) for name in _EVIDENCE],
            description=text,
            group_name="identity",
            owners=OWNERS,
            kinds={"python", "parquet"},
        )
        for table, text in DESCRIPTIONS.items()
    ]

    @dg.multi_asset(name="identity", specs=specs, pool="duckdb")
    def identity(lock: RefreshLock, options: RefreshOptions) -> Iterator[dg.MaterializeResult]:
        from ingestion.identity.update import land_identity

        counts = land_identity(settings, full=options.full_refresh)
        for spec in specs:
            yield dg.MaterializeResult(asset_key=spec.key, metadata=asdict(counts))

    return identity
