"""Links between identities: read from the event log, and as arrays for computing.

A link is a pair of identities that something shows to be one person, or a message with one of
several identities that its copies show. In arrays, an identity is its position among all keys in
sorted order, and times are microseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ingestion.lake.lake import Lake

ANONYMOUS = "anonymous"
"""Kind of the claim that an erasure leaves behind: some unknown person has the identifier."""
CLAIMS = frozenset((
    "outcome", "web_lead", "crm_record", "consent", "contact_card", "contact_book", ANONYMOUS,
))  # fmt: skip
"""Kinds of links that somebody typed, exported or saved. The others come from WhatsApp itself, or
from a merge in the CRM."""

TIME = pa.timestamp("us", "UTC")
LINKS = pa.schema(
    [
        pa.field("left_key", pa.string(), nullable=False),
        pa.field("left_kind", pa.string(), nullable=False),
        pa.field("right_key", pa.string(), nullable=False),
        pa.field("right_kind", pa.string(), nullable=False),
        ("waba_id", pa.string()),
        pa.field("link_kind", pa.string(), nullable=False),
        pa.field("first_observed_at", TIME, nullable=False),
        pa.field("last_observed_at", TIME, nullable=False),
        # For `crm_record` and `crm_merge`, whose left end is the record: when the CRM last said so.
        ("last_recorded_at", TIME),
    ]
)
"""One row per pair, WABA and kind of link. A message whose copies show several identities (E2) is
linked with each of them: the left end is an identity (kind `any`), the right end the message."""

SAME_LINK = "left_key, right_key, waba_id, link_kind"
"""The columns that identify a link. All times are minima or maxima, so rows may arrive in any order
and be aggregated repeatedly."""

_PAIRS = f"""
    select left_key, min(left_kind) as left_kind, right_key, min(right_kind) as right_kind,
        waba_id, link_kind, min(observed_at) as first_observed_at,
        max(observed_at) as last_observed_at,
        max(coalesce(recorded_at, received_at)) as last_recorded_at
    from {{links}} where %s
    group by {SAME_LINK}
"""  # noqa: S608
_SHOWN = """
    select message_key, coalesce(bsuid_key, phone_key) as identity_key, sent_at as shown_at
    from {messages} where coalesce(bsuid_key, phone_key) is not null and %s
    union all
    select message_key, coalesce(bsuid_key, phone_key) as identity_key, status_at as shown_at
    from {statuses} where not is_group and coalesce(bsuid_key, phone_key) is not null and %s
"""
_COPIES = """
    with shown as (%s)
    select identity_key as left_key, 'any' as left_kind, message_key as right_key,
        'message' as right_kind, cast(null as varchar) as waba_id, 'copy' as link_kind,
        min(shown_at) as first_observed_at, min(shown_at) as last_observed_at,
        min(shown_at) as last_recorded_at
    from shown where message_key in (%s)
    group by message_key, identity_key
    qualify count(*) over (partition by message_key) > 1
