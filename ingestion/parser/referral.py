"""The ad in front of a message: the `referral` block, wherever it appears (E4, E5, E7-E11).

Ids and the click id are kept as sent; one never stands in for the other (E9). What this version
does not know is kept as JSON text in `referral_extra`, so that nothing has to be asked again.
"""

from __future__ import annotations

from typing import Any

import orjson

from ingestion.parser.limits import Reject
from ingestion.parser.values import code, prose, text, url

CLID_CHARS = 2_048
EXTRA_BYTES = 4_096

Columns = tuple[
    bool, str | None, str | None, str | None, str | None, str | None, str | None,
    str | None, str | None, str | None, str | None, str | None, str | None,
]  # fmt: skip
"""From `has_referral` to `ctwa_clid`, in the order of the messages table."""

NONE: Columns = (False, *(None,) * 12)

_PROSE = frozenset({"headline", "body"})
_CODES = frozenset({"source_type", "media_type"})
_URLS = frozenset({"source_url", "image_url", "video_url", "thumbnail_url"})
_IDS = frozenset({"source_id", "ctwa_clid"})
_TEXTS = _PROSE | _URLS
_PLAIN = _TEXTS | _IDS
"""Keys that have a column of their own whenever their value is text: nearly all there are."""

KEYS = _PLAIN | _CODES | {"welcome_message"}
"""All keys with a column."""


def read_referral(message: dict[str, Any]) -> tuple[Columns, str | None]:
    """Columns of a message's referral, and the reason where an id in it cannot be trusted.

    Such an id is null and its reason quarantined by itself: the message stays a lead from an ad.
    """
    block = message.get("referral")
    if block is None or block == {}:
        return NONE, None
    if type(block) is not dict:
        raise Reject("referral_not_object: expected an object")
    problem = None
    ids: dict[str, str | None] = {}
    for key, limit in (("source_id", 512), ("ctwa_clid", CLID_CHARS)):
        try:
            ids[key] = text(block, key, limit)
        except Reject as reject:
            problem, ids[key] = f"referral_{reject}", None
    source_id, clid = ids["source_id"], ids["ctwa_clid"]
    if clid is not None and clid == source_id:
        clid = None  # some gateway filled the gap with the ad id
    welcome = block.get("welcome_message")
    return (
        True,
        code(block, "source_type"),
        source_id,
        url(block.get("source_url")),
        prose(block.get("headline")),
        prose(block.get("body")),
        code(block, "media_type"),
        url(block.get("image_url")),
        url(block.get("video_url")),
        url(block.get("thumbnail_url")),
        prose(welcome.get("text")) if type(welcome) is dict else None,
        _extra(block),
        clid,
    ), problem


def _extra(block: dict[str, Any]) -> str | None:
    unknown = {
        key: value
        for key, value in block.items()
        if not (type(value) is str and key in _PLAIN) and not _is_known(key, value)
    }
    if not unknown:
        return None
    try:
        data = orjson.dumps(unknown, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # a number beyond 64 bits, in a body that was read the slow way
        return None
    if len(data) > EXTRA_BYTES:
        # Half a JSON text is none: keep the names, so that it is seen that there was more.
        data = orjson.dumps({"_cut": sorted(key[:64] for key in unknown)[:32]})
    return data.decode()


def _is_known(key: str, value: Any) -> bool:
    """Whether a pair has a column of its own, also by its type (E76: text becomes an object)."""
    if value is None or key in _IDS:
        return True
    if key == "welcome_message":
        return type(value) is dict and value.keys() <= {"text"}
    if key in _CODES:
        return type(value) is str and len(value) <= 64
    return key in _TEXTS and type(value) is str
