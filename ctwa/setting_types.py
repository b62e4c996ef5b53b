"""Types of single settings: what each must look like, and the value that the product uses.

A failed check raises `ValueError` with what is expected, never with the value, which may be secret.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    SecretStr,
    WrapValidator,
)
from pydantic_settings import NoDecode


@dataclass(frozen=True, slots=True)
class Rule:
    """Texts about a setting that is part of the attribution rules."""

    difference: str
    """How side b of a comparison differs from side a, with `{a}` and `{b}`."""
    other_values: str = ""
    """For docs/attribution.md: other values and what they mean. Empty: not listed there, because
    it does not move leads."""
    moves: str = ""
    """For docs/attribution.md: which figures move."""


def rule(
    default: Any,
    difference: str,
    other_values: str = "",
    moves: str = "",
    *,
    limits: tuple[int, int] | None = None,
) -> Any:
    """A field that is part of the attribution rules.

    Everything else follows from it: its dbt var (`rule(name)` in SQL), the rebuild of the
    warehouse when it changes, `ctwa diff-rules`, a line of `ctwa doctor`, and the table in
    docs/attribution.md.
    """
    extra: dict[str, Any] = {"rule": Rule(difference, other_values, moves)}
    least, most = limits or (None, None)
    return Field(default, ge=least, le=most, json_schema_extra=extra)


def rules_of(model: type[BaseModel]) -> dict[str, Rule]:
    """Field -> `Rule` of the fields that `rule` made, in their order."""
    extras = {name: field.json_schema_extra for name, field in model.model_fields.items()}
    found = {name: extra["rule"] for name, extra in extras.items() if isinstance(extra, dict)}
    return cast(dict[str, Rule], found)


_CODES = """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP
BYN BZD CAD CDF CHF CLF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD
FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY
KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP
MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR
RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT
TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER
ZAR ZMW ZWG
"""
CURRENCIES = frozenset(_CODES.split())
"""ISO 4217, list one, without funds, metals and test codes."""

PORTS = range(65_536)
_NO_PLACES = ("Factory", "localtime", "posixrules")

KEY_BYTES = 16
"""Minimum length of the key of the keyed hashes."""


def key_bytes(text: str) -> bytes:
    """A key given as hex digits, or as any other text."""
    text = text.strip()
    try:
        return bytes.fromhex(text)
    except ValueError:
        return text.encode()


def zone(value: str) -> str:
    """An IANA time zone."""
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("is not an IANA time zone such as America/Sao_Paulo") from error
    if value in _NO_PLACES or value.startswith(("posix/", "right/")):
        raise ValueError("is not an IANA time zone such as America/Sao_Paulo")
    return value


def currency(value: str) -> str:
    """A currency's code, in capitals."""
    code = value.strip().upper()
    if code not in CURRENCIES:
        raise ValueError("is not a currency of ISO 4217, such as BRL or EUR")
    return code


def cron(value: str) -> str:
    """A cron line that Dagster accepts and that is due at some time."""
    # Imported only if one is set; it has no types.
    from croniter import CroniterError, croniter  # type: ignore[import-untyped]

    line = " ".join(value.split())
    try:
        good = line.startswith("@") or len(line.split()) == 5
        # H and R are croniter's own: a random time, another one at each evaluation.
        if not good or re.search(r"[^ -~]|\b[HRhr]\b", line) or not croniter.is_valid(line):
            raise ValueError
        croniter(line, datetime(2026, 1, 1, tzinfo=UTC)).get_next()
    except (CroniterError, ValueError, KeyError):
        raise ValueError(
            "is not a cron line: expects minute, hour, day, month and weekday, each within its "
            "range, e.g. 0 5 * * * for 05:00 every day"
        ) from None
    return line


def next_run(line: str, after: datetime) -> datetime:
    """When a cron line is due next, in the zone of `after`."""
    from croniter import croniter

    found: datetime = croniter(line, after).get_next(datetime)
    return found


def previous_run(line: str, before: datetime) -> datetime:
    """When a cron line was due last, in the zone of `before`."""
    from croniter import croniter

    found: datetime = croniter(line, before).get_prev(datetime)
    return found


