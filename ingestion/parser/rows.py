"""Rows of one batch, collected per table and turned into Arrow columns of explicit types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from ingestion.parser.limits import Reject
from ingestion.parser.schema import EVENT_LOG, PARSER_VERSION

REASON_CHARS = 200

Path = tuple[str | int, ...]
"""Where an element stands, as keys and places: written out only when it is quarantined."""


class Rows:
    """Tuples by table, each in the order of the table's columns.

    `seq`, `received_us` and `source` are those of the envelope at hand; `ordinal` counts its rows
    over all tables, so that (seq, ordinal) names a row. `message_elements` and
    `rejected_messages` count the envelope's messages (R1).
    """

    __slots__ = (
        "account_events", "consents", "envelopes", "exclusions", "identity_links", "link_clicks",
        "message_elements", "messages", "ordinal", "outcomes", "quarantine", "received_us",
        "rejected_messages", "seq", "source", "statuses", "web_leads",
    )  # fmt: skip

    def __init__(self) -> None:
        self.envelopes: list[tuple[Any, ...]] = []
        self.messages: list[tuple[Any, ...]] = []
        self.statuses: list[tuple[Any, ...]] = []
        self.identity_links: list[tuple[Any, ...]] = []
        self.outcomes: list[tuple[Any, ...]] = []
        self.web_leads: list[tuple[Any, ...]] = []
        self.link_clicks: list[tuple[Any, ...]] = []
        self.exclusions: list[tuple[Any, ...]] = []
        self.consents: list[tuple[Any, ...]] = []
        self.account_events: list[tuple[Any, ...]] = []
        self.quarantine: list[tuple[Any, ...]] = []
        self.seq = self.received_us = self.ordinal = 0
        self.message_elements = self.rejected_messages = 0
        self.source = ""

    def begin(self, seq: int, received_us: int, source: str) -> None:
        """Start an envelope."""
        self.seq, self.received_us, self.source = seq, received_us, source
        self.ordinal = self.message_elements = self.rejected_messages = 0

    def take(
        self,
        element: str,
        item: Any,
        path: Path,
        add: Callable[[Any, Path], None],
        doubt: str | None = None,
    ) -> None:
        """Run `add(item, path)`; quarantine what it refuses, or what is in `doubt` already."""
        is_message = element == "message"
        if is_message:
            self.message_elements += 1
        reason = doubt
        if reason is None:
            try:
                add(item, path)
                return
            except Reject as reject:
                reason = str(reject)
            except Exception as error:  # noqa: BLE001 - one element must never stop the others
                # The type alone: the text of an exception may hold what it met.
                reason = f"parser_error: {type(error).__name__}"
        if is_message:
            self.rejected_messages += 1
        self.reject(element, path, reason)

    def place(self) -> tuple[int, int, int]:
        """The three columns every row starts with; each call is a new row."""
        ordinal = self.ordinal
        self.ordinal = ordinal + 1
        return self.seq, ordinal, self.received_us

    def reject(self, element: str, path: Path, reason: str) -> None:
        """Quarantine one element."""
        at, short = written(path), reason[:REASON_CHARS]
        self.quarantine.append((*self.place(), self.source, element, at, short, PARSER_VERSION))

    def tables(self) -> dict[str, pa.Table]:
        """Every table of the event log, with exactly its schema."""
        return {name: _table(getattr(self, name), schema) for name, schema in EVENT_LOG.items()}


def written(path: Path) -> str:
    """A path as text; `$` is the whole body.

    >>> written(("entry", 0, "changes", 1, "value"))
    'entry[0].changes[1].value'
    """
    steps = (f"[{step}]" if type(step) is int else f".{step}" for step in path)
    return "".join(steps).removeprefix(".") or "$"


def _table(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    if not rows:
        return schema.empty_table()
    # zip turns rows into columns in C: faster than appending to a list for each column.
    columns = zip(*rows, strict=True)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)
