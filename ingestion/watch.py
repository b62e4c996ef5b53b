"""What only a clock or an API can tell about the health of the set-up, checked in each nightly run.

Models never read the clock (rule R3), so the checks are made here and land in the lake, from where
`health_alarms` shows them next to the alarms that it works out itself.

| checked | lake | disposition |
|---|---|---|
| clock, vault and event log; `debug_token`; versions | `alarms/observations` | a row per check |

**Envelopes.** None for longer than usual for that hour and weekday (E74): a receiver that is down,
a webhook that was switched off, a proxy that blocks everything. None of these causes an error. The
span since the last envelope is laid over the same hours of the four weeks before, by the clock of
the reporting zone. If envelopes came in at least `ENOUGH` five-minute spans of it in all of those
weeks but one, they are missed now. So a quiet night and a small company never raise an alarm,
because little came in those hours before; a holiday in the past does not count; and a burst, such
as the statuses of a broadcast, is a span or two. At `ENOUGH` = 10 a company with messages at all
times is missed after an hour, one with five an hour after about two and a half.

**What ends.** Meta's token and the versions of APIs, known before the night that reads nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

import pyarrow as pa

from ctwa.settings import Settings
from ingestion.apis.versions import WARN_DAYS, in_use, judge
from ingestion.lake.lake import Lake
from ingestion.source import Landed, Landing, Source, SourceError
from ingestion.vault import open_vault

if TYPE_CHECKING:
    from ingestion.ads.meta.accounts import TokenFacts

DATASET, TABLE = "alarms", "observations"
Clock = Callable[[], datetime]

ENVELOPES_MISSING = "envelopes_missing"
API_VERSIONS = "api_versions"
META_TOKEN = "meta_token"  # noqa: S105 - the name of an alarm

_FIGURE = pa.decimal128(18, 6)

OBSERVATIONS = pa.schema(
    [
        pa.field("read_no", pa.int64(), nullable=False),
        pa.field("read_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("alarm", pa.string(), nullable=False),
        pa.field("subject", pa.string(), nullable=False),  # a source, a token; '': only one exists
        pa.field("status", pa.string(), nullable=False),  # ok | warn | off
        pa.field("measured", _FIGURE),
        pa.field("expected_low", _FIGURE),
        pa.field("expected_high", _FIGURE),
        pa.field("message", pa.string(), nullable=False),
        pa.field("mend", pa.string()),
    ]
)

ALARMS: dict[str, pa.Schema] = {"observations": OBSERVATIONS}
"""Table name to columns."""


@dataclass(frozen=True, slots=True)
class Observation:
    """The result of one check: the columns of `alarms/observations` except its time. `mend`: what
    to do."""

    alarm: str
    status: Literal["ok", "warn", "off"]
    message: str
    subject: str = ""
    mend: str | None = None
    measured: Decimal | None = None
    expected_low: Decimal | None = None
    expected_high: Decimal | None = None


WAYS_IN = (
    "whatsapp", "twilio", "dialog360", "gupshup", "messenger", "leads", "clicks", "outcomes",
)  # fmt: skip
"""Sources that others send by webhook, each with its own habits."""
ENOUGH = 10
SPAN_SECONDS = 300
SHORTEST = timedelta(hours=1)
LONGEST = timedelta(days=7)
"""Longer silence overlaps the week before; the alarm `silent_sources` reports it by days."""
WEEKS = 4
LEAST_WEEKS = 3
MEND = (
    "if nobody wrote there is nothing to do; otherwise see whether the receiver answers "
    "(`ctwa doctor`), and in the provider's settings whether its webhook is on and points here"
)

# As numbers: to make a Python time of one with a zone, Arrow imports pandas, which takes a second.
_LAST = """
select source, epoch_us(min(received_at)) as first_us, epoch_us(max(received_at)) as last_us
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
    """A source of webhooks: when its last envelope came, and how busy it was in the same hours of
    the weeks before (five-minute spans with an envelope)."""

    source: str
    last_at: datetime
    spans: Sequence[int] = ()


