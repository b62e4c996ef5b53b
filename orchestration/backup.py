"""The nightly backup: `keeping.backup` as the last asset of the nightly job."""

# No `from __future__ import annotations` here: Dagster reads the annotations of asset functions.

import logging
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from ctwa.errors import CtwaError
from ctwa.settings import Settings
from keeping.backup import backup, complete_backups
from orchestration.keys import BACKUP_KEY, OWNERS, STATUS
from orchestration.resources import RefreshLock

log = logging.getLogger(__name__)


def build_backup_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """The backup into `CTWA_BACKUP_DIR`; absent, not merely idle, without it.

    It is the last of a run by its priority, not by dependencies: one that fails would take the
    backup with it on the nights when it is needed most.
    """
    folder = settings.backup_dir
    if folder is None:
        return []
    check = dg.AssetCheckSpec(
        "made",
        asset=BACKUP_KEY,
        description="Warns if no backup could be made. Stops nothing.",
    )

    @dg.asset(
        key=BACKUP_KEY,
        check_specs=[check],
        group_name="retention",
        owners=OWNERS,
        kinds={"python"},
        op_tags={"dagster/priority": "-1"},
        description=(
            "A verified copy of vault, lake, ledgers and key in CTWA_BACKUP_DIR, after everything "
            "else that the night does, also if that failed (`ctwa backup`)."
        ),
    )
    def nightly_backup(lock: RefreshLock) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        try:
            made = backup(settings)
        except Exception as error:
            log.warning("no backup was made", exc_info=True)
            reason = str(error) if isinstance(error, CtwaError | OSError) else type(error).__name__
            metadata: dict[str, str | int] = {STATUS: "failed"}
            passed, text = False, f"no backup was made: {reason}. {_newest(folder)}"
        else:
            metadata = {"folder": str(made.path), "files": made.files, "bytes": made.size}
            passed, text = True, f"{made.path}, verified"
        yield dg.MaterializeResult(metadata=metadata)
        yield dg.AssetCheckResult(
            check_name="made",
            passed=passed,
            severity=dg.AssetCheckSeverity.WARN,
            description=text,
        )

    return [nightly_backup]


def _newest(folder: Path) -> str:
    try:
        made = complete_backups(folder)
    except OSError:
        made = []
    return f"The newest is {made[-1].name}" if made else f"There is none in {folder}"
