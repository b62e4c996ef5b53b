"""Campaigns, ad sets, ads and creatives: what is asked for, and Meta's objects as rows.

Lists leave out archived objects unless their status is named, and never show deleted ones: a
DELETED in an edge filter is an error, but by its own id every object can be read for good.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from ingestion.sources.meta_account import Row, moment, required, text

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
"""Of an ad read by id: with all that stands above it, which may be in no list either."""

_CAMPAIGN_STATUSES = ("ACTIVE", "PAUSED", "ARCHIVED", "IN_PROCESS", "WITH_ISSUES")
_ADSET_STATUSES = (*_CAMPAIGN_STATUSES, "CAMPAIGN_PAUSED")
AD_STATUSES = (
    *(*_ADSET_STATUSES, "ADSET_PAUSED", "PENDING_REVIEW", "DISAPPROVED"),
    *("PREAPPROVED", "PENDING_BILLING_INFO"),
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object: its table in the lake is also the name of its edge."""

    table: str
    key: str
    fields: str
    statuses: tuple[str, ...]
    page_rows: int
    to_row: Callable[[Row], Row]


def campaign_row(body: Row) -> Row:
    """A campaign as a row of `campaigns`."""
    return {
        "campaign_id": required(body, "id"),
        "campaign_name": text(body, "name"),
        **_texts(body, "account_id", "objective", "status", "effective_status", "buying_type"),
        **_times(body),
    }


def adset_row(body: Row) -> Row:
    """An ad set as a row of `adsets`."""
    return {
        "adset_id": required(body, "id"),
        "adset_name": text(body, "name"),
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
        "ad_id": required(body, "id"),
        "ad_name": text(body, "name"),
        **_texts(body, "account_id", "campaign_id", "adset_id", "status", "effective_status"),
        "creative_id": text(creative, "id"),
        **_times(body),
    }


def creative_row(body: Row) -> Row:
    """A creative as a row of `creatives`; what people see first, wherever Meta keeps it."""
    story = body.get("object_story_spec") or {}
    video, link = story.get("video_data") or {}, story.get("link_data") or {}
    call = (video or link).get("call_to_action") or {}
    return {
        "creative_id": required(body, "id"),
        "creative_name": text(body, "name"),
        "account_id": text(body, "account_id"),
        "headline": text(body, "title") or text(video, "title") or text(link, "name"),
        "body": text(body, "body") or text(video, "message") or text(link, "message"),
        "media_type": _media_type(story),
        "call_to_action_type": text(body, "call_to_action_type") or text(call, "type"),
        "thumbnail_url": text(body, "thumbnail_url"),
        "effective_object_story_id": text(body, "effective_object_story_id"),
        "effective_instagram_media_id": text(body, "effective_instagram_media_id")
        or text(body, "source_instagram_media_id"),
        "url_tags": text(body, "url_tags"),
    }


CAMPAIGNS = Kind("campaigns", "campaign_id", CAMPAIGN_FIELDS, _CAMPAIGN_STATUSES, 200, campaign_row)
ADSETS = Kind("adsets", "adset_id", ADSET_FIELDS, _ADSET_STATUSES, 200, adset_row)
ADS = Kind("ads", "ad_id", AD_FIELDS, AD_STATUSES, 100, ad_row)
KINDS = (CAMPAIGNS, ADSETS, ADS)

KEYS = {
    "accounts": "account_id",
    "campaigns": "campaign_id",
    "adsets": "adset_id",
    "ads": "ad_id",
    "creatives": "creative_id",
}
"""Tables whose rows are objects, with the column that identifies one."""


class Objects:
    """Objects read in one pull, by table and id."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, Row]] = {table: {} for table in KEYS}

    def add(self, table: str, row: Row) -> None:
        """Take a row; of an object read twice the later read counts."""
        self.tables[table][row[KEYS[table]]] = row

    def add_body(self, kind: Kind, body: Row) -> None:
        """Take an object as Meta sends it, with what is nested in it."""
        self.add(kind.table, kind.to_row(body))
        for name, table, to_row in (
            ("campaign", "campaigns", campaign_row),
            ("adset", "adsets", adset_row),
            ("creative", "creatives", creative_row),
        ):
            nested = body.get(name)
            if isinstance(nested, dict) and len(nested) > 1:  # more than its id
                self.add(table, to_row(nested))

    def merge(self, other: Objects) -> None:
        """Take all of `other`."""
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


def _texts(body: Row, *names: str) -> Row:
    return {name: text(body, name) for name in names}


def _times(body: Row) -> Row:
    return {name: moment(body, name) for name in ("created_time", "updated_time")}


def _json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
