"""Publishing the marts, and the verdict on the run."""

# No `from __future__ import annotations` here: Dagster reads the annotations of asset functions.

from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from ctwa.settings import Settings
from orchestration.assets.comparison import RESTATEMENTS_KEY
from orchestration.assets.dbt import MARTS_SCHEMA, mart_names
from orchestration.assets.raw import OWNERS, PROBLEM, STALE_SINCE, STATUS
from orchestration.comparison import beside_marts
from orchestration.forget import drop_comparison_of_the_erased, drop_copies_of_the_erased
from orchestration.resources import RefreshLock, RefreshOptions
from publishing.marts import Published, parquet_folder, publish_marts
from publishing.report.build import ReportWritten, write_report
from publishing.report.data import NEEDED

MARTS_KEY = dg.AssetKey(["publish", "marts"])
REPORT_KEY = dg.AssetKey(["publish", "report"])
POSTGRES_KEY = dg.AssetKey(["publish", "marts_postgres"])
VERDICT_KEY = dg.AssetKey(["publish", "refresh_verdict"])


def build_publish_assets(
    settings: Settings,
    manifest: Path,
    sources: Sequence[dg.AssetKey],
    destinations: Sequence[dg.AssetKey] = (),
) -> list[dg.AssetsDefinition]:
    """`publish/marts` after every mart and its blocking checks; the verdict after that.

    `sources` are the raw assets whose latest landing the verdict looks at; `destinations` what
    was told before the publication, which shows what became of it.
    """
    marts = mart_names(manifest)

    @dg.asset(
        key=MARTS_KEY,
        deps=[
            *(dg.AssetKey([MARTS_SCHEMA, m]) for m in marts),
            RESTATEMENTS_KEY,
            *destinations,
        ],
        group_name="publish",
        owners=OWNERS,
        kinds={"duckdb", "parquet"},
        pool="duckdb",
        description=(
            "The marts as BI tools read them: a DuckDB file (CTWA_MARTS_PATH) and Parquet files, "
            "replaced in one step, only when every blocking check has passed."
        ),
    )
    def published_marts(lock: RefreshLock, options: RefreshOptions) -> dg.MaterializeResult:
        drop_comparison_of_the_erased(settings)
        published = publish_marts(
            settings, as_of=options.day, expected=marts, beside=beside_marts(settings)
        )
        drop_copies_of_the_erased(settings, published.version)
        return dg.MaterializeResult(metadata=publication_metadata(published))

    @dg.asset(
        key=VERDICT_KEY,
        deps=[MARTS_KEY, *sources, *destinations],
        group_name="publish",
        owners=OWNERS,
        kinds={"python"},
        description=(
            "Fails when a source of this run could not be read, or a destination not be told: the "
            "marts are published, and the run is red all the same."
        ),
    )
    def refresh_verdict(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        problems = failed_sources(
            context.instance, [*sources, *destinations], _lineage(context.run)
        )
        if problems:
            raise dg.Failure(
                "The marts were published, but not every source and destination could be reached:\n"
                + "\n".join(f"- {p}" for p in problems),
                allow_retries=False,
            )
        return dg.MaterializeResult(metadata={STATUS: "all sources read"})

    assets = [published_marts, refresh_verdict]
    # A project of other marts has no report; ours always has.
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
            "The report for marketing people: one HTML file beside the published marts, that opens "
            "from disk or any web server and asks the network for nothing (`ctwa report`)."
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
    """Figures for plots, and the rows by mart as a table for people."""
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
    """Figures for plots, and where the file is."""
    return {
        "as_of": dg.MetadataValue.text(written.as_of.isoformat()),
        "rows": dg.MetadataValue.int(written.rows),
        "bytes": dg.MetadataValue.int(written.bytes),
        "file": dg.MetadataValue.path(written.path),
    }


def failed_sources(
    instance: dg.DagsterInstance, keys: Sequence[dg.AssetKey], runs: set[str]
) -> list[str]:
    """Problems of the sources and destinations that `runs` tried to reach, each once."""
    problems: dict[str, None] = {}
    for key in keys:
        event = instance.get_latest_materialization_event(key)
        if event is None or event.run_id not in runs or event.asset_materialization is None:
            continue
        metadata = event.asset_materialization.metadata
        if STATUS in metadata and metadata[STATUS].value == "failed":
            problem, since = metadata[PROBLEM].value, metadata[STALE_SINCE].value
            problems[f"{key.path[0]}: {problem} (data as of {since})"] = None
    return list(problems)


def _lineage(run: dg.DagsterRun) -> set[str]:
    """This run and the ones it repeats: a retry from the failed step must fail again."""
    return {r for r in (run.run_id, run.parent_run_id, run.root_run_id) if r}
