"""Files that people have (E88, E89): what Excel, Google Sheets and CRMs export, not guessed at."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctwa.phones import NumeralError, mended
from ctwa.settings import Settings
from ingestion.files import TableError
from ingestion.files.columns import parse_map
from ingestion.files.declarations import consent_list, exclude_list
from ingestion.files.outcome_import import ImportReport, import_outcomes, unmapped
from ingestion.files.reader import ReadOptions
from ingestion.files.readings import amounts, currency_of, dates
from tests.ingestion.test_exclude import landed
from tests.ingestion.test_replay import stored

SAO_PAULO = "America/Sao_Paulo"
BR = (
    "Telefone;E-mail;Etapa;Data;Valor;Moeda\r\n"
    "(11) 98765-4321;ana@example.org;Negócio fechado;28/11/2026 14:30;R$ 1.200,50;BRL\r\n"
    "11 98765-4322;;Qualificado;27/11/2026;;\r\n"
)


def take(
    settings: Settings, tmp_path: Path, content: str | bytes, name: str = "a.csv", **options: Any
) -> ImportReport:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return import_outcomes(settings, path, options=ReadOptions(**options))


def outcomes(settings: Settings) -> list[dict[str, Any]]:
    """As the models keep them: of the copies of an event the one recorded last."""
    rows = sorted(
        landed(settings, "outcomes"),
        key=lambda r: (r["occurred_at"], r["recorded_at"] or datetime.min.replace(tzinfo=UTC)),
    )
    return list({(r["source"], r["event_id"]): r for r in rows}.values())


def workbook(path: Path, *rows: tuple[Any, ...], formats: dict[str, str] | None = None) -> Path:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in rows:
        sheet.append(row)
    for place, number_format in (formats or {}).items():
        sheet[place].number_format = number_format
    book.create_sheet("Arquivo").append(("nothing",))
    book.save(path)
    return path


def at(*parts: int) -> datetime:
    """As a wall clock shows it."""
    return datetime(*parts)  # type: ignore[arg-type, misc]  # noqa: DTZ001


# ---- text ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_e88_what_excel_in_brazil_saves_is_read(
    settings: Settings, tmp_path: Path, encoding: str
) -> None:
    report = take(settings, tmp_path, BR.encode(encoding))
    assert (report.accepted, report.rejected) == (2, [])
    qualified, won = outcomes(settings)
    assert (won["stage"], won["value"], won["currency"]) == (
        "Negócio fechado", Decimal("1200.5"), "BRL",
    )  # fmt: skip
    assert won["occurred_at"] == datetime(2026, 11, 28, 17, 30, tzinfo=UTC)
    assert qualified["occurred_at"] == datetime(2026, 11, 27, 3, tzinfo=UTC)
    told = dict(report.readings)
    assert told["dates"].startswith("day/month/year (line 2")
    assert told["decimal sign"].startswith("decimal comma")
    assert told["time zone"].startswith("America/Sao_Paulo (the reporting zone")
    assert told["column Etapa"] == "stage"
    assert [w.partition("nearest: ")[2].partition(",")[0] for w in report.warnings] == [
        "won", "qualified",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "delimiter"),
    [
        ("sep=;\r\nphone;stage;occurred_at;value\r\n{p};won;{t};1200,5\r\n",
         "semicolon (sep= line)"),
        ("phone\tstage\toccurred_at\tvalue\n{p}\twon\t{t}\t1200.5\n", "tab"),
        ("phone|stage|occurred_at|value\n{p}|won|{t}|1200.5\n", "bar"),
        ("phone,stage,occurred_at,value\n{p},won,{t},1200.5\n", "comma"),
        ("phone;stage;occurred_at;value\n{p};won;{t};1200,5\n", "semicolon"),
        ('"phone";"stage";"occurred_at";"value"\n"{p}";"won, yes";"{t}";"1200,5"\n', "semicolon"),
        ("\n\nVendas de maio;;;\n;;;\nPhone ;STAGE;Occurred at;Valor (R$)\n{p};won;{t};1200,5\n",
         "semicolon"),
    ],
)  # fmt: skip
def test_e88_delimiters_titles_and_headers(
    settings: Settings, tmp_path: Path, content: str, delimiter: str
) -> None:
    text = content.format(p="+5511987654321", t="2026-11-28T14:30:00-03:00")
    report = take(settings, tmp_path, text)
    assert (report.accepted, report.rejected) == (1, [])
    assert dict(report.readings)["delimiter"] == delimiter
    assert dict(report.readings).get("currency", "")[:3] == ("BRL" if "(R$)" in content else "")
    (row,) = outcomes(settings)
    assert (row["value"], row["occurred_at"]) == (
        Decimal("1200.5"), datetime(2026, 11, 28, 17, 30, tzinfo=UTC),
    )  # fmt: skip


@pytest.mark.parametrize(
    "header",
    [
        "Teléfono;Etapa;Fecha;Importe;Divisa", "TELEFONE ;Situação;Data e hora;Valor;Moeda",
        "Celular;Fase;Data de fechamento;Monto;Moneda",
        "Phone Number;Deal Stage;Close Date;Amount;Currency",
        "\u00a0Telefone\u00a0;Estágio;Fecha de cierre;Valor do negócio;Moeda",
    ],
)  # fmt: skip
def test_e88_headers_in_three_languages(settings: Settings, tmp_path: Path, header: str) -> None:
    report = take(settings, tmp_path, f"{header}\n11 98765-4321;won;28/11/2026;10,50;BRL\n")
    assert (report.accepted, report.rejected) == (1, [])
    assert outcomes(settings)[0]["value"] == Decimal("10.5")


def test_e88_a_column_is_what_one_says_it_is(settings: Settings, tmp_path: Path) -> None:
    text = "Contato;Etapa do pipe;Data;Fechado em\n11 98765-4321;won;2026-01-01;2026-02-02\n"
    told = parse_map(["Contato=phone", "etapa do PIPE=stage", "Fechado em=occurred_at"])
    assert take(settings, tmp_path, text, columns=told).accepted == 1
    assert outcomes(settings)[0]["occurred_at"].date() == date(2026, 2, 2)


@pytest.mark.parametrize(
    ("text", "told", "said"),
    [
        ("Telefone;Celular;Etapa;Data\n1;2;won;2026-01-01\n", {}, "can both be phone"),
        ("Telefone;Etapa;Data\n1;won;2026-01-01\n", {"Fase": "stage"}, "has no such column"),
        ("Telefone;Etapa;Data\n1;won;2026-01-01\n", {"Etapa": "stages"}, "no field stages"),
        ("A;B;C\n1;won;2026-01-01\n", {}, "its header has A, B, C"),
        ("", {}, "the file is empty"),
        ("phone;Phone;stage;date\n1;2;won;2026-01-01\n", {}, "2 columns are called phone: rename"),
        ('phone,stage,date\n1,"won,2026-01-01\n', {}, "opens near line 2"),
    ],
)
def test_e88_columns_that_cannot_be_told_are_asked_for(
    settings: Settings, tmp_path: Path, text: str, told: dict[str, str], said: str
) -> None:
    with pytest.raises(TableError, match=said):
        take(settings, tmp_path, text, columns=told)
    assert stored(settings) == []


def test_e88_totals_blanks_and_errors(settings: Settings, tmp_path: Path) -> None:
    text = (
        "phone;email;stage;occurred_at;value;currency\n"
        "\u00a011\u00a098765-4321 ;#N/A;won ;28/11/2026;10,5;BRL\n"
        "11 98765-4322;;won;28/11/2026;#N/D;BRL\n"
        "11 98765-4323;;won;28/11/2026;=A1+B1;BRL\n"
        "11 98765-4324;;won;28/11/2026;NaN;\n"
        ";;;;;\n"
        "TOTAL;;;;1.200;\n"
    )
    report = take(settings, tmp_path, text)
    assert report.accepted == 2
    assert [line for line, _ in report.rejected] == [3, 4, 7]
    assert "error" in report.rejected[0][1]
    assert "formula" in report.rejected[1][1]
    assert report.warnings[-1].startswith("1 cells of email hold an error")
    report = take(settings, tmp_path, text.replace("TOTAL", "") + "\n")
    assert [line for line, _ in report.rejected] == [3, 4]
    assert dict(report.readings)["passed over"].startswith("line 7: no time and nobody")


def test_e88_a_row_with_more_cells_than_the_header_is_refused(
    settings: Settings, tmp_path: Path
) -> None:
    """A decimal comma that the delimiter cut in two: 1 would be a wrong amount."""
    head = "phone,stage,occurred_at,value\n"
    rows = "11 98765-4321,won,2026-01-01,1,50\n11 98765-4322,won,2026-01-01,2.5\n"
    report = take(settings, tmp_path, head + rows)
    assert (report.accepted, [line for line, _ in report.rejected]) == (1, [2])


def test_e88_rows_in_the_future_are_named(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "won.csv"
    path.write_text(
        "phone;stage;Fecha\n+5511987654321;won;06/12/2026\n11 98765-4322;won;13/06/2026\n"
    )
    june = datetime(2026, 6, 20, tzinfo=UTC).timestamp()
    told = import_outcomes(settings, path, now=lambda: june).warnings
    assert [line for line in told if "are in the future (line 2)" in line]
    assert import_outcomes(settings, path, now=lambda: june + 180 * 86_400).warnings == []


def test_e88_marks_that_are_copied_along_are_no_part_of_a_cell(
    settings: Settings, tmp_path: Path
) -> None:
    marked = "\u202aana@example.org\u202c;\u2066won\u2069\u200e;\u202d2026-06-13\u202c\n"
    report = take(settings, tmp_path, f"email;stage;date\nana@example.org;won;2026-06-13\n{marked}")
    assert (report.accepted, report.warnings) == (2, [])
    assert len({(r["email_key"], r["stage"]) for r in landed(settings, "outcomes")}) == 1


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_e88_a_column_of_whole_mails_is_read_over(
    settings: Settings, tmp_path: Path, delimiter: str
) -> None:
    rows = f'phone,stage,date,notes\n+5511987654321,won,2026-06-13,"{"x" * 200_000}"\n'
    assert take(settings, tmp_path, rows.replace(",", delimiter)).accepted == 1


def test_e88_a_pipe_is_refused(settings: Settings, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "won.csv")  # it would be empty when it is read again
    with pytest.raises(TableError, match=r"won\.csv: is a pipe"):
        import_outcomes(settings, tmp_path / "won.csv")


@pytest.mark.parametrize("first", ["11 98765-4321", "canary@example.com"])
def test_e88_a_file_without_a_header_is_not_repeated(
    settings: Settings, tmp_path: Path, first: str
) -> None:
    with pytest.raises(TableError) as said:
        take(settings, tmp_path, f"{first};Ana Canary;won\n")
    assert "no names of columns" in str(said.value)
    assert "anary" not in str(said.value)


@pytest.mark.parametrize("nothing", ["-", "R$ -", " R$ -   ", "–", ""])
def test_e88_how_spreadsheets_show_nothing(
    settings: Settings, tmp_path: Path, nothing: str
) -> None:
    assert take(settings, tmp_path, priced(nothing)).rejected == []
    assert [r["value"] for r in outcomes(settings)] == [None]


# ---- dates ---------------------------------------------------------------------------------------

AT = at(2026, 11, 8, 14, 30)


@pytest.mark.parametrize(
    ("text", "readings"),
    [
        ("2026-11-08 14:30", {"": AT}),
        ("2026-11-08T14:30:00-03:00", {"": datetime.fromisoformat("2026-11-08T14:30:00-03:00")}),
        ("2026-11-08T17:30:00.000Z", {"": datetime(2026, 11, 8, 17, 30, tzinfo=UTC)}),
        ("2026/11/08 2:30 PM", {"": AT}),
        ("20261108", {"": at(2026, 11, 8)}),
        ("08/11/2026 14:30", {"dmy": AT, "mdy": at(2026, 8, 11, 14, 30)}),
        ("08.11.2026, 14:30:00", {"dmy": AT, "mdy": at(2026, 8, 11, 14, 30)}),
        ("28/11/2026 às 14h30", {"dmy": at(2026, 11, 28, 14, 30)}),
        ("sáb., 28/11/2026", {"dmy": at(2026, 11, 28)}),
        ("11/28/2026 2:30 p. m.", {"mdy": at(2026, 11, 28, 14, 30)}),
        ("28/11/26", {"dmy": at(2026, 11, 28), "ymd": at(2028, 11, 26)}),
        ("28 de novembro de 2026", {"": at(2026, 11, 28)}),
        ("28-nov-26", {"": at(2026, 11, 28)}),
        ("Nov 28, 2026 14:30", {"": at(2026, 11, 28, 14, 30)}),
        ("1 dic 2026", {"": at(2026, 12, 1)}),
        ("46334.604166667", {"": AT}),
        ("46334,604166667", {"": AT}),
        ("31/02/2026", {}),
        ("31/31/2026", {}),
        ("yesterday", {}),
        ("1780000000", {}),
        ("08/11/2026 25:00", {}),
        ("", {}),
    ],
)
def test_e88_dates_as_people_write_them(text: str, readings: dict[str, datetime]) -> None:
    assert dates(text) == readings


def dated(*texts: str) -> str:
    return "phone;stage;occurred_at\n" + "".join(f"11 98765-4321;won;{t}\n" for t in texts)


def test_e88_the_order_of_dates_is_the_columns(settings: Settings, tmp_path: Path) -> None:
    both = dated("05/06/2026", "01/02/2026")
    with pytest.raises(TableError, match="column occurred_at has two readings from line 2") as said:
        take(settings, tmp_path, both)
    assert '--dates "dmy"' in str(said.value)
    assert '--dates "mdy"' in str(said.value)
    assert stored(settings) == []
    assert take(settings, tmp_path, both, dates="mdy").accepted == 2
    assert [r["occurred_at"].date() for r in outcomes(settings)] == [
        date(2026, 1, 2),
        date(2026, 5, 6),
    ]


@pytest.mark.parametrize(
    ("texts", "first"),
    [
        (("05/06/2026", "13/06/2026"), date(2026, 6, 5)),
        (("05/06/2026", "06/13/2026"), date(2026, 5, 6)),
        (("05/05/2026",), date(2026, 5, 5)),  # the same either way
        (("2026-06-05", "05/05/2026"), date(2026, 5, 5)),
    ],
)
def test_e88_one_date_decides_for_all(
    settings: Settings, tmp_path: Path, texts: tuple[str, ...], first: date
) -> None:
    report = take(settings, tmp_path, dated(*texts), timezone="UTC")
    assert (report.accepted, report.rejected) == (len(texts), [])
    assert first in [r["occurred_at"].date() for r in outcomes(settings)]


def test_e88_a_column_written_in_two_orders(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"is written in two ways: line 2 .*, line 3"):
        take(settings, tmp_path, dated("13/06/2026", "06/13/2026"))
    report = take(settings, tmp_path, dated("13/06/2026", "06/13/2026", "14/06/2026", "01/02/2026"))
    assert [line for line, _ in report.rejected] == [3, 5]  # the odd one, and what could be either
    assert "two readings" in report.rejected[1][1]


@pytest.mark.parametrize(
    ("zone", "hour"), [(None, 17), ("UTC", 14), ("America/Mexico_City", 20), ("Asia/Kolkata", 9)]
)
def test_e88_the_zone_of_times_without_one(
    settings: Settings, tmp_path: Path, zone: str | None, hour: int
) -> None:
    text = dated("2026-11-28 14:30", "2026-11-28T14:30:00Z")
    take(settings, tmp_path, text, timezone=zone)
    hours = sorted(r["occurred_at"].hour for r in outcomes(settings))
    assert hours == sorted([hour, 14])


# ---- amounts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "readings", "sign"),
    [
        ("1.200", {",": 1200, ".": Decimal("1.2")}, ""),
        ("1,200", {".": 1200, ",": Decimal("1.2")}, ""),
        ("R$ 1.200,50", {",": Decimal("1200.5")}, "R$"),
        ("US$1,200.50", {".": Decimal("1200.5")}, "US$"),
        ("1.234.567", {",": 1234567}, ""),
        ("1 200,50 €", {",": Decimal("1200.5")}, "€"),
        ("1'200.50", {".": Decimal("1200.5")}, ""),
        ("12,50", {",": Decimal("12.5")}, ""),
        ("0.125", {".": Decimal("0.125")}, ""),
        ("1200", {",": 1200, ".": 1200}, ""),
        ("(1.200,00)", {",": -1200}, ""),
        ("-R$ 5", {",": -5, ".": -5}, "R$"),
        ("1,20,000.50", {".": Decimal("120000.5")}, ""),
        ("1200 USD", {",": 1200, ".": 1200}, "USD"),
        ("12.34.56", {}, ""),
        ("ten", {}, ""),
        ("12%", {",": 12, ".": 12}, "%"),
    ],
)
def test_e88_amounts_as_people_write_them(text: str, readings: dict[str, Any], sign: str) -> None:
    assert amounts(text) == (readings, sign)


def priced(*texts: str, currency: str = "BRL") -> str:
    head = "phone;stage;occurred_at;value;currency\n"
    rows = (f"11 98765-4321;won;2026-06-{n:02};{t};{currency}\n" for n, t in enumerate(texts, 1))
    return head + "".join(rows)


def test_e88_a_thousand_or_one_is_asked(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(TableError, match="column value has two readings from line 2") as said:
        take(settings, tmp_path, priced("1.200", "5"))
    assert '--decimal ","' in str(said.value)
    assert '--decimal "."' in str(said.value)
    assert stored(settings) == []
    take(settings, tmp_path, priced("1.200", "5"), decimal=",")
    assert [r["value"] for r in outcomes(settings)] == [1200, 5]


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (("1.200", "1.200,50"), [Decimal(1200), Decimal("1200.5")]),
        (("1.200", "12.5"), [Decimal("1.2"), Decimal("12.5")]),
        (("1.200", "1.200.000"), [Decimal(1200), Decimal(1_200_000)]),
        (("1200", "5"), [Decimal(1200), Decimal(5)]),
    ],
)
def test_e88_one_amount_decides_for_all(
    settings: Settings, tmp_path: Path, texts: tuple[str, ...], values: list[Decimal]
) -> None:
    assert take(settings, tmp_path, priced(*texts)).rejected == []
    assert [r["value"] for r in outcomes(settings)] == values


@pytest.mark.parametrize(
    ("text", "currency", "option", "expected"),
    [
        ("R$ 5", "", None, "BRL"),
        ("5", "R$", None, "BRL"),
        ("$ 5", "MXN", None, "MXN"),
        ("$ 5", "", "USD", "USD"),
        ("5", "", "USD", "USD"),
        ("€ 5", "", "USD", "EUR"),
        ("5", "", None, None),
        ("$ 5", "", None, "a bare $"),
        ("US$ 5", "BRL", None, "currency differs"),
        ("5", "reais do Brasil", None, "currency"),
        ("5 kg", "", None, "next to the number"),
        ("1.2E+3", "", None, "shortened"),
    ],
)
def test_e88_currencies(
    settings: Settings, tmp_path: Path, text: str, currency: str, option: str | None,
    expected: str | None,
) -> None:  # fmt: skip
    report = take(settings, tmp_path, priced(text, currency=currency), currency=option)
    if report.rejected:
        assert expected
        assert expected in report.rejected[0][1]
    else:
        assert [r["currency"] for r in outcomes(settings)] == [expected]
        assert any("no currency" in w for w in report.warnings) == (expected is None)
    assert currency_of("R$") == "BRL"


# ---- workbooks -----------------------------------------------------------------------------------


def test_e88_a_workbook_with_real_dates_and_numbers(settings: Settings, tmp_path: Path) -> None:
    path = workbook(
        tmp_path / "won.xlsx",
        ("Vendas", None, None, None, None),
        ("Telefone", "Etapa", "Data", "Valor", "Pedido"),
        (5511987654321, "won", at(2026, 11, 28, 14, 30), 1200.5, "=A1"),
        ("11 98765-4322", "won", date(2026, 11, 28), 0.1 + 0.2, None),
        ("11 98765-4323", "won", 46334.5, 12, None),
        ("11 98765-4324", "won", at(2026, 11, 28), "=D3*2", None),
        ("11 98765-4325", "won", at(2026, 11, 28), "#N/A", None),
        (None, None, None, 1212.8, None),
        formats={"D3": '[$R$-416] #,##0.00', "D4": '"US$" #,##0.00', "D5": "0.00"},
    )  # fmt: skip
    report = import_outcomes(settings, path)
    assert report.accepted == 3
    assert [(line, reason.partition(":")[0]) for line, reason in report.rejected] == [
        (6, "value (column Valor)"),
        (7, "value (column Valor)"),
    ]
    assert "formula whose result is not in the file" in report.rejected[0][1]
    told = dict(report.readings)
    assert told["sheet"] == "Sheet (the first of 2; --sheet names another)"
    assert told["header"] == "line 2"
    assert told["column Pedido"] == "not used"
    assert told["passed over"].startswith("line 8")
    rows = {(r["occurred_at"], r["value"], r["currency"]) for r in outcomes(settings)}
    assert rows == {
        (datetime(2026, 11, 28, 17, 30, tzinfo=UTC), Decimal("1200.5"), "BRL"),
        (datetime(2026, 11, 28, 3, tzinfo=UTC), Decimal("0.3"), "USD"),
        (datetime(2026, 11, 8, 15, tzinfo=UTC), Decimal(12), None),
    }


@pytest.mark.parametrize(
    ("rows", "said", "option"),
    [
        # 05/06 and 11/12 were taken for the 6th of May and the 12th of November.
        ([(at(2026, 5, 6), 1), ("28/11/2026", 1), (at(2026, 11, 12), 1)], "dates", "dmy"),
        # 1.200 was taken for 1.2.
        ([(at(2026, 5, 26), 1.2), (at(2026, 5, 26), "1.200,50")], "numbers", ","),
    ],
)
def test_e88_cells_that_a_spreadsheet_of_another_country_misread(
    settings: Settings, tmp_path: Path, rows: list[tuple[Any, Any]], said: str, option: str
) -> None:
    people = [(f"11 98765-432{n}", "won", *row) for n, row in enumerate(rows)]
    path = workbook(tmp_path / "won.xlsx", ("Telefone", "Etapa", "Data", "Valor"), *people)
    with pytest.raises(TableError, match=f"holds {said} and, as text"):
        import_outcomes(settings, path)
    assert stored(settings) == []
    told = ReadOptions(dates=option) if said == "dates" else ReadOptions(decimal=option)
    assert import_outcomes(settings, path, options=told).accepted == len(rows)


def test_e88_texts_beside_dates_that_can_only_be_right(settings: Settings, tmp_path: Path) -> None:
    path = workbook(
        tmp_path / "won.xlsx",
        ("Telefone", "Etapa", "Data", "Valor"),
        ("11 98765-4321", "won", at(2026, 5, 26), 1200.5),
        ("11 98765-4322", "won", "28/11/2026", "350"),
    )
    assert import_outcomes(settings, path).accepted == 2


def test_e88_another_sheet(settings: Settings, tmp_path: Path) -> None:
    path = workbook(tmp_path / "won.xlsx", ("phone", "stage", "occurred_at"))
    with pytest.raises(TableError, match="columns missing"):
        import_outcomes(settings, path, options=ReadOptions(sheet="arquivo"))
    empty = workbook(tmp_path / "summary.xlsx", ("Resumo",))
    with pytest.raises(TableError, match="--sheet with another sheet: Arquivo"):
        import_outcomes(settings, empty)
    with pytest.raises(TableError, match="it has Sheet, Arquivo"):
        import_outcomes(settings, path, options=ReadOptions(sheet="Vendas"))
    assert import_outcomes(settings, path).accepted == 0


# ---- ids -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("101", "101"), ("101.0", "101"), ("101,00", "101"), ("007", "007"), ("-5.0", "-5"),
        ("120226305854810726", "120226305854810726"), ("1234e567", "1234e567"),
        ("550e8400", "550e8400"), ("1.2.3", "1.2.3"), ("10.5", "10.5"),
        ("1.20226E+17", None), ("1,2e+17", None), ("1.2E17", None), ("1E+17", None), ("1E17", None),
        ("120226305854810000.0", None), ("1.000", None),
    ],
)  # fmt: skip
def test_e89_one_rule_for_ids_that_a_spreadsheet_spoilt(text: str, read: str | None) -> None:
    if read is None:
        with pytest.raises(NumeralError) as said:
            mended(text)
        assert text not in str(said.value)
    else:
        assert mended(text) == read


@given(st.text(max_size=30))
def test_e89_what_was_mended_is_mended_again_to_the_same(text: str) -> None:
    try:
        once = mended(text)
    except NumeralError:
        return
    assert mended(once) == once


def test_e89_the_same_id_as_text_and_as_a_number_is_one_event(
    settings: Settings, tmp_path: Path
) -> None:
    row = "event_id;stage;occurred_at;phone\n{};won;2026-06-11;+5531987650104\n"
    for written in ("101", "101.0", "101,0"):
        assert take(settings, tmp_path, row.format(written)).accepted == 1
    path = workbook(
        tmp_path / "a.xlsx",
        ("event_id", "stage", "occurred_at", "phone"),
        (101, "won", date(2026, 6, 11), "+5531987650104"),
        (101.0, "won", date(2026, 6, 11), "+5531987650104"),
        (120226305854810726, "won", date(2026, 6, 11), "+5531987650104"),
        (True, "won", date(2026, 6, 11), "+5531987650104"),
        (date(2026, 6, 11), "won", date(2026, 6, 11), "+5531987650104"),
    )
    assert [line for line, _ in import_outcomes(settings, path).rejected] == [4, 5, 6]
    assert [r["event_id"] for r in outcomes(settings)] == ["101"]


def test_e89_ids_that_lost_digits_are_refused_row_by_row(
    settings: Settings, tmp_path: Path
) -> None:
    rows = "".join(f"1.20226E+17;won;2026-06-{n};1198765432{n}\n" for n in (11, 12))
    report = take(
        settings,
        tmp_path,
        f"event_id;stage;occurred_at;phone\n{rows}x;won;2026-06-13;11987654321\n",
    )
    assert (report.accepted, [line for line, _ in report.rejected]) == (1, [2, 3])
    assert all("digits are lost" in reason for _, reason in report.rejected)


def test_e89_a_column_of_long_ids_that_end_in_zeros_was_rounded(
    settings: Settings, tmp_path: Path
) -> None:
    head = "event_id;stage;occurred_at;phone\n"
    rounded = "".join(f"1202263058548{n}0000;won;2026-06-11;11987654321\n" for n in (10, 20))
    report = take(settings, tmp_path, head + rounded + "5;won;2026-06-11;11987654321\n")
    assert (report.accepted, [line for line, _ in report.rejected]) == (1, [2, 3])
    whole = head + rounded + "120226305854810726;won;2026-06-11;11987654321\n"
    assert take(settings, tmp_path, whole).accepted == 3  # one that keeps its digits: no rounding


def test_e88_a_file_without_ids_repeats_nothing(settings: Settings, tmp_path: Path) -> None:
    clock = iter(range(1_790_000_000, 1_790_001_000))

    def take_rows(*rows: str) -> None:
        path = tmp_path / "a.csv"
        path.write_text("phone;stage;occurred_at;value;currency\n" + "\n".join(rows) + "\n")
        import_outcomes(settings, path, now=lambda: next(clock))

    one = "11 98765-4321;won;2026-06-11;100,00;BRL"
    two = "11 98765-4321;won;2026-06-11;250,00;BRL"
    other = "+5511987654322;won;2026-06-12;70,00;BRL"
    take_rows(one, two)
    take_rows(one, two)
    assert sorted(r["value"] for r in outcomes(settings)) == [100, 250]
    take_rows(other, two, one)  # longer, and in another order
    assert sorted(r["value"] for r in outcomes(settings)) == [70, 100, 250]
    take_rows(other.replace("70", "90"))  # corrected in the CRM
    assert sorted(r["value"] for r in outcomes(settings)) == [90, 100, 250]
    take_rows("(11) 98765-4322;WON;12/06/2026;90,00;BRL", "11 3333-4444;x;13/06/2026;1,00;BRL")
    assert sorted(r["value"] for r in outcomes(settings)) == [1, 90, 100, 250]
    ids = {r["event_id"] for r in outcomes(settings)}
    assert not [i for i in ids if "98765" in i]


def test_e89_one_id_on_rows_that_differ_is_told(settings: Settings, tmp_path: Path) -> None:
    rows = "1;won;2026-06-11;11987654321\n1;won;2026-06-12;11987654322\n"
    report = take(settings, tmp_path, f"event_id;stage;occurred_at;phone\n{rows}")
    assert report.warnings == [
        "1 rows have the event_id of an earlier row but other content (line 3): one of them counts"
    ]


# ---- shown before it is stored -------------------------------------------------------------------


def command(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("ctwa"), *arguments],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "CTWA_DATA_DIR": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_e88_a_dry_run_shows_all_and_stores_nothing(tmp_path: Path) -> None:
    (tmp_path / "br.csv").write_bytes((BR + "canary;;Ganho;28/11/2026;1;\r\n").encode("cp1252"))
    found = command(tmp_path, "import-outcomes", "br.csv", "--dry-run", "--map", "Etapa=stage")
    assert found.returncode == 1
    for said in (
        "encoding: Windows-1252", "delimiter: semicolon", "column Etapa: stage",
        "dates: day/month/year", "decimal sign: decimal comma", "time zone: America/Sao_Paulo",
        "2 outcomes would be taken, 1 rows refused", "dry run: nothing was stored",
    ):  # fmt: skip
        assert said in found.stdout
    assert "br.csv:4: phone (column Telefone): expects a phone number" in found.stderr
    assert 'stage "Negócio fechado" (1 rows) is not mapped' in found.stderr
    assert "canary" not in found.stdout + found.stderr
    assert not (tmp_path / "data" / "vault.db").exists()
    again = command(tmp_path, "import-outcomes", "br.csv")
    assert "2 outcomes taken, 1 rows refused" in again.stdout
    assert 'stage "Negócio fechado" (1 rows) is not mapped' in again.stderr
    assert "time zone: America/Sao_Paulo" in again.stdout


def test_e88_a_refused_column_is_shown_with_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "won.csv").write_text(priced("1.200"))
    found = command(tmp_path, "import-outcomes", "won.csv", "--dry-run")
    assert found.returncode == 1
    assert "column value: value" in found.stdout
    assert found.stderr.count("\n") == 1
    assert "two readings" in found.stderr


# ---- lists of people -----------------------------------------------------------------------------


def test_e88_a_list_of_staff(settings: Settings, tmp_path: Path) -> None:
    path = workbook(
        tmp_path / "staff.xlsx",
        ("Nome", "Celular", "Correo electrónico", "Motivo"),
        ("Ana", 5511987654321, "ana@example.com", "equipe"),
        ("Bia", "123", None, "equipe"),
        ("Caio", None, "caio@example.com", None),
    )
    report = exclude_list(settings, path, reason="staff", dry_run=True)
    assert (report.accepted, stored(settings)) == (3, [])
    report = exclude_list(settings, path, reason="staff")
    assert (report.accepted, [line for line, _ in report.rejected]) == (3, [3])
    assert report.rejected[0][1].startswith("phone (column Celular): expects a phone number")
    rows = landed(settings)
    assert [(r["identity_kind"], r["reason"]) for r in rows] == [
        ("phone", "equipe"), ("email", "equipe"), ("email", "staff"),
    ]  # fmt: skip
    assert exclude_list(settings, path, undo=True).accepted == 3
    assert [r["is_excluded"] for r in landed(settings)][-1] is False


def test_e88_a_list_of_withdrawals(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "consent.csv"
    path.write_text(
        "Teléfono;Acepta;Fecha\n+5215550921478;sí;28/11/2026\n+5215550921479;No;27/11/2026\n"
        "+5215550921470;talvez;27/11/2026\n"
    )
    report = consent_list(settings, path)
    assert (report.accepted, [line for line, _ in report.rejected]) == (2, [4])
    rows = landed(settings, "consents")
    assert [(r["is_given"], r["declared_at"].date()) for r in rows] == [
        (True, date(2026, 11, 28)), (False, date(2026, 11, 27)),
    ]  # fmt: skip
    with pytest.raises(TableError, match="has its own column Acepta"):
        consent_list(settings, path, given=False)
    path.write_text("email\nana@example.com\nnobody\n")
    report = consent_list(settings, path, given=False)
    assert (report.accepted, [line for line, _ in report.rejected]) == (1, [3])
    with pytest.raises(TableError, match="columns missing: given; or use --withdrawn"):
        consent_list(settings, path)


def test_e88_the_row_for_the_seed_is_csv() -> None:
    (told,) = unmapped([("crm", 'Won "vip", paid')])
    row = told.partition("lead_stages.csv: ")[2]
    assert next(csv.reader([row]))[:2] == ["crm", 'Won "vip", paid']
