"""The dbt project of an installation: the package's, with what the company keeps in its own folder.

`CTWA_HOME` is a folder that `ctwa init` made. A CSV in its `seeds/` stands in the place of the seed
of that name, models in its `models/` are built beside the others, and a variable in its `vars.yml`
goes before the one of `dbt_project.yml`. None of them is touched by an upgrade. dbt wants one
folder, so one is made of links in the data folder.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ctwa.errors import CtwaError
from ctwa.files import write_durably
from ctwa.settings import PROJECT_DIR, Settings

OWN_SEEDS = "seeds"
OWN_MODELS = "models"
OWN_VARIABLES = "vars.yml"
_PROJECT = "dbt_project"
_BESIDE = f"{_PROJECT}/beside/own"
"""Where own models are linked to: `dbt_project.yml` names the folder above."""
_FILE = "dbt_project.yml"
_NOT_TO_EDIT = ("rule_version", "ads_platforms")
"""Variables that belong to the code."""
_VARIABLE = re.compile(r"  (\w+): ")
_MODEL_FILES = {".sql", ".py", ".yml", ".yaml", ".md"}


class HomeError(CtwaError):
    """The folder of `CTWA_HOME` cannot be used; the text says why and what to do."""


def seed_file(settings: Settings, name: str) -> Path:
    """The CSV of a seed that counts: the company's own, else the package's."""
    home = settings.ctwa_home
    own = home / OWN_SEEDS / f"{name}.csv" if home else None
    return own if own and own.is_file() else _seeds() / f"{name}.csv"


def project_of(settings: Settings) -> Path:
    """The folder of the `dbt_project.yml` to build with; brought up to date if it is of links.

    Raises `HomeError` for a folder that is not there, for a seed that is none of the package, and
    for a variable that does not exist or has a value of another kind.
    """
    if settings.ctwa_home is None:
        return PROJECT_DIR
    folder = settings.dbt_target_dir / "project"
    wanted = dict(_links(settings.ctwa_home))
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink()}
    for name in found - wanted.keys():
        (folder / name).unlink(missing_ok=True)
    if own := _own_variables(settings.ctwa_home):
        del wanted[_FILE]
        folder.mkdir(parents=True, exist_ok=True)
        _write_project(folder / _FILE, own)
    for name, target in wanted.items():
        _link(folder / name, target)
    return folder


def variables_to_edit() -> str:
    """The variables of boards, targets and forecast as comments, each with its default."""
    _, _, block = (PROJECT_DIR / _FILE).read_text().partition("\nvars:\n")
    lines: list[str] = []
    said: list[str] = []
    for line in block.partition("\n\n")[0].splitlines():
        name = _VARIABLE.match(line)
        if name is None:
            said.append(line.strip())
            continue
        if name[1] not in _NOT_TO_EDIT:
            lines += [*said, f"# {line.strip()}"]
        said = []
    return "\n".join(lines) + "\n"


def _own_variables(home: Path) -> dict[str, Any]:
    """What `vars.yml` changes, by name."""
    path = home / OWN_VARIABLES
    if not path.is_file():
        return {}
    try:
        own = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise HomeError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if own is None:
        return {}
    if not isinstance(own, dict):
        raise HomeError(f"{path}: write one `name: value` a line, such as `board_margin: 0.1`")
    defaults = yaml.safe_load((PROJECT_DIR / _FILE).read_text())["vars"]
    for name in _NOT_TO_EDIT:
        del defaults[name]
    for name, value in own.items():
        if name not in defaults:
            raise HomeError(f"{path}: there is no variable {name}; there are {', '.join(defaults)}")
        if not _is_like(value, defaults[name]):
            raise HomeError(f"{path}: {name} is {value!r}, and must be like {defaults[name]}")
    return own


def _is_like(value: object, default: object) -> bool:
    """Whether it is of the default's kind: a whole number, a number, or a list of these."""
    if isinstance(default, list):
        return isinstance(value, list) and bool(value) and all(_is_like(v, 1) for v in value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value >= 0 and (isinstance(default, float) or isinstance(value, int))


def _write_project(place: Path, own: dict[str, Any]) -> None:
    """The package's `dbt_project.yml` with these variables, in place of the link to it."""
    project = yaml.safe_load((PROJECT_DIR / _FILE).read_text())
    project["vars"] |= own
    text = yaml.safe_dump(project, sort_keys=False, allow_unicode=True)
    if place.is_symlink() or not place.is_file() or place.read_text() != text:
        write_durably(place, text)


def _seeds() -> Path:
    return PROJECT_DIR / _PROJECT / "seeds"


def _links(home: Path) -> Iterator[tuple[str, Path]]:
    """Path in the folder -> the file it stands for."""
    if not home.is_dir():
        raise HomeError(f"CTWA_HOME={home} is not a folder: `ctwa init {home}` makes it")
    for name in (_FILE, "profiles.yml"):
        yield name, PROJECT_DIR / name
    for path in (PROJECT_DIR / _PROJECT).rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield str(path.relative_to(PROJECT_DIR)), path
    for path in sorted((home / OWN_SEEDS).glob("*.csv")):
        if not (_seeds() / path.name).is_file():
            known = ", ".join(sorted(seed.name for seed in _seeds().glob("*.csv")))
            raise HomeError(f"{path} is no seed of this product: rename it to one of {known}")
        yield f"{_PROJECT}/seeds/{path.name}", path.absolute()
    for path in sorted((home / OWN_MODELS).rglob("*")):
        if path.is_file() and path.suffix in _MODEL_FILES:
            yield f"{_BESIDE}/{path.relative_to(home / OWN_MODELS)}", path.absolute()


def _link(place: Path, target: Path) -> None:
    """Another process may be doing the same: a link appears by rename."""
    if place.is_symlink() and place.readlink() == target:
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = place.with_name(f".{place.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    draft.symlink_to(target)
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    draft.replace(place)
