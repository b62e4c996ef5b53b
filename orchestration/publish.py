"""Publishing the marts, and the verdict on the run."""

# No `from __future__ import annotations` here: Dagster reads the annotations of asset functions.

from collections.abc import Sequence

import dagster as dg

from ctwa.settings import Settings
from orchestration.dbt_manifest import MARTS_SCHEMA
from orchestration.keys import (
    DESTINATION_KEYS,
    MARTS_KEY,
    OWNERS,
    POSTGRES_KEY,
    PROBLEM,
    REPORT_KEY,
    RESTATEMENTS_KEY,
    SAW,
    STALE_SINCE,
    STATUS,
    VERDICT_KEY,
)
from orchestration.publication import publish
from orchestration.resources import RefreshLock, RefreshOptions
from orchestration.sources import loaded_keys
from publishing.marts import Published, parquet_folder
from publishing.report.data import NEEDED
from publishing.report.page import ReportWritten, write_report


def build_publish_assets(settings: Settings, marts: Sequence[str]) -> list[dg.AssetsDefinition]:
    """`publish/marts`, after every mart with its blocking checks and after what is sent, which the
    marts show; then the verdict."""
    reached = [*loaded_keys(), *DESTINATION_KEYS]

    @dg.asset(
        key=MARTS_KEY,
        deps=[
            *(dg.AssetKey([MARTS_SCHEMA, m]) for m in marts),
            RESTATEMENTS_KEY,
            *DESTINATION_KEYS,
        ],
        group_name="publish",
        owners=OWNERS,
        kinds={"duckdb", "parquet"},
        pool="duckdb",
        description=(
            "The marts as BI tools read them: a DuckDB file (CTWA_MARTS_PATH) and Parquet files, "
            "replaced in one step, and only if every blocking check has passed."
        ),
    )
    def published_marts(lock: RefreshLock, options: RefreshOptions) -> dg.MaterializeResult:
        published = publish(settings, as_of=options.day, marts=marts)
        return dg.MaterializeResult(metadata=publication_metadata(published))

    @dg.asset(
        key=VERDICT_KEY,
        deps=[MARTS_KEY, *reached],
        group_name="publish",
        owners=OWNERS,
        kinds={"python"},
        description=(
            "Fails if a source of this run could not be read or a destination could not be "
            "reached: the marts are published, but the run is marked as failed."
        ),
    )
    def refresh_verdict(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        problems = unreached(context.instance, reached, _lineage(context.run))
        if problems:
            raise dg.Failure(
                "The marts were published, but not every source and destination could be reached:\n"
                + "\n".join(f"- {p}" for p in problems),
                allow_retries=False,
            )
        return dg.MaterializeResult(metadata={STATUS: "all sources read"})

    assets = [published_marts, refresh_verdict]
    # A project with other marts has no report; ours always has.
    if set(marts) >= set(NEEDED):
        assets.append(_report_asset(settings))
    if settings.marts_url is not None:
        assets.append(_postgres_asset(settings.marts_url.get_secret_value(), settings))
    return assets


def _report_asset(settings: Settings) -> dg.AssetsDefinition:
    @dg.asset(
        key=REPORT_KEY,
        deps=[MARTS_KEY],
        group_name="publish",
        owners=OWNERS,
        kinds={"html"},
        description=(
            "The report for marketers: one HTML file beside the published marts. It opens from "
            "disk or any web server and makes no network requests (`ctwa report`)."
        ),
    )
    def report(lock: RefreshLock) -> dg.MaterializeResult:
        return dg.MaterializeResult(metadata=report_metadata(write_report(settings)))

    return report


def _postgres_asset(url: str, settings: Settings) -> dg.AssetsDefinition:
    """Absent, not merely idle, without `CTWA_MARTS_URL`."""

    @dg.asset(
        key=POSTGRES_KEY,
        deps=[MARTS_KEY],
        group_name="publish",
        owners=OWNERS,
        kinds={"postgres"},
        retry_policy=dg.RetryPolicy(max_retries=2, delay=30),
        description=(
            "The published marts in PostgreSQL (CTWA_MARTS_URL), schema `marts`: all tables in "
            "one transaction, so that readers see one publication or the one before."
        ),
    )
    def marts_postgres(lock: RefreshLock) -> dg.MaterializeResult:
        from publishing.postgres import publish_to_postgres

        published = publish_to_postgres(url, settings.marts_path)
        return dg.MaterializeResult(
            metadata={
                "rows": sum(published.rows.values()),
                "seconds": round(published.seconds, 3),
            }
        )

    return marts_postgres


def publication_metadata(published: Published) -> dict[str, dg.MetadataValue]:
    """Figures for plots, and rows by mart as a table."""
    table = "\n".join(f"| {mart} | {rows:,} |" for mart, rows in sorted(published.rows.items()))
    return {
        "as_of": dg.MetadataValue.text(published.as_of.isoformat()),
        "version": dg.MetadataValue.text(published.version),
        "rows": dg.MetadataValue.int(sum(published.rows.values())),
        "bytes": dg.MetadataValue.int(published.bytes),
        "seconds": dg.MetadataValue.float(round(published.seconds, 3)),
        "file": dg.MetadataValue.path(published.path),
        "parquet": dg.MetadataValue.path(parquet_folder(published.path) / "current"),
        "marts": dg.MetadataValue.md(f"| mart | rows |\n|---|---:|\n{table}"),
    }


def report_metadata(written: ReportWritten) -> dict[str, dg.MetadataValue]:
    """Figures for plots, and the path of the file."""
    return {
        "as_of": dg.MetadataValue.text(written.as_of.isoformat()),
        "rows": dg.MetadataValue.int(written.rows),
        "bytes": dg.MetadataValue.int(written.bytes),
        "file": dg.MetadataValue.path(written.path),
        **({"pictures": dg.MetadataValue.text(written.pictures)} if written.pictures else {}),
    }


def unreached(
    instance: dg.DagsterInstance, keys: Sequence[dg.AssetKey], runs: set[str]
) -> list[str]:
    """Problems of the sources and destinations that `runs` tried to reach, each once."""
    problems: dict[str, None] = {}
    outages = set()
    for key in keys:
        event = instance.get_latest_materialization_event(key)
        if event is None or event.run_id not in runs or event.asset_materialization is None:
            continue
        metadata = event.asset_materialization.metadata
        if STATUS in metadata and metadata[STATUS].value == "failed":
            problem, since = metadata[PROBLEM].value, metadata[STALE_SINCE].value
            outage = (key.path[0], metadata[SAW].value) if SAW in metadata else None
            if outage in outages:
                continue
            outages |= {outage} - {None}
            problems[f"{key.path[0]}: {problem} (data as of {since})"] = None
    return list(problems)


def _lineage(run: dg.DagsterRun) -> set[str]:
    """This run and those that it retries: a retry from the failed step must fail again."""
    return {r for r in (run.run_id, run.parent_run_id, run.root_run_id) if r}
