"""`ctwa diff-rules`: the same lake under two sets of rules, and how credit differs; and the
restatements of past days, recorded before each publication.

dbt builds each side into a separate warehouse in `<data>/comparisons`, which is removed afterwards.
The live warehouse is neither read nor written. Both sides read the same data: the refresh lock is
held while they are built.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of asset functions.

import logging
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pyarrow as pa

from comparison import restatements
from comparison.credit import causes_of_rules, compare
from comparison.report import markdown, summary
from comparison.sides import (
    RuleSet,
    differing_rules,
    in_words,
    parse_rules,
    refuse_mixed_money,
)
from comparison.tables import credit_tables, save_comparison
from ctwa.errors import CtwaError
from ctwa.lock import refresh_lock
from ctwa.progress import doing
from ctwa.project import project_of
from ctwa.settings import PROJECT_DIR, Settings
from ingestion.event_log.trial import write_signals
from ingestion.identity.tables import DATASET as IDENTITY
from ingestion.identity.tables import Rules
from ingestion.identity.update import lake_for_rules
from ingestion.lake.lake import Lake
from orchestration.dbt_manifest import MARTS_SCHEMA, dbt_command
from orchestration.keys import CREDIT_DIFF_KEY, OWNERS, RECORDED, RESTATEMENTS_KEY
from orchestration.publication import beside_marts, record_restatements
from orchestration.rebuild import ready_lake
from orchestration.resources import RefreshLock, RefreshOptions
from publishing.marts import republish

log = logging.getLogger("ctwa.diff_rules")

MODELS = ("fct_leads", "fct_touches", "fct_outcomes", "campaign_performance", "channel_performance")
"""Models built for each side; dbt adds everything that they need."""


class DiffRulesError(CtwaError):
    """One side could not be built; the text is dbt's."""


@dataclass(frozen=True)
class RuleComparison:
    """A comparison that was made, saved and published."""

    tables: Mapping[str, pa.Table]
    """`credit_diff`, `credit_diff_campaigns`, `credit_diff_about`."""
    words: str
    """How b differs from a, in words; empty if the rules are the same."""
    published: bool
    """Whether it was published, which needs published marts."""


Build = Callable[[RuleSet, Path, date], None]


def diff_rules(
    settings: Settings,
    a: str,
    b: str,
    *,
    as_of: date | None = None,
    project_dir: Path | None = None,
    build: Build | None = None,
) -> RuleComparison:
    """Build leads and reports under rules `a` and `b`, compare them, save and publish the result.

    `a`, `b` as `comparison.sides` reads them. Raises `RuleError`, `RefreshBusyError`,
    `DiffRulesError`, `PublishError`.
    """
    project = project_dir or project_of(settings)
    sides = [parse_rules(spec, settings, project) for spec in (a, b)]
    differing = differing_rules(*sides)
    refuse_mixed_money(differing)
    words = in_words(differing)
    day = as_of or datetime.now(ZoneInfo(settings.reporting_timezone)).date()
    with refresh_lock(settings), scratch(settings) as folder:
        ready_lake(settings)
        tables, _ = compare_sides(sides, folder, day, build=build)
        save_comparison(settings, tables)
        published = publish_comparison(settings)
    return RuleComparison(tables, words, published)


def compare_sides(
    sides: Sequence[RuleSet], folder: Path, day: date, *, build: Build | None = None
) -> tuple[dict[str, pa.Table], list[Path]]:
    """Build both sides in `folder`; the tables of their comparison, and their warehouses. The
    caller holds the refresh lock."""
    warehouses = [folder / f"{name}.duckdb" for name in ("a", "b")]
    for side, warehouse in zip(sides, warehouses, strict=True):
        log.info("building %s", side.spec)
        doing(f"building {side.spec}")
        (build or build_side)(side, warehouse, day)
    differing = differing_rules(*sides)
    words = in_words(differing)
    difference = compare(
        *warehouses,
        causes=causes_of_rules(differing),
        prefix=f"{words}: " if words else "",
    )
    specs = {"rules_a": sides[0].spec, "rules_b": sides[1].spec}
    return credit_tables(difference, **specs, as_of=day), warehouses


