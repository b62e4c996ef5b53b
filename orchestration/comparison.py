"""`ctwa diff-rules`: the same lake under two sets of rules, and what that does to the credit.

Each side is built by dbt into a warehouse of its own in `<data>/comparisons`, which is removed
again. The live warehouse is neither read nor written. What both sides read is the same: the
refresh lock is held while they are built.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa

from comparison import restatements, store
from comparison.causes import causes_of_rules
from comparison.credit import compare
from comparison.rules import RuleSet, differing_rules, in_words, parse_rules, refuse_mixed_money
from ctwa.lock import refresh_lock
from ctwa.settings import PROJECT_DIR, Settings
from ingestion.lake import Lake
from orchestration.dbt_manifest import dbt_command
from orchestration.lake import ready_lake
from publishing.marts import republish

log = logging.getLogger("ctwa.diff_rules")

MODELS = ("fct_leads", "fct_touches", "fct_outcomes", "campaign_performance", "channel_performance")
"""What a side is asked for; dbt adds all that these need."""


class DiffRulesError(RuntimeError):
    """One side could not be built; the text is dbt's."""


@dataclass(frozen=True)
class RuleComparison:
    """A comparison that was made, kept and published."""

    tables: Mapping[str, pa.Table]
    """`credit_diff`, `credit_diff_campaigns`, `credit_diff_about`."""
    words: str
    """What b does otherwise than a; empty where the rules are the same."""
    published: bool
    """Whether marts were there to publish it beside."""


Build = Callable[[RuleSet, Path, date], None]


def diff_rules(
    settings: Settings,
    a: str,
    b: str,
    *,
    as_of: date | None = None,
    project_dir: Path = PROJECT_DIR,
    build: Build | None = None,
) -> RuleComparison:
    """Build leads and reports under rules `a` and `b`, compare, keep the result and publish it.

    `a`, `b` as `comparison.rules` reads them. Raises `RuleError`, `RefreshBusyError`,
    `DiffRulesError`, `PublishError`.
    """
    sides = [parse_rules(spec, settings, project_dir) for spec in (a, b)]
    differing = differing_rules(*sides)
    refuse_mixed_money(differing)
    words = in_words(differing)
    day = as_of or datetime.now(ZoneInfo(settings.reporting_timezone)).date()
    with refresh_lock(settings.lock_path), _scratch(settings) as folder:
        ready_lake(settings)
        warehouses = [folder / f"{name}.duckdb" for name in ("a", "b")]
        for side, warehouse in zip(sides, warehouses, strict=True):
            log.info("building %s", side.spec)
            (build or build_side)(side, warehouse, day)
        difference = compare(
            *warehouses,
            causes=causes_of_rules(differing),
            prefix=f"{words}: " if words else "",
        )
        tables = store.credit_tables(
            difference, rules_a=sides[0].spec, rules_b=sides[1].spec, as_of=day
        )
        store.keep(settings, tables)
        published = publish_comparison(settings)
    return RuleComparison(tables, words, published)


def beside_marts(settings: Settings) -> dict[str, pa.Table]:
    """What is published beside the marts: the last comparison of rules, all restatements.

    Damaged pages of the ledger hold no publication up; the check of `publish/restatements` fails.
    """
    ledger, _ = restatements.read(Lake.from_settings(settings))
    return {**store.kept(settings), restatements.DATASET: ledger}


def publish_comparison(settings: Settings) -> bool:
    """Show the comparison to BI tools at once; False where no marts are published yet."""
    if republish(settings, beside_marts(settings)) is None:
        return False
    if settings.marts_url is not None:
        from publishing.postgres import publish_to_postgres

        publish_to_postgres(settings.marts_url.get_secret_value(), settings.marts_path)
    return True


def build_side(side: RuleSet, warehouse: Path, as_of: date) -> None:
    """One side by a dbt process of its own. Raises `DiffRulesError`."""
    target = warehouse.with_suffix(".dbt")
    target.mkdir()
    parsed = side.settings.dbt_target_dir / "manifest" / "partial_parse.msgpack"
    if side.project == PROJECT_DIR and parsed.exists():
        shutil.copy(parsed, target)  # dbt parses only what has changed
    settings = side.settings.model_copy(update={"warehouse_path": warehouse})
    environment = {
        **os.environ,
        **settings.dbt_environment(as_of),
        "DBT_PROJECT_DIR": str(side.project),
        "DBT_PROFILES_DIR": str(side.project),
        "DBT_TARGET_PATH": str(target),
        "DBT_LOG_PATH": str(target / "logs"),
    }
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
    """Remove the warehouses of a comparison that was killed; the caller holds the refresh lock."""
    shutil.rmtree(settings.data_dir / "comparisons", ignore_errors=True)


@contextmanager
def _scratch(settings: Settings) -> Iterator[Path]:
    """An empty folder below `<data>/comparisons`, gone afterwards; so is that of a killed run."""
    sweep_comparisons(settings)
    folder = settings.data_dir / "comparisons" / str(os.getpid())
    folder.mkdir(parents=True, mode=0o700)
    try:
        yield folder
    finally:
        sweep_comparisons(settings)
