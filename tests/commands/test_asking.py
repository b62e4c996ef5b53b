"""`ctwa status`, `why` and `export`: what they say of a small installation, and refuse."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import openpyxl
import pytest
from typer.testing import CliRunner, Result

from activation.crm_ledger import ContactRow, save_contacts
from activation.ledger import open_ledger
from commands.cli import app
from commands.status import status
from commands.story import UnknownLeadError, tell
from commands.story_text import REASONS, lines
from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import PROJECT_DIR, Settings, load_settings
from ingestion.source import Finding
from keeping.erasure.forget import forget_person
from keeping.erasure.steps import land
from orchestration.instance import open_instance
from orchestration.keys import NIGHTLY
from orchestration.sources import loaded_keys
from publishing.export import ExportError, export_mart
from tests.conftest import PII_KEY
from tests.support.erasure import (
    ANA,
    ANA_ID,
    BIA,
    BIA_ID,
    message,
    receive,
    two_holders,
    webhook,
)
from tests.support.report import AS_OF, write_marts

ANA_TYPED = "+55 (11) 98765-4321"
NEXT_ID = "BR.5F5F5F5F5F5F5F5F"
AD = "120226305854810123"
FORMULA = '=HYPERLINK("http://x.example","Ver")'


@pytest.fixture
def runner(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """The command line on this test's installation."""
    monkeypatch.setattr("commands.asking.load_settings", lambda: settings)
    return CliRunner()


def _run(runner: CliRunner, *arguments: str | Path) -> Result:
    return runner.invoke(app, [str(argument) for argument in arguments])


# ---- export -------------------------------------------------------------------------------------


@pytest.fixture
def marts(settings: Settings) -> Path:
    """Three leads of three days, an ad with a hostile name, an event at midnight in São Paulo."""
    return write_marts(
        settings.marts_path,
        fct_leads=[
            {"lead_id": "a", "first_touch_date": "2026-06-01", "channel": "direct"},
            {
                "lead_id": "b",
                "first_touch_date": "2026-06-02",
                "channel": "click_to_whatsapp",
                "platform": "meta",
                "ad_id": AD,
                "won_value_reporting": "-12.50",
            },
            {"lead_id": "c", "first_touch_date": "2026-06-03", "channel": "outbound"},
        ],
        dim_ads=[{"platform": "meta", "ad_id": AD, "ad_name": FORMULA, "headline": "a\x07b"}],
        conversion_events=[
            {"conversion_event_id": "1", "occurred_at": "2026-06-02 02:59:59+00"},
            {"conversion_event_id": "2", "occurred_at": "2026-06-02 03:00:00+00"},
        ],
    )


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_an_export_has_the_rows_that_were_asked_for(marts: Path, tmp_path: Path) -> None:
    def ids(name: str, **filters: Any) -> list[str]:
        made = export_mart(marts, tmp_path / name, "fct_leads", **filters)
        found = [row["lead_id"] for row in _csv(made.path)]
        assert (made.rows, made.as_of) == (len(found), AS_OF)
        return found

    assert ids("all.csv") == ["a", "b", "c"]
    assert ids("days.csv", since=date(2026, 6, 2), until=date(2026, 6, 2)) == ["b"]
    assert ids("any.csv", where=["channel=direct", "channel=outbound"]) == ["a", "c"]
    assert ids("both.csv", where=["channel=direct", "platform=meta"]) == []
    assert ids("null.csv", where=["platform="]) == ["a", "c"]
    assert ids("money.csv", where=["won_value_reporting=-12.5"]) == ["b"]
    assert ids("sql.csv", where=["channel=x' or 1=1 --"]) == []


def test_the_days_of_times_are_those_of_the_reporting_zone(marts: Path, tmp_path: Path) -> None:
    day = date(2026, 6, 2)
    made = export_mart(marts, tmp_path / "e.csv", "conversion_events", since=day, until=day)
    assert [row["conversion_event_id"] for row in _csv(made.path)] == ["2"]
    assert _csv(made.path)[0]["occurred_at"] == "2026-06-02 03:00:00"


