"""`ctwa init`: a folder for an installation, each answer checked; what is edited there counts."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner, Result

from commands import init as init_module
from commands.cli import app
from commands.home import InitError, make_folder, write_env, written
from ctwa.project import HomeError, project_of, seed_file
from ctwa.settings import PROJECT_DIR, Settings, load_settings
from ingestion.files.outcome_import import unmapped
from keeping.data_folder import put_right
from simulator.ads_api import AdsApi, serve_ads_api
from simulator.ads_state import Account, AdsState

TOKEN = "EAAinit0token0of0the0test"


@pytest.fixture
def api() -> Iterator[AdsApi]:
    state = AdsState(now=lambda: datetime.now(UTC))
    state.add(Account("101", "Ours", "BRL", "America/Sao_Paulo", True))
    with serve_ads_api(state, token=TOKEN) as served:
        yield served


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [n for n in os.environ if n.startswith(("CTWA_", "META_", "GOOGLE_", "HUBSPOT_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def _options(api: AdsApi, **values: str) -> list[str]:
    given = {
        "META_GRAPH_URL": api.url,
        "META_API_VERSION": api.version,
        "META_AD_ACCOUNT_IDS": "101",
        **values,
    }
    return [part for name, value in given.items() for part in ("--set", f"{name}={value}")]


def _init(folder: Path, *options: str, typed: str | None = None, **secrets: str) -> Result:
    command = ["init", str(folder), "--no-first-lead", *options]
    return CliRunner().invoke(app, command, input=typed, env=secrets)


def test_a_folder_is_made_and_the_service_is_asked(tmp_path: Path, api: AdsApi) -> None:
    acme = tmp_path / "acme"
    done = _init(acme, *_options(api, CTWA_REPORTING_CURRENCY="EUR"), META_ACCESS_TOKEN=TOKEN)

    assert done.exit_code == 0, done.output
    assert "Ours, BRL, America/Sao_Paulo" in done.output
    assert TOKEN not in done.output
    settings = written(acme)
    assert settings["CTWA_REPORTING_CURRENCY"] == "EUR"
    assert settings["CTWA_HOME"] == str(acme)
    assert settings["META_ACCESS_TOKEN"] == TOKEN
    assert len(settings["META_VERIFY_TOKEN"]) == len(settings["CTWA_INTAKE_SECRET"]) == 48
    assert stat.S_IMODE((acme / ".env").stat().st_mode) == 0o600
    assert (acme / "seeds" / "lead_stages.csv").exists()
    assert (acme / "README.md").exists()


def test_a_second_time_keeps_what_is_there(tmp_path: Path, api: AdsApi) -> None:
    acme = tmp_path / "Acme's \\ 2 #1"
    _init(acme, *_options(api), META_ACCESS_TOKEN=TOKEN)
    env = acme / ".env"
    env.write_text(env.read_text().replace("CTWA_INTAKE_SECRET=", "export CTWA_INTAKE_SECRET="))
    first = written(acme)
    assert first["CTWA_HOME"] == str(acme)
    stages = acme / "seeds" / "lead_stages.csv"
    stages.write_text(stages.read_text() + "crm,Fechado,won,2000-01-01,\n")

    again = _init(acme, "--set", "CTWA_REPORTING_CURRENCY=EUR")

    assert again.exit_code == 0, again.output
    assert stages.read_text().endswith("crm,Fechado,won,2000-01-01,\n")
    assert written(acme) == first | {"CTWA_REPORTING_CURRENCY": "EUR"}


def test_an_answer_of_two_lines_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(InitError, match="META_APP_SECRET: the answer has more than one line"):
        write_env(tmp_path, {"CTWA_REPORTING_CURRENCY": "EUR", "META_APP_SECRET": "two\nlines"})

    assert not (tmp_path / ".env").exists()


def test_a_refused_token_is_said_with_its_fix(tmp_path: Path, api: AdsApi) -> None:
    done = _init(tmp_path / "acme", *_options(api), META_ACCESS_TOKEN="EAAsomebodyelses")

    assert done.exit_code == 1
    assert "✗ Meta token" in done.output
    assert (tmp_path / "acme" / "seeds").is_dir(), "what was good is kept"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("CTWA_REPORTING_CURRENCY=REAIS", "CTWA_REPORTING_CURRENCY"),
        ("CTWA_REPORTING_CURENCY=EUR", "did you mean CTWA_REPORTING_CURRENCY?"),
        ("EUR", "write NAME=value"),
    ],
)
def test_a_value_that_no_setting_can_have_is_named(tmp_path: Path, value: str, text: str) -> None:
    acme = tmp_path / "acme"
    done = _init(acme, "--set", value)

    assert done.exit_code == 1
    assert text in done.output
    assert not (acme / ".env").exists()


def test_on_a_terminal_a_wrong_answer_is_asked_for_again(
    tmp_path: Path, api: AdsApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(init_module, "err", Console(stderr=True, force_terminal=True))
    company, whatsapp = ["REAIS", "", "", "EUR", "", ""], ["0123456789abcdef"]
    wrong, right = ["EAAsomebodyelses", "101", "y"], [TOKEN, ""]
    off = [""] * 5
    targets = ["85,00", "", "85.00", "20000"]
    typed = "\n".join([*company, *whatsapp, *wrong, *right, *off, *targets]) + "\n"
    address = _options(api)[:4]

    done = _init(tmp_path / "acme", *address, typed=typed)

    assert done.exit_code == 0, done.output
    settings = written(tmp_path / "acme")
    assert (settings["CTWA_REPORTING_CURRENCY"], settings["META_ACCESS_TOKEN"]) == ("EUR", TOKEN)
    assert "META_ACCESS_TOKEN" in done.output, "the fix of the first one"
    assert "85,00: an amount is a plain number above 0, such as 85.50" in done.output
    assert _targets(tmp_path / "acme") == ["meta,101,,85.00,20000,EUR,"]


def _targets(folder: Path) -> list[str]:
    return (folder / "seeds" / "targets.csv").read_text().splitlines()[1:]


def test_targets_are_written_and_a_changed_one_holds_from_today(
    tmp_path: Path, api: AdsApi
) -> None:
    acme, today = tmp_path / "acme", datetime.now().date().isoformat()  # noqa: DTZ005
    _init(acme, *_options(api), "--target", "meta:101=85", META_ACCESS_TOKEN=TOKEN)
    for amounts in ("85", "90,20000", "95,20000"):
        assert _init(acme, "--target", f"meta:101={amounts}").exit_code == 0

    assert _targets(acme) == ["meta,101,,85,,BRL,", f"meta,101,,95,20000,BRL,{today}"]
    refused = {
        "meta:102=85": "no such ad account is connected here",
        "meta:101=85,-1": "a plain number above 0",
        "101=85": "write meta:ACCOUNT=COST,BUDGET",
    }
    for goal, text in refused.items():
        done = _init(acme, "--target", goal)
        assert (done.exit_code, text in done.output) == (1, True), done.output
    assert len(_targets(acme)) == 2


def test_a_variable_of_the_folder_goes_before_the_package_s(
    tmp_path: Path, make_settings: Callable[..., Settings]
) -> None:
    home = tmp_path / "acme"
    make_folder(home)
    settings = make_settings(ctwa_home=home)
    package = yaml.safe_load((PROJECT_DIR / "dbt_project.yml").read_text())
    file = home / "vars.yml"
    assert (project_of(settings) / "dbt_project.yml").is_symlink(), "nothing is changed yet"

    template = file.read_text()
    file.write_text(re.sub(r"^# (\w+: )", r"\1", template, flags=re.MULTILINE))
    built = yaml.safe_load((project_of(settings) / "dbt_project.yml").read_text())
    assert built == package
    shown = yaml.safe_load(file.read_text())
    assert package["vars"].keys() - shown.keys() == {"rule_version", "ads_platforms"}

    file.write_text("board_margin: 0.2\nboard_windows: [14, 60]\n")
    built = yaml.safe_load((project_of(settings) / "dbt_project.yml").read_text())
    assert built["vars"] == package["vars"] | {"board_margin": 0.2, "board_windows": [14, 60]}
    file.write_text(template)
    assert (project_of(settings) / "dbt_project.yml").is_symlink(), "they are the package's again"

    refused = {
        "board_margins: 0.2": "there is no variable board_margins; there are spend_awaited_days, ",
        "board_margin: a lot": "board_margin is 'a lot', and must be like 0.1",
        "board_windows: 30": r"board_windows is 30, and must be like \[30, 90, 180\]",
        "rule_version: 5": "there is no variable rule_version",
        "board_margin 0.2": "write one `name: value` a line",
        "a: b: c": "is not YAML",
    }
    for content, text in refused.items():
        file.write_text(content)
        with pytest.raises(HomeError, match=text):
            project_of(settings)


def test_a_seed_of_the_folder_counts_and_one_that_is_deleted_is_the_package_s(
    tmp_path: Path, make_settings: Callable[..., Settings]
) -> None:
    home = tmp_path / "acme"
    (home / "seeds").mkdir(parents=True)
    (home / "models").mkdir()
    own = home / "seeds" / "lead_stages.csv"
    own.write_text("source,stage,funnel_stage,valid_from,valid_to\n*,Fechado,won,2000-01-01,\n")
    (home / "models" / "by_day.sql").write_text("select 1 as one\n")
    settings = make_settings(ctwa_home=home)

    project = project_of(settings)

    assert (project / "dbt_project/seeds/lead_stages.csv").read_text() == own.read_text()
    assert (project / "dbt_project/beside/own/by_day.sql").read_text() == "select 1 as one\n"
    assert unmapped([("crm", "Fechado")], seed_file(settings, "lead_stages")) == []
    package = PROJECT_DIR / "dbt_project"
    ours = {p.relative_to(project) for p in (project / "dbt_project").rglob("*") if p.is_file()}
    theirs = {p.relative_to(PROJECT_DIR) for p in package.rglob("*") if p.is_file()}
    assert {str(p) for p in ours - theirs} == {"dbt_project/beside/own/by_day.sql"}
    assert theirs - ours == set()

    own.unlink()
    (home / "models" / "by_day.sql").unlink()
    assert project_of(settings) == project
    seed = "dbt_project/seeds/lead_stages.csv"
    assert (project / seed).read_text() == (PROJECT_DIR / seed).read_text()
    assert not (project / "dbt_project/beside/own/by_day.sql").exists()


def test_the_home_of_the_account_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = load_settings(_env_file=None)
    assert settings.ctwa_home is None
    assert project_of(settings) == PROJECT_DIR


def test_files_of_the_package_stay_as_they_are_when_the_data_folder_is_repaired(
    tmp_path: Path, make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may belong to another account, on a disk that is read-only."""
    (tmp_path / "acme").mkdir()
    settings = make_settings(ctwa_home=tmp_path / "acme")
    link = project_of(settings) / "dbt_project.yml"
    asked: list[Path] = []
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: asked.append(path) or access(path, mode))
    mode = (PROJECT_DIR / "dbt_project.yml").stat().st_mode

    put_right(settings)

    assert link.is_symlink()
    assert settings.dbt_target_dir in asked
    assert link not in asked
    assert (PROJECT_DIR / "dbt_project.yml").stat().st_mode == mode


