"""The plan: what `dbt build` executes, compiled once, for our own runs to execute by themselves.

Most of a build is dbt about itself: it starts, parses, renders templates and looks after each of
its nodes, every time with the same outcome. So dbt compiles once per version of the code and of the
settings (`orchestration.plan_compile`), its own statements are kept as a file, and
`orchestration.plan_run` executes them. What differs from run to run stands in them as a mark,
`@{name}`: the last day, the folders, the name of the database, and the highest values that
incremental models already have, which are asked again before each model.

`dbt build` by hand and by Dagster's own integration makes the same tables and goes on from them.
Neither dbt nor Dagster is imported here.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

from ctwa.errors import CtwaError
from ctwa.files import write_durably
from ctwa.settings import PROJECT_DIR, Settings
from ingestion.sources import SOURCES
from orchestration.dbt_manifest import content_hash, project_files, project_fingerprint

_MARK = re.compile(r"@\{(\w+)\}")
_ENV_VAR = re.compile(r"""env_var\(\s*['"](\w+)""")
_DIFFERS_BY_RUN = {
    "CTWA_WAREHOUSE_PATH",
    "CTWA_LAKE_PATH",
    "CTWA_IDENTITY_PATH",
    "CTWA_CHAT_SIGNALS_PATH",
    "CTWA_ACTIVATION_PATH",
    "CTWA_AS_OF",
    "CTWA_MARTS_PATH",
}
"""Settings that stand in the statements as marks, and the file of the profile for readers, which
nothing is compiled from; all others are compiled in."""
TOLD = "ctwa: "
"""How a line begins by which the process that compiles says how far it is."""
_MAKERS = ("plan.py", "plan_compile.py", "plan_dbt.py")
"""Modules that make a plan, or what is in one."""


class PlanError(CtwaError):
    """dbt cannot build the project on empty data; the text names each node and its fault."""


@dataclass(frozen=True)
class Node:
    """A seed or model: what makes its table or view."""

    unique_id: str
    path: str
    """Of its file, from the project's folder."""
    schema: str
    table: str
    materialized: str
    """`table`, `view`, `incremental` or `seed`."""
    depends_on: tuple[str, ...]
    """Ids of nodes and sources."""
    full: tuple[str, ...]
    """Statements that make it whole, in place of what is there."""
    continued: tuple[str, ...] = ()
    """Statements that continue an incremental model; empty where it cannot be continued."""
    highest: tuple[str, ...] = ()
    """Queries of one number each: the values of the marks `@{highest_0}`, … in `continued`."""


@dataclass(frozen=True)
class Check:
    """A data test: a query for rows that must not be there."""

    unique_id: str
    depends_on: tuple[str, ...]
    sql: str
    severity: str
    """`error` or `warn`."""
    figure: str = "count(*)"
    """dbt's `fail_calc`: what is counted of the rows."""
    warn_if: str = "!= 0"
    error_if: str = "!= 0"
    says_faults: bool = False
    """The query returns one row with the faults as text (`sound_rows`), none without a fault."""
    view: tuple[str, str] | None = None
    """Schema and name of the view that shows the rows (`store_failures_as`)."""


@dataclass(frozen=True)
class Plan:
    """All of the project, in an order in which it can be built."""

    key: str
    nodes: tuple[Node, ...]
    checks: tuple[Check, ...]
    session: Mapping[str, str] = field(default_factory=dict)
    """Settings of the connection, from dbt's profile."""

    @cached_property
    def ancestors(self) -> dict[str, frozenset[str]]:
        """Node -> ids of everything that it depends on."""
        found: dict[str, frozenset[str]] = {}
        for node in self.nodes:
            above = (found.get(parent, frozenset()) for parent in node.depends_on)
            found[node.unique_id] = frozenset(node.depends_on).union(*above)
        return found

    def to_json(self) -> str:
        """As `from_json` reads it."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Raises `ValueError`, `KeyError` or `TypeError` for a text that is no plan."""
        read: dict[str, Any] = json.loads(text)
        return cls(
            key=read["key"],
            nodes=tuple(Node(**_tuples(node)) for node in read["nodes"]),
            checks=tuple(Check(**_tuples(check)) for check in read["checks"]),
            session=read["session"],
        )


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    """JSON knows lists only."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}


def filled_in(sql: str, values: Mapping[str, str]) -> str:
    """The statement with every mark replaced; raises `KeyError` for a mark without a value."""
    return _MARK.sub(lambda mark: values[mark.group(1)], sql)


def marks_of(sql: str) -> Iterator[str]:
    """Names of the marks of a statement."""
    return (mark.group(1) for mark in _MARK.finditer(sql))


def run_values(settings: Settings, as_of: date) -> dict[str, str]:
    """Mark -> value of one run, without `highest_…` and the name of the database."""
    environment = settings.dbt_environment(as_of)
    return {
        "as_of": environment["CTWA_AS_OF"],
        "lake": environment["CTWA_LAKE_PATH"],
        "activation": environment["CTWA_ACTIVATION_PATH"],
    }


def _environment(settings: Settings, project_dir: Path) -> dict[str, str]:
    """Every variable that the project reads, but for those that differ from run to run."""
    found = {n: v for n, v in settings.dbt_environment(date(1970, 1, 1)).items() if n[:4] != "DBT_"}
    for path in project_files(project_dir):
        for name in _variables_in(path, content_hash(path)):
            found.setdefault(name, os.environ.get(name, ""))
    return {name: value for name, value in found.items() if name not in _DIFFERS_BY_RUN}


@functools.lru_cache(maxsize=2_000)
def _variables_in(path: Path, _content: bytes) -> tuple[str, ...]:
    return tuple(_ENV_VAR.findall(path.read_text(errors="replace")))


def plan_key(settings: Settings, project_dir: Path = PROJECT_DIR) -> str:
    """Hash of everything that a plan is made from: a plan with another key must not be run."""
    parts = [
        project_fingerprint(project_dir),
        *(importlib.metadata.version(package) for package in ("dbt-adapters", "duckdb")),
        *(f"{n}={v}" for n, v in sorted(_environment(settings, project_dir).items())),
        *(f"{s.dataset}.{name}: {schema}" for s in SOURCES for name, schema in s.schemas.items()),
        *((Path(__file__).with_name(name)).read_text() for name in _MAKERS),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def load_plan(path: Path, key: str) -> Plan | None:
    """The plan in this file; None where it has another key, is absent or cannot be read."""
    try:
        plan = Plan.from_json(path.read_text())
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return plan if plan.key == key else None


def save_plan(plan: Plan, path: Path) -> None:
    """Put the plan in the place of the one before; a reader never meets half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, plan.to_json())


def plan_path(settings: Settings) -> Path:
    """Where the plan of this installation lies."""
    return settings.dbt_target_dir / "manifest" / "plan.json"
