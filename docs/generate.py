"""Write the generated parts of the docs (`make docs`): cases, metrics, dictionary, commands.

Which tests prove a case is read from their names (`test_e28_...`), what a metric is from dbt's
yml. `tests/test_docs.py` fails where a page is stale, or a case neither proven nor explained.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import typer
import yaml

from commands.cli import app
from ctwa.settings import RULES, Settings, name_of
from docs.dictionary import dictionary

ROOT = Path(__file__).resolve().parent.parent
CASES = 100
_ID = re.compile(r"(?<=_)e(\d+)(?=_|$)")
# Whole scenarios first, they say most; then the parts.
_TELLING = (
    "tests/dbt", "tests/e2e", "tests/properties", "tests/ingestion", "tests/keeping",
    "tests/commands", "tests/orchestration",
)  # fmt: skip
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Case:
    """One edge case; `open` says which missing source it waits for."""

    id: int
    area: str
    case: str
    result: str
    open: str | None


@dataclass(frozen=True, slots=True)
class Proof:
    """A test that carries the id of a case; `path` is relative to the project."""

    path: str
    test: str

    @property
    def sentence(self) -> str:
        """The test's name as a sentence, without ids."""
        return " ".join(w for w in self.test.split("_")[1:] if not re.fullmatch(r"e\d+", w))


def edge_cases() -> list[Case]:
    """The cases of `docs/edge_cases.yml`, in its order."""
    areas = yaml.safe_load((ROOT / "docs/edge_cases.yml").read_text())
    return [
        Case(int(row["id"][1:]), area, row["case"], row["result"], row.get("open"))
        for area, rows in areas.items()
        for row in rows
    ]


