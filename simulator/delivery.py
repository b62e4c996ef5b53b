"""How webhooks travel: batched, signed, at least once, out of order.

Bodies are bytes as Meta writes them, with `\\u00e4` and `\\/`; the signature is over those bytes.
Nothing here knows how they are received: only the public rules of signing and of retrying.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar

import urllib3

from simulator.company import SITE
from simulator.people import Click, Event, Exclusion, Form, Notice, Outcome
from simulator.world import World

Item = Event | Outcome | Exclusion | Form | Notice | Click
T = TypeVar("T", Event, Outcome, Form, Notice, Click)
Path = Literal[
    "/webhooks/whatsapp", "/webhooks/messenger", "/webhooks/outcomes", "/webhooks/leads", "/clicks",
    "exclusions", "meta_lead_forms",
]  # fmt: skip
_HEADERS: dict[str, str] = {
    "/webhooks/whatsapp": "X-Hub-Signature-256",
    "/webhooks/messenger": "X-Hub-Signature-256",
    "/webhooks/outcomes": "X-Signature-256",
    "/webhooks/leads": "X-Signature-256",
}


CASES = {
    "E1": "bodies come twice, elements come again in other bodies",
    "E3": "several entries, changes and elements in one body, statuses among messages",
    "E12": "out of order, hours, days and nights late",
}
"""Edge cases that deliveries cover, beside those of the stories about people."""


class DeliveryError(RuntimeError):
    """The receiver refused a body that it must accept."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One request body. `malformed`: how many of its elements must end in quarantine.

    `exclusions` are no webhooks: somebody in the company runs `ctwa exclude`. Nor are
    `meta_lead_forms`: what a page's forms were read to be.
    """

    path: Path
    body: bytes
    malformed: int = 0

    @property
    def is_posted(self) -> bool:
        """Whether it comes over the network."""
        return self.path.startswith("/")

    @property
    def source(self) -> str:
        """The source under which its envelope is in the vault."""
        return self.path.rpartition("/")[2]


@dataclass(slots=True)
class Receipts:
    """What became of deliveries: how many answers of each status, and how many attempts."""

    answers: Counter[int] = field(default_factory=Counter)
    tries: int = 0


def deliveries(
    world: World,
    seed: int = 0,
    *,
    night: int | None = None,
    largest: int = 12,
    duplicates: float = 0.08,
) -> list[Delivery]:
    """All bodies of a world (or of one of its nights), in the order they are sent.

    `seed` decides batches, order and repeats; the world is the same under each. `largest`: most
    elements in one body; `duplicates`: share of bodies that are sent twice, and of elements that
    come again in another body.
    """
    rng = random.Random(f"{world.seed}:{seed}:delivery")
    night_of = _nights(world)
    events = [e for e in world.events if night in (None, night_of(e))]
    outcomes = [o for o in world.outcomes if night in (None, night_of(o))]
    good = [e for e in events if not e.malformed]
    again = [e for e in good if rng.random() < duplicates / 2]
    bodies = [_envelope(chunk, rng) for chunk in _chunks(_late(events + again, rng), largest, rng)]
    forms = [f for f in world.forms if night in (None, night_of(f))]
    clicks = [c for c in world.clicks if night in (None, night_of(c))]
    notices = [n for n in world.notices if night in (None, night_of(n))]
    for chunk in _chunks(_late(outcomes, rng), largest, rng):
        bodies.append(Delivery("/webhooks/outcomes", _statement([o.body for o in chunk], rng)))
    for of_forms in _chunks(_late(forms, rng), largest, rng):
        bodies.append(Delivery("/webhooks/leads", _statement([f.body for f in of_forms], rng)))
    bodies += [Delivery("/clicks", json.dumps(c.body).encode()) for c in _late(clicks, rng)]
    bodies += [Delivery("/webhooks/messenger", meta_json(n.body)) for n in _late(notices, rng)]
    for exclusion in world.exclusions:
        if night in (None, night_of(exclusion)):
            bodies.append(Delivery("exclusions", json.dumps(exclusion.body).encode()))
    if night in (None, len(world.nights)):
        bodies += [Delivery("/webhooks/whatsapp", junk, 1) for junk in world.junk]
    bodies += [b for b in bodies if not b.malformed and rng.random() < duplicates]
    # Mostly in order, as in reality: a body overtakes a few others, some come last.
    places = [
        (i + (rng.expovariate(1 / 40) if rng.random() < 0.3 else 0), i) for i in range(len(bodies))
    ]
    return [bodies[i] for _, i in sorted(places)]


def _statement(rows: list[dict[str, Any]], rng: random.Random) -> bytes:
    """A list, or sometimes just the one object."""
    alone = len(rows) == 1 and rng.random() < 0.5
    return json.dumps(rows[0] if alone else rows).encode()


def _nights(world: World) -> Callable[[Item], int]:
    """What arrives in which night; the same for every delivery seed.

    What is not pinned comes in the first night that can have it, but for a few that come up to
    six nights late. What is pinned to come late comes after all that its scene has pinned early.
    """
    last = len(world.nights)

    def on_time(item: Item) -> int:
        # A webhook may arrive in a night that is at least a day later.
        over = (world.end - timedelta(days=1) - _time_of(item)) / timedelta(days=1)
        return min(max(last - max(0, math.ceil(over) - 1), 1), last)

    def early(item: Item) -> int:
        return min(on_time(item), last - 1)

    pinned: dict[int, int] = defaultdict(int)
    items: tuple[Item, ...] = (
        *world.events, *world.outcomes, *world.exclusions, *world.forms, *world.notices,
        *world.clicks,
    )  # fmt: skip
    for item in items:
        if item.night == 1:
            pinned[item.scene] = max(pinned[item.scene], early(item))

    def night_of(item: Item) -> int:
        if item.night == 1:
            return early(item)
        luck = hashlib.sha256(_text_of(item).encode()).digest()
        if item.night == 2:
            return min(max(pinned[item.scene] + 1 + luck[1] % 4, on_time(item)), last)
        return min(on_time(item) + (1 + luck[1] % 6 if luck[0] < 30 else 0), last)

    return night_of


def _time_of(item: Item) -> datetime:
    match item:
        case Event():
            return item.at
        case Outcome():
            return item.occurred_at
        case Form():
            return item.submitted_at
        case Notice():
            return item.sent_at
        case Click():
            return item.clicked_at
    return item.declared_at


def _text_of(item: Item) -> str:
    return json.dumps(item.element if isinstance(item, Event) else item.body, sort_keys=True)


def _late(items: list[T], rng: random.Random) -> list[T]:
    """By time, some hours or days late."""

    def arrival(item: T) -> float:
        lag = rng.expovariate(1 / 3_600) if rng.random() < 0.9 else rng.uniform(0, 5 * 86_400)
        return _time_of(item).timestamp() + lag

    return sorted(items, key=arrival)


def _chunks(items: list[T], largest: int, rng: random.Random) -> Iterator[list[T]]:
    start = 0
    while start < len(items):
        size = rng.randint(1, largest) if rng.random() < 0.5 else 1
        yield items[start : start + size]
        start += size


def _envelope(events: list[Event], rng: random.Random) -> Delivery:
    """One webhook: an entry for each WABA, changes for each number and field, all lists."""
    entries: dict[str, dict[str, Any]] = {}
    changes: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for event in events:
        number = event.number
        entry = entries.setdefault(number.waba_id, {"id": number.waba_id, "changes": []})
        if event.field == "messaging_handovers":
            entry["changes"].append({"value": event.element, "field": event.field})
            continue
        lanes = changes.setdefault((number.phone_number_id, event.field), [])
        # Statuses mostly come in a change of their own, sometimes beside messages (E3).
        apart = event.part == "statuses" and rng.random() < 0.8
        value = None if apart else next((v for v in lanes if _fits(event, v)), None)
        if value is None:
            metadata = {
                "display_phone_number": number.display,
                "phone_number_id": number.phone_number_id,
            }
            value = {"messaging_product": "whatsapp", "metadata": metadata}
            whole = value
            if event.field == "standby":  # its lists are in an object of that name
                value = {}
                whole = {**whole, "standby": value}
            lanes.append(value)
            entry["changes"].append({"value": whole, "field": event.field})
        if event.contact is not None and event.contact not in value.setdefault("contacts", []):
            value["contacts"].append(event.contact)
        value.setdefault(event.part, []).append(event.element)
    body = {"object": "whatsapp_business_account", "entry": list(entries.values())}
    return Delivery("/webhooks/whatsapp", meta_json(body), sum(e.malformed for e in events))


def _fits(event: Event, value: dict[str, Any]) -> bool:
    """One change shows one contact of a person: never a second one with other ids.

    What comes without a contact stays without: it would be taken for the contact's otherwise.
    """
    if event.malformed:
        return True
    if (event.contact is None) == ("contacts" in value):
        return False
    mine = event.contact or {}
    return all(
        other == mine
        or not any(mine.get(k) and mine.get(k) == other.get(k) for k in ("wa_id", "user_id"))
        for other in value.get("contacts", ())
    )


def meta_json(body: Any) -> bytes:
    """JSON as Meta writes it: ASCII, lower-case escapes, `/` escaped."""
    text = json.dumps(body, ensure_ascii=True, separators=(",", ":"))
    return text.replace("/", "\\/").encode()


def sign(body: bytes, secret: str) -> str:
    """The header's value: HMAC-SHA256 over the raw bytes."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def deliver(
    url: str,
    bodies: Iterable[Delivery],
    *,
    app_secret: str,
    intake_secret: str,
    threads: int = 8,
    patience: float = 60,
) -> Receipts:
    """Post every body that is posted until it is acknowledged, several at a time, as Meta does.

    503 and broken connections are tried again for `patience` seconds; any other answer than 200
    raises `DeliveryError`.
    """
    secrets: dict[str, str] = {
        "/webhooks/whatsapp": app_secret,
        "/webhooks/messenger": app_secret,
        "/webhooks/outcomes": intake_secret,
        "/webhooks/leads": intake_secret,
    }
    pool = urllib3.PoolManager(maxsize=threads, retries=False, timeout=30)
    receipts = Receipts()

    def post(delivery: Delivery) -> tuple[int, int]:
        headers = {"Content-Type": "text/plain", "Origin": SITE}  # as a browser does
        if delivery.path in _HEADERS:
            signature = sign(delivery.body, secrets[delivery.path])
            headers = {"Content-Type": "application/json", _HEADERS[delivery.path]: signature}
        deadline, tries = time.monotonic() + patience, 0
        while True:
            tries += 1
            try:
                answer = pool.request("POST", url + delivery.path, delivery.body, headers=headers)
            except urllib3.exceptions.HTTPError as error:
                status, reason = 503, type(error).__name__
            else:
                status, reason = answer.status, answer.data[:500].decode(errors="replace")
            if status in (200, 204):
                return status, tries
            if status != 503 or time.monotonic() > deadline:
                raise DeliveryError(f"{delivery.path} answered {status} after {tries}: {reason}")
            time.sleep(min(0.05 * 2**tries, 2))

    with ThreadPoolExecutor(threads) as executor:
        for status, tries in executor.map(post, (b for b in bodies if b.is_posted)):
            receipts.answers[status] += 1
            receipts.tries += tries
    pool.clear()
    return receipts


def forged_status(url: str) -> int:
    """The answer to a webhook that somebody else signed; it must be 401."""
    body = b'{"object":"whatsapp_business_account","entry":[]}'
    headers = {"X-Hub-Signature-256": sign(body, "not the app secret")}
    path = f"{url}/webhooks/whatsapp"
    return urllib3.request("POST", path, body=body, headers=headers, retries=False).status
