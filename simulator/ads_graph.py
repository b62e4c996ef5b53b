"""Nodes and edges of the Marketing API's stand-in: valid requests, and their answers."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode

from simulator.ads_insights import (
    BadInsightsFieldError,
    Job,
    JobScript,
    ad_insight_rows,
    insight_rows,
)
from simulator.ads_objects import BadFieldError, Renderer, parse_fields
from simulator.ads_state import Account, Ad, AdSet, AdsState, Campaign

_EDGES = ("campaigns", "adsets", "ads", "adcreatives")
_TABLES = {"adcreatives": "creatives"}
_WORDS = {"campaigns": "campaign", "adsets": "adset", "ads": "ad"}
_LONGEST_FILTER = 6_000  # characters, before they are encoded for a URL
_STATUSES = {
    *("ACTIVE", "PAUSED", "ARCHIVED", "IN_PROCESS", "WITH_ISSUES", "CAMPAIGN_PAUSED"),
    *("ADSET_PAUSED", "PENDING_REVIEW", "DISAPPROVED", "PREAPPROVED", "PENDING_BILLING_INFO"),
}
_INSIGHTS_PARAMS = {"level", "time_increment", "time_range", "fields", "filtering", "limit"}
_RUN_SLOT = 10**15


class ApiError(Exception):
    """An error in Meta's shape."""

    def __init__(self, code: int, message: str, subcode: int | None = None, status: int = 400):
        super().__init__(message)
        self.code, self.subcode, self.status = code, subcode, status


