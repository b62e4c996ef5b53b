"""The demo's company goes on: what `ctwa demo --serve` posts is taken as Meta's own."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from ctwa.settings import Settings
from ingestion.event_log.source import land_event_log
from ingestion.vault import open_vault
from ingestion.vault.vault import NewEnvelope
from ingestion.webhook.server import running
from simulator.company import ADS
from simulator.names import Names
from simulator.serving import Newcomers, people_writing

SECRET, OTHER = "0123456789abcdef", "fedcba9876543210"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def test_people_write_to_the_receiver_until_the_end(
    make_settings: Callable[..., Settings],
) -> None:
    settings = make_settings(meta_app_secret=SECRET, intake_secret=OTHER)
    secrets = {"app_secret": SECRET, "intake_secret": OTHER}
    with running(settings) as url, people_writing(url, **secrets, pause=(0.0, 0.01)):
        vault = open_vault(settings.vault_url)
        deadline = time.monotonic() + 60
        waiting = {"whatsapp", "outcomes", "consents"}
        while waiting and time.monotonic() < deadline:
            waiting -= {source for source in waiting if vault.last_received(source, 0)}
            time.sleep(0.05)
        assert waiting == set()
    last = vault.last_seq()
    time.sleep(0.2)
    assert vault.last_seq() == last
    vault.close()


def test_what_they_write_is_taken_and_some_of_it_becomes_conversion_events(
    make_settings: Callable[..., Settings],
) -> None:
    settings = make_settings()
    people = Newcomers(random.Random(4), Names.of("es"))
    posts = [post for turn in range(60) for post in people.turn(NOW + timedelta(minutes=turn))]
    vault = open_vault(settings.vault_url)
    bodies = [
        NewEnvelope(i + 1, path.rpartition("/")[2], body) for i, (path, body) in enumerate(posts)
    ]
    vault.append(bodies)
    vault.close()

    counts = land_event_log(settings)

    told = [json.loads(body) for path, body in posts if path == "/webhooks/outcomes"]
    assert (counts.messages, counts.quarantined) == (60, 0)
    assert counts.outcomes == len(told)
    assert {(one["stage"], "value" in one) for one in told} == {
        ("qualified", False), ("won", True), ("won", False),
    }  # fmt: skip
    written = [json.loads(body) for path, body in posts if path == "/webhooks/whatsapp"]
    values = [body["entry"][0]["changes"][0]["value"] for body in written]
    referrals = [value["messages"][0].get("referral") for value in values]
    assert {ref["source_id"] for ref in referrals if ref} <= {a.ad_id for a in ADS if a.is_resolved}
    assert {(ref is None, "ctwa_clid" in (ref or ())) for ref in referrals} == {
        (False, True), (False, False), (True, False),
    }  # fmt: skip
    assert len({value["contacts"][0]["wa_id"] for value in values}) == 60
    assert "¿Cuánto cuesta?" in {value["messages"][0]["text"]["body"] for value in values}