def publish_comparison(settings: Settings) -> bool:
    """Publish the comparison at once; False if no marts are published yet."""
    if republish(settings, beside_marts(settings)) is None:
        return False
    if settings.marts_url is not None:
        from publishing.postgres import publish_to_postgres

        publish_to_postgres(settings.marts_url.get_secret_value(), settings.marts_path)
    return True


def build_side(side: RuleSet, warehouse: Path, as_of: date) -> None:
    """Build one side in a separate dbt process. Raises `DiffRulesError`."""
    target = warehouse.with_suffix(".dbt")
    target.mkdir()
    parsed = side.settings.dbt_target_dir / "manifest" / "partial_parse.msgpack"
    if side.project == project_of(side.settings) and parsed.exists():
        shutil.copy(parsed, target)  # so that dbt parses only changes
    identities = lake_for_rules(
        Lake.from_settings(side.settings),
        Rules.of(side.settings),
        Lake(str(warehouse.with_suffix(".lake"))),
    )
    settings = side.settings.model_copy(update={"warehouse_path": warehouse})
    environment = {
        **os.environ,
        **settings.dbt_environment(as_of),
        "DBT_PROJECT_DIR": str(side.project),
        "DBT_PROFILES_DIR": str(side.project),
        "DBT_TARGET_PATH": str(target),
        "DBT_LOG_PATH": str(target / "logs"),
        "CTWA_IDENTITY_PATH": f"{identities.url.removeprefix('file://')}/{IDENTITY}",
    }
    if side.chat_rules is not None:
        signals = warehouse.with_suffix(".signals")
        write_signals(side.settings, side.chat_rules, signals)
        environment["CTWA_CHAT_SIGNALS_PATH"] = str(signals)
    select = [f"+{model}" for model in MODELS]
    done = subprocess.run(
        [*dbt_command(), "--quiet", "build", "--exclude-resource-type", "test", "unit_test",
         "--select", *select],
        env=environment, cwd=side.project, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        text = (done.stdout + done.stderr).strip()[-2_000:]
        raise DiffRulesError(f"the models cannot be built under {side.spec}:\n{text}")


def sweep_comparisons(settings: Settings) -> None:
    """Remove the warehouses of a killed comparison; the caller holds the refresh lock."""
    shutil.rmtree(settings.data_dir / "comparisons", ignore_errors=True)


@contextmanager
def scratch(settings: Settings) -> Iterator[Path]:
    """An empty folder in `<data>/comparisons`, removed afterwards, like those of killed runs."""
    sweep_comparisons(settings)
    folder = settings.data_dir / "comparisons" / str(os.getpid())
    folder.mkdir(parents=True, mode=0o700)
    try:
        yield folder
    finally:
        sweep_comparisons(settings)


# ---- assets -----------------------------------------------------------------------------------


class CompareRules(dg.Config):
    """Which rules to compare: `current`, or the rules that differ: `conversation_gap_days=7`."""

    a: str = "current"
    b: str = "conversation_gap_days=7"
    as_of: str = ""
    """Last day that both sides cover, `YYYY-MM-DD`; empty: today in the reporting time zone."""


def build_comparison_assets(
    settings: Settings, marts: Sequence[str], project_dir: Path = PROJECT_DIR
) -> list[dg.AssetsDefinition]:
    """`publish/restatements`, upstream of `publish/marts`, and `comparison/credit_diff`."""

    @dg.asset(
        key=RESTATEMENTS_KEY,
        deps=[dg.AssetKey([MARTS_SCHEMA, mart]) for mart in marts],
        group_name="publish",
        owners=OWNERS,
        kinds={"duckdb", "parquet"},
        pool="duckdb",
        check_specs=[
            dg.AssetCheckSpec(
                name=RECORDED,
                asset=RESTATEMENTS_KEY,
                description="Changes of past days were recorded; if not, marts still go out.",
                blocking=False,
            )
        ],
        description=(
            "How past days changed since the last publication of an earlier day, by campaign and "
            "cause: restated spend, late messages, links and outcomes."
        ),
    )
    def restated(
        context: dg.AssetExecutionContext, lock: RefreshLock, options: RefreshOptions
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        try:
            found, damaged = record_restatements(settings, as_of=options.day)
        except Exception as error:  # must not stop the publication
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
                "restore them from a backup, or delete them"
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
            "Which leads move between campaigns under other rules, why, and what that does to the "
            "cost per qualified lead. Launch the job `compare_rules` with the rules."
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
