"""The edits that remove a person from the lake and from what was sent, without losing a count.

The person's identity keys become one random key, so that leads, conversations and outcomes are
counted as before. Keys of their messages, forms, events and contents become random ones in the same
order, so that copies stay copies and ties are decided as before. Click ids, country and whatever
could identify the person are removed; ad, campaign, headline and times stay. The new keys cannot be
computed from the old ones.

Events in the ledger of what was sent keep their row, without the person: what was sent was sent,
and the counts stay. Rows kept to compare with the CRM's records are useless without the person and
are deleted. A lead's id begins with an identity key of its person, and the ledger of erasures has
the marks of those keys: so this needs no lake, and the same call cleans a restored file.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Collection, Iterable
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from activation.conversions_ledger import states_path
from activation.ledger import Connection, is_begun, open_ledger, shred, transaction
from ctwa.settings import Settings
from ingestion.identity.erased import Erasure
from ingestion.identity.links import ANONYMOUS, CLAIMS
from ingestion.identity.sieve import CLICKS, IDENTITY_COLUMNS, TIME_COLUMNS
from ingestion.identity.update import drop as drop_identity
from ingestion.lake.lake import Lake, conform
from ingestion.parser.schema import EVENT_LOG
from keeping.erasure.person import DATASET, NOBODY_LINK, Person
from keeping.erasure.traces import Found, Row, event_of

ERASED_CLICK = "erased"
"""Replaces a click id: that there was one is part of the lead's basis (R6)."""

ERASED_REASON = "erased"
"""Replaces an exclusion's reason: the leads still do not count (E20)."""

_PLACE = [("seq", "ascending"), ("ordinal", "ascending")]
_ALIASED = ("message_key", "message_id_key", "form_key", "link_code_key")
_DEAL = re.compile(r"hubspot_deals\|deal:[^:]*:")
_CLICK_IDS = ("gclid", "gbraid", "wbraid", "fbclid", "msclkid")


class Anonymous:
    """Replaces keys, each by the same random one wherever it occurs."""

    def __init__(self, found: Found) -> None:
        self._found = found
        self._person = secrets.token_hex(16)
        rows = [row for places in found.rows.values() for row in places.values()]
        self._alias: dict[str, dict[str, str]] = {
            column: _aliases({r[column] for r in rows if r.get(column)} - found.shared)
            for column in (*_ALIASED, "content_key")
        }
        events = {event_of(r) for r in found.rows.get("outcomes", {}).values()} - found.shared
        self._alias["event_id"] = _of_one_deal(_aliases(events))
        self._blurred_keys: dict[str, str] = {}

    def table(self, table: str, rows: pa.Table, seqs: npt.NDArray[np.int64]) -> pa.Table:
        """`rows` with those of the person changed; their `identity_links` are left out, except
        claims on identifiers that others are said to have as well."""
        near = np.isin(rows["seq"].to_numpy(), seqs)
        if not near.any():
            return rows
        if table == "envelopes":
            return self._blurred(rows, near)
        places = zip(rows["seq"].to_pylist(), rows["ordinal"].to_pylist(), strict=True)
        theirs = np.array([place in self._found.rows[table] for place in places])
        kept = rows.filter(pa.array(~theirs))
        if table == "identity_links":
            changed = [*filter(None, map(self._claim, rows.filter(pa.array(theirs)).to_pylist()))]
            both = [kept, pa.Table.from_pylist(changed, schema=rows.schema)]
            return pa.concat_tables(both).sort_by(_PLACE)
        changed = [self._changed(table, r) for r in rows.filter(pa.array(theirs)).to_pylist()]
        both = pa.concat_tables([kept, pa.Table.from_pylist(changed, schema=rows.schema)])
        return both.sort_by(_PLACE)

    def _claim(self, row: Row) -> Row | None:
        """The claim of an unknown person on an identifier that others are said to have as well:
        without it, too few would be left, and they would count as one person (E86)."""
        for own, other in (("left", "right"), ("right", "left")):
            if row["link_kind"] in CLAIMS and row[f"{other}_key"] in self._found.person.claimed:
                ends = {f"{own}_key": self._person, f"{own}_kind": "person"}
                return row | ends | {"link_kind": ANONYMOUS, "recorded_at": None}
        return None

    def _changed(self, table: str, row: Row) -> Row:
        for column in _ALIASED:
            if row.get(column):
                row[column] = self._alias[column].get(row[column], row[column])
        if table == CLICKS:  # it names nobody; a message of the person refers to it
            return row | self._content(row) | _blurred_page(row)
        named = [c for c in IDENTITY_COLUMNS[table] if row[c]]
        at, person = row[TIME_COLUMNS[table]], self._found.person
        theirs = [c for c in named if person.has(row[c], at)]
        if named and not theirs:
            return row  # an outcome that names another person and a message of this one
        # These may name the holder of a phone and an address of the holder before (E28).
        is_mixed = table in ("outcomes", "web_leads", "consents")
        row |= dict.fromkeys(theirs if is_mixed else named, self._person)
        row |= {"country": None} | self._content(row)
        if table == "messages":
            row |= {"context_message_id_key": None, "referral_extra": None}
            row["ctwa_clid"] = ERASED_CLICK if row["ctwa_clid"] else row["ctwa_clid"]
            url = row["referral_source_url"]
            row["referral_source_url"] = url and url.partition("?")[0]
        elif table == "chat_signals":
            revision = row["revision_key"]
            row["revision_key"] = self._alias["message_key"].get(revision, revision)
        elif table == "exclusions":
            row["reason"] = ERASED_REASON  # the typed text may name the person
        elif table == "web_leads":
            row |= _blurred_page(row)
            row["leadgen_id"] = ERASED_CLICK if row["leadgen_id"] else None
        elif table == "form_notices":
            row["leadgen_id"] = ERASED_CLICK
        elif table == "outcomes":
            row["event_id"] = self._alias["event_id"].get(event_of(row), row["event_id"])
        return row

    def _content(self, row: Row) -> Row:
        return {"content_key": self._alias["content_key"][row["content_key"]]}

    def _blurred(self, rows: pa.Table, near: npt.NDArray[np.bool_]) -> pa.Table:
        index, known = rows.column_names.index("body_key"), self._blurred_keys
        keys = rows["body_key"].to_pylist()
        blurred = [
            known.setdefault(k, secrets.token_hex(16)) if n else k
            for k, n in zip(keys, near, strict=True)
        ]
        return rows.set_column(index, rows.schema.field(index), pa.array(blurred))


