"""Scripted faults of the Marketing API: which call fails, how, and how often.

>>> faults = FaultScript([Fault("GET /act_1/ads", nth=2, code=190, subcode=463)])
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

# error: Meta's JSON error. html: an HTML page, as a proxy answers. truncated: half of the right
# body, as if whole. cut: the connection ends inside the body. empty: no body. repeat: the page
# before, once more. endless: the right page, with itself as its `next`. body: `body` as JSON, for
# answers that are well-formed but not as documented. raw: `body` as these bytes. drop, hang,
# no_messages: of requests with events only (`simulator.conversions_api`).
Kind = Literal[
    "error", "html", "truncated", "cut", "empty", "repeat", "endless", "body",
    "raw", "drop", "hang", "no_messages",
]  # fmt: skip


@dataclass
class Fault:
    """One scripted fault.

    `match` is searched in `METHOD /path?query` (decoded, without version, token and host). The
    fault strikes from the `nth` matching call on, `times` times.
    """

    match: str
    nth: int = 1
    times: int = 1
    kind: Kind = "error"
    status: int = 400
    code: int = 2
    subcode: int | None = None
    transient: bool = False
    message: str = "scripted fault"
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    seen: int = field(default=0, init=False)
    struck: int = field(default=0, init=False)

    def strikes(self, call: str) -> bool:
        """Count the call and tell whether this fault answers it."""
        if not re.search(self.match, call):
            return False
        self.seen += 1
        if self.seen < self.nth or self.struck >= self.times:
            return False
        self.struck += 1
        return True


_RANDOM: tuple[Fault, ...] = (
    Fault("", kind="error", status=500, code=1, message="An unknown error occurred"),
    Fault("", kind="error", status=400, code=2, transient=True, message="Service unavailable"),
    Fault("", kind="error", status=400, code=4, subcode=1504022, message="Too many calls"),
    Fault("", kind="error", status=400, code=17, subcode=2446079, message="User limit reached"),
    Fault("", kind="error", status=400, code=613, subcode=1487742, message="Account limit"),
    Fault("", kind="error", status=400, code=80004, message="Too many calls to this ad-account"),
    Fault("", kind="error", status=429, code=4, message="Application request limit reached"),
    Fault("", kind="html", status=502),
    Fault("", kind="truncated", status=200),
    Fault("", kind="cut", status=200),
    Fault("", kind="empty", status=503),
)


class FaultScript:
    """Scripted faults first; then, if `share` is set, that share of calls fails by the seed.

    `pool`: the random ones, Meta's unless said otherwise.

    Random faults never strike the same call more than `in_a_row` times one after the other, so
    that a client with more tries than that always gets through.
    """

    def __init__(
        self,
        faults: Sequence[Fault] = (),
        *,
        share: float = 0.0,
        seed: int = 0,
        in_a_row: int = 3,
        pool: Sequence[Fault] = _RANDOM,
    ) -> None:
        self.faults = list(faults)
        self._pool = pool
        self.struck: list[str] = []
        self._share = share
        self._random = random.Random(seed)
        self._in_a_row = in_a_row
        self._rows: dict[str, int] = {}

    def next(self, call: str) -> Fault | None:
        """The fault for this call, or None if it is to be answered properly."""
        fault = next((f for f in self.faults if f.strikes(call)), None)
        if fault is None and self._share and self._random.random() < self._share:
            self._rows[call] = self._rows.get(call, 0) + 1
            if self._rows[call] <= self._in_a_row:
                fault = self._random.choice(self._pool)
        if fault is None:
            self._rows.pop(call, None)
        else:
            self.struck.append(f"{fault.kind} {fault.code}: {call}")
        return fault
