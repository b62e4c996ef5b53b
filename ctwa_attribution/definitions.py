"""Dagster's code location by the wheel's one name, for `dagster dev -m`."""

import ctwa_attribution  # noqa: F401  # makes the next import possible
from orchestration.definitions import defs

__all__ = ["defs"]