def test_in_a_sheet_ids_are_text_and_formulas_are_none(marts: Path, tmp_path: Path) -> None:
    book = export_mart(marts, tmp_path / "ads.xlsx", "dim_ads").path
    sheet = openpyxl.load_workbook(book)["dim_ads"]
    cells = {head.value: cell for head, cell in zip(sheet[1], sheet[2], strict=True)}
    assert (cells["ad_id"].value, cells["ad_id"].data_type) == (AD, "s")
    assert cells["ad_id"].number_format == "@"
    assert (cells["ad_name"].value, cells["ad_name"].data_type) == (FORMULA, "s")
    assert cells["headline"].value == "a\N{REPLACEMENT CHARACTER}b"

    text = export_mart(marts, tmp_path / "ads.csv", "dim_ads").path
    (row,) = _csv(text)
    assert (row["ad_name"], row["ad_id"]) == (f"'{FORMULA}", AD)
    assert f'"{AD}"' in text.read_text()
    (lead,) = _csv(export_mart(marts, tmp_path / "b.csv", "fct_leads", where=["lead_id=b"]).path)
    assert lead["won_value_reporting"] == "-12.500000"  # a number is no formula


def test_parquet_is_the_mart_as_it_is(marts: Path, tmp_path: Path) -> None:
    path = export_mart(marts, tmp_path / "ads.parquet", "dim_ads").path
    with duckdb.connect() as db:
        (row,) = db.execute(f"select ad_id, ad_name from '{path}'").fetchall()
    assert row == (AD, FORMULA)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["x.txt", "--table", "fct_leads"], "must end in one of .csv, .parquet, .xlsx"),
        (["none/x.csv", "--table", "fct_leads"], "is not a folder: create it first"),
        (["there.csv", "--table", "fct_leads"], "there.csv exists: choose another name"),
        (["x.csv", "--table", "fct_lead"], "no table fct_lead; did you mean fct_leads"),
        (["x.csv", "--table", "fct_leads", "--where", "chanel=x"], "did you mean channel"),
        (["x.csv", "--table", "fct_leads", "--where", "channel"], "expected column=value"),
        (["x.csv", "--table", "fct_leads", "--where", "first_touch_date=May"], "of type date"),
        (["x.csv", "--table", "dim_ads", "--from", "2026-06-01"], "dim_ads has no day"),
        (
            ["x.csv", "--table", "fct_leads", "--from", "2026-06-02", "--to", "2026-06-01"],
            "--from 2026-06-02 is later than --to 2026-06-01",
        ),
    ],
)
def test_a_refused_export_says_why_and_writes_nothing(
    marts: Path, runner: CliRunner, tmp_path: Path, arguments: list[str], said: str
) -> None:
    (tmp_path / "there.csv").write_text("mine")
    before = sorted(path.name for path in tmp_path.iterdir())
    found = _run(runner, "export", tmp_path / arguments[0], *arguments[1:])
    assert found.exit_code == 1
    assert said in found.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert (tmp_path / "there.csv").read_text() == "mine"


def test_a_file_is_replaced_on_request_and_in_one_step(
    marts: Path, runner: CliRunner, tmp_path: Path
) -> None:
    (tmp_path / "there.csv").write_text("mine")
    found = _run(runner, "export", tmp_path / "there.csv", "--table", "fct_leads", "--force")
    assert found.exit_code == 0, found.stderr
    assert found.stdout.endswith("there.csv: 3 rows of fct_leads, as of 2026-06-30\n")
    assert len(_csv(tmp_path / "there.csv")) == 3


def test_without_marts_there_is_nothing_to_export(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="run `ctwa refresh` first"):
        export_mart(settings.marts_path, tmp_path / "x.csv", "fct_leads")


# ---- why ----------------------------------------------------------------------------------------


