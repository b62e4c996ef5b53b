"""What is to be said of leads to a CRM, and to whom: the posts of the generic webhook."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from sqlite3 import Connection
from typing import Any

import orjson

from activation.crm_outbox import Lead
from activation.hubspot_contacts import moment
from activation.identities import identities_of
from activation.ledger import transaction
from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.webhook.vault import Vault

NOBODY = "no_identity"
"""State of a lead that was never told of, and whom nothing in the vault names: no CRM could know
who is meant. So it is with those who were erased."""


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


def told_of(leads: Iterable[Lead], since_us: int, skipped: Counter[str]) -> dict[str, Lead]:
    """Leads that the CRM hears of, by id; the others are counted by reason."""
    told = {}
    for lead in leads:
        if lead.is_erased or lead.is_excluded:
            skipped["erased" if lead.is_erased else "excluded"] += 1
        elif lead.first_touch_us < since_us:
            skipped["before_activation"] += 1
        else:
            told[lead.lead_id] = lead
    return told


def _attribution(lead: Lead) -> dict[str, Any]:
    names = ("source", "channel", "basis", "campaign_id", "campaign_name", "adset_id",
             "adset_name", "ad_id", "ad_name", "headline")  # fmt: skip
    said = {name: getattr(lead, name) for name in names}
    return {**said, "first_touch_at": moment(lead.first_touch_us)}


def bring_up(settings: Settings, ledger: Connection, told: dict[str, Lead]) -> dict[str, Post]:
    """Every post of these leads, with those in place that say something new."""
    rows = ledger.execute("select * from crm_posts")
    posts = {row["lead_id"]: Post(*row) for row in rows if row["lead_id"] in told}
    names = Pseudonymizer.from_settings(settings)
    new = []
    for lead_id, lead in told.items():
        before = posts.get(lead_id)
        content = lead.content
        if before is None or before.content != content:
            version = before.version + 1 if before else 1
            known = before is not None and (before.state == "delivered" or before.was_delivered)
            # The version too: what changes back is said again, under another id.
            event_id = names.digest("crm_post", f"{lead_id}|{version}|{content}")
            event = "lead.updated" if known else "lead.attributed"
            new.append(
                Post(lead_id, version, content, event_id, event, "pending", int(known), 0, None,
                      0, "")
            )  # fmt: skip
    with transaction(ledger):
        keep(ledger, new)
    return posts | {post.lead_id: post for post in new}


class Said:
    """What is posted; who the leads are is read from the vault, for all of them at once."""

    def __init__(self, settings: Settings, told: dict[str, Lead], due: Iterable[Post]) -> None:
        self._told = told
        wanted: dict[int, set[str]] = {}
        for post in due:
            lead = told[post.lead_id]
            if lead.evidence_seq is not None:
                keys = (key for key in _keys(lead).values() if key)
                wanted.setdefault(lead.evidence_seq, set()).update(keys)
        vault = Vault.open(settings.vault_url)
        try:
            self._raw = identities_of(vault, settings, wanted)
        finally:
            vault.close()

    def identities(self, post: Post) -> dict[str, str]:
        """Raw identities of the lead, as far as the vault still shows them."""
        keys = _keys(self._told[post.lead_id])
        return {name: self._raw[key] for name, key in keys.items() if key in self._raw}

    def body(self, post: Post) -> bytes:
        """The JSON."""
        # What is due says what the lead is today: another content would be another post.
        return _dumps(
            {
                "event": post.event,
                "event_id": post.event_id,
                "version": post.version,
                "lead_id": post.lead_id,
                "identities": self.identities(post),
                "attribution": _attribution(self._told[post.lead_id]),
            }
        )


def _keys(lead: Lead) -> dict[str, str | None]:
    return {
        "phone": lead.phone_key,
        "user_id": lead.bsuid_key,
        "email": lead.email_key,
        "lead_id": lead.web_lead_key,
    }


def _dumps(said: Any) -> bytes:
    try:
        return orjson.dumps(said)
    except orjson.JSONEncodeError:  # half of a surrogate pair, in an identity as it came
        return json.dumps(said).encode()


def keep(ledger: Connection, posts: Iterable[Post]) -> None:
    """On disk when this returns."""
    marks = ", ".join("?" * len(Post.__slots__))
    ledger.executemany(
        f"insert or replace into crm_posts values ({marks})",  # noqa: S608 - question marks
        [tuple(asdict(post).values()) for post in posts],
    )


def on_since(ledger: Connection, at_us: int) -> int:
    """When it was switched on, which the first run with an address notes."""
    ledger.execute("insert or ignore into crm_posts_switch values (1, ?)", (at_us,))
    return int(ledger.execute("select on_since_us from crm_posts_switch").fetchone()[0])


__all__ = ["NOBODY", "Post", "Said", "bring_up", "keep", "on_since", "told_of"]
