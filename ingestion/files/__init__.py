"""Files that people export from spreadsheets and CRMs, read column by column without guessing."""

from __future__ import annotations

from collections.abc import Sequence

from ctwa.errors import CtwaError


class TableError(CtwaError):
    """An exported file cannot be read as what it is said to be; nothing of it is stored.

    The text names the file, what is wrong with it and what to do. `readings`: how the file and its
    columns had been understood until then.
    """

    readings: Sequence[tuple[str, str]] = ()
