"""One person's rows in the lake: finding them, and making them nobody's without losing a count.

The person's identity keys become one random key, so that leads, conversations and outcomes are
counted as before; keys of their messages, forms, events and contents become random ones that sort
as the old ones did, so that copies stay copies and ties end as they did (`anonymous`). Click ids,
country and what could name the person go; ad, campaign, headline and times stay. Nobody can
compute the new keys from the old.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingestion.erasure.anonymous import Anonymous, Found, Row, event_of
from ingestion.erasure.closure import is_old, is_theirs, sql_list
from ingestion.erasure.people import NOBODY_LINK, Person
from ingestion.erasure.sieve import CLICKS, IDENTITY_COLUMNS
from ingestion.lake import Lake, conform
from ingestion.parser.schema import EVENT_LOG

DATASET = "event_log"


def identities_marked(lake: Lake, mark: Callable[[str], str], marks: Collection[str]) -> set[str]:
    """Identity keys of the lake whose mark is among `marks`; every different key is looked at."""
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
    """Every row of the person from before that time, with what others share with them."""
    found = Found(person)
    if not person.keys:
        return found
    for table in (
        "messages", "statuses", "exclusions", "consents", "identity_links", "web_leads",
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


def make_anonymous(lake: Lake, found: Found, emptied: Collection[int], nobodies: pa.Table) -> None:
    """Rewrite the person's rows, drop their links, and blur the hashes of `emptied` bodies.

    `nobodies`: links to put in (`nobodies`). One commit over all tables: all of it counts, or none.
    """
    edit = Anonymous(found)
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
        if nobodies.num_rows:
            commit.write("identity_links", nobodies)


def nobodies(person: Person, at: datetime, name: Callable[[str], str]) -> pa.Table:
    """Links that say: from the erasure on, nobody known holds a phone that the person held last.

    Without them the phone would fall back to whoever held it earlier, and with it all that the
    person, now a new one, does later (E28). The time is that of the erasure, and no envelope
    stands behind the row: nothing of it leads to rows of the person. `name` gives the key of the
    phone's nobody, the same at each repetition.
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
    """Keys of messages of which other people have rows, as of one to a group."""
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
    """Clicks on the site's button that the person's messages speak of by their codes. A code that
    somebody else's message had first is not theirs; one that came to others later is shared."""
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
    """Outcomes of which other people have a version: the CRM corrected whose it is."""
    ids = {row["event_id"] for row in found.rows["outcomes"].values()}
    if not ids:
        return set()
    rows = lake.query(
        f"select seq, ordinal, source, event_id from {{t}} where event_id in {sql_list(ids)}",  # noqa: S608
        t=f"{DATASET}/outcomes",
    ).to_pylist()
    return {event_of(r) for r in rows if (r["seq"], r["ordinal"]) not in found.rows["outcomes"]}


def _files_with(lake: Lake, table: str, seqs: npt.NDArray[np.int64]) -> list[str]:
    """Files that hold one of the envelopes, in the order of their rows."""
    held: list[tuple[int, str]] = []
    for name in lake.files(DATASET, table):
        low, high = lake.bounds(DATASET, table, name, "seq")
        if len(seqs[(seqs >= low) & (seqs <= high)]):
            held.append((low, name))
    return [name for _, name in sorted(held)]


__all__ = ["Found", "body_keys", "find", "identities_marked", "make_anonymous", "nobodies"]
