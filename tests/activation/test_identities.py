"""Raw identities by their keys, out of the vault: what is wanted, and nothing that is gone."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest

from activation import people
from activation.people import identities_of
from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.vault import open_vault
from ingestion.vault.vault import NewEnvelope
from tests.support.erasure import AT, message, receive, web_lead, webhook

BSUID = "BR.1000000000000001"


@pytest.fixture
def names(settings: Settings) -> Pseudonymizer:
    return Pseudonymizer.from_settings(settings)


def read(settings: Settings, wanted: dict[int, set[str | None]]) -> dict[str, str]:
    vault = open_vault(settings.vault_url)
    try:
        return identities_of(
            vault, settings, {seq: {k for k in keys if k} for seq, keys in wanted.items()}
        )
    finally:
        vault.close()


def test_every_kind_of_identity_is_found_by_its_key(
    settings: Settings, names: Pseudonymizer
) -> None:
    phone = "5511987654321"
    contact = {"id": "8812", "properties": {"email": "b@example.com"}, "history": []}
    crm = {"object": "contacts", "read_at": "2026-05-11T09:00:00Z", "records": [contact]}
    chat = webhook(contacts=[(phone, BSUID)], messages=[message(phone, 1)])
    form = orjson.dumps(web_lead("form-17", email="Ana@Example.com", phone="(11) 3333-4444"))
    receive(settings, [chat, form], AT)
    vault = open_vault(settings.vault_url)
    vault.append([NewEnvelope(AT * 1_000_000, "hubspot", orjson.dumps(crm))])
    vault.close()
    keys = {
        names.phone(phone): "+5511987654321",
        names.bsuid(BSUID): BSUID,
        names.email("ana@example.com"): "Ana@Example.com",
        names.phone("551133334444"): "+551133334444",
        names.web_lead("form-17"): "form-17",
        names.crm_record("hubspot", "contact:8812"): "contact:8812",
    }
    found = read(settings, {seq: set(keys) for seq in (1, 2, 3)})
    assert {key: raw.casefold() for key, raw in found.items()} == {
        key: raw.casefold() for key, raw in keys.items() if key
    }


def test_only_what_is_wanted_is_remembered(settings: Settings, names: Pseudonymizer) -> None:
    phones = [f"551198765{n:04d}" for n in range(5)]
    receive(settings, [webhook(messages=[message(p, 1)]) for p in phones])
    assert read(settings, {2: {names.phone(phones[1])}}) == {
        names.phone(phones[1]): f"+{phones[1]}"
    }
    assert read(settings, {}) == {}
    assert read(settings, {2: {names.phone(phones[4])}, 99: {names.phone(phones[3])}}) == {}


def test_purged_and_emptied_bodies_tell_nothing(settings: Settings, names: Pseudonymizer) -> None:
    phones = ["551198765001", "551198765002", "551198765003"]
    receive(settings, [webhook(messages=[message(p, 1)]) for p in phones], AT)
    vault = open_vault(settings.vault_url)
    vault.purge_bodies(datetime(2030, 1, 1, tzinfo=UTC), 1)
    vault.erase_bodies([2])
    vault.close()
    wanted = {seq: {names.phone(p)} for seq, p in enumerate(phones, 1)}
    assert read(settings, wanted) == {names.phone(phones[2]): f"+{phones[2]}"}


def test_far_apart_and_near_ones_are_found_alike(
    settings: Settings, names: Pseudonymizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "GAP", 3)
    phones = [f"551198765{n:04d}" for n in range(40)]
    receive(settings, [webhook(messages=[message(p, 1)]) for p in phones])
    wanted = {seq: {names.phone(phones[seq - 1])} for seq in (1, 2, 5, 9, 30, 31, 40)}
    found = read(settings, wanted)
    assert found == {names.phone(phones[seq - 1]): f"+{phones[seq - 1]}" for seq in wanted}
    assert list(people._ranges(sorted(wanted))) == [(1, 5), (9, 9), (30, 31), (40, 40)]
