"""`ctwa bench` on tiny sizes: what it measures is right, and it says so. No time is judged here."""

from __future__ import annotations

import sys
from collections import defaultdict
from datetime import date
from decimal import Decimal
from math import isnan
from pathlib import Path
from typing import Any

import orjson
import pytest

from benchmarks import latency, receiver, run, worlds
from benchmarks.bodies import bodies, people_of, people_of_news
from benchmarks.figures import BenchmarkError, Figure, WrongAnswerError, check_leads
from benchmarks.landing import statement
from benchmarks.load import load
from benchmarks.measure import Measured, in_process
from ctwa.settings import PROJECT_DIR
from ingestion.lake.lake import Lake
from tests.support.plans import prepare

DAY = date(2026, 11, 1)


def _values(**options: object) -> list[dict]:
    made = bodies(2_000, first_day=DAY, days=30, **options)  # type: ignore[arg-type]
    return [orjson.loads(body)["entry"][0]["changes"][0]["value"] for body in made]


def test_a_message_of_ours_has_one_recipient_whatever_became_of_it() -> None:
    """Otherwise its statuses make one person of strangers (E2)."""
    recipients: dict[str, set[str]] = defaultdict(set)
    for value in _values():
        for status in value.get("statuses", []):
            recipients[status["id"]].add(status["recipient_id"])
    assert len(recipients) > 300
    assert {len(found) for found in recipients.values()} == {1}


def test_the_same_arguments_give_the_same_bodies() -> None:
    assert _values() == _values()
    assert _values() != _values(seed=2)


def test_half_of_those_who_write_on_a_day_were_known_before() -> None:
    history, news = people_of(60_000), people_of_news(6_000, 60_000)
    known = {history.phone(n) for n in range(history.count)}
    today = {news.phone(n) for n in range(news.count)}
    assert len(today) == 1_000
    assert len(today & known) == 500


def test_spend_of_the_ads_adds_up_to_the_accounts(tmp_path: Path) -> None:
    world = str(tmp_path / "data")
    assert worlds.fill_spend(world, ads=100, days=10) == 1_000
    restated = worlds.restate_spend(world, ads=100, days=10)
    assert 0 < restated < 1_000
    lake = Lake.from_settings(worlds.settings_of(world))
    rows = lake.query(
        "select read_no, account_id, spend_date, sum(spend) as spend, count(*) as ads "
        "from {rows} group by all",
        rows="meta_ads/spend_rows",
    ).to_pylist()
    days = lake.query("select * from {days}", days="meta_ads/spend_days").to_pylist()
    read = {(d["read_no"], d["account_id"], d["spend_date"]): d for d in days}
    assert len(read) == len(days) == len(rows)
    for row in rows:
        day = read[row["read_no"], row["account_id"], row["spend_date"]]
        assert (day["account_spend"], day["ad_rows"]) == (row["spend"], row["ads"])
    raised = [
        row["spend"] - read[1, row["account_id"], row["spend_date"]]["account_spend"]
        for row in rows
        if row["read_no"] == 2
    ]
    assert sum(raised) == restated * Decimal("0.01")


def test_the_parts_of_a_landing_take_all_envelopes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.run(["landing"], run.Sizes(envelopes=3_000)) == 0
    told = capsys.readouterr().out
    assert "| parser, CPU for each envelope |" in told
    assert "| ≤ 20 µs |" in told


def test_the_statement_counts_everybody_who_wrote(tmp_path: Path) -> None:
    world = str(tmp_path / "data")
    worlds.fill_vault(world, 1_000)
    made = bodies(1_000, first_day=worlds.TODAY, days=30)
    values = [orjson.loads(b)["entry"][0]["changes"][0]["value"] for b in made]
    writers = {m["from"] for value in values for m in value.get("messages", [])}
    assert statement(world)["leads"] == len(writers)


