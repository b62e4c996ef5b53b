"""A page and its instant forms by the Graph API; its part of `ctwa doctor`.

| call | gives |
|---|---|
| `GET /<page>?fields=name,access_token` | the page's own token, where ours is a system user's |
| `GET /<page>/leadgen_forms` | its forms, archived ones too |
| `GET /<form>/leads` | leads of 90 days, filtered by `time_created` |
| `GET /<form>/test_leads` | ids of test leads; one at a time for each form |
| `GET /<lead>` | one lead, as a notice names it |
| `GET /<page>/subscribed_apps` | whether our app gets notices: the field `leadgen` |
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from ctwa.settings import Settings
from ingestion.ads.meta.accounts import read_token
from ingestion.ads.meta.errors import (
    GraphError,
    GraphNotFoundError,
    GraphPermissionError,
    GraphTokenError,
)
from ingestion.ads.meta.graph import GraphClient
from ingestion.apis.client import IMPATIENT, RetryPolicy, StopError
from ingestion.parser.lead_forms import FIELD
from ingestion.source import Finding, SourceError, not_checked, off, ok, refused, wrong

log = logging.getLogger(__name__)

Row = dict[str, Any]

PERMISSION = "leads_retrieval"
_LEAD_FIELDS = "id,created_time,ad_id,adset_id,campaign_id,form_id,field_data,is_organic,platform"
_PAGE_ROWS = 100
_RIGHTS = (
    "give it leads_retrieval, pages_show_list, pages_read_engagement and pages_manage_ads, assign "
    "the page to its system user, and let the app read leads in Business settings > Integrations "
    "> Leads access"
)


class Pages:
    """Clients by page. `policy`: how patient they are."""

    def __init__(self, settings: Settings, policy: RetryPolicy | None = None, **more: Any) -> None:
        self._settings, self._policy, self._more = settings, policy, more
        self._token_name = "META_PAGE_TOKEN" if settings.meta_page_token else "META_ACCESS_TOKEN"
        token = settings.meta_page_token or settings.meta_access_token
        if token is None:
            raise ValueError("META_PAGE_TOKEN is not set: this source is off")
        self.token = token.get_secret_value().strip()
        self.own = self._client(self.token)
        self._clients: dict[str, GraphClient] = {}

    def of(self, page_id: str) -> GraphClient:
        """The client with the page's token. Raises `GraphError` with what to do about the page."""
        if page_id not in self._clients:
            body = self.call(page_id, self.own.get, page_id, fields="name,access_token")
            token = body.get("access_token")
            is_other = isinstance(token, str) and token not in ("", self.token)
            self._clients[page_id] = self._client(str(token)) if is_other else self.own
        return self._clients[page_id]

    def call(self, page_id: str, ask: Any, *args: Any, **params: Any) -> Any:
        """`ask(*args, **params)`; a refusal says what the token lacks for leads of this page."""
        try:
            return ask(*args, **params)
        except GraphError as error:
            refusal = self._explained(page_id, error)
        raise refusal

    def close(self) -> None:
        """Close connections."""
        for client in {id(c): c for c in (self.own, *self._clients.values())}.values():
            client.close()

    def _client(self, token: str) -> GraphClient:
        settings = self._settings
        return GraphClient(
            settings.meta_graph_url,
            token,
            version=settings.meta_api_version,
            policy=self._policy,
            **self._more,
        )

    def _explained(self, page_id: str, error: GraphError) -> GraphError:
        name, kind = self._token_name, type(error)
        if isinstance(error, GraphTokenError):
            fix = f"make a new system user token with {PERMISSION} and put it into {name}"
            return kind(error.problem, f"{name} is no longer valid", fix)
        if isinstance(error, GraphPermissionError):
            return kind(error.problem, f"{name} may not read leads of page {page_id}", _RIGHTS)
        if isinstance(error, GraphNotFoundError):
            fix = f"check META_PAGE_IDS, and assign page {page_id} to the system user of {name}"
            return kind(error.problem, "there is no such object, or it is hidden from us", fix)
        return error


def read_forms(pages: Pages, page_id: str) -> list[Row]:
    """All forms of a page, in every status. Raises `GraphError`."""
    client = pages.of(page_id)
    fields = {"fields": "id,name,status", "limit": _PAGE_ROWS}
    edge = f"{page_id}/leadgen_forms"
    found = pages.call(page_id, client.read_whole, edge, lambda page: page, **fields)
    return [form for page in found for form in page if form.get("id")]


