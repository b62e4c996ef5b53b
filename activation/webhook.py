"""Leads and their source to any CRM: one signed POST per lead, and another when its source changes.

warehouse, `activation.crm_outbox` -> ledger, `crm_posts` -> `CTWA_CRM_WEBHOOK_URL`

A post is in the ledger before it is sent, and its result after: if the process dies in between,
the next run posts it again with the same `X-Event-Id`. What cannot be delivered is tried again by
later runs, at growing intervals, for two days. Only leads whose first touch came after the webhook
was switched on are posted; a run without the address switches it off.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import orjson
import requests

from activation.crm_ledger import Post, begin_posting, end_posting, read_posts, save_posts
from activation.ledger import Connection, is_begun, open_ledger, transaction
from activation.outbox import Lead, read_leads
from activation.people import identities_of
from ctwa.lock import confirm_lock
from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.source import SourceError
from ingestion.vault import open_vault
from ingestion.vault.vault import microseconds
from ingestion.webhook.endpoints import sign

log = logging.getLogger(__name__)

NO_IDENTITY = "no_identity"
"""State of a lead that was never delivered and whose raw identity is not, or no longer, in the
vault: no CRM could tell who it is. Erased people end up here, too."""

QUICK_TRIES = (1.0, 3.0)
"""Seconds before the next attempt within a run, where there was no answer at all."""
TIMEOUT = (5.0, 15.0)
RETRIED_STATUSES = frozenset({408, 425, 429})
"""The 4xx that are worth another attempt; others stay the same until the content changes."""
WAITS = (60, 300, 1_800, 7_200, 21_600)
"""Seconds after the first, second ... failed attempt; the last value repeats."""
GIVE_UP_SECONDS = 2 * 86_400
RUN_SECONDS = 120.0
"""No post starts later than this in a run; the next run continues."""
IN_A_ROW = 3
"""After this many failures in a row a run assumes that the address is down."""
_SECOND_US = 1_000_000


def _to_post(leads: Iterable[Lead], since_us: int, skipped: Counter[str]) -> dict[str, Lead]:
    """Leads that the CRM is told about, by id; the others are counted by reason."""
    found = {}
    for lead in leads:
        if lead.is_erased or lead.is_excluded:
            skipped["erased" if lead.is_erased else "excluded"] += 1
        elif lead.first_touch_us < since_us:
            skipped["before_activation"] += 1
        else:
            found[lead.lead_id] = lead
    return found


def _attribution(lead: Lead) -> dict[str, Any]:
    names = ("source", "channel", "basis", "campaign_id", "campaign_name", "adset_id",
             "adset_name", "ad_id", "ad_name", "headline")  # fmt: skip
    values = {name: getattr(lead, name) for name in names}
    return {**values, "first_touch_at": lead.first_touch_at}


def _plan(settings: Settings, ledger: Connection, leads: dict[str, Lead]) -> dict[str, Post]:
    """The post of each of these leads; one whose content changed is due under a new version."""
    posts = {i: post for i, post in read_posts(ledger).items() if i in leads}
    names = Pseudonymizer.from_settings(settings)
    new = []
    for lead_id, lead in leads.items():
        before = posts.get(lead_id)
        content = lead.content
        if before is None or before.content != content:
            version = before.version + 1 if before else 1
            known = before is not None and (before.state == "delivered" or before.was_delivered)
            # With the version: content that changes back is posted again, under another id.
            event_id = names.digest("crm_post", f"{lead_id}|{version}|{content}")
            event = "lead.updated" if known else "lead.attributed"
            new.append(
                Post(lead_id, version, content, event_id, event, "pending", int(known), 0, None,
                      0, "")
            )  # fmt: skip
    with transaction(ledger):
        save_posts(ledger, new)
    return posts | {post.lead_id: post for post in new}


class _Bodies:
    """Bodies of the due posts; the raw identities are read from the vault, all in one pass."""

    def __init__(self, settings: Settings, leads: dict[str, Lead], due: Iterable[Post]) -> None:
        self._leads = leads
        wanted: dict[int, set[str]] = {}
        for post in due:
            lead = leads[post.lead_id]
            if lead.evidence_seq is not None:
                keys = (key for key in _keys(lead).values() if key)
                wanted.setdefault(lead.evidence_seq, set()).update(keys)
        vault = open_vault(settings.vault_url)
        try:
            self._raw = identities_of(vault, settings, wanted)
        finally:
            vault.close()

    def identities(self, post: Post) -> dict[str, str]:
        """Raw identities of the lead, as far as the vault still shows them."""
        keys = _keys(self._leads[post.lead_id])
        return {name: self._raw[key] for name, key in keys.items() if key in self._raw}

    def body(self, post: Post) -> bytes:
        """The JSON."""
        # From the lead of today: other content would be another post.
        return _dumps(
            {
                "event": post.event,
                "event_id": post.event_id,
                "version": post.version,
                "lead_id": post.lead_id,
                "identities": self.identities(post),
                "attribution": _attribution(self._leads[post.lead_id]),
            }
        )


def _keys(lead: Lead) -> dict[str, str | None]:
    return {
        "phone": lead.phone_key,
        "user_id": lead.bsuid_key,
        "email": lead.email_key,
        "lead_id": lead.web_lead_key,
    }


def _dumps(body: Any) -> bytes:
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:  # half of a surrogate pair, in an identity as it came
        return json.dumps(body).encode()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `answer`: HTTP status, or the kind of failure; `retry_after`: in seconds, 0
    where the answer does not say."""

    fate: Literal["delivered", "refused", "later"]
    answer: str
    retry_after: float = 0.0


