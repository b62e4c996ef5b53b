"""The one configuration object: environment and `.env` in, typed values out.

Dagster, dlt, dbt, the receiver and the command line all take their values from here; nothing
below an entry point reads `os.environ`. Names are those of the contract.
"""

from __future__ import annotations

import os
import re
from datetime import date
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PROJECT_DIR = Path(__file__).resolve().parent.parent
"""Root of the checkout: where `dbt_project.yml`, `profiles.yml` and `workspace.yaml` are."""

RULE_SETTINGS = (
    "conversation_gap_days",
    "lead_scope",
    "lead_cycle_days",
    "first_touch",
    "recycled_number_days",
    "link_code_days",
    "exchange_rates",
    "reporting_currency",
    "reporting_timezone",
)
"""Settings that are part of the attribution rules; each is `CTWA_<NAME>` and a dbt var."""

CONVERSION_STAGES = ("qualified", "opportunity", "won")
"""Stages of the funnel (rule R9) that may be told to Meta."""

CONVERSION_NAMES = (
    "Purchase", "LeadSubmitted", "InitiateCheckout", "AddToCart", "ViewContent", "OrderCreated",
    "OrderShipped", "OrderDelivered", "OrderCanceled", "OrderReturned", "CartAbandoned",
    "QualifiedLead", "RatingProvided", "ReviewProvided",
)  # fmt: skip
"""Event names that Meta takes for business messaging (its FAQ, September 2026)."""


class SettingsError(ValueError):
    """A setting is wrong or missing. The text is one clear line for people."""


