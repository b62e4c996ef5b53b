"""The calls of the HubSpot stand-in: what is checked in a request, and the shape of its answer."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.hubspot_state import MODIFIED, Record, iso
from simulator.hubspot_writes import (
    CORRELATION,
    CallError,
    HubspotWrites,
    Json,
    hubspot_error,
    wrong_request,
)

_LIFECYCLE = ["lifecyclestage"]
DEFAULTS = {
    "contacts": [
        "createdate",
        "email",
        "firstname",
        "hs_object_id",
        "lastmodifieddate",
        "lastname",
    ],
    "deals": ["amount", "closedate", "createdate", "dealname", "dealstage", "hs_lastmodifieddate"],
}
MAX_RESULTS = 10_000
MAX_FILTERS = 6


@dataclass
class HubspotCalls(HubspotWrites):
    """Answers calls from a state.

    `max_page`: of searches, 100 in older accounts. `page_size`: associations of one record in one
    answer. `no_history`: whether histories stay away.
    """

    max_page: int = 200
    page_size: int = 500
    no_history: bool = False

    def route(self, method: str, path: str, params: dict[str, str], body: Json) -> tuple[int, Json]:
        """Status and body of an answer; raises `CallError`."""
        match method, path.strip("/").split("/"):
            case "POST", ["crm", "objects", "2026-09", ("contacts" | "deals") as kind, "search"]:
                return 200, self._search(kind, body)
            case "POST", [
                "crm",
                "objects",
                "2026-09",
                "contacts" | "deals" as kind,
                "batch",
                "read",
            ]:
                return self._batch(kind, body, archived=params.get("archived") == "true")
            case "POST", ["crm", "objects", "2026-09", "contacts", "batch", "update"]:
                return self._update(body)
            case method, ["crm", "properties", "2026-09", "contacts", *rest] if rest != _LIFECYCLE:
                return self._properties(method, rest, body)
            case "GET", ["crm", "objects", "2026-09", ("contacts" | "deals") as kind]:
                return 200, self._list(kind, params)
            case "POST", ["crm", "associations", "2026-09", "deals", "contacts", "batch", "read"]:
                return self._associations(body)
            case "GET", ["crm", "properties", "2026-09", "contacts", _]:
                return 200, self._lifecycle()
            case "GET", ["crm", "pipelines", "2026-09", "deals"]:
                return 200, self._pipelines()
            case "GET", ["account-info", "2026-09", "details"]:
                zone = {"timeZone": "America/Sao_Paulo", "utcOffset": "-03:00"}
                money = {"companyCurrency": self.state.currency, "additionalCurrencies": []}
                return 200, {"portalId": 4711, "accountType": "STANDARD", **zone, **money}
        raise CallError(404, "OBJECT_NOT_FOUND", "resource not found")

    # ---- searches ------------------------------------------------------------------------

    def _search(self, kind: str, body: Json) -> Json:
        limit, after = int(body.get("limit", 10)), int(body.get("after") or 0)
        if not 1 <= limit <= self.max_page:
            raise wrong_request(f"limit must be at most {self.max_page}")
        if after + limit > MAX_RESULTS:
            raise wrong_request(
                "There was a problem with the request: paging beyond 10,000 results"
            )
        self._check_properties(kind, body.get("properties", []))
        groups = body.get("filterGroups", [])
        filters = [f for group in groups for f in group["filters"]]
        if len(groups) != 1 or len(filters) > MAX_FILTERS:
            raise wrong_request("this stand-in takes one group of filters")
        if body.get("sorts") != [{"propertyName": "hs_object_id", "direction": "ASCENDING"}]:
            raise wrong_request("this stand-in sorts by id")
        live = [r for r in self.state.records[kind].values() if r.archived_at is None]
        hits = sorted((r for r in live if self._matches(kind, r, filters)), key=lambda r: r.id)
        page = hits[after : after + limit]
        names = body.get("properties") or DEFAULTS[kind]
        answer: Json = {
            "total": len(hits),
            "results": [self._record(kind, r, names) for r in page],
        }
        if after + limit < len(hits):
            answer["paging"] = {"next": {"after": str(after + limit), "link": "?after=x"}}
        return answer

    def _matches(self, kind: str, record: Record, filters: list[Json]) -> bool:
        indexed = record.indexed_at(self.state.now, self.state.index_lag)
        if indexed is None:
            return False
        numbers = {
            "hs_object_id": record.id,
            "createdate": int(record.created_at.timestamp() * 1000),
            MODIFIED[kind]: int(indexed.timestamp() * 1000),
        }
        for test in filters:
            name = test["propertyName"]
            if name in self.state.custom and kind == "contacts":
                if not self._bears(record, test):
                    return False
                continue
            if name not in numbers:
                raise wrong_request(f"There was a problem with the request: no property {name}")
            found, wanted = numbers[name], int(test["value"])
            if test["operator"] not in ("GT", "GTE", "LT"):
                raise wrong_request("this stand-in takes GT, GTE and LT")
            fits = {"GT": found > wanted, "GTE": found >= wanted, "LT": found < wanted}
            if not fits[test["operator"]]:
                return False
        return True

    def _bears(self, record: Record, test: Json) -> bool:
        """Whether a text property has one of these values, in upper or lower case."""
        if test["operator"] not in ("EQ", "IN"):
            raise wrong_request("this stand-in takes EQ and IN of text")
        wanted = test["values"] if test["operator"] == "IN" else [test["value"]]
        if not 1 <= len(wanted) <= 100:
            raise wrong_request("the maximum number of values is 100")
        if test["operator"] == "IN" and any(value != value.lower() for value in wanted):
            raise wrong_request("values of IN are lower case")
        found = record.properties.get(test["propertyName"], "")
        return found.lower() in {w.lower() for w in wanted}

    # ---- records -------------------------------------------------------------------------

    def _batch(self, kind: str, body: Json, *, archived: bool) -> tuple[int, Json]:
        ids = [int(i["id"]) for i in body["inputs"]]
        history = body.get("propertiesWithHistory", [])
        most = 50 if history else 100
        if not 1 <= len(ids) <= most:
            raise wrong_request(f"the maximum number of inputs is {most}")
        self._check_properties(kind, [*body["properties"], *history])
        found: dict[int, Json] = {}
        missing = []
        for record_id in ids:
            record = self.state.records[kind].get(self.state.resolve(kind, record_id))
            if record is None or (record.archived_at is not None) != archived:
                missing.append(str(record_id))
            else:
                found[record.id] = self._record(kind, record, body["properties"], history)
        answer = self._done(list(found.values()))
        if missing:
            text = f"Could not get some {kind.upper()} objects, they may be deleted or not exist."
            detail = hubspot_error(text, "OBJECT_NOT_FOUND", context={"ids": missing})
            answer |= {"numErrors": 1, "errors": [detail]}
        return (207 if missing else 200), answer

    def _list(self, kind: str, params: dict[str, str]) -> Json:
        limit, after = int(params.get("limit", 10)), int(params.get("after", 0))
        if not 1 <= limit <= 100:
            raise wrong_request("limit must be at most 100")
        names = [n for n in params.get("properties", "").split(",") if n] or DEFAULTS[kind]
        self._check_properties(kind, names)
        archived = params.get("archived") == "true"
        all_records = sorted(self.state.records[kind].values(), key=lambda r: r.id)
        chosen = [r for r in all_records if (r.archived_at is not None) == archived]
        page = [r for r in chosen if r.id > after][:limit]
        answer: Json = {"results": [self._record(kind, r, names) for r in page]}
        if page and page[-1].id != chosen[-1].id:
            answer["paging"] = {"next": {"after": str(page[-1].id), "link": "?after=x"}}
        return answer

    def _record(
        self, kind: str, record: Record, names: list[str], history: list[str] | None = None
    ) -> Json:
        state = self.state
        found: Json = {
            "id": str(record.id),
            "properties": {n: state.value(kind, record, n) for n in (*names, "hs_object_id")},
            "createdAt": iso(record.created_at),
            "updatedAt": iso(max(record.writes)),
            "archived": record.archived_at is not None,
        }
        if record.archived_at is not None:
            found["archivedAt"] = iso(record.archived_at)
        if history and not self.no_history:
            found["propertiesWithHistory"] = {
                name: [
                    {
                        "value": value,
                        "timestamp": iso(at),
                        "sourceType": "CRM_UI",
                        "sourceId": "userId:1",
                        "updatedByUserId": 1,
                    }
                    for value, at in record.history.get(name, ())
                ]
                for name in history
            }
        return found

    # ---- associations and names ------------------------------------------------------------

    def _associations(self, body: Json) -> tuple[int, Json]:
        if not 1 <= len(body["inputs"]) <= 1_000:
            raise wrong_request("the maximum number of inputs is 1000")
        results, errors = [], []
        for given in body["inputs"]:
            deal = self.state.records["deals"].get(self.state.resolve("deals", int(given["id"])))
            contacts = [] if deal is None or deal.archived_at is not None else deal.contacts
            if not contacts:
                text = f"No contact is associated with deal {given['id']}."
                code = {"subCategory": "crm.associations.NO_ASSOCIATIONS_FOUND"}
                errors.append(hubspot_error(text, "OBJECT_NOT_FOUND", **code))
                continue
            start = int(given.get("after") or 0)
            kinds = [{"category": "HUBSPOT_DEFINED", "typeId": 3, "label": None}]
            page = contacts[start : start + self.page_size]
            row: Json = {
                "from": {"id": given["id"]},
                "to": [{"toObjectId": i, "associationTypes": kinds} for i in page],
            }
            if start + self.page_size < len(contacts):
                row["paging"] = {"next": {"after": str(start + self.page_size)}}
            results.append(row)
        answer = self._done(results)
        if errors:
            answer |= {"numErrors": len(errors), "errors": errors}
        return (207 if errors else 200), answer

    def _lifecycle(self) -> Json:
        options = [
            {"label": label, "value": value, "displayOrder": place, "hidden": False}
            for place, (value, label) in enumerate(self.state.lifecycle.items())
        ]
        return {"name": "lifecyclestage", "label": "Lifecycle Stage", "options": options}

    def _pipelines(self) -> Json:
        results = [
            {
                "id": pipeline,
                "label": label,
                "displayOrder": 0,
                "archived": False,
                "stages": [
                    {"id": i, "label": name, "metadata": {"isClosed": "false"}, "archived": False}
                    for i, name in stages.items()
                ],
            }
            for pipeline, (label, stages) in self.state.pipelines.items()
        ]
        return {"results": results}


__all__ = ["CORRELATION", "CallError", "HubspotCalls", "hubspot_error"]
