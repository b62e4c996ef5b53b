"""Where a person occurs: rows of the lake, and bodies of the vault that name them.

The rows of the event log lead to most bodies. `envelopes_naming` finds the others: quarantined
elements, fields that make no row, a phone number inside a message id or in somebody's text.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_plus

import orjson
import pyarrow as pa

from ctwa.pseudonym import Pseudonymizer
from ingestion.identity.erased import Period, marker
from ingestion.identity.links import CLAIMS
from ingestion.identity.sieve import CLICKS, IDENTITY_COLUMNS, TIME_COLUMNS, span
from ingestion.lake.lake import Lake
from ingestion.parser.schema import EVENT_LOG
from keeping.erasure.person import DATASET, NOBODY_LINK, Person, is_old, moment, sql_list

Row = dict[str, Any]


@dataclass(slots=True)
class Found:
    """One person in the lake. `rows`: table to (seq, ordinal) to the row's keys."""

    person: Person
    rows: dict[str, dict[tuple[int, int], Row]] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)
    """Keys of messages and codes, and `source|event id`, that others' rows have as well."""
    bodies: set[int] = field(default_factory=set)
    """Envelopes whose bodies name the person, whether or not they have rows of theirs."""

    @property
    def seqs(self) -> set[int]:
        """Envelopes with rows of the person."""
        return {seq for places in self.rows.values() for seq, _ in places}

    @property
    def message_ids(self) -> set[str]:
        """Message id keys that only this person has."""
        ids = {
            row["message_id_key"]
            for table in ("messages", "statuses")
            for row in self.rows.get(table, {}).values()
        }
        return ids - self.shared

    @property
    def link_codes(self) -> set[str]:
        """Keys of codes that occur only in this person's messages."""
        codes = {row["link_code_key"] for row in self.rows.get("messages", {}).values()}
        return codes - self.shared - {None}

    def counts(self) -> dict[str, int]:
        """Number of rows by table."""
        return {table: len(self.rows.get(table, {})) for table in (*IDENTITY_COLUMNS, CLICKS)}


def event_of(row: Mapping[str, Any]) -> str:
    """What identifies an outcome: its copies and corrections share it."""
    return f"{row['source']}|{row['event_id']}"


def identities_marked(lake: Lake, mark: Callable[[str], str], marks: Collection[str]) -> set[str]:
    """Identity keys of the lake whose mark is in `marks`; every distinct key is examined."""
    found: set[str] = set()
    for table, columns in IDENTITY_COLUMNS.items():
        for column in columns:
            keys = lake.query(
                f"select distinct {column} as k from {{t}} where {column} is not null",  # noqa: S608
                t=f"{DATASET}/{table}",
            )
            found.update(key for key in keys["k"].to_pylist() if mark(key) in marks)
    return found


def find(lake: Lake, person: Person, before: datetime) -> Found:
    """Every row of the person from before that time, and what others share with them."""
    found = Found(person)
    if not person.keys:
        return found
    for table in (
        "messages", "statuses", "chat_signals", "exclusions", "consents", "handovers",
        "identity_links", "web_leads", "form_notices",
    ):  # fmt: skip
        found.rows[table] = _select(lake, table, is_theirs(table, person), before)
    keys = {r["message_key"] for t in ("messages", "statuses") for r in found.rows[t].values()}
    found.shared = _shared_messages(lake, found, keys)
    for table in ("messages", "statuses"):  # rows of their messages that name nobody
        nameless = f"phone_key is null and bsuid_key is null and message_key in {sql_list(keys)}"
        found.rows[table] |= _select(lake, table, nameless, before)
    theirs = is_theirs("outcomes", person)
    by_message = f"coalesce(message_id_key in {sql_list(found.message_ids)}, false)"
    found.rows["outcomes"] = _select(lake, "outcomes", f"({theirs} or {by_message})", before)
    found.shared |= _shared_events(lake, found)
    _find_clicks(lake, found, before)
    return found


def body_keys(lake: Lake, seqs: Collection[int]) -> set[str]:
    """Keyed hashes of the bodies of these envelopes."""
    listed = ", ".join(str(int(seq)) for seq in seqs) or "null"
    keys = lake.query(
        f"select distinct body_key from {{t}} where seq in ({listed})",  # noqa: S608
        t=f"{DATASET}/envelopes",
    )
    return set(keys["body_key"].to_pylist())


