"""Commands that import something: replay, import-outcomes, exclude, consent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.console import UsageError, out, warn, working
from ctwa.settings import load_settings

if TYPE_CHECKING:
    from ingestion.files.outcome_import import ImportReport

_MAP = typer.Option(
    "--map", help="column=name: what a column means, e.g. Etapa=stage. Can be repeated."
)
_SHEET = typer.Option(help="Sheet of a workbook. Default: the first.")
_DATES = typer.Option(help="Order of dates such as 05/06/2026: dmy, mdy or ymd.")
_DECIMAL = typer.Option(help="Decimal sign of amounts such as 1.200: `,` or `.`.")
_CURRENCY = typer.Option(help="Currency of amounts that have none, e.g. BRL.")
_TIMEZONE = typer.Option(
    help="Time zone of times that have none. Default: CTWA_REPORTING_TIMEZONE."
)
_FILE = typer.Option(exists=True, dir_okay=False, help="A list: .xlsx, CSV or Parquet.")
_DRY_RUN = typer.Option("--dry-run", help="Show how the file would be read; store nothing.")


def replay(
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False)],
) -> None:
    """Put stored envelopes (NDJSON, also .gz) into the vault. Safe to repeat.

    From the `vault.db` of a backup, it takes the envelopes that the vault lacks or has damaged.
    Example: `ctwa replay webhooks-2026-05.ndjson.gz`
    """
    from ingestion.event_log.replay import replay as run_replay

    with working("storing envelopes", "ctwa.replay"):
        report = run_replay(load_settings(), files)
    warn(*report.problems)
    out.print(f"{report.stored} envelopes stored, {len(report.problems)} lines refused")
    if report.problems:
        raise typer.Exit(1)


def import_outcomes(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    columns: Annotated[list[str] | None, _MAP] = None,
    sheet: Annotated[str | None, _SHEET] = None,
    dates: Annotated[str | None, _DATES] = None,
    decimal: Annotated[str | None, _DECIMAL] = None,
    currency: Annotated[str | None, _CURRENCY] = None,
    timezone: Annotated[str | None, _TIMEZONE] = None,
    dry_run: Annotated[bool, _DRY_RUN] = False,
) -> None:
    """Import CRM outcomes from a file exported by Excel, Google Sheets or a CRM (.xlsx, CSV with
    any delimiter, Parquet). Good rows are kept, bad ones are listed with the reason.

    Columns, in English, Portuguese or Spanish: stage, occurred_at, one or more of phone, wa_id,
    user_id, email, lead_id, message_id; optional event_id, value, currency, source. Example:
    `ctwa import-outcomes won.xlsx --dry-run --map "Etapa do funil=stage"`
    """
    from ingestion.files.columns import parse_map
    from ingestion.files.outcome_import import import_outcomes as run_import
    from ingestion.files.reader import ReadOptions

    with _reading(dry_run):
        options = ReadOptions(parse_map(columns or ()), sheet, dates, decimal, currency, timezone)
        report = run_import(load_settings(), file, options=options, dry_run=dry_run)
    _print_import(report, file)


def exclude(
    phone: Annotated[str | None, typer.Option(help="A phone number, in any spelling.")] = None,
    bsuid: Annotated[str | None, typer.Option(help="A WhatsApp user id (BSUID).")] = None,
    email: Annotated[str | None, typer.Option(help="An e-mail address.")] = None,
    business_number: Annotated[
        str | None, typer.Option(help="A business number of yours, such as a test line.")
    ] = None,
    reason: Annotated[
        str | None,
        typer.Option(help="Shown in the marts: a word such as staff, test, agency; not a name."),
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Count it again.")] = False,
    file: Annotated[Path | None, _FILE] = None,
    columns: Annotated[list[str] | None, _MAP] = None,
    sheet: Annotated[str | None, _SHEET] = None,
    dry_run: Annotated[bool, _DRY_RUN] = False,
) -> None:
    """Leave staff, testers or a business number out of every count; their leads stay visible.

    Takes effect at the next refresh, for the whole history. Example:
    `ctwa exclude --phone "+55 11 98765-4321" --reason staff`, or `ctwa exclude --file staff.xlsx`
    """
    from ingestion.files.declarations import exclude as run_exclude

    if file is not None:
        from ingestion.files.columns import parse_map
        from ingestion.files.declarations import exclude_list
        from ingestion.files.reader import ReadOptions

        _only_a_file(phone, bsuid, email, business_number)
        with _reading(dry_run):
            options = ReadOptions(parse_map(columns or ()), sheet)
            found = exclude_list(
                load_settings(), file, reason=reason, undo=undo, options=options, dry_run=dry_run
            )
        return _print_import(found, file)
    done = run_exclude(
        load_settings(),
        phone=phone,
        bsuid=bsuid,
        email=email,
        business_number=business_number,
        reason=reason,
        undo=undo,
    )
    out.print(done.text())


def consent(
    phone: Annotated[str | None, typer.Option(help="A phone number, in any spelling.")] = None,
    bsuid: Annotated[str | None, typer.Option(help="A WhatsApp user id (BSUID).")] = None,
    email: Annotated[str | None, typer.Option(help="An e-mail address.")] = None,
    given: Annotated[
        bool | None,
        typer.Option(
            "--given/--withdrawn", help="What the person said; the latest statement counts."
        ),
    ] = None,
    file: Annotated[Path | None, _FILE] = None,
    columns: Annotated[list[str] | None, _MAP] = None,
    sheet: Annotated[str | None, _SHEET] = None,
    dates: Annotated[str | None, _DATES] = None,
    timezone: Annotated[str | None, _TIMEZONE] = None,
    dry_run: Annotated[bool, _DRY_RUN] = False,
) -> None:
    """Record that a person withdrew consent to marketing, or gave it. Once it is withdrawn, nothing
    more about that person is sent to Meta.

    Example: `ctwa consent --phone "+55 11 98765-4321" --withdrawn`, or
    `ctwa consent --file unsubscribed.csv --withdrawn`
    """
    from ingestion.files.declarations import declare

    if file is not None:
        from ingestion.files.columns import parse_map
        from ingestion.files.declarations import consent_list
        from ingestion.files.reader import ReadOptions

        _only_a_file(phone, bsuid, email)
        with _reading(dry_run):
            options = ReadOptions(parse_map(columns or ()), sheet, dates, timezone=timezone)
            found = consent_list(
                load_settings(), file, given=given, options=options, dry_run=dry_run
            )
        return _print_import(found, file)
    done = declare(load_settings(), given=given, phone=phone, bsuid=bsuid, email=email)
    out.print(done.text())


@contextmanager
def _reading(is_shown: bool) -> Iterator[None]:
    """Show how the file was read, as far as known, even if it is refused."""
    from ingestion.files import TableError

    try:
        yield
    except TableError as error:
        for what, found in error.readings if is_shown else ():
            out.print(f"{what}: {found}", markup=False)
        raise


def _only_a_file(*others: str | None) -> None:
    if any(others):
        raise UsageError("give --file or one person, not both")


def _print_import(report: ImportReport, file: Path) -> None:
    warn(*report.problems(file.name), *report.warnings)
    out.print(report.text(), markup=False)
    if report.rejected:
        raise typer.Exit(1)
