"""`ctwa import-outcomes`: CSV and Parquet, good rows kept, bad ones named."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ctwa.settings import Settings
from ingestion.event_log.source import land_event_log
from ingestion.files import TableError
from ingestion.files.outcome_import import import_outcomes
from ingestion.lake.lake import Lake
from tests.ingestion.test_replay import stored

HEADER = "event_id,stage,occurred_at,phone,value,currency,source\n"


def outcomes(settings: Settings) -> list[dict[str, object]]:
    land_event_log(settings)
    lake = Lake.from_settings(settings)
    return lake.query("select * from {o} order by event_id", o="event_log/outcomes").to_pylist()


def test_good_rows_are_kept_and_bad_ones_named(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "won.csv"
    path.write_text(
        HEADER
        + "1,won,2026-05-04T14:31:00-03:00,+55 11 98765-4321,1200.50,BRL,hubspot\n"
        + "2,won,yesterday,+5511987654321,,,\n"
        + '3,"won\n(two lines)",2026-05-04T14:31:00Z,+5511987654321,,,\n'
        + "4,,2026-05-04T14:31:00Z,+5511987654321,,,\n"
        + '5,won,2026-05-04T14:31:00Z,+5511987654321,"1.200,50",BRL,\n'
        + "6,won,2026-05-04T14:31:00Z,,,,\n"
        + "007,won,2026-05-04T14:31:00Z,5511987654321,0.1,USD,\n"
    )
    report = import_outcomes(settings, path)
    assert report.accepted == 3
    assert [line for line, _ in report.rejected] == [3, 6, 7, 8]
    assert "occurred_at" in report.rejected[0][1]
    assert "98765" not in str(report.rejected)
    rows = outcomes(settings)
    assert [(r["event_id"], r["value"], r["source"]) for r in rows] == [
        ("007", Decimal("0.1"), "crm"),
        ("1", Decimal("1200.5"), "hubspot"),
        ("3", None, "crm"),
    ]


def test_what_a_spreadsheet_makes_of_a_file_is_refused_or_passed_over(
    settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "won.csv"
    path.write_text(
        HEADER
        + "1,won,2026-05-04T14:31:00Z,5.51199E+12,,,\n"
        + "2,won,2026-05-04T14:31:00Z,5511987654321.0,,,\n"
        + ",,,,,,\n"
        + "4,won,2026-05-04T14:31:00Z,5511987654321,1e-999999999,BRL,\n"
    )
    report = import_outcomes(settings, path)
    assert [line for line, _ in report.rejected] == [2]
    assert all("format its column as text" in reason for _, reason in report.rejected)
    assert [(r["event_id"], r["value"]) for r in outcomes(settings)] == [
        ("2", None),
        ("4", Decimal(0)),
    ]


def test_semicolons_and_the_mark_of_excel(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "won.csv"
    text = "Event_ID;stage;occurred_at;email;note\r\nx;won;2026-05-04T14:31:00Z;a@b.com;ação\r\n"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert import_outcomes(settings, path).accepted == 1


def test_parquet_with_typed_columns(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "won.parquet"
    table = pa.table(
        {
            "event_id": pa.array([120226305854810726, 2, 3]),
            "stage": ["won", "won", None],
            "occurred_at": pa.array(
                [datetime(2026, 5, 4, tzinfo=UTC)] * 3, pa.timestamp("us", "UTC")
            ),
            "lead_id": ["w1", "w2", "w3"],
            "value": pa.array([Decimal("10.000001"), None, None], pa.decimal128(12, 6)),
            "currency": ["BRL", None, None],
        }
    )
    pq.write_table(table, path)
    report = import_outcomes(settings, path)
    assert (report.accepted, [line for line, _ in report.rejected]) == (2, [3])
    first = outcomes(settings)[0]
    assert (first["event_id"], first["value"]) == ("120226305854810726", Decimal("10.000001"))


def test_an_id_column_of_doubles_is_refused(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "won.parquet"
    pq.write_table(
        pa.table({"event_id": [1.2e17], "stage": ["won"], "occurred_at": ["2026-05-04T14:31:00Z"],
                  "lead_id": ["w"]}),
        path,
    )  # fmt: skip
    report = import_outcomes(settings, path)
    assert report.accepted == 0
    ((line, reason),) = report.rejected
    assert (line, reason.startswith("event_id: is a number that")) == (1, True)


def test_rows_travel_in_lists_of_a_thousand(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "won.csv"
    rows = (f"{n},won,2026-05-04T14:31:00Z,+5511987654321,,,\n" for n in range(2_001))
    path.write_text(HEADER + "".join(rows))
    assert import_outcomes(settings, path).accepted == 2_001
    assert len(stored(settings)) == 3
    assert len(outcomes(settings)) == 2_001


def test_importing_twice_gives_equal_copies(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "won.csv"
    path.write_text(HEADER + "1,won,2026-05-04T14:31:00Z,+5511987654321,,,\n")
    import_outcomes(settings, path)
    import_outcomes(settings, path)
    first, second = outcomes(settings)
    assert first["content_key"] == second["content_key"]
    assert (first["source"], first["event_id"]) == (second["source"], second["event_id"])


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.csv", b"phone\n1\n", "stage; occurred_at"),
        ("a.csv", b"event_id,stage,occurred_at\n", "one of phone"),
        ("a.csv", b"", "columns missing"),
        ("a.csv", HEADER.encode() + b"\x81,\n", "UTF-8"),
        ("a.csv", HEADER.encode() + "açaí ação".encode() + b"\xe7,\n", "UTF-8 are damaged"),
        ("a.csv", HEADER.encode() + b'1,"won,2026\n', "never closed"),
        ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "save it as .xlsx"),
        ("a.xls", b"<html><table></table></html>", "is a web page"),
        ("a.xlsx", b"PK\x03\x04 nothing more", "is not a workbook"),
        ("a.parquet", b"nothing", "is not a Parquet file"),
    ],
)
def test_another_kind_of_file_is_one_clear_line(
    settings: Settings, tmp_path: Path, name: str, data: bytes, said: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(TableError, match=said):
        import_outcomes(settings, path)
