"""The generated parts of the docs are fresh, and every edge case is proven or explained."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest

from ctwa.settings import Settings, name_of
from docs.dictionary import tables
from docs.generate import PAGES, ROOT, Case, Proof, complaints, edge_cases, page, proofs
from docs.links import rewritten
from orchestration.alarm_checks import ALARMS
from orchestration.checks import build_checks
from orchestration.destinations import destinations
from orchestration.keys import FRESH, LOADED, RECORDED, SENT
from publishing.marts import publish_marts
from tests.publishing.test_marts import AS_OF, build_warehouse


def test_every_edge_case_is_proven_or_explained() -> None:
    assert complaints(edge_cases(), proofs()) == []


@pytest.mark.parametrize("path", PAGES)
def test_generated_pages_are_fresh(path: str) -> None:
    assert (ROOT / path).read_text() == page(path), f"{path} is stale: run `make docs`"


def test_a_case_without_test_a_stale_open_and_a_wrong_id_are_named() -> None:
    cases = [case for case in edge_cases() if case.id not in {1, 2, 3}]
    cases.append(Case(1, "Capture", "proven by nobody", "…", None))
    cases.append(Case(2, "Capture", "long since proven", "…", "a source"))
    tests = {**proofs(), 2: [Proof("tests/test_x.py", "test_e02_x")]}
    del tests[1]
    tests[990] = [Proof("tests/test_x.py", "test_e990_x")]
    found = complaints(cases, tests)
    assert "E3 is not in edge_cases.yml" in found
    assert "E1 has no test test_e01_..., and is not open" in found
    assert "E2 is called open, but has tests: test_e02_x" in found
    assert "tests/test_x.py: test_e990_x names E990, which is no case" in found


def test_the_dictionary_has_every_mart_and_a_meaning_for_every_column() -> None:
    found = {p.stem for p in (ROOT / "dbt_project/models/marts").rglob("*.sql")}
    marts = {name for name in found if not name.startswith("int_")}
    known = {table.name: table for table in tables()}
    beside = {"publication", "restatements"} | {n for n in known if n.startswith("credit_diff")}
    assert set(known) == marts | beside
    for table in known.values():
        assert table.about.startswith(("One row", "How figures")), table.name
        assert [name for name, kind, meaning in table.columns if not kind or not meaning] == []


def test_the_dictionary_describes_the_publication_as_it_is_written(settings: Settings) -> None:
    build_warehouse(settings, 1, rows=1)
    published = publish_marts(settings, as_of=AS_OF).path
    with duckdb.connect(str(published), read_only=True) as marts:
        written = marts.execute("select column_name from (describe publication)").fetchall()
    (told,) = [table for table in tables() if table.name == "publication"]
    assert [name for name, _, _ in told.columns] == [name for (name,) in written]


def _runbooks() -> set[str]:
    page = (ROOT / "docs/runbooks.md").read_text()
    return set(re.findall(r"^### (\w+)$", page, flags=re.MULTILINE))


def test_each_alarm_and_each_check_of_ours_has_its_runbook(settings: Settings) -> None:
    seed = (ROOT / "dbt_project/seeds/alarms.csv").read_text().splitlines()[1:]
    alarms = {line.split(",")[1] for line in seed} | set(ALARMS)
    ours = {spec.name for checks in build_checks(settings) for spec in checks.check_specs}
    sent = {alarm.name for d in destinations(settings) for alarm in d.alarms}
    others = {LOADED, FRESH, SENT, RECORDED, "made", "pruned", "envelopes_reach_the_marts"}
    assert alarms | ours | sent | others == _runbooks()


def test_links_to_headings_of_other_pages_are_right() -> None:
    wrong = []
    for source in sorted((ROOT / "docs").rglob("*.md")):
        for target, heading in re.findall(r"\]\(([^)#\s]*\.md)?#([^)\s]+)\)", source.read_text()):
            path = (source.parent / target) if target else source
            if heading not in _headings(path):
                wrong.append(f"{source.relative_to(ROOT)} -> {target}#{heading}")
    assert wrong == []


def _headings(path: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub and the site make them."""
    found: set[str] = set()
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    for title in re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title)
        anchor = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        found.add(anchor)
    return found


@pytest.mark.parametrize("language", ["pt-BR", "es"])
def test_translations_name_the_settings_and_commands_of_their_english_page(language: str) -> None:
    """Whoever adds a setting to a page sees here which translations lack it."""
    pages = sorted(p for p in (ROOT / "docs" / language).rglob("*.md") if p.name != "index.md")
    assert len(pages) == 8
    for translated in pages:
        path = translated.relative_to(ROOT / "docs" / language)
        english = (ROOT / "docs" / path).read_text()
        text = translated.read_text()
        foreign = set(re.findall(r"`([A-Z]+_[A-Z_]+)[`=]", text))
        assert foreign - set(re.findall(r"`([A-Z]+_[A-Z_]+)[`=]", english)) == set(), path
        tables = [row for row in english.splitlines() if row.startswith("| `")]
        if path.parent.name == "connect":
            named = {name for row in tables for name in re.findall(r"`([A-Z]+_[A-Z_]+)`", row)}
            assert {n for n in named if n in {name_of(f) for f in Settings.model_fields}} <= foreign
        for rule in re.findall(r"^### (R\d+) ", english, flags=re.MULTILINE):
            assert re.search(rf"^### {rule} ", text, flags=re.MULTILINE), rule


def test_on_the_site_links_out_of_the_docs_lead_to_the_repository_or_are_text() -> None:
    line = "see [the seed](../dbt_project/seeds/alarms.csv), [none](../none.csv), [here](bi.md)"
    text = rewritten(line, "runbooks.md", "")
    assert text == "see the seed, [none](../none.csv), [here](bi.md)"
    linked = rewritten(
        "[a](../../ctwa/lock.py#L1) [b](../report.md)", "connect/x.md", "https://h/r/"
    )
    assert linked == "[a](https://h/r/blob/main/ctwa/lock.py#L1) [b](../report.md)"
