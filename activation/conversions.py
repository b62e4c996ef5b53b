"""Stages of leads to Meta, each once: plan, send if the mode does, record the outcome.

Modes: `off` and `dry_run` send nothing and end the activation, so that what happens in the meantime
is never sent; `test` and `live` send what has happened since the activation began (E71).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from activation.conversions_api import Event, EventsApi
from activation.conversions_ledger import STATES, ConversionsLedger, Row, states_of, write_states
from activation.delivery import Delivered, Delivery, Patience, Planned
from activation.outbox import MAX_AGE_SECONDS, Candidate, Outbox, read_outbox
from activation.people import withdrawn_since
from ctwa.lock import refresh_lock
from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.source import SourceError
from ingestion.vault.vault import microseconds


@dataclass(slots=True)
class ConversionCounts:
    """What a run did, and what is open."""

    due: int = 0
    """Events to send at the start of the run."""
    sent: int = 0
    """Acknowledged by Meta in this run."""
    pending: int = 0
    """Left for the next run (in `dry_run`: what would be sent)."""
    unknown: int = 0
    """Of the last seven days: Meta has them or not."""
    rejected: int = 0
    """Of the last seven days."""
    skipped: dict[str, int] = field(default_factory=dict)
    rejected_because: dict[str, int] = field(default_factory=dict)
    requests: int = 0
    waited_seconds: float = 0.0
    postponed: str = ""
    """Why the rest waits for the next run; empty: nothing waits."""


class ConversionsError(SourceError):
    """Meta accepts no events (of a dataset) until somebody fixes it. `counts`: what was done."""

    def __init__(self, text: str, counts: ConversionCounts | None = None) -> None:
        self.counts = counts
        super().__init__(text)


def send_conversions(
    settings: Settings,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    sleep: Callable[[float], None] = time.sleep,
    patience: Patience | None = None,
    api: EventsApi | None = None,
) -> ConversionCounts:
    """Send what is due, or in `dry_run` count it, and write the file that the marts read.

    Raises `RefreshBusyError` where another process holds the lock, `ConversionsError` where
    somebody has to fix something (with what was done before that), `OutboxError`, `VaultError`,
    `LedgerError`. If it is killed, run it again: what may have been sent is not sent again.
    """
    with refresh_lock(settings), ConversionsLedger.open(settings) as ledger:
        run = _Run(settings, ledger, lambda: microseconds(now()))
        try:
            run.plan()
            run.send(api, sleep, patience)
        finally:
            run.write_states()
        if run.problem:
            raise ConversionsError(run.problem, run.counts())
        return run.counts()


class _Run:
    """One run over one ledger."""

    def __init__(
        self, settings: Settings, ledger: ConversionsLedger, clock: Callable[[], int]
    ) -> None:
        self._settings, self._ledger, self._clock = settings, ledger, clock
        self._mode = settings.meta_conversions_mode
        self._outbox = Outbox([], STATES.empty_table(), {}, 0)
        self._withheld: list[tuple[Candidate, str]] = []
        self._dry: list[Candidate] = []
        self._planned: list[Planned] = []
        self._done = Delivered()
        self._due = 0
        self.problem = ""

    @property
    def _sends(self) -> bool:
        return self._mode in ("test", "live")

    # ---- plan -------------------------------------------------------------------------------

    def plan(self) -> None:
        """Decide about every row of the outbox; the ledger then holds what to send."""
        ledger, now_us = self._ledger, self._clock()
        ledger.settle_interrupted(now_us)
        on_since_us = ledger.begin_activation(now_us) if self._sends else None
        if not self._sends:
            ledger.end_activation()
        tried = ledger.rows("sent", "rejected", "unknown")
        self._outbox = read_outbox(
            self._settings,
            now_us=now_us,
            on_since_us=on_since_us,
            known={row.conversion_event_id for row in tried},
        )
        candidates = self._with_consent(self._outbox.candidates)
        if not self._sends:
            ledger.plan([])
            self._dry = candidates
            return
        names = Pseudonymizer.from_settings(self._settings)
        rows = [self._row(one, names, now_us) for one in candidates]
        sent_already = ledger.plan(rows)
        self._withheld += [
            (o, "already_sent") for o in candidates if o.conversion_event_id in sent_already
        ]
        self._planned = [
            _planned(one, row)
            for one, row in zip(candidates, rows, strict=True)
            if one.conversion_event_id not in sent_already
        ]
        if self._settings.meta_conversions_on_unknown == "resend":
            self._planned += self._resends(tried, names, on_since_us or 0, now_us)
        self._due = len(self._planned)

    def _with_consent(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        people = {one.conversion_event_id: one.keys() for one in candidates}
        withdrawn = withdrawn_since(self._settings, people)
        self._withheld += [
            (one, "consent_withdrawn") for one in candidates if one.conversion_event_id in withdrawn
        ]
        return [one for one in candidates if one.conversion_event_id not in withdrawn]

    def _resends(
        self, tried: Sequence[Row], names: Pseudonymizer, on_since_us: int, now_us: int
    ) -> list[Planned]:
        """Events of unknown fate, to be sent again with the same id, time and content (E69)."""
        unknown = {r.conversion_event_id: r for r in tried if r.state == "unknown"}
        outbox = read_outbox(
            self._settings,
            now_us=now_us,
            on_since_us=on_since_us,
            known={r.conversion_event_id for r in tried} - unknown.keys(),
        )
        due = [one for one in outbox.candidates if one.conversion_event_id in unknown]
        people = {one.conversion_event_id: one.keys() for one in due}
        withdrawn = withdrawn_since(self._settings, people)
        return [
            _planned(one, row, resends=True)
            for one in due
            if one.conversion_event_id not in withdrawn
            and (row := unknown[one.conversion_event_id]).click_key == _click(names, one)
            and row.occurred_at_us >= on_since_us
        ]

    def _row(self, one: Candidate, names: Pseudonymizer, now_us: int) -> Row:
        return Row(
            conversion_event_id=one.conversion_event_id,
            lead_id=one.lead_id,
            funnel_stage=one.funnel_stage,
            occurrence=one.occurrence,
            outcome_key=one.outcome_key,
            click_key=_click(names, one),
            event_name=one.name(self._settings),
            dataset_id=self._settings.meta_dataset_ids[one.owner_id],
            occurred_at_us=one.occurred_at_us,
            value=one.value,
            currency=one.currency,
            mode=self._mode,
            planned_at_us=now_us,
        )

    # ---- send -------------------------------------------------------------------------------

    def send(
        self, api: EventsApi | None, sleep: Callable[[float], None], patience: Patience | None
    ) -> None:
        """Send what was planned, if the mode sends."""
        if not self._planned:
            return
        if api is None:
            try:
                api = EventsApi.from_settings(self._settings)
            except ValueError:
                self.problem = (
                    "conversion events have no token: set META_CONVERSIONS_TOKEN, or "
                    "META_ACCESS_TOKEN, to a system user token with whatsapp_business_manage_events"
                )
                return
        delivery = Delivery(
            self._ledger,
            api,
            self._settings.conversion_names,
            clock=self._clock,
            sleep=sleep,
            patience=patience,
        )
        self._done = delivery.result
        delivery.run(self._planned)
        if self._done.stops:
            stops = "; ".join(self._done.stops)
            self.problem = (
                f"Meta accepts no conversion events: {stops}. The next run then sends the rest"
            )

    # ---- what became of them -------------------------------------------------------------------

    def write_states(self) -> None:
        """Write the file that the marts read: the ledger, and the decisions about the outbox."""
        withheld = [(one, "skipped", reason) for one, reason in self._withheld]
        dry = [(one, "pending", "dry_run") for one in self._dry]
        table = states_of(
            self._settings, self._ledger.rows(), [*withheld, *dry], self._outbox.states
        )
        write_states(self._settings, table)

    def counts(self) -> ConversionCounts:
        """Figures of the run and of the ledger."""
        recent_us = self._clock() - MAX_AGE_SECONDS * 1_000_000
        states: Counter[str] = Counter()
        reasons: Counter[str] = Counter()
        for row in self._ledger.rows("pending", "unknown", "rejected"):
            if row.state == "pending" or (row.settled_at_us or 0) >= recent_us:
                states[row.state] += 1
                if row.state == "rejected":
                    reasons[row.reason or "unknown"] += 1
        skipped = Counter(self._outbox.skipped) + Counter(reason for _, reason in self._withheld)
        return ConversionCounts(
            due=self._due,
            sent=self._done.accepted,
            pending=states["pending"] + len(self._dry) + self._outbox.waiting,
            unknown=states["unknown"],
            rejected=states["rejected"],
            skipped=dict(skipped),
            rejected_because=dict(reasons),
            requests=self._done.requests,
            waited_seconds=round(self._done.waited, 1),
            postponed=self._done.postponed,
        )


def _click(names: Pseudonymizer, one: Candidate) -> str:
    if one.leadgen_id:
        return names.digest("leadgen_id", one.leadgen_id)
    return names.digest("ctwa_clid", one.ctwa_clid or "")


def _planned(one: Candidate, row: Row, *, resends: bool = False) -> Planned:
    event = Event(
        event_id=row.conversion_event_id,
        event_name=row.event_name,
        event_time=row.occurred_at_us // 1_000_000,
        waba_id=one.waba_id or "",
        ctwa_clid=one.ctwa_clid or "",
        value=row.value,
        currency=row.currency,
        leadgen_id=one.leadgen_id,
    )
    return Planned(event, row.dataset_id, row.funnel_stage, resends)


__all__ = ["ConversionCounts", "ConversionsError", "Patience", "send_conversions"]