class Settings(BaseSettings):
    """Every setting of the product; immutable, secrets never printed."""

    model_config = SettingsConfigDict(
        env_file=".env", extra="ignore", frozen=True, populate_by_name=True, case_sensitive=False
    )

    data_dir: Path = Field(Path("data"), validation_alias="CTWA_DATA_DIR")
    vault_url: str = Field("", validation_alias="CTWA_VAULT_URL")
    lake_url: str = Field("", validation_alias="CTWA_LAKE_URL")
    warehouse_path: Path = Field(Path(), validation_alias="CTWA_WAREHOUSE_PATH")
    marts_path: Path = Field(Path(), validation_alias="CTWA_MARTS_PATH")
    marts_url: SecretStr | None = Field(None, validation_alias="CTWA_MARTS_URL")
    pii_key: SecretStr | None = Field(None, validation_alias="CTWA_PII_KEY")
    reporting_currency: str = Field(
        "BRL", validation_alias="CTWA_REPORTING_CURRENCY", pattern=r"^[A-Z]{3}$"
    )
    reporting_timezone: str = Field("America/Sao_Paulo", validation_alias="CTWA_REPORTING_TIMEZONE")
    conversation_gap_days: int = Field(
        30, validation_alias="CTWA_CONVERSATION_GAP_DAYS", ge=1, le=3650
    )
    lead_scope: Literal["company", "brand"] = Field("company", validation_alias="CTWA_LEAD_SCOPE")
    lead_cycle_days: int = Field(0, validation_alias="CTWA_LEAD_CYCLE_DAYS", ge=0, le=3650)
    first_touch: Literal["any", "paid"] = Field("any", validation_alias="CTWA_FIRST_TOUCH")
    recycled_number_days: int = Field(
        45, validation_alias="CTWA_RECYCLED_NUMBER_DAYS", ge=1, le=3650
    )
    link_code_days: int = Field(7, validation_alias="CTWA_LINK_CODE_DAYS", ge=1, le=90)
    default_country: str = Field(
        "BR", validation_alias="CTWA_DEFAULT_COUNTRY", pattern=r"^[A-Z]{2}$"
    )
    exchange_rates: Literal["seed", "ecb"] = Field("seed", validation_alias="CTWA_EXCHANGE_RATES")
    ecb_url: str = Field("https://data-api.ecb.europa.eu", validation_alias="CTWA_ECB_URL")
    # Meta redelivers for up to 7 days; a body must outlive that to be parsed again.
    vault_retention_days: int = Field(
        90, validation_alias="CTWA_VAULT_RETENTION_DAYS", ge=8, le=3650
    )
    backup_dir: Path | None = Field(None, validation_alias="CTWA_BACKUP_DIR")
    nightly_cron: str = Field("0 5 * * *", validation_alias="CTWA_NIGHTLY_CRON")
    # Who is told of failed runs and alarms (docs/operations.md). The addresses hold secrets.
    alert_webhook_url: SecretStr | None = Field(None, validation_alias="CTWA_ALERT_WEBHOOK_URL")
    alert_email_to: str = Field("", validation_alias="CTWA_ALERT_EMAIL_TO")
    alert_email_from: str = Field("", validation_alias="CTWA_ALERT_EMAIL_FROM")
    smtp_url: SecretStr | None = Field(None, validation_alias="CTWA_SMTP_URL")
    intake_secret: SecretStr | None = Field(None, validation_alias="CTWA_INTAKE_SECRET")
    # Not secret: it stands in the page, and makes codes of another company's page unfit.
    site_id: str = Field("", validation_alias="CTWA_SITE_ID", pattern=r"^[a-z0-9-]{0,32}$")
    site_origins: str = Field("", validation_alias="CTWA_SITE_ORIGINS")
    # The receiver's address as others call it: Twilio signs it together with the body.
    public_url: str = Field(
        "", validation_alias="CTWA_PUBLIC_URL", pattern=r"^(https?://[^\s?#]+)?$"
    )

    meta_graph_url: str = "https://graph.facebook.com"
    meta_api_version: str = Field("v25.0", pattern=r"^v\d+\.\d+$")
    meta_access_token: SecretStr | None = None
    meta_ad_account_ids: str = ""
    # Several secrets, comma-separated, are all accepted: that is how one rotates.
    meta_app_secret: SecretStr | None = None
    meta_verify_token: SecretStr | None = None
    meta_lookback_days: int = Field(30, ge=1, le=1100)
    meta_backfill_days: int = Field(90, ge=1, le=1125)

    google_ads_url: str = "https://googleads.googleapis.com"
    google_ads_api_version: str = Field("v23", pattern=r"^v\d+$")
    google_oauth_url: str = "https://oauth2.googleapis.com"
    google_ads_developer_token: SecretStr | None = None
    google_ads_client_id: str = ""
    google_ads_client_secret: SecretStr | None = None
    google_ads_refresh_token: SecretStr | None = None
    google_ads_login_customer_id: str = ""
    google_ads_customer_ids: str = ""
    # Google attributes conversions and corrects clicks for up to 90 days.
    google_ads_lookback_days: int = Field(90, ge=1, le=1100)

    hubspot_url: str = "https://api.hubapi.com"
    hubspot_token: SecretStr | None = None

    # What goes out (docs/conversions.md, docs/write-back.md). Nothing is sent by default.
    meta_conversions_mode: Literal["off", "dry_run", "test", "live"] = "dry_run"
    meta_dataset_ids: str = ""
    meta_test_event_code: str = ""
    # A token of its own, where the one that reads ads may not manage events.
    meta_conversions_token: SecretStr | None = None
    meta_conversion_events: str = "qualified:QualifiedLead|LeadSubmitted,won:Purchase"
    meta_conversion_click: Literal["latest_ad", "first_touch"] = "latest_ad"
    meta_conversion_click_days: int = Field(7, ge=1, le=90)
    meta_conversions_on_unknown: Literal["park", "resend"] = "park"
    hubspot_write_back: Literal["off", "dry_run", "live"] = "dry_run"
    crm_edits: Literal["keep", "overwrite"] = Field("keep", validation_alias="CTWA_CRM_EDITS")
    crm_webhook_url: str = Field(
        "", validation_alias="CTWA_CRM_WEBHOOK_URL", pattern=r"^(https?://[^\s#]+)?$"
    )
    crm_webhook_secret: SecretStr | None = Field(None, validation_alias="CTWA_CRM_WEBHOOK_SECRET")
    # Dagster's column lineage: about half a run more.
    column_lineage: bool = Field(False, validation_alias="CTWA_COLUMN_LINEAGE")
    activation_cron: str = Field("20 * * * *", validation_alias="CTWA_ACTIVATION_CRON")

    # Other WhatsApp providers. Several secrets, comma-separated, are all accepted.
    twilio_auth_token: SecretStr | None = None
    dialog360_webhook_secret: SecretStr | None = Field(
        None, validation_alias="DIALOG360_WEBHOOK_SECRET"
    )
    gupshup_webhook_secret: SecretStr | None = None

    @field_validator("reporting_timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError("is not an IANA time zone such as America/Sao_Paulo") from error
        return value

    @field_validator("meta_ad_account_ids")
    @classmethod
    def _digits(cls, value: str) -> str:
        for part in filter(None, (p.strip() for p in value.split(","))):
            if not part.removeprefix("act_").isdigit():
                raise ValueError("expects comma-separated account ids without act_, e.g. 123,456")
        return value

    @field_validator("google_ads_customer_ids", "google_ads_login_customer_id")
    @classmethod
    def _customers(cls, value: str) -> str:
        for part in filter(None, (p.strip() for p in value.split(","))):
            if not part.replace("-", "").isdigit():
                raise ValueError("expects customer ids such as 123-456-7890, comma-separated")
        return value

    @field_validator("site_origins")
    @classmethod
    def _origins(cls, value: str) -> str:
        for part in filter(None, (p.strip() for p in value.split(","))):
            if not re.fullmatch(r"https?://[^/\s?#]+", part):
                raise ValueError("expects origins without a path, e.g. https://www.example.com")
        return value

    @field_validator("alert_webhook_url")
    @classmethod
    def _web_address(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not re.fullmatch(r"https?://[^\s/?#]+(/\S*)?", value.get_secret_value()):
            raise ValueError("expects the address of a webhook, e.g. https://hooks.slack.com/...")
        return value

    @field_validator("smtp_url")
    @classmethod
    def _mail_server(cls, value: SecretStr | None) -> SecretStr | None:
        pattern = r"smtps?://([^\s/@]+@)?[^\s/@:]+(:\d{1,5})?/?"
        if value and not re.fullmatch(pattern, value.get_secret_value()):
            raise ValueError(
                "expects smtp://user:password@host:587 or smtps://user:password@host:465, with %40 "
                "for an @ in the user's name and the like"
            )
        return value

    @field_validator("alert_email_to", "alert_email_from")
    @classmethod
    def _mail_addresses(cls, value: str) -> str:
        for part in filter(None, (p.strip() for p in value.split(","))):
            if not re.fullmatch(r"[^@\s<>,]+@[^@\s<>,]+", part):
                raise ValueError("expects e-mail addresses, comma-separated, without names")
        return value

    @field_validator("meta_dataset_ids")
    @classmethod
    def _datasets(cls, value: str) -> str:
        for part in filter(None, (p.strip() for p in value.split(","))):
            if not re.fullmatch(r"\d+\s*:\s*\d+", part):
                raise ValueError("expects waba_id:dataset_id pairs, comma-separated, e.g. 123:456")
        return value

    @field_validator("meta_conversion_events")
    @classmethod
    def _events(cls, value: str) -> str:
        for part in filter(None, (p.strip() for p in value.split(","))):
            stage, _, names = part.partition(":")
            if stage not in CONVERSION_STAGES or not all(
                name in CONVERSION_NAMES for name in names.split("|")
            ):
                raise ValueError(
                    "expects stage:EventName pairs, comma-separated, a fall-back after |, e.g. "
                    "qualified:QualifiedLead|LeadSubmitted,won:Purchase; stages are "
                    f"{', '.join(CONVERSION_STAGES)}; names {', '.join(CONVERSION_NAMES)}"
                )
        return value

    @model_validator(mode="after")
    def _test_has_its_code(self) -> Settings:
        if self.meta_conversions_mode == "test" and not self.meta_test_event_code:
            raise ValueError(
                "META_TEST_EVENT_CODE: META_CONVERSIONS_MODE=test needs the code that Events "
                "Manager shows under Test events"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _blank_is_unset(cls, values: Any) -> Any:
        """`NAME=` in a `.env` means: not set."""
        if isinstance(values, dict):
            return {k: v for k, v in values.items() if v != ""}
        return values

    @model_validator(mode="after")
    def _paths(self) -> Settings:
        data = self.data_dir.expanduser().absolute()
        put = object.__setattr__  # frozen for everybody else
        put(self, "data_dir", data)
        put(self, "vault_url", self.vault_url or f"sqlite:///{data / 'vault.db'}")
        lake = self.lake_url or str(data / "lake")
        put(self, "lake_url", lake if "://" in lake else str(Path(lake).expanduser().absolute()))
        for name, default in (("warehouse_path", "warehouse"), ("marts_path", "marts")):
            path = getattr(self, name)
            path = data / f"{default}.duckdb" if path == Path() else path
            put(self, name, path.expanduser().absolute())
        return self

    @property
    def meta_accounts(self) -> list[str]:
        """Ad account ids without `act_`, in the order given."""
        parts = (p.strip().removeprefix("act_") for p in self.meta_ad_account_ids.split(","))
        return list(dict.fromkeys(p for p in parts if p))

    @property
    def meta_is_on(self) -> bool:
        """A source whose settings are absent is simply off."""
        return bool(self.meta_access_token and self.meta_accounts)

    @property
    def meta_app_secrets(self) -> list[bytes]:
        """Every accepted signature key of the WhatsApp webhook."""
        return _secrets(self.meta_app_secret)

    @property
    def intake_secrets(self) -> list[bytes]:
        """Every accepted signature key of leads and outcomes."""
        return _secrets(self.intake_secret)

    @property
    def google_customers(self) -> list[str]:
        """Google Ads customer ids, digits only, in the order given."""
        parts = (p.strip().replace("-", "") for p in self.google_ads_customer_ids.split(","))
        return list(dict.fromkeys(p for p in parts if p))

    @property
    def google_login_customer(self) -> str:
        """The manager account to act as, digits only; empty: none."""
        return self.google_ads_login_customer_id.strip().replace("-", "")

    @property
    def google_missing(self) -> list[str]:
        """Variables that Google Ads still needs; all of them where nothing of it is set."""
        # Not the developer token: Google ended them in September 2026.
        needed = {
            "GOOGLE_ADS_CLIENT_ID": self.google_ads_client_id,
            "GOOGLE_ADS_CLIENT_SECRET": self.google_ads_client_secret,
            "GOOGLE_ADS_REFRESH_TOKEN": self.google_ads_refresh_token,
            "GOOGLE_ADS_CUSTOMER_IDS": self.google_customers,
        }
        return [name for name, value in needed.items() if not value]

    @property
    def google_is_on(self) -> bool:
        """Whether everything that Google Ads needs is set."""
        return not self.google_missing

    @property
    def hubspot_is_on(self) -> bool:
        """Whether HubSpot is to be read."""
        return self.hubspot_token is not None

    @property
    def datasets(self) -> dict[str, str]:
        """WABA id to the dataset that its conversion events go to."""
        pairs = (p.partition(":") for p in self.meta_dataset_ids.split(",") if p.strip())
        return {waba.strip(): dataset.strip() for waba, _, dataset in pairs}

    @property
    def conversion_names(self) -> dict[str, tuple[str, ...]]:
        """Funnel stage to the event names that stand for it: the first, then its fall-backs."""
        pairs = (p.strip().partition(":") for p in self.meta_conversion_events.split(","))
        return {stage: tuple(names.split("|")) for stage, _, names in pairs if stage}

    @property
    def activation_dir(self) -> Path:
        """The ledger of what was sent, and what of it the marts read."""
        return self.data_dir / "activation"

    @property
    def alert_recipients(self) -> list[str]:
        """E-mail addresses of those who are told of failed runs and alarms."""
        return [p.strip() for p in self.alert_email_to.split(",") if p.strip()]

    @property
    def alerts_are_on(self) -> bool:
        """Whether anybody is told of failed runs and alarms."""
        by_mail = self.smtp_url is not None and bool(self.alert_recipients)
        return self.alert_webhook_url is not None or by_mail

    @property
    def allowed_origins(self) -> frozenset[str]:
        """Origins of the company's own pages, lower-case."""
        parts = (p.strip().lower() for p in self.site_origins.split(","))
        return frozenset(p for p in parts if p)

    @property
    def twilio_tokens(self) -> list[bytes]:
        """Every accepted auth token of Twilio."""
        return _secrets(self.twilio_auth_token)

    @property
    def dialog360_secrets(self) -> list[bytes]:
        """Every accepted secret of 360dialog's webhooks."""
        return _secrets(self.dialog360_webhook_secret)

    @property
    def gupshup_secrets(self) -> list[bytes]:
        """Every accepted secret of Gupshup's webhooks."""
        return _secrets(self.gupshup_webhook_secret)

    @property
    def dagster_home(self) -> Path:
        """Where Dagster keeps runs and schedules of this data directory."""
        return self.data_dir / "dagster"

    @property
    def dbt_target_dir(self) -> Path:
        """dbt's artifacts; in the data directory, so that two installations never share one."""
        return self.data_dir / "dbt"

    @property
    def lock_path(self) -> Path:
        """The one lock around load, build and publish."""
        return self.data_dir / "refresh.lock"

    @property
    def rules(self) -> dict[str, str]:
        """The settings that change what the marts say of the same events, by their dbt var.

        The warehouse is built again when one of them changes, and `ctwa diff-rules` takes any.
        """
        return {name: str(getattr(self, name)) for name in RULE_SETTINGS}

    @property
    def rules_text(self) -> str:
        """The rules as one text, `name=value` comma-separated."""
        return ",".join(f"{name}={value}" for name, value in self.rules.items())

    def dbt_environment(self, as_of: date) -> dict[str, str]:
        """Variables that `profiles.yml`, the dbt sources and the rule macros read.

        `as_of` is the last day the marts speak of. By environment, not by `--vars`: changed
        vars make dbt parse the whole project again.
        """
        return {
            "CTWA_WAREHOUSE_PATH": str(self.warehouse_path),
            "CTWA_LAKE_PATH": self.lake_url.removeprefix("file://"),
            "CTWA_AS_OF": as_of.isoformat(),
            "CTWA_ACTIVATION_PATH": str(self.activation_dir),
            "CTWA_CONVERSION_STAGES": ",".join(
                f"{stage}:{names[0]}" for stage, names in self.conversion_names.items()
            ),
            "CTWA_CONVERSION_CLICK": self.meta_conversion_click,
            "CTWA_CONVERSION_CLICK_DAYS": str(self.meta_conversion_click_days),
            **{f"CTWA_{name.upper()}": value for name, value in self.rules.items()},
            "DBT_TARGET_PATH": str(self.dbt_target_dir),
            "DBT_LOG_PATH": str(self.dbt_target_dir / "logs"),
            "DBT_PROJECT_DIR": str(PROJECT_DIR),
            "DBT_PROFILES_DIR": str(PROJECT_DIR),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
            "DBT_VERSION_CHECK": "false",
        }


def _secrets(value: SecretStr | None) -> list[bytes]:
    if value is None:
        return []
    return [s.strip().encode() for s in value.get_secret_value().split(",") if s.strip()]


def load_settings(**overrides: Any) -> Settings:
    """Read environment and `.env`; raise `SettingsError` with a line for each wrong value."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError("\n".join(_line(e) for e in error.errors())) from None


def _line(error: Any) -> str:
    # Never the value: it may be a secret.
    if not error["loc"]:  # of several settings together: the text names them
        return f"{error['msg'].removeprefix('Value error, ')} (see .env.example)"
    field = str(error["loc"][0])
    known = Settings.model_fields.get(field)
    alias = known.validation_alias if known else None
    name = alias if isinstance(alias, str) else field.upper()
    return f"{name}: {error['msg'].removeprefix('Value error, ')} (see .env.example)"


def export_environment(settings: Settings) -> None:
    """Hand this process's settings to child processes (Dagster's, dbt's) by the environment."""
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        if value is None or value == "":
            continue
        alias = field.validation_alias
        key = alias if isinstance(alias, str) else name.upper()
        os.environ[key] = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
