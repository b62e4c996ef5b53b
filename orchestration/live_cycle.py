"""One cycle of `ctwa live`: what has arrived is landed, built, checked, sent and published.

The same steps as the job `fresh_leads`, by the same functions, and under the same lock. Most cycles
leave out what no message makes urgent; one a minute builds everything. A cycle that is killed
leaves what a killed refresh leaves: the next cycle or night continues from there.
"""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from ctwa.errors import CtwaError
from ctwa.lock import refresh_lock
from ctwa.settings import PROJECT_DIR, Settings
from ingestion.crm.hubspot.source import client_of_one_try, created_since, land_hubspot
from ingestion.crm.lead_forms import META_LEAD_FORMS_SOURCE
from ingestion.event_log.source import LandedError
from ingestion.source import SourceError
from keeping.data_folder import put_right
from keeping.erasure.steps import land
from orchestration.dbt_manifest import MARTS_SCHEMA
from orchestration.destinations import Destination, destinations, writes_to_hubspot
from orchestration.faults import describe, plain_message
from orchestration.plan import Plan, load_plan, plan_key, plan_path, run_values
from orchestration.plan_run import Result, run_plan
from orchestration.publication import publish, record_restatements
from orchestration.rebuild import (
    BuildState,
    begin_build,
    end_build,
    ready_lake,
    set_aside_if_broken,
)

log = logging.getLogger("ctwa.live")

_CONTACTS, _FORMS = "hubspot", META_LEAD_FORMS_SOURCE.dataset
_ORPHAN_WAIT_SECONDS = 60
_KEPT_SECONDS = 60.0
"""A publication every few seconds must not take the files from under a reader."""
CONTACTS_EVERY_SECONDS = 5.0
"""HubSpot is read at most so often, and for a fifth of the time: its searches are limited."""
NEW_CONTACTS_SECONDS = 10.0
"""While no message comes, HubSpot is asked so often whether there are new contacts."""
REST_SECONDS = 60.0
"""What need not follow each message follows at most so often, and for a tenth of the time."""
_REST_FOLDERS = {("marts", folder) for folder in ("alarms", "board", "chats", "forecast")}
"""Models that are made of the whole history: judgements, which no message makes urgent.
Reports of leads are not among them: in each publication they hold every lead."""
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 60.0, 1800.0
"""Of a destination that failed: doubled until it answers."""


def preload(settings: Settings) -> None:
    """Import what the first cycle would import: it is not to wait for that."""
    for name in ("conversions", "hubspot", "webhook"):
        importlib.import_module(f"activation.{name}")
    if writes_to_hubspot(settings):
        client_of_one_try(settings).close()
    if META_LEAD_FORMS_SOURCE.is_on(settings):
        importlib.import_module("ingestion.crm.lead_forms.source")


class RebuildNeededError(CtwaError):
    """The warehouse cannot be continued; the text says why. A whole refresh builds it again."""


class CheckFailedError(CtwaError):
    """Models or checks failed and nothing of the build was kept; `failures` names them."""

    def __init__(self, failures: Sequence[str]) -> None:
        self.failures = list(failures)
        super().__init__("; ".join(failures))


@dataclass
class Done:
    """What one cycle did."""

    envelopes: int = 0
    last_seq: int = 0
    """The highest envelope that the published marts show."""
    version: str = ""
    """Of the publication."""
    is_whole: bool = True
    """Whether all models were built; else the rest of them is behind."""
    problems: list[str] = field(default_factory=list)
    """What failed and what to do; the marts were published all the same."""
    warnings: dict[str, str] = field(default_factory=dict)
    """Checks that warn, by name."""
    passed: set[str] = field(default_factory=set)
    """Names of checks that may warn and do not."""