def _lead(lead_id: str, at: str = "2026-06-01 12:00:00+00", **columns: Any) -> Mapping[str, Any]:
    return {
        "lead_id": lead_id, "why": f"Tapped ad {AD} (first touch R5).", "first_touch_at": at,
        "channel": "click_to_whatsapp", "basis": "ctwa_click", "ad_id": AD, "ad_name": "Praia",
        "campaign_id": "7", "campaign_name": "Verão", "resolution": "resolved",
        "is_qualified": False, "is_currently_qualified": False, "is_won": False, **columns,
    }  # fmt: skip


_LEADS = """lead_id varchar, why varchar, first_touch_at timestamptz, channel varchar,
    basis varchar, ad_id varchar, ad_name varchar, campaign_id varchar, campaign_name varchar,
    resolution varchar, current_stage varchar, is_qualified boolean,
    is_currently_qualified boolean, is_won boolean, qualified_at timestamptz, won_at timestamptz,
    days_to_qualify bigint, won_value decimal(18, 6), won_currency varchar, is_excluded boolean,
    exclusion_reason varchar, is_test boolean, qualified_by varchar"""
_OTHERS = """
create table marts.fct_touches as select $1 as lead_id, 't' as touch_id,
    timestamptz '2026-06-01 12:00:00+00' as occurred_at, 'click_to_whatsapp' as channel,
    'ctwa_click' as basis, '120226305854810123' as ad_id, true as is_first_touch,
    true as is_source_touch;
create table marts.fct_conversations as select $1 as lead_id, 'c' as conversation_id,
    timestamptz '2026-06-01 12:00:00+00' as started_at, '551140000000' as business_number_id,
    3 as inbound_messages, 2 as outbound_messages, 40 as first_response_seconds,
    'ai_agent' as answered_by, 1 as handovers;
create table marts.fct_outcomes as select $1 as lead_id, 'hubspot' as source, 'e' as event_id,
    'sql' as stage, 'sql' as stage_label, 'qualified' as funnel_stage, 'phone' as matched_by,
    cast(1200 as decimal(20, 6)) as value, 'BRL' as currency,
    timestamptz '2026-06-04 10:00:00+00' as occurred_at
    union all select $1, 'chat', 'quote_sent:1', 'qualified', 'quote_sent 2ae861894557',
    'qualified', 'message_id', null, null, timestamptz '2026-06-05 10:00:00+00';
create table marts.conversion_events as select $1 as lead_id, 'v' as conversion_event_id,
    'QualifiedLead' as event_name, 'skipped' as status, 'click_too_old' as reason,
    timestamptz '2026-06-04 10:00:00+00' as occurred_at, cast(null as timestamptz) as sent_at;
create table marts.publication as select '1' as version, date '2026-06-30' as as_of,
    timestamptz '2026-06-30 05:00:00+00' as published_at, '4' as rule_version, '' as rules;
"""


def _publish(settings: Settings, *leads: Mapping[str, Any]) -> None:
    settings.marts_path.parent.mkdir(parents=True, exist_ok=True)
    settings.marts_path.unlink(missing_ok=True)
    with duckdb.connect(str(settings.marts_path)) as marts:
        marts.execute("set timezone = 'UTC'")
        marts.execute(f"create table marts.fct_leads ({_LEADS})")
        for row in leads:
            marks = ", ".join("?" * len(row))
            sql = f"insert into marts.fct_leads ({', '.join(row)}) values ({marks})"
            marts.execute(sql, list(row.values()))
        for statement in _OTHERS.split(";\n"):
            if statement.strip():
                given = [leads[0]["lead_id"]] if "$1" in statement else []
                marts.execute(statement, given)


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder: Ana wrote with phone and user id, and Bia's number went to somebody else."""
    folder = tmp_path_factory.mktemp("asking") / "data"
    settings = load_settings(_env_file=None, data_dir=folder, pii_key=PII_KEY)
    receive(settings, [webhook(contacts=[(ANA, ANA_ID)], messages=[message(ANA, 1)])])
    receive(settings, two_holders(BIA, BIA_ID, NEXT_ID, AD))
    land(settings)
    return folder


