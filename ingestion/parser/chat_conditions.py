"""The conditions of a chat rule: read from the file, refused with a reason, made ready.

A condition says what one message shows; `any` and `all` combine them. Any combination is brought
into one form: the ways in which it is met, each a set of conditions that must all be.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import product
from typing import Any

from ctwa.setting_types import CURRENCIES
from ingestion.parser.chat_texts import PatternProblem, compiled, word_pattern

MAX_PARTS, MAX_ALTERNATIVES = 32, 64
_UNITS = {"m": 60, "h": 3_600, "d": 86_400}
_NAMES = ("template", "answered")
_TEXTS = ("we_wrote", "they_wrote")
_FACTS = ("order", "payment")
KINDS = (*_NAMES, *_FACTS, "call_seconds", "replies", *_TEXTS, "price_over")
WITH_AMOUNT = (*_FACTS, "price_over")
"""Conditions that have an amount of money."""
_ELSEWHERE = {
    "label": "no webhook carries labels of the WhatsApp Business app: let the inbox that sets them "
    "post them to /webhooks/outcomes, with the label as the stage",
}

Entry = dict[str, Any]
"""A rule, or a condition, in the one form that is hashed, sent to the second process and compiled:
JSON values."""


class RuleProblem(ValueError):  # noqa: N818 - a verdict on the file
    """What is wrong with one rule, and how to fix it."""


@dataclass(frozen=True, slots=True)
class Part:
    """One condition. `needed`: how many messages it takes, `within_s` of the conversation's
    beginning; both for replies only."""

    kind: str
    names: tuple[str, ...] = ()
    patterns: tuple[Any, ...] = ()
    is_folded: bool = False
    least: Decimal | None = None
    currency: str | None = None
    needed: int = 1
    within_s: int | None = None


def alternatives_of(when: Any, at: str, parts: list[Entry], depth: int = 0) -> list[list[int]]:
    """The ways in which a condition is met, as sets of positions in `parts`, which grows."""
    if not isinstance(when, dict) or not when:
        raise RuleProblem(
            f"{at}: expected a condition: {', '.join(KINDS)}, or any: or all: of some"
        )
    inner = [key for key in ("any", "all") if key in when]
    if not inner:
        place = _place(_part(when, at), parts)
        return [[place]]
    key = inner[0]
    if len(when) > 1:
        raise RuleProblem(f"{at}: {key} stands alone: put the other conditions into its list")
    if depth == 3:
        raise RuleProblem(f"{at}: expected any and all at most three levels deep")
    items = when[key]
    if not isinstance(items, list) or not items:
        raise RuleProblem(f"{at}.{key}: is empty, so the rule could never be met: list conditions")
    if len(items) > MAX_ALTERNATIVES:
        raise RuleProblem(
            f"{at}.{key}: lists {len(items)} conditions; expected at most "
            f"{MAX_ALTERNATIVES}: split the rule"
        )
    ways = [
        alternatives_of(item, f"{at}.{key}[{n}]", parts, depth + 1)
        for n, item in enumerate(items, 1)
    ]
    if key == "any":
        joined = [way for of_one in ways for way in of_one]
    else:
        count = 1
        for of_one in ways:
            count *= len(of_one)
        if count > MAX_ALTERNATIVES:
            raise RuleProblem(f"{at}.all: can be met in {count} ways: split the rule")
        joined = [[place for way in chosen for place in way] for chosen in product(*ways)]
    return [list(way) for way in sorted({tuple(sorted(set(way))) for way in joined})]


def _place(part: Entry, parts: list[Entry]) -> int:
    if part not in parts:
        if len(parts) == MAX_PARTS:
            raise RuleProblem(f"when: has more than {MAX_PARTS} conditions: split the rule")
        parts.append(part)
    return parts.index(part)


def _part(when: Entry, at: str) -> Entry:
    kind, *more = (str(key) for key in when)
    if kind in _ELSEWHERE:
        raise RuleProblem(f"{at}.{kind}: {_ELSEWHERE[kind]}")
    if kind not in KINDS:
        raise RuleProblem(f"{at}: {kind} is not a condition; known: {', '.join(KINDS)}, any, all")
    extra = [name for name in more if (kind, name) != ("replies", "within")]
    if extra:
        raise RuleProblem(
            f"{at}: {kind} and {extra[0]} in one condition: put both into a list under all: or any:"
        )
    value, at = when[kind], f"{at}.{kind}"
    if kind in _NAMES:
        names = listed(value, at)
        if any(not isinstance(n, str) or len(n) > 256 for n in names):
            raise RuleProblem(f"{at}: expected a name or id as text, in quotes if it is a number")
        return {"kind": kind, "names": sorted(set(names))}
    if kind in _FACTS:
        if value is not True:
            raise RuleProblem(f"{at}: expected true")
        return {"kind": kind}
    if kind in _TEXTS:
        return {"kind": kind, **_texts(value, at)}
    if kind == "price_over":
        return {"kind": kind, **_price(value, at)}
    most = 86_400 if kind == "call_seconds" else 1_000
    if type(value) is not int or not 1 <= value <= most:
        raise RuleProblem(f"{at}: expected a whole number from 1 to {most}")
    if kind == "call_seconds":
        return {"kind": kind, "least": str(value)}
    within = _seconds(when["within"], at) if "within" in when else None
    return {"kind": kind, "needed": value, "within_s": within}


def _seconds(value: Any, at: str) -> int:
    number, unit = (value[:-1], value[-1]) if isinstance(value, str) and value else ("", "")
    if unit not in _UNITS or not (number.isascii() and number.isdigit()) or not int(number):
        raise RuleProblem(f"{at}: within: expected a time such as 30m, 24h or 3d")
    return min(int(number), 10_000) * _UNITS[unit]


def _texts(value: Any, at: str) -> Entry:
    """Words, which count whole and in any case or accents; or one pattern in RE2's syntax."""
    if isinstance(value, dict):
        pattern = value.get("pattern")
        if value.keys() != {"pattern"} or not isinstance(pattern, str):
            raise RuleProblem(f"{at}: expected words, or pattern: and one pattern as text")
        try:
            compiled(pattern)
        except PatternProblem as error:
            raise RuleProblem(f"{at}.pattern: {error}") from None
        return {"pattern": pattern}
    words = listed(value, at)
    for word in words:
        if not isinstance(word, str) or len(word) > 200:
            raise RuleProblem(f"{at}: expected words as text, in quotes if they are numbers")
        try:
            compiled(word_pattern(word))
        except PatternProblem as error:
            raise RuleProblem(f"{at}: {error}") from None
    return {"words": sorted(set(words))}