class Poster:
    """Posts signed JSON. Follows no redirect: it could send personal data elsewhere."""

    def __init__(
        self, url: str, secret: bytes, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._url, self._secret, self._sleep = url, secret, sleep
        self._session = requests.Session()
        self._session.headers["User-Agent"] = "ctwa-attribution"

    def post(self, event_id: str, body: bytes) -> Answer:
        """Post it and return the answer; without one, retry a few times within the run."""
        for pause in (*QUICK_TRIES, None):
            answer = self._once(event_id, body)
            if answer is not None:
                return answer
            if pause is not None:
                self._sleep(pause)
        return Answer("later", "no answer")

    def _once(self, event_id: str, body: bytes) -> Answer | None:
        headers = {
            "Content-Type": "application/json",
            "X-Signature-256": sign(body, self._secret),
            "X-Event-Id": event_id,
        }
        try:
            # Streamed, so that no answer can fill our memory: it is not read.
            with self._session.post(
                self._url,
                data=body,
                headers=headers,
                timeout=TIMEOUT,
                allow_redirects=False,
                stream=True,
            ) as response:
                return _judge(response.status_code, response.headers.get("Retry-After"))
        except requests.ReadTimeout:  # the CRM may still be working on it: not now
            return Answer("later", "timeout")
        except requests.RequestException:  # its text may contain the address, with secrets in it
            return None

    def close(self) -> None:
        """Close connections."""
        self._session.close()


def _judge(status: int, retry_after: str | None) -> Answer:
    if 200 <= status < 300:
        return Answer("delivered", str(status))
    if status in RETRIED_STATUSES or status >= 500:
        return Answer("later", str(status), _seconds(retry_after))
    return Answer("refused", str(status))


def _seconds(value: str | None) -> float:
    try:
        seconds = float(value or 0)
    except ValueError:
        return 0.0
    return seconds if 0 <= seconds < 86_400 else 0.0


class WebhookSettingsError(SourceError):
    """The address is set, but not the secret that signs the posts."""


@dataclass
class WebhookCounts:
    """What one run did: posts `delivered`, and `answers` by HTTP status or kind of failure.

    Over all `leads` that are posted, after the run: `waiting` (for another attempt), `refused` (no
    attempt until the content changes) and `given_up`. `skipped`: leads not posted, by reason.
    """

    is_on: bool = False
    leads: int = 0
    delivered: int = 0
    waiting: int = 0
    refused: int = 0
    given_up: int = 0
    answers: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)


