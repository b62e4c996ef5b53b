"""The folder of an installation: the files that `ctwa init` puts there, and its `.env`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ctwa.errors import CtwaError
from ctwa.files import write_durably
from ctwa.project import OWN_MODELS, OWN_SEEDS
from ctwa.settings import ENV_FILE, PROJECT_DIR

SEEDS = ("lead_stages", "business_numbers", "exchange_rates", "alarms", "own_message_rates")
"""The seeds that a company edits."""

_NAME = re.compile(r"^([A-Z][A-Z0-9_]+)=(.*)$", re.MULTILINE)
_WORKSPACE = """\
# For `dagster dev` in this folder.
load_from:
  - python_module: ctwa_attribution.definitions
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
    files["workspace.yaml"] = _WORKSPACE
    files[".gitignore"] = ".env\n/data/\n"
    for name, text in files.items():
        if not (place / name).exists():
            write_durably(place / name, text)


def write_env(place: Path, answers: Mapping[str, str]) -> None:
    """Write the answers into `.env`, readable by its owner only; other lines stay as they are."""
    path = place / ENV_FILE
    template = PROJECT_DIR / ".env.example"
    text = (path if path.exists() else template).read_text(encoding="utf-8-sig")
    for name, value in answers.items():
        line = f"{name}={_quoted(value)}"
        if re.search(rf"^{name}=", text, re.MULTILINE):
            escaped = line.replace("\\", r"\\")
            text = re.sub(rf"^{name}=.*$", escaped, text, flags=re.MULTILINE)
        else:
            text = f"{text.rstrip()}\n{line}\n"
    write_durably(path, text, mode=0o600)
    path.chmod(0o600)


def _quoted(value: str) -> str:
    if "\n" in value:
        raise InitError("an answer has more than one line: paste the value alone")
    plain = not value or re.fullmatch(r"[\w.,:/@+*|-]+", value)
    return value if plain else "'{}'".format(value.replace("\\", "\\\\").replace("'", "\\'"))


def written(place: Path) -> dict[str, str]:
    """Variables of the `.env` there, as they are written."""
    path = place / ENV_FILE
    return dict(_NAME.findall(path.read_text(encoding="utf-8-sig"))) if path.exists() else {}
