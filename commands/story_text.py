"""A lead's story as text (`ctwa why`)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from commands.story import Row, Story

REASONS = {
    "no_click_id": "no tap on an ad with a click id came before the outcome",
    "click_too_old": "the last tap was longer before the outcome than META_CONVERSION_CLICK_DAYS",
    "form_too_old": "the stage was reached more than 28 days after the instant form",
    "too_old": "it was known more than seven days after it happened, and Meta refuses such events",
    "no_value": "won without value and currency: fill in the amount in the CRM",
    "no_dataset": "no dataset for the click's WhatsApp account: set META_DATASET_IDS",
    "no_waba": "the provider does not name the click's WhatsApp account",
    "before_activation": "it happened before sending was switched on",
    "activation_off": "META_CONVERSIONS_MODE is off",
    "consent_withdrawn": "the person withdrew consent",
    "erased": "the person was erased",
    "excluded": "staff or a test (`ctwa exclude`)",
    "from_meta": "Meta found this outcome itself",
    "already_sent": "the same outcome, purchase or click was sent under another id",
    "stage_off": "META_CONVERSION_EVENTS does not name the stage",
    "dry_run": "it would be sent: META_CONVERSIONS_MODE is dry_run",
    "postponed": "Meta was busy or could not be reached; the next run sends it",
    "stopped": "token, permission or dataset have to be fixed first; see `ctwa doctor`",
    "in_the_future": "the CRM gave a time in the future",
    "name_refused": "Meta accepts none of the names in META_CONVERSION_EVENTS for this dataset",
    "interrupted": "the process was killed during the request, so it is not sent again",
    "no_answer": "the request got no answer, so it is not sent again",
    "unclear_answer": "the answer was not clear, so it is not sent again",
    "count_differs": "Meta counted another number of events, so it is not sent again",
}
"""Reasons of `conversion_events` in words; docs/conversions.md says more. Meta's own numbers
(`refused_…`) and what was invalid (`invalid_…`) are shown as they are."""


_QUALIFIED_BY = {
    "crm": "by the CRM",
    "chat": "by a chat rule",
    "crm_and_chat": "by the CRM and a chat rule",
}


def lines(story: Story) -> Iterator[str]:
    """The story for people, a line at a time."""
    lead = story.lead
    yield f"Lead {lead['lead_id']}"
    yield f"  {lead['why']}"
    yield from (f"  note: {note}" for note in story.notes)
    yield f"  came by: {_came_by(lead)}"
    yield f"  became: {_became(lead)}"
    yield from _section("Touches", map(_touch, story.touches))
    yield from _section("Conversations", map(_conversation, story.conversations))
    yield from _section("Outcomes", map(_outcome, story.outcomes))
    yield from _section("Sent to Meta", map(_event, story.conversions))
    yield from _section("Sent to the CRM", (f"{s}: {text}" for s, text in story.crm.items()))


def _section(title: str, rows: Iterator[str]) -> Iterator[str]:
    yield title
    yield from [f"  {row}" for row in rows] or ["  none"]


def _came_by(row: Row) -> str:
    parts = [f"{row['channel']} ({row['basis']})"]
    for noun in ("campaign", "ad"):
        if row.get(f"{noun}_id"):
            name = row.get(f"{noun}_name")
            parts.append(f"{noun} {row[f'{noun}_id']}" + (f" “{name}”" if name else ""))
    if row.get("resolution") not in (None, "resolved"):
        parts.append(f"the ad is {row['resolution']}")
    return ", ".join(parts)


def _became(lead: Row) -> str:
    if not lead["is_qualified"]:
        return f"not qualified, stage {lead.get('current_stage') or 'none'}"
    text = f"qualified on {lead['qualified_at']:%Y-%m-%d}"
    if lead.get("days_to_qualify") is not None:
        text += f", {lead['days_to_qualify']} days after the first touch"
    if lead.get("qualified_by") in _QUALIFIED_BY:
        text += f", {_QUALIFIED_BY[lead['qualified_by']]}"
    if lead.get("is_disputed"):
        text += "; the CRM knows the lead and never said so"
    if not lead.get("is_currently_qualified"):
        text += f"; now {lead.get('current_stage')}"
    if lead.get("is_won"):
        value = lead.get("won_value")
        worth = "" if value is None else f" for {_amount(value, lead.get('won_currency'))}"
        text += f"; won on {lead['won_at']:%Y-%m-%d}{worth}"
    return text


def _touch(row: Row) -> str:
    marks = [word for word in ("first", "source", "latest") if row.get(f"is_{word}_touch")]
    return f"{_time(row['occurred_at'])}  {_came_by(row)}" + (
        f"  [{', '.join(marks)}]" if marks else ""
    )


def _conversation(row: Row) -> str:
    seconds = row.get("first_response_seconds")
    answer = "not answered" if seconds is None else f"answered after {seconds:,} s"
    holder = row.get("answered_by") or "unknown"
    hands = f", changed hands {row['handovers']} times" if row.get("handovers") else ""
    return (
        f"{_time(row['started_at'])}  number {row['business_number_id']}, "
        f"{row['inbound_messages']} in, {row['outbound_messages']} out, {answer}, "
        f"held by {holder}{hands}"
    )


def _outcome(row: Row) -> str:
    worth = "" if row.get("value") is None else f", {_amount(row['value'], row.get('currency'))}"
    meaning = row.get("funnel_stage") or "mapped to nothing in lead_stages.csv"
    by = f", matched by {row['matched_by']}" if row.get("matched_by") else ""
    source = row["source"]
    if source == "chat" and row.get("stage_label"):
        source = f"chat rule {row['stage_label'].split()[0]}"
    return f"{_time(row['occurred_at'])}  {source}: {row['stage']} → {meaning}{worth}{by}"


def _event(row: Row) -> str:
    name = row.get("event_name") or row.get("funnel_stage") or "event"
    text = f"{name} of {_time(row['occurred_at'])}: {row['status']}"
    if row.get("sent_at"):
        text += f" on {_time(row['sent_at'])}"
    if reason := row.get("reason"):
        text += f", {reason}" + (f" – {REASONS[reason]}" if reason in REASONS else "")
    return text


def _amount(value: Any, currency: str | None) -> str:
    return f"{value:,.2f} {currency or '(no currency)'}"


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