def test_a_seed_that_nothing_reads_is_named(
    tmp_path: Path, make_settings: Callable[..., Settings]
) -> None:
    (tmp_path / "seeds").mkdir()
    (tmp_path / "seeds" / "stages.csv").write_text("a\n")
    with pytest.raises(HomeError, match=r"stages\.csv is no seed.*lead_stages\.csv"):
        project_of(make_settings(ctwa_home=tmp_path))
    with pytest.raises(HomeError, match="ctwa init"):
        project_of(make_settings(ctwa_home=tmp_path / "nowhere"))


@pytest.mark.deep
@pytest.mark.timeout(1200)
def test_the_first_ten_minutes_of_a_newcomer(tmp_path: Path, api: AdsApi) -> None:
    """A number, an ad account, a first lead with its reason, a stage and a model of their own."""
    acme = tmp_path / "acme"
    secrets = {"META_ACCESS_TOKEN": TOKEN, "META_APP_SECRET": "0123456789abcdef0123"}

    def run(*command: str, folder: Path = acme, **variables: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "ctwa_attribution", *command],
            cwd=folder, env={**os.environ, **variables},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    said = run("init", str(acme), "--no-ask", *_options(api), folder=tmp_path, **secrets)
    assert "one with a forged signature was refused" in said
    assert "120200000000000000" in said, "the ad of the first lead"
    assert "test traffic of the platform" in said

    stages = acme / "seeds" / "lead_stages.csv"
    stages.write_text(stages.read_text() + "crm,Fechado,won,2000-01-01,\n")
    (acme / "models" / "leads_by_channel.sql").write_text(
        "select channel, count(*) as leads from {{ ref('fct_leads') }} group by all\n"
    )
    run("refresh")
    assert "leads_by_channel" in run("dbt", "--quiet", "ls", "--select", "leads_by_channel")
    assert "rows" in run("report")
    assert "metric_time__month" in run(
        "mf", "query", "--metrics", "leads", "--group-by", "metric_time__month"
    )
    with duckdb.connect(str(acme / "data" / "warehouse.duckdb"), read_only=True) as warehouse:
        rows = warehouse.sql("from seeds.lead_stages where stage = 'Fechado'").fetchall()
    assert len(rows) == 1
    with duckdb.connect(str(acme / "data" / "marts.duckdb"), read_only=True) as marts:
        own = marts.sql("select sum(leads) from leads_by_channel").fetchall()
    assert own == [(1,)]
