"""Leads and their source to any CRM: one signed POST for each lead and thing to say of it.

warehouse, `activation.crm_outbox` -> ledger, `crm_posts` -> `CTWA_CRM_WEBHOOK_URL`

What is to be said is in the ledger before it is posted, and what became of it after: a kill
between them posts it again, with the same `X-Event-Id`. What cannot be delivered is tried again
by later runs, ever more rarely, for two days. Told is of leads that were born after it was
switched on; a run without the address ends that.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from sqlite3 import Connection

from activation.crm_ledger import SCHEMA
from activation.crm_outbox import read_leads
from activation.ledger import ledger_path, open_ledger
from activation.webhook_post import Answer, Poster
from activation.webhook_said import NOBODY, Post, Said, bring_up, keep, on_since, told_of
from ctwa.settings import Settings
from ingestion.errors import SourceError
from ingestion.webhook.vault import microseconds

log = logging.getLogger(__name__)

WAITS = (60, 300, 1_800, 7_200, 21_600)
"""Seconds after the first, second ... failed try; the last one again and again."""
GIVE_UP_SECONDS = 2 * 86_400
RUN_SECONDS = 120.0
"""No post is begun later than this in a run: the next one goes on."""
IN_A_ROW = 3
"""Posts that failed one after the other until a run takes the address for down."""

_SECOND_US = 1_000_000


class WebhookSettingsError(SourceError):
    """The address is set, but not the secret that its posts are signed with."""


@dataclass
class WebhookCounts:
    """What one run did. `delivered`: now; `answers`: of this run, by status.

    Of all leads that are told of, after it: `waiting` (to be tried again), `refused` (not before
    something changes) and `given_up`. `skipped`: leads that are not told of, by reason.
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
    """Tell the CRM what is new of its leads; the caller holds the lock.

    Raises `WebhookSettingsError` and `OutboxMissingError`. An address that does not answer is no
    error: it is counted, and tried again.
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
        with open_ledger(settings, SCHEMA) as ledger:
            told = told_of(leads.values(), on_since(ledger, at_us), skipped)
            posts = bring_up(settings, ledger, told)
            due = [p for p in posts.values() if p.state == "pending" and p.next_try_us <= at_us]
            if due:
                due.sort(key=lambda p: (told[p.lead_id].first_touch_us, p.lead_id))
                said = Said(settings, told, due)
                _Run(ledger, poster, clock, at_us, counts).run(due, said)
    finally:
        poster.close()
    counts.leads, counts.skipped = len(told), dict(skipped)
    states = Counter(post.state for post in posts.values())
    counts.waiting, counts.refused = states["pending"], states["refused"]
    counts.given_up = states["given_up"]
    if states[NOBODY]:
        counts.skipped[NOBODY] = states[NOBODY]
    log.info("webhook of the CRM: %s", counts)
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

    def run(self, due: Iterable[Post], said: Said) -> None:
        """One after the other, until the time is over or the address seems to be down."""
        began, failed = self._clock(), 0
        answers: Counter[str] = Counter()
        for post in due:
            if failed == IN_A_ROW or self._clock() - began >= RUN_SECONDS:
                break
            if not post.was_delivered and not said.identities(post):
                post.state = NOBODY
                keep(self._ledger, [post])
                continue
            answer = self._poster.post(post.event_id, said.body(post))
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
        keep(self._ledger, [post])


def _switch_off(settings: Settings) -> None:
    if ledger_path(settings).exists():
        with open_ledger(settings, SCHEMA) as ledger:
            ledger.execute("delete from crm_posts_switch")


__all__ = ["WebhookCounts", "WebhookSettingsError", "post_leads"]
