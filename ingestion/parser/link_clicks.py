"""Clicks on the WhatsApp button of the company's site: which page a code stands for (E21)."""

from __future__ import annotations

from typing import Any

import orjson

from ingestion.parser.limits import Reject, read_body
from ingestion.parser.pages import read_page
from ingestion.parser.people import Keys
from ingestion.parser.rows import Rows
from ingestion.parser.statements import each_statement
from ingestion.webhook.fields import IntakeError
from ingestion.webhook.site import validate_click
from ingestion.webhook.vault import microseconds

_YEAR_2015_US = 1_420_070_400 * 1_000_000
_AHEAD_US = 300 * 1_000_000
"""How far the visitor's clock may be ahead of ours. The time of the click counts as that of a
message does (E13, R3): however late it is told; what cannot be gives way to the time of receipt."""


class LinkClicks:
    """Reads envelopes of source `clicks`."""

    __slots__ = ("_keys", "_rows")

    def __init__(self, keys: Keys, rows: Rows) -> None:
        self._keys, self._rows = keys, rows

    def read(self, body: bytes) -> None:
        """Add the rows of one body; raises `Reject` where it is not JSON."""
        value, suspicious = read_body(body)
        each_statement(value, suspicious, self._rows, "link_click", self._add)

    def _add(self, item: Any) -> None:
        try:
            click = validate_click(item)
        except IntakeError as error:
            raise Reject(f"link_click_invalid: {error}") from None
        keys, rows = self._keys, self._rows
        at_us = received_us = rows.received_us
        if click.clicked_at is not None:
            told_us = microseconds(click.clicked_at)
            if _YEAR_2015_US <= told_us <= received_us + _AHEAD_US:
                at_us = told_us
        content = (keys.link_code(click.code), at_us, *read_page(click.page_url, click.referrer))
        rows.link_clicks.append((*rows.place(), *content, keys.content(orjson.dumps(content))))