@pytest.fixture
def ana(landed: Path, settings: Settings) -> str:
    """Ana's lead in the marts, which bears her user id. Returns the lead's id."""
    shutil.copytree(landed, settings.data_dir)
    lead_id = Pseudonymizer.from_settings(settings).bsuid(ANA_ID)
    assert lead_id is not None
    _publish(
        settings,
        _lead(
            lead_id,
            is_qualified=True,
            is_currently_qualified=True,
            qualified_at="2026-06-04 10:00:00+00",
            days_to_qualify=2,
            qualified_by="crm_and_chat",
        ),
    )
    return lead_id


def test_why_tells_the_whole_story(
    ana: str, make_settings: Any, runner: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(hubspot_token="pat-x", hubspot_write_back="live")
    with open_ledger(settings) as ledger:
        contact = ContactRow("k", ana, 1, settled="c", written={"ctwa_source": "meta"})
        save_contacts(ledger, [contact])
    monkeypatch.setattr("commands.asking.load_settings", lambda: settings)
    found = _run(runner, "why", ana)
    assert found.exit_code == 0, found.stderr
    for part in (
        f"Lead {ana}",
        f"  Tapped ad {AD} (first touch R5).",
        f"campaign 7 “Verão”, ad {AD} “Praia”",
        "qualified on 2026-06-04, 2 days after the first touch, by the CRM and a chat rule",
        f"2026-06-01 12:00 UTC  click_to_whatsapp (ctwa_click), ad {AD}  [first, source]",
        "3 in, 2 out, answered after 40 s, held by ai_agent, changed hands 1 times",
        "hubspot: sql → qualified, 1,200.00 BRL, matched by phone",
        "chat rule quote_sent: qualified → qualified, matched by message_id",
        f"skipped, click_too_old – {REASONS['click_too_old']}",
        "HubSpot: written on 1970-01-01",
        "As of 2026-06-30; times are UTC.",
    ):
        assert part in found.stdout, found.stdout
    story = json.loads(_run(runner, "why", ana, "--json").stdout)["leads"][0]
    assert story["lead"]["qualified_at"] == "2026-06-04T10:00:00Z"
    assert story["outcomes"][0]["value"] == "1200.000000"


@pytest.mark.parametrize("typed", [ANA_TYPED, "11 98765-4321", "551187654321"])
def test_a_person_is_found_by_any_spelling_and_never_echoed(
    ana: str, runner: CliRunner, settings: Settings, caplog: pytest.LogCaptureFixture, typed: str
) -> None:
    before = {p: p.stat().st_mtime_ns for p in settings.data_dir.rglob("*") if p.is_file()}
    found = _run(runner, "-v", "why", "--phone", typed)
    assert f"Lead {ana}" in found.stdout, found.stderr
    written = found.stdout + found.stderr + caplog.text
    assert not re.search(r"9?8765-?4321", written)
    after = {p: p.stat().st_mtime_ns for p in settings.data_dir.rglob("*") if p.is_file()}
    assert after == before


def test_a_lead_that_became_part_of_another_is_said(ana: str, settings: Settings) -> None:
    by_phone = Pseudonymizer.from_settings(settings).phone(ANA)
    (story,), _ = tell(settings, by_phone)
    assert story.lead["lead_id"] == ana
    assert f"{by_phone} turned out to be the same person" in "\n".join(lines(story))


def test_an_erased_person_is_said_to_be_erased(ana: str, settings: Settings) -> None:
    forget_person(settings, phone=ANA)
    for asked in ({"phone": ANA_TYPED}, {"lead_id": ana}, {"bsuid": ANA_ID}):
        with pytest.raises(UnknownLeadError, match="was erased on") as refused:
            tell(settings, **asked)
        assert "the next `ctwa refresh` takes them out" in str(refused.value)
    # Who writes again is a new person: the old story stays closed, the new one is told.
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    _publish(settings, _lead(ana, at=later))
    (story,), _ = tell(settings, ana)
    assert any("was erased" in note for note in story.notes)


def test_e28_the_phone_means_its_present_holder(ana: str, settings: Settings) -> None:
    names = Pseudonymizer.from_settings(settings)
    first, later = names.bsuid(BIA_ID), names.bsuid(NEXT_ID)
    assert first
    assert later
    _publish(settings, _lead(first), _lead(later))
    (story,), _ = tell(settings, phone=BIA)
    assert story.lead["lead_id"] == later
    # The erasure of the one before does not close the story of the present holder.
    forget_person(settings, bsuid=BIA_ID)
    (story,), _ = tell(settings, phone=BIA)
    assert story.lead["lead_id"] == later
    with pytest.raises(UnknownLeadError, match="was erased on"):
        tell(settings, bsuid=BIA_ID)


def test_excluded_and_tests_are_said_not_to_count(settings: Settings) -> None:
    lead_id = "0" * 32
    _publish(settings, _lead(lead_id, is_excluded=True, exclusion_reason="staff", is_test=True))
    (story,), _ = tell(settings, lead_id)
    text = "\n".join(lines(story))
    assert "does not count in the reports: staff" in text
    assert "test traffic of a platform" in text


def test_the_start_of_an_id_is_enough_where_only_one_lead_has_it(
    ana: str, settings: Settings
) -> None:
    (story,), _ = tell(settings, ana[:12])  # as the report shows it
    assert story.lead["lead_id"] == ana
    _publish(settings, _lead(ana), _lead(f"{ana}#2"), _lead("0" * 32))
    with pytest.raises(UnknownLeadError, match="2 leads have an id that begins so: ") as refused:
        tell(settings, ana[:12])
    assert f"{ana}, {ana}#2. Give one of these whole" in str(refused.value)
    with pytest.raises(UnknownLeadError, match="no lead of the marts has an id"):
        tell(settings, "f" * 20)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "give one lead id, or one of"),
        (["0" * 32, "--phone", ANA_TYPED], 2, "give one lead id, or one of"),
        (["--phone", "12345"], 2, "--phone: expected a full number"),
        (["--email", "nobody"], 2, "--email: expected an e-mail address"),
        (["joao"], 1, "that is not a lead id"),
        (["ab" * 5], 1, "that is not a lead id"),
        (["551197654321"], 1, "no lead of the marts has an id that begins so"),
        (["--phone", "+5511976543219"], 1, "have no lead of this person"),
    ],
)
def test_what_cannot_be_told_says_why(
    ana: str, runner: CliRunner, arguments: list[str], code: int, said: str
) -> None:
    found = _run(runner, "why", *arguments)
    assert (found.exit_code, found.stdout) == (code, "")
    assert said in found.stderr
    assert not any(text in found.stderr for text in ("12345", "nobody", "joao", "97654321"))


