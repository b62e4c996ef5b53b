"""Is this vault the one the lake was filled from, and the one that the receiver fills?

`adopt_vault` continues with a vault that the lake was not filled from. Two programs with two data
directories each look healthy on their own: one acknowledges webhooks, the other finds none. So the
receiver says at `/readyz` which vault it fills and since when a body has been waiting in it, and
`look_at_receiver` compares.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, NamedTuple

import requests

from ctwa.lock import database_of, refresh_lock
from ctwa.pseudonym import KEY_NOTE, Pseudonymizer
from ctwa.settings import Settings
from ctwa.shared import set_note
from ingestion.identity.erased import Ledger, marker
from ingestion.lake.lake import Lake
from ingestion.parser.envelopes import damaged_digest
from ingestion.parser.schema import EVENT_LOG
from ingestion.source import SourceError
from ingestion.vault import open_vault
from ingestion.vault.vault import Vault, VaultDamagedError, VaultError

DATASET = "event_log"


class Adopted(NamedTuple):
    """`lake`: its newest envelope; `common`: the last one that the vault has too; `moved`: how many
    envelopes of the vault got a new number after the lake's."""

    lake: int
    common: int
    moved: int


class VaultMismatchError(SourceError):
    """Vault and lake are not from the same installation; continuing would lose or repeat
    envelopes."""


def check_same_vault(
    lake: Lake, vault: Vault, names: Pseudonymizer, watermark: int, ledger: Ledger
) -> None:
    """The lake's newest envelope must be the vault's, byte for byte, under the same key.

    Compared by the hash that the vault keeps of every body, so this works for purged bodies too. An
    erased envelope has no hash, in the vault or in the lake: then the newest one before it decides.
    """
    last = vault.last_seq()
    if last < watermark:
        raise VaultMismatchError(
            f"the lake holds envelopes up to {watermark}, the vault only up to {last}: the vault "
            f"is older than the lake (a restored backup?) or new (lost?). Restore both from one "
            f"backup (`ctwa restore`), or continue with what is here: {_ADOPT}"
        )
    is_erased = _erased_bodies(ledger, names)
    try:
        seq, digest = vault.newest_digest(watermark)
        while digest is not None:
            if _is_of(lake, names, seq, digest):
                return
            if not is_erased(seq, digest) and not _is_damaged(vault, seq):
                break
            seq, digest = vault.newest_digest(seq - 1)
    except VaultDamagedError:
        return  # the landing skips what cannot be read, and reports it
    if digest is not None:
        _check_same_key(lake, vault, names, watermark)
        raise VaultMismatchError(
            f"envelope {seq} of the vault is not envelope {seq} of the lake: CTWA_VAULT_URL or "
            f"CTWA_LAKE_URL names another installation's, or the vault was lost, or restored from "
            f"an older backup, and has taken envelopes since. Restore the settings, or continue "
            f"with this lake and this vault: {_ADOPT}"
        )


def check_nothing_is_purged(settings: Settings, vault: Vault, watermark: int) -> None:
    """Raise `VaultMismatchError` if bodies that this lake lacks are purged.

    They had landed on another host. Without them leads would change their source, here and in the
    CRM.
    """
    if database_of(settings) and (purged := vault.purged_after(watermark)):
        ends = f"ends at envelope {watermark:,}" if watermark else "is empty"
        raise VaultMismatchError(
            f"the lake {settings.lake_url} {ends}, and {purged:,} later bodies of the vault are "
            "purged, which the lake of another host has: set CTWA_LAKE_URL to a bucket for all "
            "hosts, or copy that lake here. To go on with what the vault still has: "
            "`ctwa refresh --reparse`"
        )


def _check_same_key(lake: Lake, vault: Vault, names: Pseudonymizer, watermark: int) -> None:
    """If envelopes with the same number, microsecond and size all have different hashes, the key
    differs. Raises `VaultMismatchError`: with another key every person would be a new person.
    """
    sql = "select seq, epoch_us(received_at) as at_us, size, body_key from {e}"
    known = {
        (row["seq"], row["at_us"], row["size"]): row["body_key"]
        for row in lake.query(sql, e=f"{DATASET}/envelopes").to_pylist()
    }
    receipts = {r[:3]: names.digest("body", r[3].hex()) for r in vault.receipts(watermark) if r[3]}
    same = receipts.keys() & known.keys()
    if len(same) * 2 > len(receipts) and all(receipts[r] != known[r] for r in same):
        raise VaultMismatchError(
            "the lake was made with another key of the hashes: pii.key, or CTWA_PII_KEY, has "
            "changed or is corrupted. Restore it from a backup: with this key every person would "
            "be a new person"
        )


def _is_of(lake: Lake, names: Pseudonymizer, seq: int, digest: bytes) -> bool:
    """Whether the lake's envelope with that number was made from the body with this hash."""
    found = lake.query(
        f"select distinct body_key from {{e}} where seq = {seq:d}",  # noqa: S608
        e=f"{DATASET}/envelopes",
    )["body_key"].to_pylist()
    same = digest.hex(), damaged_digest(seq)
    return found in ([names.digest("body", key)] for key in same)


_ADOPT = (
    "`ctwa adopt-vault` gives what this vault has taken since numbers after the lake's; "
    "nothing in the lake is lost"
)


