"""Insights of the stand-in: rows as Meta writes them, and report runs with scripted states."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any

from simulator.ads_state import AdsState, DailyStats

CONVERSATION_STARTED = "onsite_conversion.messaging_conversation_started_7d"

_FIELDS = {
    "account": {"account_id", "account_name", "account_currency"},
    "ad": {
        *("account_id", "account_name", "account_currency", "campaign_id", "campaign_name"),
        *("adset_id", "adset_name", "ad_id", "ad_name"),
    },
}
_METRICS = {
    *("spend", "impressions", "reach", "clicks", "inline_link_clicks", "actions"),
    *("date_start", "date_stop"),
}


class BadInsightsFieldError(ValueError):
    """A field was asked for that this level of insights does not have."""


@dataclass
class JobScript:
    """How one report run goes: the `states` that polls see, then that many "not ready" answers.

    `percent` stands beside the last state. `code`, `subcode`: what a failed run says of itself.
    """

    states: list[str] = field(
        default_factory=lambda: ["Job Not Started", "Job Running", "Job Completed"]
    )
    percent: int = 100
    not_ready: int = 0
    code: int | None = None
    subcode: int | None = None


@dataclass
class Job:
    """A report run that is being prepared."""

    run_id: str
    account_id: str
    params: dict[str, str]
    script: JobScript
    polls: int = 0

    def poll(self) -> dict[str, Any]:
        """The answer to `GET /{report_run_id}`; each call advances the run by one state."""
        last = len(self.script.states) - 1
        state = self.script.states[min(self.polls, last)]
        percent = self.script.percent if self.polls >= last else 40 * self.polls
        self.polls += 1
        answer: dict[str, Any] = {
            "id": self.run_id,
            "account_id": self.account_id,
            "time_ref": 1459788928,
            "async_status": state,
            "async_percent_completion": percent,
        }
        if state == "Job Failed" and self.script.code is not None:
            answer |= {"error_code": self.script.code, "error_message": "The report failed"}
            if self.script.subcode is not None:
                answer["error_subcode"] = self.script.subcode
        return answer

    @property
    def is_done(self) -> bool:
        """Whether the last poll said completed."""
        return self.polls >= len(self.script.states) and self.script.percent == 100


def insight_rows(
    state: AdsState,
    account_id: str,
    *,
    level: str,
    fields: list[str],
    since: date,
    until: date,
    statuses: list[str] | None,
) -> list[dict[str, Any]]:
    """Rows of `time_increment=1`, newest day first, for days with delivery only.

    `level=ad`: archived ads only when `statuses` names them; deleted ones never. `level=account`:
    everything, whatever became of it.
    """
    _check_fields(fields, level)
    if level == "account":
        days = state.account_days(account_id, since, until)
        rows = [_row(state, account_id, d, None, s, fields) for d, s in days.items()]
    else:
        shown = [
            (d, a)
            for d, a in state.ad_days(account_id, since, until)
            if _is_shown(state.ads[a].effective_status, statuses)
        ]
        rows = [
            _row(state, account_id, d, a, state.spend[account_id, d, a], fields) for d, a in shown
        ]
    return rows[::-1]


def ad_insight_rows(
    state: AdsState, ad_id: str, *, fields: list[str], since: date, until: date
) -> list[dict[str, Any]]:
    """Rows of one ad by its own id, newest day first, whatever its status."""
    _check_fields(fields, "ad")
    account_id = state.ads[ad_id].account_id
    days = [d for d, a in state.ad_days(account_id, since, until) if a == ad_id]
    rows = [
        _row(state, account_id, d, ad_id, state.spend[account_id, d, ad_id], fields) for d in days
    ]
    return rows[::-1]


def _check_fields(fields: list[str], level: str) -> None:
    unknown = set(fields) - _FIELDS[level] - _METRICS
    if unknown:
        raise BadInsightsFieldError(f"(#100) {min(unknown)} is not valid for fields param")


def _is_shown(status: str, asked: list[str] | None) -> bool:
    if status == "DELETED":
        return False
    return status in asked if asked is not None else status != "ARCHIVED"


def _row(
    state: AdsState,
    account_id: str,
    day: date,
    ad_id: str | None,
    stats: DailyStats,
    fields: list[str],
) -> dict[str, Any]:
    account = state.accounts[account_id]
    values: dict[str, Any] = {
        "account_id": account_id,
        "account_name": account.name,
        "account_currency": account.currency,
        "spend": f"{stats.spend:f}",
        "impressions": str(stats.impressions) if stats.impressions else None,
        "reach": str(stats.reach) if stats.reach is not None else None,
        "clicks": str(stats.clicks) if stats.clicks else None,
        "inline_link_clicks": str(stats.link_clicks) if stats.link_clicks else None,
        "actions": _actions(stats),
    }
    if ad_id is not None:
        ad = state.ads[ad_id]
        values |= {
            "ad_id": ad.id,
            "ad_name": ad.name,
            "adset_id": ad.adset_id,
            "adset_name": state.adsets[ad.adset_id].name,
            "campaign_id": ad.campaign_id,
            "campaign_name": state.campaigns[ad.campaign_id].name,
        }
    row = {f: values[f] for f in fields if values.get(f) is not None}
    return row | {"date_start": day.isoformat(), "date_stop": day.isoformat()}


def _actions(stats: DailyStats) -> list[dict[str, str]] | None:
    """Overlapping types and look-alikes, as Meta has them; None if nothing happened."""
    started = stats.conversations
    counts = {
        "link_click": stats.link_clicks,
        "onsite_conversion.total_messaging_connection": started + (2 if started else 0),
        "onsite_conversion.messaging_first_reply": started // 2,
        CONVERSATION_STARTED: started,
        f"{CONVERSATION_STARTED}_other": 7 if started else 0,
    }
    actions = [{"action_type": t, "value": str(n)} for t, n in counts.items() if n]
    return actions or None
