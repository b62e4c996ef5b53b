"""A stand-in of the Graph API for pages with instant forms, beside the ads that lead to them.

| call | answers |
|---|---|
| `GET /<page>?fields=name,access_token` | the page, with its own token |
| `GET /<page>/leadgen_forms` | pages of its forms that are there; with the page's token only |
| `GET /<page>/subscribed_apps` | the fields that our app is subscribed to |
| `GET /<form>/leads` | pages of leads of 90 days, filtered by `time_created` |
| `GET /<form>/test_leads` | its test leads |
| `GET /<lead>` | one lead |

Everything else is the Marketing API's stand-in. What Meta refuses: a form that was deleted and a
lead in `refused` (100/33), everything of leads without `leads_retrieval` (200).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request

from simulator.ads_api import AdsApi, serve_ads_api
from simulator.ads_graph import ApiError
from simulator.ads_state import AdsState

KEPT = timedelta(days=90)
LEAD_FIELDS = {
    *("id", "created_time", "ad_id", "adset_id", "campaign_id", "form_id", "field_data"),
    *("is_organic", "platform"),
}


@dataclass
class Page:
    """A page: its token, and the fields that our app is subscribed to."""

    page_id: str
    token: str
    subscribed: tuple[str, ...] = ("leadgen",)


@dataclass
class Form:
    """An instant form. A deleted one is in no list and has no leads."""

    form_id: str
    page_id: str
    name: str
    status: str = "ACTIVE"
    is_deleted: bool = False


@dataclass(frozen=True)
class Lead:
    """What somebody answered. `answers`: question to answer."""

    lead_id: str
    form_id: str
    created_at: datetime
    answers: Mapping[str, str]
    ad_id: str | None = None
    adset_id: str | None = None
    campaign_id: str | None = None
    is_organic: bool = False
    is_test: bool = False

    def body(self, fields: set[str]) -> dict[str, Any]:
        """As Meta gives it; ids that it does not have are absent."""
        found: dict[str, Any] = {
            "id": self.lead_id,
            "created_time": f"{self.created_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}+0000",
            "ad_id": self.ad_id,
            "adset_id": self.adset_id,
            "campaign_id": self.campaign_id,
            "form_id": self.form_id,
            "field_data": [{"name": n, "values": [v]} for n, v in self.answers.items()],
            "is_organic": self.is_organic,
            "platform": "fb",
        }
        return {k: v for k, v in found.items() if k in fields | {"id"} and v is not None}

    def notice(self, page_id: str, *, sent_at: datetime | None = None) -> dict[str, Any]:
        """The webhook's body about this lead."""
        created = int(self.created_at.timestamp())
        value = {
            "leadgen_id": self.lead_id,
            "form_id": self.form_id,
            "page_id": page_id,
            "created_time": created,
        }
        if self.ad_id:
            value |= {"ad_id": self.ad_id, "adgroup_id": self.ad_id}
        time = created if sent_at is None else int(sent_at.timestamp())
        change = {"field": "leadgen", "value": value}
        return {"object": "page", "entry": [{"id": page_id, "time": time, "changes": [change]}]}


@dataclass
class FormsState:
    """Pages, forms and leads; `now` decides what Meta still keeps. `behind`: how far the company's
    time is behind the clock of whoever asks."""

    pages: dict[str, Page] = field(default_factory=dict)
    forms: dict[str, Form] = field(default_factory=dict)
    leads: dict[str, Lead] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    may_read_leads: bool = True
    now: datetime = datetime(2026, 6, 20, 12, tzinfo=UTC)
    behind: timedelta = timedelta()

    def add(self, *things: Page | Form | Lead) -> None:
        """Add pages, forms and leads."""
        for thing in things:
            if isinstance(thing, Page):
                self.pages[thing.page_id] = thing
            elif isinstance(thing, Form):
                self.forms[thing.form_id] = thing
            else:
                self.leads[thing.lead_id] = thing


