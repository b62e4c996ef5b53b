"""Tables as compact JSON: columns, words said once, zeros left out, amounts as whole numbers.

A column is one of
    [1, 2, 3]                          values as they are
    {"w": [...], "i": [...]}           words, and for each row the index of its word (-1: null)
    {"s": 2, "v": [...]}               amounts times 10^2: sums of whole numbers stay exact
    {"n": 9, "i": [...], "v": [...]}   of 9 rows, those that are not 0; `i` as steps from the last
A null amount stays null: a sum with it is not known (rule R13), and the page shows it so.
`</script>` in a campaign's name must stay data: see `embed`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import orjson

Column = list[Any] | dict[str, Any]

MAX_SCALE = 6
"""Decimals of an amount in the marts: decimal(18,6)."""
_SPARSE_BELOW = 0.4
"""Share of rows that are not 0, from which on steps and values are no shorter than all values."""


def words(values: Sequence[str | None]) -> Column:
    """Text that repeats; the order of the words is that of their first use."""
    index: dict[str, int] = {}
    rows = [-1 if v is None else index.setdefault(v, len(index)) for v in values]
    return {"w": list(index), "i": rows}


def counts(values: Sequence[int]) -> Column:
    """Whole numbers, the zeros left out where there are many."""
    return _sparse(list(values))


def amounts(values: Sequence[Decimal | None]) -> Column:
    """Exact amounts at the smallest scale that holds all of them."""
    scale = max((_decimals(v) for v in values if v is not None), default=0)
    whole = [None if v is None else int(v.scaleb(scale)) for v in values]
    column = _sparse(whole)
    return {"s": scale, "v": column} if isinstance(column, list) else {"s": scale, **column}


def steps(values: Iterable[int]) -> list[int]:
    """Differences from one value to the next: small numbers where the values rise."""
    last, made = 0, []
    for value in values:
        made.append(value - last)
        last = value
    return made


def embed(payload: Any) -> bytes:
    """JSON that nothing in it can end: for a <script type="application/json"> of an HTML page."""
    text = orjson.dumps(payload)
    for character in ("<", ">", "&", "\u2028", "\u2029"):
        text = text.replace(character.encode(), b"\\u%04x" % ord(character))
    return text


def _sparse(values: list[int | None]) -> Column:
    kept = [i for i, v in enumerate(values) if v != 0]
    if len(kept) >= _SPARSE_BELOW * len(values):
        return list(values)
    return {"n": len(values), "i": steps(kept), "v": [values[i] for i in kept]}


def _decimals(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
