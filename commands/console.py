"""What all commands share: the two consoles, warnings, findings, and errors about options."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ctwa.errors import CtwaError
from ctwa.progress import shown

if TYPE_CHECKING:
    from ingestion.source import Finding

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


class UsageError(CtwaError):
    """Options that contradict each other. Exits with 2."""

    exit_code = 2


def warn(*texts: str) -> None:
    """Print warnings in yellow; the command goes on."""
    for text in texts:
        err.print(text, style="yellow", markup=False)


def working(text: str, name: str) -> AbstractContextManager[None]:
    """Show what is being done while it lasts (`ctwa.progress`); lines go to the log as `name`."""
    return shown(text, logging.getLogger(name).info, console=err)


def show_findings(findings: list[Finding]) -> None:
    """A table on a terminal, plain lines elsewhere."""
    marks = {"ok": "✓", "off": "–", "wrong": "✗"}
    if not out.is_terminal:
        for f in findings:
            fix = f" → {f.fix}" if f.fix else ""
            out.print(f"{marks[f.status]} {f.subject}: {f.found}{fix}", markup=False)
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("", "what", "found", "how to fix it"):
        table.add_column(title, overflow="fold")
    colours = {"ok": "green", "off": "dim", "wrong": "red"}
    for f in findings:
        cells = (marks[f.status], f.subject, f.found, f.fix)
        table.add_row(*(Text(cell) for cell in cells), style=colours[f.status])
    out.print(table)
