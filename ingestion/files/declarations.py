"""`ctwa consent` and `ctwa exclude`: one person's consent to marketing (E72), and who is left out
of the counts (E20); of one person by an option, or of everyone in a file.

Statements go where everything goes: as an envelope into the vault, from there into the event log,
so that a full rebuild includes them. The latest statement about a person counts, whatever its
origin. Nothing is deleted: excluded leads stay in `fct_leads`, marked, and are counted as
`excluded_leads`; `--undo` counts them again.

Files are read like outcome files: a column for each identity, with a header in English, Portuguese
or Spanish. Good rows are declared; bad ones are named with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from ctwa.errors import CtwaError
from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.files import TableError
from ingestion.files.columns import plain
from ingestion.files.outcome_import import ImportReport
from ingestion.files.reader import Fields, Reader, ReadOptions
from ingestion.files.readings import CellError
from ingestion.parser.declarations import (
    CONSENTS,
    EXCLUSIONS,
    TARGETS,
    ExclusionIn,
    reason_of,
    target_of,
)
from ingestion.parser.limits import Reject
from ingestion.parser.people import Keys
from ingestion.vault import open_vault
from ingestion.vault.vault import NewEnvelope, Vault, microseconds
from ingestion.webhook.fields import MAX_ELEMENTS, IntakeError, validate
from ingestion.webhook.shapes import CONSENT_IDENTITIES, ConsentIn

COMMAND_SOURCE = "ctwa_consent"
CONSENT_OPTIONS = {"phone": "--phone", "user_id": "--bsuid", "email": "--email"}


class ConsentError(CtwaError):
    """The arguments are not a valid statement; the text names the option and how to fix it."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Declared:
    """What was declared. `field`: phone, user_id or email."""

    field: str
    is_given: bool

    def text(self) -> str:
        """What was declared and when it takes effect, for people."""
        whose = f"the person with this {_WORDS[self.field]}"
        if self.is_given:
            return (
                f"Consent given by {whose}: from the next refresh on, their outcomes may be sent "
                "to Meta. --withdrawn takes it back."
            )
        return (
            f"Consent withdrawn by {whose}: from the next refresh on, none of their outcomes is "
            "sent to Meta; conversion_events says skipped, consent_withdrawn. What was sent before "
            "stays with Meta; leads and reports do not change. --given takes it back; `ctwa "
            "forget` erases the person."
        )


_WORDS = {"phone": "phone", "user_id": "user id", "email": "e-mail address"}


