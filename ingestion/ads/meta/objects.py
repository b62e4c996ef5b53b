"""Campaigns, ad sets, ads and creatives: what is asked for, and Meta's objects and values as rows.

Lists leave out archived objects unless their status is named, and never show deleted ones: a
DELETED in an edge filter is an error, but by its own id every object can be read for good. Numbers
arrive as text, times as `2026-05-01T10:00:00-0300`, and a field without value is absent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any

from ingestion.ads.meta.errors import MetaDamageError, MetaShapeError
from ingestion.ads.schema import KEYS
from ingestion.apis.answers import is_damaged, write_json

log = logging.getLogger(__name__)

_COMMON = "id,account_id,name,status,effective_status,created_time,updated_time"
CAMPAIGN_FIELDS = f"{_COMMON},objective,buying_type"
ADSET_FIELDS = (
    f"{_COMMON},campaign_id,destination_type,optimization_goal,promoted_object,attribution_spec"
)
CREATIVE_FIELDS = (
    "id,account_id,name,title,body,object_story_spec,effective_object_story_id,"
    "effective_instagram_media_id,source_instagram_media_id,url_tags,call_to_action_type,"
    "thumbnail_url"
)
AD_FIELDS = f"{_COMMON},campaign_id,adset_id,creative{{{CREATIVE_FIELDS}}}"
LOOKUP_FIELDS = f"{AD_FIELDS},campaign{{{CAMPAIGN_FIELDS}}},adset{{{ADSET_FIELDS}}}"
"""Of an ad read by id: with its campaign and ad set, which may be in no list either."""

_CAMPAIGN_STATUSES = ("ACTIVE", "PAUSED", "ARCHIVED", "IN_PROCESS", "WITH_ISSUES")
_ADSET_STATUSES = (*_CAMPAIGN_STATUSES, "CAMPAIGN_PAUSED")
AD_STATUSES = (
    *(*_ADSET_STATUSES, "ADSET_PAUSED", "PENDING_REVIEW", "DISAPPROVED"),
    *("PREAPPROVED", "PENDING_BILLING_INFO"),
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object: its table in the lake is also the name of its edge; `word` is what filters
    call it."""

    table: str
    word: str
    fields: str
    statuses: tuple[str, ...]
    page_rows: int
    to_row: Callable[[Row], Row]


def campaign_row(body: Row) -> Row:
    """A campaign as a row of `campaigns`."""
    return {
        "campaign_id": identifier(body, "id"),
        "campaign_name": name(body, "name"),
        **_texts(body, "account_id", "objective", "status", "effective_status", "buying_type"),
        **_times(body),
    }


def adset_row(body: Row) -> Row:
    """An ad set as a row of `adsets`."""
    return {
        "adset_id": identifier(body, "id"),
        "adset_name": name(body, "name"),
        **_texts(body, "account_id", "campaign_id", "status", "effective_status"),
        **_texts(body, "destination_type", "optimization_goal"),
        "promoted_object": _json(body.get("promoted_object")),
        "attribution_spec": _json(body.get("attribution_spec")),
        **_times(body),
    }


def ad_row(body: Row) -> Row:
    """An ad as a row of `ads`."""
    creative = body.get("creative") or {}
    return {
        "ad_id": identifier(body, "id"),
        "ad_name": name(body, "name"),
        **_texts(body, "account_id", "campaign_id", "adset_id", "status", "effective_status"),
        "creative_id": text(creative, "id"),
        **_times(body),
    }


def creative_row(body: Row) -> Row:
    """A creative as a row of `creatives`; what people see first, wherever Meta keeps it."""
    story = body.get("object_story_spec") or {}
    video, link = story.get("video_data") or {}, story.get("link_data") or {}
    call = (video or link).get("call_to_action") or {}
    opened = call.get("value")
    return {
        "creative_id": identifier(body, "id"),
        "creative_name": name(body, "name"),
        "account_id": text(body, "account_id"),
        "headline": name(body, "title") or name(video, "title") or name(link, "name"),
        "body": name(body, "body") or name(video, "message") or name(link, "message"),
        "media_type": _media_type(story),
        "call_to_action_type": text(body, "call_to_action_type") or text(call, "type"),
        "thumbnail_url": text(body, "thumbnail_url"),
        "effective_object_story_id": text(body, "effective_object_story_id"),
        "effective_instagram_media_id": text(body, "effective_instagram_media_id")
        or text(body, "source_instagram_media_id"),
        "url_tags": text(body, "url_tags"),
        "lead_form_id": name(opened, "lead_gen_form_id") if isinstance(opened, dict) else None,
    }


CAMPAIGNS = Kind("campaigns", "campaign", CAMPAIGN_FIELDS, _CAMPAIGN_STATUSES, 200, campaign_row)
ADSETS = Kind("adsets", "adset", ADSET_FIELDS, _ADSET_STATUSES, 200, adset_row)
ADS = Kind("ads", "ad", AD_FIELDS, AD_STATUSES, 100, ad_row)
KINDS = (CAMPAIGNS, ADSETS, ADS)


