"""Faults in words for people, without any value of a payload."""

from __future__ import annotations

import re
import traceback

from ctwa.errors import CtwaError

# DuckDB's messages, and how they read here; neither holds a value of a row.
_PLAIN = (
    (r"NOT NULL constraint failed: .*?\.\"?(\w+)\"?$", r"\1 is null"),
    (
        r"CHECK constraint failed on table .*? CHECK\(\(\"?(\w+)\"? IN \((.*)\)\)\)$",
        r"\1 has a value outside its list (\2)",
    ),
    (r"^Invalid Input Error: (.*)$", r"\1"),  # raised by `sound_rows`
    (r"\[USER_RAISED_EXCEPTION\] (.*?)(?: SQLSTATE: \w+)?$", r"\1"),  # the same on Spark
)


def is_known(error: BaseException) -> bool:
    """Whether the text of an error is written for people."""
    return isinstance(error, CtwaError)


def describe(error: BaseException) -> str:
    """What happened, in a line or two, without any value of a payload.

    An error that is not ours may quote the value that it failed on, so only its type is named.
    """
    if is_known(error):
        return str(error)[:2000]
    return f"unexpected {type(error).__name__}; the log of the step says where"


def where(error: BaseException) -> str:
    """The stack of an unexpected error, without its text; '' if our own text is enough."""
    return "" if is_known(error) else "".join(traceback.format_tb(error.__traceback__))


def plain_message(message: str) -> str:
    """The column and its fault where a guard failed; else dbt's words."""
    for line in message.splitlines():
        for pattern, words in _PLAIN:
            if found := re.search(pattern, line.strip()):
                return found.expand(words)
    return message.strip()
