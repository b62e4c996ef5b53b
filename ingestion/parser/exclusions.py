"""Who does not count (E20): staff, testers, agencies, and business numbers that are only tried out.

Envelopes of source `exclusions`, written by `ctwa exclude`, hold an object or a list of
`{"phone" | "user_id" | "email" | "business_number": text, "reason": text, "declared_at": ISO 8601,
"excluded": true}`; `"excluded": false` takes one back. The latest word on each target counts.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, NamedTuple

import orjson
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StrictStr,
    ValidationError,
    model_validator,
)

from ctwa.phones import DEFAULT_COUNTRY, PhoneError, typed_phone
from ingestion.parser.limits import Reject, read_body
from ingestion.parser.people import Keys
from ingestion.parser.rows import Rows
from ingestion.parser.statements import each_statement
from ingestion.webhook.vault import microseconds

SOURCE = "exclusions"
TARGETS = ("phone", "user_id", "email", "business_number")
EXPECTED = {
    "user_id": "expected a business-scoped user id with its country, such as BR.1A2B3C4D5E6F7G8H",
    "email": "expected an e-mail address, such as ana@example.com",
    "business_number": "expected the business's number in full, as in fct_conversations",
}
_UNFIT = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_NOT_DIGIT = re.compile(r"\D+")


class Target(NamedTuple):
    """What an exclusion speaks of: an identity key and its kind, or a business number."""

    identity_key: str | None
    identity_kind: str | None
    business_number_id: str | None


def _clean(value: str) -> str:
    if _UNFIT.search(value):
        raise ValueError("holds a control character or half of a surrogate pair")
    return value.strip()


_Text = Annotated[StrictStr, Field(max_length=512), AfterValidator(_clean)]


class ExclusionIn(BaseModel):
    """One statement. Unknown fields are let pass."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    phone: _Text | None = None
    user_id: _Text | None = None
    email: _Text | None = None
    business_number: _Text | None = None
    # Shown in the marts: a word such as `staff`, never somebody's name.
    reason: Annotated[StrictStr, Field(max_length=80), AfterValidator(_clean), Field(min_length=1)]
    declared_at: AwareDatetime
    excluded: Annotated[bool, Field(strict=True)] = True

    @model_validator(mode="after")
    def _whole(self) -> ExclusionIn:
        if sum(bool(getattr(self, name)) for name in TARGETS) != 1:
            raise ValueError(f"needs exactly one of {', '.join(TARGETS)}")
        if not 2000 <= self.declared_at.year < 2100:
            raise ValueError("declared_at: expects ISO 8601, e.g. 2026-05-04T14:31:00-03:00")
        return self


def target_of(keys: Keys, exclusion: ExclusionIn, default_country: str = DEFAULT_COUNTRY) -> Target:
    """The keys of what is excluded. Raises `Reject` where it cannot be anybody's."""
    name = next(name for name in TARGETS if getattr(exclusion, name))
    value: str = getattr(exclusion, name)
    if name == "business_number":
        digits = _NOT_DIGIT.sub("", value)
        if not 5 <= len(digits) <= 20:
            raise Reject(f"identity_unusable: {EXPECTED[name]}")
        return Target(None, None, digits)
    if name == "phone":
        try:
            value = typed_phone(value, default_country)
        except PhoneError as error:
            raise Reject(f"identity_unusable: {error}") from None
    key = {"phone": keys.phone, "user_id": keys.bsuid, "email": keys.email}[name](value)
    if key is None or (name == "user_id" and "." not in value):
        raise Reject(f"identity_unusable: {EXPECTED.get(name, 'expected a phone number')}")
    return Target(key, {"user_id": "bsuid"}.get(name, name), None)


class Exclusions:
    """Reads envelopes of source `exclusions`: an object, or a list of objects."""

    __slots__ = ("_country", "_keys", "_rows")

    def __init__(self, keys: Keys, rows: Rows, default_country: str = DEFAULT_COUNTRY) -> None:
        self._keys, self._rows, self._country = keys, rows, default_country

    def read(self, body: bytes) -> None:
        """Add the rows of one body; raises `Reject` where it is not JSON."""
        value, suspicious = read_body(body)
        each_statement(value, suspicious, self._rows, "exclusion", self._add)

    def _add(self, item: Any) -> None:
        try:
            said = ExclusionIn.model_validate(item)
        except ValidationError as error:
            raise Reject(f"exclusion_invalid: {_reasons(error)}") from None
        declared_us = microseconds(said.declared_at)
        content = (
            *target_of(self._keys, said, self._country),
            said.reason,
            said.excluded,
            declared_us,
        )
        key = self._keys.content(orjson.dumps(content))
        self._rows.exclusions.append((*self._rows.place(), *content, key))


def _reasons(error: ValidationError) -> str:
    """Field and reason of each problem, without values."""
    return "; ".join(
        f"{e['loc'][0] if e['loc'] else 'body'}: {e['msg'].removeprefix('Value error, ')}"
        for e in error.errors()
    )


__all__ = ["EXPECTED", "SOURCE", "TARGETS", "ExclusionIn", "Exclusions", "Target", "target_of"]