def web_address(value: str, example: str = "https://host") -> str:
    """The address of a web service, with a port that exists."""
    if value and (not re.fullmatch(r"https?://[^\s/?#]+([/?]\S*)?", value) or not has_port(value)):
        raise ValueError(f"expects an address such as {example}")
    return value


def has_port(url: str) -> bool:
    """Whether the port of an address, if it names one, can exist."""
    try:
        found = urlsplit(url)
        return found.port != 0 and bool(found.hostname)
    except ValueError:
        return False


def parts(value: Any) -> Any:
    """The parts of a comma-separated text; anything else as it is."""
    if not isinstance(value, str):
        return value
    return [part for part in map(str.strip, value.split(",")) if part]


def pairs(value: Any) -> Any:
    """Comma-separated `key:value` pairs as a mapping; anything else as it is."""
    if not isinstance(value, str):
        return value
    found = (part.partition(":") for part in parts(value))
    return {key.strip(): text.strip() for key, _, text in found}


def as_text(value: Any) -> str:
    """A setting's value as its variable has it."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, dict):
        return ",".join(f"{key}:{text}" for key, text in value.items())
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def secrets(value: SecretStr | None) -> list[bytes]:
    """Several secrets, comma-separated, are all accepted: this is how to rotate them."""
    return [] if value is None else [part.encode() for part in parts(value.get_secret_value())]


def absolute_url(url: str) -> str:
    """A SQLite URL with an absolute path: a receiver started elsewhere means the same file."""
    kind, is_sqlite, path = url.partition("sqlite:///")
    if kind or not is_sqlite or path.startswith((":", "file:")):
        return url
    file, mark, options = path.partition("?")
    return f"sqlite:///{Path(file).expanduser().absolute()}{mark}{options}"


def _matching(pattern: str, expected: str) -> AfterValidator:
    """A check of the whole text."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"expects {expected}")
        return text

    return AfterValidator(check)


def _event_names(text: str) -> str:
    if not all(name in CONVERSION_NAMES for name in text.split("|")):
        raise ValueError(f"expects {_EVENTS}")
    return text


def _network(text: Any, _: Any) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError:
        raise ValueError(
            "expects addresses or networks, comma-separated, e.g. 10.0.0.5,172.18.0.0/16"
        ) from None


