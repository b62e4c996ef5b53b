"""What is sent: conversions, leads to a CRM, published marts, alerts. Nothing is sent here."""

from __future__ import annotations

import grp
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from commands.doctor.inbound import MIN_SECRET_CHARS
from ctwa.settings import Settings
from ingestion.ads.meta.errors import GraphThrottledError, GraphTokenError, GraphUnavailableError
from ingestion.ads.meta.graph import GraphClient
from ingestion.apis.client import RetryPolicy
from ingestion.lake.lake import Lake
from ingestion.source import Finding, SourceError, not_checked, off, ok, refused, wrong
from publishing.publication import Publication

PERMISSIONS = ("whatsapp_business_management", "whatsapp_business_manage_events")
_IMPATIENT = RetryPolicy(tries=2, base=0.2, max_total_wait=1.0, timeout=15.0)
_LOCAL = ("127.0.0.1", "localhost", "::1")
MARTS_MAX_AGE = timedelta(hours=36)
_SECONDS = 5


def conversions(settings: Settings) -> Iterator[Finding]:
    """The token and its permissions, and whether every WhatsApp account has its own dataset."""
    mode = settings.meta_conversions_mode
    if mode == "off" or (mode == "dry_run" and not settings.meta_dataset_ids):
        problem = "META_CONVERSIONS_MODE is off" if mode == "off" else "META_DATASET_IDS is not set"
        yield off("conversions", f"{problem}: nothing is sent to Meta")
        return
    given = settings.meta_conversions_token or settings.meta_access_token
    name = "META_CONVERSIONS_TOKEN" if settings.meta_conversions_token else "META_ACCESS_TOKEN"
    if given is None:
        yield wrong(
            "conversions token",
            "neither META_CONVERSIONS_TOKEN nor META_ACCESS_TOKEN is set",
            f"create a system user token with {' and '.join(PERMISSIONS)} (docs/conversions.md)",
        )
        return
    token = given.get_secret_value()
    version = settings.meta_api_version
    client = GraphClient(settings.meta_graph_url, token, version=version, policy=_IMPATIENT)
    try:
        yield from _permissions(client, token, name)
        yield from _datasets(settings, client)
    except GraphTokenError:
        yield wrong("conversions token", f"{name} is not valid, or has expired", _renew(name))
    finally:
        client.close()


def crm_webhook(settings: Settings) -> Iterator[Finding]:
    """The address and the secret for signatures. It is not called: that would create a lead."""
    subject, url, secret = "CRM webhook", settings.crm_webhook_url, settings.crm_webhook_secret
    if not url:
        yield off(subject, "CTWA_CRM_WEBHOOK_URL is not set")
        return
    made = "create a long random one, e.g. with `openssl rand -hex 32`, and set it on both sides"
    length = len(secret.get_secret_value().strip()) if secret else 0
    address = urlsplit(url)
    if not length:
        yield wrong(subject, "CTWA_CRM_WEBHOOK_SECRET is not set", made)
    elif length < MIN_SECRET_CHARS:
        problem = f"CTWA_CRM_WEBHOOK_SECRET is shorter than {MIN_SECRET_CHARS} characters"
        yield wrong(subject, problem, made)
    elif address.scheme != "https" and address.hostname not in _LOCAL:
        problem = "CTWA_CRM_WEBHOOK_URL is not https, and phone numbers are sent there"
        yield wrong(subject, problem, "use an https address")
    else:
        yield ok(subject, f"leads are sent to {address.hostname}")


def marts(settings: Settings) -> Iterator[Finding]:
    """Whether they are published, and recently."""
    path = settings.marts_path
    if not path.exists():
        yield off("marts", "not published yet: run `ctwa refresh`")
        return
    publication = Publication.read(path)
    if publication is None or publication.published_at is None:
        yield wrong("marts", f"{path} cannot be read", "run `ctwa refresh`; it writes a new file")
        return
    published = publication.published_at
    found = f"as of {publication.as_of}, published {published:%Y-%m-%d %H:%M} UTC"
    if datetime.now(UTC) - published > MARTS_MAX_AGE:
        yield wrong(
            "marts",
            found,
            "the nightly refresh has not published since: see its last run in `ctwa dev`",
        )
    else:
        yield ok("marts", found)


