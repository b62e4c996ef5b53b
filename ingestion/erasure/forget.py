"""Erase one person from everything that was collected; counts stay.

A person is the given identity and all that the event log connects with it (rule R4). The marts
are built anew after it by a refresh (`orchestration.forget`).
"""

from __future__ import annotations

import logging
import re
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from ctwa.lock import refresh_lock
from ctwa.phones import DEFAULT_COUNTRY, PhoneError, typed_phone
from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.backup import complete_backups
from ingestion.erasure.closure import messages_between
from ingestion.erasure.ledger import FILE, Erasure, Ledger, marker
from ingestion.erasure.outbound import make_nobodys
from ingestion.erasure.people import Person
from ingestion.erasure.rows import DATASET
from ingestion.erasure.steps import Erased, Stores, carry_out, look, marks_of, phones_of, who
from ingestion.lake import Lake
from ingestion.sources.event_log import land_event_log
from ingestion.webhook.vault import Vault

log = logging.getLogger(__name__)


class IdentityError(ValueError):
    """The identity that was given cannot be anybody's; the text names the option and the mend."""


@dataclass(frozen=True, slots=True)
class SpareHolder:
    """Another person who had, or has, a number of the erased one; nothing of them was erased."""

    messages: int
    """Different messages that show the number in their time."""
    since: date | None
    until: date | None
    """Days of the changes in the reporting time zone; None: from the start, until now."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What `forget_person` did, and which copies it cannot reach."""

    erased: Erased
    needs_refresh: bool
    """Published marts may still show an erased person until the next refresh publishes."""
    backups: list[Path] = field(default_factory=list)
    """Backups made before: they hold the person until they are deleted."""
    spared: list[SpareHolder] = field(default_factory=list)

    @property
    def is_known(self) -> bool:
        """Whether there was anything of the person."""
        return bool(self.erased.identities or self.erased.bodies)


def identity_key(
    names: Pseudonymizer,
    *,
    phone: str | None = None,
    bsuid: str | None = None,
    email: str | None = None,
    default_country: str = DEFAULT_COUNTRY,
) -> str:
    """Key of the one identity given, a phone as somebody typed it. Raises `IdentityError`.

    `bsuid` is somebody on Messenger or Instagram too: `messenger:<page id>:<their id>`.
    """
    given = [(o, v) for o, v in (("phone", phone), ("bsuid", bsuid), ("email", email)) if v]
    if len(given) != 1:
        raise IdentityError("give exactly one of --phone, --bsuid, --email")
    option, value = given[0]
    if option == "bsuid" and (chat := _CHAT.fullmatch(value.strip())):
        return names.scoped_id(*chat.groups())
    try:
        value = typed_phone(value, default_country) if option == "phone" else value
    except PhoneError:
        raise IdentityError(f"--phone: {_EXPECTED[option]}") from None
    key = {"phone": names.phone, "bsuid": names.bsuid, "email": names.email}[option](value)
    if key is None or (option == "bsuid" and "." not in value):
        raise IdentityError(f"--{option}: {_EXPECTED[option]}")
    return key


_CHAT = re.compile(r"(messenger|instagram):(\d+):(\d+)")
"""Somebody on Messenger or Instagram: the app, the page's or account's id, and theirs."""

_EXPECTED = {
    "phone": "expected a full number with its country code, such as +55 11 98765-4321",
    "bsuid": "expected a business-scoped user id with its country, such as BR.1A2B3C4D5E6F7G8H",
    "email": "expected an e-mail address, such as ana@example.com",
}


