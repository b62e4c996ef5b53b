"""The shape of the code: imports point downwards, docs name what exists, no secrets' paths."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (
    "ctwa",
    "ingestion",
    "comparison",
    "activation",
    "publishing",
    "orchestration",
    "simulator",
    "benchmarks",
)

MAY_IMPORT = {
    "ctwa": set(),
    "ingestion": {"ctwa"},
    "comparison": {"ctwa", "ingestion"},
    # What goes out needs the vault, the one parser and the clients of what comes in.
    "activation": {"ctwa", "ingestion"},
    "publishing": {"ctwa"},
    "orchestration": {"ctwa", "ingestion", "comparison", "activation", "publishing"},
    "simulator": {"ctwa", "ingestion", "activation", "publishing", "orchestration"},
    "benchmarks": {"ctwa", "ingestion", "activation", "publishing", "orchestration", "simulator"},
}
# The command line is the one place that starts everything.
MAY_IMPORT_ALL = {Path("ctwa/cli.py")}


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
    return names


def _modules() -> list[Path]:
    return [p.relative_to(ROOT) for name in PACKAGES for p in sorted((ROOT / name).rglob("*.py"))]


@pytest.mark.parametrize("path", _modules(), ids=str)
def test_imports_point_downwards(path: Path) -> None:
    own = path.parts[0]
    found = {name.split(".")[0] for name in _imports(ROOT / path)} & set(PACKAGES)
    allowed = set(PACKAGES) if path in MAY_IMPORT_ALL else MAY_IMPORT[own] | {own}
    assert found <= allowed


@pytest.mark.parametrize("path", _modules(), ids=str)
def test_only_orchestration_knows_dagster_and_dbt(path: Path) -> None:
    if path.parts[0] in {"orchestration", "benchmarks"}:
        return
    roots = {name.split(".")[0] for name in _imports(ROOT / path)}
    assert not roots & {"dagster", "dagster_dbt", "dagster_dlt", "dbt"}


def test_the_parser_cannot_reach_the_network() -> None:
    """Media and source URLs of payloads are never fetched: there is nothing to fetch them with."""
    clients = {"requests", "httpx", "urllib", "urllib3", "aiohttp", "http", "socket", "dlt"}
    for path in (ROOT / "ingestion/parser").rglob("*.py"):
        names = _imports(path) - {"urllib.parse"}  # it only takes addresses apart
        assert not {name.split(".")[0] for name in names} & clients, path


def test_only_the_settings_read_the_environment() -> None:
    allowed = {Path("ctwa/settings.py")}
    for path in _modules():
        if path in allowed or path.parts[0] in {"orchestration", "benchmarks"}:
            continue  # entry points of child processes export it
        assert "os.environ[" not in (ROOT / path).read_text(), path


def test_docs_link_to_files_that_exist() -> None:
    broken = []
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)} -> {target}")
    assert not broken


def test_every_command_is_in_the_readme() -> None:
    from ctwa.cli import app

    readme = (ROOT / "README.md").read_text()
    names = [c.name or c.callback.__name__.replace("_", "-") for c in app.registered_commands]
    assert [n for n in names if f"`ctwa {n}" not in readme] == []


def test_every_mart_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    marts = [p.stem for p in (ROOT / "dbt_project/models/marts").rglob("*.sql")]
    assert marts
    assert [m for m in marts if f"`{m}`" not in readme] == []


def test_no_sql_parses_json() -> None:
    """Rule R1: one parser, in Python; SQL and Python disagree on duplicate keys and bad values."""
    for path in (ROOT / "dbt_project").rglob("*.sql"):
        sql = path.read_text().lower()
        assert not re.search(r"\b(json_extract|from_json|json_value|->>)", sql), path


def test_no_model_reads_the_clock_or_picks_by_luck() -> None:
    """Rule R3: as_of is a variable; `first`/`any_value` without an order depend on luck."""
    forbidden = r"\b(now\(\)|current_date|current_timestamp|get_current_time|any_value\(|random\()"
    for path in (ROOT / "dbt_project/models").rglob("*.sql"):
        code = re.sub(r"/\*.*?\*/|\{#.*?#\}|--[^\n]*", "", path.read_text().lower(), flags=re.S)
        assert not re.search(forbidden, code), path
