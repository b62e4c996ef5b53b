"""The `ctwa` command. Each command reads the settings, calls one function, says what happened.

Modules are imported inside the commands: `ctwa serve` must not load Dagster.
"""

from __future__ import annotations

import logging
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ctwa import __version__
from ctwa.lock import RefreshBusyError
from ctwa.settings import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from ingestion.doctor import Finding

EXIT_BUSY = 75
"""Another process holds the refresh lock (EX_TEMPFAIL of sysexits.h)."""

app = typer.Typer(
    name="ctwa",
    help="Which ad produced each WhatsApp lead, and what a qualified lead costs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def main() -> None:
    """Entry point of the console script: known errors become one clear line and a code."""
    try:
        app()
    except SettingsError as error:
        _fail(str(error))
    except RefreshBusyError as error:
        _fail(str(error), EXIT_BUSY)
    except Exception as error:
        text = _clear_text(error)
        if text is None:
            raise
        _fail(text)


def _clear_text(error: Exception) -> str | None:
    """The line of an error that was written for people, or None where only a traceback helps."""
    from ingestion.errors import SourceError
    from ingestion.outcome_import import OutcomeFileError
    from ingestion.webhook.vault import VaultError

    if isinstance(error, SourceError | OutcomeFileError | VaultError):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return None


def _fail(message: str, code: int = 1) -> None:
    err.print(message, style="red", markup=False)
    sys.exit(code)


def _settings() -> Settings:
    return load_settings()


def _version(value: bool) -> None:
    if value:
        out.print(f"ctwa {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="More log lines.")] = False,
) -> None:
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )


@app.command()
def demo(
    seed: Annotated[int, typer.Option(help="Another seed is another company.")] = 7,
    leads: Annotated[int, typer.Option(help="About how many leads.", min=20)] = 400,
    data_dir: Annotated[Path, typer.Option(help="Wiped first; look into it afterwards.")] = Path(
        "data/demo"
    ),
) -> None:
    """Run the whole product on a synthetic company and check the marts against its truth.

    Example: `ctwa demo --seed 11`
    """
    from simulator.demo import demo as run_demo

    raise typer.Exit(run_demo(data_dir, seed=seed, leads=leads))


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8080,
) -> None:
    """Receive signed webhooks and keep them. Put a TLS proxy in front (see deploy/).

    Example: `ctwa serve --host 0.0.0.0 --port 8080`
    """
    from ingestion.webhook.server import serve as run_server

    run_server(_settings(), host, port)


@app.command()
def refresh(
    full: Annotated[
        bool, typer.Option("--full", help="Rebuild every model from the event log.")
    ] = False,
    reparse: Annotated[
        bool,
        typer.Option(
            "--reparse", help="Parse again every body still in the vault; implies --full."
        ),
    ] = False,
    as_of: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Last day the marts speak of. Default: today."),
    ] = None,
) -> None:
    """Run the nightly job once, without a UI. Exit code 75: another refresh is running.

    Example: `ctwa refresh --full`
    """
    from orchestration.refresh import refresh as run_refresh

    result = run_refresh(
        _settings(), full=full or reparse, reparse=reparse, as_of=as_of.date() if as_of else None
    )
    for failure in result.failures:
        err.print(f"✗ {failure}", style="red", markup=False)
    if not result.ok:
        raise typer.Exit(1)


@app.command()
def dev(
    host: Annotated[str, typer.Option(help="Address of UI and receiver.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the receiver.")] = 8080,
    ui_port: Annotated[int, typer.Option(help="Port of the Dagster UI.")] = 3000,
    data_dir: Annotated[
        Path | None, typer.Option(help="Other data directory, e.g. data/demo.")
    ] = None,
) -> None:
    """Run Dagster UI, daemon and receiver together, for a workstation.

    Example: `ctwa dev --data-dir data/demo`
    """
    from orchestration.dev import dev as run_dev

    settings = load_settings(data_dir=data_dir) if data_dir else _settings()
    raise typer.Exit(run_dev(settings, host=host, port=port, ui_port=ui_port))


@app.command()
def replay(
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False)],
) -> None:
    """Put stored envelopes (NDJSON, also .gz) into the vault. Repeats do no harm.

    Example: `ctwa replay webhooks-2026-05.ndjson.gz`
    """
    from ingestion.replay import replay as run_replay

    report = run_replay(_settings(), files)
    for problem in report.problems:
        err.print(problem, style="yellow", markup=False)
    out.print(f"{report.stored} envelopes stored, {len(report.problems)} lines refused")
    if report.problems:
        raise typer.Exit(1)


