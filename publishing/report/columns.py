"""Columns of the embedded tables: compact JSON, exact numbers.

A column is one of
    [1, 2, 3]                          values as they are
    {"w": [...], "i": [...]}           distinct words, and per row the index of its word (-1: null)
    {"s": 2, "v": [...]}               amounts times 10^2: sums of integers are exact
    {"n": 9, "i": [...], "v": [...]}   the rows, out of 9, that are not 0; `i` as steps
A null stays null: a sum that includes it is unknown (rule R13), and is shown as such.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

Column = list[Any] | dict[str, Any]

_SPARSE_BELOW = 0.4
"""Share of non-zero rows above which steps and values are no shorter than all values."""


def words(values: Sequence[str | None]) -> Column:
    """Texts that repeat; words are in the order of their first use."""
    index: dict[str, int] = {}
    rows = [-1 if v is None else index.setdefault(v, len(index)) for v in values]
    return {"w": list(index), "i": rows}


def counts(values: Sequence[int | None]) -> Column:
    """Integers, without zeros if there are many; null if not read (rule R13)."""
    return _sparse(list(values))


def amounts(values: Sequence[Decimal | None]) -> Column:
    """Exact amounts at the smallest scale that fits all of them."""
    scale = max((_decimals(v) for v in values if v is not None), default=0)
    whole = [None if v is None else int(v.scaleb(scale)) for v in values]
    return _scaled(scale, whole)


def millionths(values: Sequence[int | None]) -> Column:
    """Exact amounts given in millionths, at the smallest scale that fits all of them."""
    scale = 6
    whole = list(values)
    while scale and all(v is None or v % 10 == 0 for v in whole):
        whole = [None if v is None else v // 10 for v in whole]
        scale -= 1
    return _scaled(scale, whole)


def steps(values: Iterable[int]) -> list[int]:
    """Differences from one value to the next: small numbers if the values rise."""
    last, made = 0, []
    for value in values:
        made.append(value - last)
        last = value
    return made


def shown(values: Sequence[Decimal | float | None]) -> list[float | None]:
    """For display, not for sums: six digits are more than a few dozen leads can support."""
    return [None if v is None else round(float(v), 6) for v in values]


def table(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    """Rows of texts as columns of words."""
    return {name: words([row[i] for row in rows]) for i, name in enumerate(names)}


def packed(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Rows of texts and plain values as columns, which are shorter than rows with their names."""
    made: dict[str, Any] = {}
    for at, name in enumerate(names):
        values = [row[at] for row in rows]
        made[name] = words(values) if any(isinstance(v, str) for v in values) else values
    return made


def _scaled(scale: int, whole: list[int | None]) -> Column:
    column = _sparse(whole)
    return {"s": scale, "v": column} if isinstance(column, list) else {"s": scale, **column}


def _sparse(values: list[int | None]) -> Column:
    kept = [i for i, v in enumerate(values) if v != 0]
    if len(kept) >= _SPARSE_BELOW * len(values):
        return values
    return {"n": len(values), "i": steps(kept), "v": [values[i] for i in kept]}


def _decimals(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
