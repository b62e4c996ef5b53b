"""How messages come in: the receiver, each way in with its secret, and the routing of each number.

Several responders may answer one number (E78). Once a business has given a number a second
responder, one that only listens gets nothing of its chats except by the field `standby`, and that
only where standby is granted: leads vanish without an error. Meta's Routing Roles API tells each
business its own roles, number by number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import requests

from ctwa.settings import Settings
from ingestion.ads.meta.errors import (
    GraphNotFoundError,
    GraphPermissionError,
    GraphRequestError,
    GraphStopError,
)
from ingestion.ads.meta.graph import GraphClient
from ingestion.apis.client import RetryPolicy
from ingestion.event_log.adoption import look_at_receiver
from ingestion.lake.lake import Lake
from ingestion.source import Finding, SourceError, off, ok, refused, wrong

MIN_SECRET_CHARS = 16
_SECONDS = 5.0


def receiver(settings: Settings, url: str) -> Iterator[Finding]:
    """Whether it is up and ready, writes to this vault, and is reachable at its public address."""
    found = _answers("receiver", f"{url}/readyz", "start it: `ctwa serve` (docs/operations.md)")
    filled = look_at_receiver(settings, url, datetime.now(UTC))
    if filled.status == "warn" and found.status == "ok":
        found = wrong("receiver", filled.found, filled.fix)
    yield found
    if settings.site_id and _clicks_left(url) == 0:
        yield wrong(
            "site button",
            f"today's {settings.clicks_per_day} clicks (UTC) are used up, further ones are refused",
            "raise CTWA_CLICKS_PER_DAY if they come from your visitors; else block the sender at "
            "the proxy",
        )
    if settings.public_url:
        # A handshake without a token: the proxies in deploy/ let only /webhooks through.
        yield _answers(
            "public address",
            f"{settings.public_url.rstrip('/')}/webhooks/whatsapp",
            "check CTWA_PUBLIC_URL, DNS, the TLS proxy (deploy/) and the firewall",
            expected=403,
        )
        if urlsplit(settings.public_url).scheme != "https":
            yield wrong(
                "public address",
                "is not https",
                "Meta and the other senders call https only: put a TLS proxy in front",
            )


def _clicks_left(url: str) -> float | None:
    """Clicks left by the receiver's own count; None if it does not say."""
    try:
        text = requests.get(f"{url}/metrics", timeout=_SECONDS, allow_redirects=False).text
    except requests.RequestException:
        return None
    found = re.search(r"^ctwa_clicks_left_today (\d[\d.]*)$", text, re.MULTILINE)
    return float(found[1]) if found else None


def _answers(subject: str, url: str, fix: str, *, expected: int = 200) -> Finding:
    try:
        answer = requests.get(url, timeout=_SECONDS, allow_redirects=False)
    except requests.RequestException as error:
        return wrong(subject, f"{url} does not answer ({type(error).__name__})", fix)
    if answer.status_code != expected:
        return wrong(
            subject, f"{url} answers {answer.status_code}: {answer.text[:80].strip()}", fix
        )
    return ok(subject, f"{url} answers")


def ways_in(settings: Settings) -> Iterator[Finding]:
    """Every endpoint with its secret; a company needs at least one for WhatsApp."""
    secret, token = settings.meta_app_secrets, settings.meta_verify_token
    providers = {
        "Twilio": ("TWILIO_AUTH_TOKEN", settings.twilio_tokens),
        "360dialog": ("DIALOG360_WEBHOOK_SECRET", settings.dialog360_secrets),
        "Gupshup": ("GUPSHUP_WEBHOOK_SECRET", settings.gupshup_secrets),
    }
    if secret and token:
        yield ok("WhatsApp webhook", "META_APP_SECRET and META_VERIFY_TOKEN are set")
    elif secret or token:
        missing = "META_VERIFY_TOKEN" if secret else "META_APP_SECRET"
        yield wrong(
            "WhatsApp webhook",
            f"{missing} is not set",
            "docs/connect/whatsapp.md says where to find it",
        )
    elif not any(values for _, values in providers.values()):
        yield wrong(
            "WhatsApp webhook",
            "no messages can come in: neither Meta's app secret nor another provider's is set",
            "set META_APP_SECRET and META_VERIFY_TOKEN (docs/connect/whatsapp.md)",
        )
    else:
        yield off("WhatsApp webhook", "META_APP_SECRET is not set; another provider delivers")
    for name, (variable, values) in providers.items():
        yield _provider(settings, name, variable, values)
    yield _secret("web leads, outcomes, consents", "CTWA_INTAKE_SECRET", settings.intake_secrets)
    yield from _site(settings)


