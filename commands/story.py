"""What is known of one lead (`ctwa why`): where it came from and by which rule, what became of it,
and what was sent about it.

A person is looked up as the parser knows them: by the keyed hash of the phone, e-mail or user id in
all its spellings, and all identities that anything connects with it (rule R4). What was typed is
neither stored nor logged nor printed. Everything shown is in the published marts and the ledger of
what was sent; neither holds anything personal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from activation.crm_ledger import Refusal
from activation.ledger import LedgerError, rows_of
from activation.outbox import identity_of
from ctwa.errors import CtwaError
from ctwa.phones import typed_phone
from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.identity.erased import Ledger, marker
from ingestion.lake.lake import Lake
from keeping.erasure.forget import identity_key
from keeping.erasure.person import DATASET, connected
from publishing.publication import Publication

Row = dict[str, Any]

_LEAD_ID = re.compile(r"(test:)?[0-9a-f]{32}(:[^#]*)?(#\d+)?")
_START = re.compile(r"[0-9a-f]{12,31}")
"""The start of an id: the report shows the first 12 characters."""


class UnknownLeadError(CtwaError):
    """There is nothing to tell. The text says why, and never what was typed."""


@dataclass
class Story:
    """One lead. Rows are those of the marts, by column; times are UTC."""

    lead: Row
    touches: list[Row]
    conversations: list[Row]
    outcomes: list[Row]
    conversions: list[Row]
    crm: dict[str, str]
    """System -> what was written to it, or why nothing was."""
    notes: list[str] = field(default_factory=list)
    """What else a reader has to know: merged, excluded, an earlier holder of the number."""


def tell(
    settings: Settings,
    lead_id: str | None = None,
    *,
    phone: str | None = None,
    bsuid: str | None = None,
    email: str | None = None,
) -> tuple[list[Story], Publication]:
    """The stories of a person's leads, the first one first, and the marts that they are from.

    `lead_id` may be its start, of 12 characters or more, if only one lead's begins so.
    Raises `UnknownLeadError` if there is none, `IdentityError` if what was typed is no identity.
    """
    marts_path = settings.marts_path
    publication = Publication.read(marts_path)
    if publication is None:
        raise UnknownLeadError(
            f"there are no published marts at {marts_path}; run `ctwa refresh` first"
        )
    if lead_id is not None and _START.fullmatch(lead_id):
        lead_id = _whole(marts_path, lead_id)
    if lead_id is not None and not _LEAD_ID.fullmatch(lead_id):
        raise UnknownLeadError(
            "that is not a lead id: these are 32 hex digits, as in the column lead_id of the "
            "marts, or their first 12, as in the report. For a person give --phone, --email or "
            "--bsuid"
        )
    names = Pseudonymizer.from_settings(settings)
    keys = {identity_of(lead_id)} if lead_id else _keys(settings, names, phone, bsuid, email)
    with duckdb.connect(str(marts_path), read_only=True) as marts:
        marts.execute("set timezone = 'UTC'")
        found = _rows(marts, "fct_leads", "lead_id = ?", lead_id, by="lead_id") if lead_id else []
        notes: list[str] = []
        if not found:
            keys |= _identities(settings, keys)
            found = _leads_of(marts, keys)
            if lead_id and found:
                notes.append(
                    f"{lead_id} turned out to be the same person, and is part of this lead"
                )
        found = _without_erased(settings, names, keys, found, notes, publication)
        stories = [_story(settings, marts, lead, notes) for lead in found]
    if not stories:
        raise UnknownLeadError(
            f"the marts as of {publication.as_of} have no lead of this person. Who wrote since "
            "then is in them after the next `ctwa refresh`; an e-mail or number that many people "
            "share identifies none of them"
        )
    return stories, publication


def _whole(marts_path: Path, start: str) -> str:
    """The only lead id that begins so; raises `UnknownLeadError` if there are none or several.

    Never says what was typed: twelve digits may be somebody's phone.
    """
    with duckdb.connect(str(marts_path), read_only=True) as marts:
        found = marts.execute(
            "select lead_id from marts.fct_leads where starts_with(lead_id, ?) order by lead_id",
            [start],
        ).fetchall()
    if len(found) == 1:
        return str(found[0][0])
    if not found:
        raise UnknownLeadError(
            "no lead of the marts has an id that begins so. If it has become part of another one, "
            "give its whole id, of 32 hex digits. For a person give --phone, --email or --bsuid"
        )
    listed = ", ".join(lead_id for (lead_id,) in found[:5])
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    raise UnknownLeadError(
        f"{len(found)} leads have an id that begins so: {listed}{more}. Give one of these whole"
    )


def _keys(
    settings: Settings,
    names: Pseudonymizer,
    phone: str | None,
    bsuid: str | None,
    email: str | None,
) -> set[str]:
    country = settings.default_country
    key = identity_key(names, phone=phone, bsuid=bsuid, email=email, default_country=country)
    older = names.older_phones(typed_phone(phone, country)) if phone else []
    return {key, *older}


def _identities(settings: Settings, keys: set[str]) -> set[str]:
    """All identities of the person that a lead's id may begin with."""
    lake = Lake.from_settings(settings)
    if not lake.files(DATASET, "identity_links"):
        return set()
    silence = timedelta(days=settings.recycled_number_days)
    degree = settings.shared_identifier_degree
    identities: set[str] = set()
    for key in sorted(keys):
        person = connected(lake, {key}, datetime.now(UTC), silence, degree)
        # A later holder's leads bear their user id, and only the first one's the phone's key.
        first = {p for p, held in person.phones.items() if any(h.since is None for h in held)}
        identities |= person.identities | first
    return identities