@app.command("import-outcomes")
def import_outcomes(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
) -> None:
    """Take CRM outcomes from CSV or Parquet; good rows are kept, bad ones named with the reason.

    Columns: event_id, stage, occurred_at, one or more of phone, wa_id, user_id, email, lead_id,
    message_id; optional value, currency, source. Example: `ctwa import-outcomes won.csv`
    """
    from ingestion.outcome_import import import_outcomes as run_import

    report = run_import(_settings(), file)
    for line, reason in report.rejected:
        err.print(f"{file.name}:{line}: {reason}", style="yellow", markup=False)
    out.print(f"{report.accepted} outcomes taken, {len(report.rejected)} rows refused")
    if report.rejected:
        raise typer.Exit(1)


@app.command()
def backup(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of backups. Default: CTWA_BACKUP_DIR.")
    ] = None,
) -> None:
    """Copy vault, lake and key, verified, while the receiver goes on.

    Example: `ctwa backup /mnt/backup/ctwa`
    """
    from ingestion.backup import BackupError
    from ingestion.backup import backup as run_backup

    try:
        made = run_backup(_settings(), folder)
    except BackupError as error:
        _fail(str(error))
    else:
        out.print(f"{made.path}: {made.files} files, {made.size:,} bytes, verified")


@app.command()
def restore(
    folder: Annotated[
        Path, typer.Argument(help="A backup, or the folder of backups.", exists=True)
    ],
) -> None:
    """Put a backup back into an empty data directory; then run `ctwa refresh --full`.

    Example: `ctwa restore /mnt/backup/ctwa`
    """
    from ingestion.backup import BackupError
    from ingestion.backup import restore as run_restore

    try:
        restored = run_restore(_settings(), folder)
    except BackupError as error:
        _fail(str(error))
    else:
        out.print(f"restored {restored.path}: {restored.files} files; now `ctwa refresh --full`")


@app.command()
def forget(
    phone: Annotated[str | None, typer.Option(help="A phone number, in any spelling.")] = None,
    bsuid: Annotated[
        str | None, typer.Option(help="A WhatsApp user id (BSUID), or messenger:PAGE:USER.")
    ] = None,
    email: Annotated[str | None, typer.Option(help="An e-mail address.")] = None,
    before: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            help="With --phone: not the present holder, but who had the number before that day.",
        ),
    ] = None,
    again: Annotated[
        bool,
        typer.Option("--again", help="Every erasure once more, after a restore by other tools."),
    ] = False,
) -> None:
    """Erase one person everywhere; leads and conversations stay counted, as nobody's.

    Also erases every identity that messages or outcomes connect with the given one; of a number
    that went from one person to another, one of them. Example:
    `ctwa forget --phone "+55 11 98765-4321"`
    """
    from ingestion.erasure.forget import IdentityError
    from orchestration.forget import forget as run_forget

    try:
        result = run_forget(
            _settings(),
            phone=phone,
            bsuid=bsuid,
            email=email,
            before=before and before.date(),
            again=again,
        )
    except IdentityError as error:
        _fail(str(error), 2)
    else:
        out.print(result.text())
        for warning in result.warnings():
            err.print(warning, style="yellow", markup=False)
        if result.failures:
            raise typer.Exit(1)


