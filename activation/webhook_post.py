"""One signed POST to the company's own address: what it was answered, and what that means."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import requests

from ingestion.webhook.signature import sign

QUICK_TRIES = (1.0, 3.0)
"""Seconds before the next try within a run, where there was no answer at all."""
TIMEOUT = (5.0, 15.0)
AGAIN = frozenset({408, 425, 429})
"""Of 4xx: not the content's fault. Every other one is, until the content changes."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`answer`: HTTP status, or the kind of failure. `retry_after`: seconds, where it says so."""

    fate: Literal["delivered", "refused", "later"]
    answer: str
    retry_after: float = 0.0


class Poster:
    """Posts JSON. Never follows a redirect: it could lead the content elsewhere."""

    def __init__(
        self, url: str, secret: bytes, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._url, self._secret, self._sleep = url, secret, sleep
        self._session = requests.Session()
        self._session.headers["User-Agent"] = "ctwa-attribution"

    def post(self, event_id: str, body: bytes) -> Answer:
        """The answer; tried again at once, a few times, where there is none."""
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
            # Streamed, so that nobody can fill our memory with an answer we do not read.
            with self._session.post(
                self._url,
                data=body,
                headers=headers,
                timeout=TIMEOUT,
                allow_redirects=False,
                stream=True,
            ) as response:
                return _judge(response.status_code, response.headers.get("Retry-After"))
        except requests.ReadTimeout:  # it may be working on it: not at once
            return Answer("later", "timeout")
        except requests.RequestException:  # its text may hold the address, with its secrets
            return None

    def close(self) -> None:
        """Close connections."""
        self._session.close()


def _judge(status: int, retry_after: str | None) -> Answer:
    if 200 <= status < 300:
        return Answer("delivered", str(status))
    if status in AGAIN or status >= 500:
        return Answer("later", str(status), _seconds(retry_after))
    return Answer("refused", str(status))


def _seconds(value: str | None) -> float:
    try:
        seconds = float(value or 0)
    except ValueError:
        return 0.0
    return seconds if 0 <= seconds < 86_400 else 0.0


__all__ = ["Answer", "Poster"]