def _leads_of(marts: duckdb.DuckDBPyConnection, keys: set[str]) -> list[Row]:
    identity = "split_part(split_part(lead_id, '#', 1), ':', 1)"
    return _rows(
        marts, "fct_leads", f"list_contains(?, {identity})", sorted(keys), by="first_touch_at"
    )


def _without_erased(
    settings: Settings,
    names: Pseudonymizer,
    keys: set[str],
    leads: list[Row],
    notes: list[str],
    publication: Publication,
) -> list[Row]:
    """Leads begun after the person's last erasure; raises if there was one and nothing since.

    Of a number that changed hands (E28), the erasure of one holder leaves the others' leads.
    """
    erasures = Ledger.of(settings).erasures.values()
    mark = marker(names)
    marks = {mark(key) for key in keys}
    theirs = [e for e in erasures if marks & (e.marks if leads else e.marks | e.phones.keys())]
    if not theirs:
        return leads
    erasure = max(theirs, key=lambda e: e.at)
    kept = [lead for lead in leads if _utc(lead["first_touch_at"]) >= erasure.at]
    if not kept:
        left = ""
        if publication.published_at is not None and publication.published_at < erasure.at:
            left = ". The published marts are older: the next `ctwa refresh` takes them out"
        raise UnknownLeadError(
            f"this person was erased on {erasure.at:%Y-%m-%d}; their leads stay counted, without "
            f"anything that says whose they are{left}"
        )
    notes.append(f"what was known before {erasure.at:%Y-%m-%d} was erased")
    return kept


def _story(
    settings: Settings, marts: duckdb.DuckDBPyConnection, lead: Row, notes: list[str]
) -> Story:
    lead_id = lead["lead_id"]

    def rows(table: str, by: str) -> list[Row]:
        return _rows(marts, table, "lead_id = ?", lead_id, by=by)

    own = list(notes)
    if lead.get("is_excluded"):
        own.append(f"does not count in the reports: {lead.get('exclusion_reason') or 'excluded'}")
    if lead.get("is_test"):
        own.append("test traffic of a platform: counted nowhere (R14)")
    apart = "lead_id_earlier = ? or lead_id_later = $1"
    for row in _rows(marts, "identity_conflicts", apart.replace("?", "$1"), lead_id, by="reason"):
        other = {row["lead_id_earlier"], row["lead_id_later"]} - {lead_id}
        own.append(f"kept apart from {', '.join(sorted(filter(None, other)))}: {row['reason']}")
    return Story(
        lead,
        rows("fct_touches", "occurred_at, touch_id"),
        rows("fct_conversations", "started_at, conversation_id"),
        rows("fct_outcomes", "occurred_at, source, event_id"),
        rows("conversion_events", "occurred_at, conversion_event_id"),
        dict(_crm(settings, lead_id)),
        own,
    )


def _rows(
    marts: duckdb.DuckDBPyConnection, table: str, where: str, value: Any, *, by: str
) -> list[Row]:
    """Rows of a mart with times in UTC; none if this publication has no such table."""
    described = marts.execute(
        "select column_name, data_type from duckdb_columns() where table_name = ? "
        "order by column_index",
        [table],
    ).fetchall()
    if not described:
        return []
    # As text of UTC: the driver's own conversion of a time with zone needs another package.
    columns = ", ".join(
        f'timezone(\'UTC\', "{name}") as "{name}"' if "TIME ZONE" in kind else f'"{name}"'
        for name, kind in described
    )
    found = marts.execute(
        f"select {columns} from marts.{table} where {where} order by {by}",  # noqa: S608
        [value],
    )
    names = [column[0] for column in found.description or []]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def _utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC)


# ---- what the CRM was told ----------------------------------------------------------------------


def _crm(settings: Settings, lead_id: str) -> Iterator[tuple[str, str]]:
    if settings.hubspot_is_on:
        rows = _sent(settings, "crm_contacts", lead_id)
        yield "HubSpot", "; ".join(map(_contact, rows)) or _nothing_written(settings)
    if settings.crm_webhook_url:
        rows = _sent(settings, "crm_posts", lead_id)
        yield "CRM webhook", "; ".join(map(_post, rows)) or "nothing yet; the next run posts it"
    if not settings.hubspot_is_on and not settings.crm_webhook_url:
        yield "CRM", "none is connected (docs/write-back.md)"


def _nothing_written(settings: Settings) -> str:
    if settings.hubspot_write_back != "live":
        return f"nothing: HUBSPOT_WRITE_BACK is {settings.hubspot_write_back}"
    return "nothing: no contact there is known to be this person, or the next run writes it"


def _contact(row: Mapping[str, Any]) -> str:
    refusal = Refusal.read(row["skipped"])
    if refusal is not None:
        return f"refused: {refusal.text()}"
    if row["skipped"]:
        return f"not written: {row['skipped']}"
    kept = "" if row["kept"] == "[]" else "; left as edited there: " + row["kept"].strip("[]")
    return f"written on {datetime.fromtimestamp(row['noted_us'] / 1e6, UTC):%Y-%m-%d}{kept}"


def _post(row: Mapping[str, Any]) -> str:
    states = {
        "delivered": f"{row['event']} delivered",
        "pending": f"{row['event']} is sent again, last answer: {row['answer'] or 'none yet'}",
        "refused": f"{row['event']} refused by the CRM: {row['answer']}",
        "given_up": f"{row['event']} not accepted for two days, given up: {row['answer']}",
        "no_identity": "not posted: the vault no longer has a phone or e-mail of this person",
    }
    return states.get(row["state"], row["state"])


def _sent(settings: Settings, table: str, lead_id: str) -> list[Row]:
    try:
        return rows_of(settings, table, lead_id)
    except LedgerError as error:
        raise UnknownLeadError(str(error)) from None
