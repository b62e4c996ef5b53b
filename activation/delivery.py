"""Planned events to Meta: in requests of one dataset and one name, each event at most once.

The ledger says `sending` before a byte is sent, and the outcome after the answer. A request that
Meta refuses is halved until the bad event is alone (at most two extra requests per halving); an
event name that it refuses is remembered, and the stage's next name is used. A request that may have
been processed is not tried again; the requests after one are small.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from activation.conversions_api import (
    NAME_REFUSED,
    TOO_OLD,
    Accepted,
    Again,
    Event,
    EventsApi,
    Refused,
    Stopped,
    Unclear,
)
from activation.conversions_ledger import ConversionsLedger

log = logging.getLogger(__name__)

MAX_EVENTS = 1_000
"""In one request; Meta's limit."""

_UNCLEAR_IN_A_ROW = 3
_REFUSED_IN_A_ROW = 20
"""After this many events refused singly, with none accepted in between, the dataset is at fault."""


@dataclass(frozen=True)
class Patience:
    """How long a run waits, in seconds: `total` over all its pauses."""

    total: float = 300.0
    first: float = 1.0
    longest: float = 60.0


@dataclass(frozen=True, slots=True)
class Planned:
    """An event of the ledger that may be sent now. `resends`: Meta may have it already."""

    event: Event
    dataset_id: str
    funnel_stage: str
    resends: bool = False


@dataclass(slots=True)
class Delivered:
    """What one run sent."""

    accepted: int = 0
    requests: int = 0
    waited: float = 0.0
    stops: list[str] = field(default_factory=list)
    """What somebody has to fix; the events of these datasets wait."""
    postponed: str = ""
    """Why the rest waits for the next run; empty: nothing waits."""