@dataclass
class AdsGraph:
    """The nodes and edges over one state; answers are bodies, refusals are `ApiError`."""

    state: AdsState
    token: str = "test-token"
    page_size: int = 3
    version: str = "v27.0"
    ended_versions: frozenset[str] = frozenset({"v23.0", "v24.0"})
    sync_max_days: int | None = None
    report_max_days: int | None = None
    run_ids_as_numbers: bool = True
    token_told: dict[str, Any] = field(
        default_factory=lambda: {"is_valid": True, "expires_at": 0, "scopes": ["ads_read"]}
    )
    tells_deleted: bool = True
    edges_tell_deleted: bool = True
    datasets: dict[str, str | None] = field(default_factory=dict)
    phone_numbers: dict[str, dict[str, str]] = field(default_factory=dict)
    routing_roles: dict[str, dict[str, Any] | ApiError] = field(default_factory=dict)
    jobs_to_come: list[JobScript] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    url: str = ""
    jobs: dict[str, Job] = field(default_factory=dict, init=False)
    _render: Renderer = field(init=False)

    def __post_init__(self) -> None:
        self._render = Renderer(self.state)

    def route(self, method: str, path: str, params: dict[str, str]) -> dict[str, Any]:
        head, _, edge = path.strip("/").partition("/")
        try:
            if head.startswith("act_"):
                account = self._account(head.removeprefix("act_"))
                if edge == "insights" and method == "POST":
                    return self._start_run(account, params)
                if edge == "insights":
                    return self._insights(account, params)
                if edge in _EDGES and method == "GET":
                    return self._edge(account, edge, params)
                if not edge and method == "GET":
                    self._only(params, {"fields"})
                    return self._render.account(account, parse_fields(params.get("fields", "")))
            elif method == "GET" and head == "debug_token":
                self._only(params, {"input_token"})
                return {"data": self.token_told}
            elif method == "GET" and edge == "phone_numbers":
                return self._phone_numbers(head, params)
            elif method == "GET" and edge == "routing_roles":
                return self._routing_roles(head, params)
            elif method == "GET" and edge == "dataset":
                return self._dataset(head, params)
            elif method == "GET" and head in self.jobs:
                return self._run(self.jobs[head], edge, params)
            elif method == "GET" and not head and "ids" in params:
                self.wrong.append("ids at the root")
                raise ApiError(100, "(#100) Multi-ID requests are no longer supported")
            elif method == "GET" and edge == "insights":
                return self._ad_insights(head, params)
            elif method == "GET" and not edge:
                self._only(params, {"fields"})
                return self._by_id(head, params.get("fields", ""))
        except (BadFieldError, BadInsightsFieldError) as error:
            self.wrong.append(str(error))
            raise ApiError(100, str(error)) from error
        self.wrong.append(f"{method} {path}")
        raise ApiError(2500, f"Unknown path components: {path}")

    # ---- objects -------------------------------------------------------------------------

    def _account(self, account_id: str) -> Account:
        account = self.state.accounts.get(account_id)
        if account is None:
            raise ApiError(100, f"Unsupported get request. Object with ID 'act_{account_id}'", 33)
        if not account.visible:
            raise ApiError(
                200, "(#200) Ad account owner has NOT grant ads_read permission", None, 403
            )
        return account

    def _dataset(self, waba_id: str, params: dict[str, str]) -> dict[str, Any]:
        """A WhatsApp account's dataset for conversion events, if it has one."""
        self._only(params, set())
        if waba_id not in self.datasets:
            raise ApiError(100, f"Unsupported get request. Object with ID '{waba_id}'", 33)
        found = self.datasets[waba_id]
        return {"id": found} if found else {}

    def _phone_numbers(self, waba_id: str, params: dict[str, str]) -> dict[str, Any]:
        """A WhatsApp account's numbers: phone number id to displayed number."""
        self._only(params, {"fields"})
        if waba_id not in self.phone_numbers:
            raise ApiError(100, f"Unsupported get request. Object with ID '{waba_id}'", 33)
        found = self.phone_numbers[waba_id]
        return {"data": [{"id": n, "display_phone_number": s} for n, s in found.items()]}

    def _routing_roles(self, number_id: str, params: dict[str, str]) -> dict[str, Any]:
        """The roles that the token's own business holds for a number, or a refusal."""
        self._only(params, set())
        found = self.routing_roles.get(number_id)
        if found is None:
            raise ApiError(100, f"Unsupported get request. Object with ID '{number_id}'", 33)
        if isinstance(found, ApiError):
            raise found
        return found

    def _by_id(self, object_id: str, fields: str) -> dict[str, Any]:
        thing = self.state.find(object_id)
        if thing is None:
            raise ApiError(
                803, f"(#803) Some of the aliases you requested do not exist: {object_id}"
            )
        account = self.state.accounts.get(thing.account_id)
        if account is None or not account.visible:
            raise ApiError(
                100,
                f"Unsupported get request. Object with ID '{object_id}' does not exist, cannot be "
                "loaded due to missing permissions, or does not support this operation",
                33,
            )
        return self._render.thing(thing, parse_fields(fields))

    def _edge(self, account: Account, edge: str, params: dict[str, str]) -> dict[str, Any]:
        self._only(params, {"fields", "limit", "after", "effective_status", "filtering"})
        word = _WORDS.get(edge, edge)
        statuses = self._statuses(params, f"{word}.effective_status")
        ids = self._ids(params, f"{word}.id")
        fields = parse_fields(params.get("fields", ""))
        table: dict[str, Any] = getattr(self.state, _TABLES.get(edge, edge))
        rows = [
            self._render.thing(thing, fields)
            for thing in table.values()
            if thing.account_id == account.id
            and self._is_listed(thing, statuses)
            and (ids is None or thing.id in ids)
        ]
        return self._page(f"/act_{account.id}/{edge}", rows, params)

    @staticmethod
    def _is_listed(thing: Any, statuses: list[str] | None) -> bool:
        if not isinstance(thing, (Campaign, AdSet, Ad)):
            return True
        if statuses is not None:
            return thing.effective_status in statuses
        return thing.effective_status not in ("ARCHIVED", "DELETED")

    def _statuses(self, params: dict[str, str], filter_field: str) -> list[str] | None:
        """Statuses asked for by `effective_status` or by `filtering`. DELETED is an error, but
        beside a filter on ids (`edges_tell_deleted`)."""
        asked: list[str] | None = json.loads(params.get("effective_status", "null"))
        ids_field = filter_field.replace("effective_status", "id")
        known = set(_STATUSES)
        for clause in json.loads(params.get("filtering", "[]")):
            if clause.get("operator") != "IN":
                self._wrong(f"filter {clause}")
            if clause.get("field") == ids_field:
                if self.edges_tell_deleted:
                    known.add("DELETED")
                continue
            if clause.get("field") != filter_field:
                self._wrong(f"filter {clause}")
            asked = clause["value"]
        if asked is not None and not set(asked) <= known:
            if set(asked) - known == {"DELETED"} and ids_field in params.get("filtering", ""):
                raise ApiError(100, "(#100) Filtering by DELETED is not supported", 1815001)
            self._wrong(f"status {sorted(set(asked) - known)} in a filter")
        return asked

    def _ids(self, params: dict[str, str], filter_field: str) -> set[str] | None:
        for clause in json.loads(params.get("filtering", "[]")):
            if clause.get("field") == filter_field:
                if len(params.get("filtering", "")) > _LONGEST_FILTER:
                    self._wrong(f"{len(clause['value'])} ids in one filter")
                return set(clause["value"])
        return None

    # ---- insights ------------------------------------------------------------------------

    def _insights(self, account: Account, params: dict[str, str]) -> dict[str, Any]:
        self._only(params, _INSIGHTS_PARAMS | {"after"})
        since, until = self._range(account, params)
        days = (until - since).days + 1
        if params.get("level") == "ad" and days > (self.sync_max_days or days):
            raise ApiError(100, "Your request timed out. Please try again or use async", 1504018)
        return self._page(f"/act_{account.id}/insights", self._rows(account, params), params)

    def _ad_insights(self, ad_id: str, params: dict[str, str]) -> dict[str, Any]:
        """`GET /<ad id>/insights`: by its own id an ad is readable whatever its status."""
        self._only(params, _INSIGHTS_PARAMS - {"filtering"} | {"after"})
        self._by_id(ad_id, "")  # refuses ids that do not exist or are hidden
        if ad_id not in self.state.ads:
            self._wrong(f"insights of {ad_id}, which is no ad")
        ad = self.state.ads[ad_id]
        params = {"level": "ad", **params}
        since, until = self._range(self._account(ad.account_id), params)
        is_told = self.tells_deleted or ad.effective_status != "DELETED"
        rows = ad_insight_rows(
            self.state, ad_id, fields=params.get("fields", "").split(","), since=since, until=until
        )
        return self._page(f"/{ad_id}/insights", rows if is_told else [], params)

    def _rows(self, account: Account, params: dict[str, str]) -> list[dict[str, Any]]:
        since, until = self._range(account, params)
        return insight_rows(
            self.state,
            account.id,
            level=params.get("level", "account"),
            fields=params.get("fields", "").split(","),
            since=since,
            until=until,
            statuses=self._statuses(params, "ad.effective_status"),
        )

    def _range(self, account: Account, params: dict[str, str]) -> tuple[date, date]:
        if params.get("time_increment") != "1":
            self._wrong("time_increment must be 1 for days")
        if params.get("level") not in ("ad", "account"):
            self._wrong(f"level {params.get('level')}")
        asked = json.loads(params.get("time_range", "{}"))
        if set(asked) != {"since", "until"}:
            self._wrong("time_range needs since and until")
        since, until = date.fromisoformat(asked["since"]), date.fromisoformat(asked["until"])
        if since > until:
            self._wrong(f"since {since} is after until {until}")
        if since < oldest_day(self.state.today(account.id)):
            raise ApiError(
                3018, "(#3018) The start date of the time range cannot be beyond 37 months"
            )
        return since, until

    def _start_run(self, account: Account, params: dict[str, str]) -> dict[str, Any]:
        self._only(params, _INSIGHTS_PARAMS)
        since, until = self._range(account, params)
        script = self.jobs_to_come.pop(0) if self.jobs_to_come else JobScript()
        days = (until - since).days + 1
        if self.report_max_days is not None and days > self.report_max_days:
            script = JobScript(["Job Running", "Job Failed"], percent=30, code=-3, subcode=1504045)
        run_id = str(_RUN_SLOT + len(self.jobs))
        self.jobs[run_id] = Job(run_id, account.id, params, script)
        return {"report_run_id": int(run_id) if self.run_ids_as_numbers else run_id}

    def _run(self, job: Job, edge: str, params: dict[str, str]) -> dict[str, Any]:
        if not edge:
            self._only(params, {"fields"})
            return job.poll()
        self._only(params, {"limit", "after"})
        if not job.is_done:
            raise ApiError(2601, "(#2601) Loading async query failed: the job is not complete")
        if job.script.not_ready > 0:
            job.script.not_ready -= 1
            raise ApiError(2637, "(#2637) The report is not ready yet", 1815107)
        rows = self._rows(self.state.accounts[job.account_id], job.params)
        return self._page(f"/{job.run_id}/insights", rows, params)

    # ---- shapes --------------------------------------------------------------------------

    def _page(self, path: str, rows: list[Any], params: dict[str, str]) -> dict[str, Any]:
        size = min(int(params.get("limit", 25)), self.page_size)
        start = int(base64.urlsafe_b64decode(params["after"])) if "after" in params else 0
        page = {"data": rows[start : start + size]}
        if not page["data"]:
            return page
        end = start + size
        page["paging"] = {"cursors": {"before": _cursor(start), "after": _cursor(end)}}  # type: ignore[assignment]
        if end < len(rows):
            query = {"access_token": self.token, **params, "after": _cursor(end)}
            page["paging"]["next"] = f"{self.url}/{self.version}{path}?{urlencode(query)}"  # type: ignore[call-overload]
        return page

    def _only(self, params: dict[str, str], known: set[str]) -> None:
        if unknown := sorted(set(params) - known):
            self._wrong(f"unknown parameters {unknown}")

    def _wrong(self, what: str) -> None:
        self.wrong.append(what)
        raise ApiError(100, f"(#100) Invalid parameter: {what}")


def _cursor(position: int) -> str:
    return base64.urlsafe_b64encode(str(position).encode()).decode()


def oldest_day(today: date) -> date:
    """The first day that insights may start at: 37 months back."""
    months = today.year * 12 + today.month - 1 - 37
    first = date(months // 12, months % 12 + 1, 1)
    return min(first + timedelta(days=today.day - 1), first + timedelta(days=27))
