"""Raw identities by their keys: who a lead is, for the systems that must know it.

Keys are one-way, so the envelopes that showed them are parsed again, by the one parser, with a
`Pseudonymizer` that remembers what it hashed. Raw values live in memory only: they are in no log,
no error, no ledger. A body that was purged or emptied tells nothing any more.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.parser.envelopes import Parser
from ingestion.webhook.vault import Vault

GAP = 64
"""Envelopes that nobody asked for, up to so many in a row, are read along: cheaper than one
query more."""

_NOT_DIGIT = re.compile(r"\D+")


class Remembering(Pseudonymizer):
    """Keys as ever; `seen` gives the raw value of those that are wanted.

    Phones are `+` and digits, CRM records the CRM's own id (`contact:8812`), other values as the
    payload has them. Of several spellings the one parsed last counts.
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
        """Remembers E.164, as far as the payload has the whole number."""
        digits = _NOT_DIGIT.sub("", phone)
        return self._note(super().phone(phone), "+" + digits.removeprefix("00"))

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


def identities_of(
    vault: Vault, settings: Settings, wanted: Mapping[int, Collection[str]]
) -> dict[str, str]:
    """Raw value by key, out of the envelopes that show them: `wanted` is `seq` to keys.

    What is no longer in the vault, or not in that envelope, is left out.
    """
    names = Remembering.of(settings, {key for keys in wanted.values() for key in keys})
    parser = Parser(names, settings.default_country, settings.site_id)
    seqs = pa.array(sorted(wanted), pa.int64())
    for first, last in _ranges(sorted(wanted)):
        for batch in vault.read_batches(first - 1, up_to_seq=last):
            parser.parse(batch.filter(pc.is_in(batch.column("seq"), value_set=seqs)))
    return names.seen


def _ranges(seqs: list[int]) -> Iterator[tuple[int, int]]:
    """First and last `seq` of stretches to be read in one go."""
    if not seqs:
        return
    first = last = seqs[0]
    for seq in seqs[1:]:
        if seq - last > GAP:
            yield first, last
            first = seq
        last = seq
    yield first, last


__all__ = ["Remembering", "identities_of"]
