"""`ctwa exclude`: somebody, or a business number, is left out of the counts (E20).

The statement goes the way everything goes: as an envelope into the vault, from there into the
event log, so that a full rebuild knows of it. Nothing is deleted: the leads stay in `fct_leads`,
marked, and their number in `excluded_leads`; `--undo` counts them again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson
from pydantic import ValidationError

from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.parser.exclusions import SOURCE, ExclusionIn, target_of
from ingestion.parser.limits import Reject
from ingestion.parser.people import Keys
from ingestion.webhook.vault import NewEnvelope, Vault, microseconds

_OPTIONS = {
    "phone": "--phone",
    "user_id": "--bsuid",
    "email": "--email",
    "business_number": "--business-number",
}


class ExclusionError(ValueError):
    """What was given cannot be excluded; the text names the option and the mend."""


@dataclass(frozen=True, slots=True)
class Excluded:
    """What was declared. `field`: phone, user_id, email or business_number."""

    field: str
    reason: str
    is_excluded: bool

    def text(self) -> str:
        """What happened and when it shows, for people."""
        whose = (
            "leads whose first message went to this business number"
            if self.field == "business_number"
            else f"the person with this {self.field.replace('user_id', 'user id')}"
        )
        if not self.is_excluded:
            return f"Counted again from the next refresh on: {whose}."
        return (
            f"Left out of all counts from the next refresh on: {whose} (reason: {self.reason}). "
            "Leads and outcomes are kept, marked is_excluded, and counted as excluded_leads; "
            "--undo takes it back."
        )


def exclude(
    settings: Settings,
    *,
    phone: str | None = None,
    bsuid: str | None = None,
    email: str | None = None,
    business_number: str | None = None,
    reason: str | None = None,
    undo: bool = False,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Excluded:
    """Declare that one person or business number does not count, or (`undo`) does again.

    Raises `ExclusionError`, `VaultError`.
    """
    given = {"phone": phone, "user_id": bsuid, "email": email, "business_number": business_number}
    chosen = {name: value for name, value in given.items() if value}
    if len(chosen) != 1:
        raise ExclusionError(f"give exactly one of {', '.join(_OPTIONS.values())}")
    if not (reason and reason.strip()) and not undo:
        raise ExclusionError("--reason: say why in a word, such as staff, test or agency")
    moment = now()
    statement = {
        **chosen,
        "reason": (reason or "").strip() or "taken back",
        "declared_at": moment.isoformat(),
        "excluded": not undo,
    }
    (field,) = chosen
    _check(settings, statement, field)
    vault = Vault.open(settings.vault_url)
    try:
        vault.append([NewEnvelope(microseconds(moment), SOURCE, orjson.dumps(statement))])
    finally:
        vault.close()
    return Excluded(field, str(statement["reason"]), not undo)


def _check(settings: Settings, statement: dict[str, object], field: str) -> None:
    """What the parser would quarantine at night is refused now."""
    names = Pseudonymizer.from_settings(settings)
    try:
        said = ExclusionIn.model_validate(statement)
        target_of(Keys(names), said, settings.default_country)
    except ValidationError as error:
        problem = error.errors()[0]
        name = str(problem["loc"][0]) if problem["loc"] else field
        option = _OPTIONS.get(name, f"--{name}")
        raise ExclusionError(f"{option}: {problem['msg'].removeprefix('Value error, ')}") from None
    except Reject as reject:
        raise ExclusionError(f"{_OPTIONS[field]}: {str(reject).partition(': ')[2]}") from None
