"""What can be told of `site/ctwa.js` by reading it; `tests/browser` runs it."""

from __future__ import annotations

import re
from pathlib import Path

from ctwa.link_code import ALPHABET
from ingestion.pages import KNOWN

SNIPPET = Path(__file__).resolve().parent.parent / "site" / "ctwa.js"


def test_it_sends_the_parameters_that_are_read_and_no_other() -> None:
    found = re.search(r"const NAMES = \((.*?)\)\.split", SNIPPET.read_text(), re.S)
    assert found is not None
    names = "".join(re.findall(r'"([^"]*)"', found.group(1))).split()
    assert sorted(names) == sorted(KNOWN)


def test_it_makes_codes_of_the_same_letters() -> None:
    assert f'ALPHABET = "{ALPHABET}"' in SNIPPET.read_text()


def test_it_is_small_and_runs_in_browsers_of_2017() -> None:
    text = SNIPPET.read_text()
    assert len(text.encode()) < 6 * 1024
    code = re.sub(r"/\*.*?\*/|(?<!:)//[^\n]*", "", text, flags=re.S)
    assert "window.ctwa =" in code
    newer = (
        r"\?\.[a-zA-Z\[(]|\?\?|catch \{|\.\.\.|replaceAll|\|\|=|&&=|\.at\(|\bimport\b|\bexport\b"
    )
    assert not re.search(newer, code)
