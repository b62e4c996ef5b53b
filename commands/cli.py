"""The `ctwa` command: its subcommands, and how a foreseen error ends one.

Each command reads the settings, calls one function and prints the result.
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from commands import asking, importing, init, running, upkeep
from commands.console import err, out
from ctwa import __version__
from ctwa.errors import CtwaError
from ctwa.files import UMASK

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_FREE_SPACE = "free space on the disk of CTWA_DATA_DIR, then run it again"


class _Commands(TyperGroup):
    """The one place where a foreseen error becomes a readable line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            text = explanation(error)
            if text is None:
                raise
            err.print(text, style="red", markup=False)
            raise typer.Exit(getattr(error, "exit_code", 1)) from None


app = typer.Typer(
    name="ctwa",
    cls=_Commands,
    help="Which ad produced each WhatsApp lead, and what a qualified lead costs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
for _command in (
    running.demo,
    init.init,
    running.serve,
    running.refresh,
    running.live,
    running.dev,
    asking.status,
    asking.why,
    asking.export,
    importing.replay,
    importing.import_outcomes,
    upkeep.backup,
    upkeep.restore,
    upkeep.upgrade,
    upkeep.adopt_vault,
    upkeep.mend_vault,
    upkeep.forget,
    importing.exclude,
    importing.consent,
    running.diff_rules,
    running.report,
    upkeep.doctor,
    running.bench,
):
    app.command()(_command)
for _name, _passed_on in (("dbt", running.dbt), ("mf", running.metrics)):
    app.command(
        _name,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
        add_help_option=False,
    )(_passed_on)

_rules = typer.Typer(help="Rules by which a chat qualifies.", no_args_is_help=True)
_rules.command("try")(running.try_rules)
app.add_typer(_rules, name="rules")


def main() -> None:
    """Entry point of the console script. Files it makes can be read by their owner only."""
    app(obj=os.umask(UMASK))


def explanation(error: Exception) -> str | None:
    """A readable line, or None if only a traceback helps."""
    if isinstance(error, CtwaError):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    cause: BaseException | None = error  # a full disk, as a library that wrote to it words it
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _DISK:
            return f"{cause.strerror}: {_FREE_SPACE}"
        if isinstance(cause, sqlite3.Error) and _code(cause) == sqlite3.SQLITE_FULL:
            return f"{os.strerror(errno.ENOSPC)}: {_FREE_SPACE}"
        cause = cause.__cause__
    return None


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 if the error came from Python's module itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _version(value: bool) -> None:
    if value:
        out.print(f"ctwa {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show more log lines.")] = False,
) -> None:
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )


if __name__ == "__main__":
    main()
