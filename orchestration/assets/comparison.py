"""Restatements of past days, before each publication; and the comparison of rules, on demand."""

# No `from __future__ import annotations` here: Dagster reads the annotations of asset functions.

from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg

from comparison import restatements
from comparison.report import markdown, summary
from ctwa.settings import PROJECT_DIR, Settings
from ingestion.lake import Lake
from orchestration.assets.dbt import MARTS_SCHEMA, mart_names
from orchestration.assets.raw import OWNERS
from orchestration.comparison import diff_rules
from orchestration.resources import RefreshLock, RefreshOptions
from publishing.marts import published_before

RESTATEMENTS_KEY = dg.AssetKey(["publish", "restatements"])
CREDIT_DIFF_KEY = dg.AssetKey(["comparison", "credit_diff"])
RECORDED = "recorded"
"""Check of the restatements: fails, and stops nothing, when they could not be recorded."""


class CompareRules(dg.Config):
    """Which rules to compare: `current`, or what is to differ, e.g. `conversation_gap_days=7`."""

    a: str = "current"
    b: str = "conversation_gap_days=7"
    as_of: str = ""
    """Last day both sides speak of, `YYYY-MM-DD`; empty: today in the reporting time zone."""


def build_comparison_assets(
    settings: Settings, manifest: Path, project_dir: Path = PROJECT_DIR
) -> list[dg.AssetsDefinition]:
    """`publish/restatements`, upstream of `publish/marts`, and `comparison/credit_diff`."""
    marts = [dg.AssetKey([MARTS_SCHEMA, m]) for m in mart_names(manifest)]

    @dg.asset(
        key=RESTATEMENTS_KEY,
        deps=marts,
        group_name="publish",
        owners=OWNERS,
        kinds={"duckdb", "parquet"},
        pool="duckdb",
        check_specs=[
            dg.AssetCheckSpec(
                name=RECORDED,
                asset=RESTATEMENTS_KEY,
                description="Changes of past days were recorded. The marts are published anyway.",
                blocking=False,
            )
        ],
        description=(
            "How days that were over changed since the last publication of an earlier day, by "
            "campaign and cause: restated spend, late messages, links and outcomes."
        ),
    )
    def restated(
        context: dg.AssetExecutionContext, lock: RefreshLock, options: RefreshOptions
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        try:
            found = restatements.record(
                settings, published_before(settings, options.day), as_of=options.day
            )
            _, damaged = restatements.read(Lake.from_settings(settings))
        except Exception as error:  # the publication must not fail for it
            context.log.exception("restatements could not be recorded")
            problem = f"{type(error).__name__}: {error}"
            yield dg.MaterializeResult(metadata={"problem": problem})
            yield dg.AssetCheckResult(check_name=RECORDED, passed=False, description=problem)
            return
        yield dg.MaterializeResult(metadata=restated_metadata(found))
        yield dg.AssetCheckResult(
            check_name=RECORDED,
            passed=not damaged,
            description=(
                f"{', '.join(damaged)} in the lake's folder {restatements.DATASET} cannot be read: "
                "restore from a backup, or delete"
                if damaged
                else "recorded"
            ),
        )

    @dg.asset(
        key=CREDIT_DIFF_KEY,
        group_name="comparison",
        owners=OWNERS,
        kinds={"duckdb", "dbt"},
        pool="duckdb",
        description=(
            "Which leads move from which campaign to which under other rules, what that does to "
            "the cost of a qualified lead, and why. Launch the job `compare_rules` with the rules."
        ),
    )
    def credit_diff(lock: RefreshLock, config: CompareRules) -> dg.MaterializeResult:
        made = diff_rules(
            settings,
            config.a,
            config.b,
            as_of=date.fromisoformat(config.as_of) if config.as_of else None,
            project_dir=project_dir,
        )
        leads = made.tables["credit_diff"].to_pylist()
        return dg.MaterializeResult(
            metadata={
                "rules": dg.MetadataValue.text(f"{config.a} → {config.b}"),
                "leads_changed": dg.MetadataValue.int(len(leads)),
                "campaigns": dg.MetadataValue.md(markdown(made.tables)),
                "changes": dg.MetadataValue.md("\n".join(f"- {s}" for s in summary(leads))),
            }
        )

    return [restated, credit_diff]


def restated_metadata(found: restatements.Restated) -> dict[str, dg.MetadataValue]:
    """Rows by cause, for people and plots."""
    causes = Counter(found.rows["cause"].to_pylist())
    table = "\n".join(f"| {cause} | {count:,} |" for cause, count in sorted(causes.items()))
    since = found.since
    return {
        "rows": dg.MetadataValue.int(len(found.rows)),
        "since": dg.MetadataValue.text(
            f"publication {since.version}, as of {since.as_of}" if since else found.note
        ),
        "causes": dg.MetadataValue.md(f"| cause | rows |\n|---|---:|\n{table}"),
    }
