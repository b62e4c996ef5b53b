"""`ctwa forget`: erases one person from every store, then rebuilds the marts without them.

The rebuild calls no API, so that no outage can keep a person in the marts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from ctwa.lock import refresh_lock
from ctwa.settings import Settings
from ingestion.identity.erased import Ledger
from keeping.erasure.forget import (
    Forgotten,
    IdentityError,
    SpareHolder,
    forget_person,
    repeat_all,
)


@dataclass(frozen=True)
class ForgetResult:
    """What was erased and what is left to do."""

    forgotten: Forgotten | None
    """None if every erasure was repeated."""
    repeated: int = 0
    refreshed: bool = False
    failures: list[str] = field(default_factory=list)
    """Why earlier marts, with the erased person, are still published; empty if they are not."""

    def text(self) -> str:
        """What was done, in a sentence."""
        if self.forgotten is None:
            return f"{self.repeated} erasures carried out again"
        done = self.forgotten.erased
        if not self.forgotten.is_known:
            return (
                "nothing of this person was found; the request is recorded, so that older messages "
                "of theirs are ignored if delivered again"
            )
        rows = ", ".join(f"{count} {table}" for table, count in done.rows.items())
        return (
            f"erased one person with {done.identities} identities: {rows} made anonymous or "
            f"dropped, {done.bodies} stored bodies emptied"
        )

    def warnings(self) -> list[str]:
        """What the operator must know or do, one text each."""
        texts = [
            f"marts published earlier still show the person: {failure}. Fix this and run "
            f"`ctwa refresh --full`"
            for failure in self.failures
        ]
        texts += [_of_another(spared) for spared in self.forgotten.spared] if self.forgotten else []
        for copy in self.forgotten.copies if self.forgotten else []:
            texts.append(f"{copy} is a damaged vault and may still contain the person: delete it")
        backups = self.forgotten.backups if self.forgotten else []
        if backups:
            texts.append(
                f"{len(backups)} backup(s) made before still contain the person until they are "
                f"deleted or age out: {', '.join(str(b) for b in backups)}. After a restore of "
                f"one of them, the erasure is repeated automatically"
            )
        return texts


def _of_another(spared: SpareHolder) -> str:
    """Says that another person had the number at another time, and how to erase that person."""
    when = f"from {spared.since} " if spared.since else ""
    when += f"until {spared.until}" if spared.until else "on"
    option = f" --before {spared.until}" if spared.until else ""
    return (
        f"not erased: another person had a number of this one {when} "
        f"({spared.messages} messages show it). To erase that person too: "
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
    project_dir: Path | None = None,
) -> ForgetResult:
    """Erase one person (or, with `again`, all of the ledger), then rebuild and publish the marts.

    If nothing was found, nothing is rebuilt. If it was killed, run it again. Raises what
    `keeping.erasure.forget.forget_person` raises.
    """
    with refresh_lock(settings):
        forgotten, repeated = None, 0
        if again:
            if phone or bsuid or email or before:
                raise IdentityError("--again repeats every erasure: use it without other options")
            repeated = repeat_all(settings)
        else:
            forgotten = forget_person(
                settings, phone=phone, bsuid=bsuid, email=email, before=before
            )
        if not Ledger.of(settings).in_state("erased"):
            return ForgetResult(forgotten, repeated)
        from orchestration.refresh import refresh  # it loads Dagster and dbt: seconds

        result = refresh(settings, full=True, sources=False, project_dir=project_dir)
    left = Ledger.of(settings).in_state("erased")
    failures = (result.failures or ["nothing was published"]) if left else []
    return ForgetResult(forgotten, repeated, refreshed=True, failures=failures)