class Delivery:
    """Sends the events of one run. `clock`: microseconds since 1970, UTC."""

    def __init__(
        self,
        ledger: ConversionsLedger,
        api: EventsApi,
        names: Mapping[str, Sequence[str]],
        *,
        clock: Callable[[], int],
        sleep: Callable[[float], None],
        patience: Patience | None = None,
    ) -> None:
        self._ledger, self._api, self._names = ledger, api, names
        self._clock, self._sleep = clock, sleep
        self._patience = patience or Patience()
        self._random = random.Random()  # noqa: S311
        self._limit, self._pauses, self._unclear = MAX_EVENTS, 0, 0
        self._refused_names = ledger.refused_names()
        self._refused_in_a_row: dict[str, int] = {}
        self._datasets: set[str] = set()
        self._closed: set[str] = set()
        self.result = Delivered()

    def run(self, planned: Sequence[Planned]) -> Delivered:
        """Send them all, as far as Meta and patience allow; the rest stays pending."""
        self._datasets = {one.dataset_id for one in planned}
        waiting = deque(self._groups(planned))
        while waiting and not self.result.postponed:
            batch = waiting.popleft()
            if batch[0].dataset_id in self._closed:
                self._settle_unsent(batch, "stopped")
                continue
            if len(batch) > self._limit:
                waiting.appendleft(batch[self._limit :])
                batch = batch[: self._limit]
            if batch := self._valid_now(batch):
                waiting.extendleft(reversed(self._send(batch)))
        for batch in waiting:
            self._settle_unsent(batch, "postponed")
        return self.result

    # ---- before a request -----------------------------------------------------------------

    def _groups(self, planned: Sequence[Planned]) -> list[list[Planned]]:
        """By dataset and name, oldest first: those that will soon be too old do not come last."""
        groups: dict[tuple[str, str, bool], list[Planned]] = {}
        for one in sorted(planned, key=lambda p: (p.event.event_time, p.event.event_id)):
            if (named := self._with_name(one)) is not None:
                key = (named.dataset_id, named.event.event_name, named.resends)
                groups.setdefault(key, []).append(named)
        return list(groups.values())

    def _with_name(self, one: Planned) -> Planned | None:
        """With the first name that the dataset accepts; None, and settled, if it accepts none."""
        # Sent again exactly as it was sent; stages of forms have no other name.
        if one.resends or one.event.leadgen_id is not None:
            return one
        for name in self._names[one.funnel_stage]:
            if (one.dataset_id, name) not in self._refused_names:
                return replace(one, event=replace(one.event, event_name=name))
        self._settle([one], "rejected", "name_refused")
        return None

    def _valid_now(self, batch: list[Planned]) -> list[Planned]:
        """Those that are valid and recent enough at this moment."""
        now_us, good = self._clock(), []
        for one in batch:
            if fault := one.event.fault():
                self._settle([one], "rejected", fault)
            elif one.event.is_too_old(now_us):  # the next plan says so
                self._settle_unsent([one], "postponed")
            else:
                good.append(one)
        return good

    # ---- a request --------------------------------------------------------------------------

    def _send(self, batch: list[Planned]) -> list[list[Planned]]:
        """One request; what of it is to be sent next."""
        dataset, name = batch[0].dataset_id, batch[0].event.event_name
        ids = [one.event.event_id for one in batch]
        self._ledger.start(ids, name, self._clock())
        self.result.requests += 1
        fate = self._api.post(dataset, [one.event.body() for one in batch])
        if not isinstance(fate, Accepted):
            log.info("conversion events to %s: %s", dataset, fate.what)
        match fate:
            case Accepted():
                self._accepted(batch, fate)
            case Unclear():
                self._settle(batch, "unknown", fate.reason)
                self._after_unclear(fate)
            case Again():
                return self._again(batch, fate)
            case Stopped():
                self._settle_unsent(batch, "stopped")
                self._stop(dataset, fate)
            case Refused():
                return self._refused(batch, fate)
        return []

    def _accepted(self, batch: list[Planned], fate: Accepted) -> None:
        ids = [one.event.event_id for one in batch]
        self._ledger.settle(ids, "sent", None, self._clock(), fate.fbtrace_id)
        self.result.accepted += len(batch)
        self._pauses = self._unclear = 0
        self._refused_in_a_row[batch[0].dataset_id] = 0
        self._limit = min(MAX_EVENTS, self._limit * 10)

    def _after_unclear(self, fate: Unclear) -> None:
        """An outage at Meta must not leave thousands of events unknown: one at a time from here."""
        self._unclear += 1
        self._limit = 1
        if self._unclear >= _UNCLEAR_IN_A_ROW:
            self.result.postponed = f"{self._unclear} unclear answers in a row, last: {fate.what}"
        else:
            self._pause(Again(fate.what))

    def _again(self, batch: list[Planned], fate: Again) -> list[list[Planned]]:
        self._settle_unsent(batch, "postponed")
        self._pause(fate)
        return [batch]

    def _pause(self, fate: Again) -> None:
        """Wait as long as Meta asks, else longer each time; or postpone the rest of the run."""
        self._pauses += 1
        patience = self._patience
        grown = min(patience.first * 2.0 ** (self._pauses - 1), patience.longest)
        seconds = fate.seconds or grown * self._random.uniform(0.5, 1.0)
        if self.result.waited + seconds > patience.total:
            self.result.postponed = fate.what
            return
        self.result.waited += seconds
        self._sleep(seconds)

    def _stop(self, dataset: str, fate: Stopped) -> None:
        self.result.stops.append(f"dataset {dataset}: {fate.what}: {fate.fix}")
        self._closed |= self._datasets if fate.is_for_all else {dataset}

    def _refused(self, batch: list[Planned], fate: Refused) -> list[list[Planned]]:
        self._settle_unsent(batch, "postponed")
        dataset, name = batch[0].dataset_id, batch[0].event.event_name
        has_other = not batch[0].resends and batch[0].event.leadgen_id is None
        if fate.subcode == NAME_REFUSED and has_other:
            log.warning("Meta refuses the event name %s in dataset %s", name, dataset)
            self._refused_names.add((dataset, name))
            self._ledger.refuse_name(dataset, name, self._clock())
            return self._groups(batch)
        if len(batch) > 1:
            half = len(batch) // 2
            return [batch[:half], batch[half:]]
        reason = "too_old" if fate.subcode == TOO_OLD else fate.reason
        self._settle(batch, "rejected", reason, fate.fbtrace_id)
        refused = self._refused_in_a_row[dataset] = self._refused_in_a_row.get(dataset, 0) + 1
        if refused >= _REFUSED_IN_A_ROW:
            fix = "fix what Meta names; the dataset may not belong to the WhatsApp account"
            what = f"Meta refused {refused} events in a row, last: {fate.what}"
            self._stop(dataset, Stopped(what, fix, False))
        return []

    # ---- after it -----------------------------------------------------------------------------

    def _settle_unsent(self, batch: list[Planned], reason: str) -> None:
        """Pending again: no request with them was processed."""
        self._settle(batch, "pending", reason)

    def _settle(
        self, batch: list[Planned], state: str, reason: str, fbtrace_id: str | None = None
    ) -> None:
        """Record the outcome of a batch that was not accepted; all resend, or none does."""
        if batch[0].resends:  # Meta may have it from the earlier request, whatever came of this one
            state, reason = "unknown", "no_answer" if state == "pending" else reason
        ids = [one.event.event_id for one in batch]
        self._ledger.settle(ids, state, reason, self._clock(), fbtrace_id)


__all__ = ["MAX_EVENTS", "Delivered", "Delivery", "Patience", "Planned"]
