"""Chat rules of an installation: wrong ones stop nothing, changed ones are replayed as far back as
bodies are kept, and nothing of what was said is outside the vault."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from ctwa.settings import Settings
from ingestion.event_log.source import ChatRulesError, land_event_log
from ingestion.lake.lake import Lake
from ingestion.vault import open_vault
from keeping.erasure.forget import forget_person
from tests.ingestion.parser.payloads import PHONE, RECEIVED, envelope, message
from tests.ingestion.test_event_log import deliver

TEXT = "quero agendar minha vasectomia"
FIRST = "- {id: visit, stage: qualified, when: {they_wrote: [agendar]}}\n"
SECOND = "- {id: visit, stage: opportunity, when: {they_wrote: [agendar]}}\n"


@pytest.fixture
def ruled(make_settings: Callable[..., Settings], tmp_path: Path) -> Settings:
    (tmp_path / "rules.yml").write_text(FIRST)
    return make_settings(chat_rules=tmp_path / "rules.yml")


def stages(settings: Settings) -> list[tuple[int, str]]:
    rows = Lake.from_settings(settings).query(
        "select seq, stage from {t} order by seq", t="event_log/chat_signals"
    )
    return [tuple(row.values()) for row in rows.to_pylist()]


def said(place: int) -> dict[str, object]:
    return envelope(message(place, text={"body": TEXT}))


def test_e188_a_changed_rule_is_replayed_and_older_outcomes_keep_their_version(
    ruled: Settings,
) -> None:
    assert ruled.chat_rules is not None
    deliver(ruled, said(1), said(2))
    land_event_log(ruled)
    assert stages(ruled) == [(1, "qualified"), (2, "qualified")]

    ruled.chat_rules.write_text(SECOND)
    deliver(ruled, said(3))
    land_event_log(ruled)
    assert stages(ruled) == [(1, "qualified"), (2, "qualified"), (3, "opportunity")]

    with closing(open_vault(ruled.vault_url)) as vault:
        vault.purge_bodies(RECEIVED + timedelta(days=1), 1)
    land_event_log(ruled, reparse=True)
    assert stages(ruled) == [(1, "qualified"), (2, "opportunity"), (3, "opportunity")]
    before = stages(ruled)
    land_event_log(ruled, reparse=True)
    assert stages(ruled) == before


def test_e189_a_wrong_rule_is_named_and_everything_else_lands(ruled: Settings) -> None:
    assert ruled.chat_rules is not None
    ruled.chat_rules.write_text(FIRST + "- {id: odd, stage: hot, when: {replies: 1}}\n")
    deliver(ruled, said(1))
    with pytest.raises(ChatRulesError, match=r"rule 2 \(odd\): stage: 'hot'.*--reparse") as raised:
        land_event_log(ruled)
    assert raised.value.counts.messages == 1
    assert stages(ruled) == [(1, "qualified")]
    ruled.chat_rules.unlink()
    deliver(ruled, said(2))
    with pytest.raises(ChatRulesError, match="CTWA_CHAT_RULES names the file"):
        land_event_log(ruled)
    assert Lake.from_settings(ruled).max_value("event_log", "messages", "seq") == 2


def test_no_text_is_outside_the_vault_and_an_erased_person_is_in_no_row(ruled: Settings) -> None:
    deliver(ruled, said(1), envelope(message(2, **{"from": "5531987659999"})))
    land_event_log(ruled)
    files = [path for path in Path(ruled.lake_url).rglob("*") if path.is_file()]
    assert not any(b"vasectomia" in path.read_bytes() for path in files)
    lake = Lake.from_settings(ruled)
    sql = "select phone_key, bsuid_key, message_key, content_key, said_at, stage from {t}"
    (before,) = lake.query(sql, t="event_log/chat_signals").to_pylist()

    forget_person(ruled, phone=PHONE)
    (after,) = lake.query(sql, t="event_log/chat_signals").to_pylist()
    keys = ("phone_key", "message_key", "content_key")
    assert all(before[key] != after[key] for key in keys)
    assert [before[key] for key in ("said_at", "stage")] == [after["said_at"], after["stage"]]
    own = lake.query("select message_key from {t}", t="event_log/messages")
    assert after["message_key"] in own["message_key"].to_pylist()