def _blurred_page(row: Row) -> Row:
    """How the visitor came to the page stays; the click and the page itself may identify them."""
    clicks = {column: ERASED_CLICK for column in _CLICK_IDS if row[column]}
    return {"page_path": None, "referrer_host": None} | clicks


def _of_one_deal(aliases: dict[str, str]) -> dict[str, str]:
    """Aliases that keep events of one HubSpot deal together: it is paid once (E90)."""
    deals = {event: match[0] for event in aliases if (match := _DEAL.match(event))}
    unnamed = _aliases(set(deals.values()))
    return {
        event: f"deal:{unnamed[deals[event]]}:{alias}" if event in deals else alias
        for event, alias in aliases.items()
    }


def _aliases(values: Iterable[str]) -> dict[str, str]:
    """A random key for each value; the keys sort as the values do."""
    ordered = sorted(values)
    return dict(zip(ordered, sorted(secrets.token_hex(16) for _ in ordered), strict=True))


def make_anonymous(lake: Lake, found: Found, emptied: Collection[int], links: pa.Table) -> None:
    """Rewrite the person's rows, drop their links, and replace the hashes of `emptied` bodies.

    `links`: rows to add, made by `vacancies`. One commit over all tables, all or nothing.
    """
    edit = Anonymous(found)
    drop_identity(lake)  # its tables also contain the person
    lake.drop_set_aside(DATASET)  # copies of damaged files also contain the person
    emptied_seqs = np.array(sorted(emptied), dtype=np.int64)
    with lake.commit(DATASET) as commit:
        for table, schema in EVENT_LOG.items():
            if table in found.rows:
                seqs = np.array(sorted({s for s, _ in found.rows[table]}), dtype=np.int64)
            else:
                seqs = emptied_seqs if table == "envelopes" else np.array([], dtype=np.int64)
            if not len(seqs):
                continue
            names = _files_with(lake, table, seqs)
            for rows in lake.read(DATASET, table, names):
                commit.write(table, edit.table(table, conform(rows, schema), seqs))
            commit.remove(table, names)
        if links.num_rows:
            commit.write("identity_links", links)


