"""The rules by which a chat qualifies: the installation's file, checked and made ready.

    - id: quote_sent
      stage: qualified
      when: {we_wrote: [orçamento, proposta]}

docs/chat-rules.md has every condition. A rule that is wrong is named with its reason and left out;
the others apply. Nothing here reads messages: `ingestion.parser.chat_signals` does.

Each rule has a version, a hash of what it says, so that an outcome stays with the version that made
it. Rules with the same id replace each other by `valid_from`: at any moment one of them applies.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import orjson
import yaml

from ctwa.project import seed_file
from ctwa.pseudonym import phone_match_key
from ctwa.settings import PROJECT_DIR, Settings
from ingestion.parser.chat_conditions import (
    MAX_ALTERNATIVES,
    WITH_AMOUNT,
    Entry,
    Part,
    RuleProblem,
    alternatives_of,
    listed,
    part_of,
)
from ingestion.vault.vault import microseconds

SOURCE = "chat"
"""Source of the outcomes that rules make."""

MAX_FILE_BYTES = 256 * 1024
MAX_RULES = 200
_ID_CHARS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")
_KEYS = frozenset({"id", "stage", "when", "valid_from", "once_per", "numbers", "brands", "value"})


@dataclass(frozen=True, slots=True)
class ChatRule:
    """A rule as it is applied. `alternatives`: sets of positions in `parts`; the rule is met when
    all parts of one of them are, in one conversation."""

    id: str
    version: str
    stage: str
    once_per: str
    reads_value: bool
    numbers: frozenset[str] | None
    from_us: int
    until_us: int | None
    parts: tuple[Part, ...]
    alternatives: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class ChatRules:
    """The rules that apply, and what is wrong with the others, a line each."""

    entries: tuple[Entry, ...] = ()
    problems: tuple[str, ...] = ()

    @cached_property
    def rules(self) -> tuple[ChatRule, ...]:
        """The rules, compiled."""
        return tuple(_rule(entry) for entry in self.entries)

    @property
    def ids(self) -> list[str]:
        """Each rule once, in the file's order."""
        return list(dict.fromkeys(entry["id"] for entry in self.entries))

    def __bool__(self) -> bool:
        return bool(self.entries)


NO_RULES = ChatRules()


def chat_rules_of(settings: Settings) -> ChatRules:
    """The rules of the installation; none if CTWA_CHAT_RULES is not set."""
    return NO_RULES if settings.chat_rules is None else chat_rules_at(settings.chat_rules, settings)


def chat_rules_at(path: Path, settings: Settings) -> ChatRules:
    """The rules of another file, read with the installation's time zone and seeds."""
    return read_chat_rules(path, settings.reporting_timezone, partial(seed_file, settings))


def _of_package(name: str) -> Path:
    return PROJECT_DIR / "dbt_project" / "seeds" / f"{name}.csv"


def read_chat_rules(path: Path, zone: str, seed: Callable[[str], Path] = _of_package) -> ChatRules:
    """Read a file of rules; dates in it begin in `zone`. Never raises: see `ChatRules.problems`.

    `seed`: where the CSV of `lead_stages` or `business_numbers` is.
    """
    try:
        items = _items(path)
    except RuleProblem as error:
        return ChatRules(problems=(f"{path}: {error}",))
    known_here = _Seeds(seed("lead_stages"), seed("business_numbers"))
    entries: list[Entry] = []
    problems: list[str] = []
    for place, item in enumerate(items, 1):
        name = item.get("id") if isinstance(item, dict) else None
        known = f" ({name})" if isinstance(name, str) and name.isprintable() else ""
        try:
            entry = _entry(item, zone, known_here)
            if any((e["id"], e["from_us"]) == (entry["id"], entry["from_us"]) for e in entries):
                raise RuleProblem(
                    "another rule has this id and this valid_from: give it another id, or the date "
                    "from which it replaces the other"
                )
            entries.append(entry)
        except RuleProblem as error:
            problems.append(f"{path}: rule {place}{known}: {error}")
    return ChatRules(tuple(_with_ends(entries)), tuple(problems))


