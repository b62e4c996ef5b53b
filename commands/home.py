"""The folder of an installation: the files that `ctwa init` puts there, and its `.env`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from dotenv import dotenv_values, set_key

from ctwa.errors import CtwaError
from ctwa.files import write_durably
from ctwa.project import OWN_MODELS, OWN_SEEDS, OWN_VARIABLES, variables_to_edit
from ctwa.settings import ENV_FILE, PROJECT_DIR

SEEDS = (
    "lead_stages", "business_numbers", "exchange_rates", "alarms", "own_message_rates",
    "agent_costs", "targets",
)  # fmt: skip
"""The seeds that a company edits."""

_PLAIN = re.compile(r"[\w.,:/@+*|-]+")
"""Values that need no quotes, for whatever reads the file."""
_WORKSPACE = """\
# For `dagster dev` in this folder.
load_from:
  - python_module: ctwa_attribution.definitions
"""
_DG = """\
# For `dg dev`, `dg list defs` and `dg check defs` in this folder.
directory_type = "project"

[project]
root_module = "definitions"
defs_module = "definitions"
code_location_target_module = "definitions"
"""
_DEFINITIONS = '''\
"""For `dg`, which looks for a module in this folder: the installation's own."""

from ctwa_attribution.definitions import defs

__all__ = ["defs"]
'''
_VARIABLES = """\
# Limits of the boards, of target_pacing and of the forecast, with their defaults. What each does is
# in docs/creative-board.md and docs/forecast.md. Remove the # before a name to change its value;
# the next `ctwa refresh` applies it.

"""


class InitError(CtwaError):
    """The folder cannot be made, or an answer cannot be used; the text says what to do."""


def make_folder(place: Path) -> None:
    """Make it, with every file that is not there yet. Raises `InitError` or `OSError`.

    Other files are no obstacle: nothing that exists is changed.
    """
    if place.exists() and not place.is_dir():
        raise InitError(f"{place} is a file: give a folder")
    if place == PROJECT_DIR:
        raise InitError("this is the checkout: give another folder, such as `ctwa init ../acme`")
    for name in ("", OWN_SEEDS, OWN_MODELS, "data"):
        (place / name).mkdir(parents=True, exist_ok=True, mode=0o700 if name == "data" else 0o755)
    package = PROJECT_DIR / "dbt_project" / "seeds"
    files = {f"{OWN_SEEDS}/{name}.csv": (package / f"{name}.csv").read_text() for name in SEEDS}
    files["README.md"] = (PROJECT_DIR / "deploy" / "installation.md").read_text()
    files |= {"workspace.yaml": _WORKSPACE, "dg.toml": _DG, "definitions.py": _DEFINITIONS}
    files[OWN_VARIABLES] = _VARIABLES + variables_to_edit()
    files[".gitignore"] = ".env\n/data/\n"
    for name, text in files.items():
        if not (place / name).exists():
            write_durably(place / name, text)


def write_env(place: Path, answers: Mapping[str, str]) -> None:
    """Write the answers into `.env`, readable by its owner only; other lines stay as they are.

    Raises `InitError` for an answer of several lines, and writes nothing then.
    """
    for name, value in answers.items():
        if len(value.splitlines()) > 1:
            raise InitError(f"{name}: the answer has more than one line: paste the value alone")
    path = place / ENV_FILE
    template = PROJECT_DIR / ".env.example"
    text = (path if path.exists() else template).read_text(encoding="utf-8-sig")
    with TemporaryDirectory(dir=place) as folder:  # holds secrets, should we be killed
        copy = Path(folder, ENV_FILE)
        copy.write_text(text, encoding="utf-8")
        for name, value in answers.items():
            is_plain = not value or _PLAIN.fullmatch(value)
            set_key(copy, name, value, quote_mode="never" if is_plain else "always")
        write_durably(path, copy.read_text(encoding="utf-8"), mode=0o600)
    path.chmod(0o600)


def written(place: Path) -> dict[str, str]:
    """Variables of the `.env` there, and their values."""
    found = dotenv_values(place / ENV_FILE, interpolate=False, encoding="utf-8-sig")
    return {name: value or "" for name, value in found.items()}