@dataclass
class LeadFormsApi(AdsApi):
    """The running stand-in; `forms` may be changed between two requests."""

    forms: FormsState = field(default_factory=FormsState)
    _bearer: str = field(default="", init=False)

    def route(self, method: str, path: str, params: dict[str, str]) -> dict[str, Any]:
        """Answer what concerns pages, forms and leads; leave the rest to the ads."""
        head, _, edge = path.strip("/").partition("/")
        state = self.forms
        if method == "GET" and head in state.pages:
            return self._of_page(state.pages[head], edge, params)
        if method == "GET" and head in state.forms and edge in ("leads", "test_leads"):
            return self._leads(state.forms[head], edge, params)
        if method == "GET" and not edge and (head in state.leads or head in state.refused):
            self._only(params, {"fields"})
            lead = state.leads.get(head)
            if lead is None or head in state.refused or self._is_gone(lead):
                raise ApiError(100, f"Unsupported get request. Object with ID '{head}'", 33)
            self._may_read(state.forms[lead.form_id])
            return lead.body(_fields(params))
        return super().route(method, path, params)

    def _authenticate(self, request: Request, params: dict[str, str]) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        self._bearer = given
        if given in {page.token for page in self.forms.pages.values()}:
            if "access_token" in params:
                self.wrong.append("token in the URL")
            return
        super()._authenticate(request, params)

    def _of_page(self, page: Page, edge: str, params: dict[str, str]) -> dict[str, Any]:
        if not edge:
            self._only(params, {"fields"})
            return {"id": page.page_id, "name": "A page", "access_token": page.token}
        if self._bearer != page.token:
            self.wrong.append(f"{edge} without the page's token")
            raise ApiError(190, "This method must be called with a Page Access Token", None, 400)
        if edge == "subscribed_apps":
            app = {"id": "1", "name": "ctwa", "subscribed_fields": list(page.subscribed)}
            return {"data": [app] if page.subscribed else []}
        if edge == "leadgen_forms":
            forms = [
                {"id": f.form_id, "name": f.name, "status": f.status}
                for f in self.forms.forms.values()
                if f.page_id == page.page_id and not f.is_deleted
            ]
            return self._paged(f"/{page.page_id}/{edge}", forms, params)
        raise ApiError(2500, f"Unknown path components: /{edge}")

    def _leads(self, form: Form, edge: str, params: dict[str, str]) -> dict[str, Any]:
        self._may_read(form)
        found = [
            lead
            for lead in sorted(self.forms.leads.values(), key=lambda one: one.created_at)
            if lead.form_id == form.form_id and not self._is_gone(lead)
        ]
        if edge == "test_leads":
            found = [lead for lead in found if lead.is_test]
        for condition in json.loads(params.get("filtering", "[]")):
            if condition["field"] != "time_created" or condition["operator"] != "GREATER_THAN":
                self.wrong.append(f"filter {condition}")
                raise ApiError(100, "(#100) Filtering field is not supported")
            after = condition["value"] - self.forms.behind.total_seconds()
            found = [x for x in found if x.created_at.timestamp() > after]
        rows = [lead.body(_fields(params)) for lead in reversed(found)]
        return self._paged(f"/{form.form_id}/{edge}", rows, params)

    def _paged(
        self, path: str, rows: list[dict[str, Any]], params: dict[str, str]
    ) -> dict[str, Any]:
        size = min(int(params.get("limit", "25")), self.page_size)
        start = int(params.get("after", "0"))
        body: dict[str, Any] = {"data": rows[start : start + size]}
        if start + size < len(rows):
            query = "&".join(
                f"{k}={v}" for k, v in {**params, "after": str(start + size)}.items()
            ).replace('"', "%22")
            url = f"{self.url}/{self.version}{path}?{query}&access_token={self._bearer}"
            body["paging"] = {"next": url}
        return body

    def _may_read(self, form: Form) -> None:
        if not self.forms.may_read_leads:
            raise ApiError(200, "(#200) Requires leads_retrieval permission", None, 403)
        if form.is_deleted:
            raise ApiError(100, f"Unsupported get request. Object with ID '{form.form_id}'", 33)

    def _is_gone(self, lead: Lead) -> bool:
        return self.forms.now - lead.created_at > KEPT


def _fields(params: dict[str, str]) -> set[str]:
    fields = set(params.get("fields", "id").split(","))
    if unknown := fields - LEAD_FIELDS:
        raise ApiError(100, f"(#100) Tried accessing nonexisting field ({min(unknown)})")
    return fields


@contextmanager
def serve_lead_forms_api(
    forms: FormsState,
    ads: AdsState | None = None,
    *,
    kind: type[LeadFormsApi] | None = None,
    **options: Any,
) -> Iterator[LeadFormsApi]:
    """Serve pages and forms, and ads where given, on a free loopback port in a thread."""
    served: AbstractContextManager[AdsApi] = serve_ads_api(
        ads or AdsState(), kind=kind or LeadFormsApi, forms=forms, **options
    )
    with served as api:
        assert isinstance(api, LeadFormsApi)
        yield api
