"""The one name that the wheel installs; everything else of the product lies below it
(docs/decisions/0007-one-name-in-the-wheel.md).

Importing it makes the product's packages (`ingestion`, `orchestration`, ...) importable, for this
process and its children, and puts them before any others of these names.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
PRODUCT_DIR = _HERE if (_HERE / "ctwa").is_dir() else _HERE.parent
"""The folder of the packages, the dbt project and `workspace.yaml`: in a wheel this package's own,
in a checkout the one above."""


def _put_first(folder: str) -> None:
    sys.path[:] = [folder, *(entry for entry in sys.path if entry != folder)]
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    others = [entry for entry in inherited if entry and entry != folder]
    os.environ["PYTHONPATH"] = os.pathsep.join([folder, *others])


_put_first(str(PRODUCT_DIR))


def main() -> None:
    """Entry point of `ctwa`."""
    from commands.cli import main as run

    run()


def dbt() -> None:
    """Entry point of `ctwa-dbt`."""
    from orchestration.dbt_process import main as run

    run()
