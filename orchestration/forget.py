"""`ctwa forget`: one person erased from every store, then the marts built anew without them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from comparison import store
from ctwa.lock import refresh_lock
from ctwa.settings import PROJECT_DIR, Settings
from ingestion.erasure.forget import (
    Forgotten,
    IdentityError,
    SpareHolder,
    forget_person,
    repeat_all,
)
from ingestion.erasure.ledger import Ledger
from publishing import files
from publishing.marts import baseline_path, parquet_folder, versions

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ForgetResult:
    """What was erased and what is left to do."""

    forgotten: Forgotten | None
    """None where every erasure was repeated."""
    repeated: int = 0
    refreshed: bool = False
    failures: list[str] = field(default_factory=list)
    """Why marts of before, with the erased person, are still published; empty when none are."""

    def text(self) -> str:
        """What was done, for people."""
        if self.forgotten is None:
            return f"{self.repeated} erasures carried out again"
        done = self.forgotten.erased
        if not self.forgotten.is_known:
            return (
                "nothing of this person is here; noted, so that old messages of theirs that "
                "come again are not taken"
            )
        rows = ", ".join(f"{count} {table}" for table, count in done.rows.items())
        return (
            f"erased one person with {done.identities} identities: {rows} made anonymous or "
            f"dropped, {done.bodies} stored bodies emptied"
        )

    def warnings(self) -> list[str]:
        """What the operator must know or do, one text each."""
        texts = [
            f"marts published before still show the person: {failure}. Mend it and run "
            f"`ctwa refresh --full`"
            for failure in self.failures
        ]
        texts += [_of_another(spared) for spared in self.forgotten.spared] if self.forgotten else []
        backups = self.forgotten.backups if self.forgotten else []
        if backups:
            texts.append(
                f"{len(backups)} backup(s) made before still hold the person, until they are "
                f"deleted or age out: {', '.join(str(b) for b in backups)}. After a restore of "
                f"one of them the erasure is done again by itself"
            )
        return texts


def _of_another(spared: SpareHolder) -> str:
    """That a number is another person's at another time, and how to erase that one."""
    when = f"from {spared.since} " if spared.since else ""
    when += f"until {spared.until}" if spared.until else "on"
    option = f" --before {spared.until}" if spared.until else ""
    return (
        f"not erased: another person had a number of this one {when} "
        f"({spared.messages} messages show it). To erase that person, too: "
        f"`ctwa forget --phone NUMBER{option}`"
    )


def forget(
    settings: Settings,
    *,
    phone: str | None = None,
    bsuid: str | None = None,
    email: str | None = None,
    before: date | None = None,
    again: bool = False,
    project_dir: Path = PROJECT_DIR,
) -> ForgetResult:
    """Erase one person (or, with `again`, all of the ledger), then rebuild and publish the marts.

    Nothing is rebuilt where nothing was found. Killed anywhere: run it again. Raises what
    `ingestion.erasure.forget.forget_person` raises.
    """
    with refresh_lock(settings.lock_path):
        forgotten, repeated = None, 0
        if again:
            if phone or bsuid or email or before:
                raise IdentityError("--again repeats every erasure: give it alone")
            repeated = repeat_all(settings)
        else:
            forgotten = forget_person(
                settings, phone=phone, bsuid=bsuid, email=email, before=before
            )
        if not Ledger.of(settings).in_state("erased"):
            return ForgetResult(forgotten, repeated)
        from orchestration.refresh import refresh  # it loads Dagster and dbt: seconds

        result = refresh(settings, full=True, project_dir=project_dir)
    left = Ledger.of(settings).in_state("erased")
    failures = (result.failures or ["nothing was published"]) if left else []
    return ForgetResult(forgotten, repeated, refreshed=True, failures=failures)


def drop_comparison_of_the_erased(settings: Settings) -> None:
    """Forget the last comparison of rules after an erasure; called before each publication."""
    if Ledger.of(settings).in_state("erased"):
        store.drop(settings)


def drop_copies_of_the_erased(settings: Settings, newest: str) -> int:
    """Remove publications from before an erasure; called after each publication. Their number.

    `newest` is the version just published, from a lake in which the erasures were done.
    """
    ledger = Ledger.of(settings)
    if not ledger.in_state("erased"):
        return 0
    folder = parquet_folder(settings.marts_path)
    older = [p for p in versions(settings.marts_path) if newest not in p.name]
    older.append(baseline_path(settings.marts_path))
    older += [p for p in folder.iterdir() if p.is_dir() and not p.is_symlink() and p.name != newest]
    files.remove(older)
    ledger.move("erased", "done")
    log.info("removed %d older publications: somebody was erased", len(older))
    return len(older)