def _provider(settings: Settings, name: str, variable: str, values: list[bytes]) -> Finding:
    found = _secret(name, variable, values)
    if found.status == "ok" and name == "Twilio" and not settings.public_url:
        return wrong(
            name,
            "CTWA_PUBLIC_URL is not set, and Twilio signs the address that it calls",
            "set CTWA_PUBLIC_URL to the receiver's address as entered at Twilio",
        )
    return found


def _secret(subject: str, variable: str, values: list[bytes]) -> Finding:
    if not values:
        return off(subject, f"{variable} is not set")
    if min(map(len, values)) < MIN_SECRET_CHARS:
        return wrong(
            subject,
            f"{variable} is shorter than {MIN_SECRET_CHARS} characters",
            "create a long random one, e.g. with `openssl rand -hex 32`, and set it on both sides",
        )
    rotating = f", {len(values)} accepted while rotating" if len(values) > 1 else ""
    return ok(subject, f"{variable} is set{rotating}")


def _site(settings: Settings) -> Iterator[Finding]:
    site, origins = settings.site_id, settings.site_origins
    if site and origins:
        yield ok("site button", f"codes of site {site}, clicks from {', '.join(sorted(origins))}")
    elif site or origins:
        missing = "CTWA_SITE_ORIGINS" if site else "CTWA_SITE_ID"
        yield wrong("site button", f"{missing} is not set", "see docs/connect/website.md")
    else:
        yield off("site button", "CTWA_SITE_ID and CTWA_SITE_ORIGINS are not set")


# ---- numbers that several responders may answer -----------------------------------------------

MOST_NUMBERS = 100
ENTRY_POINTS = frozenset({"customer_service", "marketing", "utility", "ctwa"})
"""Entry points where a chat may begin; calls have their own."""

_IMPATIENT = RetryPolicy(tries=2, base=0.2, max_total_wait=1.0, timeout=15.0)
_RECENTLY = timedelta(days=7)
_FLAGS = ("is_standby", "standby", "has_standby", "standby_visibility")
_YES = frozenset({"true", "yes", "granted", "enabled", "active"})
_GRANT = (
    "in Meta Business Suite, where the number's conversation routing is set, accept Meta's agent "
    "terms and give the business of your app standby visibility; subscribe the app to standby and "
    "messaging_handovers (docs/connect/whatsapp.md)"
)
_PERMIT = (
    "give the token whatsapp_business_management, and assign the WhatsApp account to its system "
    "user (Business settings > System users)"
)


@dataclass(slots=True)
class Number:
    """A business number at Meta. `last_at`: its newest message received by the field `messages`."""

    number_id: str
    shown: str
    last_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Roles:
    """What Meta says about a number; None for what it does not say."""

    roles: frozenset[str] | None
    is_standby: bool | None


def numbers(settings: Settings) -> Iterator[Finding]:
    """One finding for each number known from the event log or from its account."""
    accounts, known = _seen(settings)
    accounts = list(dict.fromkeys((*settings.meta_dataset_ids, *accounts)))
    subject = "WhatsApp routing"
    if not accounts and not known:
        yield off(subject, "no number is known yet: this is checked once messages have come in")
        return
    token = settings.meta_access_token or settings.meta_conversions_token
    if token is None:
        yield off(
            subject,
            "could not be checked: META_ACCESS_TOKEN is not set. It is unknown whether the numbers "
            "have other responders, and whether standby is granted",
        )
        return
    client = GraphClient(
        settings.meta_graph_url,
        token.get_secret_value(),
        version=settings.meta_api_version,
        policy=_IMPATIENT,
    )
    try:
        for account in accounts:
            yield from _listed(client, account, known)
        for number in [*known.values()][:MOST_NUMBERS]:
            yield _examined(client, number)
        if len(known) > MOST_NUMBERS:
            yield off(subject, f"{len(known) - MOST_NUMBERS} more numbers were not checked")
    except GraphStopError as error:
        yield wrong(subject, f"could not be checked: {error.what}", error.fix)
    finally:
        client.close()


