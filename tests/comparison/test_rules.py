"""How rules to compare are written, and what is said of those that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from comparison.sides import RuleError, differing_rules, in_words, parse_rules, refuse_mixed_money
from ctwa.settings import PROJECT_DIR, RULES, Settings


def test_what_is_not_named_is_as_in_the_settings(settings: Settings) -> None:
    current = parse_rules("current", settings)
    other = parse_rules(" first_touch=paid, conversation_gap_days = 7", settings)
    assert current.settings == settings
    assert (current.project, other.project) == (PROJECT_DIR, PROJECT_DIR)
    assert other.settings.lake_url == settings.lake_url
    assert other.settings.pii_key == settings.pii_key
    assert differing_rules(current, other) == {
        "conversation_gap_days": ("30", "7"),
        "first_touch": ("any", "paid"),
    }
    assert in_words(differing_rules(current, other)) == (
        "Conversation gap 7 instead of 30 days; source is the first touch of kind paid "
        "instead of any"
    )
    assert in_words(differing_rules(current, current)) == ""


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_words(settings: Settings, rule: str) -> None:
    values = {
        "lead_scope": "brand", "first_touch": "paid", "reporting_currency": "USD",
        "reporting_timezone": "UTC", "exchange_rates": "ecb", "chat_qualifies": "without_crm",
    }  # fmt: skip
    given = f"{rule}={values.get(rule, '11')}"
    words = in_words(
        differing_rules(parse_rules("current", settings), parse_rules(given, settings))
    )
    assert values.get(rule, "11") in words
    assert rule not in words


def test_e44_amounts_of_two_currencies_are_not_subtracted(settings: Settings) -> None:
    sides = [parse_rules(s, settings) for s in ("current", "reporting_currency=USD")]
    with pytest.raises(RuleError, match="reporting_currency is BRL on one side and USD"):
        refuse_mixed_money(differing_rules(*sides))
    refuse_mixed_money(differing_rules(sides[1], sides[1]))


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("gap=7", "there is no rule 'gap'; rules are conversation_gap_days, lead_scope,"),
        ("first_touch=last", r"first_touch=last: expects 'any' or 'paid'$"),
        ("conversation_gap_days=0", "conversation_gap_days=0: .* greater than or equal to 1"),
        ("conversation_gap_days=7.5", "conversation_gap_days=7.5: .* integer"),
        ("reporting_timezone=Mars", "reporting_timezone=Mars: is not an IANA time zone"),
        (
            "conversation_gap_days",
            "'conversation_gap_days' is not a rule: write `current`, or name=",
        ),
        ("first_touch=", "'first_touch=' is not a rule"),
        ("", "'' is not a rule"),
        ("first_touch=any,first_touch=paid", "first_touch is given twice"),
        ("project=/nowhere", "project=/nowhere: there is no dbt_project.yml"),
    ],
)
def test_what_cannot_be_is_said(settings: Settings, spec: str, text: str) -> None:
    with pytest.raises(RuleError, match=text):
        parse_rules(spec, settings)


def test_another_checkout_is_a_rule_too(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "dbt_project.yml").touch()
    other = parse_rules(f"current,project={tmp_path}", settings)
    assert other.project == tmp_path
    assert list(differing_rules(parse_rules("current", settings), other)) == ["project"]
