"""Publishing what was built, for the nightly assets and for `ctwa live`; the caller holds the lock.

An erasure ends here: with the first publication that lacks the person, earlier ones are removed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import date

import pyarrow as pa

from comparison import restatements
from comparison.tables import drop_comparison, load_comparison
from ctwa.settings import Settings
from ingestion.identity.erased import Ledger
from ingestion.lake.lake import Lake
from orchestration.dbt_manifest import MARTS_SCHEMA
from orchestration.plan_stamps import Stamps
from publishing.marts import (
    Published,
    baseline_path,
    parquet_folder,
    publish_marts,
    published_before,
    versions,
)
from publishing.publication import remove_files

log = logging.getLogger(__name__)


def publish(
    settings: Settings, *, as_of: date, marts: Sequence[str], kept_seconds: float = 0
) -> Published:
    """Publish these marts of the warehouse, with the tables beside them; as `publish_marts`."""
    drop_comparison_of_the_erased(settings)
    # DuckDB leaves the bytes of dropped tables in a file: after an erasure it must be a new one.
    is_carried = not Ledger.of(settings).in_state("erased")
    published = publish_marts(
        settings,
        as_of=as_of,
        expected=marts,
        beside=beside_marts(settings),
        versions=_versions(settings) if is_carried else None,
        kept_seconds=kept_seconds,
    )
    drop_copies_of_the_erased(settings, published.version)
    return published


def _versions(settings: Settings) -> dict[str, str]:
    """Mart -> version; of none where it is not known who wrote to the warehouse last."""
    known = Stamps.read(settings.warehouse_path).versions
    schemas = ((key.partition("."), version) for key, version in known.items())
    return {table: v for (schema, _, table), v in schemas if schema == MARTS_SCHEMA}


def record_restatements(
    settings: Settings, *, as_of: date
) -> tuple[restatements.Restated, list[str]]:
    """Note how past days changed since the last publication of an earlier day; called before each
    publication. Also the names of damaged pages. Raises what `restatements.record` raises."""
    found = restatements.record(settings, published_before(settings, as_of), as_of=as_of)
    _, damaged = restatements.read(Lake.from_settings(settings))
    return found, damaged


def beside_marts(settings: Settings) -> dict[str, pa.Table]:
    """Tables published beside the marts: the last comparison of rules, all restatements.

    Damaged pages of the ledger do not block a publication; they fail `publish/restatements`.
    """
    ledger, _ = restatements.read(Lake.from_settings(settings))
    return {**load_comparison(settings), restatements.DATASET: ledger}


def drop_comparison_of_the_erased(settings: Settings) -> None:
    """Delete the last comparison of rules after an erasure; called before each publication."""
    if Ledger.of(settings).in_state("erased"):
        drop_comparison(settings)


def drop_copies_of_the_erased(settings: Settings, newest: str) -> int:
    """Remove publications from before an erasure; returns how many. Called after each publication.

    `newest` is the version just published, from a lake in which the erasures had been done.
    """
    ledger = Ledger.of(settings)
    if not ledger.in_state("erased"):
        return 0
    folder = parquet_folder(settings.marts_path)
    older = [p for p in versions(settings.marts_path) if newest not in p.name]
    older.append(baseline_path(settings.marts_path))
    older += [p for p in folder.iterdir() if p.is_dir() and not p.is_symlink() and p.name != newest]
    remove_files(older)
    ledger.move("erased", "done")
    log.info("removed %d older publications: somebody was erased", len(older))
    return len(older)
