"""The dbt project of an installation: the package's, with what the company keeps in its own folder.

`CTWA_HOME` is a folder that `ctwa init` made. A CSV in its `seeds/` stands in the place of the seed
of that name, and models in its `models/` are built beside the others. Neither is touched by an
upgrade. dbt wants one folder, so one is made of links in the data folder.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ctwa.errors import CtwaError
from ctwa.settings import PROJECT_DIR, Settings

OWN_SEEDS = "seeds"
OWN_MODELS = "models"
_PROJECT = "dbt_project"
_BESIDE = f"{_PROJECT}/beside/own"
"""Where own models are linked to: `dbt_project.yml` names the folder above."""
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

    Raises `HomeError` for a folder that is not there, and for a seed that is none of the package.
    """
    if settings.ctwa_home is None:
        return PROJECT_DIR
    folder = settings.dbt_target_dir / "project"
    wanted = dict(_links(settings.ctwa_home))
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink()}
    for name in found - wanted.keys():
        (folder / name).unlink(missing_ok=True)
    for name, target in wanted.items():
        _link(folder / name, target)
    return folder


def _seeds() -> Path:
    return PROJECT_DIR / _PROJECT / "seeds"


def _links(home: Path) -> Iterator[tuple[str, Path]]:
    """Path in the folder -> the file it stands for."""
    if not home.is_dir():
        raise HomeError(f"CTWA_HOME={home} is not a folder: `ctwa init {home}` makes it")
    for name in ("dbt_project.yml", "profiles.yml"):
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
