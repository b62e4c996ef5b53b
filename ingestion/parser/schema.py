"""Columns of the event log: what the parser emits and what dbt's staging reads.

Every table starts with where a row came from: `seq` (envelope in the vault), `ordinal` (position in
the envelope, one counter for all tables), `received_at` (when we received it, UTC). `*_key` columns
are keyed hashes (`ctwa.pseudonym`); apart from these, only the country of a person is kept. Adding
a column is safe (readers unite files by name); changing one makes a new version.
"""

from __future__ import annotations

import pyarrow as pa

PARSER_VERSION = 4
"""Part of every envelope's row. When it changes, run `ctwa refresh --reparse`."""

TS = pa.timestamp("us", tz="UTC")
MONEY = pa.decimal128(20, 6)

_ORIGIN = [
    pa.field("seq", pa.int64(), nullable=False),
    pa.field("ordinal", pa.int32(), nullable=False),
    pa.field("received_at", TS, nullable=False),
]
_BUSINESS = [
    pa.field("waba_id", pa.string()),
    pa.field("phone_number_id", pa.string()),
    # Digits of the business's display number, else phone_number_id: a number that moves to another
    # WABA gets a new phone_number_id while its chats continue (E30).
    pa.field("business_number_id", pa.string()),
]
_PERSON = [
    pa.field("phone_key", pa.string()),
    pa.field("bsuid_key", pa.string()),
    pa.field("country", pa.string()),  # ISO 3166-1 alpha-2, from the phone prefix or the BSUID
]

_WEB = [
    # What the address of a page says (`ingestion.pages`); nothing else of its query is kept.
    *(pa.field(n, pa.string()) for n in ("page_host", "page_path", "referrer_host")),
    *(pa.field(f"utm_{n}", pa.string()) for n in ("source", "medium", "campaign", "content")),
    *(pa.field(f"utm_{n}", pa.string()) for n in ("term", "id")),
    # meta | google | microsoft: whose click ids, ids or utm_source are in the address; else null.
    pa.field("ad_platform", pa.string()),
    # Ids that the platform's macros filled in; digits only, never names.
    *(pa.field(n, pa.string()) for n in ("ad_id", "adset_id", "campaign_id")),
    pa.field("has_unexpanded_macro", pa.bool_(), nullable=False),
    *(pa.field(n, pa.string()) for n in ("gclid", "gbraid", "wbraid", "fbclid", "msclkid")),
]

ENVELOPES = pa.schema(
    [
        pa.field("seq", pa.int64(), nullable=False),
        pa.field("received_at", TS, nullable=False),
        # whatsapp | twilio | dialog360 | gupshup | messenger | leads | clicks | outcomes |
        # consents | hubspot | meta_lead_forms | exclusions
        pa.field("source", pa.string(), nullable=False),
        pa.field("size", pa.int32(), nullable=False),
        pa.field("body_key", pa.string(), nullable=False),  # keyed hash of the bytes: shows repeats
        pa.field("parser_version", pa.int32(), nullable=False),
        # Rule R1: message_elements = messages + quarantined_messages, in every envelope.
        pa.field("message_elements", pa.int32(), nullable=False),
        pa.field("messages", pa.int32(), nullable=False),
        pa.field("quarantined_messages", pa.int32(), nullable=False),
        pa.field("statuses", pa.int32(), nullable=False),
        pa.field("outcomes", pa.int32(), nullable=False),
        pa.field("quarantined", pa.int32(), nullable=False),  # all kinds, messages included
        pa.field("web_leads", pa.int32()),  # null in rows of parser versions before 3
        pa.field("link_clicks", pa.int32()),
        # Values that were repaired or left out while their elements were kept (E83); null before
        # version 4.
        pa.field("mended_values", pa.int32()),
    ]
)

