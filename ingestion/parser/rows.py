"""Rows of one batch, collected per table and turned into Arrow columns of explicit types."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Generic

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ctwa.phones import DEFAULT_COUNTRY
from ingestion.parser.chat_rules import NO_RULES, ChatRules
from ingestion.parser.limits import Reject, Unfit, left_out, read_body
from ingestion.parser.people import Keys, Link
from ingestion.parser.schema import EVENT_LOG, PARSER_VERSION
from ingestion.vault.vault import microseconds
from ingestion.webhook.fields import MAX_ELEMENTS, IntakeError, Model, validate

REASON_CHARS = 200
_DAY_US = 86_400 * 1_000_000

Path = tuple[str | int, ...]
"""Where an element is, as keys and positions; written out only if it is quarantined."""


class Rows:
    """Tuples by table, each in the order of the table's columns.

    `seq`, `received_us` and `source` belong to the current envelope; `ordinal` counts its rows in
    all tables, so that (seq, ordinal) identifies a row. `message_elements` and `rejected_messages`
    count its messages (R1); `unfit` lists values of its body that cannot be trusted. `chat_rules`
    are those by which its texts are read.
    """

    __slots__ = (
        "account_events", "chat_rules", "chat_signals", "consents", "envelopes", "exclusions",
        "form_notices", "handovers", "identity_links", "link_clicks", "message_elements",
        "messages", "ordinal", "outcomes", "quarantine", "received_us", "rejected_messages", "seq",
        "source", "statuses", "unfit", "web_leads",
    )  # fmt: skip

    def __init__(self, chat_rules: ChatRules = NO_RULES) -> None:
        self.chat_rules = chat_rules
        self.envelopes: list[tuple[str, int, int, int]] = []
        """Of each envelope what is not in the batch or the other tables (`OWN_COLUMNS`)."""
        self.messages: list[tuple[Any, ...]] = []
        self.statuses: list[tuple[Any, ...]] = []
        self.identity_links: list[tuple[Any, ...]] = []
        self.outcomes: list[tuple[Any, ...]] = []
        self.chat_signals: list[tuple[Any, ...]] = []
        self.web_leads: list[tuple[Any, ...]] = []
        self.form_notices: list[tuple[Any, ...]] = []
        self.link_clicks: list[tuple[Any, ...]] = []
        self.exclusions: list[tuple[Any, ...]] = []
        self.consents: list[tuple[Any, ...]] = []
        self.account_events: list[tuple[Any, ...]] = []
        self.handovers: list[tuple[Any, ...]] = []
        self.quarantine: list[tuple[Any, ...]] = []
        self.seq = self.received_us = self.ordinal = 0
        self.message_elements = self.rejected_messages = 0
        self.source = ""
        self.unfit: Sequence[Unfit] = ()

    def begin(self, seq: int, received_us: int, source: str) -> None:
        """Start an envelope."""
        self.seq, self.received_us, self.source = seq, received_us, source
        self.ordinal = self.message_elements = self.rejected_messages = 0
        self.unfit = ()

    def load(self, body: bytes) -> Any:
        """The JSON value of the envelope's body (`read_body`); raises `Reject`."""
        value, self.unfit = read_body(body)
        return value

    @property
    def mended_values(self) -> int:
        """How many values were repaired or left out while their elements were kept (E83)."""
        return sum(unfit.is_counted for unfit in self.unfit) if self.unfit else 0

    def take(
        self,
        element: str,
        item: Any,
        path: Path,
        add: Callable[[Any, Path], None],
        doubt: str | None = None,
    ) -> None:
        """Run `add(item, path)`; quarantine the item if it is refused, or already in `doubt`."""
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
                # Only the type: the text of an exception may quote a value.
                reason = f"parser_error: {type(error).__name__}"
        if is_message:
            self.rejected_messages += 1
        self.reject(element, path, reason)

    def place(self) -> tuple[int, int, int]:
        """The three columns that every row starts with; each call starts a new row."""
        ordinal = self.ordinal
        self.ordinal = ordinal + 1
        return self.seq, ordinal, self.received_us

    def add_link(
        self,
        link: Link,
        at_us: int,
        where: tuple[str | None, str | None] = (None, None),
        recorded_us: int | None = None,
    ) -> None:
        """Add the row of a link . `where`: WABA and business number that showed it; `recorded_us`:
        for records read from a CRM, their time of recording."""
        self.identity_links.append((*self.place(), *where, *link, at_us, recorded_us))

    def reject(self, element: str, path: Path, reason: str) -> None:
        """Quarantine one element."""
        at, short = written(path), reason[:REASON_CHARS]
        self.quarantine.append((*self.place(), self.source, element, at, short, PARSER_VERSION))

    def tables(self, batch: pa.RecordBatch) -> dict[str, pa.Table]:
        """Every table of the event log, with exactly its schema. `batch`: the envelopes read."""
        tables = {
            name: _table(getattr(self, name), schema)
            for name, schema in EVENT_LOG.items()
            if name != "envelopes"
        }
        return {"envelopes": _envelopes(batch, self.envelopes, tables), **tables}


def written(path: Path) -> str:
    """A path as text; `$` is the whole body.

    >>> written(("entry", 0, "changes", 1, "value"))
    'entry[0].changes[1].value'
    """
    steps = (f"[{step}]" if type(step) is int else f".{step}" for step in path)
    return "".join(steps).removeprefix(".") or "$"


