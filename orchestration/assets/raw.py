"""What the raw assets have in common: specs from dlt's resources, and failure that is kept local.

A source that fails must stop neither the other sources nor the build: its assets record what
happened and since when they are stale, a failed check says it in the UI, the marts are built from
what is there, and `publish/refresh_verdict` makes the run red at its end.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any

import dagster as dg
import dlt
import pyarrow as pa
from dagster_dlt import DagsterDltTranslator
from dagster_dlt.translator import DltResourceTranslatorData

OWNERS = ["team:data"]
STATUS = "status"
"""Metadata of a raw materialization: `loaded`, `off` or `failed`."""
PROBLEM = "problem"
STALE_SINCE = "stale_since"
CHECK_NAME = "loaded"

_RETRIES = 2
_RETRY_SECONDS = 30.0
_HISTORY = 200


@dataclass(frozen=True)
class RawSource:
    """The tables one ingestion function lands: dlt dataset, schemas, how they are described."""

    dataset: str
    schemas: Mapping[str, pa.Schema]
    descriptions: Mapping[str, str]
    kinds: frozenset[str]
    off_because: str | None = None
    deps: Sequence[dg.AssetKey] = ()

    def asset_keys(self) -> list[dg.AssetKey]:
        """Asset keys, `[dataset, table]`: those of the dbt sources."""
        return [dg.AssetKey([self.dataset, table]) for table in self.schemas]

    def specs(self) -> list[dg.AssetSpec]:
        """One asset per dlt resource, through dagster-dlt's translator."""
        translator = _Translator(self)
        source = _naming_source(self.dataset, list(self.schemas))
        return [
            translator.get_asset_spec(DltResourceTranslatorData(resource=r, pipeline=None))
            for r in source.resources.values()
        ]

    def check_spec(self) -> dg.AssetCheckSpec:
        """The check that fails when the source could not be landed; it never blocks."""
        return dg.AssetCheckSpec(
            name=CHECK_NAME,
            asset=self.asset_keys()[0],
            description="The source was read to the end. If not: what happened and what to do.",
            blocking=False,
        )


@dataclass(frozen=True)
class Landed:
    """Rows by table and further figures of one landing, for the materializations."""

    rows: Mapping[str, int] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


class _Translator(DagsterDltTranslator):
    def __init__(self, source: RawSource) -> None:
        self._source = source

    def get_asset_spec(self, data: DltResourceTranslatorData) -> dg.AssetSpec:
        """Key as the dbt source has it; dlt's made-up upstream left out."""
        raw, table = self._source, data.resource.name
        description = raw.descriptions[table]
        if raw.off_because:
            description = f"**Off**: {raw.off_because}\n\n{description}"
        return (
            super()
            .get_asset_spec(data)
            .replace_attributes(
                key=[raw.dataset, table],
                deps=list(raw.deps),
                description=description,
                group_name="raw",
                owners=OWNERS,
                kinds={"dlt", "parquet", *raw.kinds},
            )
            .merge_attributes(
                metadata={
                    "dagster/table_name": f"{raw.dataset}.{table}",
                    "dagster/column_schema": _columns(raw.schemas[table]),
                }
            )
        )


