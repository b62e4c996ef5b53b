"""The generated parts of the docs are fresh, and every edge case is proven or explained."""

from __future__ import annotations

import pytest

from docs.generate import PAGES, ROOT, Case, Proof, complaints, edge_cases, page, proofs


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
    tests[78] = [Proof("tests/test_x.py", "test_e78_x")]
    found = complaints(cases, tests)
    assert "E3 is not in edge_cases.yml" in found
    assert "E1 has no test test_e01_..., and is not open" in found
    assert "E2 is called open, but has tests: test_e02_x" in found
    assert "tests/test_x.py: test_e78_x names E78, which is no case" in found
