"""The demo's company goes on: what `ctwa demo --serve` posts is taken as Meta's own."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime

from ctwa.settings import Settings
from ingestion.event_log.source import land_event_log
from ingestion.vault import open_vault
from ingestion.vault.vault import NewEnvelope
from ingestion.webhook.server import running
from simulator.company import ADS
from simulator.serving import new_chat, people_writing

SECRET = "0123456789abcdef"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def test_people_write_to_the_receiver_until_the_end(
    make_settings: Callable[..., Settings],
) -> None:
    settings = make_settings(meta_app_secret=SECRET)
    with running(settings) as url, people_writing(url, SECRET, pause=(0.0, 0.01)):
        vault = open_vault(settings.vault_url)
        deadline = time.monotonic() + 60
        while vault.last_seq() < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert vault.last_seq() >= 3
    last = vault.last_seq()
    time.sleep(0.2)
    assert vault.last_seq() == last
    vault.close()


def test_what_they_write_is_a_message_with_an_ad_that_runs(
    make_settings: Callable[..., Settings],
) -> None:
    settings = make_settings()
    rng = random.Random(4)
    bodies = [new_chat(rng, NOW) for _ in range(30)]
    vault = open_vault(settings.vault_url)
    vault.append([NewEnvelope(i + 1, "whatsapp", body) for i, body in enumerate(bodies)])
    vault.close()

    counts = land_event_log(settings)

    assert (counts.messages, counts.quarantined) == (30, 0)
    told = [json.loads(body)["entry"][0]["changes"][0]["value"] for body in bodies]
    ads = {value["messages"][0]["referral"]["source_id"] for value in told}
    assert len(ads) > 1
    assert ads <= {ad.ad_id for ad in ADS if ad.is_resolved}
    assert len({value["contacts"][0]["wa_id"] for value in told}) == 30