def look_at_envelopes(settings: Settings, now: datetime) -> list[Observation]:
    """One observation for each source that ever sent anything; a single `off` if none did."""
    lake = Lake.from_settings(settings)
    if not lake.files("event_log", "envelopes"):
        return [Observation(ENVELOPES_MISSING, "off", "no webhook has come yet")]
    found = lake.query(_LAST, envelopes="event_log/envelopes").to_pylist()
    first = {r["source"]: _moment(r["first_us"]) for r in found if r["source"] in WAYS_IN}
    last = {r["source"]: _moment(r["last_us"]) for r in found if r["source"] in first}
    landed = lake.max_value("event_log", "envelopes", "seq")
    last |= _waiting(settings, list(last), landed)
    spans = _spans(lake, settings.reporting_timezone, first, last, now)
    habits = [Habit(source, last[source], spans.get(source, ())) for source in sorted(last)]
    if not habits:
        return [Observation(ENVELOPES_MISSING, "off", "no webhook has come yet")]
    return [judge_habit(habit, now) for habit in habits]


def _moment(us: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=us)


def judge_habit(habit: Habit, now: datetime) -> Observation:
    """Whether a source has been silent for longer than usual at these hours."""
    silence = now - habit.last_at
    hours = Decimal(round(max(silence, timedelta()).total_seconds() / 3600, 2)).quantize(
        Decimal("0.01")
    )
    last = f"{habit.last_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    usual = sorted(habit.spans)[1] if len(habit.spans) >= LEAST_WEEKS else 0
    if not SHORTEST <= silence <= LONGEST or usual < ENOUGH:
        # A moment, not an age: nothing has changed while no more comes.
        text = f"the last webhook of {habit.source} came {last}"
        return Observation(ENVELOPES_MISSING, "ok", text, subject=habit.source, measured=hours)
    return Observation(
        ENVELOPES_MISSING,
        "warn",
        f"no webhook of {habit.source} for {hours} hours, since {last}; in the same hours of the "
        f"weeks before, some came in {usual} five-minute spans or more",
        subject=habit.source,
        mend=MEND,
        measured=hours,
    )


def _waiting(settings: Settings, sources: Sequence[str], landed: int) -> dict[str, datetime]:
    """The last envelope of each source that is in the vault and has not landed yet."""
    file = settings.vault_url.removeprefix("sqlite:///")
    if file != settings.vault_url and not Path(file).exists():
        return {}
    with closing(open_vault(settings.vault_url)) as vault:
        found = {source: vault.last_received(source, landed) for source in sources}
    return {source: at for source, at in found.items() if at is not None}


def _spans(
    lake: Lake,
    zone: str,
    first: Mapping[str, datetime],
    last: Mapping[str, datetime],
    now: datetime,
) -> dict[str, list[int]]:
    """How busy each silent source was at the same hours of the weeks in which it was known."""
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


# ---- what ends ----------------------------------------------------------------------------------

_SUBJECT = "META_ACCESS_TOKEN"
_DAY = 86_400


def look_at_token(settings: Settings, now: datetime) -> Observation:
    """Ask Meta about the token that reads ads. Never raises: without an answer there is no
    verdict."""
    token = settings.meta_access_token
    if token is None or not settings.meta_is_on:
        return Observation(META_TOKEN, "off", "Meta's ads are not connected")
    # Clients of APIs, and dlt below them, are imported where an API is asked.
    from ingestion.ads.meta.accounts import read_token
    from ingestion.ads.meta.errors import GraphTokenError
    from ingestion.ads.meta.graph import GraphClient
    from ingestion.apis.client import IMPATIENT

    client = GraphClient(
        settings.meta_graph_url,
        token.get_secret_value(),
        version=settings.meta_api_version,
        policy=IMPATIENT,
    )
    try:
        facts = read_token(client, token.get_secret_value())
    except GraphTokenError:
        return _warn("Meta no longer accepts the token")
    except SourceError:
        # An outage, or a version that has ended: the source's own check reports it.
        return Observation(META_TOKEN, "off", "Meta did not say when it expires", subject=_SUBJECT)
    finally:
        client.close()
    return judge_token(facts, now)


