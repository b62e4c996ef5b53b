"""A data folder of each release goes on: marts, people, ledgers and key stay as they were.

How the folders were made: `tests/fixtures/upgrade/README.md`. The first build after an upgrade is a
full one, as `ctwa refresh` makes it by itself when the models have changed.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from activation.conversions import send_conversions
from activation.hubspot import write_back
from activation.webhook import post_leads
from comparison.tables import load_comparison
from ctwa import __version__
from ctwa.lock import refresh_lock
from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings, load_settings
from ingestion.event_log.source import land_event_log
from orchestration.rebuild import ready_lake
from orchestration.refresh import refresh
from orchestration.upgrade import upgrade_check
from publishing.marts import publish_marts
from simulator.conversions_api import ConversionsApi, serve_conversions_api
from simulator.delivery import Delivery
from simulator.hubspot_api import WRITE_SCOPES, HubspotApi, serve_hubspot_api
from simulator.hubspot_state import HubspotState
from tests.e2e.installation import receive
from tests.frozen import MODELS, differences, outputs
from tests.support.crm_inbox import Inbox, inbox
from tests.support.upgrade import (
    AD,
    ANA,
    BIA,
    CAIO,
    DATASET,
    DORA,
    FIXTURES,
    OTHER_AD,
    RULES,
    WABA,
    at,
    click_id,
    outcome,
    sending,
    tap,
    unpacked,
)
from tests.support.warehouse import DbtWorld

RELEASES = sorted(path.name.removesuffix(".tar.xz") for path in FIXTURES.glob("*.tar.xz"))
LAST, NEXT = date(2026, 11, 20), date(2026, 11, 21)
"""The folders' marts are as of `LAST`; then a day comes that they know nothing of."""
EVA = "5541987650001"
LEDGERS = ("conversions", "conversions_switch", "crm_contacts", "crm_posts", "crm_posts_switch")

Rows = list[tuple[Any, ...]]


@dataclass
class Sent:
    """What went out in one run: events to Meta, posts to the CRM, calls of HubSpot."""

    events: list[dict[str, Any]]
    posts: list[dict[str, Any]]
    calls: list[str]


@dataclass
class Upgraded:
    """What was seen of the folder: as it was, built by this version, and a day later."""

    differing: dict[str, list[str]]
    """Table -> how it differs after the first build."""
    compared: int
    kept_before: dict[str, Any]
    kept_after: dict[str, Any]
    """Key, erasures, bodies of the vault and rows of the ledgers."""
    sent_again: Sent
    leads_before: dict[str, dict[str, Any]]
    leads: dict[str, dict[str, Any]]
    events: dict[tuple[str, str], tuple[str, str | None]]
    """(lead, stage) -> (status, reason), a day later."""
    sent: Sent
    keys: dict[str, str]
    """Phone -> key, as this version hashes it with the folder's own key file."""


@pytest.fixture(scope="module", params=RELEASES)
def upgraded(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Upgraded]:
    """The folder unpacked, built and sent from, and then the next day's messages."""
    root = tmp_path_factory.mktemp("upgrade")
    unpacked(FIXTURES / f"{request.param}.tar.xz", root)
    with (
        serve_conversions_api({DATASET: {WABA}}) as meta,
        serve_hubspot_api(HubspotState(at(LAST)), scopes=WRITE_SCOPES) as crm,
        inbox() as office,
    ):
        settings = _settings(root / "data", **sending(meta, crm, office))
        installation = Installation(DbtWorld(root, settings=settings), meta, crm, office)
        kept_before = _kept(settings)
        installation.build(LAST, full_refresh=True)
        outputs(root / "found", settings)
        expected = {p.stem: p for p in (root / "expected").iterdir()}
        lines = {
            name: [
                line
                for line in differences(path, root / "found" / path.name)
                if not _is_meant(line)
            ]
            for name, path in expected.items()
        }
        leads_before = installation.leads()
        sent_again = installation.send(at(LAST, 9))
        kept_after = _kept(settings)
        receive(settings, _next_day(), at(NEXT, 3))
        land_event_log(settings)
        installation.build(NEXT)
        sent = installation.send(at(NEXT))
        names = Pseudonymizer.from_settings(settings)
        yield Upgraded(
            {name: found for name, found in lines.items() if found},
            len(expected),
            kept_before,
            kept_after,
            sent_again,
            leads_before,
            installation.leads(),
            installation.events(),
            sent,
            {phone: str(names.phone(phone)) for phone in (ANA, BIA, CAIO, DORA, EVA)},
        )