MESSAGES = pa.schema(
    [
        *_ORIGIN,
        pa.field("origin", pa.string(), nullable=False),  # live | echo | history
        pa.field("direction", pa.string(), nullable=False),  # inbound | outbound
        *_BUSINESS,
        pa.field("message_key", pa.string(), nullable=False),  # (business number, message id)
        pa.field("message_id_key", pa.string(), nullable=False),  # the message id alone
        *_PERSON,
        pa.field("sent_at", TS, nullable=False),
        pa.field("sent_at_source", pa.string(), nullable=False),  # message | receipt (E13)
        pa.field("type", pa.string()),
        pa.field("is_group", pa.bool_(), nullable=False),
        pa.field("error_code", pa.int32()),  # of type unsupported: 131060, 131051 ...
        pa.field("context_message_id_key", pa.string()),
        pa.field("is_forwarded", pa.bool_(), nullable=False),
        pa.field("has_referral", pa.bool_(), nullable=False),
        pa.field("referral_source_type", pa.string()),
        pa.field("referral_source_id", pa.string()),
        pa.field("referral_source_url", pa.string()),
        pa.field("referral_headline", pa.string()),
        pa.field("referral_body", pa.string()),
        pa.field("referral_media_type", pa.string()),
        pa.field("referral_image_url", pa.string()),
        pa.field("referral_video_url", pa.string()),
        pa.field("referral_thumbnail_url", pa.string()),
        pa.field("referral_welcome_text", pa.string()),
        pa.field("referral_extra", pa.string()),  # JSON of keys unknown to this version (E11)
        pa.field("ctwa_clid", pa.string()),
        pa.field("app", pa.string()),  # messenger | instagram; null: WhatsApp
        # The code of a coded link in the text (E21): its key, if there is exactly one that is
        # complete and this company's (`fit`); else the state is `unfit` or `several`.
        pa.field("link_code_key", pa.string()),
        pa.field("link_code_state", pa.string()),
        # Keyed hash of all columns above from `origin` on: equal copies have equal content.
        pa.field("content_key", pa.string(), nullable=False),
        pa.field("is_test", pa.bool_()),  # the platform's own test traffic; null before version 4
        # The webhook field it came in: messages, standby, smb_message_echoes, history ...; for
        # Messenger, messaging or standby. Null: none, or a row of parser versions before 4.
        pa.field("field", pa.string()),
    ]
)

STATUSES = pa.schema(
    [
        *_ORIGIN,
        *_BUSINESS,
        pa.field("message_key", pa.string(), nullable=False),
        pa.field("message_id_key", pa.string(), nullable=False),
        *_PERSON,
        pa.field("status", pa.string(), nullable=False),
        pa.field("status_at", TS, nullable=False),
        pa.field("status_at_source", pa.string(), nullable=False),
        pa.field("is_group", pa.bool_(), nullable=False),
        pa.field("conversation_origin", pa.string()),
        pa.field("pricing_model", pa.string()),
        pa.field("pricing_type", pa.string()),
        pa.field("pricing_category", pa.string()),
        pa.field("is_billable", pa.bool_()),
        pa.field("error_code", pa.int32()),
        pa.field("content_key", pa.string(), nullable=False),
        pa.field("is_test", pa.bool_()),
    ]
)

IDENTITY_LINKS = pa.schema(
    [
        *_ORIGIN,
        # A BSUID identifies a person only within one portfolio; a webhook shows just the WABA.
        pa.field("waba_id", pa.string()),
        pa.field("business_number_id", pa.string()),
        pa.field("left_key", pa.string(), nullable=False),
        # phone bsuid email web_lead crm_record
        pa.field("left_kind", pa.string(), nullable=False),
        pa.field("right_key", pa.string(), nullable=False),
        pa.field("right_kind", pa.string(), nullable=False),
        # message contact status contact_card number_change id_change contact_book outcome
        # web_lead crm_record crm_merge consent, number_plan (one number before and after its
        # country changed the spelling), and
        # erased: since then nobody known holds the phone (`keeping.erasure.anonymous.vacancies`)
        # anonymous: an erased person was said to have an identifier that others are said to have
        pa.field("link_kind", pa.string(), nullable=False),
        pa.field("observed_at", TS, nullable=False),  # time of the event that shows the link
        # When a CRM that we read said so: for each record its latest version counts.
        pa.field("recorded_at", TS),
    ]
)