def judge_token(facts: TokenFacts, now: datetime) -> Observation:
    """Whether the token is valid and sufficient. `measured`: days to its end; null if it has
    none."""
    from ingestion.ads.meta.accounts import SOON

    if not facts.is_valid:
        return _warn("Meta calls the token invalid")
    if not facts.may_read_ads:
        return _warn("ads_read is not among the token's permissions")
    if facts.ends_at is None:
        return Observation(META_TOKEN, "ok", "valid, without an end", subject=_SUBJECT)
    days = Decimal((facts.ends_at - now).total_seconds() / _DAY).quantize(Decimal("0.1"))
    limit = Decimal(SOON.days)
    found = f"the token ends on {facts.ends_at:%Y-%m-%d}"
    if days < limit:
        return _warn(f"{found}, in {days} days", days)
    return Observation(META_TOKEN, "ok", found, subject=_SUBJECT, measured=days, expected_low=limit)


def look_at_versions(settings: Settings, now: datetime) -> list[Observation]:
    """One observation for each version in use; a single `off` if nothing is connected.

    `measured`: days to its end; null if none is announced.
    """
    found = []
    for use in in_use(settings):
        verdict = judge(use, now.date())
        days = None if verdict.days is None else Decimal(verdict.days)
        found.append(
            Observation(
                API_VERSIONS,
                {"ok": "ok", "ends": "warn", "unknown": "off"}[verdict.status],  # type: ignore[arg-type]
                f"{use.subject}: {verdict.found}",
                subject=use.subject,
                mend=verdict.fix or None,
                measured=days,
                expected_low=None if days is None else Decimal(WARN_DAYS),
            )
        )
    return found or [Observation(API_VERSIONS, "off", "no API with versions is connected")]


def _warn(found: str, days: Decimal | None = None) -> Observation:
    from ingestion.ads.meta.accounts import RENEW, SOON

    low = None if days is None else Decimal(SOON.days)
    return Observation(
        META_TOKEN,
        "warn",
        found,
        subject=_SUBJECT,
        mend=RENEW,
        measured=days,
        expected_low=low,
    )


# ---- landing ------------------------------------------------------------------------------------


def land_observations(
    settings: Settings, *, now: Clock = lambda: datetime.now(UTC)
) -> list[Observation]:
    """One row for each observation, under the next `read_no`; the caller holds the lock.

    Returns the observations.
    """
    at = now()
    found = [
        *look_at_envelopes(settings, at),
        look_at_token(settings, at),
        *look_at_versions(settings, at),
    ]
    lake = Lake.from_settings(settings)
    lake.ensure(DATASET, ALARMS)
    lake.sweep(DATASET)
    lake.compact(DATASET, ALARMS)  # one small file a night
    read = {"read_no": 1 + lake.max_value(DATASET, TABLE, "read_no"), "read_at": at}
    rows = [{**read, **asdict(observation)} for observation in found]
    with lake.commit(DATASET) as commit:
        commit.write(TABLE, pa.Table.from_pylist(rows, schema=ALARMS[TABLE]))
    return found


def _land(settings: Settings) -> Landed:
    found = land_observations(settings)
    return Landed({TABLE: len(found)}, {o.alarm: o.message for o in found})


ALARMS_SOURCE = Source(
    dataset=DATASET,
    title="alarms",
    group="watch",
    schemas=ALARMS,
    descriptions={
        TABLE: (
            "One row per alarm, subject and check, about what no model can know: whether webhooks "
            "have been silent for longer than usual, how long Meta's token is valid and what it "
            "may do, and when the versions of the APIs in use end."
        ),
    },
    # Never off, as there is always a clock; runs after this night's landing.
    landings=(Landing("alarms", list(ALARMS), _land, after=[("event_log", "envelopes")]),),
    kinds=frozenset({"python"}),
)
