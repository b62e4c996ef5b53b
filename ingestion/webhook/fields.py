"""Fields of bodies that senders of ours post: their shapes and limits, and how misfits are told.

An endpoint checks the whole body before it stores it; the parser checks element by element, so
that one bad element never takes others with it. Reasons never repeat a value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    StrictStr,
    ValidationError,
    ValidationInfo,
)

from ctwa.phones import DEFAULT_COUNTRY, PhoneError, typed_phone
from ctwa.pseudonym import phone_match_key

MAX_ELEMENTS = 1_000
_MILLIONTH = Decimal("0.000001")
_UNFIT = re.compile("[\x00\ud800-\udfff]")
_WA_ID = re.compile(r"\+?[\d\s().-]+")


class Problem(NamedTuple):
    """One reason: place in the list (0 for a lone object), field ('' for the element), text."""

    element: int
    field: str
    reason: str


class IntakeError(ValueError):
    """The body does not fit. `problems` says where and why, without values."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(f"{p.field or 'body'}: {p.reason}" for p in problems))
        self.problems = problems


def _text(value: str) -> str:
    if _UNFIT.search(value):
        raise ValueError("holds a NUL or half of a surrogate pair")
    return value.strip()


def _moment(value: Any) -> datetime:
    moment = _read_moment(value, _MOMENT)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _exact_moment(value: Any) -> datetime:
    moment = _read_moment(value, _EXACT_MOMENT)
    if moment.tzinfo is None:
        raise ValueError(_EXACT_MOMENT)
    return moment


def _read_moment(value: Any, expected: str) -> datetime:
    moment = value
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError:
            raise ValueError(expected) from None
    if not isinstance(moment, datetime) or not 2000 <= moment.year < 2100:
        raise ValueError(expected)
    return moment


_MOMENT = "expects ISO 8601, e.g. 2026-05-04T14:31:00-03:00 (without an offset: UTC)"
_EXACT_MOMENT = "expects ISO 8601 with an offset, e.g. 2026-05-04T14:31:00-03:00"


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError("expects a number")
    amount = Decimal(str(value))
    exponent = amount.as_tuple().exponent
    # 0.1 + 0.2 in a sender's binary arithmetic is no reason to lose an outcome.
    finest = isinstance(exponent, int) and exponent < -6 and abs(amount) < 10**14
    return amount.quantize(_MILLIONTH) if finest else amount


def _phone(value: str, info: ValidationInfo) -> str:
    """What somebody typed, as the digits of a full number."""
    country = (info.context or {}).get("default_country", DEFAULT_COUNTRY)
    try:
        return typed_phone(value, country) if value else value
    except PhoneError as error:
        raise ValueError(str(error)) from None


def _wa_id(value: str) -> str:
    """WhatsApp's own spelling, kept as it is; but never one that a spreadsheet has touched."""
    if value and (not _WA_ID.fullmatch(value) or phone_match_key(value) is None):
        raise ValueError("expects the digits that WhatsApp shows, e.g. 5511987654321, as text")
    return value


def _email(value: str) -> str:
    if value and "@" not in value[1:-1]:
        raise ValueError("expects an e-mail address")
    return value


Text = Annotated[StrictStr, Field(max_length=512), AfterValidator(_text)]
Filled = Annotated[Text, Field(min_length=1)]
Name = Annotated[StrictStr, Field(max_length=128), AfterValidator(_text), Field(min_length=1)]
Address = Annotated[StrictStr, Field(max_length=8_192), AfterValidator(_text)]
"""Of a page; browsers and servers take hardly longer ones."""
Phone = Annotated[Text, AfterValidator(_phone)]
WaId = Annotated[Text, AfterValidator(_wa_id)]
Email = Annotated[Text, AfterValidator(_email)]
Moment = Annotated[datetime, BeforeValidator(_moment)]
"""Without an offset it is UTC."""
ExactMoment = Annotated[datetime, BeforeValidator(_exact_moment)]
Amount = Annotated[
    # What DECIMAL(20, 6) holds, exactly.
    Decimal,
    BeforeValidator(_number),
    Field(max_digits=20, decimal_places=6, allow_inf_nan=False),
]

Model = TypeVar("Model", bound=BaseModel)
Checked = TypeVar("Checked")


def validate(
    model: type[Model], element: object, *, index: int = 0, default_country: str = DEFAULT_COUNTRY
) -> Model:
    """One element, already parsed from JSON. Raises `IntakeError`.

    `default_country` (ISO 3166) is where a phone without a country code is.
    """
    try:
        return model.model_validate(element, context={"default_country": default_country})
    except ValidationError as error:
        raise IntakeError([_problem(index, e) for e in error.errors()]) from None


def load_elements(raw: bytes) -> list[object]:
    """Elements of a body: of the list, or the one object. Numbers with a point are `Decimal`.

    Raises `IntakeError` if the body is not one JSON value of that kind.
    """
    try:
        found = json.loads(
            raw.decode(), parse_float=Decimal, parse_constant=_refuse, object_pairs_hook=_unique
        )
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, _JsonRuleError) else "is not JSON in UTF-8"
        raise IntakeError([Problem(0, "", reason)]) from None
    if not isinstance(found, list):
        return [found]
    if not 1 <= len(found) <= MAX_ELEMENTS:
        raise IntakeError([Problem(0, "", f"a list holds 1 to {MAX_ELEMENTS} elements")])
    return found


def validate_all(raw: bytes, check: Callable[[object, int], Checked]) -> list[Checked]:
    """`check(element, index)` of every element of a body, or `IntakeError` with every reason
    (of at most 100 elements)."""
    checked: list[Checked] = []
    problems: list[Problem] = []
    for index, element in enumerate(load_elements(raw)):
        try:
            checked.append(check(element, index))
        except IntakeError as error:
            problems += error.problems
            if len(problems) >= 100:
                break
    if problems:
        raise IntakeError(problems)
    return checked


class _JsonRuleError(ValueError):
    """JSON that parsers read differently."""


def _refuse(_name: str) -> None:
    raise _JsonRuleError("NaN and Infinity are not JSON numbers")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _JsonRuleError("a field stands twice in one object")
    return found


def _problem(index: int, error: Any) -> Problem:
    # Union members and the like follow the field's name in `loc`; the name says enough.
    location = error["loc"]
    return Problem(
        index, str(location[0]) if location else "", error["msg"].removeprefix("Value error, ")
    )
