"""Erase one person from everything that was collected; counts stay.

A person is the given identity and everything that the event log connects with it (rule R4). A
refresh rebuilds the marts afterwards (`orchestration.forget`).
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

from ctwa.errors import CtwaError
from ctwa.lock import refresh_lock
from ctwa.phones import DEFAULT_COUNTRY, PhoneError, typed_phone
from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.identity.erased import FILE, Erasure, Ledger, marker
from ingestion.lake.lake import Lake
from ingestion.vault import open_vault
from keeping.backup import complete_backups
from keeping.erasure.anonymous import erase_sent
from keeping.erasure.person import DATASET, Person
from keeping.erasure.steps import Erased, Stores, carry_out, land, look, marks_of, phones_of, who
from keeping.erasure.traces import messages_between

log = logging.getLogger(__name__)


class IdentityError(CtwaError):
    """The given value is not an identity. The text names the option and what it expects."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class SpareHolder:
    """Another person who had, or has, a number of the erased one, and was not erased."""

    messages: int
    """Messages that show the number during that person's time."""
    since: date | None
    until: date | None
    """Days when the number changed hands, in the reporting time zone; None: open-ended."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What `forget_person` did, and which copies it could not reach."""

    erased: Erased
    needs_refresh: bool
    """Published marts may still show an erased person until the next refresh publishes."""
    backups: list[Path] = field(default_factory=list)
    """Backups made before: they contain the person until they are deleted."""
    spared: list[SpareHolder] = field(default_factory=list)
    copies: list[Path] = field(default_factory=list)
    """Damaged vaults that a repair left beside the new one."""

    @property
    def is_known(self) -> bool:
        """Whether anything of the person was found."""
        return bool(self.erased.identities or self.erased.bodies)


def identity_key(
    names: Pseudonymizer,
    *,
    phone: str | None = None,
    bsuid: str | None = None,
    email: str | None = None,
    default_country: str = DEFAULT_COUNTRY,
) -> str:
    """Key of the one identity given; a phone as somebody typed it. Raises `IdentityError`.

    `bsuid` may also be somebody on Messenger or Instagram: `messenger:<page id>:<their id>`.
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


def _older_keys(names: Pseudonymizer, phone: str | None, default_country: str) -> list[str]:
    """Keys of the number as it was written before its numbering plan changed (E82)."""
    if phone is None:
        return []
    return names.older_phones(typed_phone(phone, default_country))


_CHAT = re.compile(r"(messenger|instagram):(\d+):(\d+)")
"""Somebody on Messenger or Instagram: app, id of the page or account, their id."""

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
    """Erase one person from vault, lake and warehouse, even if an earlier run was killed.

    First lands what waits in the vault, so that nothing of other people is lost. An unknown person
    is recorded as well: a replay must not bring them back. For a phone that changed hands (E28) the
    present holder is meant, or whoever held it before the day `before` (reporting time zone).
    Raises `IdentityError`, `RefreshBusyError`, `SourceError`, `VaultError`.
    """
    names = Pseudonymizer.from_settings(settings)
    zone = ZoneInfo(settings.reporting_timezone)
    if before and not phone:
        raise IdentityError("--before says which holder of a phone is meant: use it with --phone")
    on = datetime.combine(before, time(), zone) - timedelta(microseconds=1) if before else None
    key = identity_key(
        names, phone=phone, bsuid=bsuid, email=email, default_country=settings.default_country
    )
    with refresh_lock(settings):
        land(settings)
        ledger = Ledger.of(settings)
        vault = open_vault(settings.vault_url)
        try:
            stores = Stores(settings, Lake.from_settings(settings), vault, names, ledger)
            at = _time_of(stores.lake, now())
            person = who(stores, {key}, at, on=on)
            for older_key in _older_keys(names, phone, settings.default_country):
                if older_key not in person.keys:  # no envelope has shown both spellings yet
                    person.add(who(stores, {older_key}, at, on=on))
            spared = _spared(stores, person, at, zone)
            erased = _erase(stores, person, at)
        finally:
            vault.close()
        _copy_beside_backups(settings, ledger)
    needs_refresh = bool(ledger.in_state("erased"))
    return Forgotten(
        erased, needs_refresh, _backups_before(settings, at), spared, damaged_copies(settings)
    )


def repeat_all(settings: Settings) -> int:
    """Carry out every erasure of the ledger again; returns their number.

    For a vault or lake restored by other means than `ctwa restore`.
    """
    with refresh_lock(settings):
        ledger = Ledger.of(settings)
        ledger.move("erased", "pending")
        ledger.move("done", "pending")
        land(settings)
        return len(ledger.erasures)


def _time_of(lake: Lake, now: datetime) -> datetime:
    """The erasure's time: after everything that has landed, even if the receiver's clock is ahead.

    At most an hour from now: a replayed file may claim any time of receipt.
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
        erase_sent(stores.settings, erasure, marker(stores.names))
        return Erased(0, found.counts(), 0)
    erasure = Erasure(secrets.token_hex(8), at, "pending", marks, phones)
    stores.ledger.put(erasure)
    return carry_out(stores, erasure, found)


def _copy_beside_backups(settings: Settings, ledger: Ledger) -> None:
    """Put a copy where `ctwa restore` looks: earlier backups do not know this erasure."""
    if settings.backup_dir is None or not settings.backup_dir.is_dir():
        return
    try:
        shutil.copy2(ledger.path, settings.backup_dir / FILE)
    except OSError as error:
        log.warning(
            "the ledger of erasures could not be copied to %s (%s): copy %s there yourself",
            settings.backup_dir, error.strerror, ledger.path,
        )  # fmt: skip


def damaged_copies(settings: Settings) -> list[Path]:
    """Damaged vaults, with personal data, that `ctwa mend-vault` left beside the new one."""
    file = settings.vault_url.removeprefix("sqlite:///")
    if file == settings.vault_url:
        return []
    path = Path(file).resolve()
    return sorted(path.parent.glob(f"{path.name}.damaged-copy*"))


def _backups_before(settings: Settings, at: datetime) -> list[Path]:
    if settings.backup_dir is None or not settings.backup_dir.is_dir():
        return []
    moment = at.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    return [b for b in complete_backups(settings.backup_dir) if b.name < moment]
