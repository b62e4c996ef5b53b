"""`ctwa replay`: stored envelopes back into the vault."""

from __future__ import annotations

import base64
import gzip
import json
import sqlite3
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from ctwa.settings import Settings
from ingestion.event_log.replay import MAX_LINE_BYTES, SOURCES, replay
from ingestion.vault import open_vault
from tests.ingestion.parser.payloads import encode, envelope, message, parse
from tests.ingestion.parser.provider_payloads import body

NOW = 1_781_000_000.0


def stored(settings: Settings) -> list[dict[str, Any]]:
    vault = open_vault(settings.vault_url)
    try:
        return [row for batch in vault.read_batches(0) for row in batch.to_pylist()]
    finally:
        vault.close()


def test_raw_bodies_are_kept_byte_for_byte(settings: Settings, tmp_path: Path) -> None:
    lines = [encode(envelope(message(n, text={"body": "Olá/é"}))) for n in range(3)]
    path = tmp_path / "day.ndjson"
    path.write_bytes(b"\n".join(lines) + b"\n\n")
    report = replay(settings, [path], now=lambda: NOW)
    assert (report.stored, report.problems) == (3, [])
    rows = stored(settings)
    assert [r["body"] for r in rows] == lines
    assert {r["source"] for r in rows} == {"whatsapp"}
    assert {r["received_at"].timestamp() for r in rows} == {NOW}


def test_wrapped_bodies_keep_time_source_and_text(settings: Settings, tmp_path: Path) -> None:
    body = '{"object": "x",  "entry": []}'
    lines = [
        {"body": body, "received_at": "2026-05-04T11:31:00-03:00"},
        {"body": {"event_id": "1"}, "source": "outcomes", "received_at": "2026-05-04T14:31:00Z"},
    ]
    path = tmp_path / "day.ndjson.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    assert replay(settings, [path]).stored == 2
    first, second = stored(settings)
    assert first["body"].decode() == body
    assert first["received_at"] == second["received_at"]
    assert (second["source"], json.loads(second["body"])) == ("outcomes", {"event_id": "1"})


def test_bodies_of_other_providers(settings: Settings, tmp_path: Path) -> None:
    sources = ("messenger", "twilio", "gupshup", "dialog360")
    form = body("twilio", "text").decode()
    lines = [
        json.dumps(json.loads(body("messenger", "text"))),
        json.dumps({"body": form, "source": "twilio"}),
        json.dumps({"body": json.loads(body("gupshup", "text_referral")), "source": "gupshup"}),
        json.dumps({"body": json.loads(body("dialog360", "text_referral")), "source": "dialog360"}),
    ]
    path = tmp_path / "day.ndjson"
    path.write_text("\n".join(lines))
    assert replay(settings, [path]).problems == []
    rows = stored(settings)
    assert tuple(row["source"] for row in rows) == sources
    assert rows[1]["body"].decode() == form
    for row in rows:
        found = parse(row["body"], source=row["source"])
        assert (len(found["messages"]), found["quarantine"]) == (1, [])


def test_bodies_of_every_source_that_the_parser_reads_can_be_put_back() -> None:
    (row,) = parse({}, source="nobody's")["quarantine"]
    assert set(row["reason"].rpartition("one of ")[2].split(", ")) == set(SOURCES)


def test_bad_lines_are_named_and_good_ones_kept(settings: Settings, tmp_path: Path) -> None:
    good = encode(envelope(message(1)))
    lines = [b"{", good, b"[1]", b'{"body":"x","source":"pigeon"}',
             b'{"body":"x","received_at":"2026-05-04T14:31:00"}', b'{"body":"x","received_at":5}',
             b'{"body":"' + b"x" * (3 * 2**20 + 1) + b'"}', good]  # fmt: skip
    path = tmp_path / "day.ndjson"
    path.write_bytes(b"\n".join(lines))
    report = replay(settings, [path])
    assert report.stored == 2
    places = [p.split(": ")[0] for p in report.problems]
    assert places == [f"day.ndjson:{n}" for n in (1, 3, 4, 5, 6, 7)]


