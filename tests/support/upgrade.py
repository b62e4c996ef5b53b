"""A data folder as a release leaves it, for `tests/e2e/test_upgrade.py`.

    python -m tests.support.upgrade

makes `tests/fixtures/upgrade/<version>.tar.xz` of the checkout that runs it: once for each release,
at its commit. What is in it is told in the README there.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import tarfile
import tempfile
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import duckdb
from pydantic import SecretStr

from activation.conversions import send_conversions
from activation.conversions_ledger import ensure_states
from activation.hubspot import write_back
from activation.webhook import post_leads
from comparison import restatements
from comparison.credit import compare
from comparison.tables import credit_tables, save_comparison
from ctwa import __version__
from ingestion.crm.hubspot.account import PROPERTIES, create_properties
from ingestion.crm.hubspot.client import HubspotClient
from ingestion.lake.lake import Lake
from ingestion.rates.source import land_ecb_rates
from keeping.data_folder import put_right
from keeping.erasure.forget import forget_person
from orchestration.publication import beside_marts
from orchestration.rebuild import BuildState
from publishing.marts import publish_marts, published_before
from simulator.conversions_api import ConversionsApi, serve_conversions_api
from simulator.delivery import Delivery, deliveries
from simulator.ecb_api import EcbApi, serve_ecb_api
from simulator.hubspot_api import WRITE_SCOPES, HubspotApi, serve_hubspot_api
from simulator.stories_rules import install_rules
from simulator.world import World, build_world
from tests.frozen import MODELS, outputs
from tests.support import worlds
from tests.support.crm_inbox import SECRET, Inbox, inbox
from tests.support.erasure import wamid
from tests.support.worlds import WorldRun, playing

FIXTURES = Path(__file__).parents[1] / "fixtures" / "upgrade"
ANA, BIA, CAIO, DORA = "5511987654321", "5511912345687", "5521976543210", "5531976543211"
"""In the folder: a qualified lead, one who withdrew consent, one who was erased, one of staff."""
WABA, DATASET = "104200000000001", "770000000000001"
AD, OTHER_AD = "120226305854810727", "120226305854810729"
RULES = "chat_rules.yml"
_DAY = timedelta(days=1)
_LEFT_OUT = {"dbt", "work", "refresh.lock", "marts_parquet", "dagster", "dlt"}


def at(day: date, hour: int = 8) -> datetime:
    """An hour of a day, UTC."""
    return datetime.combine(day, time(hour), UTC)


def click_id(phone: str, n: int) -> str:
    """Of the tap that this message tells of."""
    return f"AfClickOf{phone}number{n:04d}"


def tap(phone: str, sent: datetime, n: int, ad: str = "") -> Delivery:
    """A person's message number `n`, by an ad or by none."""
    element: dict[str, Any] = {
        "from": phone,
        "id": wamid(phone, n),
        "timestamp": str(int(sent.timestamp())),
        "type": "text",
        "text": {"body": "oi"},
    }
    if ad:
        element["referral"] = {
            "source_id": ad,
            "source_type": "ad",
            "source_url": f"https://fb.me/{ad}",
            "headline": "Oi",
            "ctwa_clid": click_id(phone, n),
        }
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "551140028922", "phone_number_id": "206600000000011"},
        "contacts": [{"wa_id": phone, "profile": {"name": "x"}}],
        "messages": [element],
    }
    entry = {"id": WABA, "changes": [{"field": "messages", "value": value}]}
    body = {"object": "whatsapp_business_account", "entry": [entry]}
    return Delivery("/webhooks/whatsapp", json.dumps(body).encode())


def outcome(phone: str, when: datetime, stage: str, **more: Any) -> Delivery:
    """What the CRM says of a person."""
    body = {
        "event_id": f"{stage}-{phone}",
        "source": "crm",
        "stage": stage,
        "occurred_at": when.isoformat(),
        "phone": f"+{phone}",
        **more,
    }
    return Delivery("/webhooks/outcomes", json.dumps([body]).encode())


def sending(meta: ConversionsApi, crm: HubspotApi, office: Inbox) -> dict[str, Any]:
    """Settings that send everything there is to send, by field."""
    return {
        "meta_graph_url": meta.url,
        "meta_conversions_token": SecretStr(meta.token),
        "meta_conversions_mode": "live",
        "meta_dataset_ids": {WABA: DATASET},
        "hubspot_url": crm.url,
        "hubspot_token": SecretStr(crm.token),
        "hubspot_write_back": "live",
        "crm_webhook_url": office.url,
        "crm_webhook_secret": SecretStr(SECRET),
    }


# ---- making one ----------------------------------------------------------------------------------


def make(target: Path) -> None:
    """Play a small company for two nights and pack what is left of it."""
    world = build_world(3, leads=1)
    worlds.MARTS = MODELS
    with tempfile.TemporaryDirectory(prefix="upgrade-") as folder:
        root = Path(folder)
        overrides = {
            "CTWA_PII_KEY": None,
            "exchange_rates": "ecb",
            "vault_retention_days": 3650,
            "CTWA_CHAT_RULES": str(install_rules(root / "data")),
        }
        with (
            playing(root, world, **overrides) as run,
            serve_conversions_api({DATASET: {WABA}}) as meta,
            serve_hubspot_api(world.hubspot(at(world.day(1))), scopes=WRITE_SCOPES) as crm,
            serve_ecb_api(_rates(world.today)) as bank,
            inbox() as office,
        ):
            assert run.settings.pii_key is None, "the folder's own key, as installations have it"
            _Played(run, world, meta, crm, office, bank).through()
            outputs(root / "expected", run.settings)
        _pack(root, target)