def _select(lake: Lake, table: str, where: str, before: datetime) -> dict[tuple[int, int], Row]:
    wanted = ("message_key", "message_id_key", "form_key", "link_code_key", "content_key",
              "source", "event_id")  # fmt: skip
    columns = [c for c in wanted if c in EVENT_LOG[table].names]
    rows = lake.query(
        f"select {', '.join(['seq', 'ordinal', *columns])} from {{t}} "  # noqa: S608
        f"where ({where}) and {is_old(table, before)}",
        t=f"{DATASET}/{table}",
    )
    return {(row["seq"], row["ordinal"]): row for row in rows.to_pylist()}


def _shared_messages(lake: Lake, found: Found, keys: set[str]) -> set[str]:
    """Keys of messages of which other people have rows too, such as those to a group."""
    shared: set[str] = set()
    if not keys:
        return shared
    for table in ("messages", "statuses"):
        rows = lake.query(
            f"select distinct message_key, message_id_key from {{t}} "  # noqa: S608
            f"where message_key in {sql_list(keys)} "
            f"and coalesce(phone_key, bsuid_key) is not null "
            f"and not ({is_theirs(table, found.person)})",
            t=f"{DATASET}/{table}",
        )
        for column in ("message_key", "message_id_key"):
            shared.update(rows[column].to_pylist())
    return shared


def _find_clicks(lake: Lake, found: Found, before: datetime) -> None:
    """Clicks on the site's button that the person's messages refer to by code. A code that was
    first in somebody else's message is not theirs; one that others sent later is shared."""
    codes = {r["link_code_key"] for r in found.rows["messages"].values() if r["link_code_key"]}
    if not codes:
        return
    users = lake.query(
        f"select link_code_key, seq, ordinal from {{t}} "  # noqa: S608
        f"where link_code_key in {sql_list(codes)} order by sent_at desc, message_key desc",
        t=f"{DATASET}/messages",
    ).to_pylist()
    theirs = found.rows["messages"].keys()
    first = {u["link_code_key"]: (u["seq"], u["ordinal"]) for u in users}
    own = [code for code, place in first.items() if place in theirs]
    found.shared |= {u["link_code_key"] for u in users if (u["seq"], u["ordinal"]) not in theirs}
    found.rows[CLICKS] = _select(lake, CLICKS, f"link_code_key in {sql_list(own)}", before)


def _shared_events(lake: Lake, found: Found) -> set[str]:
    """Outcomes of which other people have a version: the CRM corrected whose they are."""
    ids = {row["event_id"] for row in found.rows["outcomes"].values()}
    if not ids:
        return set()
    rows = lake.query(
        f"select seq, ordinal, source, event_id from {{t}} where event_id in {sql_list(ids)}",  # noqa: S608
        t=f"{DATASET}/outcomes",
    ).to_pylist()
    return {event_of(r) for r in rows if (r["seq"], r["ordinal"]) not in found.rows["outcomes"]}


def messages_between(lake: Lake, phone: str, period: Period, before: datetime) -> int:
    """How many messages from before that time show the phone in a period."""
    rows = lake.query(
        f"select count(distinct message_key) as n from {{m}} "  # noqa: S608
        f"where phone_key in {sql_list([phone])} and {_within('sent_at', period)} "
        f"and {is_old('messages', before)}",
        m=f"{DATASET}/messages",
    )
    return int(rows["n"][0].as_py())


# ---- whose a row is, in SQL --------------------------------------------------------------------


_CLAIMED = ("outcomes", "web_leads", "consents")
"""Tables of data that somebody typed or exported."""


def is_theirs(table: str, person: Person) -> str:
    """SQL: whether a row is the person's; never null."""
    if table == "identity_links":
        return _is_their_link(person)
    columns = IDENTITY_COLUMNS[table]
    # An identifier that others are also said to have does not show whose a claim is (E86).
    deciding = person.identities - person.shared if table in _CLAIMED else person.identities
    tests = [_is_among(column, deciding) for column in columns]
    # In a message the user id decides, as in the models, and a phone only if there is none.
    alone = " and bsuid_key is null" if table in ("messages", "statuses", "chat_signals") else ""
    for column in columns:
        if column in ("phone_key", "identity_key"):
            tests += [f"({test}{alone})" for test in _in_their_time(column, table, person)]
    return f"({' or '.join(tests)})"