def test_every_reason_of_the_docs_is_told_in_words() -> None:
    page = (PROJECT_DIR / "docs/conversions.md").read_text()
    tables = page.split("| reason |")[1:]
    named = {
        name
        for table in tables
        for row in table.split("\n\n")[0].splitlines()
        for name in re.findall(r"`(\w+)`", row.split("|")[1] if row.startswith("|") else "")
    }
    assert named == set(REASONS)


# ---- status -------------------------------------------------------------------------------------


def _by_subject(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.subject: finding for finding in findings}


NIGHT = datetime(2026, 6, 30, 8, 0, tzinfo=UTC)
"""05:00 in São Paulo, the default hour of the schedule."""


def _health(settings: Settings, *rows: tuple[str, str]) -> None:
    write_marts(settings.marts_path)
    with duckdb.connect(str(settings.marts_path)) as marts:
        marts.execute(
            "create table marts.health_alarms (alarm varchar, status varchar, message varchar, "
            "since date, mend varchar, place integer)"
        )
        for alarm, state in rows:
            values = [alarm, state, f"text of {alarm}", "2026-06-28", "look there", 1]
            marts.execute("insert into marts.health_alarms values (?, ?, ?, ?, ?, ?)", values)


def test_a_new_installation_has_something_to_do(runner: CliRunner) -> None:
    found = _run(runner, "status", "--json")
    assert found.exit_code == 1
    said = {f["subject"]: f for f in json.loads(found.stdout)["findings"]}
    assert said["last run"]["fix"] == "run `ctwa refresh`"
    assert said["marts"]["status"] == "wrong"
    assert said["vault"]["status"] == "ok"
    assert "next" in said["nightly refresh"]["found"]