def readers(settings: Settings) -> Iterator[Finding]:
    """Who can read the published marts: a group on this machine, a PostgreSQL database."""
    if settings.marts_group:
        yield _group(settings.marts_group)
    if settings.marts_url is None:
        yield off("marts in PostgreSQL", "CTWA_MARTS_URL is not set")
        return
    yield _postgres(settings.marts_url.get_secret_value())


def channels(settings: Settings) -> Iterator[Finding]:
    """Alerts go to a webhook, by e-mail, or to nobody, which is not wrong but worth knowing."""
    mail, people = settings.smtp_url, settings.alert_email_to
    if mail and people:
        host = urlsplit(mail.get_secret_value()).hostname
        yield ok("alerts by e-mail", f"{len(people)} recipient(s), by {host}; not tested here")
    elif mail or people:
        missing = "CTWA_ALERT_EMAIL_TO" if mail else "CTWA_SMTP_URL"
        yield wrong("alerts by e-mail", f"{missing} is not set", f"set {missing} (.env.example)")
    if settings.alert_webhook_url is not None:
        # The path is the secret.
        address = urlsplit(settings.alert_webhook_url.get_secret_value())
        if address.scheme != "https" and address.hostname not in _LOCAL:
            problem = "CTWA_ALERT_WEBHOOK_URL is not https"
            yield wrong("alerts by webhook", problem, "use an https address")
        else:
            yield ok("alerts by webhook", f"sent to {address.hostname}; not tested here")
    elif not mail and not people:
        yield off(
            "alerts",
            "failed runs and alarms are sent to no one: set CTWA_ALERT_WEBHOOK_URL, or "
            "CTWA_ALERT_EMAIL_TO and CTWA_SMTP_URL",
        )


def _permissions(client: GraphClient, token: str, name: str) -> Iterator[Finding]:
    subject = "conversions token"
    try:
        about = client.get("debug_token", input_token=token).get("data", {})
    except GraphTokenError:
        raise
    except (GraphUnavailableError, GraphThrottledError) as error:
        yield not_checked(subject, error)
        return
    except SourceError as error:
        yield off(subject, f"not checked, Meta does not say what it may do: {error}")
        return
    scopes = about.get("scopes")
    missing = [p for p in PERMISSIONS if isinstance(scopes, list) and p not in scopes]
    if not about.get("is_valid", True):
        yield wrong(subject, f"Meta calls {name} invalid", _renew(name))
    elif missing:
        yield wrong(subject, f"{name} lacks {' and '.join(missing)}", _renew(name))
    else:
        yield ok(subject, f"{name}, valid" + (", may manage events" if scopes else ""))


def _renew(name: str) -> str:
    return (
        f"create a system user token with {' and '.join(PERMISSIONS)} (Business settings > System "
        f"users), assign the WhatsApp accounts to that user, and set {name} to it"
    )


def _datasets(settings: Settings, client: GraphClient) -> Iterator[Finding]:
    """Every WhatsApp account that is set, or that received messages with a click id."""
    accounts = dict.fromkeys((*settings.meta_dataset_ids, *_seen(settings)))
    for page_id in settings.meta_page_ids:
        yield _of_page(page_id, settings.meta_dataset_ids.get(page_id))
        accounts.pop(page_id, None)
    if not accounts and not settings.meta_page_ids:
        yield wrong(
            "conversions",
            "META_DATASET_IDS is not set, so nothing can be sent",
            "set it to waba_id:dataset_id; the id of the account is in Business settings > "
            "WhatsApp accounts",
        )
    for waba in accounts:
        try:
            yield _dataset(client, waba, settings.meta_dataset_ids.get(waba))
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
            "create one in Events Manager (Connect data > Messaging), then set META_DATASET_IDS",
        )
    if chosen == own:
        return ok(_subject(waba), f"dataset {own}")
    problem = f"its dataset is {own}, but META_DATASET_IDS has {chosen or 'none for it'}"
    return wrong(_subject(waba), problem, f"add {waba}:{own} to META_DATASET_IDS")