OUTCOMES = pa.schema(
    [
        *_ORIGIN,
        pa.field("source", pa.string(), nullable=False),
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("occurred_at", TS, nullable=False),
        *_PERSON,
        pa.field("email_key", pa.string()),
        pa.field("web_lead_key", pa.string()),
        pa.field("message_id_key", pa.string()),
        pa.field("value", MONEY),
        pa.field("currency", pa.string()),
        # The CRM's own record of the person, and its words for the stage (the id is in `stage`).
        pa.field("crm_record_key", pa.string()),
        pa.field("stage_label", pa.string()),
        pa.field("content_key", pa.string(), nullable=False),
        # When a CRM that we read said so: of copies of one event the latest counts.
        pa.field("recorded_at", TS),
    ]
)

CHAT_SIGNALS = pa.schema(
    [
        *_ORIGIN,
        *_BUSINESS,
        pa.field("message_key", pa.string(), nullable=False),  # also of a call or a payment
        pa.field("message_id_key", pa.string(), nullable=False),
        *_PERSON,
        pa.field("said_at", TS, nullable=False),
        # The edit or deletion that this row comes from; such a row without a rule withdraws what
        # the message said before.
        pa.field("revision_key", pa.string()),
        pa.field("is_deleted", pa.bool_(), nullable=False),
        # The rule as it was when this was read: its id in the file, and a hash of what it said.
        pa.field("rule_id", pa.string()),
        pa.field("rule_version", pa.string()),
        pa.field("stage", pa.string()),
        pa.field("once_per", pa.string()),  # lead | conversation
        # Which way of meeting the rule, which condition of it, and how many there are: the rule is
        # met when one conversation has all of one way.
        pa.field("alternative", pa.int32()),
        pa.field("part", pa.int32()),
        pa.field("parts", pa.int32()),
        pa.field("is_text", pa.bool_()),  # an edit withdraws it
        # Of replies: how many it takes, and within what time from the conversation's beginning.
        pa.field("replies", pa.int32()),
        pa.field("within_seconds", pa.int64()),
        pa.field("value", MONEY),
        pa.field("currency", pa.string()),
        pa.field("content_key", pa.string(), nullable=False),
    ]
)

WEB_LEADS = pa.schema(
    [
        *_ORIGIN,
        pa.field("form_key", pa.string(), nullable=False),  # the submission: its lead_id
        pa.field("web_lead_key", pa.string(), nullable=False),  # the same as an identity
        pa.field("phone_key", pa.string()),
        pa.field("email_key", pa.string()),
        pa.field("country", pa.string()),
        pa.field("brand", pa.string()),
        pa.field("submitted_at", TS, nullable=False),
        *_WEB,
        pa.field("content_key", pa.string(), nullable=False),
        # Of Meta's instant forms; null for forms of the site.
        pa.field("leadgen_id", pa.string()),
        pa.field("lead_form_id", pa.string()),
        pa.field("page_id", pa.string()),
        pa.field("is_organic", pa.bool_()),  # reached without an ad; null: Meta does not say
        pa.field("is_test", pa.bool_()),
    ]
)

FORM_NOTICES = pa.schema(
    [
        *_ORIGIN,
        pa.field("leadgen_id", pa.string(), nullable=False),
        pa.field("web_lead_key", pa.string(), nullable=False),  # the lead as an identity
        pa.field("form_id", pa.string(), nullable=False),
        pa.field("page_id", pa.string(), nullable=False),
        pa.field("ad_id", pa.string()),
        pa.field("created_at", TS, nullable=False),
        pa.field("is_test", pa.bool_(), nullable=False),  # the sample of the App Dashboard
        pa.field("content_key", pa.string(), nullable=False),
    ]
)