@app.command()
def exclude(
    phone: Annotated[str | None, typer.Option(help="A phone number, in any spelling.")] = None,
    bsuid: Annotated[str | None, typer.Option(help="A WhatsApp user id (BSUID).")] = None,
    email: Annotated[str | None, typer.Option(help="An e-mail address.")] = None,
    business_number: Annotated[
        str | None, typer.Option(help="A business number of yours, such as a test line.")
    ] = None,
    reason: Annotated[
        str | None,
        typer.Option(help="Shown in the marts: a word such as staff, test, agency; no names."),
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Count it again.")] = False,
) -> None:
    """Leave staff, testers or a business number out of every count; their leads stay visible.

    Takes effect at the next refresh, for the whole history. Example:
    `ctwa exclude --phone "+55 11 98765-4321" --reason staff`
    """
    from ingestion.exclude import ExclusionError
    from ingestion.exclude import exclude as run_exclude

    try:
        done = run_exclude(
            _settings(),
            phone=phone,
            bsuid=bsuid,
            email=email,
            business_number=business_number,
            reason=reason,
            undo=undo,
        )
    except ExclusionError as error:
        _fail(str(error), 2)
    else:
        out.print(done.text())


@app.command()
def consent(
    phone: Annotated[str | None, typer.Option(help="A phone number, in any spelling.")] = None,
    bsuid: Annotated[str | None, typer.Option(help="A WhatsApp user id (BSUID).")] = None,
    email: Annotated[str | None, typer.Option(help="An e-mail address.")] = None,
    given: Annotated[
        bool | None,
        typer.Option("--given/--withdrawn", help="What the person said; the latest word counts."),
    ] = None,
) -> None:
    """Write down that somebody withdrew consent to marketing, or gave it: Meta is told nothing more
    of whoever withdrew.

    Example: `ctwa consent --phone "+55 11 98765-4321" --withdrawn`
    """
    from ingestion.consent import ConsentError, declare

    try:
        done = declare(_settings(), given=given, phone=phone, bsuid=bsuid, email=email)
    except ConsentError as error:
        _fail(str(error), 2)
    else:
        out.print(done.text())


@app.command("diff-rules")
def diff_rules(
    a: Annotated[str, typer.Argument(help="`current`, or what differs: name=value,name=value")],
    b: Annotated[str, typer.Argument(help="The other side, in the same way.")],
    as_of: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Last day both speak of. Default: today."),
    ] = None,
) -> None:
    """Show which credit moves under other rules, before you trust them. Changes no mart.

    Names are the rule settings, such as conversation_gap_days, first_touch, lead_scope; project=DIR
    takes the models of another checkout. The result is published as credit_diff. Example:
    `ctwa diff-rules current conversation_gap_days=7`
    """
    from comparison.report import print_comparison
    from comparison.rules import RuleError
    from orchestration.comparison import DiffRulesError
    from orchestration.comparison import diff_rules as run_diff
    from publishing.marts import PublishError

    settings = _settings()
    try:
        made = run_diff(settings, a, b, as_of=as_of.date() if as_of else None)
    except RuleError as error:
        _fail(str(error), 2)
    except (DiffRulesError, PublishError) as error:
        _fail(str(error))
    else:
        print_comparison(out, made.tables, made.words, settings.reporting_currency)


@app.command()
def report(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write. Default: beside the published marts."),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Write the report for marketing people: one HTML file that opens offline.

    Made of the published marts alone; no personal data in it. Example:
    `ctwa report --output cost-per-lead.html --open`
    """
    import webbrowser

    from publishing.report.build import write_report
    from publishing.report.data import ReportError

    try:
        written = write_report(_settings(), output)
    except ReportError as error:
        _fail(str(error))
    else:
        out.print(
            f"{written.path}: {written.rows:,} rows, {written.bytes:,} bytes, as of {written.as_of}"
        )
        if show:
            webbrowser.open(written.path.as_uri())


@app.command()
def doctor(
    receiver: Annotated[
        str, typer.Option(help="Address of the receiver on this machine.")
    ] = "http://127.0.0.1:8080",
    fix: Annotated[
        bool, typer.Option("--fix", help="Make the contact properties that HubSpot lacks.")
    ] = False,
) -> None:
    """Check settings, tokens, accounts, disk and receiver; each ✗ says how to mend it.

    Exit code 1 on any ✗. Example: `ctwa doctor --receiver http://127.0.0.1:9000`
    """
    from ingestion.doctor import examine, wrong

    try:
        findings = examine(_settings(), receiver_url=receiver.rstrip("/"), fix=fix)
    except SettingsError as error:
        lines = (line.partition(": ") for line in str(error).splitlines())
        findings = [wrong(name, said, "mend it in .env") for name, _, said in lines]
    _show(findings)
    if any(finding.status == "wrong" for finding in findings):
        raise typer.Exit(1)


def _show(findings: list[Finding]) -> None:
    """A table on a terminal, plain lines elsewhere."""
    marks = {"ok": "✓", "off": "–", "wrong": "✗"}
    if not out.is_terminal:
        for f in findings:
            mend = f" → {f.mend}" if f.mend else ""
            out.print(f"{marks[f.status]} {f.subject}: {f.found}{mend}", markup=False)
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("", "what", "found", "mend"):
        table.add_column(title, overflow="fold")
    colours = {"ok": "green", "off": "dim", "wrong": "red"}
    for f in findings:
        cells = (marks[f.status], f.subject, f.found, f.mend)
        table.add_row(*(Text(cell) for cell in cells), style=colours[f.status])
    out.print(table)


@app.command()
def bench(
    envelopes: Annotated[
        int, typer.Option(help="Envelopes of the vault-to-marts run.")
    ] = 1_000_000,
    only: Annotated[str | None, typer.Option(help="One of: receiver, landing, nightly.")] = None,
) -> None:
    """Measure the product against the simplest thing that could do the same work.

    Example: `ctwa bench --envelopes 100000`
    """
    from benchmarks.run import run as run_bench

    raise typer.Exit(run_bench(envelopes=envelopes, only=only))


if __name__ == "__main__":
    main()