class Objects:
    """Objects read in one pull, by table and id. `refused`: how many could not be read."""

    def __init__(self) -> None:
        self.refused = 0
        self.tables: dict[str, dict[str, Row]] = {table: {} for table in KEYS}

    def add(self, table: str, row: Row) -> None:
        """Add a row; if an object was read twice, the later read counts."""
        self.tables[table][row[KEYS[table]]] = row

    def add_body(self, kind: Kind, body: Row) -> None:
        """Add an object as Meta sends it, with those nested in it; raises `MetaShapeError`."""
        try:
            self._add_body(kind, body)
        except (AttributeError, TypeError):  # a part of it has another type than documented
            raise MetaShapeError(f"one of {kind.table} is not as documented") from None

    def _add_body(self, kind: Kind, body: Row) -> None:
        self.add(kind.table, kind.to_row(body))
        for within, table, to_row in (
            ("campaign", "campaigns", campaign_row),
            ("adset", "adsets", adset_row),
            ("creative", "creatives", creative_row),
        ):
            nested = body.get(within)
            if isinstance(nested, dict) and len(nested) > 1:  # more than its id
                self.add(table, to_row(nested))

    def add_all(self, kind: Kind, bodies: Iterable[Row]) -> None:
        """Add a list of objects. Those that cannot be read are left out and counted (`refused`);
        raises `MetaShapeError` if none can be read."""
        taken, first = 0, None
        for body in bodies:
            try:
                self.add_body(kind, body)
                taken += 1
            except MetaShapeError as error:
                first = first or error
                self.refused += 1
                log.warning("one of %s is left out: %s", kind.table, error)
        if first and not taken:
            raise first

    def merge(self, other: Objects) -> None:
        """Add everything in `other`."""
        self.refused += other.refused
        for table, rows in other.tables.items():
            self.tables[table].update(rows)


def _media_type(story: Row) -> str | None:
    if "video_data" in story:
        return "video"
    if (story.get("link_data") or {}).get("child_attachments"):
        return "carousel"
    if "link_data" in story or "photo_data" in story:
        return "image"
    return None


def _texts(body: Row, *fields: str) -> Row:
    """An id that is present must be intact; other values that are no text are left out."""
    return {
        field: (identifier(body, field) if text(body, field) else None)
        if field.endswith("_id")
        else name(body, field)
        for field in fields
    }


def _times(body: Row) -> Row:
    return {
        "created_at": moment(body, "created_time"),
        "updated_at": moment(body, "updated_time"),
    }


def _json(value: Any) -> str | None:
    return None if value is None else write_json(value, sort_keys=True).decode()


Row = dict[str, Any]


def text(body: Row, field: str) -> str | None:
    """A value as text: ids and enumerations may come as numbers; ids are text from here on."""
    value = body.get(field)
    if value is None or value == "":
        return None
    if isinstance(value, (dict, list, float, bool)):
        raise MetaShapeError(f"`{field}` is a {type(value).__name__} where text was expected")
    return str(value)


def required(body: Row, field: str) -> str:
    """Text that must be present."""
    value = text(body, field)
    if value is None:
        raise MetaShapeError(f"Meta's answer has no `{field}`, which every row must have")
    return value


def identifier(body: Row, field: str) -> str:
    """The id of an object; raises `MetaDamageError` if it lost a character on the way."""
    value = required(body, field)
    if is_damaged(value) or not value.isprintable() or " " in value:
        raise MetaDamageError(f"`{field}` holds characters that no id has")
    return value


def name(body: Row, field: str) -> str | None:
    """A text for people; a value of another type is ignored, as nothing depends on it."""
    value = body.get(field)
    return str(value) or None if isinstance(value, str | int) and value is not True else None


def decimal(body: Row, field: str) -> Decimal | None:
    """An exact number; None if absent."""
    value = body.get(field)
    if value is None:
        return None
    if isinstance(value, float) and not isfinite(value):  # NaN, or a number with too many digits
        raise MetaDamageError(f"`{field}` is not a number in Meta's answer")
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or isinstance(value, bool):
        raise MetaShapeError(f"`{field}` is not a number in Meta's answer")
    return number


def integer(body: Row, field: str) -> int | None:
    """A whole number; None if absent."""
    number = decimal(body, field)
    if number is None:
        return None
    if number != number.to_integral_value():
        raise MetaShapeError(f"`{field}` is not a whole number in Meta's answer")
    return int(number)


def moment(body: Row, field: str) -> datetime | None:
    """A time with offset, as UTC; None if absent."""
    value = text(body, field)
    if value is None:
        return None
    try:
        parsed: datetime | None = datetime.fromisoformat(value)
    except ValueError:
        parsed = None
    if parsed is None or parsed.tzinfo is None:
        raise MetaShapeError(f"`{field}` is not a time with offset in Meta's answer")
    return parsed.astimezone(UTC)
