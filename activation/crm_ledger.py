"""The CRM's part of the ledger: what we wrote onto its contacts, and the posts of leads.

| table | a row is |
|---|---|
| `crm_contacts` | a HubSpot contact, by the key of its id: the values written last |
| `crm_posts` | a lead that the generic webhook posts: the last version and its delivery |
| `crm_posts_switch` | since when the generic webhook is on; no row while it is off |

It holds no raw identity. `lead_id` begins with an identity key of the person, `contact_key` is one:
that is how erasures find the rows of `crm_contacts` and `crm_posts` that they delete.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from activation.ledger import Connection, upsert

MAX_TRIES = 5
_NEARLY_A_DAY_US = 20 * 3_600_000_000  # nightly runs do not start at the same second

Values = dict[str, str]
"""Property name to value; an empty value: the property is empty."""


class ContactStatus(NamedTuple):
    """The short form of a contact's row, enough to tell whether the contact is up to date."""

    seq: int
    content: str
    skipped: str
    kept: int
    noted_us: int


class Refusal(NamedTuple):
    """A contact that HubSpot refused. `record_id`: HubSpot's own, so that people find it there;
    it is deleted with the row when the person is erased. `tries`: of the same values."""

    record_id: str
    reason: str
    property: str
    rule: str
    tries: int

    def __str__(self) -> str:
        """The refusal as it is stored in `crm_contacts.skipped`."""
        return ":".join(("refused", *map(str, self)))

    @classmethod
    def read(cls, skipped: str) -> Refusal | None:
        """The refusal stored in `crm_contacts.skipped`, if it is one."""
        word, *parts = skipped.split(":")
        if word != "refused" or len(parts) != 5:
            return None
        return cls(parts[0], parts[1], parts[2], parts[3], int(parts[4]))

    def text(self) -> str:
        """The refusal for people who look the contact up in HubSpot."""
        why = f"{self.property} ({self.rule})" if self.property else self.reason
        return f"contact {self.record_id}: {why}"

    def is_given_up(self, noted_us: int, now_us: int) -> bool:
        """Whether the same values should not be tried now, unless the contact has changed since.

        A refusal that may be transient is retried in the next runs, one by a rule of the account
        after a day; then at doubling intervals, and never after `MAX_TRIES`.
        """
        if self.tries >= MAX_TRIES:
            return True
        doubled = self.tries - (1 if self.reason == "VALIDATION_ERROR" else 3)
        return doubled >= 0 and now_us < noted_us + 2**doubled * _NEARLY_A_DAY_US


@dataclass(slots=True)
class ContactRow:
    """A row of `crm_contacts`; the columns are explained in `activation.ledger`."""

    contact_key: str
    lead_id: str
    seq: int
    settled: str = ""
    written: Values = field(default_factory=dict)
    intended: Values = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    skipped: str = ""
    noted_us: int = 0


def read_statuses(ledger: Connection) -> dict[str, ContactStatus]:
    """The status of every contact, by its key."""
    sql = "select contact_key, seq, settled, skipped, kept, noted_us from crm_contacts"
    return {
        key: ContactStatus(seq, settled, skipped, len(json.loads(kept)), at)
        for key, seq, settled, skipped, kept, at in ledger.execute(sql)
    }


def read_contact(ledger: Connection, contact_key: str) -> ContactRow | None:
    """A contact's row; None where there is none yet."""
    row = ledger.execute(
        "select lead_id, seq, settled, skipped, noted_us, written, intended, kept "
        "from crm_contacts where contact_key = ?",
        (contact_key,),
    ).fetchone()
    if row is None:
        return None
    lead_id, seq, settled, skipped, at, *texts = row
    written, intended, kept = map(json.loads, texts)
    return ContactRow(contact_key, lead_id, seq, settled, written, intended, kept, skipped, at)


def save_contacts(ledger: Connection, rows: Iterable[ContactRow]) -> None:
    """Write these rows, in place of those of the same contacts."""
    ledger.executemany(
        upsert("crm_contacts", ContactRow.__slots__),
        [
            (r.contact_key, r.lead_id, r.seq, r.settled, _json(r.written),
             _json(r.intended), json.dumps(r.kept), r.skipped, r.noted_us)
            for r in rows
        ],
    )  # fmt: skip


@dataclass(slots=True)
class Post:
    """A row of `crm_posts`, in the order of its columns."""

    lead_id: str
    version: int
    content: str
    event_id: str
    event: str
    state: str
    was_delivered: int
    tries: int
    first_try_us: int | None
    next_try_us: int
    answer: str


def read_posts(ledger: Connection) -> dict[str, Post]:
    """Every post by its lead."""
    posts = (Post(*row) for row in ledger.execute("select * from crm_posts"))
    return {post.lead_id: post for post in posts}


def save_posts(ledger: Connection, posts: Iterable[Post]) -> None:
    """Write these rows, in place of those of the same leads; on disk when this returns."""
    ledger.executemany(
        upsert("crm_posts", Post.__slots__),
        [tuple(asdict(post).values()) for post in posts],
    )


def begin_posting(ledger: Connection, now_us: int) -> int:
    """Since when the webhook is on, in microseconds since 1970; `now_us` where it was off."""
    ledger.execute("insert into crm_posts_switch values (1, ?) on conflict do nothing", (now_us,))
    return int(ledger.execute("select on_since_us from crm_posts_switch").fetchone()[0])


def end_posting(ledger: Connection) -> None:
    """Leads that arrive until it begins again are never posted."""
    ledger.execute("delete from crm_posts_switch")


def _json(values: Mapping[str, str]) -> str:
    return json.dumps(values, sort_keys=True, ensure_ascii=False)


__all__ = [
    "ContactRow",
    "ContactStatus",
    "Post",
    "Refusal",
    "Values",
    "begin_posting",
    "end_posting",
    "read_contact",
    "read_posts",
    "read_statuses",
    "save_contacts",
    "save_posts",
]