def test_whole_lines_of_a_cut_gzip_are_kept(settings: Settings, tmp_path: Path) -> None:
    # Ids that do not compress: the cut falls behind the first lines.
    noise = [
        base64.b64encode(bytes((n * k) % 251 for k in range(900))).decode() for n in range(200)
    ]
    lines = [encode(envelope(message(n, text={"body": x}))) for n, x in enumerate(noise)]
    data = gzip.compress(b"\n".join(lines))
    path = tmp_path / "cut.ndjson.gz"
    path.write_bytes(data[: len(data) * 3 // 4])
    report = replay(settings, [path])
    assert 0 < report.stored < 200
    assert "gzip data ends" in report.problems[0]


def test_a_damaged_gzip_is_one_refusal_and_the_next_file_is_read(
    settings: Settings, tmp_path: Path
) -> None:
    data = bytearray(gzip.compress(encode(envelope(message(1)))))
    data[20:24] = bytes(byte ^ 0xFF for byte in data[20:24])
    (tmp_path / "bad.ndjson.gz").write_bytes(data)
    (tmp_path / "good.ndjson").write_bytes(encode(envelope(message(2))))
    report = replay(settings, [tmp_path / "bad.ndjson.gz", tmp_path / "good.ndjson"])
    assert report.stored == 1
    assert [p.split(": ")[0] for p in report.problems] == ["bad.ndjson.gz:1"]


def test_progress_is_told_what_is_durable(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "day.ndjson"
    path.write_bytes(b"\n".join(encode(envelope(message(n))) for n in range(1_100)))
    told: list[int] = []
    replay(settings, [path], progress=told.append)
    assert told == [500, 1_000, 1_100]
    assert len(stored(settings)) == 1_100


def test_a_missing_file_is_an_error(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        replay(settings, [tmp_path / "none.ndjson"])


def test_e98_a_line_of_some_gb_in_a_small_file_is_refused_by_its_number(
    settings: Settings, tmp_path: Path
) -> None:
    """Read in pieces and forgotten: as a whole it took 3.3 GB of memory."""
    path = tmp_path / "day.ndjson.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'{"object":"a"}\n{"body":"')
        for _ in range(300):
            file.write(b"x" * 2**20)
        file.write(b'"}\n{"object":"b"}\n[]\n')
        for _ in range(60):
            file.write(b"y" * 2**20)
    tracemalloc.start()
    report = replay(settings, [path])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [row["body"] for row in stored(settings)] == [b'{"object":"a"}', b'{"object":"b"}']
    assert [problem.split(": ")[0] for problem in report.problems] == [
        "day.ndjson.gz:2", "day.ndjson.gz:4", "day.ndjson.gz:5",
    ]  # fmt: skip
    assert "expected a line of at most" in report.problems[0]
    assert peak < 6 * MAX_LINE_BYTES


def test_a_body_of_escapes_up_to_the_limit_is_no_long_line(
    settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "day.ndjson"
    body = "\x01" * (3 * 2**20)
    path.write_text(json.dumps({"body": body}) + "\n" + json.dumps({"body": body + "x"}))
    report = replay(settings, [path])
    assert [len(row["body"]) for row in stored(settings)] == [len(body)]
    assert report.problems == ["day.ndjson:2: body: expected at most 3145728 bytes"]


@pytest.mark.parametrize(
    "moment",
    ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-05-04T14:31:00+99:99"],
)
def test_e98_times_that_cannot_be_are_refused(
    settings: Settings, tmp_path: Path, moment: str
) -> None:
    path = tmp_path / "day.ndjson"
    path.write_text(json.dumps({"body": "{}", "received_at": moment}))
    assert replay(settings, [path]).problems == [
        "day.ndjson:1: received_at: expected ISO 8601 with an offset"
    ]


def test_another_database_is_one_refusal(settings: Settings, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("create table orders (id integer)")
    connection.close()
    report = replay(settings, [other])
    assert report.stored == 0
    assert report.problems == ["other.db: not a vault that can be read: no such table: envelopes"]
