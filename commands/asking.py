"""Commands that only look: status, why, export."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from commands.console import UsageError, out, show_findings
from ctwa.settings import load_settings

_JSON = typer.Option("--json", help="As JSON, for programs.")


def status(as_json: Annotated[bool, _JSON] = False) -> None:
    """Show the last run, the age of each source, standing alarms, what waits, and the next run.

    Asks no API. Exit code 0 if all is well, 1 if there is something to do; each
    ✗ says what. Example: `ctwa status --json`
    """
    from commands.status import status as run_status

    findings = run_status(load_settings())
    is_fine = all(finding.status != "wrong" for finding in findings)
    if as_json:
        _print_json({"ok": is_fine, "findings": [asdict(finding) for finding in findings]})
    else:
        show_findings(findings)
    if not is_fine:
        raise typer.Exit(1)


def why(
    lead_id: Annotated[
        str | None,
        typer.Argument(
            help="A lead's id, as in the marts, or its first 12 characters, as in the report.",
            show_default=False,
        ),
    ] = None,
    phone: Annotated[str | None, typer.Option(help="A phone number, in any spelling.")] = None,
    bsuid: Annotated[str | None, typer.Option(help="A WhatsApp user id (BSUID).")] = None,
    email: Annotated[str | None, typer.Option(help="An e-mail address.")] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Explain a lead: its source and the rule behind it, touches, conversations, outcomes, and what
    Meta and the CRM were told about it, or why not.

    What you type is hashed, as webhooks are, and kept nowhere. Example:
    `ctwa why --phone "+55 11 98765-4321"`
    """
    from commands.story import tell
    from commands.story_text import lines

    if sum(given is not None for given in (lead_id, phone, bsuid, email)) != 1:
        raise UsageError("give one lead id, or one of --phone, --bsuid, --email")
    stories, publication = tell(load_settings(), lead_id, phone=phone, bsuid=bsuid, email=email)
    if as_json:
        leads = [asdict(story) for story in stories]
        _print_json({"as_of": publication.as_of, "rules": publication.rules, "leads": leads})
        return
    for number, story in enumerate(stories):
        out.print("" if number == 0 else "\n", end="")
        for line in lines(story):
            out.print(line, markup=False)
    out.print(f"As of {publication.as_of}; times are UTC.")


def export(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="File to write: .csv, .parquet or .xlsx.")],
    table: Annotated[str, typer.Option(help="A published mart (docs/data-dictionary.md).")],
    where: Annotated[
        list[str] | None,
        typer.Option(help="column=value, can be repeated: one column, any of its values."),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], help="First day, by the mart's own day."),
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day, included.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a published mart to a file: a workbook, CSV or Parquet. Ids stay text.

    Marts hold no personal data. Example: `ctwa export may.xlsx --table campaign_performance
    --where platform=meta --from 2026-05-01 --to 2026-05-31`
    """
    from publishing.export import export_mart

    settings = load_settings()
    if context.obj is not None:
        os.umask(context.obj)  # a file written on request may be shared
    done = export_mart(
        settings.marts_path,
        file,
        table,
        where=where or (),
        since=since and since.date(),
        until=until and until.date(),
        force=force,
    )
    out.print(f"{done.path}: {done.rows:,} rows of {done.table}, as of {done.as_of}", markup=False)


def _print_json(content: dict[str, Any]) -> None:
    def text(value: Any) -> str:
        # Times of the marts are UTC, and read without a zone.
        return f"{value.isoformat()}Z" if isinstance(value, datetime) else str(value)

    out.print_json(json.dumps(content, default=text, ensure_ascii=False), highlight=False)
