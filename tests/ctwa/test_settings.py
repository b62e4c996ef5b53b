"""Settings: contract names, one clear line per fault, secrets never shown."""

from __future__ import annotations

import os
import re
from pathlib import Path
from unittest import mock

import pytest

from ctwa.settings import PROJECT_DIR, Settings, SettingsError, export_environment, load_settings


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
        ("CTWA_CONVERSATION_GAP_DAYS", "0"),
        ("CTWA_VAULT_RETENTION_DAYS", "2"),
        ("META_API_VERSION", "25"),
        ("META_AD_ACCOUNT_IDS", "123,abc"),
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


def test_a_blank_line_in_env_means_not_set(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_text("META_ACCESS_TOKEN=\nCTWA_BACKUP_DIR=\nMETA_AD_ACCOUNT_IDS=\n")
    settings = load_settings(_env_file=env)
    assert settings.meta_access_token is None
    assert settings.backup_dir is None
    assert not settings.meta_is_on


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
    assert settings.meta_accounts == ["2", "1"]


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
    names = {
        f.validation_alias if isinstance(f.validation_alias, str) else name.upper()
        for name, f in Settings.model_fields.items()
    }
    assert documented == names
