"""Rules to compare, as people write them: `current`, or what is to differ from the settings.

current
conversation_gap_days=7
first_touch=paid,conversation_gap_days=7
project=../before        (another checkout's models: two versions of the rules)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ctwa.settings import PROJECT_DIR, RULE_SETTINGS, Settings, SettingsError, load_settings

CURRENT = "current"
PROJECT = "project"


class RuleError(ValueError):
    """Rules that cannot be; the text names the rule and what it may be."""


@dataclass(frozen=True)
class RuleSet:
    """One side of a comparison."""

    spec: str
    """As given."""
    settings: Settings
    """The installation's, with the rules of this side."""
    project: Path = PROJECT_DIR
    """Folder of the `dbt_project.yml` whose models build this side."""


def parse_rules(spec: str, settings: Settings, project: Path = PROJECT_DIR) -> RuleSet:
    """Read one side. What it does not name is as in `settings`. Raises `RuleError`."""
    chosen: dict[str, str] = {}
    for part in (p.strip() for p in spec.split(",")):
        if part == CURRENT:
            continue
        name, equals, value = (text.strip() for text in part.partition("="))
        if not equals or not value:
            raise RuleError(
                f"{part or spec!r} is no rule: write `{CURRENT}`, or name=value such as "
                f"conversation_gap_days=7"
            )
        if name not in (*RULE_SETTINGS, PROJECT):
            known = ", ".join((*RULE_SETTINGS, PROJECT))
            raise RuleError(f"there is no rule {name!r}; rules are {known}")
        if name in chosen:
            raise RuleError(f"{name} is given twice in {spec!r}")
        chosen[name] = value
    folder = chosen.pop(PROJECT, None)
    return RuleSet(
        spec=spec.strip(),
        settings=_with_rules(settings, chosen) if chosen else settings,
        project=_project(folder) if folder else project,
    )


def differing_rules(a: RuleSet, b: RuleSet) -> dict[str, tuple[str, str]]:
    """Rule -> its value on either side, of the rules that differ."""
    pairs = {name: (value, b.settings.rules[name]) for name, value in a.settings.rules.items()}
    pairs[PROJECT] = (str(a.project), str(b.project))
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def refuse_mixed_money(differing: dict[str, tuple[str, str]]) -> None:
    """Raises `RuleError` where the sides would speak of two currencies (rule R13)."""
    if "reporting_currency" in differing:
        a, b = differing["reporting_currency"]
        raise RuleError(
            f"reporting_currency is {a} on one side and {b} on the other: amounts of two "
            f"currencies cannot be subtracted, and no lead depends on it; give both sides the same"
        )


_WORDS = {
    "conversation_gap_days": "conversation gap {b} instead of {a} days",
    "lead_scope": "one lead per person and {b} instead of per {a}",
    "lead_cycle_days": "a new lead after {b} instead of {a} days of silence (0: never)",
    "first_touch": "source is the first touch of kind {b} instead of {a}",
    "recycled_number_days": "a number changes hands after {b} instead of {a} days",
    "reporting_currency": "reporting currency {b} instead of {a}",
    "exchange_rates": "exchange rates of {b} instead of {a}",
    "reporting_timezone": "days of {b} instead of {a}",
    PROJECT: "the rules of {b} instead of those of {a}",
}


def in_words(differing: dict[str, tuple[str, str]]) -> str:
    """What b does otherwise than a, for people; empty where nothing differs."""
    texts = [_WORDS.get(n, f"{n} {{b}} instead of {{a}}") for n in differing]
    pairs = differing.values()
    joined = "; ".join(t.format(a=a, b=b) for t, (a, b) in zip(texts, pairs, strict=True))
    return joined[:1].upper() + joined[1:]


def _with_rules(settings: Settings, chosen: dict[str, str]) -> Settings:
    """The settings with other rules, checked as settings are."""
    given = {name: getattr(settings, name) for name in type(settings).model_fields}
    try:
        return load_settings(_env_file=None, **(given | chosen))
    except SettingsError as error:
        text = str(error).replace(" (see .env.example)", "")
        for name in chosen:
            text = text.replace(f"CTWA_{name.upper()}:", f"{name}={chosen[name]}:")
        raise RuleError(text) from None


def _project(folder: str) -> Path:
    path = Path(folder).expanduser().resolve()
    if not (path / "dbt_project.yml").exists():
        raise RuleError(
            f"{PROJECT}={folder}: there is no dbt_project.yml; name the root of a checkout"
        )
    return path
