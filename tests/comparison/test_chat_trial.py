"""`ctwa rules try`: what rules would change, shown before they are switched on; never a text."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from rich.console import Console
from typer.testing import CliRunner

from commands.cli import app
from comparison.report import print_comparison, print_trial
from comparison.sides import RuleError, RuleSet, parse_rules
from ctwa.settings import Settings
from ingestion.event_log.source import land_event_log
from ingestion.event_log.trial import write_signals
from ingestion.lake.lake import Lake
from ingestion.parser.chat_rules import read_chat_rules
from orchestration.chat_trial import try_chat_rules
from tests.dbt.test_chat_rules import RULES, story
from tests.ingestion.parser.payloads import envelope, message
from tests.ingestion.parser.test_lead_forms import lead, notice
from tests.ingestion.test_event_log import deliver
from tests.support.erasure import files_with
from tests.support.warehouse import DbtWorld

DAY = date(2026, 7, 1)
MORE = """
- {id: anything, stage: lead, when: {they_wrote: {pattern: "."}}}
- {id: elsewhere, stage: lead, numbers: ["+55 11 90000-0000"], when: {they_wrote: [agendar]}}
- {id: nowhere, stage: lead, when: {template: [never_sent]}}
- {id: later, stage: lead, valid_from: 2099-01-01, when: {they_wrote: [agendar]}}
- {id: apart, stage: lead, when: {all: [{call_seconds: 60}, {payment: true}]}}
"""


def build(side: RuleSet, warehouse: Path, as_of: date) -> None:
    """One side as `build_side` builds it, by the plan."""
    lake = warehouse.with_suffix(".copy")
    shutil.copytree(side.settings.lake_url, lake)
    if side.chat_rules is not None:
        signals = warehouse.with_suffix(".signals")
        write_signals(side.settings, side.chat_rules, signals)
        shutil.rmtree(lake / "event_log" / "chat_signals")
        shutil.copytree(signals, lake / "event_log" / "chat_signals")
    changed = {"lake_url": str(lake), "warehouse_path": warehouse}
    world = DbtWorld(
        warehouse.parent, as_of=as_of, settings=side.settings.model_copy(update=changed)
    )
    world.build("+fct_leads", "+fct_touches", "+fct_outcomes", "+campaign_performance",
                "+channel_performance", tests=False)  # fmt: skip


CANARY = "hemorroida"
ANSWERS = {
    "full_name": f"Ana {CANARY}", "email": f"{CANARY}@example.com",
    "phone_number": "+5531987650999", "mensagem": CANARY,
}  # fmt: skip


def with_canaries(settings: Settings) -> None:
    """Chats and forms that cannot be read, or not whole, and forms that can."""
    odd: tuple[dict[str, Any], ...] = (
        {"id": None}, {"timestamp": CANARY}, {"from": [CANARY]}, {"type": {CANARY: 1}},
    )  # fmt: skip
    deliver(settings, *(envelope(message(n, text={"body": CANARY}) | o) for n, o in enumerate(odd)))
    deliver(settings, f'{{"object": "{CANARY}'.encode(), notice(page_id=CANARY), source="messenger")
    read = [lead(answers=ANSWERS), lead(answers=ANSWERS, is_test=True)]
    read += [lead(answers=ANSWERS, **{field: CANARY}) for field in ("id", "created_time", "ad_id")]
    read += [{"lead": CANARY}, lead(field_data=[{"name": CANARY, "values": CANARY}, CANARY])]
    deliver(settings, *read, source="meta_lead_forms")


@pytest.fixture
def landed(settings: Settings) -> Settings:
    """An installation without chat rules."""
    deliver(settings, *story().bodies)
    with_canaries(settings)
    assert land_event_log(settings).quarantined >= 8
    return settings


def test_e77_what_rules_would_find_is_shown_without_a_text_and_nothing_is_changed(
    landed: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    path = tmp_path / "rules.yml"
    path.write_text(RULES + MORE)
    rules = read_chat_rules(path, landed.reporting_timezone)
    assert rules.problems == ()
    tried = try_chat_rules(landed, rules, "rules.yml", as_of=DAY, build=build)

    zone = ZoneInfo(landed.reporting_timezone)
    expected = Counter(
        (rule, at.astimezone(zone).date()) for rule, _, at, _, _ in story().truth.elements()
    )
    found = {(r["rule_id"], r["day"]): r["outcomes"] for r in tried.by_day}
    assert {k: n for k, n in found.items() if k[0] != "anything"} == expected
    assert tried.signals.bodies > len(story().bodies)
    assert [note.partition(" ")[0].strip(":") for note in tried.notes] == [
        "anything", "elsewhere", "elsewhere", "nowhere", "later", "apart",
    ]  # fmt: skip
    met, chats = map(int, re.findall(r"\d+", tried.notes[0]))
    assert chats / 2 < met <= chats
    assert tried.notes[4] == "later: its valid_from is later than the last day of this comparison"
    assert tried.notes[5].startswith("apart: each of its conditions is met somewhere")
    assert "no message of the kept bodies is of the number 5511" in tried.notes[1]
    assert "template (never_sent) is met by no message" in tried.notes[3]
    assert len(tried.moved) == 5
    assert [row["stage_after"] for row in tried.moved[:3]] == ["won", "won", "opportunity"]
    gained = [r for r in tried.tables["credit_diff"].to_pylist() if r["change"] == "requalified"]
    assert {r["cause"] for r in gained} == {"chat_rules"}

    console = Console(record=True, width=160)
    print_trial(console, rules.ids, tried.by_day, tried.moved, tried.notes, "BRL")
    print_comparison(console, tried.tables, "", "BRL")
    shown = console.export_text()
    assert "quote" in shown
    assert "nowhere" in shown.partition("Leads that would move most")[0]
    assert tried.moved[0]["lead_id"][:12] in shown
    assert "desculpe" not in shown
    assert "31987" not in shown
    leaks = files_with(landed.data_dir, [CANARY.encode(), b"31987650999", "orçamento".encode()])
    assert {name.partition(".")[0] for name in leaks} == {"vault"}
    told = [shown, caplog.text, str(tried), str([t.to_pylist() for t in tried.tables.values()])]
    assert [CANARY in text or "31987650999" in text for text in told] == [False] * 4
    assert Lake.from_settings(landed).max_value("event_log", "chat_signals", "seq") == 0
    assert not landed.marts_path.exists()
    assert not (landed.data_dir / "comparison.duckdb").exists()


def test_outcomes_of_purged_bodies_are_part_of_what_is_compared(
    landed: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(RULES)
    with_rules = landed.model_copy(update={"chat_rules": path})
    land_event_log(with_rules, reparse=True)
    before = (
        Lake.from_settings(landed)
        .query("select count(*) as n from {t}", t="event_log/chat_signals")["n"][0]
        .as_py()
    )
    assert before > 0
    path.write_text("[]")
    found = write_signals(landed, read_chat_rules(path, "UTC"), tmp_path / "none")
    assert found.met == {}
    names = {file.name for file in (tmp_path / "none").iterdir()}
    assert {"0.schema.parquet", "about.json"} <= names


def test_a_file_that_cannot_be_used_is_named(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"
    path.write_text("- {id: a, stage: hot, when: {replies: 1}}")
    with pytest.raises(RuleError, match="'hot' is not mapped"):
        parse_rules(f"chat_rules={path}", settings)
    run = CliRunner().invoke(app, ["rules", "try", str(path)], env={"COLUMNS": "200"})
    assert run.exit_code == 2
    assert "'hot' is not mapped" in run.output
    assert "has no rule that could be tried" in run.output
