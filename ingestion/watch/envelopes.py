"""No envelopes for longer than usual for that hour and weekday (E74): a receiver that is down, a
webhook that was switched off, a proxy that lets nothing through. Nothing of these makes an error.

The span since the last envelope is laid over the same hours of the four weeks before, by the clock
of the reporting zone. If envelopes came in at least `ENOUGH` five-minute spans of it in all of
those weeks but one, they are missed now. So a quiet night and a small company never fire, because
little came in those hours before; a holiday in the past does not count; and a burst, such as the
statuses of a broadcast, is a span or two. At `ENOUGH` = 10 a company with messages at all times is
missed after an hour, one with five an hour after about two and a half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

from ctwa.settings import Settings
from ingestion.lake import Lake
from ingestion.watch import ENVELOPES_MISSING, Observation
from ingestion.webhook.vault import Vault

WAYS_IN = (
    "whatsapp", "twilio", "dialog360", "gupshup", "messenger", "leads", "clicks", "outcomes",
)  # fmt: skip
"""Sources that others send by webhook, each by its own habits."""
ENOUGH = 10
SPAN_SECONDS = 300
SHORTEST = timedelta(hours=1)
LONGEST = timedelta(days=7)
"""Longer silence overlaps the week before; by days `silent_sources` tells it."""
WEEKS = 4
LEAST_WEEKS = 3
MEND = (
    "if nobody wrote there is nothing to do; otherwise see whether the receiver answers "
    "(`ctwa doctor`), and in the provider's settings whether its webhook is on and points here"
)

_LAST = """
select source, min(received_at) as first_at, max(received_at) as last_at
from {envelopes} group by source
"""
_SPANS = """
select s.source, s.week,
    count(distinct cast(floor(epoch(e.received_at) / {seconds}) as bigint)) as spans
from (values {values}) as s (source, week, began, ended)
left join {envelopes} as e
    on e.source = s.source and e.received_at > s.began and e.received_at <= s.ended
group by s.source, s.week
"""


@dataclass(frozen=True, slots=True)
class Habit:
    """A way in: since when it is known, when it last brought something, how busy it was in the same
    hours of the weeks before (five-minute spans with an envelope)."""

    source: str
    last_at: datetime
    spans: Sequence[int] = ()


def look(settings: Settings, now: datetime) -> list[Observation]:
    """One observation for each way in that ever brought anything; one `off` without any."""
    lake = Lake.from_settings(settings)
    if not lake.files("event_log", "envelopes"):
        return [Observation(ENVELOPES_MISSING, "off", "no webhook has come yet")]
    found = lake.query(_LAST, envelopes="event_log/envelopes").to_pylist()
    first = {r["source"]: r["first_at"] for r in found if r["source"] in WAYS_IN}
    last = {r["source"]: r["last_at"] for r in found if r["source"] in first}
    landed = lake.max_value("event_log", "envelopes", "seq")
    last |= _waiting(settings, list(last), landed)
    spans = _spans(lake, settings.reporting_timezone, first, last, now)
    habits = [Habit(source, last[source], spans.get(source, ())) for source in sorted(last)]
    if not habits:
        return [Observation(ENVELOPES_MISSING, "off", "no webhook has come yet")]
    return [judge(habit, now) for habit in habits]


def judge(habit: Habit, now: datetime) -> Observation:
    """Whether a way in has been silent for longer than usual for these hours."""
    silence = now - habit.last_at
    hours = Decimal(round(max(silence, timedelta()).total_seconds() / 3600, 2)).quantize(
        Decimal("0.01")
    )
    since = f"since {habit.last_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    usual = sorted(habit.spans)[1] if len(habit.spans) >= LEAST_WEEKS else 0
    if not SHORTEST <= silence <= LONGEST or usual < ENOUGH:
        text = f"the last webhook of {habit.source} came {hours} hours ago"
        return Observation(ENVELOPES_MISSING, "ok", text, subject=habit.source, measured=hours)
    return Observation(
        ENVELOPES_MISSING,
        "warn",
        f"no webhook of {habit.source} for {hours} hours, {since}; in the same hours of the weeks "
        f"before, some came in {usual} five-minute spans or more",
        subject=habit.source,
        mend=MEND,
        measured=hours,
    )


def _waiting(settings: Settings, sources: Sequence[str], landed: int) -> dict[str, datetime]:
    """The last envelope of each way in that lies in the vault and is not landed yet."""
    file = settings.vault_url.removeprefix("sqlite:///")
    if file != settings.vault_url and not Path(file).exists():
        return {}
    vault = Vault.open(settings.vault_url)
    try:
        found = {source: vault.last_received(source, landed) for source in sources}
    finally:
        vault.close()
    return {source: at for source, at in found.items() if at is not None}


def _spans(
    lake: Lake,
    zone: str,
    first: Mapping[str, datetime],
    last: Mapping[str, datetime],
    now: datetime,
) -> dict[str, list[int]]:
    """How busy each silent way in was in the same hours of the weeks in which it was known."""
    local = now.astimezone(ZoneInfo(zone))
    values = []
    for source, at in last.items():
        silence = now - at
        if not SHORTEST <= silence <= LONGEST:
            continue
        for week in range(1, WEEKS + 1):
            # By the wall clock: a week before is the same hour, over a change of the clocks too.
            ended = (local - timedelta(weeks=week)).astimezone(UTC)
            if ended - silence >= first[source]:
                values.append((source, week, ended - silence, ended))
    if not values:
        return {}
    listed = ", ".join(
        f"('{source}', {week}, timestamptz '{began.isoformat()}', timestamptz '{end.isoformat()}')"
        for source, week, began, end in values
    )
    sql = _SPANS.replace("{values}", listed).replace("{seconds}", str(SPAN_SECONDS))
    found: dict[str, list[int]] = {}
    for row in lake.query(sql, envelopes="event_log/envelopes").to_pylist():
        found.setdefault(row["source"], []).append(int(row["spans"]))
    return found
