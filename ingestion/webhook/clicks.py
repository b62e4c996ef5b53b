"""`/clicks`: browsers report which page a code of the WhatsApp button belongs to.

A page cannot keep a secret, so nothing is signed, and anyone can invent clicks, but not chats: a
click counts only when a message arrives with its code. What a forger can do is cause cost, so a
click is small, only the parts of its addresses that the parser reads are kept, each client address
has a rate and a share of the day, all clients together have a rate and a daily number and size, and
clicks wait to be stored separately from signed bodies (`committer`). Pages of other sites are
refused by the origin that browsers send.

Behind a proxy, a forwarded address counts only if the proxy itself is trusted: on this machine, or
among `CTWA_TRUSTED_PROXIES`. In `X-Forwarded-For` the last entry was written by the proxy and
everything before it may be made up by the client, so it is read from its end. An IPv6 address is
counted by its network: one visitor has 2^64 addresses, and many lines have hundreds of networks.
"""

from __future__ import annotations

import ipaddress
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import Any, NamedTuple

import orjson

from ctwa.settings import Settings
from ingestion.pages import known_part, origin_of
from ingestion.webhook import http
from ingestion.webhook.exchange import Exchange, Route
from ingestion.webhook.fields import IntakeError
from ingestion.webhook.http import Answer, Scope, header
from ingestion.webhook.shapes import read_click
from ingestion.webhook.telemetry import LogBrake, ReceiverMetrics

PATH = "/clicks"
SOURCE = "clicks"
MAX_BYTES = 6 * 1024
"""Our own page sends less than 5 KiB; at most half of that is stored."""
PER_SECOND, BURST = 50.0, 200.0
ADDRESS_PER_SECOND, ADDRESS_BURST = 1.0, 30.0
"""Thousands of phones share one address of a mobile network, and each clicks once."""
ADDRESS_PART = 50
"""One address may store at most one in this many of the day's clicks."""
BYTES_EACH = 1024
"""Bytes of the daily budget per click; real clicks use a third of it."""

_FOREIGN = Answer(403, "foreign_origin", b"origin not among CTWA_SITE_ORIGINS\n")
_TOO_MANY = Answer(429, "too_many", b"too many clicks, try again\n", (http.RETRY,))
_ADDRESS = Answer(
    429, "address_too_many", b"too many clicks of this address, try again\n", (http.RETRY,)
)
_SPENT = Answer(
    503,
    "budget_spent",
    b"as many clicks as CTWA_CLICKS_PER_DAY allows have come today\n",
    ((b"retry-after", b"3600"),),
)
_PREFLIGHT = Answer(
    200,
    "preflight",
    b"",
    (
        (b"access-control-allow-methods", b"POST"),
        (b"access-control-allow-headers", b"content-type"),
        (b"access-control-max-age", b"86400"),
    ),
)

Keep = Callable[[str, bytes], Coroutine[Any, Any, Answer]]
"""Makes a body of a source durable, then gives the answer."""


