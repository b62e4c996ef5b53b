"""The shape of the code: imports point downwards, docs name what exists, no secrets' paths."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = (
    {"ctwa"},
    {"ingestion", "publishing"},
    {"comparison"},
    {"activation"},
    {"keeping"},
    {"orchestration"},
    {"simulator"},
    {"benchmarks"},
    {"commands"},
    {"ctwa_attribution"},
)
"""From the ground floor to the roof: a package imports itself and what lies below its layer."""

MAX_MODULE_LINES = 400
MAX_MODEL_LINES = 250


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
    return names


def _modules() -> list[Path]:
    packages = sorted(set().union(*LAYERS))
    return [p.relative_to(ROOT) for name in packages for p in sorted((ROOT / name).rglob("*.py"))]


def _name(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _import_graph() -> dict[str, set[str]]:
    """Module to the modules it imports anywhere: at the top, in functions, for types."""
    graph: dict[str, set[str]] = {_name(path): set() for path in _modules()}
    for path in _modules():
        own = _name(path)
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            if isinstance(node, ast.Import):
                found = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                found = {n if n in graph else node.module for n in names}
            else:
                continue
            graph[own] |= found & graph.keys()
    return graph


def _circles(graph: dict[str, set[str]]) -> list[str]:
    """One chain, `a -> b -> a`, for each module that can be reached from itself."""
    circles = []
    for start in graph:
        came_by: dict[str, str] = {}
        ahead = [start]
        while ahead and start not in came_by:
            current = ahead.pop(0)
            for following in sorted(graph[current] - came_by.keys()):
                came_by[following] = current
                ahead.append(following)
        if start in came_by:
            chain = [start, came_by[start]]
            while chain[-1] != start:
                chain.append(came_by[chain[-1]])
            circles.append(" -> ".join(reversed(chain)))
    return circles


@pytest.mark.parametrize("path", _modules(), ids=str)
def test_imports_point_downwards(path: Path) -> None:
    own = path.parts[0]
    height = next(h for h, layer in enumerate(LAYERS) if own in layer)
    below = set().union(*LAYERS[:height])
    found = {name.split(".")[0] for name in _imports(ROOT / path)} & set().union(*LAYERS)
    assert found <= below | {own}


def test_only_demo_and_bench_load_the_simulator_and_only_when_they_run() -> None:
    """What is installed for real work never runs code of the synthetic company."""
    allowed, stand_ins = {"simulator", "benchmarks"}, {"simulator", "benchmarks"}
    found = set()
    for path in _modules():
        tree = ast.parse((ROOT / path).read_text())
        at_import = {node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Import | ast.ImportFrom) or path.parts[0] in allowed:
                continue
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
            if {str(name).split(".")[0] for name in names} & stand_ins:
                assert node not in at_import, path
                found.add(str(path))
    assert found == {"commands/running.py"}


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert _circles(_import_graph()) == []


def test_a_circle_is_found_and_named() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}
    assert _circles(graph) == ["b -> c -> b", "c -> b -> c"]


def test_modules_and_models_are_short_enough_to_be_read() -> None:
    modules = [p for p in _modules() if p.parts[0] not in {"simulator", "benchmarks"}]
    models = [p.relative_to(ROOT) for p in (ROOT / "dbt_project/models").rglob("*.sql")]
    limits = dict.fromkeys(modules, MAX_MODULE_LINES) | dict.fromkeys(models, MAX_MODEL_LINES)
    lines = {path: len((ROOT / path).read_text().splitlines()) for path in limits}
    assert {str(p): n for p, n in lines.items() if n > limits[p]} == {}


def test_every_error_that_may_end_a_command_has_the_one_root() -> None:
    """`commands.cli` turns a `CtwaError` into a line and an exit code; others are tracebacks."""
    bases: dict[str, set[str]] = {}
    for path in _modules():
        if path.parts[0] in {"simulator", "benchmarks"}:
            continue
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            if isinstance(node, ast.ClassDef) and re.fullmatch(r"[A-Z]\w*Error", node.name):
                named = {ast.unparse(base).split(".")[-1] for base in node.bases}
                bases.setdefault(node.name, set()).update(named)

    def has_the_root(name: str) -> bool:
        return name == "CtwaError" or any(map(has_the_root, bases.get(name, ())))

    assert len(bases) > 50
    assert [name for name in bases if not has_the_root(name)] == []


def test_every_landing_of_an_installation_finishes_erasures() -> None:
    """`keeping.erasure.steps.land` does, and stands above the source that it lands."""
    above = [path for path in _modules() if path.parts[0] not in {"ingestion", "benchmarks"}]
    callers = [
        str(path)
        for path in above
        if re.search(r"\bland_event_log\(|EVENT_LOG_SOURCE\.land", (ROOT / path).read_text())
    ]
    assert callers == ["keeping/erasure/steps.py"]


def test_no_sql_edge_leads_from_marts_back_to_what_they_are_made_of() -> None:
    models = ROOT / "dbt_project/models"
    marts = {path.stem for path in (models / "marts").rglob("*.sql")}
    back = []
    for path in sorted([*models.rglob("*.sql"), *models.rglob("*.py")]):
        if path.relative_to(models).parts[0] not in {"staging", "intermediate"}:
            continue
        read = set(re.findall(r"\bref\(\s*['\"](\w+)['\"]", path.read_text()))
        back += [f"{path.stem} reads {mart}" for mart in sorted(read & marts)]
    assert back == []


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
    allowed = {Path("ctwa/environment.py"), Path("ctwa_attribution/__init__.py")}
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


def test_the_architecture_page_shows_the_tree_as_it_is() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    tree = page.split("## The tree")[1].split("```")[1]
    named = set(re.findall(r"([\w.]+)/", tree))
    rooms = [p.name for p in (ROOT / "ingestion").iterdir() if (p / "__init__.py").exists()]
    assert [name for name in (*sorted(set().union(*LAYERS)), *rooms) if name not in named] == []
    models = {p.stem for p in (ROOT / "dbt_project/models").rglob("*.sql")}
    told = set(re.findall(r"`((?:int|fct|dim|stg)_\w+|\w+_(?:performance|outbox))`", page))
    assert told - models == set()


def test_every_mart_has_its_line_in_the_table_of_marts() -> None:
    page = (ROOT / "docs/marts.md").read_text()
    found = [p.stem for p in (ROOT / "dbt_project/models/marts").rglob("*.sql")]
    marts = [name for name in found if not name.startswith("int_")]
    assert marts
    assert [m for m in marts if f"`{m}`" not in page] == []


def test_every_page_is_in_the_menu_of_the_site() -> None:
    menu = re.findall(r"([\w./-]+\.md)", (ROOT / "mkdocs.yml").read_text().split("\nnav:")[1])
    pages = [p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md")]
    assert sorted(menu) == sorted(pages)


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


def test_what_differs_between_warehouses_stands_in_the_adapter_macros() -> None:
    """Types, functions and syntax that only one engine has (docs/scale-out.md)."""
    words = re.compile(
        r"::|\b(varchar|timestamptz|hugeint|strftime|date_format|to_char|unnest|explode|qualify"
        r"|arg_max|arg_min|any_value|string_agg|group_concat|safe_cast|ilike|asof|exclude"
        r"|read_parquet|generate_series|epoch\w*|list_\w+|struct_pack|from_utc_timestamp"
        r"|at time zone|distinct on|delete from|filter\s*\(\s*where)\b"
    )
    adapter = ROOT / "dbt_project/macros/adapter"
    found = {}
    for path in sorted((ROOT / "dbt_project").rglob("*.sql")):
        code = re.sub(
            r"/\*.*?\*/|\{#.*?#\}|--[^\n]*", "", path.read_text().lower(), flags=re.DOTALL
        )
        if not path.is_relative_to(adapter) and (word := words.search(code)):
            found[path.name] = word.group()
    assert found == {"sound_rows.sql": "string_agg"}  # a word of both
    seeds = [p.read_text() for p in (ROOT / "dbt_project/seeds").glob("*.yml")]
    assert not any("varchar" in text or "timestamptz" in text for text in seeds), "string, ..."
    assert words.search("cast(a as varchar)")
    assert words.search("select a::int")