def adopt_vault(settings: Settings) -> Adopted:
    """Continue with this lake and a vault that is not the one it was filled from.

    For a vault that was lost, or restored from an older backup: what the vault took since gets
    numbers after the lake's, in the same order, so that the next landing reads all of it once.
    Envelopes that both know stay as they are. Repeating it is harmless: nothing is left to number.
    The receiver may run. Raises `VaultMismatchError` if the key of the hashes is a different one.
    """
    with refresh_lock(settings):
        lake = Lake.from_settings(settings)
        lake.ensure(DATASET, EVENT_LOG)
        lake.sweep(DATASET)
        watermark = lake.max_value(DATASET, "envelopes", "seq")
        names = Pseudonymizer.from_settings(settings)
        with closing(open_vault(settings.vault_url)) as vault:
            ledger = Ledger.of(settings)
            common = _common(lake, vault, names, watermark, ledger)
            if not common:
                _check_same_key(lake, vault, names, watermark)
            if common != watermark and ledger.erasures:
                # An older vault has bodies that were emptied since, and the ledger names envelopes
                # by number; pending erasures find theirs again. This comes before the numbers
                # change: after a kill, nothing would show that they did.
                ledger.bodies = {seq for seq in ledger.bodies if seq <= common}
                ledger.move("erased", "pending")
                ledger.move("done", "pending")
                ledger.save()
            moved = 0 if common == watermark else vault.renumber(common, watermark)
        if database_of(settings):
            set_note(settings, KEY_NOTE, names.digest("host", "key"))
        return Adopted(watermark, common, moved)


def _common(lake: Lake, vault: Vault, names: Pseudonymizer, watermark: int, ledger: Ledger) -> int:
    """The last envelope up to which vault and lake share a history; 0 if they share none."""
    keys = dict(
        zip(
            *lake.query("select seq, body_key from {e}", e=f"{DATASET}/envelopes")
            .to_pydict()
            .values(),
            strict=True,
        )
    )
    is_erased, common = _erased_bodies(ledger, names), 0
    for seq, digest in vault.digests(watermark):
        same = digest.hex(), damaged_digest(seq)
        if (
            digest
            and keys.get(seq) not in [names.digest("body", key) for key in same]
            and not is_erased(seq, digest)
            and not _is_damaged(vault, seq)
        ):
            return common
        common = seq
    return common


def _is_damaged(vault: Vault, seq: int) -> bool:
    """Whether a body and its hash contradict each other: then they do not identify the vault."""
    found = vault.read_batches(seq - 1, up_to_seq=seq)
    return any(batch.column("damage").is_valid().to_pylist()[0] for batch in found)


def _erased_bodies(ledger: Ledger, names: Pseudonymizer) -> Callable[[int, bytes], bool]:
    """Whether an erasure removed the body: then the lake has another hash, which agrees with any.
    An older vault that was restored still has the body and its own hash."""
    mark = marker(names)
    marks = frozenset().union(*(e.marks for e in ledger.erasures.values()))

    def is_erased(seq: int, digest: bytes) -> bool:
        return seq in ledger.bodies or mark(names.digest("body", digest.hex())) in marks

    return is_erased


# ---- the receiver's vault -----------------------------------------------------------------------

MAX_WAIT = timedelta(hours=30)
"""A night and some hours: no refresh reads a body that has waited longer."""
_SECONDS = 5.0
_ONE_PLACE = (
    "give receiver, Dagster and `ctwa refresh` the same CTWA_DATA_DIR and CTWA_VAULT_URL, as the "
    "units of deploy/systemd do; a refresh with the other vault's settings lands what is in it"
)


@dataclass(frozen=True, slots=True)
class Filled:
    """What was found. `off`: the receiver does not answer, or does not say."""

    status: Literal["ok", "warn", "off"]
    found: str
    fix: str = ""


def look_at_receiver(settings: Settings, url: str, now: datetime) -> Filled:
    """Ask the receiver at `url`, and the vault of these settings. Never raises."""
    kind, is_file, path = settings.vault_url.partition("sqlite:///")
    if is_file and not kind and not Path(path.partition("?")[0]).exists():
        return Filled("off", "there is no vault yet")
    try:
        with closing(open_vault(settings.vault_url)) as vault:
            own, waiting = vault.identity(), vault.waiting_since()
    except VaultError as error:
        return Filled("off", str(error))
    answer = _ready_answer(url)
    if answer is None:
        return _late(f"no receiver answers at {url}", waiting, now, otherwise="off")
    other = answer.get("vault")
    if not other:
        return _late(f"the receiver at {url} does not say", waiting, now, otherwise="off")
    if other != own:
        since = answer.get("waiting_since")
        since = f", with bodies waiting since {since}" if since else ""
        found = f"the receiver at {url} fills another vault than the refresh reads{since}"
        return Filled("warn", found, _ONE_PLACE)
    return _late("the receiver fills the vault that the refresh reads", waiting, now)


def _late(
    found: str,
    waiting: datetime | None,
    now: datetime,
    otherwise: Literal["ok", "off"] = "ok",
) -> Filled:
    if waiting is None or now - waiting < MAX_WAIT:
        return Filled(otherwise, found)
    return Filled(
        "warn",
        f"{found}; bodies have been waiting in it since {waiting:%Y-%m-%d %H:%M} UTC, and no "
        "refresh has landed them",
        "see why the nightly refresh does not land them: its last run in `ctwa dev`, or run "
        "`ctwa refresh`",
    )


def _ready_answer(url: str) -> dict[str, str] | None:
    """The lines of `/readyz` as names and values; None if no receiver answers that it is ready."""
    try:
        answer = requests.get(f"{url}/readyz", timeout=_SECONDS, allow_redirects=False)
    except requests.RequestException:
        return None
    if answer.status_code != 200:
        return None
    pairs = (line.partition(" ") for line in answer.text[:2000].splitlines()[1:])
    return {name: value for name, _, value in pairs if value}