_CHUNK = 1_000
"""Rows that become columns at once: few enough for the processor's cache."""


def _table(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    if not rows:
        return schema.empty_table()
    chunks = []
    for at in range(0, len(rows), _CHUNK):
        # zip turns rows into columns in C: faster than appending to a list for each column.
        columns = zip(*rows[at : at + _CHUNK], strict=True)
        chunks.append([pa.array(c, t) for c, t in zip(columns, schema.types, strict=True)])
    arrays = [pa.concat_arrays(parts) for parts in zip(*chunks, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


OWN_COLUMNS = ("body_key", "message_elements", "quarantined_messages", "mended_values")
_COUNTED = {
    "messages": "messages",
    "statuses": "statuses",
    "outcomes": "outcomes",
    "quarantined": "quarantine",
    "web_leads": "web_leads",
    "link_clicks": "link_clicks",
}
"""Columns of `envelopes` that count the envelope's rows in a table."""


def _envelopes(
    batch: pa.RecordBatch, own: list[tuple[str, int, int, int]], tables: Mapping[str, pa.Table]
) -> pa.Table:
    """The table `envelopes`. Whole columns come from the batch, which is in the order of `seq`."""
    schema, seqs = EVENT_LOG["envelopes"], batch.column("seq").to_numpy()
    if not own:
        return schema.empty_table()
    found: dict[str, Any] = dict(zip(OWN_COLUMNS, zip(*own, strict=True), strict=True))
    found |= {name: batch.column(name) for name in ("seq", "received_at", "source")}
    found["size"] = pc.binary_length(batch.column("body"))
    found["parser_version"] = np.full(len(seqs), PARSER_VERSION, np.int32)
    for column, table in _COUNTED.items():
        places = np.searchsorted(seqs, tables[table]["seq"].to_numpy())
        found[column] = np.bincount(places, minlength=len(seqs)).astype(np.int32)
    return pa.Table.from_arrays([pa.array(found[f.name], f.type) for f in schema], schema=schema)


class Statements(Generic[Model]):
    """Reads envelopes that hold one statement of `model`, or a list of them, element by element.

    A subclass adds the rows of one statement in `_add`. Unfit values of fields that the model does
    not have do no harm; in the fields of `repairable`, bad characters are removed.
    """

    element: ClassVar[str]
    """What a statement is called in quarantine."""
    model: type[Model]
    repairable: ClassVar[Collection[str]] = ()

    __slots__ = ("_country", "_keys", "_rows")

    def __init__(self, keys: Keys, rows: Rows, default_country: str = DEFAULT_COUNTRY) -> None:
        self._keys, self._rows, self._country = keys, rows, default_country

    def read(self, body: bytes) -> None:
        """Add the rows of one body; raises `Reject` if it is not JSON.

        One bad element never stops the others (rule R1): it is quarantined with a reason.
        """
        value, rows = self._load(body), self._rows
        items = value if type(value) is list else [value]
        for index, item in enumerate(items):
            path: Path = (index,) if type(value) is list else ()
            try:
                if index >= MAX_ELEMENTS:
                    expected = f"expected at most {MAX_ELEMENTS} {self.element}s"
                    raise Reject(f"list_too_long: {expected}")
                fields = self.model.model_fields
                self._add(
                    self._checked(_fit(item, fields, self.repairable) if rows.unfit else item)
                )
            except Reject as reject:
                rows.reject(self.element, path, str(reject))
            except Exception as error:  # noqa: BLE001 - any fault concerns this element only
                rows.reject(self.element, path, f"parser_error: {type(error).__name__}")

    def _load(self, body: bytes) -> Any:
        return self._rows.load(body)

    def _checked(self, item: Any) -> Model:
        try:
            return validate(self.model, item, default_country=self._country)
        except IntakeError as error:
            raise Reject(f"{self.element}_invalid: {error}") from None

    def _add(self, statement: Model) -> None:
        """Add the rows of one statement. Raises `Reject`."""
        raise NotImplementedError

    def _plausible_us(self, moment: datetime) -> int:
        """Microseconds of a time; the time of receipt if a clock is over a day ahead (E13)."""
        at_us, received_us = microseconds(moment), self._rows.received_us
        return at_us if at_us <= received_us + _DAY_US else received_us

    def _link(self, known: Iterable[tuple[str | None, str]], kind: str, at_us: int) -> None:
        """All identities of one statement are one person: each is linked to the first (R4).

        `known`: keys and kinds of identities; those without a key are left out.
        """
        first, *others = [(key, of) for key, of in known if key is not None] or [("", "")]
        for link in dict.fromkeys(Link(*first, *other, kind) for other in others):
            if link.left_key != link.right_key:
                self._rows.add_link(link, at_us)


def _fit(item: Any, fields: Collection[str], repairable: Collection[str]) -> Any:
    """The element without unfit values; raises `Reject` if one of them is read."""
    if type(item) is Unfit:
        raise Reject(item.reason)
    if type(item) is not dict:
        return item
    found = {key: value for key, value in item.items() if key in fields}
    for key, value in found.items():
        if type(value) is Unfit:
            if key not in repairable:
                raise Reject(value.reason)
            left_out(value)
            found[key] = value.stripped()
    return found