class Clicks:
    """The endpoint's two methods; `is_on` only if both the site and its origins are set."""

    def __init__(
        self,
        settings: Settings,
        keep: Keep,
        metrics: ReceiverMetrics,
        brake: LogBrake,
    ) -> None:
        self._site_id, self._origins = settings.site_id, settings.site_origins
        self.is_on = bool(self._site_id and self._origins)
        self.is_half_set = bool(self._site_id) != bool(self._origins)
        self._keep, self._brake = keep, brake
        self._client = ClientAddress(settings.trusted_proxies)
        self._bucket = TokenBucket(PER_SECOND, BURST)
        per_day = settings.clicks_per_day
        self._shares = Shares(ADDRESS_PER_SECOND, ADDRESS_BURST, max(1, per_day // ADDRESS_PART))
        self._budget = DayBudget(per_day, per_day * BYTES_EACH)
        if self.is_on:
            metrics.clicks_left.set_function(self._budget.left)

    def routes(self) -> dict[str, Route]:
        """What is done with each method."""
        return {
            "POST": Route(self._take, MAX_BYTES, self._refusal, self._shared),
            "OPTIONS": Route(self._preflight, complete=self._shared),
        }

    def _preflight(self, exchange: Exchange) -> None:
        """Answer what a browser asks before it posts anything but plain text."""
        origin = self._origin(exchange.scope)
        exchange.reply(_FOREIGN if origin is None else _PREFLIGHT)

    def _refusal(self, scope: Scope) -> Answer | None:
        """The answer to a click whose body is not worth reading."""
        if self._origin(scope) is None:
            return _FOREIGN._replace(headers=(http.CLOSE,))
        address = self._client.of(scope)
        if address is None:
            self._brake.say(
                "no address",
                logging.WARNING,
                "/clicks is limited as a whole only: the proxy in front does not name the client "
                "(X-Forwarded-For; CTWA_TRUSTED_PROXIES)",
            )
        elif not self._shares.may_ask(address):
            return _ADDRESS._replace(headers=(http.RETRY, http.CLOSE))
        return None

    def _take(self, exchange: Exchange) -> None:
        """Take one click."""
        try:
            click = kept_part(exchange.content, self._site_id)
        except IntakeError as error:
            exchange.reply(http.misfit(error))
            return
        refusal = self._over_budget(exchange.scope, len(click))
        if refusal is not None:
            exchange.reply(refusal)
        else:
            exchange.later(self._keep(SOURCE, click))

    def _over_budget(self, scope: Scope, size: int) -> Answer | None:
        # After the check, so that invalid bodies do not use up the visitors' budget.
        if not self._bucket.take():
            return _TOO_MANY
        address = self._client.of(scope)
        if address is not None and not self._shares.may_store(address, self._budget.today()):
            return _ADDRESS
        return None if self._budget.spend(size) else _SPENT

    def _shared(self, scope: Scope, answer: Answer) -> Answer:
        """The answer with headers that let the page read it, if it is one of ours."""
        origin = self._origin(scope)
        if origin is None:
            return answer
        ours = ((b"access-control-allow-origin", origin), (b"vary", b"Origin"))
        return answer._replace(headers=(*answer.headers, *ours))

    def _origin(self, scope: Scope) -> bytes | None:
        given = header(scope, b"origin")
        is_ours = given is not None and given.decode("latin-1").lower() in self._origins
        return given if is_ours else None


def kept_part(raw: bytes, site_id: str) -> bytes:
    """The part of a click's body that the parser reads; raises `IntakeError` for another body or
    site.

    Everything else (other parameters of the page, most of the referrer) may be personal and is not
    needed.
    """
    click = read_click(raw, site_id)
    kept = {"code": click.code, "page_url": known_part(click.page_url)}
    if click.referrer:
        kept["referrer"] = origin_of(click.referrer)
    if click.clicked_at is not None:
        kept["clicked_at"] = click.clicked_at.isoformat()
    return orjson.dumps(kept)


MAX_KNOWN = 20_000
"""Networks remembered, the most recently seen; a few MB."""
_HOPS = 10
_INSIDE = tuple(
    map(
        ipaddress.ip_network,
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16",
         "127.0.0.0/8", "::1/128", "fc00::/7", "fe80::/10"),
    )
)  # fmt: skip
"""Private networks, where a peer may be our own proxy though it is not configured."""

Address = IPv4Address | IPv6Address


class ClientAddress:
    """Finds the address of the client that sent a request."""

    def __init__(self, trusted: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> None:
        self._trusted = tuple(trusted)

    def of(self, scope: Scope) -> Address | None:
        """The client's address; None if only a proxy's is known.

        A peer in a private network that is not configured (a container, for example) is taken for a
        proxy, but what it forwards is not trusted: the address that all visitors share gets no
        limit.
        """
        peer = _read(scope["client"][0]) if scope.get("client") else None
        if peer is None or not self._is_trusted(peer):
            is_inside = peer is not None and any(peer in network for network in _INSIDE)
            return None if is_inside else peer
        forwarded = b",".join(v for name, v in scope["headers"] if name == b"x-forwarded-for")
        found: Address | None = None
        for part in reversed(forwarded.rsplit(b",", _HOPS)[-_HOPS:]):
            hop = _read(part.decode("latin-1").strip())
            if hop is None:
                break
            found = hop
            if not self._is_trusted(hop):
                break
        return found

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def _read(text: str) -> Address | None:
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found


class TokenBucket:
    """Allows `burst` requests at once and `per_second` in the long run."""

    __slots__ = ("_at", "_burst", "_clock", "_left", "_per_second", "day", "today")

    def __init__(
        self, per_second: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second, self._burst, self._clock = per_second, burst, clock
        self._left, self._at = burst, clock()
        self.day = self.today = 0
        """For `Shares`: the day, and how many were stored on it."""

    def take(self) -> bool:
        """Whether one more request is allowed now."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Network(NamedTuple):
    """A network, and how many times the limits of a single address it has."""

    key: tuple[int, int]
    times: int


def networks_of(address: Address) -> tuple[Network, ...]:
    """The IPv4 address; for IPv6 its /64, and its /48, which is often a single line too."""
    value = int(address)
    if address.version == 4:
        return (Network((32, value), 1),)
    return Network((64, value >> 64), 1), Network((48, value >> 80), 4)


class Shares:
    """Limits for each network: a rate, and a number per day."""

    def __init__(
        self,
        per_second: float,
        burst: float,
        per_day: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_second, self._burst, self._per_day = per_second, burst, per_day
        self._clock = clock
        self._known: OrderedDict[tuple[int, int], TokenBucket] = OrderedDict()

    def may_ask(self, address: Address) -> bool:
        """Whether one more request from this address is allowed now."""
        return all(self._bucket(network).take() for network in networks_of(address))

    def may_store(self, address: Address, today: int) -> bool:
        """Whether one more may be stored on `today` (the number of the day); counts it if so."""
        found = [(self._bucket(network), network.times) for network in networks_of(address)]
        for bucket, _ in found:
            if bucket.day != today:
                bucket.day, bucket.today = today, 0
        if any(bucket.today >= self._per_day * times for bucket, times in found):
            return False
        for bucket, _ in found:
            bucket.today += 1
        return True

    def _bucket(self, network: Network) -> TokenBucket:
        key = network.key
        bucket = self._known.get(key)
        if bucket is None:
            if len(self._known) >= MAX_KNOWN:
                self._known.popitem(last=False)
            times = network.times
            bucket = TokenBucket(self._per_second * times, self._burst * times, self._clock)
            self._known[key] = bucket
        else:
            self._known.move_to_end(key)
        return bucket


class DayBudget:
    """A budget of rows and bytes per UTC day, counted since the process started."""

    def __init__(self, rows: int, size: int, clock: Callable[[], float] = time.time) -> None:
        self._rows, self._size, self._clock = rows, size, clock
        self._day, self._rows_left, self._size_left = -1, rows, size

    def today(self) -> int:
        """The number of the day; each new day begins with the full budget."""
        day = int(self._clock() // 86_400)
        if day != self._day:
            self._day, self._rows_left, self._size_left = day, self._rows, self._size
        return self._day

    def left(self) -> int:
        """Rows that may still be stored today; 0 if the bytes are used up."""
        self.today()
        return self._rows_left if self._size_left > 0 else 0

    def spend(self, size: int) -> bool:
        """Use the budget for a row of `size` bytes; False if it is used up."""
        if self.left() < 1 or self._size_left < size:
            return False
        self._rows_left -= 1
        self._size_left -= size
        return True