def _of_page(page_id: str, chosen: str | None) -> Finding:
    """Which dataset a page's leads go to is a choice that Meta does not know."""
    subject = f"Meta page {page_id}, stages"
    if chosen is None:
        return off(subject, f"not told: META_DATASET_IDS has no {page_id}:dataset_id")
    return ok(subject, f"dataset {chosen}")


def _subject(waba: str) -> str:
    return f"WhatsApp account {waba}"


def _seen(settings: Settings) -> list[str]:
    """Accounts that received messages with a click id, as far as the event log knows."""
    lake = Lake.from_settings(settings)
    if not lake.files("event_log", "messages"):
        return []
    found = lake.query(
        "select distinct waba_id from {t} where ctwa_clid is not null and waba_id is not null "
        "order by waba_id",
        t="event_log/messages",
    )
    return [waba for waba in found["waba_id"].to_pylist() if waba.isdigit()]


def _group(name: str) -> Finding:
    subject = "readers of the marts"
    try:
        number = grp.getgrnam(name).gr_gid
    except KeyError:
        problem = f"CTWA_MARTS_GROUP: there is no group {name} on this machine"
        return wrong(subject, problem, f"run `sudo groupadd {name}`, or set another group")
    if os.geteuid() != 0 and number not in (*os.getgroups(), os.getegid()):
        problem = f"this account is not in group {name}, so it cannot give it the marts"
        return wrong(subject, problem, f"run `sudo usermod -aG {name} $(id -un)`, then start again")
    return ok(subject, f"group {name} on this machine")


def _postgres(url: str) -> Finding:
    import sqlalchemy as sa

    subject = "marts in PostgreSQL"
    try:
        import psycopg
    except ImportError:
        problem = "the PostgreSQL client is not installed"
        return wrong(subject, problem, "pip install 'ctwa-attribution[postgres]'")
    try:
        address = sa.make_url(url).set(drivername="postgresql")
    except (sa.exc.ArgumentError, ValueError):
        return wrong(subject, "CTWA_MARTS_URL is not a URL", "see .env.example")
    place = f"{address.host or 'socket'}/{address.database or ''}"
    plain = address.render_as_string(hide_password=False)
    try:
        with psycopg.connect(plain, connect_timeout=_SECONDS) as connection:
            lacks = _missing_rights(connection)
    except psycopg.Error as error:
        problem = (str(error).strip().splitlines() or [type(error).__name__])[0]
        for secret in filter(None, (url, plain, address.password)):
            problem = problem.replace(str(secret), "***")
        return wrong(
            subject,
            f"{place} cannot be reached: {problem[:300]}",
            "check CTWA_MARTS_URL: host, port, database, user and password",
        )
    if lacks:
        return wrong(subject, f"{place}: {lacks[0]}", lacks[1])
    return ok(subject, f"{place}, schema marts is writable")


def _missing_rights(connection: object) -> tuple[str, str] | None:
    """What the user lacks, and the statement that grants it; None if nothing is missing."""
    row = connection.execute(  # type: ignore[attr-defined]
        "select current_user, current_database(), to_regnamespace('marts') is not null, "
        "has_database_privilege(current_database(), 'CREATE'), "
        "case when to_regnamespace('marts') is not null then has_schema_privilege('marts', "
        "'CREATE') and has_schema_privilege('marts', 'USAGE') end, "
        "(select count(*) from pg_tables where schemaname = 'marts' "
        "and not pg_has_role(tableowner, 'USAGE'))"
    ).fetchone()
    user, database, has_schema, may_create, may_write, of_others = row
    if not has_schema and not may_create:
        return (
            f"user {user} may not create the schema marts",
            f'run as its owner: create schema marts authorization "{user}" (database {database})',
        )
    if has_schema and not may_write:
        return (
            f"user {user} may not write to schema marts",
            f'run as its owner: grant usage, create on schema marts to "{user}"',
        )
    if of_others:
        return (
            f"{of_others} tables in schema marts belong to a user other than {user}",
            f'run as their owner: alter table ... owner to "{user}", or drop them',
        )
    return None
