"""What the rules of `test_chat_rules` make of anything that one person and we say: worked out as
somebody would who reads the chat, message by message, and not by tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

GAP_HOURS = 30 * 24.0
CHANGED_AT = 8 * 24 + 15.0
"""Midnight of 10 May in São Paulo, in hours since the story's start."""

WE_WRITE = ("segue o orçamento", "su COTIZACION", "é R$ 700", "orçamento: R$ 1.200", "R$ 90", "oi")
THEY_WRITE = ("oi", "quero agendar", "qual o valor?", "e o preço?", "valor e preço", "obrigado")
PRICES = {"é R$ 700": "700", "orçamento: R$ 1.200": "1200"}
_QUOTES = frozenset({"segue o orçamento", "su COTIZACION", "orçamento: R$ 1.200"})

Met = tuple[str, str, float, str | None]
"""Rule, stage, hours since the start, and the value."""


@dataclass
class Said:
    """A message or a call. `edits`: hours and text of each, in any order."""

    hours: float
    kind: str = "text"  # text | template | order | reaction | call
    is_ours: bool = False
    text: str = ""
    price: str = ""
    seconds: int = 0
    edits: list[tuple[float, str]] = field(default_factory=list)
    is_deleted: bool = False

    @property
    def last(self) -> tuple[float, str]:
        """When it got the text that counts, and that text."""
        return max([(self.hours, self.text), *self.edits])


def outcomes(chat: Sequence[Said]) -> set[Met]:
    """What the rules say of all that one person and we said."""
    chats = list(_conversations(chat))
    found: set[Met] = set()
    first: dict[str, Met] = {}
    for talk in chats:
        for met in _of_conversation(talk):
            if met[0] == "sale":
                found.add(met)
            elif met[0] not in first or met[2] < first[met[0]][2]:
                first[met[0]] = met
    return found | set(first.values())


def _conversations(chat: Sequence[Said]) -> Iterator[list[Said]]:
    """Calls open none: they belong to the last one that had begun."""
    talks: list[list[Said]] = []
    last = float("-inf")
    for said in sorted(chat, key=lambda s: s.hours):
        if said.kind != "call":
            if said.hours - last > GAP_HOURS:
                talks.append([])
            last = max([said.hours, *(at for at, _ in said.edits)])
        talks[-1].append(said)
    yield from talks


def _of_conversation(talk: list[Said]) -> Iterator[Met]:
    opening, kept = talk[0], [said for said in talk if not said.is_deleted]
    ours = [said.last for said in kept if said.is_ours and said.kind == "text"]
    theirs = [said.last for said in kept if not said.is_ours and said.kind == "text"]
    quotes = [at for at, text in ours if text in _QUOTES]
    prices = [(at, text) for at, text in ours if text in PRICES]
    if quotes and prices:
        at, text = min(prices)
        yield "quote", "qualified", max(at, min(quotes)), PRICES[text]
    replies = sorted(
        said.hours
        for said in kept
        if not said.is_ours and said.kind in ("text", "order") and said is not opening
    )
    if len(replies) >= 3 and replies[2] <= opening.hours + 24:
        yield "talk", "qualified", replies[2], None
    orders = [said for said in kept if said.kind == "order"]
    if orders:
        order = min(orders, key=lambda said: said.hours)
        yield "sale", "won", order.hours, order.price
    calls = [said.hours for said in kept if said.kind == "call" and said.seconds >= 60]
    if calls:
        yield "call", "qualified", min(calls), None
    visits = [said.hours for said in kept if said.kind == "template"]
    visits += [at for at, text in theirs if "agendar" in text]
    if visits:
        yield "visit", "qualified", min(visits), None
    asked = [(at, "lead") for at, text in theirs if "valor" in text and at < CHANGED_AT]
    asked += [(at, "opportunity") for at, text in theirs if "preço" in text and at >= CHANGED_AT]
    if asked:
        at, stage = min(asked)
        yield "changed", stage, at, None