def test_alarms_and_unread_spend_stand_until_they_are_over(settings: Settings) -> None:
    _health(settings, ("quarantine", "warn"), ("meta_token", "ok"), ("referral_share", "off"))
    with duckdb.connect(str(settings.marts_path)) as marts:
        marts.execute("alter table marts.dim_accounts add column spend_unread_since date")
        marts.execute(
            "insert into marts.dim_accounts (platform, account_id, spend_unread_since) "
            "values ('meta', '101', '2026-06-27'), ('meta', '102', null)"
        )
    said = _by_subject(status(settings, NIGHT))
    assert said["alarm quarantine"].found == "text of quarantine (since 2026-06-28)"
    assert said["alarm quarantine"].fix == "look there (docs/runbooks.md#quarantine)"
    assert "since 2026-06-27" in said["spend of meta 101"].found
    assert "spend of meta 102" not in said
    _health(settings, ("quarantine", "ok"), ("referral_share", "off"))
    said = _by_subject(status(settings, NIGHT))
    assert said["alarms"].status == "ok"
    assert "1 have too little" in said["alarms"].found


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        # Published at 05:00 UTC on the 30th, three hours before that day's run is due.
        (timedelta(0), "ok"),
        (timedelta(hours=2, minutes=59), "ok"),
        (timedelta(hours=3), "wrong"),
    ],
)
def test_marts_are_late_once_a_scheduled_run_should_have_ended(
    settings: Settings, later: timedelta, expected: str
) -> None:
    write_marts(settings.marts_path)
    assert _by_subject(status(settings, NIGHT + later))["marts"].status == expected


def test_a_body_that_waits_too_long_is_wrong(settings: Settings) -> None:
    receive(settings, [webhook(contacts=[(ANA, ANA_ID)], messages=[message(ANA, 1)])])
    now = datetime.now(UTC)
    assert _by_subject(status(settings, now))["vault"].status == "ok"
    late = _by_subject(status(settings, now + timedelta(hours=31)))["vault"]
    assert late.status == "wrong"
    assert "waiting for 31 h" in late.found


def test_the_last_run_and_the_age_of_each_source(make_settings: Any) -> None:
    settings = make_settings(hubspot_token="pat-x")
    with open_instance(settings) as instance:
        read = {
            "event_log": {"status": "loaded"},
            "hubspot": {"status": "failed", "problem": "HUBSPOT_TOKEN is refused"},
        }
        for key in loaded_keys():
            if key.path[0] in read:
                made = dg.AssetMaterialization(key, metadata=read[key.path[0]])
                instance.report_runless_asset_event(made)

        @dg.op
        def fails() -> None:
            raise ValueError("the disk is full")

        @dg.job(name=NIGHTLY)
        def night() -> None:
            fails()

        night.execute_in_process(instance=instance, raise_on_error=False)
    said = _by_subject(status(settings))
    assert said["last run"].status == "wrong"
    assert "the disk is full" in said["last run"].found
    assert said["event log"].status == "ok"
    assert "HUBSPOT_TOKEN is refused" in said["HubSpot"].found
    assert said["Meta ads"].status == "off"
    assert said["Dagster's daemon"].status == "off"
