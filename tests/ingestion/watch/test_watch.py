"""Looks by the clock and at the token: each fires, and keeps quiet when all is well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ctwa.settings import Settings
from ingestion.ads.meta.accounts import TokenFacts
from ingestion.lake.lake import Lake
from ingestion.vault import open_vault
from ingestion.vault.vault import NewEnvelope, microseconds
from ingestion.watch import judge_token, land_observations, look_at_envelopes, look_at_token
from simulator.ads_api import AdsApi, serve_ads_api
from simulator.ads_state import Account, AdsState
from tests.support.lake import write_rows

# A Monday; 11:00 in São Paulo.
NOW = datetime(2026, 6, 8, 14, tzinfo=UTC)
FIRST = NOW - timedelta(days=35)
TOKEN = "EAAwatch0token0of0the0test"


def office(minutes: int, *, until: datetime, closed: frozenset[int] = frozenset({6})) -> list[Any]:
    """Times of a company that gets a message every so many minutes from 9:00 to 19:00 in São
    Paulo (12:00 to 22:00 UTC), except on Sundays."""
    count = int((until - FIRST) / timedelta(minutes=minutes))
    times = (FIRST + timedelta(minutes=minutes * n) for n in range(count + 1))
    return [t for t in times if 12 <= t.hour < 22 and t.weekday() not in closed]


def land(settings: Settings, times: list[datetime], source: str = "whatsapp", seq: int = 1) -> None:
    rows = [{"seq": seq + n, "received_at": t, "source": source} for n, t in enumerate(times)]
    path = write_rows(Path(settings.lake_url), "event_log", "envelopes", rows)
    assert path is not None
    _count(settings, path)


def _count(settings: Settings, path: Path) -> None:
    """Files that a load did not write count only by a commit record."""
    import pyarrow.parquet as pq

    rows = pq.read_table(path)
    path.unlink()
    with Lake.from_settings(settings).commit("event_log") as commit:
        commit.write("envelopes", rows)


def statuses(settings: Settings, now: datetime = NOW) -> dict[str, str]:
    return {o.subject: o.status for o in look_at_envelopes(settings, now)}


def test_e74_silence_in_busy_hours_is_missed_within_two_hours(settings: Settings) -> None:
    land(settings, office(5, until=NOW - timedelta(minutes=70)))
    [found] = look_at_envelopes(settings, NOW)
    assert (found.status, found.subject) == ("warn", "whatsapp")
    assert found.measured == Decimal("1.17")
    assert "no webhook of whatsapp for 1.17 hours, since 2026-06-08 12:50 UTC" in found.message
    assert found.mend
    assert "ctwa doctor" in found.mend


def test_e74_a_short_silence_is_none(settings: Settings) -> None:
    land(settings, office(5, until=NOW - timedelta(minutes=50)))
    assert statuses(settings) == {"whatsapp": "ok"}


@pytest.mark.parametrize(
    ("now", "what"),
    [
        (datetime(2026, 6, 9, 11, tzinfo=UTC), "a night"),
        (datetime(2026, 6, 7, 20, tzinfo=UTC), "a Sunday"),
        (datetime(2026, 6, 8, 12, 30, tzinfo=UTC), "the first half hour of a Monday"),
    ],
)
def test_e74_quiet_hours_are_no_silence(settings: Settings, now: datetime, what: str) -> None:
    land(settings, [t for t in office(5, until=NOW + timedelta(days=2)) if t < now][:-1])
    assert statuses(settings, now) == {"whatsapp": "ok"}, what


def test_e74_a_small_company_may_be_silent_all_morning(settings: Settings) -> None:
    land(settings, office(120, until=NOW - timedelta(hours=20)))
    assert statuses(settings) == {"whatsapp": "ok"}


def test_e74_a_burst_of_statuses_is_no_habit(settings: Settings) -> None:
    """A broadcast each Monday brings a thousand statuses in two minutes, and nothing else comes."""
    mondays = [NOW - timedelta(weeks=w, minutes=30) for w in range(1, 5)]
    burst = [m + timedelta(milliseconds=120 * n) for m in mondays for n in range(1000)]
    land(settings, sorted(burst))
    assert statuses(settings, NOW) == {"whatsapp": "ok"}
    assert statuses(settings, NOW + timedelta(days=1)) == {"whatsapp": "ok"}


def test_e74_a_holiday_in_the_past_neither_hides_nor_raises_an_alarm(settings: Settings) -> None:
    holiday = (NOW - timedelta(weeks=2)).date()
    times = [t for t in office(5, until=NOW - timedelta(hours=2)) if t.date() != holiday]
    land(settings, times)
    assert statuses(settings) == {"whatsapp": "warn"}


def test_e74_two_weeks_of_history_are_too_few(settings: Settings) -> None:
    recent = NOW - timedelta(days=16)
    land(settings, [t for t in office(5, until=NOW - timedelta(hours=2)) if t > recent])
    assert statuses(settings) == {"whatsapp": "ok"}


def test_each_way_in_is_judged_by_its_own_habits(settings: Settings) -> None:
    land(settings, office(5, until=NOW))
    land(settings, office(5, until=NOW - timedelta(hours=2)), "twilio", seq=100_000)
    land(settings, office(600, until=NOW - timedelta(days=1)), "leads", seq=200_000)
    land(settings, office(5, until=NOW - timedelta(hours=3)), "hubspot", seq=300_000)
    assert statuses(settings) == {"whatsapp": "ok", "twilio": "warn", "leads": "ok"}


def test_what_waits_in_the_vault_has_come(settings: Settings) -> None:
    land(settings, office(5, until=NOW - timedelta(hours=2)))
    landed = Lake.from_settings(settings).max_value("event_log", "envelopes", "seq")
    vault = open_vault(settings.vault_url)
    came = microseconds(NOW - timedelta(minutes=3))
    vault.append([NewEnvelope(came, "whatsapp", b"{}")] * (landed + 1))
    vault.close()
    assert statuses(settings) == {"whatsapp": "ok"}


def test_without_any_webhook_there_is_nothing_to_judge(settings: Settings) -> None:
    assert statuses(settings) == {"": "off"}


def facts(days: float | None = None, **changes: Any) -> TokenFacts:
    ends = None if days is None else NOW + timedelta(days=days)
    given = {"is_valid": True, "ends_at": ends, "scopes": frozenset({"ads_read"})}
    return TokenFacts(**(given | changes))


@pytest.mark.parametrize(
    ("told", "status"),
    [
        (facts(), "ok"),
        (facts(15), "ok"),
        (facts(13), "warn"),
        (facts(-1), "warn"),
        (facts(is_valid=False), "warn"),
        (facts(scopes=None), "ok"),
        (facts(scopes=frozenset({"ads_management"})), "ok"),
        (facts(scopes=frozenset({"pages_read"})), "warn"),
    ],
)
def test_a_token_is_told_two_weeks_before_its_end_and_without_its_permission(
    told: TokenFacts, status: str
) -> None:
    found = judge_token(told, NOW)
    assert found.status == status
    assert (found.mend is not None) == (status == "warn")


@pytest.fixture
def api() -> Iterator[AdsApi]:
    state = AdsState(now=lambda: NOW)
    state.add(Account("101", "Ours", "BRL", "America/Sao_Paulo", True))
    with serve_ads_api(state, token=TOKEN) as served:
        yield served


def test_looks_land_in_the_lake_night_by_night(
    make_settings: Callable[..., Settings], api: AdsApi
) -> None:
    settings = make_settings(
        meta_graph_url=api.url,
        meta_api_version=api.version,
        meta_access_token=TOKEN,
        meta_ad_account_ids="101",
    )
    land_observations(settings, now=lambda: NOW)
    api.token_told = {"is_valid": True, "expires_at": int((NOW + timedelta(days=3)).timestamp())}
    land_observations(settings, now=lambda: NOW + timedelta(days=1))

    rows = Lake.from_settings(settings).query(
        "select read_no, alarm, status, message from {t} order by read_no, alarm",
        t="alarms/observations",
    )
    assert [tuple(r.values()) for r in rows.to_pylist()] == [
        (1, "api_versions", "ok", "Meta Marketing API v27.0: no end announced, as of 2026-11-29"),
        (1, "envelopes_missing", "off", "no webhook has come yet"),
        (1, "meta_token", "ok", "valid, without an end"),
        (2, "api_versions", "ok", "Meta Marketing API v27.0: no end announced, as of 2026-11-29"),
        (2, "envelopes_missing", "off", "no webhook has come yet"),
        (2, "meta_token", "warn", "the token ends on 2026-06-11, in 2.0 days"),
    ]


def test_a_dead_token_is_an_alarm_and_an_outage_is_none(
    make_settings: Callable[..., Settings], api: AdsApi
) -> None:
    connected = {"meta_graph_url": api.url, "meta_ad_account_ids": "101"}
    dead = make_settings(**connected, meta_access_token="EAAsomebodyelses")
    assert look_at_token(dead, NOW).status == "warn"
    away = make_settings(
        meta_graph_url="http://127.0.0.1:9", meta_access_token=TOKEN, meta_ad_account_ids="101"
    )
    assert look_at_token(away, NOW).status == "off"
    assert look_at_token(make_settings(), NOW).message == "Meta's ads are not connected"
