"""Makes a failed history small, a whole generation of smaller ones in one dbt build at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from tests.properties.happenings import Happening, Who
from tests.properties.histories import Event, History

Fails = Callable[[Sequence[History]], list[bool]]
"""Whether each of these histories fails by itself; one world holds them all."""

TRIES = 6
"""Times that a candidate stands in a generation: some failures depend on what keys hash to, or on
whom the history travels with."""

ROUNDS = 12


def shrink(history: History, fails: Fails, rounds: int = ROUNDS) -> History:
    """A history that fails still, and of whose simplifications none was seen to fail."""
    spare: list[Event] = []
    for _ in range(rounds):
        together = [_without(history, spare), _without(history, spare[: len(spare) // 2])]
        candidates = list(dict.fromkeys([*together, *_simpler(history)]))
        candidates = [candidate for candidate in candidates if candidate != history]
        verdicts = fails([c for c in candidates for _ in range(TRIES)])
        failed = [
            candidate
            for place, candidate in enumerate(candidates)
            if any(verdicts[place * TRIES : (place + 1) * TRIES])
        ]
        if not failed:
            break
        smallest = min(failed, key=_size)
        # What could be left out by itself is left out together in the next generation.
        spare = [e for e in smallest.events if _without(history, [e]) in failed]
        history = smallest
    return history


def _without(history: History, events: Sequence[Event]) -> History:
    left = tuple(event for event in history.events if event not in events)
    return replace(history, events=left)


def _size(history: History) -> tuple[int, ...]:
    return (
        len(history.events) + len(history.account.reads),
        sum(event.run for event in history.events),
        len(repr(history)),
    )


def _simpler(history: History) -> Iterator[History]:
    events = history.events
    for size in (len(events) // 2, len(events) // 4, 2, 1):
        for start in range(0, len(events), max(size, 1)) if size else ():
            yield replace(history, events=events[:start] + events[start + size :])
    reads = history.account.reads
    yield _with_reads(history, [])
    for place in range(len(reads)):
        yield _with_reads(history, [n for n in range(len(reads)) if n != place])
    for place, event in enumerate(events):
        for simpler in _simpler_event(event):
            yield replace(history, events=(*events[:place], simpler, *events[place + 1 :]))


def _with_reads(history: History, kept: Sequence[int]) -> History:
    return replace(
        history,
        account=replace(history.account, reads=tuple(history.account.reads[n] for n in kept)),
        read_runs=tuple(history.read_runs[n] for n in kept),
    )


def _simpler_event(event: Event) -> Iterator[Event]:
    if event.run:
        yield replace(event, run=0)
    happening = event.happening
    changes: list[Happening] = []
    if happening.kind == "message" and happening.what != "text":
        changes.append(replace(happening, what="text"))
    if happening.number:
        changes.append(replace(happening, number=0))
    if happening.at % 86_400:
        changes.append(replace(happening, at=happening.at - happening.at % 86_400))
    if happening.who.short:
        changes.append(replace(happening, who=Who(happening.who.phone, happening.who.bsuid)))
    if happening.other is not None:
        changes.append(replace(happening, other=None))
    for change in changes:
        yield replace(event, happening=change)


def told(history: History) -> str:
    """A history as a person reads it: in the order of what happened, defaults left out."""
    lines = [f"  late: {history.late}"]
    for event in sorted(history.events, key=lambda e: (e.happening.at, e.run)):
        lines.append(f"  run {event.run} {_told(event.happening)}")
    runs = zip(history.read_runs, history.account.reads, strict=True)
    lines += [f"  run {run} {read}" for run, read in runs]
    return "\n".join(lines)


def _told(h: Happening) -> str:
    day, seconds = divmod(h.at, 86_400)
    ids = [("phone", h.who.phone), ("bsuid", h.who.bsuid)]
    parts = [f"{name} {value}" for name, value in ids if value is not None]
    if h.other is not None:
        parts.append(f"with {h.other}")
    parts.append(f"number {h.number} message {h.message} ad {h.ad}")
    short = " (short)" if h.who.short else ""
    return f"day {day} +{seconds}s {h.kind} {h.what!r}: {', '.join(parts)}{short}"