class _Played:
    """Two nights of a company, an erasure and a comparison of rules."""

    def __init__(
        self,
        run: WorldRun,
        world: World,
        meta: ConversionsApi,
        crm: HubspotApi,
        office: Inbox,
        bank: EcbApi,
    ) -> None:
        self._run, self._own, self._meta, self._crm, self._office = (
            run, run.settings, meta, crm, office,
        )  # fmt: skip
        self._world, self._first, self._last = world, world.day(1), world.day(2)
        self._sends = self._own.model_copy(update=sending(meta, crm, office))
        self._banks = self._own.model_copy(update={"ecb_url": bank.url})

    def through(self) -> None:
        """Switched on while there is nothing; then all that happens."""
        first, last, run = self._first, self._last, self._run
        create_properties(HubspotClient.from_settings(self._sends), PROPERTIES)
        put_right(self._own)
        self._night(1, [], first - 5 * _DAY)
        self._night(1, deliveries(self._world, 1, night=1) + self._people(), first)
        forget_person(self._own, phone=f"+{CAIO}", now=lambda: at(first, 9))
        ensure_states(self._own)
        run.build_marts(first, full_refresh=True)
        self._send(at(first, 9))
        self._publish(first)
        self._night(2, deliveries(self._world, 2, night=2), last)
        self._compare_rules()
        run.build_marts(last)
        self._publish(last)
        BuildState.current(self._own, Lake.from_settings(self._own)).save(self._own)
        sent = (len(self._meta.accepted), len(self._office.taken))
        self._crm.calls.clear()
        self._send(at(last, 9))
        again = (len(self._meta.accepted), len(self._office.taken))
        assert all(sent)
        assert (again, self._crm.calls) == (sent, []), "something was sent twice"
        assert self._meta.wrong == self._crm.wrong == []
        publish_marts(self._own, as_of=last, beside=beside_marts(self._own))

    def _people(self) -> list[Delivery]:
        day, people = self._first, (ANA, BIA, CAIO, DORA)
        return [
            *(tap(p, at(day - 3 * _DAY, n), n, AD) for n, p in enumerate(people, 1)),
            *(outcome(p, at(day - 2 * _DAY), "qualified") for p in (ANA, CAIO, BIA)),
            self._said("/webhooks/consents", BIA, given=False, source="crm"),
            self._said("exclusions", DORA, reason="staff", excluded=True),
        ]

    def _said(self, path: Any, phone: str, **what: Any) -> Delivery:
        body = {"phone": f"+{phone}", "declared_at": at(self._first, 2).isoformat(), **what}
        return Delivery(path, json.dumps([body]).encode())

    def _night(self, number: int, bodies: list[Delivery], today: date) -> None:
        self._run.receive(bodies, today)
        self._run.show(number)
        land_ecb_rates(self._banks, now=lambda: at(today))
        self._run.land(today)
        self._run.build_marts(today)
        self._send(at(today))
        self._publish(today)

    def _send(self, now: datetime) -> None:
        self._meta.clock = now.timestamp
        send_conversions(self._sends, now=lambda: now)
        post_leads(self._sends, now=lambda: now, clock=lambda: 0.0)
        write_back(self._sends)

    def _publish(self, today: date) -> None:
        restatements.record(self._own, published_before(self._own, today), as_of=today)
        publish_marts(self._own, as_of=today, beside=beside_marts(self._own))

    def _compare_rules(self) -> None:
        run, own = self._run, self._own
        aside = own.data_dir.with_name("other") / own.warehouse_path.name
        aside.parent.mkdir()
        run.settings = own.model_copy(update={"warehouse_path": aside, "conversation_gap_days": 7})
        run.build_marts(self._last, full_refresh=True)
        run.settings = own
        tables = credit_tables(
            compare(own.warehouse_path, aside),
            rules_a="current",
            rules_b="conversation_gap_days=7",
            as_of=self._last,
        )
        save_comparison(own, tables)


def _rates(today: date) -> Mapping[tuple[date, str], str]:
    """The bank's rates of its working days."""
    days = [today - n * _DAY for n in range(140)]
    return {
        (day, currency): f"{value}{n % 7}"
        for n, day in enumerate(days)
        if day.weekday() < 5
        for currency, value in (("USD", "1.0"), ("BRL", "6.1"))
    }


def _pack(root: Path, target: Path) -> None:
    for file in (root / "expected").iterdir():  # xz packs better what is not packed yet
        draft = file.with_suffix(".new")
        duckdb.sql(f"copy (from '{file}') to '{draft}' (format parquet, compression uncompressed)")
        draft.replace(file)
    for name in ("vault.db", "activation/ledger.db"):
        with closing(sqlite3.connect(root / "data" / name)) as connection:
            connection.execute("pragma wal_checkpoint(truncate)")

    def nameless(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        name = Path(member.name).name
        if name in _LEFT_OUT or name.startswith(("marts_2", "marts_b")):
            return None
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    with tarfile.open(target, "w:xz", preset=9) as archive:
        for folder in ("data", "expected"):
            archive.add(root / folder, folder, filter=nameless)


def unpacked(fixture: Path, root: Path) -> Path:
    """The folder unpacked below `root`: its data folder."""
    with tarfile.open(fixture, "r:xz") as archive:
        archive.extractall(root, filter="data")
    return root / "data"


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    made = FIXTURES / f"{__version__}.tar.xz"
    if made.exists():
        raise SystemExit(f"{made} is there: a release has one folder, made at its commit")
    make(made)
    print(f"{made}: {made.stat().st_size:,} bytes")
