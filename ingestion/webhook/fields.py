"""Field types of the bodies that a company's own systems post, and how errors are reported.

An endpoint checks the whole body before it stores it; the parser checks element by element, so
that one bad element never affects others. Reasons never repeat a value.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from decimal import Decimal, DecimalException
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

from ctwa.errors import CtwaError
from ctwa.phones import DEFAULT_COUNTRY, PhoneError, id_text, is_filler, mended, typed_phone
from ctwa.pseudonym import phone_match_key

MAX_ELEMENTS = 1_000
MAX_DIGITS = 64
"""Of a number in a body; longer ones fit no column and are slow to read."""
_MILLIONTH = Decimal("0.000001")
_NO_NUMBER = Decimal("NaN")
_UNFIT = re.compile("[\x00\ud800-\udfff]")
_UNSEEN = re.compile("[\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
_WA_ID = re.compile(r"\+?[\d\s().-]+")


class Problem(NamedTuple):
    """One reason: position in the list (0 for a single object), field ('' for the element),
    text."""

    element: int
    field: str
    reason: str


class IntakeError(CtwaError, ValueError):
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
        if _UNFIT.search(value):  # Python takes any character between day and hour
            raise ValueError(expected)
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError:
            raise ValueError(expected) from None
    if not isinstance(moment, datetime) or not 2000 <= moment.year < 2100:
        raise ValueError(expected)
    return moment


_WHOLE_DIGITS = 14  # before the point, of what DECIMAL(20, 6) holds
_MOMENT = "expects ISO 8601, e.g. 2026-05-04T14:31:00-03:00 (without an offset: UTC)"
_EXACT_MOMENT = "expects ISO 8601 with an offset, e.g. 2026-05-04T14:31:00-03:00"


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError("expects a number")
    amount = value if isinstance(value, Decimal) else Decimal(str(value))
    if not amount.is_finite():
        raise ValueError("expects a number of up to 14 digits before the point")
    digits, exponent = amount.as_tuple()[1:]
    if digits != (0,) and amount.adjusted() >= _WHOLE_DIGITS:
        raise ValueError("expects a number of up to 14 digits before the point")
    # A sender's binary 0.1 + 0.2 is not a reason to lose an outcome.
    if isinstance(exponent, int) and (exponent < -6 or exponent > 0):
        return amount.quantize(_MILLIONTH)
    return amount


def exact_number(digits: str) -> Decimal:
    """A number of JSON with a point or an exponent, exactly; NaN if it is too large.

    `Decimal` itself raises for an exponent of 20 digits, and what it raises is not a `ValueError`.
    """
    try:
        return Decimal(digits) if len(digits) <= MAX_DIGITS else _NO_NUMBER
    except DecimalException:
        return _NO_NUMBER


def whole_number(digits: str) -> int | Decimal:
    """A number of JSON without point and exponent; NaN if it has over `MAX_DIGITS` digits.

    Python refuses over 4,300 digits and is slow for fewer.
    """
    return int(digits) if len(digits) <= MAX_DIGITS else _NO_NUMBER


def _phone(value: str, info: ValidationInfo) -> str:
    """A typed number as the digits of a full number. Filler stays as it is: it says no more than an
    empty field, and the rest of the form counts (`Keys.claimed_phone` gives it no key)."""
    country = (info.context or {}).get("default_country", DEFAULT_COUNTRY)
    try:
        return typed_phone(value, country) if value else value
    except PhoneError as error:
        if is_filler(value) and not re.search(r"[^\W\d_]", value):
            return value
        raise ValueError(str(error)) from None


def _wa_id(value: str) -> str:
    """WhatsApp's own spelling, unchanged; refused if a spreadsheet has altered it."""
    value = mended(value)
    if value and (not _WA_ID.fullmatch(value) or phone_match_key(value) is None):
        raise ValueError("expects the digits that WhatsApp shows, e.g. 5511987654321, as text")
    return value


def _id(value: str) -> str:
    return mended(value)


def _email(value: str) -> str:
    """The address without invisible marks that were copied along with it."""
    value = _UNSEEN.sub("", value).strip()
    if value and "@" not in value[1:-1]:
        raise ValueError("expects an e-mail address")
    return value


Text = Annotated[StrictStr, Field(max_length=512), AfterValidator(_text)]
Filled = Annotated[Text, Field(min_length=1)]
Id = Annotated[Text, BeforeValidator(id_text), AfterValidator(_id)]
"""Text, or a JSON number; refused if a spreadsheet has shortened it."""
FilledId = Annotated[Id, Field(min_length=1)]
Name = Annotated[StrictStr, Field(max_length=128), AfterValidator(_text), Field(min_length=1)]
Address = Annotated[StrictStr, Field(max_length=8_192), AfterValidator(_text)]
"""The address of a page; browsers and servers rarely accept longer ones."""
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
    """The elements of a body: of a list, or the single object. Numbers with a point are `Decimal`.

    Raises `IntakeError` if the body is not one JSON value of that kind.
    """
    try:
        found = json.loads(
            raw.decode(),
            parse_int=whole_number,
            parse_float=exact_number,
            parse_constant=_refuse,
            object_pairs_hook=_unique,
        )
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, _JsonRuleError) else "is not JSON in UTF-8"
        raise IntakeError([Problem(0, "", reason)]) from None
    if not isinstance(found, list):
        return [found]
    if not 1 <= len(found) <= MAX_ELEMENTS:
        raise IntakeError([Problem(0, "", f"a list holds 1 to {MAX_ELEMENTS} elements")])
    return found


def validate_all(
    raw: bytes, model: type[Model], *, default_country: str = DEFAULT_COUNTRY
) -> list[Model]:
    """Every element of a body, or `IntakeError` with every reason (of at most 100 elements)."""
    checked: list[Model] = []
    problems: list[Problem] = []
    for index, element in enumerate(load_elements(raw)):
        try:
            checked.append(validate(model, element, index=index, default_country=default_country))
        except IntakeError as error:
            problems += error.problems
            if len(problems) >= 100:
                break
    if problems:
        raise IntakeError(problems)
    return checked


class _JsonRuleError(ValueError):
    """JSON that parsers read differently from each other."""


def _refuse(_name: str) -> None:
    raise _JsonRuleError("NaN and Infinity are not JSON numbers")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _JsonRuleError("a field is repeated in one object")
    return found


# pydantic's reasons are about Python; these are for people who send JSON.
_REASONS = {
    "missing": "is missing",
    "string_type": "expects text",
    "bool_type": "expects true or false",
    "model_type": "expects an object with fields",
    "too_short": "is empty",
    "string_too_short": "is empty",
    "string_too_long": "has more than {max_length:,} characters",
    "string_pattern_mismatch": "expects a code of ISO 4217 in capitals, e.g. BRL",
}


def _problem(index: int, error: Any) -> Problem:
    # `loc` continues with union members and the like; the field's name is enough.
    location = error["loc"]
    text = _REASONS.get(error["type"])
    # Our validators' texts must not go through `format`: they may contain braces.
    reason = (
        text.format(**error.get("ctx", {})) if text else error["msg"].removeprefix("Value error, ")
    )
    return Problem(index, str(location[0]) if location else "", reason)