LINK_CLICKS = pa.schema(
    [
        *_ORIGIN,
        pa.field("link_code_key", pa.string(), nullable=False),
        pa.field("clicked_at", TS, nullable=False),
        *_WEB,
        pa.field("content_key", pa.string(), nullable=False),
    ]
)

EXCLUSIONS = pa.schema(
    [
        *_ORIGIN,
        # Exactly one of the two: a person (staff, testers) or a business number (test lines).
        pa.field("identity_key", pa.string()),
        pa.field("identity_kind", pa.string()),  # phone bsuid email
        pa.field("business_number_id", pa.string()),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("is_excluded", pa.bool_(), nullable=False),  # false: taken back
        pa.field("declared_at", TS, nullable=False),  # the latest statement counts
        pa.field("content_key", pa.string(), nullable=False),
    ]
)

CONSENTS = pa.schema(
    [
        *_ORIGIN,
        # One person, under as many identities as were given.
        pa.field("phone_key", pa.string()),
        pa.field("bsuid_key", pa.string()),
        pa.field("email_key", pa.string()),
        pa.field("purpose", pa.string(), nullable=False),  # marketing
        pa.field("is_given", pa.bool_(), nullable=False),  # false: withdrawn
        # The latest statement about a person counts; at the same instant, the withdrawal.
        pa.field("declared_at", TS, nullable=False),
        # whatsapp_user_preferences | ctwa_consent | what a sender calls itself
        pa.field("source", pa.string(), nullable=False),
        pa.field("content_key", pa.string(), nullable=False),
    ]
)

ACCOUNT_EVENTS = pa.schema(
    [
        *_ORIGIN,
        *_BUSINESS,
        pa.field("field", pa.string(), nullable=False),  # the webhook field
        pa.field("event", pa.string()),  # e.g. PARTNER_REMOVED
        pa.field("error_code", pa.int32()),
        pa.field("occurred_at", TS),
        # False: a field that this version does not know, or a known one with people outside the
        # lists that are read. Null in rows of parser versions before 4, which kept only known ones.
        pa.field("is_known", pa.bool_()),
        # For unknown fields: whether messages or people are anywhere in them.
        pa.field("holds_people", pa.bool_()),
    ]
)

HANDOVERS = pa.schema(
    [
        *_ORIGIN,
        *_BUSINESS,
        *_PERSON,  # the customer of the chat
        # control_passed (sent to the new owner) | control_taken (sent to the previous one) | ...
        pa.field("event", pa.string()),
        # customer_service marketing utility ctwa ai_agent escalation ...
        pa.field("previous_owner_role", pa.string()),
        pa.field("new_owner_role", pa.string()),
        pa.field("occurred_at", TS, nullable=False),
        pa.field("content_key", pa.string(), nullable=False),
    ]
)

QUARANTINE = pa.schema(
    [
        *_ORIGIN,
        pa.field("source", pa.string(), nullable=False),
        pa.field("element", pa.string(), nullable=False),  # envelope message status outcome ...
        pa.field("path", pa.string(), nullable=False),  # e.g. entry[0].changes[0].value.messages[2]
        pa.field("reason", pa.string(), nullable=False),  # a code and what was expected; no values
        pa.field("parser_version", pa.int32(), nullable=False),
    ]
)

EVENT_LOG: dict[str, pa.Schema] = {
    "envelopes": ENVELOPES,
    "messages": MESSAGES,
    "statuses": STATUSES,
    "identity_links": IDENTITY_LINKS,
    "outcomes": OUTCOMES,
    "chat_signals": CHAT_SIGNALS,
    "web_leads": WEB_LEADS,
    "form_notices": FORM_NOTICES,
    "link_clicks": LINK_CLICKS,
    "exclusions": EXCLUSIONS,
    "consents": CONSENTS,
    "account_events": ACCOUNT_EVENTS,
    "handovers": HANDOVERS,
    "quarantine": QUARANTINE,
}
"""Table name to columns, as stored in `<lake>/event_log/<table>/*.parquet`."""
