"""Settings: contract names, one clear line per fault, secrets never shown."""

from __future__ import annotations

import os
import re
from pathlib import Path
from unittest import mock

import pytest
from dagster._utils.schedules import is_valid_cron_string

from ctwa import setting_types as types
from ctwa.environment import export_environment, set_names, unknown_names
from ctwa.settings import (
    PROJECT_DIR,
    Settings,
    SettingsError,
    load_settings,
    name_of,
)


def test_everything_lies_in_the_data_directory_by_default(tmp_path: Path) -> None:
    settings = load_settings(_env_file=None, data_dir=tmp_path)
    assert settings.vault_url == f"sqlite:///{tmp_path}/vault.db"
    assert settings.lake_url == f"{tmp_path}/lake"
    assert settings.warehouse_path == tmp_path / "warehouse.duckdb"
    assert settings.marts_path == tmp_path / "marts.duckdb"


def test_a_bucket_url_stays_a_url(tmp_path: Path) -> None:
    settings = load_settings(_env_file=None, data_dir=tmp_path, lake_url="s3://bucket/ctwa")
    assert settings.lake_url == "s3://bucket/ctwa"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CTWA_REPORTING_TIMEZONE", "Sao Paulo"),
        ("CTWA_REPORTING_CURRENCY", "real"),
        ("CTWA_PII_KEY", "abc"),
        ("CTWA_DEFAULT_COUNTRY", "Brasil"),
        ("CTWA_SITE_ID", "Aurora Ltda"),
        ("CTWA_PUBLIC_URL", "hooks.example.com"),
        ("CTWA_CRM_WEBHOOK_URL", "crm.example.com"),
        ("CTWA_FIRST_TOUCH", "last"),
        ("CTWA_LEAD_CYCLE_DAYS", "ninety"),
        ("CTWA_COLUMN_LINEAGE", "maybe"),
        ("CTWA_PII_KEY", "00112233"),
        ("CTWA_CONVERSATION_GAP_DAYS", "0"),
        ("CTWA_VAULT_RETENTION_DAYS", "2"),
        ("META_API_VERSION", "25"),
        ("META_AD_ACCOUNT_IDS", "123,abc"),
        ("META_AD_ACCOUNT_IDS", "123,\u0661\u0662\u0663"),
        ("META_AD_ACCOUNT_IDS", "act_\u00b2\u00b3"),
        ("META_DATASET_IDS", "123:\u0661\u0662"),
        ("META_API_VERSION", "v\u0662\u0665.0"),
        ("GOOGLE_ADS_CUSTOMER_IDS", "\u0967\u0968\u0969-456-7890"),
        ("GOOGLE_ADS_API_VERSION", "v\u0662\u0663"),
        ("CTWA_REPORTING_TIMEZONE", "America"),
        ("CTWA_REPORTING_TIMEZONE", "../UTC"),
        ("CTWA_REPORTING_TIMEZONE", "Factory"),
        ("CTWA_REPORTING_CURRENCY", "XXX"),
        ("CTWA_NIGHTLY_CRON", "0 5 * *"),
        ("CTWA_NIGHTLY_CRON", "0 5 31 4 *"),
        ("CTWA_ACTIVATION_CRON", "20 24 * * *"),
        ("META_GRAPH_URL", "graph.facebook.com"),
        ("HUBSPOT_URL", "https://api.hubapi.com:99999"),
        ("CTWA_SMTP_URL", "smtp://mail.example.com:70000"),
        ("CTWA_MARTS_URL", "mysql://u:p@h/d"),
        ("CTWA_RUN_HISTORY_DAYS", "0"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as error:
        load_settings(_env_file=None)
    assert str(error.value).startswith(f"{name}: ")
    assert "\n" not in str(error.value)
    # Nobody who fills in a file has to read Python or patterns.
    assert not re.search(r"[\^\[\]]|Input|String|parse", str(error.value))


def test_a_blank_line_in_env_means_not_set(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_text("META_ACCESS_TOKEN=\nCTWA_BACKUP_DIR=\nMETA_AD_ACCOUNT_IDS=\n")
    settings = load_settings(_env_file=env)
    assert settings.meta_access_token is None
    assert settings.backup_dir is None
    assert not settings.meta_is_on


def test_variables_of_other_programs_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    default = load_settings(_env_file=None)
    for field in Settings.model_fields:
        if name_of(field) != field.upper():
            monkeypatch.setenv(field.upper(), "/somebody/else")

    assert load_settings(_env_file=None) == default
    assert load_settings(_env_file=None, data_dir="here").data_dir == Path("here").absolute()


def test_secrets_are_never_printed(tmp_path: Path) -> None:
    canary = "canary-4711-secret"
    settings = load_settings(
        _env_file=None,
        data_dir=tmp_path,
        meta_access_token=canary,
        meta_app_secret=canary,
        intake_secret=canary,
        pii_key=canary,
        marts_url=f"postgresql://u:{canary}@h/d",
        alert_webhook_url=f"https://hooks/{canary}",
        smtp_url=f"smtp://u:{canary}@h",
    )
    assert canary not in f"{settings!r} {settings}"


def test_app_secrets_rotate_as_a_list(tmp_path: Path) -> None:
    settings = load_settings(_env_file=None, data_dir=tmp_path, meta_app_secret="new, old")
    assert settings.meta_app_secrets == [b"new", b"old"]


def test_account_ids_lose_their_prefix_and_repeats(tmp_path: Path) -> None:
    settings = load_settings(_env_file=None, data_dir=tmp_path, meta_ad_account_ids="act_2, 1,2")
    assert settings.meta_ad_account_ids == ("2", "1")


def test_child_processes_get_the_same_settings(tmp_path: Path) -> None:
    settings = load_settings(
        _env_file=None, data_dir=tmp_path, meta_access_token="t", conversation_gap_days=7
    )
    with mock.patch.dict(os.environ):
        export_environment(settings)
        again = load_settings(_env_file=None)
    for name in Settings.model_fields:
        assert getattr(again, name) == getattr(settings, name), name
    assert "CTWA_CONVERSATION_GAP_DAYS" not in os.environ


def test_every_setting_is_documented_in_env_example() -> None:
    documented = set(
        re.findall(r"^([A-Z][A-Z0-9_]+)=", (PROJECT_DIR / ".env.example").read_text(), re.MULTILINE)
    )
    assert documented == {name_of(field) for field in Settings.model_fields}


@pytest.mark.parametrize(
    "line",
    ["0 5 * * *", "60 5 * * *", "* * * * * *", "@daily", "@reboot", "nightly", "0 5 31 2 *",
     "0 25 * * *", "0 5 * * 8", "0 5 * * mon-fri", "*/0 * * * *", "0 5 L * *", "0 5 * * 1#2",
     "0 5 * *", "@every 5m", "-1 * * * *", "1,2,70 * * * *"],
)  # fmt: skip
def test_a_cron_line_is_refused_where_dagster_refuses_it(line: str) -> None:
    try:
        types.cron(line)
        is_taken = True
    except ValueError:
        is_taken = False
    assert is_taken == is_valid_cron_string(line)


def test_small_differences_in_spelling_are_healed(tmp_path: Path) -> None:
    settings = load_settings(
        _env_file=None, data_dir=tmp_path, reporting_currency="brl", nightly_cron=" 0  5 * * * "
    )
    assert (settings.reporting_currency, settings.nightly_cron) == ("BRL", "0 5 * * *")


def test_a_file_with_a_mark_of_its_encoding_is_read_from_its_first_line(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_text("CTWA_SITE_ID=aurora\n", encoding="utf-8-sig")
    assert load_settings(_env_file=env).site_id == "aurora"
    assert "CTWA_SITE_ID" in set_names(env)


def test_names_that_are_no_settings_are_found_with_the_nearest_that_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = tmp_path / ".env"
    env.write_text("META_ACESS_TOKEN=x\nGOOGLE_ADS_CUSTOMER_ID=1\nCTWA_SITE_ID=a\n")
    monkeypatch.setenv("CTWA_ZZZ", "1")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/key.json")
    monkeypatch.setenv("ctwa_data_dir", "data")
    assert unknown_names(set_names(env)) == {
        "CTWA_ZZZ": "",
        "GOOGLE_ADS_CUSTOMER_ID": "GOOGLE_ADS_CUSTOMER_IDS",
        "META_ACESS_TOKEN": "META_ACCESS_TOKEN",
    }


def test_e95_relative_paths_mean_the_folder_of_the_command_not_of_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings(
        _env_file=None, data_dir="d", vault_url="sqlite:///v.db?mode=rwc", backup_dir="b"
    )
    assert settings.vault_url == f"sqlite:///{tmp_path}/v.db?mode=rwc"
    assert (settings.data_dir, settings.backup_dir) == (tmp_path / "d", tmp_path / "b")
    for url in ("sqlite:///:memory:", "sqlite:////x/v.db", "postgresql+psycopg://h/d"):
        assert load_settings(_env_file=None, vault_url=url).vault_url == url
