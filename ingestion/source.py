"""A source as one value: what it lands, when it is off, how it is examined; and its errors.

Each source folder exports its `Source`; the list of them is `ingestion.sources.SOURCES`. Assets,
checks, freshness of marts, jobs, the order of `ctwa doctor` and the tables of the lake follow from
that list, so that a new source is a folder and a line. Texts of errors are for people: each says
what happened and what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from ctwa.errors import CtwaError
from ctwa.settings import Settings

UNREACHED = (
    "check {setting}, DNS and the way out of this network (proxy, firewall); the next run reads it "
    "again"
)
"""What to do if nothing answers."""


class SourceError(CtwaError):
    """A source could not be read. What landed before stays as it is."""

    is_transient = False
    """Whether the same attempt is likely to succeed some minutes later."""
    saw = ""
    """What an outage looked like, in a word or two: `connection refused`, `HTTP 503`; else ''."""
    is_unreachable = False
    """Whether nothing answered at all."""


class SourceIncompleteError(SourceError):
    """Some accounts of a source failed; the others were read and have landed.

    `counts`: what landed. `failures`: account id to the reason. `is_transient`: all failures are
    outages that usually pass, so trying again soon makes sense.
    """

    def __init__(self, source: str, counts: Any, failures: Mapping[str, SourceError]) -> None:
        self.source, self.counts = source, counts
        self.failures = {name: str(error) for name, error in failures.items()}
        self.is_transient = all(error.is_transient for error in failures.values())
        seen = {error.saw for error in failures.values()}
        self.saw = seen.pop() if len(seen) == 1 else ""
        self.is_unreachable = all(error.is_unreachable for error in failures.values())
        if self.saw and len(self.failures) > 1:  # one outage is reported once, not per account
            reasons = next(iter(self.failures.values()))
        else:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.failures.items())
        # All names before the first reason: a long text is cut where it is shown.
        super().__init__(
            f"{source}: {len(self.failures)} part(s) could not be read "
            f"({', '.join(self.failures)}), the others have landed. {reasons}"
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """What `ctwa doctor` found about one thing. `off`: not set up, which is not a fault. `fix`:
    how to fix it, for `wrong`."""

    subject: str
    status: Literal["ok", "off", "wrong"]
    found: str
    fix: str = ""


def ok(subject: str, found: str) -> Finding:
    """Nothing is wrong."""
    return Finding(subject, "ok", found)


def off(subject: str, found: str) -> Finding:
    """It is not set up, which is not a fault."""
    return Finding(subject, "off", found)


def wrong(subject: str, found: str, fix: str) -> Finding:
    """A fault, with how to fix it."""
    return Finding(subject, "wrong", found, fix)


def refused(subject: str, error: SourceError) -> Finding:
    """A source's own error: after its last colon, the text says how to fix it."""
    found, _, fix = str(error).rpartition(": ")
    return wrong(subject, found or str(error), fix if found else "as it says")


def not_checked(subject: str, error: SourceError) -> Finding:
    """Its state is unknown: the other side could not be asked."""
    found = refused(subject, error)
    return wrong(subject, f"could not be checked: {found.found}", found.fix)


def utc_text(at: float | None) -> str:
    """A time in seconds since 1970 for a finding, to the minute; `now` for None."""
    return "now" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"


if TYPE_CHECKING:
    from dlt.extract import DltSource

Table = tuple[str, str]
"""Dataset and table of the lake."""


@dataclass(frozen=True)
class Landed:
    """What one landing added: rows by table, and other figures for people."""

    rows: Mapping[str, int] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, counts: Any) -> Landed:
        """From a source's own counts: rows by table, or a dataclass that holds such a dict."""
        if isinstance(counts, cls):
            return counts
        if isinstance(counts, Mapping):
            return cls(counts)
        values = asdict(counts) if is_dataclass(counts) and not isinstance(counts, type) else {}
        rows = next((v for v in values.values() if isinstance(v, dict)), values)
        return cls(rows, {k: v for k, v in values.items() if isinstance(v, int | str)})


@dataclass(frozen=True)
class Backfill:
    """Reads chosen days again. `name`: of its asset; `oldest_days`: how far back the API goes."""

    name: str
    land: Callable[[Settings, date, date], Any]
    """Called with the first and the last day, both included."""
    oldest_days: int


@dataclass(frozen=True)
class Landing:
    """Tables that one call lands together.

    `name`: of the step in a run. `land` raises `SourceError`, with `counts` of what landed if a
    part succeeded. `after`: tables that must have landed before.
    """

    name: str
    tables: Sequence[str]
    land: Callable[[Settings], Any]
    after: Sequence[Table] = ()
    backfill: Backfill | None = None


@dataclass(frozen=True)
class Source:
    """One source of rows of the lake."""

    dataset: str
    """Folder in the lake, name in dbt, first part of the asset keys."""
    title: str
    """Name for people, e.g. in `ctwa doctor`."""
    group: str
    """Group of its assets in the graph."""
    schemas: Mapping[str, pa.Schema]
    """Table to columns."""
    descriptions: Mapping[str, str]
    """Table to what one row is."""
    landings: Sequence[Landing]
    kinds: frozenset[str] = frozenset()
    """Labels of its assets in the UI."""
    runs: Literal["always", "with the CRM", "nightly"] = "nightly"
    """In which jobs: `nightly` asks an API that need not be asked between nights."""
    off_because: Callable[[Settings], str | None] = lambda _: None
    """What to set to turn it on; None if it is on."""
    examine: Callable[[Settings], Iterator[Finding]] | None = None
    """Its part of `ctwa doctor`."""
    dlt_source: Callable[[Settings], DltSource] | None = None
    """The dlt source, for one's own pipeline (docs/dlt.md)."""
    settings: Sequence[str] = ()
    """Environment variables that connect it, as in `.env.example`."""
    docs: str = ""
    """The page that explains how to connect it."""
    reaches_models_by: Sequence[Table] = ()
    """Tables of other sources through which its rows reach the models: their marts are stale when
    this source is."""

    def is_on(self, settings: Settings) -> bool:
        """Whether it is connected."""
        return self.off_because(settings) is None
