"""What is written to the HubSpot stand-in: contacts in batches, properties and their groups."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from simulator.hubspot_state import HubspotState, iso

CORRELATION = "0199aa11-1b2c-7d3e-8f90-a1b2c3d4e5f6"
MAX_INPUTS = 100
TEXT_UNITS = 65_536
BUILT_IN = {"lastmodifieddate": "datetime", "createdate": "datetime"}
FIELD_TYPES = {"string": {"text", "textarea"}, "datetime": {"date"}, "number": {"number"}}

Json = dict[str, Any]


def hubspot_error(message: str, category: str, **more: Any) -> Json:
    """An error as HubSpot writes it."""
    return {
        "status": "error",
        "message": message,
        "correlationId": CORRELATION,
        "category": category,
        **more,
    }


class CallError(Exception):
    """A request is refused."""

    def __init__(self, status: int, category: str, message: str) -> None:
        self.status, self.body = status, hubspot_error(message, category)
        super().__init__(message)


def wrong_request(message: str) -> CallError:
    """Refused because it asks for something that does not exist."""
    return CallError(400, "VALIDATION_ERROR", message)


@dataclass
class HubspotWrites:
    """Answers writes. `updates`: contact id to the properties of each write, in order.

    `refused_ids`: contacts of which an update fails by itself (207). `rules`: property to a pattern
    that its values fit, and the error of one that does not; `required`: properties that no contact
    may lack. Since 2026-09 both hold for every write, and a batch is refused as a whole.
    """

    state: HubspotState
    wrong: list[str] = field(default_factory=list)
    updates: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    refused_ids: set[str] = field(default_factory=set)
    rules: dict[str, tuple[str, str]] = field(default_factory=dict)
    required: set[str] = field(default_factory=set)

    # ---- contacts ------------------------------------------------------------------------

    def _update(self, body: Json) -> tuple[int, Json]:
        inputs = body["inputs"]
        ids = [given["id"] for given in inputs]
        if not 1 <= len(ids) <= MAX_INPUTS:
            raise wrong_request(f"the number of inputs is 1 to {MAX_INPUTS}")
        if len({self.state.resolve("contacts", int(i)) for i in ids}) < len(ids):
            raise wrong_request("Duplicate IDs found in batch input")
        for given in inputs:
            self._check_values(given["properties"])
            self._check_rules(given)
        results, missing, failed = [], [], []
        for given in inputs:
            found = self.state.resolve("contacts", int(given["id"]))
            record = self.state.records["contacts"].get(found)
            if record is None or record.archived_at is not None:
                missing.append(given["id"])
            elif given["id"] in self.refused_ids:
                failed.append(given["id"])
            else:
                record.set(self.state.now, given["properties"])
                self.updates.append((str(record.id), dict(given["properties"])))
                results.append({"id": str(record.id), "properties": given["properties"]})
        answer = self._done(results)
        errors = [
            hubspot_error("Could not update some contacts.", category, context={"ids": some})
            for category, some in (("OBJECT_NOT_FOUND", missing), ("CONFLICT", failed))
            if some
        ]
        if errors:
            answer |= {"numErrors": len(errors), "errors": errors}
        return (207 if errors else 200), answer

    def _check_values(self, properties: dict[str, Any]) -> None:
        self._check_properties("contacts", list(properties))
        for name, value in properties.items():
            if type(value) is not str:
                raise wrong_request(f"{name} is not text")
            if len(value.encode("utf-16-le")) > 2 * TEXT_UNITS:
                raise wrong_request(f"{name} is too long")
            kind = self.state.custom.get(name, {}).get("type")
            if kind == "datetime" and value:
                datetime.fromisoformat(value)

    def _check_rules(self, given: Json) -> None:
        """As set by an account's administrators."""
        record = self.state.records["contacts"].get(
            self.state.resolve("contacts", int(given["id"]))
        )
        after = {**(record.properties if record else {}), **given["properties"]}
        broken = [
            {"isValid": False, "message": f"{after[name]} is not allowed", "error": code,
             "name": name}
            for name, (pattern, code) in self.rules.items()
            if after.get(name) and not re.fullmatch(pattern, after[name])
        ] + [
            {"isValid": False, "message": f"{name} is required", "error": "REQUIRED_PROPERTY",
             "name": name}
            for name in sorted(self.required)
            if record is not None and not after.get(name)
        ]  # fmt: skip
        if broken:
            text = f"Property values were not valid: {json.dumps(broken)}"
            raise CallError(400, "VALIDATION_ERROR", text)

    # ---- properties ----------------------------------------------------------------------

    def _properties(self, method: str, rest: list[str], body: Json) -> tuple[int, Json]:
        state = self.state
        match method, rest:
            case "GET", []:
                built_in = [
                    {"name": name, "type": BUILT_IN.get(name, "string"), "hubspotDefined": True}
                    for name in sorted(state.known("contacts") - set(state.custom))
                ]
                return 200, {"results": [*built_in, *state.custom.values()]}
            case "GET", ["groups"]:
                return 200, {"results": list(state.groups.values())}
            case "POST", ["groups"]:
                if body["name"] in state.groups:
                    raise CallError(409, "CONFLICT", "A group of this name exists.")
                state.groups[body["name"]] = {"name": body["name"], "label": body["label"]}
                return 201, state.groups[body["name"]]
            case "POST", ["batch", "create"]:
                for given in body["inputs"]:
                    self._check_definition(given)
                state.custom |= {given["name"]: dict(given) for given in body["inputs"]}
                return 201, self._done(body["inputs"])
        raise CallError(404, "OBJECT_NOT_FOUND", "resource not found")

    def _check_definition(self, given: Json) -> None:
        for name in ("name", "label", "type", "fieldType", "groupName"):
            if not given.get(name):
                raise wrong_request(f"{name} is missing")
        if given["groupName"] not in self.state.groups:
            raise wrong_request(f"Property group {given['groupName']} does not exist")
        if given["fieldType"] not in FIELD_TYPES.get(given["type"], set()):
            raise wrong_request(f"{given['type']} is not shown as {given['fieldType']}")
        if given["name"] in self.state.known("contacts"):
            raise CallError(409, "CONFLICT", f"Property {given['name']} exists.")

    # ---- details -------------------------------------------------------------------------

    def _check_properties(self, kind: str, names: list[str]) -> None:
        unknown = set(names) - self.state.known(kind)
        if unknown:
            raise wrong_request(f"Property {sorted(unknown)[0]} does not exist")

    def _done(self, results: list[Any]) -> Json:
        at = iso(datetime.now(UTC))
        return {"status": "COMPLETE", "results": results, "startedAt": at, "completedAt": at}


__all__ = ["CORRELATION", "CallError", "HubspotWrites", "Json", "hubspot_error", "wrong_request"]