class Cycles:
    """Runs cycles, and remembers between them which destinations are to be left alone for a while.

    `beat` is called after each step.
    """

    def __init__(
        self,
        settings: Settings,
        project_dir: Path = PROJECT_DIR,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings, self._project_dir, self._beat = settings, project_dir, beat
        self._pauses: dict[str, _Pause] = {}
        self._plan: Plan | None = None
        self._contacts_due_at = self._contacts_asked_at = float("-inf")
        self._contacts_before: tuple[datetime, int] | None = None
        """When they were last read, and how many had been created around then."""
        self._folder_seen_on: date | None = None
        self._rest_due_at = float("-inf")

    def plan(self) -> Plan:
        """The plan for code and settings as they are now.

        Raises `RebuildNeededError` where there is none: it is compiled by dbt, elsewhere.
        """
        key = plan_key(self._settings, self._project_dir)
        if self._plan is None or self._plan.key != key:
            self._plan = load_plan(plan_path(self._settings), key)
        if self._plan is None:
            raise RebuildNeededError("the models must be compiled for this code and these settings")
        return self._plan

    def run(self, plan: Plan) -> Done:
        """One cycle; the caller holds the lock.

        Raises `RebuildNeededError`, `CheckFailedError`, `PublishError`, and what landing raises.
        """
        settings, done = self._settings, Done()
        day = datetime.now(ZoneInfo(settings.reporting_timezone)).date()
        is_known = day == self._folder_seen_on
        if not is_known:  # it looks at every file
            put_right(settings)
        self._read_contacts(done)
        self._read_forms(done)
        self._land(done)
        self._beat()
        lake = ready_lake(settings, is_known=is_known)
        self._folder_seen_on = day
        if broken := set_aside_if_broken(settings):
            raise RebuildNeededError(f"{broken.name} was unreadable")
        state = BuildState.current(settings, lake, self._project_dir)
        if reasons := state.reasons_to_rebuild(settings):
            raise RebuildNeededError("; ".join(reasons))
        self._beat()
        done.is_whole = not is_known or self.rest_is_due
        started = time.monotonic()
        self._build(plan, day, state, None if done.is_whole else _urgent(plan))
        if done.is_whole:
            # The next day's first record settles what the cycles in between leave out.
            self._record_restatements(day, done)
            took = time.monotonic() - started
            self._rest_due_at = time.monotonic() + max(REST_SECONDS, 9 * took)
        self._send(done)
        self._beat()
        marts = [n.table for n in plan.nodes if n.schema == MARTS_SCHEMA]
        published = publish(settings, as_of=day, marts=marts, kept_seconds=_KEPT_SECONDS)
        done.version = published.version
        done.last_seq = state.last_seq
        return done

    @property
    def rest_is_due(self) -> bool:
        """Whether the next cycle builds all models."""
        return time.monotonic() >= self._rest_due_at

    def _read_contacts(self, done: Done) -> None:
        """To write to contacts, they must be read first: a contact is as new as its lead."""
        settings, started = self._settings, time.monotonic()
        pause = self._pauses.setdefault(_CONTACTS, _Pause())
        if not writes_to_hubspot(settings) or started < self._contacts_due_at or pause.holds:
            return
        try:
            with closing(client_of_one_try(settings)) as client:
                # Before they are read: one that is created meanwhile is new, rather than missed.
                now = datetime.now(UTC)
                before = now, created_since(client, now)
                land_hubspot(settings, client=client, with_dlt=False)
        except SourceError as error:
            pause.failed()
            done.problems.append(f"hubspot: {describe(error)}")
        else:
            pause.succeeded()
            self._contacts_before = before
            took = time.monotonic() - started
            self._contacts_due_at = time.monotonic() + max(CONTACTS_EVERY_SECONDS, 4 * took)

    def _read_forms(self, done: Done) -> None:
        """Leads of instant forms that notices name; their forms are read by the hourly run."""
        pause = self._pauses.setdefault(_FORMS, _Pause())
        if not META_LEAD_FORMS_SOURCE.is_on(self._settings):
            return
        if not pause.holds:
            from ingestion.crm.lead_forms.source import land_lead_forms  # with dlt

            try:
                land_lead_forms(self._settings, with_dlt=False, in_bulk=False)
            except SourceError as error:
                pause.failed(f"{_FORMS}: {describe(error)}")
            else:
                pause.succeeded()
        if pause.problem:
            done.problems.append(pause.problem)

    def contacts_are_new(self) -> bool:
        """Whether HubSpot has contacts that the next cycle must read. Asks it now and then."""
        pause = self._pauses.setdefault(_CONTACTS, _Pause())
        is_due = time.monotonic() - self._contacts_asked_at >= NEW_CONTACTS_SECONDS
        if not writes_to_hubspot(self._settings) or not is_due or pause.holds:
            return False
        self._contacts_asked_at = time.monotonic()
        if self._contacts_before is not None:
            since, known = self._contacts_before
            try:
                with closing(client_of_one_try(self._settings)) as client:
                    if created_since(client, since) <= known:
                        return False
            except SourceError as error:
                log.warning("hubspot: %s", describe(error))
                return False
        self._contacts_due_at = float("-inf")
        return True

    def _land(self, done: Done) -> None:
        try:
            counts = land(self._settings, with_dlt=False)
        except LandedError as error:  # everything readable has landed
            counts = error.counts
            done.problems.append(f"event_log: {describe(error)}")
        done.envelopes = counts.envelopes

    def _build(
        self, plan: Plan, day: date, state: BuildState, selected: frozenset[str] | None
    ) -> None:
        settings = self._settings
        begin_build(settings)
        beat = _Every(self._beat)
        # A killed run's dbt may still be ending.
        with refresh_lock(Path(f"{settings.lock_path}.dbt"), wait_seconds=_ORPHAN_WAIT_SECONDS):
            run = run_plan(
                plan,
                settings.warehouse_path,
                run_values(settings, day),
                selected=selected,
                on_result=beat,
            )
        if run.failures:
            raise CheckFailedError([_in_words(result) for result in run.failures])
        end_build(settings, was_unchecked=False)
        state.save(settings)

    def _record_restatements(self, day: date, done: Done) -> None:
        """A failure must not stop the publication."""
        try:
            _, damaged = record_restatements(self._settings, as_of=day)
        except Exception as error:
            log.exception("restatements could not be recorded")
            done.problems.append(f"restatements: {type(error).__name__}: see the log")
            return
        if damaged:
            done.problems.append(
                f"restatements: {', '.join(damaged)} cannot be read: restore them from a backup, "
                "or delete them"
            )

    def _send(self, done: Done) -> None:
        for destination in destinations(self._settings):
            pause = self._pauses.setdefault("/".join(destination.path), _Pause())
            if not pause.holds:
                self._send_to(destination, pause, done)
            elif pause.problem:
                done.problems.append(pause.problem)

    def _send_to(self, destination: Destination, pause: _Pause, done: Done) -> None:
        attempt = destination.attempt(self._settings)
        if attempt.problem:
            if attempt.stack:
                log.error("%s:\n%s", destination.path[0], attempt.stack)
            pause.failed(f"{destination.path[0]}: {attempt.problem}")
            done.problems.append(pause.problem)
        else:
            pause.succeeded()
        for alarm, number, text in attempt.alarms():
            name = f"{'/'.join(destination.path)}: {alarm.name}"
            if number:
                done.warnings[name] = f"{name}: {text}"
            else:
                done.passed.add(name)

    def next_try_in(self) -> float | None:
        """Seconds until a destination that failed is to be tried again; None: none failed."""
        waits = [pause.left for pause in self._pauses.values() if pause.has_failed]
        return min(waits) if waits else None


class _Pause:
    """How long something that failed is left alone."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._until = float("-inf")
        self.problem = ""

    @property
    def has_failed(self) -> bool:
        return self._seconds > 0

    @property
    def left(self) -> float:
        return max(0.0, self._until - time.monotonic())

    @property
    def holds(self) -> bool:
        return self.left > 0

    def failed(self, problem: str = "") -> None:
        self._seconds = min(max(self._seconds * 2, _FIRST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)
        self._until = time.monotonic() + self._seconds
        self.problem = problem

    def succeeded(self) -> None:
        self._seconds, self._until, self.problem = 0.0, float("-inf"), ""


class _Every:
    """Calls a function for each result of a build, at most once a second."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call, self._at = call, time.monotonic()

    def __call__(self, _: Result) -> None:
        if time.monotonic() - self._at >= 1:
            self._at = time.monotonic()
            self._call()


def _urgent(plan: Plan) -> frozenset[str]:
    """Ids of all nodes but the rest, which is what only marts in its folders need, and of the
    checks that look at none of it."""
    in_rest = {n.unique_id for n in plan.nodes if Path(n.path).parts[-3:-1] in _REST_FOLDERS}
    others = [n.unique_id for n in plan.nodes if n.unique_id not in in_rest]
    nodes = frozenset(others).union(*(plan.ancestors[node] for node in others))
    rest = in_rest - nodes
    checks = (c.unique_id for c in plan.checks if rest.isdisjoint(c.depends_on))
    return nodes.union(checks)


def _in_words(result: Result) -> str:
    kind, _, name = result.unique_id.split(".")[:3]
    return f"dbt {kind} {name}: {plain_message(result.message)}"