def read_leads(pages: Pages, page_id: str, form_id: str, since: datetime) -> list[Row]:
    """Leads of a form from that time on, to the end. Raises `GraphError`."""
    client = pages.of(page_id)
    after = int(since.timestamp()) - 1
    created = {"field": "time_created", "operator": "GREATER_THAN", "value": after}
    found = pages.call(
        page_id,
        client.read_whole,
        f"{form_id}/leads",
        lambda page: page,
        fields=_LEAD_FIELDS,
        filtering=[created],
        limit=_PAGE_ROWS,
    )
    return [lead for page in found for lead in page if lead.get("id")]


def read_lead(pages: Pages, page_id: str, leadgen_id: str) -> Row:
    """One lead by its id. Raises `GraphError`."""
    client = pages.of(page_id)
    lead: Row = pages.call(page_id, client.get, leadgen_id, fields=_LEAD_FIELDS)
    return lead


def read_test_ids(pages: Pages, page_id: str, form_id: str) -> set[str]:
    """Ids of the form's test leads; none if only this question is refused."""
    client = pages.of(page_id)
    try:
        found = client.read_whole(f"{form_id}/test_leads", lambda page: page, fields="id")
    except StopError:
        raise
    except GraphError as error:
        log.info("test leads of form %s cannot be listed: %s", form_id, error)
        return set()
    return {str(lead["id"]) for page in found for lead in page if lead.get("id")}


# ---- ctwa doctor -----------------------------------------------------------------------------


def examine(settings: Settings) -> Iterator[Finding]:
    """The token's permission, and each page: its forms and its subscription to notices."""
    if not settings.meta_page_ids:
        yield off("Meta instant forms", "META_PAGE_IDS is not set")
        return
    if settings.meta_page_token is None and settings.meta_access_token is None:
        fix = "set META_PAGE_TOKEN; see docs/lead-forms.md"
        yield wrong("Meta instant forms", "META_PAGE_TOKEN is not set", fix)
        return
    if not settings.meta_app_secrets:
        fix = "set META_APP_SECRET; until then leads come by the hourly read alone"
        yield wrong("Meta instant forms", "notices cannot be received", fix)
    pages = Pages(settings, IMPATIENT)
    try:
        try:
            yield from _permission(pages)
            for page_id in settings.meta_page_ids:
                yield from _page(pages, page_id)
        except StopError as error:
            yield refused("Meta page token", error)
    finally:
        pages.close()


def _permission(pages: Pages) -> Iterator[Finding]:
    subject = "Meta page token"
    try:
        facts = pages.call("", read_token, pages.own, pages.token)
    except StopError:
        raise
    except SourceError as error:
        yield off(subject, f"not checked, Meta does not describe it: {error}")
        return
    if not facts.is_valid:
        yield wrong(subject, "Meta calls it invalid", "make a new one; see docs/lead-forms.md")
    elif facts.scopes is not None and PERMISSION not in facts.scopes:
        yield wrong(subject, f"{PERMISSION} is not among its permissions", _RIGHTS)
    else:
        yield ok(subject, "valid" if facts.scopes is None else f"valid, with {PERMISSION}")


def _page(pages: Pages, page_id: str) -> Iterator[Finding]:
    subject = f"Meta page {page_id}"
    try:
        client = pages.of(page_id)
        edge = f"{page_id}/leadgen_forms"
        forms = pages.call(page_id, client.get, edge, fields="id", limit=1).get("data")
        if isinstance(forms, list) and forms:  # a right scope is not yet access to leads
            pages.call(page_id, client.get, f"{forms[0]['id']}/leads", fields="id", limit=1)
        yield ok(subject, "its forms can be read" if forms else "it has no forms yet")
        apps = pages.call(page_id, client.get, f"{page_id}/subscribed_apps")
    except StopError:
        raise
    except GraphError as error:
        yield not_checked(subject, error) if error.is_transient else refused(subject, error)
        return
    listed = apps.get("data")
    listed = [app for app in listed if isinstance(app, dict)] if isinstance(listed, list) else []
    if any(FIELD in (app.get("subscribed_fields") or ()) for app in listed):
        yield ok(f"{subject}, notices", f"an app is subscribed to {FIELD}")
        return
    yield wrong(
        f"{subject}, notices",
        f"no app is subscribed to {FIELD}, so leads come by the hourly read alone",
        f"POST /{page_id}/subscribed_apps?subscribed_fields={FIELD} with the page's token "
        "(docs/lead-forms.md)",
    )