def proofs() -> dict[int, list[Proof]]:
    """Id of a case -> the tests named after it, the most telling first."""
    found: dict[int, list[Proof]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        where = path.relative_to(ROOT).as_posix()
        for name in _tests(path):
            for number in _ID.findall(name):
                found.setdefault(int(number), []).append(Proof(where, name))
    return {number: sorted(set(rows), key=_rank) for number, rows in found.items()}


def _tests(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if named and node.name.startswith("test_"):
            yield node.name


def _rank(proof: Proof) -> tuple[int, int, str, str]:
    """Tests of this case alone before those of many, whole scenarios before parts."""
    telling = [proof.path.startswith(f"{folder}/") for folder in _TELLING]
    place = telling.index(True) if any(telling) else len(telling)
    return len(_ID.findall(proof.test)), place, proof.path, proof.test


def complaints(cases: Iterable[Case], tests: dict[int, list[Proof]]) -> list[str]:
    """What is wrong with cases and tests together, a line each; empty where all is well."""
    cases = list(cases)
    wrong = [
        f"E{n} is not in edge_cases.yml"
        for n in range(1, CASES + 1)
        if [c.id for c in cases].count(n) != 1
    ]
    for case in cases:
        if not case.open and case.id not in tests:
            wrong.append(f"E{case.id} has no test test_e{case.id:02d}_..., and is not open")
        if case.open and case.id in tests:
            names = ", ".join(proof.test for proof in tests[case.id])
            wrong.append(f"E{case.id} is called open, but has tests: {names}")
    for number in sorted(set(tests) - {case.id for case in cases}):
        wrong += [f"{p.path}: {p.test} names E{number}, which is no case" for p in tests[number]]
    return wrong


def edge_case_table() -> str:
    """The table of docs/attribution.md."""
    tests = proofs()
    cases = edge_cases()
    waiting = sum(1 for case in cases if case.open)
    proven = sum(1 for case in cases if case.id in tests)
    lines = [
        f"{len(cases)} cases: {proven} proven by tests, {waiting} open until their source exists."
    ]
    area = ""
    for case in cases:
        if case.area != area:
            area = case.area
            lines += ["", f"### {area}", "", "| | case | what comes out | proven by |"]
            lines.append("|---|---|---|---|")
        evidence = _evidence(tests.get(case.id, []), case)
        lines.append(f"| E{case.id} | {case.case} | {case.result} | {evidence} |")
    return "\n".join(lines)


def _evidence(tests: list[Proof], case: Case) -> str:
    if case.open:
        return f"*open: needs {case.open}*"
    shown = [f"[{proof.sentence}](../{proof.path})" for proof in tests[:_SHOWN]]
    more = len(tests) - len(shown)
    return "; ".join(shown) + (f"; {more} more" if more > 0 else "")


def metrics() -> list[dict[str, Any]]:
    """Every metric as dbt's yml has it, with `file`, the name of its yml."""
    found = []
    for path in sorted((ROOT / "dbt_project/models").rglob("*.yml")):
        for metric in yaml.safe_load(path.read_text()).get("metrics", []):
            found.append({"file": path.stem, **metric})
    return found


def metrics_tables() -> str:
    """The tables of docs/metrics.md; parts of other metrics are left out."""
    measures = _measures()
    known = {metric["name"]: metric for metric in metrics()}
    sections = {"_cohort_metrics": "Cohort metrics", "_cash_metrics": "Cash metrics"}
    lines: list[str] = []
    for file, title in sections.items():
        lines += [f"## {title}", "", "| metric | formula | meaning |", "|---|---|---|"]
        for metric in known.values():
            if metric["file"] != file or _is_part(metric):
                continue
            meaning = " ".join(metric["description"].split())
            formula = _formula(metric, known, measures)
            lines.append(f"| `{metric['name']}` | {formula} | {meaning} |")
        lines.append("")
    return "\n".join(lines).rstrip()


def _is_part(metric: dict[str, Any]) -> bool:
    return bool(metric.get("config", {}).get("meta", {}).get("is_part"))


def _measures() -> dict[str, str]:
    """Measure -> what it adds up, as `table.column`."""
    path = ROOT / "dbt_project/models/marts/metrics/_semantic_models.yml"
    found = {}
    for model in yaml.safe_load(path.read_text())["semantic_models"]:
        table = model["model"].split("'")[1]
        for measure in model.get("measures", []):
            found[measure["name"]] = f"sum(`{table}.{measure['expr']}`)"
    return found


def _formula(metric: dict[str, Any], known: dict[str, Any], measures: dict[str, str]) -> str:
    params = metric["type_params"]
    if metric["type"] == "simple":
        return measures[params["measure"]]
    if metric["type"] == "ratio":
        sides = [_side(params["numerator"]), _side(params["denominator"])]
        return " / ".join(f"`{name}`" for name, _ in sides) + (sides[0][1] and f", {sides[0][1]}")
    # Derived ones are guarded sums: the guard is told in words.
    total = known[params["metrics"][0]]
    return _formula(total, known, measures)


def _side(side: str | dict[str, str]) -> tuple[str, str]:
    """Name of a ratio's part, and its condition as `days with is_...`."""
    if isinstance(side, str):
        return side, ""
    columns = re.findall(r"__(\w+)'", side["filter"])
    return side["name"], "days with " + " and ".join(f"`{column}`" for column in columns)


def rules_table() -> str:
    """The settings of the attribution rules that move leads, for docs/attribution.md."""
    lines = ["| setting | default | other values | what moves |", "|---|---|---|---|"]
    for name, rule in RULES.items():
        if rule.moves:
            default = Settings.model_fields[name].default
            lines.append(
                f"| `{name_of(name)}` | `{default}` | {rule.other_values} | {rule.moves} |"
            )
    return "\n".join(lines)


def commands() -> str:
    """The commands of docs/commands.md: each with its help, usage and options, from the CLI."""
    group = typer.main.get_command(app)
    context = click.Context(group, info_name="ctwa")
    lines = [
        f"- [`ctwa {name}`](#ctwa-{name.replace(' ', '-')}): {_sentence(command.help or '')}"
        for name, command in _commands_of(group)
    ]
    for name, command in _commands_of(group):
        of_command = click.Context(command, info_name=name, parent=context)
        usage = " ".join(command.collect_usage_pieces(of_command))
        lines += ["", f"## ctwa {name}", "", _paragraphs(command.help or ""), ""]
        lines += ["```", f"ctwa {name} {usage}", "```", ""]
        shown = [_parameter(p, of_command) for p in command.params]
        if any(shown):
            lines += ["| option | |", "|---|---|", *filter(None, shown)]
    return "\n".join(lines)


def _commands_of(group: click.Command, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command with its whole name, those of groups in their places."""
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        if hasattr(command, "commands"):
            yield from _commands_of(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def _sentence(text: str) -> str:
    """The first sentence; the list of commands says no more."""
    return re.split(r"(?<=\.)\s", " ".join(text.split()))[0]


def _paragraphs(text: str) -> str:
    """Help text with its paragraphs as lines, and its example as a line of its own."""
    joined = [" ".join(part.split()) for part in text.split("\n\n")]
    return "\n\n".join(joined).replace(" Example: ", "\n\nExample: ")


def _parameter(parameter: click.Parameter, context: click.Context) -> str:
    name, text = parameter.get_help_record(context) or ("", "")  # type: ignore[attr-defined]
    text = " ".join(text.split()).replace("|", "\\|")
    return f"| `{' '.join(name.split())}` | {text} |".replace("|  |", "| |") if name else ""


PAGES = {
    "docs/commands.md": {"commands": commands},
    "docs/attribution.md": {"rules": rules_table, "edge cases": edge_case_table},
    "docs/metrics.md": {"metrics": metrics_tables},
    "docs/data-dictionary.md": {"tables": dictionary},
}


def page(path: str) -> str:
    """The text of a page with its generated parts as they ought to be."""
    text = (ROOT / path).read_text()
    for name, make in PAGES[path].items():
        begin, end = f"<!-- {name}: written by `make docs` -->", f"<!-- end of {name} -->"
        before, rest = text.split(begin)
        text = f"{before}{begin}\n\n{make()}\n\n{end}{rest.split(end)[1]}"
    return text


def main() -> int:
    """Write all pages; 1 if a case is neither proven nor explained."""
    for path in PAGES:
        (ROOT / path).write_text(page(path))
    wrong = complaints(edge_cases(), proofs())
    print("\n".join(wrong) or f"written: {', '.join(PAGES)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
