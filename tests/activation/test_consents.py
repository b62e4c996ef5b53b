"""Consent that was withdrawn between the build and the sending (E72)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest

from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.vault import open_vault
from ingestion.vault.vault import NewEnvelope, VaultError
from keeping.erasure.steps import land
from tests.activation.conftest import Meta
from tests.support.erasure import ANA, ANA_ID, BIA
from tests.support.outbox import NOW, due, write_outbox


def _say(settings: Settings, given: bool, minutes: int = 0, **who: str) -> None:
    """A word of consent comes into the vault."""
    at = NOW + timedelta(minutes=minutes)
    body = orjson.dumps({"given": given, "declared_at": at.isoformat(), **who})
    vault = open_vault(settings.vault_url)
    try:
        vault.append([NewEnvelope(int(at.timestamp() * 1_000_000), "consents", body)])
    finally:
        vault.close()


@pytest.fixture
def ana(meta: Meta) -> dict[str, object]:
    """A due event of Ana's, whose click showed her phone."""
    names = Pseudonymizer.from_settings(meta.settings)
    return due(1, phone_key=names.phone(ANA), bsuid_key=names.bsuid(ANA_ID))


@pytest.mark.parametrize("who", [{"phone": f"+{ANA}"}, {"user_id": ANA_ID}])
def test_e72_consent_withdrawn_since_the_build_is_seen_before_anything_is_sent(
    meta: Meta, ana: dict[str, object], who: dict[str, Any]
) -> None:
    write_outbox(meta.settings, [ana, due(2)])
    _say(meta.settings, False, **who)
    counts = meta.send()
    assert (counts.sent, counts.skipped) == (1, {"consent_withdrawn": 1})
    assert meta.told()[str(ana["conversion_event_id"])] == ("skipped", "consent_withdrawn")


def test_e72_it_stops_what_waited_for_meta(meta: Meta, ana: dict[str, object]) -> None:
    meta.options["meta_graph_url"] = "http://127.0.0.1:9"
    assert meta.send([ana], patience=0).pending == 1
    meta.options.clear()
    _say(meta.settings, False, phone=f"+{ANA}")
    assert meta.send().skipped == {"consent_withdrawn": 1}
    assert meta.api.calls == []


def test_e72_the_latest_word_counts_and_at_one_instant_the_withdrawal(
    meta: Meta, ana: dict[str, object]
) -> None:
    _say(meta.settings, False, phone=f"+{ANA}", minutes=-2)
    _say(meta.settings, True, phone=f"+{ANA}", minutes=-1)
    assert meta.send([ana]).sent == 1
    _say(meta.settings, False, phone=f"+{ANA}", minutes=-1)
    later = ana | {"conversion_event_id": "b" * 32, "funnel_stage": "won", "occurrence": "d",
                   "outcome_key": "o", "value": "1", "currency": "BRL"}  # fmt: skip
    assert meta.send([later]).skipped == {"consent_withdrawn": 1}


def test_another_persons_word_and_one_that_the_build_knows_change_nothing(
    meta: Meta, ana: dict[str, object]
) -> None:
    _say(meta.settings, False, phone=f"+{ANA}")
    land(meta.settings)  # the models speak of it from now on
    _say(meta.settings, False, phone=f"+{BIA}")
    assert meta.send([ana]).sent == 1


def test_e72_without_the_vault_nothing_is_sent(meta: Meta, ana: dict[str, object]) -> None:
    write_outbox(meta.settings, [ana])
    meta.options["vault_url"] = "sqlite:////dev/null/vault.db"
    with pytest.raises(VaultError):
        meta.send()
    assert meta.api.calls == []