def run_source(
    context: dg.AssetExecutionContext, source: RawSource, land: Callable[[], Landed]
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Land a source, or say why not; yields one result per asset and the check.

    Errors that pass by themselves are tried again with growing pauses first. `land` may attach
    a `Landed` to what it raises (attribute `landed`), where a part of it succeeded.
    """
    if source.off_because:
        yield from _results(context, source, Landed(), "off", source.off_because)
        return
    try:
        landed = land()
    except Exception as error:
        if _passes(error) and context.retry_number < _RETRIES:
            wait = _RETRY_SECONDS * 4**context.retry_number
            context.log.warning("%s; trying again in %.0f s", error, wait)
            raise dg.RetryRequested(max_retries=_RETRIES, seconds_to_wait=wait) from error
        problem = describe(error)
        context.log.error("%s: %s\n%s", source.dataset, problem, where(error))
        partial = getattr(error, "landed", None) or Landed()
        yield from _results(context, source, partial, "failed", problem)
        return
    yield from _results(context, source, landed, "loaded", "")


def landed_by(land: Callable[[], Any]) -> Landed:
    """Counts that a landing returns; those of a partial one travel with its error."""
    try:
        return _figures(land())
    except Exception as error:
        counts = getattr(error, "counts", None)
        if counts is not None:
            error.landed = _figures(counts)  # type: ignore[attr-defined]
        raise


def _figures(counts: Any) -> Landed:
    values = asdict(counts) if is_dataclass(counts) and not isinstance(counts, type) else {}
    rows = next((v for v in values.values() if isinstance(v, dict)), values)
    return Landed(rows, {k: v for k, v in values.items() if isinstance(v, int | str)})


def is_known(error: BaseException) -> bool:
    """Whether the text of an error is made for people."""
    from ingestion.errors import SourceError

    return isinstance(error, SourceError)


def describe(error: BaseException) -> str:
    """What happened, in a line or two; never a value of a payload.

    An error that is not ours may quote the value it choked on, so only its type is told.
    """
    if is_known(error):
        return str(error)[:2000]
    return f"unexpected {type(error).__name__}; the log of the step says where"


def where(error: BaseException) -> str:
    """The way to an unexpected error, without its text; '' where our own text says all."""
    return "" if is_known(error) else "".join(traceback.format_tb(error.__traceback__))


def _passes(error: BaseException) -> bool:
    """Whether waiting helps: outages do pass, dead tokens and wrong requests do not."""
    from ingestion.graph_errors import GraphUnavailableError
    from ingestion.webhook.vault import VaultUnavailableError

    outages = (GraphUnavailableError, VaultUnavailableError, ConnectionError, TimeoutError)
    return isinstance(error, outages) or bool(getattr(error, "is_transient", False))


def _results(
    context: dg.AssetExecutionContext,
    source: RawSource,
    landed: Landed,
    status: str,
    problem: str,
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    for key in source.asset_keys():
        metadata: dict[str, Any] = {STATUS: status, **landed.metadata}
        if status != "off":
            metadata["rows_loaded"] = int(landed.rows.get(key.path[-1], 0))
        if status == "failed":
            metadata |= {PROBLEM: problem, STALE_SINCE: last_done(context.instance, key)}
        yield dg.MaterializeResult(asset_key=key, metadata=metadata)
    first = source.asset_keys()[0]
    stale = {STALE_SINCE: last_done(context.instance, first)} if status == "failed" else {}
    yield dg.AssetCheckResult(
        asset_key=first,
        check_name=CHECK_NAME,
        passed=status != "failed",
        severity=dg.AssetCheckSeverity.ERROR,
        description=problem or "read to the end",
        metadata=stale,
    )


def last_done(instance: dg.DagsterInstance, key: dg.AssetKey, status: str = "loaded") -> str:
    """When this asset last had that status, from its own history."""
    records = instance.fetch_materializations(key, limit=_HISTORY).records
    for record in records:
        materialization = record.asset_materialization
        if materialization and status_of(materialization) == status:
            return _iso(record.timestamp)
    return f"never {status}" if len(records) < _HISTORY else "long ago"


def status_of(materialization: dg.AssetMaterialization) -> str:
    """The `status` that `run_source` recorded."""
    value = materialization.metadata.get(STATUS)
    return str(value.value) if value else ""


def _iso(timestamp: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="seconds")


def _naming_source(dataset: str, tables: Sequence[str]) -> Any:
    """A dlt source that only names its resources: the real one is made fresh in each run."""

    @dlt.source(name=dataset)
    def source() -> list[Any]:
        return [dlt.resource([], name=table) for table in tables]

    return source()


def _columns(schema: pa.Schema) -> dg.TableSchema:
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                f.name, str(f.type), constraints=dg.TableColumnConstraints(nullable=f.nullable)
            )
            for f in schema
        ]
    )
