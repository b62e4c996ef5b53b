"""Histories: made by hypothesis, many at once, with the runs in which their parts come."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.properties.happenings import RECEIVED, START, Happening, Who
from tests.properties.spend import Account, Day, Objects

DAY, HOUR = 86_400, 3_600
RUNS = 4
"""Runs in which a history comes at most."""

# Around the limits of the rules: 72 hours, 30 days of silence, 45 days of a number.
_DAYS = (0, 0, 0, 1, 2, 3, 3, 4, 29, 30, 31, 33, 44, 45, 46, 60, 75, 76, 90, 91, 92, 120, 137)
_SECONDS = (0, 0, 0, 1, HOUR, 12 * HOUR, 23 * HOUR + 3_599)
_MESSAGES = (
    "text", "text", "text", "text", "ad", "ad", "ad", "status_ad", "unknown_ad", "post",
    "new_kind", "withheld", "withheld", "reaction", "group", "bad_time", "card", "broken",
    "coded", "coded", "coded",
)  # fmt: skip
_STATUSES = ("sent", "delivered", "read", "failed", "billed", "billed")
_STAGES = ("lead", "qualified", "qualified", "opportunity", "won", "won", "lost", "disqualified")


_NO_ACCOUNT = Account()
_RECEIVED = int((RECEIVED - START).total_seconds())


@dataclass(frozen=True, slots=True)
class Event:
    """A happening and the run that brings it."""

    run: int
    happening: Happening


@dataclass(frozen=True, slots=True)
class History:
    """What happens to a few people and one ad account; independent of every other history.

    `late` says what comes in later runs than the first: anything, only what links identities
    (`links`), or only what people write later than everything else (`touches`).
    """

    events: tuple[Event, ...]
    account: Account = _NO_ACCOUNT
    read_runs: tuple[int, ...] = ()  # of the account's reads, rising
    late: str = "anything"


_ids = st.integers(0, 2)
_spelling = st.sampled_from([False, False, True])
_phone_only = st.builds(Who, phone=_ids, short=_spelling)
_bsuid_only = st.builds(Who, bsuid=_ids)
# Mostly a phone's own BSUID; else somebody else's: a number that changed hands, or a merge.
_both = st.builds(
    lambda phone, bsuid, own: Who(phone, phone if own else bsuid),
    _ids, _ids, st.sampled_from([True, True, False]),
)  # fmt: skip


@st.composite
def _weighted(draw: st.DrawFn, *weighted: tuple[int, st.SearchStrategy[Any]]) -> Any:
    """One of these, as often as it weighs: `one_of` makes all alike."""
    places = [place for place, (weight, _) in enumerate(weighted) for _ in range(weight)]
    return draw(weighted[draw(st.sampled_from(places))][1])


_who = _weighted((2, _phone_only), (1, _bsuid_only), (2, _both))
_at = st.builds(lambda d, s: d * DAY + s, st.sampled_from(_DAYS), st.sampled_from(_SECONDS))


def _happening(
    kind: str, what: st.SearchStrategy[str], **more: st.SearchStrategy[object]
) -> st.SearchStrategy[Happening]:
    fields: dict[str, st.SearchStrategy[object]] = {
        "who": _who,
        "number": st.sampled_from([0, 0, 0, 1, 2]),
        "message": st.integers(0, 7),
        "ad": _ids,
    }
    return st.builds(Happening, kind=st.just(kind), at=_at, what=what, **(fields | more))


_nothing = st.just("")
_message = _happening("message", st.sampled_from(_MESSAGES), other=st.none() | _who)
_ours = _weighted(
    (1, _happening("echo", _nothing)),
    (2, _happening("status", st.sampled_from(_STATUSES))),
    (1, _happening("history", st.sampled_from(["inbound", "outbound"]))),
)
_identities = st.one_of(
    _happening("number_change", _nothing, who=_phone_only | _both, other=_phone_only),
    _happening("id_change", _nothing, who=_bsuid_only, other=_bsuid_only),
    _happening("id_update", _nothing, who=_both, other=_bsuid_only),
    _happening("contact_book", _nothing, who=_phone_only, other=_bsuid_only),
)
_outcome = _happening(
    "outcome",
    st.sampled_from(_STAGES),
    who=_weighted((4, _who), (1, st.just(Who()))),
    other=st.none() | st.builds(Who, phone=_ids),
)
_exclusion = _happening("exclusion", st.sampled_from(["", "", "taken back"]))
_consent = _happening(
    "consent",
    st.sampled_from(["stop", "resume", "withdrawn", "given"]),
    other=st.none() | st.builds(Who, phone=_ids),
)
_pages = st.sampled_from(["google", "meta", "fbclid", "utm", ""])
_form = _happening(
    "form", _pages, who=_weighted((3, _phone_only), (1, st.just(Who()))),
    other=st.none() | st.builds(Who, phone=_ids),
)  # fmt: skip
_click = _happening("click", _pages)
_any_happening = _weighted(
    (10, _message), (5, _ours), (2, _identities), (3, _outcome), (1, _exclusion), (1, _consent),
    (3, _form), (3, _click),
)  # fmt: skip

_spent = st.lists(
    st.tuples(_ids, st.integers(0, 9_999_999)), max_size=3, unique_by=lambda spent: spent[0]
).map(tuple)
_day = st.builds(
    Day,
    day=st.integers(0, 40),
    ads=_spent,
    extra=st.sampled_from([0, 0, 1, -1, 12_345]),
)
_objects = st.builds(
    Objects,
    ads=st.lists(_ids, max_size=3, unique=True).map(tuple),
    name=_ids,
    campaign=st.integers(0, 1),
    lost=st.just(()) | st.just((2,)),
)
_account = st.builds(
    Account,
    currency=_ids,
    zone=st.integers(0, 1),
    reads=st.lists(_weighted((2, _day), (1, _objects)), min_size=1, max_size=6).map(tuple),
)


@st.composite
def histories(draw: st.DrawFn) -> History:
    """A history of some happenings, with the runs in which they come."""
    happened = draw(st.lists(_any_happening, min_size=6, max_size=14))
    account = draw(_account)
    late = draw(st.sampled_from(["anything", "anything", "links", "touches"]))
    runs = draw(st.lists(st.integers(0, RUNS - 1), min_size=20, max_size=20))
    reads = tuple(sorted(runs[14 : 14 + len(account.reads)]))
    events = tuple(
        _placed(late, run, h, place)
        for place, (run, h) in enumerate(zip(runs, happened, strict=False))
    )
    return History(events, account, reads, late)


def _placed(late: str, run: int, h: Happening, place: int) -> Event:
    """A happening in the run in which `late` lets it come."""
    if late == "links":
        return Event(run if h.adds_only_links else 0, h)
    if late == "touches":
        if not run or not is_later_touch(h):
            return Event(0, h)
        # Later than all that may come in the first run (messages with codes are written around
        # their receipt), and no copy of anything.
        at = _RECEIVED + HOUR + h.at % (20 * HOUR)
        return Event(run, replace(h, at=at, message=100 + place))
    return Event(run, h)


def is_later_touch(h: Happening) -> bool:
    """An ordinary message of a person: it can only be a touch, and links nobody."""
    plain = h.kind == "message" and h.what in {"text", "ad", "status_ad", "unknown_ad", "post"}
    return plain and h.other is None and (h.who.phone is None or h.who.bsuid is None)


def gather(count: int, number: int) -> list[History]:
    """`count` histories, the same ones for the same `number`.

    Hypothesis examines one example at a time; a dbt build costs seconds whatever is in it. So
    examples are gathered here and examined together, and `shrinking` makes a failed one small.
    Hypothesis also varies examples a little to look for failures close by: of such only one stays.
    """
    found: list[History] = []
    seen: set[Happening] = set()

    def collect(history: History) -> None:
        happened = {event.happening for event in history.events}
        if 2 * len(happened & seen) < len(happened) and len(found) < count:
            found.append(history)
            seen.update(happened)

    quiet = settings(
        max_examples=max(count // 3, 10),
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    for part in range(30):
        if len(found) < count:
            seed(number * 100 + part)(quiet(given(histories())(collect)))()
    return found
