"""What goes out: conversions to Meta, and leads to the company's own CRM webhook."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from ctwa.settings import Settings
from ingestion.doctor import Finding, off, ok, refused, wrong
from ingestion.doctor.capture import MIN_SECRET_CHARS
from ingestion.errors import SourceError
from ingestion.graph import GraphClient
from ingestion.graph_errors import GraphTokenError
from ingestion.graph_session import RetryPolicy
from ingestion.lake import Lake

PERMISSIONS = ("whatsapp_business_management", "whatsapp_business_manage_events")
_IMPATIENT = RetryPolicy(tries=2, base=0.2, max_total_wait=1.0, timeout=15.0)
_LOCAL = ("127.0.0.1", "localhost", "::1")


def conversions(settings: Settings) -> Iterator[Finding]:
    """The token, what it may, and that every WhatsApp account has its own dataset."""
    mode = settings.meta_conversions_mode
    if mode == "off" or (mode == "dry_run" and not settings.datasets):
        said = "META_CONVERSIONS_MODE is off" if mode == "off" else "META_DATASET_IDS is not set"
        yield off("conversions", f"{said}: Meta is told nothing")
        return
    given = settings.meta_conversions_token or settings.meta_access_token
    name = "META_CONVERSIONS_TOKEN" if settings.meta_conversions_token else "META_ACCESS_TOKEN"
    if given is None:
        yield wrong(
            "conversions token",
            "neither META_CONVERSIONS_TOKEN nor META_ACCESS_TOKEN is set",
            f"make a system user token with {' and '.join(PERMISSIONS)} (docs/conversions.md)",
        )
        return
    token = given.get_secret_value()
    version = settings.meta_api_version
    client = GraphClient(settings.meta_graph_url, token, version=version, policy=_IMPATIENT)
    try:
        yield from _permissions(client, token, name)
        yield from _datasets(settings, client)
    except GraphTokenError:
        yield wrong("conversions token", f"{name} is not valid (any more)", _renew(name))
    finally:
        client.close()


def _permissions(client: GraphClient, token: str, name: str) -> Iterator[Finding]:
    subject = "conversions token"
    try:
        told = client.get("debug_token", input_token=token).get("data", {})
    except GraphTokenError:
        raise
    except SourceError as error:
        yield off(subject, f"works, but Meta does not tell what it may: {error}")
        return
    scopes = told.get("scopes")
    missing = [p for p in PERMISSIONS if isinstance(scopes, list) and p not in scopes]
    if not told.get("is_valid", True):
        yield wrong(subject, f"Meta calls {name} invalid", _renew(name))
    elif missing:
        yield wrong(subject, f"{name} lacks {' and '.join(missing)}", _renew(name))
    else:
        yield ok(subject, f"{name}, valid" + (", may manage events" if scopes else ""))


def _renew(name: str) -> str:
    return (
        f"make a system user token with {' and '.join(PERMISSIONS)} (Business settings > System "
        f"users), assign the WhatsApp accounts to that user, and put it into {name}"
    )


def _datasets(settings: Settings, client: GraphClient) -> Iterator[Finding]:
    """Every WhatsApp account that is set, or that clicks came by."""
    accounts = dict.fromkeys((*settings.datasets, *_seen(settings)))
    if not accounts:
        yield wrong(
            "conversions",
            "META_DATASET_IDS is not set, so nothing can be sent",
            "set it to waba_id:dataset_id; the id of the account is in Business settings > "
            "WhatsApp accounts",
        )
    for waba in accounts:
        try:
            yield _dataset(client, waba, settings.datasets.get(waba))
        except GraphTokenError:
            raise
        except SourceError as error:
            yield refused(_subject(waba), error)


def _dataset(client: GraphClient, waba: str, chosen: str | None) -> Finding:
    answer = client.get(f"{waba}/dataset")
    rows = answer.get("data")
    first = rows[0] if isinstance(rows, list) and rows and isinstance(rows[0], dict) else {}
    own = str(answer.get("id") or first.get("id") or "")
    if not own:
        return wrong(
            _subject(waba),
            "the account has no dataset",
            "make one in Events Manager (Connect data > Messaging), then set META_DATASET_IDS",
        )
    if chosen == own:
        return ok(_subject(waba), f"dataset {own}")
    said = f"its dataset is {own}, META_DATASET_IDS says {chosen or 'nothing of it'}"
    return wrong(_subject(waba), said, f"put {waba}:{own} into META_DATASET_IDS")


def _subject(waba: str) -> str:
    return f"WhatsApp account {waba}"


def _seen(settings: Settings) -> list[str]:
    """Accounts that messages with a click id came by, as far as the event log knows them."""
    lake = Lake.from_settings(settings)
    if not lake.files("event_log", "messages"):
        return []
    found = lake.query(
        "select distinct waba_id from {t} where ctwa_clid is not null and waba_id is not null "
        "order by waba_id",
        t="event_log/messages",
    )
    return [waba for waba in found["waba_id"].to_pylist() if waba.isdigit()]


def crm_webhook(settings: Settings) -> Iterator[Finding]:
    """The address, and the secret of its signature. It is not called: that would be a lead."""
    subject, url, secret = "CRM webhook", settings.crm_webhook_url, settings.crm_webhook_secret
    if not url:
        yield off(subject, "CTWA_CRM_WEBHOOK_URL is not set")
        return
    made = "make a long random one, e.g. `openssl rand -hex 32`, and set it on both sides"
    length = len(secret.get_secret_value().strip()) if secret else 0
    address = urlsplit(url)
    if not length:
        yield wrong(subject, "CTWA_CRM_WEBHOOK_SECRET is not set", made)
    elif length < MIN_SECRET_CHARS:
        said = f"CTWA_CRM_WEBHOOK_SECRET is shorter than {MIN_SECRET_CHARS} characters"
        yield wrong(subject, said, made)
    elif address.scheme != "https" and address.hostname not in _LOCAL:
        said = "CTWA_CRM_WEBHOOK_URL is not https, and phone numbers go there"
        yield wrong(subject, said, "give the address with https")
    else:
        yield ok(subject, f"leads are told to {address.hostname}")


__all__ = ["PERMISSIONS", "conversions", "crm_webhook"]
