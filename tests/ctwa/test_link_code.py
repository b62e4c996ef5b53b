"""Codes of coded links: strict tokens that an edit, or another site, makes unfit."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctwa.link_code import ALPHABET, Found, check_characters, code_of, find, is_fit, shown

BODIES = st.text(ALPHABET, min_size=8, max_size=8)
SITES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=32)


@given(BODIES, SITES, st.text(max_size=50), st.text(max_size=50))
def test_a_code_is_found_wherever_it_stands_by_itself(
    body: str, site: str, before: str, after: str
) -> None:
    code = code_of(body, site)
    text = f"{before} {shown(code)} {after}"
    found = find(text, site)
    assert found is not None
    assert found == Found("fit", code) or found.state == "several"
    assert find(f"({shown(code).lower()})", site) == Found("fit", code)


@pytest.mark.parametrize(
    ("site", "body", "check"),
    [("aurora", "7KQ2M9XF", "74"), ("aurora", "00000000", "JY"), ("a-2", "ZZZZZZZZ", "6C")],
)
def test_the_check_never_changes(site: str, body: str, check: str) -> None:
    """Codes of pages that people still have open must fit."""
    assert check_characters(body, site) == check


def test_e21_an_edited_code_is_unfit_but_for_one_in_a_thousand() -> None:
    luck = random.Random(21)
    edited = fits = 0
    for _ in range(2_000):
        code = code_of("".join(luck.choices(ALPHABET, k=8)), "aurora")
        for place in range(10):
            other = luck.choice(ALPHABET.replace(code[place], ""))
            changed = code[:place] + other + code[place + 1 :]
            found = find(f"oi {shown(changed)}", "aurora")
            assert found is not None
            edited += 1
            fits += found.state == "fit"
            assert found.code in (None, changed)
    assert fits < edited * 3 / 1_024


def test_e21_a_code_of_another_site_is_unfit_but_for_one_in_a_thousand() -> None:
    luck = random.Random(22)
    codes = [code_of("".join(luck.choices(ALPHABET, k=8)), "rival") for _ in range(20_000)]
    assert sum(is_fit(code, "aurora") for code in codes) < 20_000 * 3 / 1_024


@given(BODIES, SITES)
def test_e21_two_codes_are_none(body: str, site: str) -> None:
    one, other = code_of(body, site), code_of(body[::-1], site)
    expected = Found("fit", one) if one == other else Found("several")
    assert find(f"{shown(one)} {shown(other)}", site) == expected


@pytest.mark.parametrize("glued", ["x{}", "{}x", "-{}", "{}-1", "0{}", "{}9"])
def test_e21_a_code_inside_a_longer_token_is_none(glued: str) -> None:
    code = shown(code_of("7KQ2M9XF", "aurora"))
    assert find(glued.format(code), "aurora") in (None, Found("unfit"))


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    for body in (text, f"CW-{text}", f"cw-{text}-{text}"):
        found = find(body, "aurora")
        assert found is None or found.state in ("unfit", "several", "fit")