def declare(
    settings: Settings,
    *,
    given: bool | None,
    phone: str | None = None,
    bsuid: str | None = None,
    email: str | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Declared:
    """Declare that one person gave (`given`) or withdrew consent, as of now.

    Raises `ConsentError`, `VaultError`.
    """
    named = {"phone": phone, "user_id": bsuid, "email": email}
    chosen = {name: value for name, value in named.items() if value and value.strip()}
    if len(chosen) != 1:
        raise ConsentError(
            f"give exactly one of {', '.join(CONSENT_OPTIONS.values())}, or a list by --file"
        )
    if given is None:
        raise ConsentError("say --withdrawn or --given")
    moment = now()
    statement = {
        **chosen,
        "given": given,
        "declared_at": moment.isoformat(),
        "source": COMMAND_SOURCE,
    }
    (field,) = chosen
    try:  # refuse now what the parser would quarantine later
        validate(ConsentIn, statement, default_country=settings.default_country)
    except IntakeError as error:
        raise ConsentError(f"{CONSENT_OPTIONS[field]}: {error.problems[0].reason}") from None
    with closing(open_vault(settings.vault_url)) as vault:
        _store(vault, CONSENTS, statement, moment)
    return Declared(field, given)


EXCLUSION_OPTIONS = {
    "phone": "--phone",
    "user_id": "--bsuid",
    "email": "--email",
    "business_number": "--business-number",
}


class ExclusionError(CtwaError):
    """The arguments name nothing to exclude; the text names the option and how to fix it."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Excluded:
    """What was declared. `field`: phone, user_id, email or business_number."""

    field: str
    reason: str
    is_excluded: bool

    def text(self) -> str:
        """What was declared and when it takes effect, for people."""
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
        raise ExclusionError(
            f"give exactly one of {', '.join(EXCLUSION_OPTIONS.values())}, or a list by --file"
        )
    if not (reason and reason.strip()) and not undo:
        raise ExclusionError("--reason: give a reason in a word, such as staff, test or agency")
    moment = now()
    statement = {
        **chosen,
        "reason": (reason or "").strip() or "taken back",
        "declared_at": moment.isoformat(),
        "excluded": not undo,
    }
    (field,) = chosen
    # Refuse now what the parser would quarantine at night.
    _check_exclusion(statement, field, Pseudonymizer.from_settings(settings), settings)
    with closing(open_vault(settings.vault_url)) as vault:
        _store(vault, EXCLUSIONS, statement, moment)
    return Excluded(field, str(statement["reason"]), not undo)


def _check_exclusion(
    statement: dict[str, object], field: str, names: Pseudonymizer, settings: Settings
) -> None:
    """Raises `ExclusionError` for an invalid statement; the text begins with the option."""
    try:
        checked = ExclusionIn.model_validate(statement)
        target_of(Keys(names), checked, settings.default_country)
        reason_of(checked, settings.default_country)
    except ValidationError as error:
        problem = error.errors()[0]
        name = str(problem["loc"][0]) if problem["loc"] else field
        option = EXCLUSION_OPTIONS.get(name, f"--{name}")
        raise ExclusionError(f"{option}: {problem['msg'].removeprefix('Value error, ')}") from None
    except Reject as reject:
        kind, _, text = str(reject).partition(": ")
        option = "--reason" if kind == "reason_unusable" else EXCLUSION_OPTIONS[field]
        raise ExclusionError(f"{option}: {text}") from None


_YES = frozenset((
    "true", "yes", "y", "sim", "s", "si", "1", "verdadeiro", "verdadero", "given", "aceito",
    "acepto",
))  # fmt: skip
_NO = frozenset((
    "false", "no", "n", "nao", "0", "falso", "withdrawn", "revogado", "revocado", "stop",
))  # fmt: skip

Row = dict[str, Any]
Clock = Callable[[], datetime]


def _utc_now() -> datetime:
    return datetime.now(UTC)


def exclude_list(
    settings: Settings,
    path: Path,
    *,
    reason: str | None = None,
    undo: bool = False,
    options: ReadOptions | None = None,
    dry_run: bool = False,
    now: Clock = _utc_now,
) -> ImportReport:
    """Declare that everyone in the file does not count, or (`undo`) does again.

    Columns phone, user_id, email, business_number, and reason if `reason` is not given. If a row
    has several identities, each is declared. Raises `TableError`, `VaultError`.
    """
    fields = (*TARGETS, "reason")
    reader = Reader(path, fields, settings, options or ReadOptions(), who=TARGETS, ids=("user_id",))
    if not (reason or undo or "reason" in reader.columns):
        raise TableError(f"{path.name}: columns missing: reason; or give one for all by --reason")
    reader.require((), TARGETS)
    names, moment = Pseudonymizer.from_settings(settings), now()

    def statements(row: Row) -> list[Row]:
        why = row.get("reason") or reason or ("taken back" if undo else "")
        if not why:
            raise CellError("reason: give a reason in a word, such as staff, test or agency")
        found = [
            {n: row[n], "reason": why, "declared_at": moment.isoformat(), "excluded": not undo}
            for n in TARGETS
            if n in row
        ]
        for one, name in zip(found, (n for n in TARGETS if n in row), strict=True):
            try:
                _check_exclusion(one, name, names, settings)
            except ExclusionError as error:
                option, _, text = str(error).partition(": ")
                field = next((f for f, o in EXCLUSION_OPTIONS.items() if o == option), option)
                raise CellError(f"{field}: {text}") from None
        if not found:
            raise CellError(f"needs one of {', '.join(TARGETS)}")
        return found

    return _declared(settings, reader, EXCLUSIONS, "exclusions", statements, moment, dry_run)


def consent_list(
    settings: Settings,
    path: Path,
    *,
    given: bool | None = None,
    options: ReadOptions | None = None,
    dry_run: bool = False,
    now: Clock = _utc_now,
) -> ImportReport:
    """Record what everyone in the file declared about marketing.

    Columns phone, wa_id, user_id, email; `given` (yes or no) if the argument is not given; and
    declared_at, else now. Raises `TableError`, `VaultError`.
    """
    fields = (*CONSENT_IDENTITIES, "given", "declared_at", "source", "consent_id")
    reader = Reader(
        path, fields, settings, options or ReadOptions(), who=CONSENT_IDENTITIES,
        when="declared_at", ids=("user_id", "consent_id"),
    )  # fmt: skip
    if given is None and "given" not in reader.columns:
        raise TableError(
            f"{path.name}: columns missing: given; or use --withdrawn or --given for all"
        )
    reader.require((), CONSENT_IDENTITIES)
    if given is not None and "given" in reader.columns:
        raise TableError(
            f"{path.name}: has its own column {reader.header('given')}: leave out --given and "
            "--withdrawn"
        )
    moment = now()

    def statements(row: Row) -> list[Row]:
        one = {"declared_at": moment.isoformat(), "source": COMMAND_SOURCE, **row}
        one["given"] = _word(row.get("given")) if given is None else given
        validate(ConsentIn, one, default_country=settings.default_country)
        return [one]

    return _declared(
        settings, reader, CONSENTS, "statements of consent", statements, moment, dry_run
    )


def _word(text: str | None) -> bool:
    word = plain(text or "")
    if word not in _YES | _NO:
        raise CellError("given: expects yes or no (sim, não, sí, true, false, 1, 0)")
    return word in _YES


def _declared(
    settings: Settings,
    reader: Reader,
    source: str,
    noun: str,
    statements: Callable[[Row], list[Row]],
    moment: datetime,
    dry_run: bool,
) -> ImportReport:
    reader.survey()
    report = ImportReport(is_dry=dry_run, noun=noun)
    held: list[Row] = []
    with nullcontext() if dry_run else closing(open_vault(settings.vault_url)) as vault:
        for line, cells in reader.rows():
            try:
                held += statements(_texts(reader, cells))
            except (CellError, IntakeError) as error:
                report.rejected.append((line, reader.named(error)))
            while len(held) >= MAX_ELEMENTS:
                report.accepted += _store(vault, source, held[:MAX_ELEMENTS], moment)
                del held[:MAX_ELEMENTS]
        if held:
            report.accepted += _store(vault, source, held, moment)
    report.readings = reader.readings()
    return report


def _texts(reader: Reader, cells: Fields) -> Row:
    reader.check(cells)
    found = {}
    for name, cell in cells.items():
        try:
            if name == "declared_at":
                found[name] = reader.moment(cell)
            else:
                found[name] = str(cell) if isinstance(cell, bool) else reader.text(name, cell)
        except CellError as error:
            raise CellError(f"{name}: {error}") from None
    return found


def _store(vault: Vault | None, source: str, statements: Row | list[Row], moment: datetime) -> int:
    if vault is not None:
        vault.append([NewEnvelope(microseconds(moment), source, orjson.dumps(statements))])
    return len(statements)
