"""Objects of the Marketing API as JSON: which fields there are, and how Meta writes them.

A field without value is absent, times carry the account's offset without a colon, budgets and
other numbers are strings. A field that the stand-in does not know is an error, as it is at Meta.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from simulator.ads_state import (
    Account,
    Ad,
    AdObject,
    AdSet,
    AdsState,
    Campaign,
    Creative,
    configured_status,
)


class BadFieldError(ValueError):
    """A field was requested that the node does not have."""


Fields = dict[str, "Fields"]
"""Requested fields: name to the fields inside its braces."""


def parse_fields(text: str) -> Fields:
    """`id,campaign{id,name}` to `{"id": {}, "campaign": {"id": {}, "name": {}}}`."""
    fields, rest = _parse(text)
    if rest:
        raise BadFieldError(f"Syntax error at '{rest[:20]}'")
    return fields


def _parse(text: str) -> tuple[Fields, str]:
    fields: Fields = {}
    while True:
        match = re.match(r"[a-z0-9_]+", text)
        if match is None:
            return fields, text
        name, text = match[0], text[match.end() :]
        fields[name] = {}
        if text.startswith("{"):
            fields[name], text = _parse(text[1:])
            if not text.startswith("}"):
                raise BadFieldError("Syntax error: missing }")
            text = text[1:]
        if not text.startswith(","):
            return fields, text
        text = text[1:]


class Renderer:
    """Writes objects of a state as Meta's JSON."""

    def __init__(self, state: AdsState) -> None:
        self.state = state
        self._thumbnails = 0

    def account(self, account: Account, fields: Fields) -> dict[str, Any]:
        """An ad account; `id` is always there and carries act_."""
        offset = self.state.now().astimezone(ZoneInfo(account.timezone)).utcoffset()
        values = {
            "account_id": account.id,
            "name": account.name,
            "currency": account.currency,
            "timezone_name": account.timezone,
            "timezone_offset_hours_utc": (offset.total_seconds() / 3600 if offset else 0),
            "account_status": account.account_status,
        }
        return _pick("AdAccount", f"act_{account.id}", values, fields)

    def thing(self, thing: AdObject, fields: Fields) -> dict[str, Any]:
        """A campaign, ad set, ad or creative, with nested ones if braces ask for them."""
        kinds: dict[type, Callable[[Any, Fields], dict[str, Any]]] = {
            Campaign: self._campaign,
            AdSet: self._adset,
            Ad: self._ad,
            Creative: self._creative,
        }
        kind = "AdCreative" if isinstance(thing, Creative) else type(thing).__name__
        return _pick(kind, thing.id, kinds[type(thing)](thing, fields), fields)

    def _common(self, thing: Campaign | AdSet | Ad) -> dict[str, Any]:
        status = configured_status(thing.effective_status)
        return {
            "account_id": thing.account_id,
            "name": thing.name,
            "status": status,
            "configured_status": status,
            "effective_status": thing.effective_status,
            "created_time": self._time(thing, thing.created),
            "updated_time": self._time(thing, thing.updated),
        }

    def _campaign(self, thing: Campaign, _: Fields) -> dict[str, Any]:
        return self._common(thing) | {
            "objective": thing.objective,
            "buying_type": thing.buying_type,
        }

    def _adset(self, thing: AdSet, fields: Fields) -> dict[str, Any]:
        return self._common(thing) | {
            "campaign_id": thing.campaign_id,
            "campaign": self._nested(self.state.campaigns, thing.campaign_id, fields, "campaign"),
            "destination_type": thing.destination_type,
            "optimization_goal": thing.optimization_goal,
            "billing_event": "IMPRESSIONS",
            "promoted_object": thing.promoted_object,
            "attribution_spec": thing.attribution_spec,
        }

    def _ad(self, thing: Ad, fields: Fields) -> dict[str, Any]:
        state = self.state
        return self._common(thing) | {
            "campaign_id": thing.campaign_id,
            "adset_id": thing.adset_id,
            "campaign": self._nested(state.campaigns, thing.campaign_id, fields, "campaign"),
            "adset": self._nested(state.adsets, thing.adset_id, fields, "adset"),
            "creative": self._nested(state.creatives, thing.creative_id, fields, "creative"),
        }

    def _nested(
        self, table: dict[str, Any], object_id: str | None, fields: Fields, name: str
    ) -> dict[str, Any] | None:
        if name not in fields or object_id is None:
            return None
        thing = table.get(object_id)
        return {"id": object_id} if thing is None else self.thing(thing, fields[name])

    def _creative(self, thing: Creative, _: Fields) -> dict[str, Any]:
        # Signed and short-lived, as Meta's are: a different one at each read.
        self._thumbnails += 1
        thumbnail = f"https://scontent.example/{thing.id}.jpg?oh=00_{self._thumbnails:08x}"
        return {
            "account_id": thing.account_id,
            "name": thing.name,
            "title": thing.title,
            "body": thing.body,
            "object_story_spec": _story(thing),
            "effective_object_story_id": thing.effective_object_story_id,
            "effective_instagram_media_id": thing.effective_instagram_media_id,
            "source_instagram_media_id": None,
            "url_tags": thing.url_tags,
            "call_to_action_type": thing.call_to_action_type,
            "thumbnail_url": thumbnail,
        }

    def _time(self, thing: AdObject, moment: datetime) -> str:
        account = self.state.accounts.get(thing.account_id)
        zone = ZoneInfo(account.timezone if account else "UTC")
        return moment.astimezone(zone).strftime("%Y-%m-%dT%H:%M:%S%z")


def _story(thing: Creative) -> dict[str, Any]:
    form = thing.lead_form_id
    action = {
        "type": thing.call_to_action_type,
        "value": {"lead_gen_form_id": form} if form else {"app_destination": "WHATSAPP"},
    }
    if thing.media_type == "video":
        data = {"title": thing.title, "message": thing.body, "video_id": "1", "image_url": "x"}
        return {"page_id": "1", "video_data": data | {"call_to_action": action}}
    link: dict[str, Any] = {
        "name": thing.title,
        "message": thing.body,
        "link": "https://api.whatsapp.com/send",
        "call_to_action": action,
    }
    if thing.media_type == "carousel":
        link["child_attachments"] = [{"name": "one"}, {"name": "two"}]
    return {"page_id": "1", "link_data": {k: v for k, v in link.items() if v is not None}}


def _pick(kind: str, node_id: str, values: dict[str, Any], fields: Fields) -> dict[str, Any]:
    unknown = [f for f in fields if f != "id" and f not in values]
    if unknown:
        raise BadFieldError(
            f"(#100) Tried accessing nonexisting field ({unknown[0]}) on node type ({kind})"
        )
    picked = {f: values[f] for f in fields if f != "id" and values[f] is not None}
    return picked | {"id": node_id}
