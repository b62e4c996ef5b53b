"""What a message says, for chat rules only: its texts, words in any spelling, amounts of money.

Everything here is bounded: texts are cut at `MAX_TEXT`, and patterns run in RE2, whose time grows
with the text's length only, whatever the pattern (no look-around, no back references). Nothing that
is read here is returned to the event log but an amount.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from typing import Any

import re2

from ingestion.parser.values import read_only

MAX_TEXT = 65_536
"""Characters of one message that are read; WhatsApp's own limit is 4,096."""
MAX_PATTERN = 500
_PATTERN_BYTES = 1 << 20
_MAX_AMOUNTS = 100
_UNSEEN = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
"""What nobody sees: soft hyphens, marks of direction, joiners."""


class PatternProblem(ValueError):  # noqa: N818 - a verdict on the file
    """A pattern that is not accepted, and why."""


def _options() -> Any:
    options = re2.Options()
    options.log_errors, options.case_sensitive = False, False
    options.max_mem, options.dot_nl = _PATTERN_BYTES, True
    return options


@lru_cache(2_048)
def compiled(pattern: str) -> Any:
    """The pattern in RE2's syntax, in any case of letters. Raises `PatternProblem`."""
    if len(pattern) > MAX_PATTERN:
        raise PatternProblem(f"expected a pattern of at most {MAX_PATTERN} characters")
    try:
        ready = re2.compile(pattern, _options())
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        reason = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise PatternProblem(
            f"is not accepted by RE2, which runs in bounded time and has no look-around and no "
            f"back references: {reason or 'too large'}"
        ) from None
    if ready.search(b"") is not None:
        raise PatternProblem("matches an empty text, so it would match every message")
    return ready


def word_pattern(word: str) -> str:
    """The pattern of whole words, to be searched in `folded` text. Raises `PatternProblem`."""
    parts = [re2.escape(part) for part in folded(word).split()]
    if not parts:
        raise PatternProblem("expected a word, not only spaces")
    return r"(?:^|[^\pL\pN])" + r"\s+".join(parts) + r"(?:$|[^\pL\pN])"


def folded(text: str) -> str:
    """In small letters and without accents: people write `orcamento` for `orçamento`."""
    apart = unicodedata.normalize("NFKD", _UNSEEN.sub("", text).casefold())
    return "".join(c for c in apart if not unicodedata.combining(c))


def texts_of(message: dict[str, Any], kind: str | None) -> str:
    """Everything that a message says, a line each; empty if it says nothing."""
    return "\n".join(t for t in _texts(message, kind) if type(t) is str)[:MAX_TEXT]


def _texts(message: dict[str, Any], kind: str | None) -> Iterator[Any]:
    body = message.get("text")
    if type(body) is dict:
        yield read_only(body.get("body"))
    for media in ("image", "video", "document"):
        yield read_only(_inner(message, media).get("caption"))
    button = _inner(message, "button")
    yield read_only(button.get("text"))
    interactive = _inner(message, "interactive")
    for reply in ("button_reply", "list_reply"):
        yield read_only(_inner(interactive, reply).get("title"))
    yield read_only(_inner(interactive, "body").get("text"))
    if kind == "template":
        for component in _items(_inner(message, "template"), "components"):
            for parameter in _items(component, "parameters"):
                yield read_only(parameter.get("text"))


def _inner(holder: dict[str, Any], key: str) -> dict[str, Any]:
    value = holder.get(key)
    return value if type(value) is dict else {}


def _items(holder: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = holder.get(key)
    return [v for v in value[:100] if type(v) is dict] if type(value) is list else []


# ---- amounts ------------------------------------------------------------------------------------

_SIGNS = {
    "BRL": (r"R\$", "reais", "real"),
    "USD": (r"US\$", r"\$", "dollars?", "d[óo]lare?s?"),
    "EUR": ("€", "euros?"),
    "GBP": ("£", "pounds?"),
    "MXN": (r"MX\$", r"\$", "pesos?"),
    "ARS": (r"AR\$", r"\$", "pesos?"),
    "CLP": (r"CLP\$", r"\$", "pesos?"),
    "COP": (r"COP\$", r"\$", "pesos?"),
    "PEN": (r"S/\.?", "soles?"),
}
"""How people write a currency beside its code. A bare `$` is taken to be the rule's currency."""
_FACTORS = {"mil": 1_000, "k": 1_000}
_MILLION = r"milh[ãa]o|milh[õo]es|mill[oó]n(?:es)?|millions?"
_NUMBER = (
    r"([0-9](?:[0-9.,]{0,20}[0-9])?)"
    rf"(?:\s?(mil|k|{_MILLION})(?:$|[^\pL](?:de\s)?))?"
)
_GAP = re.compile("(?<=[0-9])[\u00a0\u2009\u202f](?=[0-9]{3}(?![0-9]))")
"""Between thousands, as computers write them; a common space may stand between two numbers."""
_ARABIC = str.maketrans("\u066b\u066c", ".,")


@lru_cache(64)
def _amounts(currency: str) -> Any:
    signs = "|".join((*_SIGNS.get(currency, ()), currency))
    before = rf"(?:^|[^\pL$])(?:{signs})\s{{0,3}}{_NUMBER}"
    after = rf"(?:^|[^0-9.,$\pL]){_NUMBER}\s{{0,3}}(?:{signs})(?:$|[^\pL])"
    return re2.compile(f"{before}|{after}", _options())


def amounts_of(text: str, currency: str) -> list[Decimal]:
    """The amounts in a text that are in this currency, in their order; at most a hundred."""
    found: list[Decimal] = []
    for match in _amounts(currency).finditer(_latin(text).encode("utf-8", "replace")):
        first, first_word, second, second_word = match.groups()
        amount, word = _amount((first or second).decode()), first_word or second_word
        if amount is not None:
            factor = 1 if word is None else _FACTORS.get(word.decode().lower(), 1_000_000)
            found.append(amount * factor)
        if len(found) == _MAX_AMOUNTS:
            break
    return found


def _latin(text: str) -> str:
    """With digits from 0 to 9 and common spaces, whatever the script; without what nobody sees."""
    seen = _GAP.sub("", _UNSEEN.sub("", text))
    if seen.isascii():
        return seen
    return "".join(_common(c) for c in seen).translate(_ARABIC)


def _common(c: str) -> str:
    if c.isdecimal():
        return str(unicodedata.digit(c))
    return " " if c.isspace() else c


def _amount(written: str) -> Decimal | None:
    """`1.200,50`, `1,200.50`, `1.200` and `1200` as people mean them in a price.

    The last separator is a decimal sign if one or two digits follow it, else it groups thousands.
    """
    whole, digits = written, ""
    last = max(written.rfind("."), written.rfind(","))
    if last >= 0 and len(written) - last - 1 <= 2:
        whole, digits = written[:last], written[last + 1 :]
    whole = whole.replace(".", "").replace(",", "")
    return Decimal(f"{whole}.{digits or 0}") if 0 < len(whole) <= 13 else None