# ---- the file -----------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice: YAML would drop the first value without a word. Dates stay
    text: one that is none is its rule's fault, and not the file's."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {
        first: [(tag, regexp) for tag, regexp in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = next((k for k in keys if keys.count(k) > 1), None)
        if twice is not None:
            raise RuleProblem(f"line {node.start_mark.line + 1}: {twice} is given twice")
        return super().construct_mapping(node, deep)


def _items(path: Path) -> list[Any]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise RuleProblem(f"expected a file of at most {MAX_FILE_BYTES // 1024} kB")
        value = yaml.load(path.read_text("utf-8-sig"), _Loader)  # noqa: S506 - a safe loader
    except OSError as error:
        raise RuleProblem(
            f"cannot be read ({error.strerror}): CTWA_CHAT_RULES names the file of the chat rules"
        ) from None
    except UnicodeDecodeError:
        raise RuleProblem("is not UTF-8 text: save it as UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        raise RuleProblem(f"{line}is not YAML: {getattr(error, 'problem', 'unreadable')}") from None
    except RecursionError:
        raise RuleProblem("is nested too deeply") from None
    except RuleProblem:
        raise
    except Exception as error:  # noqa: BLE001 - such as `!!int x`: PyYAML lets it through
        raise RuleProblem(f"has a value that cannot be read: {error}") from None
    if isinstance(value, dict) and value.keys() == {"rules"}:
        value = value["rules"]
    if value is None:
        return []
    if not isinstance(value, list):
        raise RuleProblem("expected a list of rules, each beginning with `- id:`")
    if len(value) > MAX_RULES:
        raise RuleProblem(f"expected at most {MAX_RULES} rules")
    return value


def _entry(item: Any, zone: str, seeds: _Seeds) -> Entry:
    if not isinstance(item, dict):
        raise RuleProblem("expected a rule with id, stage and when")
    unknown = [str(key) for key in item if key not in _KEYS]
    if unknown:
        raise RuleProblem(f"{unknown[0]}: expected one of {', '.join(sorted(_KEYS))}")
    name = item.get("id")
    if not isinstance(name, str) or not 0 < len(name) <= 40 or not _ID_CHARS.issuperset(name):
        raise RuleProblem("id: expected up to 40 of a-z, 0-9, _ and -, such as quote_sent")
    stage = item.get("stage")
    if not isinstance(stage, str) or stage.strip().lower() not in seeds.stages:
        raise RuleProblem(
            f"stage: {stage!r} is not mapped for source {SOURCE} in {seeds.stages_file}; "
            f"known: {', '.join(sorted(seeds.stages))}"
        )
    once_per = item.get("once_per", "lead")
    if once_per not in ("lead", "conversation"):
        raise RuleProblem("once_per: expected lead or conversation")
    reads_value = item.get("value", False)
    if not isinstance(reads_value, bool):
        raise RuleProblem("value: expected true (the amount in the message counts) or false")
    parts: list[Entry] = []
    alternatives = alternatives_of(item.get("when"), "when", parts)
    if len(alternatives) > MAX_ALTERNATIVES:
        raise RuleProblem(
            f"when: can be met in {len(alternatives)} ways; expected at most {MAX_ALTERNATIVES}: "
            "split the rule"
        )
    if reads_value and not any(p["kind"] in WITH_AMOUNT for p in parts):
        raise RuleProblem("value: only order, payment and price_over have an amount to read")
    entry: Entry = {
        "id": name,
        "stage": stage.strip().lower(),
        "once_per": once_per,
        "value": reads_value,
        "numbers": _numbers(item, seeds),
        "from_us": _from_us(item.get("valid_from"), zone),
        "parts": parts,
        "alternatives": alternatives,
    }
    said = orjson.dumps(entry, option=orjson.OPT_SORT_KEYS)
    return entry | {"version": hashlib.sha256(said).hexdigest()[:12], "until_us": None}


def _with_ends(entries: Sequence[Entry]) -> Iterable[Entry]:
    """Each entry ends where the next with its id begins."""
    for entry in entries:
        later = [
            e["from_us"]
            for e in entries
            if e["id"] == entry["id"] and e["from_us"] > entry["from_us"]
        ]
        yield entry | {"until_us": min(later, default=None)}


def _from_us(value: Any, zone: str) -> int:
    if value is None:
        return 0
    try:
        day = date.fromisoformat(value)
    except (TypeError, ValueError):
        day = date.min
    if not 2000 <= day.year < 2100:
        raise RuleProblem("valid_from: expected a date such as 2026-05-04")
    return microseconds(datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)))


def _numbers(item: Entry, seeds: _Seeds) -> list[str] | None:
    """Match keys of the business numbers of a rule; None: of all."""
    found: set[str] = set()
    for number in listed(item["numbers"], "numbers") if "numbers" in item else ():
        digits = number_key(str(number))
        if type(number) not in (str, int) or not 5 <= len(digits) <= 20:
            raise RuleProblem(
                f"numbers: {number!r}: expected the business's number in full, such as "
                '"+55 11 3000-0001"'
            )
        found.add(digits)
    for brand in listed(item["brands"], "brands") if "brands" in item else ():
        if not isinstance(brand, str) or brand not in seeds.brands:
            raise RuleProblem(
                f"brands: {brand!r} has no number in {seeds.brands_file}; "
                f"known: {', '.join(sorted(seeds.brands)) or 'none'}"
            )
        found |= seeds.brands[brand]
    return sorted(found) if "numbers" in item or "brands" in item else None


# ---- ready to be applied ------------------------------------------------------------------------


def _rule(entry: Entry) -> ChatRule:
    numbers = entry["numbers"]
    return ChatRule(
        entry["id"],
        entry["version"],
        entry["stage"],
        entry["once_per"],
        entry["value"],
        None if numbers is None else frozenset(numbers),
        entry["from_us"],
        entry["until_us"],
        tuple(part_of(part) for part in entry["parts"]),
        tuple(tuple(way) for way in entry["alternatives"]),
    )


def number_key(number: str) -> str:
    """One key for all spellings of a business's own number."""
    digits = "".join(c for c in number if c in "0123456789")
    return phone_match_key(digits) or digits


# ---- what the project knows ---------------------------------------------------------------------


@dataclass(frozen=True)
class _Seeds:
    """What the company's own files know, or those of the package."""

    stages_file: Path
    brands_file: Path

    @cached_property
    def stages(self) -> frozenset[str]:
        """Stages that have a meaning for outcomes of source `chat`."""
        rows = _seed(self.stages_file)
        return frozenset(
            row["stage"].strip().lower() for row in rows if row["source"] in ("*", SOURCE)
        )

    @cached_property
    def brands(self) -> Mapping[str, frozenset[str]]:
        """Brand -> match keys of its numbers, current and former."""
        brands: dict[str, set[str]] = {}
        for row in _seed(self.brands_file):
            for column in ("business_number_id", "current_number_id"):
                if row["brand"] and row[column]:
                    brands.setdefault(row["brand"], set()).add(number_key(row[column]))
        return {brand: frozenset(numbers) for brand, numbers in brands.items()}


def _seed(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))
