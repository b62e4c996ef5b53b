"""Puts the files at the top of the checkout below the wheel's one name.

Folders are moved there by `sources` in pyproject.toml, which cannot name files; and an editable
installation must not get copies of them.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FILES = (
    "dbt_project.yml", "profiles.yml", "workspace.yaml", "requirements.lock", ".env.example",
    "README.md", "CHANGELOG.md",
)  # fmt: skip


class FilesBelowOneName(BuildHookInterface[Any]):
    """Of wheels only."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it builds."""
        if version != "editable":
            build_data["force_include"] |= {
                str(Path(self.root) / name): f"ctwa_attribution/{name}" for name in FILES
            }
