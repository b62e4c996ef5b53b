"""The formats of a data folder, and which version of the program wrote it last.

`<data>/format.json` says both. A program that is older than the data stops there: it would leave
out, or write over, what only the newer one knows. Versions before 0.2.0 wrote no such file; what
they left is format 1 of everything, but for a lake of theirs that is converted as it is read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from ctwa import __version__
from ctwa.errors import DataFolderError
from ctwa.files import write_durably
from ctwa.lock import database_of
from ctwa.settings import Settings

FILE = "format.json"
FORMATS = {"vault": 1, "lake": 1, "ledgers": 1, "settings": 1}
"""What this version writes. A format's number rises when an older program could not go on with it;
a new table or column alone is none."""
SHARED = {"shared ledgers": 1}
"""Where the vault is PostgreSQL, as well: a program of before would look for the ledgers here."""


@dataclass(frozen=True)
class Formats:
    """`version`: of the program that wrote last; empty before 0.2.0."""

    version: str = ""
    formats: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FORMATS, 1))

    @classmethod
    def read(cls, settings: Settings) -> Formats:
        """What the data folder says; the formats before 0.2.0 where it says nothing."""
        path = _path(settings)
        try:
            found = json.loads(path.read_text())
            return cls(str(found["version"]), {n: int(v) for n, v in found["formats"].items()})
        except FileNotFoundError:
            return cls()
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DataFolderError(
                f"{path} is damaged, so it is not known which version wrote this data: delete the "
                f"file if that was {__version__} or an earlier one"
            ) from None

    @property
    def newer(self) -> list[str]:
        """Each format that this program does not know, as `name number`."""
        known = FORMATS | SHARED
        return [f"{n} {number}" for n, number in self.formats.items() if number > known.get(n, 0)]


def refuse_newer(settings: Settings) -> Formats:
    """The formats of the data folder; raises `DataFolderError` if a newer version wrote it."""
    found = Formats.read(settings)
    if found.newer:
        raise DataFolderError(
            f"{settings.data_dir} was written by ctwa-attribution {found.version} (format "
            f"{', '.join(found.newer)}), and this is {__version__}, which cannot read that. "
            f"Nothing was changed. Install {found.version} or later; or move the folder away and "
            "restore a backup from before the upgrade (`ctwa restore`)"
        )
    return found


def mark(settings: Settings, found: Formats) -> None:
    """Note that this version works on the data folder from now on."""
    formats = FORMATS | SHARED if database_of(settings) else FORMATS
    if (found.version, found.formats) != (__version__, formats) and settings.data_dir.is_dir():
        text = json.dumps({"version": __version__, "formats": formats}, indent=1)
        write_durably(_path(settings), text + "\n", mode=0o600)


def _path(settings: Settings) -> Path:
    return settings.data_dir / FILE
