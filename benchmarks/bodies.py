"""Synthetic webhook bodies by the million, for measuring only (the simulator knows truths).

About 834 bytes on average: 45 % messages (30 % of them with an ad), 55 % statuses, 3 % repeats.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import orjson

ADS = [f"1202{n:014d}" for n in range(500)]
_DAY = 86_400


def bodies(count: int, *, first_day: date, days: int, seed: int = 1) -> Iterator[bytes]:
    """`count` bodies whose messages lie within `days` from `first_day`; equal for equal seeds."""
    rng = random.Random(seed)
    start = int(datetime(first_day.year, first_day.month, first_day.day, tzinfo=UTC).timestamp())
    people = max(1, count // 6)
    last = b""
    for n in range(count):
        if last and rng.random() < 0.03:
            yield last
            continue
        at = start + int(n / count * days * _DAY)
        person = rng.randrange(people) + seed * 10_000_000
        phone = f"5511{90_000_000 + person % 10_000_000:08d}"
        last = (
            _message(rng, n, seed, phone, at)
            if rng.random() < 0.45
            else _status(n, seed, phone, at)
        )
        yield last


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


def _message(rng: random.Random, n: int, seed: int, phone: str, at: int) -> bytes:
    message: dict = {
        "from": phone,
        "id": f"wamid.{seed:04d}{n:012d}{phone}",
        "timestamp": str(at),
        "type": "text",
        "text": {"body": "Oi, quero saber mais sobre a oferta " + "x" * rng.randrange(300)},
    }
    if rng.random() < 0.30:
        message["referral"] = {
            "source_url": "https://fb.me/3cr4Wqqkv",
            "source_id": rng.choice(ADS),
            "source_type": "ad",
            "headline": "Fale com a gente",
            "body": "Oferta da semana",
            "media_type": "image",
            "ctwa_clid": f"Aff{seed:04d}{n:012d}" + "z" * 90,
        }
    contact = {"profile": {"name": "Pessoa de Teste"}, "wa_id": phone}
    return _envelope({"contacts": [contact], "messages": [message]})


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


def days_before(today: date, days: int) -> date:
    """The first day of a window of `days` that ends before `today`."""
    return today - timedelta(days=days)