"""


def pairs(lake: Lake, where: str = "true") -> pa.Table:
    """Rows of `identity_links` that fit a condition, as `LINKS`."""
    found = lake.query(_PAIRS % where, links="event_log/identity_links")
    return found.select(LINKS.names).cast(LINKS)


def copies(lake: Lake, of: str, *, messages: str = "true", statuses: str = "true") -> pa.Table:
    """Messages that copies or statuses show under several identities (E2), as `LINKS`.

    Within one copy the user id takes precedence over the phone; a status of a message to a group is
    about one of many. `of` selects the keys of messages, also from `shown` (`message_key`,
    `identity_key`); `messages` and `statuses` are conditions on the rows of these tables.
    """
    tables = {"messages": "event_log/messages", "statuses": "event_log/statuses"}
    found = lake.query(_COPIES % (_SHOWN % (messages, statuses), of), **tables)
    return found.select(LINKS.names).cast(LINKS)


def links_after(lake: Lake, seq: int | None) -> pa.Table:
    """Links of the envelopes after `seq` (None: all), and every copy, however old, of their
    messages."""
    if seq is None:
        found = [pairs(lake), copies(lake, "select message_key from shown")]
    else:
        newly_shown = " union all ".join(
            f"select message_key from {{{table}}} where seq > {seq:d}"  # noqa: S608
            for table in ("messages", "statuses")
        )
        found = [pairs(lake, f"seq > {seq:d}"), copies(lake, newly_shown)]
    return pa.concat_tables(found)


_KINDS = ("any", "message", "phone", "bsuid", "email", "web_lead", "crm_record", "person")
_ANY, _, PHONE, BSUID, _, FORM, RECORD, _ = range(len(_KINDS))
IDENTIFIERS = np.isin(_KINDS, ("phone", "bsuid", "email", "web_lead"))
"""By kind: whether several people may be said to have it."""
_NEVER = np.iinfo(np.int64).min

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class Graph:
    """Links (`LINKS`) as columns; `left` and `right` are positions in `keys`, which are sorted."""

    def __init__(self, links: pa.Table) -> None:
        keys, left, right = _encoded(links)
        order = pc.sort_indices(keys)
        self.keys: pa.StringArray = keys.take(order).cast(pa.string())
        self.size = len(self.keys)
        place = np.empty(self.size, dtype=np.int64)
        place[order.to_numpy()] = np.arange(self.size)
        self.left: Ints = place[left]
        self.right: Ints = place[right]
        self.left_kind = _places(links["left_kind"], pa.array(_KINDS))
        self.right_kind = _places(links["right_kind"], pa.array(_KINDS))
        self.kind = np.zeros(self.size, dtype=np.int64)
        for ends_, kinds in ((self.left, self.left_kind), (self.right, self.right_kind)):
            self.kind[ends_[kinds != _ANY]] = kinds[kinds != _ANY]
        link_kinds = links["link_kind"]
        self.is_claim = _is_in(link_kinds, CLAIMS)
        self.is_id_change = _is_in(link_kinds, ("id_change",))
        self.wabas: pa.StringArray = pc.unique(links["waba_id"].drop_null())
        self.waba = _places(links["waba_id"], self.wabas)
        self.first = _micros(links["first_observed_at"])
        self.last = _micros(links["last_observed_at"])
        self.recorded = _micros(links["last_recorded_at"])
        self.is_of_record = _is_in(link_kinds, ("crm_record",))
        self.is_merge = _is_in(link_kinds, ("crm_merge",))
        self.newest = self._newest()
        self.is_stale = self.is_of_record & (self.recorded < self.newest)

    def _newest(self) -> Ints:
        """For each link of a CRM record, the time of that record's newest version.

        A version that names nobody counts too, and so does one that shows only a merge.
        """
        record = np.where(self.left_kind == RECORD, self.left, self.right)
        latest = np.full(self.size, _NEVER)
        shown = self.is_of_record | self.is_merge
        np.maximum.at(latest, record[shown], self.recorded[shown])
        found: Ints = np.where(self.is_of_record, latest[record], _NEVER)
        return found

    def text(self, place: int) -> str:
        """The key at a position."""
        key: str = self.keys[int(place)].as_py()
        return key


def in_parts(links: pa.Table, size: int) -> Iterator[pa.Table]:
    """Links in parts of about `size` rows; no component is split between two parts."""
    if links.num_rows <= size:
        yield links
        return
    keys, left, right = _encoded(links)
    parts = -(-links.num_rows // size)
    part = components(len(keys), left, right)[left] % parts
    for number in range(parts):
        yield links.filter(pa.array(part == number))


def _encoded(links: pa.Table) -> tuple[pa.LargeStringArray, Ints, Ints]:
    """The distinct keys, and the position of each left and right end among them."""
    ends = [*links["left_key"].chunks, *links["right_key"].chunks]
    # Large strings: the keys of many links exceed what an array of plain strings can hold.
    texts = pa.chunked_array(ends, pa.string()).cast(pa.large_string()).combine_chunks()
    encoded = texts.dictionary_encode()
    places: Ints = encoded.indices.to_numpy()
    return encoded.dictionary, places[: links.num_rows], places[links.num_rows :]


def components(size: int, left: Ints, right: Ints) -> Ints:
    """For each position, the smallest position that it is connected to."""
    if not size:
        return np.array([], dtype=np.int64)
    # Imported only when links are new: as large as all of DuckDB.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = coo_array((np.ones(len(left)), (left, right)), shape=(size, size))
    _, label = connected_components(edges, directed=False)
    _, smallest = np.unique(label, return_index=True)
    found: Ints = smallest[label].astype(np.int64)
    return found


def several(place: Ints, value: Ints) -> Ints:
    """Positions with more than one distinct value."""
    width = int(value.max(initial=0)) + 1
    places, counts = np.unique(np.unique(place * width + value) // width, return_counts=True)
    found: Ints = places[counts > 1]
    return found


def least(values: Ints, starts: Ints) -> Ints:
    """The smallest value of each run of rows; `starts` are the first rows of the runs."""
    found: Ints = np.minimum.reduceat(values, starts) if len(starts) else values
    return found


def _places(column: pa.ChunkedArray, among: pa.Array) -> Ints:
    """Position of each text in `among`; -1 where it is null or absent."""
    found = pc.fill_null(pc.index_in(column, value_set=among, skip_nulls=True), -1)
    places: Ints = found.to_numpy().astype(np.int64)
    return places


def _is_in(column: pa.ChunkedArray, among: frozenset[str] | tuple[str, ...]) -> Flags:
    flags: Flags = pc.is_in(column, value_set=pa.array(sorted(among))).to_numpy()
    return flags


def _micros(column: pa.ChunkedArray) -> Ints:
    numbers: Ints = pc.fill_null(column.cast(pa.int64()), _NEVER).to_numpy()
    return numbers


def moment(us: int) -> datetime:
    """Microseconds since 1970 as a time in UTC."""
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=us)
