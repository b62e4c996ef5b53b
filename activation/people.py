"""People as the vault knows them at the moment of sending: who a lead is, who withdrew consent.

Keys are one-way, so the envelopes that showed them are parsed again with a `Pseudonymizer` that
remembers what it hashed. Raw values live in memory only: in no log, error or ledger. An envelope
whose body was purged or erased gives none.

The models know every declaration of consent that had landed when they were built. What has reached
the vault since then is parsed here, in memory (E72); nothing is landed, the next run does that.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ctwa import number_plans
from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.lake.lake import Lake
from ingestion.parser import Parser
from ingestion.vault import open_vault
from ingestion.vault.vault import Vault

GAP = 64
"""Up to this many unwanted envelopes in a row are read as well: cheaper than another query."""

_NOT_DIGIT = re.compile(r"\D+")


class Remembering(Pseudonymizer):
    """Makes the usual keys; `seen` has the raw values of the wanted ones.

    Phones are `+` and digits, CRM records the CRM's own id (`contact:8812`), other values as the
    payload has them. Of several spellings, the last one parsed counts.
    """

    __slots__ = ("_wanted", "seen")

    @classmethod
    def of(cls, settings: Settings, wanted: Collection[str]) -> Remembering:
        """With this installation's key, for these keys."""
        found = cls.from_settings(settings)
        assert isinstance(found, cls)
        found._wanted = frozenset(wanted)
        found.seen = {}
        return found

    _wanted: frozenset[str]
    seen: dict[str, str]

    def phone(self, phone: str) -> str | None:
        """Remembers the number as E.164, if the payload has all of it."""
        return self._note(super().phone(phone), _e164(phone))

    def phones(self, phone: str) -> tuple[str | None, list[str]]:
        """As `phone`: the parser asks for both kinds of keys at once."""
        key, older = super().phones(phone)
        return self._note(key, _e164(phone)), older

    def bsuid(self, bsuid: str) -> str | None:
        """Remembers the id as it came."""
        return self._note(super().bsuid(bsuid), bsuid.strip())

    def email(self, email: str) -> str | None:
        """Remembers the address as it came."""
        return self._note(super().email(email), email.strip())

    def web_lead(self, lead_id: str) -> str:
        """Remembers the form's own id."""
        key = super().web_lead(lead_id)
        self._note(key, lead_id.strip())
        return key

    def crm_record(self, system: str, record: str) -> str:
        """Remembers the CRM's id of the record."""
        key = super().crm_record(system, record)
        self._note(key, record)
        return key

    def _note(self, key: str | None, raw: str) -> str | None:
        if key in self._wanted and key is not None:
            self.seen[key] = raw
        return key


def _e164(phone: str) -> str:
    digits = _NOT_DIGIT.sub("", phone)
    return f"+{number_plans.current(digits.removeprefix('00'))}"


def identities_of(
    vault: Vault, settings: Settings, wanted: Mapping[int, Collection[str]]
) -> dict[str, str]:
    """Raw values by key, from the envelopes that show them; `wanted`: keys by `seq`.

    Keys that are no longer in the vault, or not in that envelope, are left out.
    """
    names = Remembering.of(settings, {key for keys in wanted.values() for key in keys})
    parser = Parser(names, settings.default_country, settings.site_id)
    seqs = pa.array(sorted(wanted), pa.int64())
    for first, last in _ranges(sorted(wanted)):
        for batch in vault.read_batches(first - 1, up_to_seq=last):
            parser.parse(batch.filter(pc.is_in(batch.column("seq"), value_set=seqs)))
    return names.seen


def _ranges(seqs: list[int]) -> Iterator[tuple[int, int]]:
    """First and last `seq` of each range to read in one query."""
    if not seqs:
        return
    first = last = seqs[0]
    for seq in seqs[1:]:
        if seq - last > GAP:
            yield first, last
            first = seq
        last = seq
    yield first, last


_KEYS = ("phone_key", "bsuid_key", "email_key")


def withdrawn_since(settings: Settings, people: Mapping[str, set[str]]) -> set[str]:
    """Those of `people` (name to identity keys) whose latest declaration since the landing is a
    withdrawal.

    Raises `VaultError` where the vault cannot be read: nothing may be sent then.
    """
    if not people:
        return set()
    wanted: dict[str, list[str]] = defaultdict(list)
    for name, keys in people.items():
        for key in keys:
            wanted[key].append(name)
    latest: dict[str, tuple[Any, bool]] = {}
    for declared in _declared_since(settings):
        # At the same instant the withdrawal counts, so it sorts last.
        at_and_no = (declared["declared_at"], not declared["is_given"])
        for name in {name for column in _KEYS for name in wanted.get(declared[column] or "", ())}:
            latest[name] = max(at_and_no, latest.get(name, at_and_no))
    return {name for name, (_, is_withdrawn) in latest.items() if is_withdrawn}


def _declared_since(settings: Settings) -> list[dict[str, Any]]:
    """Rows of `consents` in envelopes that have not landed."""
    landed = Lake.from_settings(settings).max_value("event_log", "envelopes", "seq")
    names = Pseudonymizer.from_settings(settings)
    parser = Parser(names, settings.default_country, settings.site_id)
    vault = open_vault(settings.vault_url)
    try:
        return [
            row
            for batch in vault.read_batches(landed)
            for row in parser.parse(batch)["consents"].to_pylist()
        ]
    finally:
        vault.close()


__all__ = ["Remembering", "identities_of", "withdrawn_since"]
