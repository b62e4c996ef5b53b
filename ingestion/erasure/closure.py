"""The person in the lake: everything that rows connect with an identity, and whose rows are theirs.

Reads the lake only, and of it only what is near: links and copies of messages (E2) are followed
from the given identities outwards, whoever they belong to; `people` then says who is who.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta

from ingestion.erasure.people import NOBODY_LINK, Copy, People, Period, Person, Row
from ingestion.erasure.sieve import IDENTITY_COLUMNS, TIME_COLUMNS
from ingestion.lake import Lake

DATASET = "event_log"


def connected(
    lake: Lake,
    start: Iterable[str],
    before: datetime,
    silence: timedelta,
    *,
    on: datetime | None = None,
) -> Person:
    """The person of these identities, by rows of before that time (rule R4).

    A phone that changed hands means its holder at `on` (else at `before`), and nobody where other
    identities are given: those say who is meant.
    """
    start = set(start)
    links, copies = _near(lake, start, before)
    people = People(links, copies, silence)
    phones = {key for key in start if people.changed_hands(key)}
    return people.person(start - phones or {people.stands_for(p, on or before) for p in phones})


def _near(lake: Lake, start: set[str], before: datetime) -> tuple[list[Row], list[Copy]]:
    """Links and copies that touch an identity reachable from `start`, and those identities' own."""
    known, fresh = set(start), set(start)
    links: dict[tuple[str, ...], Row] = {}
    copies: set[Copy] = set()
    while fresh:
        found = {tuple(row.values()): row for row in _links_of(lake, fresh, before)}
        shown = _copies_of(lake, fresh, before)
        links |= found
        copies |= shown
        ends = {row[side] for row in found.values() for side in ("left_key", "right_key")}
        fresh = (ends | {copy.identity_key for copy in shown}) - known
        known |= fresh
    return list(links.values()), sorted(copies)


def _links_of(lake: Lake, identities: set[str], before: datetime) -> list[Row]:
    """Links of these identities, each kind of link with its first and its last time."""
    listed = sql_list(identities)
    columns = "left_key, left_kind, right_key, right_kind, waba_id, link_kind"
    rows = lake.query(
        f"with shown as (select *, unnest([first_at, last_at]) as observed_at from ("  # noqa: S608
        f"select {columns}, min(observed_at) as first_at, max(observed_at) as last_at from {{t}} "
        f"where (left_key in {listed} or right_key in {listed}) "
        f"and {is_old('identity_links', before)} group by all)) "
        f"select distinct {columns}, observed_at from shown",
        t=f"{DATASET}/identity_links",
    )
    found: list[Row] = rows.to_pylist()
    return found


def _copies_of(lake: Lake, identities: set[str], before: datetime) -> set[Copy]:
    """Of messages of these identities that copies show under several: all identities (E2).

    As in `int_messages__addressed`: of both identities in one copy the user id is meant; a status
    of a message to a group speaks of one of many.
    """
    identity = "coalesce(bsuid_key, phone_key)"
    rows = lake.query(
        f"with copies as ("  # noqa: S608
        f"select message_key, {identity} as identity_key, sent_at as shown_at from {{m}} "
        f"where {is_old('messages', before)} union all "
        f"select message_key, {identity} as identity_key, status_at as shown_at from {{s}} "
        f"where not is_group and {is_old('statuses', before)}) "
        f"select message_key, identity_key, min(shown_at) as shown_at from copies "
        f"where identity_key is not null and message_key in ("
        f"select message_key from copies where identity_key in {sql_list(identities)}) "
        f"group by message_key, identity_key qualify count(*) over (partition by message_key) > 1",
        m=f"{DATASET}/messages",
        s=f"{DATASET}/statuses",
    )
    return {Copy(**row) for row in rows.to_pylist()}


def messages_between(lake: Lake, phone: str, period: Period, before: datetime) -> int:
    """Different messages that show the phone in a period, of before that time."""
    rows = lake.query(
        f"select count(distinct message_key) as n from {{m}} "  # noqa: S608
        f"where phone_key in {sql_list([phone])} and {_within('sent_at', period)} "
        f"and {is_old('messages', before)}",
        m=f"{DATASET}/messages",
    )
    return int(rows["n"][0].as_py())


# ---- conditions in SQL ---------------------------------------------------------------------


def is_theirs(table: str, person: Person) -> str:
    """Whether a row is the person's; never null."""
    if table == "identity_links":
        return _is_their_link(person)
    columns = IDENTITY_COLUMNS[table]
    tests = [_is_among(column, person.identities) for column in columns]
    # In a message the user id decides, as in the models: a phone only where there is none.
    alone = " and bsuid_key is null" if table in ("messages", "statuses") else ""
    for column in columns:
        if column in ("phone_key", "identity_key"):
            tests += [f"({test}{alone})" for test in _in_their_time(column, table, person)]
    return f"({' or '.join(tests)})"


def _is_their_link(person: Person) -> str:
    """The end that is no phone of several people decides: with whom such a phone was seen is
    another question than whose it was. A nobody stays while an earlier holder of the phone does."""
    left, right = (_in_their_time(c, "identity_links", person) for c in ("left_key", "right_key"))
    tests = [_is_among(column, person.identities) for column in ("left_key", "right_key")]
    if left:  # between two such phones
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
    tests = [f"{column} >= {_moment(period.since)}"] if period.since else []
    tests += [f"{column} < {_moment(period.until)}"] if period.until else []
    return " and ".join(tests) or "true"


def is_old(table: str, before: datetime) -> str:
    """Whether a row is of before that time, by its own time or by its receipt."""
    return f"least({TIME_COLUMNS[table]}, received_at) < {_moment(before)}"


def _moment(at: datetime) -> str:
    return f"timestamptz '{at.astimezone(UTC).isoformat()}'"


def sql_list(values: Iterable[str]) -> str:
    """SQL list of texts; braces are doubled for `Lake.query`."""
    doubled = (v.replace("'", "''").replace("{", "{{").replace("}", "}}") for v in values)
    quoted = (f"'{v}'" for v in doubled)
    return f"({', '.join(sorted(quoted)) or 'null'})"


__all__ = ["connected", "is_old", "is_theirs", "messages_between", "sql_list"]