def vacancies(person: Person, at: datetime, name: Callable[[str], str]) -> pa.Table:
    """Links that say: since the erasure, nobody known holds the phones that the person held last.

    Without them a phone would go back to its earlier holder, and so would everything that the
    person, now a new one, does later (E28). They have the time of the erasure and no envelope:
    nothing in them leads to rows of the person. `name` gives the key of the phone's nobody, the
    same at each repetition.
    """
    rows = [
        {
            "seq": 0,
            "ordinal": int(name(f"{phone}:{waba}")[:7], 16),
            "received_at": at,
            "waba_id": waba,
            "left_key": phone,
            "left_kind": "phone",
            "right_key": name(phone),
            "right_kind": "bsuid",
            "link_kind": NOBODY_LINK,
            "observed_at": at,
        }
        for phone, wabas in sorted(person.given_up.items())
        for waba in wabas
    ]
    return pa.Table.from_pylist(rows, schema=EVENT_LOG["identity_links"])


def _files_with(lake: Lake, table: str, seqs: npt.NDArray[np.int64]) -> list[str]:
    """Files that contain one of the envelopes, in the order of their rows."""
    held: list[tuple[int, str]] = []
    for name in lake.files(DATASET, table):
        low, high = lake.bounds(DATASET, table, name, "seq")
        if len(seqs[(seqs >= low) & (seqs <= high)]):
            held.append((low, name))
    return [name for _, name in sorted(held)]


# ---- what was sent -----------------------------------------------------------------------------

_EVENTS = "conversions"
_DROPPED = {"crm_contacts": ("lead_id", "contact_key"), "crm_posts": ("lead_id",)}
"""Tables whose rows are deleted, and the columns that start with, or are, an identity key."""


def erase_sent(settings: Settings, erasure: Erasure, mark: Callable[[str], str]) -> int:
    """Remove the person from the ledger and the states file; returns how many rows were theirs.

    Safe to repeat. The caller holds the refresh lock.
    """
    changed = _clean(settings, lambda key: is_of(erasure, mark(key))) if is_begun(settings) else 0
    states_path(settings).unlink(missing_ok=True)  # the next run writes it again
    return changed


def is_of(erasure: Erasure, mark: str) -> bool:
    """Whether the lead whose id begins with the key of this mark was the person's.

    If a phone changed hands (E28), the id with the phone's key is its first holder's; later
    holders have ids with their user id.
    """
    return mark in erasure.marks or any(p.since is None for p in erasure.phones.get(mark, ()))


def _clean(settings: Settings, is_theirs: Callable[[str], bool]) -> int:
    with open_ledger(settings) as ledger:
        with transaction(ledger):
            changed = _anonymous_events(ledger, is_theirs)
            for table, columns in _DROPPED.items():
                for column in columns:
                    theirs = _values(ledger, table, column, is_theirs)
                    sql = f"delete from {table} where {column} = ?"  # noqa: S608
                    changed += ledger.executemany(sql, theirs).rowcount if theirs else 0
        if changed:
            shred(ledger)
    return changed


def _anonymous_events(ledger: Connection, is_theirs: Callable[[str], bool]) -> int:
    """Remove lead, outcome, purchase and click; the new id cannot be computed from the lead's."""
    leads = _values(ledger, _EVENTS, "lead_id", is_theirs)
    ids = [
        found
        for lead in leads
        for found in ledger.execute(
            f"select conversion_event_id from {_EVENTS} where lead_id = ?",  # noqa: S608
            lead,
        )
    ]
    ledger.executemany(
        f"update {_EVENTS} set conversion_event_id = ?, lead_id = null, occurrence = null, "  # noqa: S608
        "outcome_key = null, click_key = null, fbtrace_id = null where conversion_event_id = ?",
        [(secrets.token_hex(16), *one) for one in ids],
    )
    return len(ids)


def _values(
    ledger: Connection, table: str, column: str, is_theirs: Callable[[str], bool]
) -> list[tuple[str]]:
    """Distinct values of a column that begin with an identity key of theirs."""
    found: Iterable[tuple[str]] = ledger.execute(
        f"select distinct {column} from {table} where {column} is not null"  # noqa: S608
    ).fetchall()
    return [(value,) for (value,) in found if is_theirs(_identity_of(value))]


def _identity_of(lead_id: str) -> str:
    return lead_id.partition("#")[0].partition(":")[0]