def post_leads(
    settings: Settings,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> WebhookCounts:
    """Post the leads that are new or changed; the caller holds the lock.

    Raises `WebhookSettingsError`, `OutboxError`, `VaultError`. An address that does not answer is
    not an error: it is counted, and tried again.
    """
    if not settings.crm_webhook_url:
        _switch_off(settings)
        return WebhookCounts()
    secret = settings.crm_webhook_secret
    if secret is None or not secret.get_secret_value().strip():
        raise WebhookSettingsError(
            "CTWA_CRM_WEBHOOK_SECRET is not set, and CTWA_CRM_WEBHOOK_URL is: "
            "make a long random one, e.g. `openssl rand -hex 32`, and set it on both sides"
        )
    leads, at_us = read_leads(settings), microseconds(now())
    counts, skipped = WebhookCounts(is_on=True), Counter[str]()
    poster = Poster(
        settings.crm_webhook_url, secret.get_secret_value().strip().encode(), sleep=sleep
    )
    try:
        with open_ledger(settings) as ledger:
            to_post = _to_post(leads.values(), begin_posting(ledger, at_us), skipped)
            posts = _plan(settings, ledger, to_post)
            due = [p for p in posts.values() if p.state == "pending" and p.next_try_us <= at_us]
            if due:
                due.sort(key=lambda p: (to_post[p.lead_id].first_touch_us, p.lead_id))
                bodies = _Bodies(settings, to_post, due)
                _Run(ledger, poster, clock, at_us, counts).run(due, bodies)
    finally:
        poster.close()
    counts.leads, counts.skipped = len(to_post), dict(skipped)
    states = Counter(post.state for post in posts.values())
    counts.waiting, counts.refused = states["pending"], states["refused"]
    counts.given_up = states["given_up"]
    if states[NO_IDENTITY]:
        counts.skipped[NO_IDENTITY] = states[NO_IDENTITY]
    log.info("CRM webhook: %s", counts)
    return counts


class _Run:
    """The posts of one run."""

    def __init__(
        self,
        ledger: Connection,
        poster: Poster,
        clock: Callable[[], float],
        at_us: int,
        counts: WebhookCounts,
    ) -> None:
        self._ledger, self._poster, self._clock = ledger, poster, clock
        self._at_us, self._counts = at_us, counts

    def run(self, due: Iterable[Post], bodies: _Bodies) -> None:
        """One after the other, until time is up or the address seems to be down."""
        began, failed = self._clock(), 0
        answers: Counter[str] = Counter()
        for post in due:
            if failed == IN_A_ROW or self._clock() - began >= RUN_SECONDS:
                break
            if not post.was_delivered and not bodies.identities(post):
                post.state = NO_IDENTITY
                save_posts(self._ledger, [post])
                continue
            confirm_lock()
            answer = self._poster.post(post.event_id, bodies.body(post))
            answers[answer.answer] += 1
            failed = failed + 1 if answer.fate == "later" else 0
            passed_us = int((self._clock() - began) * _SECOND_US)
            self._note(post, answer, self._at_us + passed_us)
        self._counts.answers = dict(answers)

    def _note(self, post: Post, answer: Answer, at_us: int) -> None:
        post.answer, post.tries = answer.answer, post.tries + 1
        post.first_try_us = at_us if post.first_try_us is None else post.first_try_us
        if answer.fate == "later":
            wait = max(WAITS[min(post.tries, len(WAITS)) - 1], min(answer.retry_after, WAITS[-1]))
            post.next_try_us = at_us + int(wait * _SECOND_US)
            if at_us - post.first_try_us >= GIVE_UP_SECONDS * _SECOND_US:
                post.state = "given_up"
        else:
            post.state = answer.fate
            self._counts.delivered += answer.fate == "delivered"
        save_posts(self._ledger, [post])


def _switch_off(settings: Settings) -> None:
    if is_begun(settings):
        with open_ledger(settings) as ledger:
            end_posting(ledger)


__all__ = ["WebhookCounts", "WebhookSettingsError", "post_leads"]
