"""Settings and the environment: which variables are set, which are unknown, what children get.

`ctwa.settings` reads the values; this module is about their names and about child processes.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic import ValidationError

from ctwa.setting_types import as_text
from ctwa.settings import ENV_FILE, PREFIXES, Settings, name_of


def usable_settings() -> Settings | None:
    """The settings with defaults in place of wrong values; None if even that fails.

    Only good enough to send an alert that says which are wrong.
    """
    fields = {name_of(field): field for field in Settings.model_fields}
    instead: dict[str, Any] = {name_of("meta_conversions_mode"): "off"}
    for _ in range(3):  # settings that contradict each other show once each alone is right
        try:
            return Settings(**instead)
        except ValidationError as error:
            for one in error.errors():
                field = fields.get(str(one["loc"][0]).upper()) if one["loc"] else None
                if field is not None:
                    instead[name_of(field)] = Settings.model_fields[field].default
        except (OSError, UnicodeDecodeError):
            return None
    return None


def set_names(env_file: str | Path = ENV_FILE) -> dict[str, str]:
    """Variables with one of our `PREFIXES` that are set, and where: `environment` or the file."""
    in_file = dotenv_values(env_file, encoding="utf-8-sig") if Path(env_file).is_file() else {}
    found = {name.upper(): str(env_file) for name in in_file}
    found |= {name.upper(): "environment" for name in os.environ}
    return {n: where for n, where in sorted(found.items()) if n.startswith(PREFIXES)}


def unknown_names(names: Iterable[str]) -> dict[str, str]:
    """Those of `names` that are not settings of ours, with the nearest name that is, or ''."""
    known = {name_of(field) for field in Settings.model_fields}
    nearest = {
        name: next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.8)), "")
        for name in names
        if name not in known | _OF_OUR_CHILDREN
    }
    # GOOGLE_APPLICATION_CREDENTIALS and the like belong to other tools.
    return {
        n: near
        for n, near in nearest.items()
        if near or not n.startswith("GOOGLE_") or n.startswith(("GOOGLE_ADS_", "GOOGLE_OAUTH_"))
    }


_OF_OUR_CHILDREN = frozenset({
    "CTWA_LAKE_PATH", "CTWA_IDENTITY_PATH", "CTWA_CHAT_SIGNALS_PATH", "CTWA_AS_OF",
    "CTWA_ACTIVATION_PATH",
    "CTWA_CONVERSION_STAGES", "CTWA_CONVERSION_CLICK", "CTWA_CONVERSION_CLICK_DAYS",
    "CTWA_DBT_LOCK",
})  # fmt: skip
"""Set by `Settings.dbt_environment` and by Dagster for child processes; never by hand."""


def export_environment(settings: Settings) -> None:
    """Pass this process's settings to child processes (Dagster's, dbt's) in the environment."""
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if value in (None, "", (), {}):
            continue
        os.environ[name_of(name)] = as_text(value)
