"""Codes of coded links: `CW-7KQ2M-9XF3A` in a chat's first message ties it to a click on the site.

The page makes the code (`site/ctwa.js` holds the same arithmetic): eight random characters, then
two that check them together with the site's id. A code that was edited, or made by another
company's page, is therefore recognised at once, without a look-up while somebody waits. The check
is not secret and need not be: what a code stands for comes from the click, and without the click it
stands for nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no two characters that look alike."""

_TOKEN = re.compile(
    r"(?<![0-9A-Za-z-])CW-([0-9A-Za-z]+)-([0-9A-Za-z]+)(?![0-9A-Za-z-])", re.I | re.A
)
_WHOLE = re.compile(rf"[{ALPHABET}]{{10}}")
_MAX_TEXT = 4_096


@dataclass(frozen=True, slots=True)
class Found:
    """The code found in a text; `code` is set only where `state` is `fit`."""

    state: Literal["fit", "unfit", "several"]
    code: str | None = None


def check_characters(body: str, site_id: str) -> str:
    """The two characters that follow the eight of `body`: 10 bits of FNV-1a over site and body."""
    value = 0x811C9DC5
    for byte in f"{site_id}:{body}".encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    value ^= value >> 16
    return ALPHABET[(value >> 5) & 31] + ALPHABET[value & 31]


def code_of(body: str, site_id: str) -> str:
    """The whole code for eight characters: ten, without prefix and hyphens."""
    return body + check_characters(body, site_id)


def is_whole(code: str) -> bool:
    """Whether it has the shape of a code, of any site."""
    return bool(_WHOLE.fullmatch(code))


def is_fit(code: str, site_id: str) -> bool:
    """Whether ten upper-case characters are a code of this site."""
    return is_whole(code) and code[8:] == check_characters(code[:8], site_id)


def shown(code: str) -> str:
    """A code as people see it in the message.

    >>> shown("7KQ2M9XF3A")
    'CW-7KQ2M-9XF3A'
    """
    return f"CW-{code[:5]}-{code[5:]}"


def find(text: str, site_id: str) -> Found | None:
    """The code in a message's text, or None if there is nothing like one.

    Upper or lower case, but complete and separated from other words. Two different codes in one
    text cannot both be where somebody came from: neither counts.
    """
    tokens = {(a.upper(), b.upper()) for a, b in _TOKEN.findall(text[:_MAX_TEXT])}
    if not tokens:
        return None
    if len(tokens) > 1:
        return Found("several")
    halves = tokens.pop()
    code = "".join(halves)
    # Without a site id of our own, every code is somebody else's.
    is_ours = bool(site_id) and len(halves[0]) == 5 and is_fit(code, site_id)
    return Found("fit", code) if is_ours else Found("unfit")


__all__ = [
    "ALPHABET",
    "Found",
    "check_characters",
    "code_of",
    "find",
    "is_fit",
    "is_whole",
    "shown",
]
