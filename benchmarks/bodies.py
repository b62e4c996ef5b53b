"""Synthetic webhook bodies by the million, for measuring only (the simulator knows truths).

About 834 bytes on average: 45 % messages (30 % of them with an ad), 55 % statuses, 3 % repeats.
Every phone number is one person, so leads can be counted without any identity rule.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime

import orjson

ADS = [f"1202{n:014d}" for n in range(500)]
JUNK = "BR.0000000000000000"
_DAY = 86_400


@dataclass(frozen=True)
class People:
    """Who writes: `count` numbers, the first of which is number `first` of all that there are.

    Two sets of bodies with overlapping people have returning customers in common.
    """

    count: int
    first: int = 0

    def phone(self, number: int) -> str:
        """A mobile number in São Paulo without the ninth digit: as many as 10 million differ."""
        return f"5511{90_000_000 + (self.first + number) % 10_000_000:08d}"


def people_of(envelopes: int) -> People:
    """As many people as write and are written to in so many envelopes: one in six."""
    return People(max(1, envelopes // 6))


def people_of_news(envelopes: int, history: int) -> People:
    """Those of a day's `envelopes`: half of them known from a `history`, half of them new."""
    count = max(2, envelopes // 6)
    return People(count, max(0, people_of(history).count - count // 2))


def bodies(
    count: int,
    *,
    first_day: date,
    days: int,
    seed: int = 1,
    people: People | None = None,
    junk: float = 0.0,
) -> Iterator[bytes]:
    """`count` bodies whose messages lie within `days` from `first_day`; equal for equal arguments.

    `seed` is part of the message ids, so that two sets have no message in common. `junk`: share of
    the messages whose contact has one and the same id, which joins nobody (R4).
    """
    rng = random.Random(seed)
    start = int(datetime(first_day.year, first_day.month, first_day.day, tzinfo=UTC).timestamp())
    people = people or people_of(count)
    last = b""
    for n in range(count):
        if last and rng.random() < 0.03:
            yield last
            continue
        at = start + int(n / count * days * _DAY)
        if rng.random() < 0.45:
            user_id = JUNK if junk and rng.random() < junk else None
            last = _message(rng, n, seed, people.phone(rng.randrange(people.count)), at, user_id)
        else:
            last = _status(n, seed, people.phone(_recipient(n // 3, people.count)), at)
        yield last


def _recipient(message: int, people: int) -> int:
    """Whom a message of ours went to: all statuses of one message have one recipient.

    Several recipients of one message id would be one person (E2), and a million envelopes one
    cluster of strangers.
    """
    return message * 2_654_435_761 % 4_294_967_296 % people


def _envelope(value: dict) -> bytes:
    return orjson.dumps(
        {
            "object": "whatsapp_business_account",
            "entry": [
                {
                    "id": "102290129340398",
                    "changes": [
                        {
                            "field": "messages",
                            "value": {
                                "messaging_product": "whatsapp",
                                "metadata": {
                                    "display_phone_number": "551140000000",
                                    "phone_number_id": "106540352242922",
                                },
                                **value,
                            },
                        }
                    ],
                }
            ],
        }
    )


def _message(
    rng: random.Random, n: int, seed: int, phone: str, at: int, user_id: str | None
) -> bytes:
    text = "Oi, quero saber mais sobre a oferta " + "x" * rng.randrange(300)
    ad = rng.choice(ADS) if rng.random() < 0.30 else None
    click = f"Aff{seed:04d}{n:012d}" + "z" * 90
    message_id = f"wamid.{seed:04d}{n:012d}{phone}"
    return message(message_id, phone, at, text=text, ad=ad, click=click, user_id=user_id)


def message(
    message_id: str,
    phone: str,
    at: int,
    *,
    text: str = "Oi, quero saber mais sobre a oferta",
    ad: str | None = ADS[0],
    click: str = "Aff" + "z" * 90,
    user_id: str | None = None,
) -> bytes:
    """A body with one message from `phone` at `at` (seconds since 1970); `ad`: the one tapped;
    `user_id`: the BSUID that the contact shows beside the number."""
    content: dict = {
        "from": phone,
        "id": message_id,
        "timestamp": str(at),
        "type": "text",
        "text": {"body": text},
    }
    if ad is not None:
        content["referral"] = {
            "source_url": "https://fb.me/3cr4Wqqkv",
            "source_id": ad,
            "source_type": "ad",
            "headline": "Fale com a gente",
            "body": "Oferta da semana",
            "media_type": "image",
            "ctwa_clid": click,
        }
    contact = {"profile": {"name": "Pessoa de Teste"}, "wa_id": phone}
    if user_id is not None:
        contact["user_id"] = user_id
    return _envelope({"contacts": [contact], "messages": [content]})


def _status(n: int, seed: int, phone: str, at: int) -> bytes:
    status = {
        "id": f"wamid.OUT{seed:04d}{n // 3:012d}",
        "status": ("sent", "delivered", "read")[n % 3],
        "timestamp": str(at),
        "recipient_id": phone,
        "pricing": {
            "billable": True,
            "pricing_model": "PMP",
            "type": "regular",
            "category": "marketing",
        },
    }
    return _envelope({"statuses": [status]})