def _is_meant(line: str) -> bool:
    """What 0.1.0 did not have: a column, rows of new marts; or made of nothing."""
    is_added = line.startswith("  column ") and ": missing / " in line
    changes = line.partition("): ")[2].split("; ")
    meant = (
        "mart_rows: ", "project_version: ", "Decimal('100000000000.000000') / None",
        "chat_qualifies=always,",  # a rule that there was not; its default changes nothing
    )  # fmt: skip
    return is_added or all(
        any(text in change for text in meant) or _is_rounded(change) for change in changes
    )


def _is_rounded(change: str) -> bool:
    """Estimates had as many decimals as their type, and have six significant digits."""
    found = re.fullmatch(r"\w*expected_cost\w*: Decimal\('(.+)'\) / Decimal\('(.+)'\)", change)
    if not found:
        return False
    was, became = map(Decimal, found.groups())
    return abs(was - became) <= Decimal(5).scaleb(was.adjusted() - 6)


def test_every_mart_is_what_it_was(upgraded: Upgraded) -> None:
    assert upgraded.differing == {}
    assert upgraded.compared > 38


def test_vault_ledgers_erasures_and_key_are_used_as_they_were(upgraded: Upgraded) -> None:
    assert upgraded.kept_after == upgraded.kept_before
    before = upgraded.kept_before
    assert before["vault"]
    assert {row[0] for row in before["crm_posts"]} >= {upgraded.keys[ANA], upgraded.keys[BIA]}
    assert len(before["crm_contacts"]) > 5
    assert len(before["conversions"]) > 1


def test_nothing_is_sent_twice(upgraded: Upgraded) -> None:
    assert upgraded.sent_again == Sent([], [], [])


def test_new_messages_reach_the_people_of_before(upgraded: Upgraded) -> None:
    before, leads, keys = upgraded.leads_before, upgraded.leads, upgraded.keys

    assert leads.keys() - before.keys() == {keys[EVA]}
    assert before.keys() - leads.keys() == set()
    assert before[keys[ANA]]["ad_id"] == leads[keys[ANA]]["ad_id"] == AD
    assert before[keys[ANA]]["latest_ad_id"] == AD
    assert leads[keys[ANA]]["latest_ad_id"] == OTHER_AD
    assert leads[keys[DORA]]["is_excluded"]
    assert leads[keys[DORA]]["inbound_messages"] == before[keys[DORA]]["inbound_messages"] + 1


def test_who_was_erased_stays_so_when_their_message_comes_again(upgraded: Upgraded) -> None:
    assert upgraded.keys[CAIO] not in upgraded.leads


def test_only_what_is_new_is_sent(upgraded: Upgraded) -> None:
    events, keys = upgraded.events, upgraded.keys

    assert events[keys[ANA], "qualified"] == ("sent", None)
    assert events[keys[EVA], "qualified"] == ("sent", None)
    assert events[keys[BIA], "won"] == ("skipped", "consent_withdrawn")
    assert [event["user_data"]["ctwa_clid"] for event in upgraded.sent.events] == [click_id(EVA, 5)]
    assert [post["lead_id"] for post in upgraded.sent.posts] == [keys[EVA]]