def _postgres(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    kind = re.match(r"postgres(ql)?(\+\w+)?://", text)
    # Without a host it is a socket, whose folder is in the query.
    by_socket = kind and re.fullmatch(r"([^/@]*@)?/[^/].*", text[kind.end() :])
    if text and not (kind and (by_socket or has_port(text))):
        raise ValueError("expects postgresql+psycopg://user:password@host:5432/database")
    return value


SPARK_ADDRESS = "needs the address of a Spark Connect server, such as sc://host:15002"


def _spark(value: SecretStr) -> SecretStr:
    found = re.fullmatch(r"sc://[^:/;\s]+(:\d{1,5})?(/(;[^;\s]+)*)?", value.get_secret_value())
    if not found or (found[1] and int(found[1][1:]) not in PORTS):
        raise ValueError(
            "expects the address of a Spark Connect server, such as sc://host:15002 or "
            "sc://host:443/;use_ssl=true;token=..."
        )
    return value


def _mail_server(value: SecretStr) -> SecretStr:
    text, pattern = value.get_secret_value(), r"smtps?://([^\s/@]+@)?[^\s/@:]+(:\d{1,5})?/?"
    if text and not (re.fullmatch(pattern, text) and has_port(text)):
        raise ValueError(
            "expects smtp://user:password@host:587 or smtps://user:password@host:465, with "
            "characters such as @ in the user's name escaped (%40)"
        )
    return value


def _alert_webhook(value: SecretStr) -> SecretStr:
    web_address(value.get_secret_value(), "https://hooks.slack.com/...")
    return value


def _whole_key(value: SecretStr) -> SecretStr:
    if len(key_bytes(value.get_secret_value())) < KEY_BYTES:
        raise ValueError(
            "is too short: expects 64 hex digits; without it, a key is created in the data folder"
        )
    return value


CONVERSION_STAGES = ("qualified", "opportunity", "won")
"""Stages of the funnel (rule R9) that can be sent to Meta."""

CONVERSION_NAMES = (
    "Purchase", "LeadSubmitted", "InitiateCheckout", "AddToCart", "ViewContent", "OrderCreated",
    "OrderShipped", "OrderDelivered", "OrderCanceled", "OrderReturned", "CartAbandoned",
    "QualifiedLead", "RatingProvided", "ReviewProvided",
)  # fmt: skip
"""Event names that Meta accepts for business messaging (its FAQ, September 2026)."""

Zone = Annotated[str, AfterValidator(zone)]
Currency = Annotated[str, AfterValidator(currency)]
Country = Annotated[str, _matching(r"[A-Z]{2}", "two capital letters for a country, such as BR")]
CronLine = Annotated[str, AfterValidator(cron)]
ServiceUrl = Annotated[str, AfterValidator(web_address)]
PublicUrl = Annotated[
    ServiceUrl,
    _matching(r"(https?://[^\s?#]+)?", "an address such as https://hooks.example.com"),
]
CrmUrl = Annotated[
    ServiceUrl,
    _matching(r"(https?://[^\s#]+)?", "an address such as https://crm.example.com/hook"),
]
MetaVersion = Annotated[str, _matching(r"v[0-9]+\.[0-9]+", "a version such as v27.0")]
GoogleVersion = Annotated[str, _matching(r"v[0-9]+", "a version such as v23")]
SiteId = Annotated[
    str,
    _matching(
        r"[a-z0-9-]{0,32}", "up to 32 lower-case letters, digits and hyphens, such as aurora"
    ),
]
PostgresUrl = Annotated[SecretStr, AfterValidator(_postgres)]
SparkUrl = Annotated[SecretStr, AfterValidator(_spark)]
MailServerUrl = Annotated[SecretStr, AfterValidator(_mail_server)]
AlertWebhookUrl = Annotated[SecretStr, AfterValidator(_alert_webhook)]
HashKey = Annotated[SecretStr, AfterValidator(_whole_key)]

T = TypeVar("T")
Listed = Annotated[
    tuple[T, ...],
    NoDecode,  # not JSON, which pydantic-settings expects of a list
    BeforeValidator(parts),
    AfterValidator(lambda found: tuple(dict.fromkeys(found))),
]
"""Comma-separated values, in the order given, each once."""

AccountIds = Listed[
    Annotated[
        str,
        _matching("(act_)?[0-9]+", "comma-separated account ids without act_, e.g. 123,456"),
        AfterValidator(lambda part: part.removeprefix("act_")),
    ]
]
PageIds = Listed[Annotated[str, _matching("[0-9]+", "comma-separated page ids, e.g. 123,456")]]
CustomerId = Annotated[
    str,
    _matching("([0-9][0-9-]*)?", "customer ids such as 123-456-7890, comma-separated"),
    AfterValidator(lambda part: part.replace("-", "")),
]
CustomerIds = Listed[CustomerId]
Origins = Listed[
    Annotated[
        str,
        _matching(r"https?://[^/\s?#]+", "origins without a path, e.g. https://www.example.com"),
        AfterValidator(str.lower),
    ]
]
Networks = Listed[Annotated[IPv4Network | IPv6Network, WrapValidator(_network)]]
MailAddresses = Listed[
    Annotated[
        str,
        _matching(r"[^@\s<>,]+@[^@\s<>,]+", "e-mail addresses, comma-separated, without names"),
    ]
]

_PAIRS = "waba_id:dataset_id or page_id:dataset_id pairs, comma-separated, e.g. 123:456"
_Digits = Annotated[str, _matching("[0-9]+", _PAIRS)]
DatasetPairs = Annotated[dict[_Digits, _Digits], NoDecode, BeforeValidator(pairs)]

_EVENTS = (
    "stage:EventName pairs, comma-separated, a fall-back after |, e.g. "
    "qualified:QualifiedLead|LeadSubmitted,won:Purchase; stages are "
    f"{', '.join(CONVERSION_STAGES)}; names {', '.join(CONVERSION_NAMES)}"
)
EventPairs = Annotated[
    dict[
        Annotated[str, _matching("|".join(CONVERSION_STAGES), _EVENTS)],
        Annotated[str, AfterValidator(_event_names)],
    ],
    NoDecode,
    BeforeValidator(pairs),
]