def roles_in(answer: dict[str, Any]) -> Roles:
    """Roles and standby from an answer, wherever in it they are."""
    holders: list[Any] = [answer]
    for key in ("data", "routing_roles"):
        inner = answer.get(key)
        holders += inner if isinstance(inner, list) else [inner]
    found = [h for h in holders if isinstance(h, dict)]
    roles: frozenset[str] | None = None
    standby: bool | None = None
    for holder in found:
        listed = holder.get("roles")
        if isinstance(listed, list) and roles is None:
            names = (r.get("role") if isinstance(r, dict) else r for r in listed)
            roles = frozenset(str(name).lower() for name in names if name)
        for flag in _FLAGS:
            if standby is None and holder.get(flag) is not None:
                standby = str(holder[flag]).lower() in _YES
    if standby is None and roles is not None and "standby" in roles:
        standby = True
    return Roles(roles and roles - {"standby"}, standby)


def _listed(client: GraphClient, account: str, known: dict[str, Number]) -> Iterator[Finding]:
    """Add the account's numbers: the one that never delivered anything needs checking most."""
    try:
        for page in client.pages(f"{account}/phone_numbers", fields="id,display_phone_number"):
            for row in page:
                number_id, shown = str(row.get("id") or ""), row.get("display_phone_number")
                if number_id:
                    known.setdefault(number_id, Number(number_id, str(shown or number_id)))
    except GraphStopError:
        raise
    except (GraphPermissionError, GraphNotFoundError):
        yield wrong(
            f"WhatsApp numbers of account {account}",
            "cannot be listed with this token: which of them have other responders is unknown",
            _PERMIT,
        )
    except SourceError as error:
        yield refused(f"WhatsApp numbers of account {account}", error)


def _examined(client: GraphClient, number: Number) -> Finding:
    subject = f"WhatsApp number {number.shown}"
    try:
        roles = roles_in(_asked(client, number.number_id))
    except GraphStopError:
        raise
    except (GraphPermissionError, GraphNotFoundError):
        return wrong(
            subject,
            "could not be checked: the token may not read the number's routing roles, so it is "
            "unknown whether standby is granted",
            _PERMIT,
        )
    except GraphRequestError as error:
        return off(
            subject,
            "could not be checked: Meta does not offer routing roles here "
            f"(error {error.problem.code}), so it is unknown whether standby is granted",
        )
    except SourceError as error:
        return refused(subject, error)
    return _judged(subject, number, roles)


def _asked(client: GraphClient, number_id: str) -> dict[str, Any]:
    """The edge, or the field of the same name if there is no such edge."""
    try:
        return client.get(f"{number_id}/routing_roles")
    except GraphRequestError as error:
        try:
            return client.get(number_id, fields="routing_roles")
        except SourceError:
            raise error from None


def _judged(subject: str, number: Number, found: Roles) -> Finding:
    roles = ", ".join(sorted(found.roles or ()))
    primary = f"primary for {roles}" if roles else "primary for nothing"
    if found.is_standby:
        return ok(subject, f"standby is granted; {primary}")
    if found.is_standby is None:
        note = f" ({primary})" if found.roles is not None else ""
        return off(
            subject, f"could not be checked: Meta does not say whether standby is granted{note}"
        )
    if found.roles and found.roles >= ENTRY_POINTS:
        return ok(subject, f"{primary}, so every chat begins here; standby is not granted")
    if not roles and number.last_at and datetime.now(UTC) - number.last_at < _RECENTLY:
        return off(
            subject,
            f"no roles and no standby, but messages come in (last on "
            f"{number.last_at:%Y-%m-%d}): it seems to have only one responder",
        )
    return wrong(
        subject,
        f"standby is not granted; {primary}: chats that others handle, and their leads, are missed",
        _GRANT,
    )


def _seen(settings: Settings) -> tuple[list[str], dict[str, Number]]:
    """Accounts and numbers of the event log; a number that moved (E30) where it is now."""
    lake = Lake.from_settings(settings)
    if not lake.files("event_log", "messages"):
        return [], {}
    rows = lake.query(
        """
        with seen as (
            select
                waba_id,
                phone_number_id,
                business_number_id,
                max(sent_at) as last_seen_at,
                max(sent_at) filter (
                    origin = 'live' and coalesce(field, 'messages') = 'messages'
                ) as last_at
            from {t}
            where app is null and phone_number_id is not null and waba_id is not null
            group by all
        )

        select * from seen
        qualify row_number() over (
            partition by business_number_id order by last_seen_at desc, phone_number_id
        ) = 1
        order by business_number_id
        """,
        t="event_log/messages",
    ).to_pylist()
    rows = [r for r in rows if r["waba_id"].isdigit() and r["phone_number_id"].isdigit()]
    found = {
        r["phone_number_id"]: Number(
            r["phone_number_id"], r["business_number_id"] or r["phone_number_id"], r["last_at"]
        )
        for r in rows
    }
    return list(dict.fromkeys(r["waba_id"] for r in rows)), found
