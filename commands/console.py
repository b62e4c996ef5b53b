"""What all commands share: the two consoles, warnings, and errors about options."""

from __future__ import annotations

from rich.console import Console

from ctwa.errors import CtwaError

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


class UsageError(CtwaError):
    """Options that contradict each other. Exits with 2."""

    exit_code = 2


def warn(*texts: str) -> None:
    """Print warnings in yellow; the command goes on."""
    for text in texts:
        err.print(text, style="yellow", markup=False)
