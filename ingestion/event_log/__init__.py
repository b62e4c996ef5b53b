"""The event log: from the vault through the parser into the lake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctwa.settings import Settings
from ingestion.parser.schema import EVENT_LOG
from ingestion.source import Landing, Source

if TYPE_CHECKING:
    from dlt.extract import DltSource


def _land(settings: Settings) -> Any:
    from ingestion.event_log.source import land_event_log

    return land_event_log(settings)


def _dlt_source(settings: Settings) -> DltSource:
    from ingestion.event_log.source import event_log_source

    return event_log_source(settings)


EVENT_LOG_SOURCE = Source(
    dataset="event_log",
    title="event log",
    group="event_log",
    schemas=EVENT_LOG,
    descriptions={
        "envelopes": "One row per webhook body in the vault, with the counts of what was in it.",
        "messages": "One row per message as delivered, with its ad referral; repeats included.",
        "statuses": "One row per delivery status of an outbound message, with its pricing.",
        "identity_links": "One row per pair of identities that one payload shows to be one person.",
        "outcomes": "One row per outcome a CRM sent: stage, time, value; repeats included.",
        "chat_signals": "One row per condition of a chat rule that a message meets; no text.",
        "web_leads": "One row per form sent on the company's site or Meta's; repeats included.",
        "form_notices": "One row per notice of Meta's that an instant form was sent; ids only.",
        "link_clicks": "One row per click on the site's WhatsApp button; repeats included.",
        "exclusions": "One row per statement that a person or a business number does not count.",
        "consents": "One row per statement about a person's consent to marketing (E72).",
        "account_events": (
            "One row per event about the business account itself, and per change of a webhook "
            "field that the parser does not know (E80)."
        ),
        "handovers": "One row per notice that another responder has a chat (E79), with repeats.",
        "quarantine": (
            "One row per element that could not be read: path and reason, without values."
        ),
    },
    landings=(
        Landing(
            "event_log",
            list(EVENT_LOG),
            _land,
            # What was read from CRM and forms is in the vault by then, and lands the same night.
            after=[("hubspot", "reads"), ("meta_lead_forms", "reads")],
        ),
    ),
    kinds=frozenset({"python"}),
    runs="always",
    dlt_source=_dlt_source,
)