def _price(value: Any, at: str) -> Entry:
    if not isinstance(value, dict) or value.keys() != {"amount", "currency"}:
        raise RuleProblem(
            f"{at}: expected amount and currency, such as {{amount: 500, currency: BRL}}"
        )
    try:
        amount = Decimal(str(value["amount"]))
    except InvalidOperation:
        amount = Decimal(-1)
    if isinstance(value["amount"], bool) or not amount.is_finite() or not 0 <= amount < 10**12:
        raise RuleProblem(f"{at}.amount: expected a number from 0")
    if not isinstance(value["currency"], str) or value["currency"] not in CURRENCIES:
        raise RuleProblem(f"{at}.currency: expected an ISO 4217 code such as BRL")
    return {"kind": "price_over", "least": str(amount), "currency": value["currency"]}


def part_of(part: Entry) -> Part:
    words = part.get("words", ())
    patterns = [compiled(word_pattern(word)) for word in words]
    if "pattern" in part:
        patterns.append(compiled(part["pattern"]))
    return Part(
        part["kind"],
        tuple(part.get("names", ())),
        tuple(patterns),
        bool(words),
        Decimal(part["least"]) if "least" in part else None,
        part.get("currency"),
        part.get("needed", 1),
        part.get("within_s"),
    )


def listed(value: Any, name: str) -> list[Any]:
    items = value if isinstance(value, list) else [value]
    if not items or any(v is None or v == "" for v in items):
        raise RuleProblem(
            f"{name}: is empty, so the rule could never be met: name one, or leave it"
        )
    return items