@pytest.mark.deep
@pytest.mark.timeout(900)
@pytest.mark.parametrize("release", RELEASES)
def test_check_says_what_the_refresh_then_does(tmp_path: Path, release: str) -> None:
    """By the commands' own functions, and on to a version that an older one refuses."""
    settings = _settings(unpacked(FIXTURES / f"{release}.tar.xz", tmp_path))
    before = {finding.subject: finding.found for finding in upgrade_check(settings)}
    result = refresh(settings, as_of=LAST, sources=False)
    after = {finding.subject: finding.found for finding in upgrade_check(settings)}

    written_by = "a version before 0.2.0" if release == "0.1.0" else release
    assert before["data folder"].startswith(f"written last by {written_by}")
    assert "builds every model again" in before["warehouse"]
    assert before["how long"].startswith("unknown")
    assert result.failures == []
    assert after["data folder"].startswith(f"written last by {__version__}")
    assert "nothing is built again; the last refresh took " in after["warehouse"]
    assert after["marts"] == "tables and columns stay as they are"
    settings.warehouse_path.with_name("warehouse.duckdb.build.json").unlink()
    again = {finding.subject: finding.found for finding in upgrade_check(settings)}
    assert again["how long"].startswith("the last one, on ")


@dataclass
class Installation:
    """The folder's lake and warehouse, and whom it sends to."""

    world: DbtWorld
    meta: ConversionsApi
    crm: HubspotApi
    office: Inbox

    def build(self, day: date, *, full_refresh: bool = False) -> None:
        """As a refresh does: ready the lake, build, publish with what stands beside the marts."""
        with refresh_lock(self.world.settings.lock_path):
            ready_lake(self.world.settings)
        self.world.build(*MODELS, tests=False, as_of=day, full_refresh=full_refresh)
        beside = load_comparison(self.world.settings)
        publish_marts(self.world.settings, as_of=day, beside=beside)

    def send(self, now: datetime) -> Sent:
        """One run to each destination; what it was told, which is then forgotten."""
        self.meta.clock = now.timestamp
        self.crm.calls.clear()
        send_conversions(self.world.settings, now=lambda: now)
        post_leads(self.world.settings, now=lambda: now, clock=lambda: 0.0)
        write_back(self.world.settings)
        sent = Sent(self.meta.accepted, self.office.taken, list(self.crm.calls))
        self.meta.accepted, self.office.taken = [], []
        return sent

    def leads(self) -> dict[str, dict[str, Any]]:
        """Rows of `fct_leads` by `lead_id`."""
        return {row["lead_id"]: row for row in self.world.rows("marts.fct_leads")}

    def events(self) -> dict[tuple[str, str], tuple[str, str | None]]:
        """Rows of `conversion_events`: status and reason by lead and stage."""
        rows = self.world.rows("marts.conversion_events")
        return {(r["lead_id"], r["funnel_stage"]): (r["status"], r["reason"]) for r in rows}


def _settings(data: Path, **more: Any) -> Settings:
    rules = data / RULES
    return load_settings(
        _env_file=None,
        CTWA_DATA_DIR=str(data),
        CTWA_SITE_ID="aurora",
        CTWA_EXCHANGE_RATES="ecb",
        CTWA_CHAT_RULES=str(rules) if rules.exists() else None,
        **more,
    )


def _kept(settings: Settings) -> dict[str, Any]:
    """What a new version must go on with: nothing of it can be had again."""
    data = settings.data_dir
    vault = _rows(data / "vault.db", "select seq, received_at_us, source, body from envelopes")
    ledger = data / "activation" / "ledger.db"
    return {
        "key": (data / "pii.key").read_bytes(),
        "erasures": json.loads((data / "erasures.json").read_text()),
        "vault": hashlib.sha256(repr(sorted(vault)).encode()).hexdigest() if vault else "",
        **{table: sorted(_rows(ledger, f"select * from {table}")) for table in LEDGERS},
    }


def _rows(path: Path, sql: str) -> Rows:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def _next_day() -> list[Delivery]:
    """Everybody of the folder again, the erased one's old message too, and somebody new."""
    return [
        tap(ANA, at(NEXT, 1), 6, OTHER_AD),
        tap(CAIO, at(date(2026, 11, 16), 3), 3, AD),
        tap(DORA, at(NEXT, 1), 7),
        tap(EVA, at(NEXT, 1), 5, AD),
        outcome(EVA, at(NEXT, 2), "qualified"),
        outcome(BIA, at(NEXT, 2), "won", value=900, currency="BRL"),
    ]