@pytest.mark.timeout(900)
def test_the_product_has_as_many_leads_as_the_statement(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole refresh, as the benchmark measures it, but for compiling the models."""

    def with_plan(module: str, function: str, **given: Any) -> Measured:
        if function == "product":
            prepare(worlds.settings_of(given["data_dir"]))
        return real(module, function, **given)

    real = run._in
    monkeypatch.setattr(run, "_in", with_plan)
    assert run.run(["marts"], run.Sizes(envelopes=400)) == 0
    told = capsys.readouterr().out
    assert "in the marts" in told
    assert "envelopes to published marts ÷ statement, CPU |" in told


@pytest.mark.deep
@pytest.mark.timeout(7200)
def test_every_part_gives_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    """Tiny, but whole: refreshes, ads and spend, and leads through `ctwa live`, also to HubSpot."""
    sizes = run.Sizes(envelopes=400, deep=True, ads=50, ad_days=20, seconds=2.0, load_seconds=0.5)
    assert run.run([], sizes) == 0
    told = capsys.readouterr().out
    for limit in ("70.5 µs", "64.5 µs", "15 µs", "20 µs", "8 |", "1.2 |", "16 s", "4 s", "5 s"):
        assert f"| ≤ {limit}" in told, limit
    assert "webhook to visible lead at 50 posts a second on 40, p95" in told
    assert "webhook to visible lead at 50 posts a second on 1, p95" in told, "by `ctwa dev`"
    assert told.count("the same to its source on HubSpot's contact, p95") == 5


def test_figures_of_a_wrong_answer_are_not_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(_: run.Sizes) -> list[Figure]:
        check_leads(13_841, 154_531)
        return [Figure("of no worth", 1)]

    monkeypatch.setitem(run.PARTS, "marts", ("Marts", wrong))
    assert run.run(["marts"]) == 1
    told = capsys.readouterr().out
    assert "13,841 leads where the statement counts 154,531" in told
    assert "of no worth" not in told


def test_a_page_gets_the_table_of_a_part_in_its_place(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- bench: x -->\nold\n<!-- end -->\nb\n<!-- bench: y -->\n<!-- end -->\n")
    run.put_into(page, "y", "of y")
    run.put_into(page, "x", "of x")
    assert page.read_text() == (
        "a\n<!-- bench: x -->\nof x\n<!-- end -->\nb\n<!-- bench: y -->\nof y\n<!-- end -->\n"
    )
    with pytest.raises(BenchmarkError, match="no place for z"):
        run.put_into(page, "z", "of z")


def test_every_part_has_its_place_in_the_docs(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text((PROJECT_DIR / "docs" / "performance.md").read_text())
    parts = run.PARTS | run.ASKED_FOR
    for part in parts:
        run.put_into(page, part, f"figures of {part}")
    assert all(f"figures of {part}\n" in page.read_text() for part in parts)


def test_an_unknown_part_is_named_with_those_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run.run(["nightli"]) == 2
    assert "no part nightli: there are receiver, landing, marts, nightly" in capsys.readouterr().out


def test_a_figure_stands_beside_its_limit() -> None:
    rows = [
        Figure("a", 7.994, "× the base", 8).row(),
        Figure("b", 1_234.5, "MB", 1_000).row(),
        Figure("c", 12.0).row(),
        Figure("d", float("nan"), "µs", 1).row(),
        Figure("e", 0.5, "", 0.6, is_least=True).row(),
        Figure("f", 0.6, "", 0.6, is_least=True).row(),
    ]
    assert rows == [
        "| a | 7.99 × the base | ≤ 8 × the base | kept |",
        "| b | 1,234 MB | ≤ 1,000 MB | missed |",
        "| c | 12 |  |  |",
        "| d | – | ≤ 1 µs |  |",
        "| e | 0.5 | ≥ 0.6 | missed |",
        "| f | 0.6 | ≥ 0.6 | kept |",
    ]


def test_the_receiver_is_measured_beside_its_base() -> None:
    (row,) = receiver.measure(seconds=0.3, rounds=1, connections=(4,))
    assert row.connections == 4
    assert row.base.refused == row.usual.refused == row.vault.refused == 0
    assert min(row.base.rps, row.usual.rps, row.vault.rps, row.ratio, row.usual_ratio) > 0


def test_the_base_of_the_receiver_checks_signatures() -> None:
    good = receiver.signed(b"{}")
    with receiver._usual_server() as server:
        *_, refused = load("127.0.0.1", server.port, [good], connections=1, seconds=0.2)
        assert refused == 0
        bad = good.replace(b"{}", b"[]")
        with pytest.raises(BenchmarkError, match="no answer 200"):
            load("127.0.0.1", server.port, [bad], connections=1, seconds=0.2)


def test_memory_and_processor_time_of_a_function_are_counted(tmp_path: Path) -> None:
    found = in_process("benchmarks.worlds", "fill_vault", data_dir=str(tmp_path), count=10)
    assert found.result == 10
    assert min(found.wall, found.cpu, found.memory_mb) > 0


def test_a_function_that_fails_says_why() -> None:
    with pytest.raises(BenchmarkError, match=r"(?s)landing\.leads failed:.*nowhere"):
        in_process("benchmarks.landing", "leads", data_dir="nowhere")


def test_each_post_is_waited_for_until_a_reader_sees_its_lead(tmp_path: Path) -> None:
    world, port = str(tmp_path / "data"), receiver.free_port()
    serve = f"from benchmarks.receiver import serve; serve({world!r}, {port}, True)"
    commands = [
        [sys.executable, "-c", serve],
        [sys.executable, "-m", "tests.support.publisher", world],
    ]
    rows, memory = latency.measure(world, [4, 10], seconds=1, commands=commands, port=port)
    assert [(row.per_second, row.posts) for row in rows] == [(4, 4), (10, 10)]
    assert all(0 < row.p50 <= row.p95 <= row.highest for row in rows)
    assert all(row.growth > 0 and 0 < row.behind <= row.highest for row in rows)
    assert all(row.answered_p99_ms > 0 and isnan(row.crm_p95) for row in rows)
    assert memory > 0


def test_leads_that_do_not_come_are_no_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "FIRST_SECONDS", 5.0)
    world, port = str(tmp_path / "data"), receiver.free_port()
    serve = f"from benchmarks.receiver import serve; serve({world!r}, {port}, True)"
    with pytest.raises(BenchmarkError, match="1 of 1 leads were not visible"):
        latency.measure(world, [1], commands=[[sys.executable, "-c", serve]], port=port)


def test_a_server_that_ends_is_not_waited_for(tmp_path: Path) -> None:
    world, port = str(tmp_path / "data"), receiver.free_port()
    serve = f"from benchmarks.receiver import serve; serve({world!r}, {port}, True)"
    commands = [[sys.executable, "-c", serve], [sys.executable, "-c", "raise SystemExit('tired')"]]
    with pytest.raises(BenchmarkError, match=r"(?s)ended by itself with code 1.*tired"):
        latency.measure(world, [1], commands=commands, port=port)


@pytest.mark.parametrize(("share", "wait"), [(0.5, 2.0), (0.95, 4.0)])
def test_a_percentile_is_a_wait_that_was_measured(share: float, wait: float) -> None:
    assert latency._share([1.0, 2.0, 3.0, 4.0], share) == wait


def test_what_falls_further_behind_with_every_post_is_seen() -> None:
    posts = [f"{number:03}" for number in range(100)]
    due = {post: float(number) for number, post in enumerate(posts)}
    steady = latency._Waits(due, {post: at + 3 for post, at in due.items()})
    assert steady.halves() == ([3.0] * 50, [3.0] * 50)
    slower = latency._Waits(due, {post: 2 * at + 3 for post, at in due.items()})
    earlier, later = (latency._share(half, 0.5) for half in slower.halves())
    assert later > 2 * earlier


def test_a_wrong_answer_says_what_to_look_at() -> None:
    with pytest.raises(WrongAnswerError, match=r"bodies\.py"):
        check_leads(1, 2)
    check_leads(2, 2)