def forget_person(
    settings: Settings,
    *,
    phone: str | None = None,
    bsuid: str | None = None,
    email: str | None = None,
    before: date | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Forgotten:
    """Erase one person from vault, lake and warehouse; also when a run before was killed.

    Lands what waits in the vault first, so that nothing of other people is lost. Somebody unknown
    is recorded all the same: a replay must not bring them. Of a phone that changed hands (E28) the
    present holder is meant, or who held it before the day `before`, of the reporting time zone.
    Raises `IdentityError`, `RefreshBusyError`, `SourceError`, `VaultError`.
    """
    names = Pseudonymizer.from_settings(settings)
    zone = ZoneInfo(settings.reporting_timezone)
    if before and not phone:
        raise IdentityError("--before says which holder of a phone is meant: give it with --phone")
    on = datetime.combine(before, time(), zone) - timedelta(microseconds=1) if before else None
    key = identity_key(
        names, phone=phone, bsuid=bsuid, email=email, default_country=settings.default_country
    )
    with refresh_lock(settings.lock_path):
        land_event_log(settings)
        ledger = Ledger.of(settings)
        vault = Vault.open(settings.vault_url)
        try:
            stores = Stores(settings, Lake.from_settings(settings), vault, names, ledger)
            at = _time_of(stores.lake, now())
            person = who(stores, {key}, at, on=on)
            spared = _spared(stores, person, at, zone)
            erased = _erase(stores, person, at)
        finally:
            vault.close()
        _keep_beside_backups(settings, ledger)
    needs_refresh = bool(ledger.in_state("erased"))
    return Forgotten(erased, needs_refresh, _backups_before(settings, at), spared)


def repeat_all(settings: Settings) -> int:
    """Carry out every erasure of the ledger again; their number.

    For a vault or lake that was restored by other means than `ctwa restore`.
    """
    with refresh_lock(settings.lock_path):
        ledger = Ledger.of(settings)
        ledger.move("erased", "pending")
        ledger.move("done", "pending")
        land_event_log(settings)
        return len(ledger.erasures)


def _time_of(lake: Lake, now: datetime) -> datetime:
    """The erasure's time: after all that has landed, also where the receiver's clock is ahead.

    By an hour at most: a replayed file may claim any time of receipt.
    """
    latest = lake.query(
        "select epoch_us(max(received_at)) as us from {e}", e=f"{DATASET}/envelopes"
    )["us"][0].as_py()
    if latest is None:
        return now
    after = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=latest + 1)
    return max(now, min(after, now + timedelta(hours=1)))


def _spared(stores: Stores, person: Person, at: datetime, zone: ZoneInfo) -> list[SpareHolder]:
    def day(moment: datetime | None) -> date | None:
        return moment and moment.astimezone(zone).date()

    counted = (
        (messages_between(stores.lake, o.phone_key, o.period, at), o.period) for o in person.others
    )
    return [SpareHolder(n, day(p.since), day(p.until)) for n, p in counted if n]


def _erase(stores: Stores, person: Person, at: datetime) -> Erased:
    found = look(stores, person, frozenset(), at)
    marks, phones = marks_of(stores.names, found), phones_of(stores.names, person)
    known = stores.ledger.covering(marks, phones)
    if not found.seqs and not found.bodies:
        erasure = known or Erasure(secrets.token_hex(8), at, "done", marks, phones)
        stores.ledger.put(replace(erasure, at=max(at, erasure.at)))
        make_nobodys(stores.settings, erasure, marker(stores.names))
        return Erased(0, found.counts(), 0)
    erasure = Erasure(secrets.token_hex(8), at, "pending", marks, phones)
    stores.ledger.put(erasure)
    return carry_out(stores, erasure, found)


def _keep_beside_backups(settings: Settings, ledger: Ledger) -> None:
    """A copy where `ctwa restore` looks: backups made before know nothing of this erasure."""
    if settings.backup_dir is None or not settings.backup_dir.is_dir():
        return
    try:
        shutil.copy2(ledger.path, settings.backup_dir / FILE)
    except OSError as error:
        log.warning(
            "the ledger of erasures could not be copied to %s (%s): copy %s there yourself",
            settings.backup_dir, error.strerror, ledger.path,
        )  # fmt: skip


def _backups_before(settings: Settings, at: datetime) -> list[Path]:
    if settings.backup_dir is None or not settings.backup_dir.is_dir():
        return []
    moment = at.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    return [b for b in complete_backups(settings.backup_dir) if b.name < moment]