def _is_their_link(person: Person) -> str:
    """The end that is not a phone of several people decides: with whom such a phone was seen does
    not say whose it was. A nobody stays as long as an earlier holder of the phone does."""
    left, right = (_in_their_time(c, "identity_links", person) for c in ("left_key", "right_key"))
    own = person.identities - person.shared
    tests = [_is_among(column, own) for column in ("left_key", "right_key")]
    if person.shared:
        is_claim = f"coalesce(link_kind in {sql_list(CLAIMS)}, false)"
        tests += [
            f"(not {is_claim} and {_is_among(column, person.shared)})"
            for column in ("left_key", "right_key")
        ]
    if left:  # a link between two such phones
        tests.append(f"(({' or '.join(left)}) and ({' or '.join(right)}))")
    return (
        f"(case when link_kind = '{NOBODY_LINK}' then {_is_among('left_key', person.identities)} "
        f"or {_is_among('right_key', person.vacated)} else {' or '.join(tests)} end)"
    )


def _is_among(column: str, keys: Collection[str]) -> str:
    return f"coalesce({column} in {sql_list(keys)}, false)"


def _in_their_time(column: str, table: str, person: Person) -> list[str]:
    return [
        f"({_is_among(column, [phone])} and {_within(TIME_COLUMNS[table], period)})"
        for phone, periods in sorted(person.phones.items())
        for period in periods
    ]


def _within(column: str, period: Period) -> str:
    tests = [f"{column} >= {moment(period.since)}"] if period.since else []
    tests += [f"{column} < {moment(period.until)}"] if period.until else []
    return " and ".join(tests) or "true"


# ---- bodies of the vault ----------------------------------------------------------------------

_DIGITS = re.compile(r"\d{7,17}")
_WRITTEN_PHONE = re.compile(r"\+?\d(?:[ ().\-]{0,2}\d){6,16}")
_BSUID = re.compile(r"(?<![A-Za-z])[A-Za-z]{2}\.(?:ENT\.)?[A-Za-z0-9]{4,128}")
_EMAIL = re.compile(r"[^\s\"'<>,;:\\()]+@[^\s\"'<>,;:\\()]+")
_BETWEEN_FIELDS = re.compile("[&=]")
_WAMID = re.compile(r"wamid\.([A-Za-z0-9+/_\-]{8,})")


def envelopes_naming(
    batches: Iterable[pa.RecordBatch],
    marks: Collection[str],
    names: Pseudonymizer,
    received_before_us: int,
    phones: Mapping[str, Sequence[Period]],
) -> Iterator[int]:
    """`seq` of the envelopes received before then (µs) whose body names a marked identity.

    `phones` are also other people's: they count only in bodies received in the given periods.
    """
    mark = marker(names)
    always = (span(Period()),)
    spans = {m: tuple(map(span, periods)) for m, periods in phones.items()}
    spans |= dict.fromkeys(marks, always)

    def known(of: Callable[[str], str | None]) -> Callable[[str, int], bool]:
        @lru_cache(1 << 16)
        def times(text: str) -> tuple[tuple[int, int], ...]:
            key = of(text)
            return () if key is None else spans.get(mark(key), ())

        return lambda text, at: any(since <= at < until for since, until in times(text))

    tests = (
        (_DIGITS, known(names.phone)),
        (_WRITTEN_PHONE, known(names.phone)),
        (_BSUID, known(names.bsuid)),
    )
    is_email = known(names.email)
    for batch in batches:
        times = batch.column("received_at").cast(pa.int64()).to_pylist()
        columns = batch.column("seq").to_pylist(), times, batch.column("body").to_pylist()
        for seq, received_us, body in zip(*columns, strict=True):
            if received_us >= received_before_us:
                continue
            text = _readable(body)
            if any(
                test(m, received_us) for pattern, test in tests for m in set(pattern.findall(text))
            ) or ("@" in text and any(is_email(m, received_us) for m in set(_EMAIL.findall(text)))):
                yield seq


def _readable(body: bytes) -> str:
    """The body's text without escapes, followed by what its message ids hold."""
    text = body.decode("utf-8", "replace").replace("\\/", "/")
    if "%" in text and ("%40" in text or text.lstrip()[:1] not in ("{", "[")):  # a form, or a page
        text += " " + unquote_plus(_BETWEEN_FIELDS.sub(" ", text))
    if "\\u00" in text:
        with suppress(orjson.JSONDecodeError):
            text = orjson.dumps(orjson.loads(body)).decode()
    return text + "".join(f" {_decoded(wamid)}" for wamid in _WAMID.findall(text))


def _decoded(wamid: str) -> str:
    """The text in a message id: base64 of a record with the phone number."""
    whole = wamid.translate(str.maketrans("-_", "+/"))
    try:
        return base64.b64decode(whole + "=" * (-len(whole) % 4)).decode("latin-1")
    except binascii.Error:
        return ""
