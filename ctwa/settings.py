"""The one configuration object: environment and `.env` in, typed values out.

Dagster, dlt, dbt, the receiver and the command line all take their values from here; nothing
below an entry point reads `os.environ`. A setting is one line of `Settings`: its variable follows
from its name, its format from its type (`ctwa.setting_types`), and everything that an attribution
rule needs elsewhere from `rule`.
"""

from __future__ import annotations

from datetime import date
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasGenerator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ctwa import setting_types as types
from ctwa.errors import CtwaError
from ctwa.setting_types import Rule, rule, secrets

PROJECT_DIR = Path(__file__).resolve().parent.parent
"""Root of the checkout: where `dbt_project.yml`, `profiles.yml` and `workspace.yaml` are."""

ENV_FILE = ".env"  # in the folder where a command is started

PREFIXES = ("CTWA_", "META_", "GOOGLE_", "HUBSPOT_", "TWILIO_", "DIALOG360_", "GUPSHUP_")
"""Every setting's variable begins with one of these."""


class SettingsError(CtwaError):
    """Settings are wrong or missing. The text has one line for each."""


def name_of(field: str) -> str:
    """The variable of a field of `Settings`: CTWA_ in front, unless it names another system."""
    name = field.upper()
    return name if name.startswith(PREFIXES) else f"CTWA_{name}"


class Settings(BaseSettings):
    """Every setting of the product; immutable, secrets never printed."""

    model_config = SettingsConfigDict(
        env_file=ENV_FILE,
        env_file_encoding="utf-8-sig",  # editors on Windows write a byte order mark
        alias_generator=AliasGenerator(validation_alias=name_of),
        extra="ignore",
        frozen=True,
        case_sensitive=False,
    )

    data_dir: Path = Path("data")
    # A folder made by `ctwa init`, with the company's own seeds and models (ctwa/project.py).
    ctwa_home: Path | None = None
    vault_url: str = ""
    lake_url: str = ""
    warehouse_path: Path = Path()
    marts_path: Path = Path()
    marts_url: types.PostgresUrl | None = None
    pii_key: types.HashKey | None = None
    # A group on this machine that may read what is published, and nothing else.
    marts_group: str = ""
    # Where the models run (docs/scale-out.md). The address may hold a token.
    engine: Literal["duckdb", "spark"] = "duckdb"
    spark_url: types.SparkUrl | None = None
    # The lake as the cluster sees it, and where it keeps what it builds.
    engine_lake_url: str = ""
    engine_path: str = ""

    # The attribution rules. Do not reorder them: published files hold them as one text.
    conversation_gap_days: int = rule(
        30,
        "conversation gap {b} instead of {a} days",
        "shorter: more conversations",
        "more touches; an answer to our message after the gap is `direct`, not `outbound`",
        limits=(1, 3650),
    )
    lead_scope: Literal["company", "brand"] = rule(
        "company",
        "one lead per person and {b} instead of per {a}",
        "`brand`: one lead per person and brand",
        "more leads; each brand has its own first touch",
    )
    lead_cycle_days: int = rule(
        0,
        "a new lead after {b} instead of {a} days of silence (0: never)",
        "`180`: a person who returns after more than 180 days of silence is a new lead; `0`: never",
        "more leads; their source is what brought them back, and later outcomes count for them",
        limits=(0, 3650),
    )
    first_touch: Literal["any", "paid"] = rule(
        "any",
        "source is the first touch of kind {b} instead of {a}",
        "`paid`: the earliest touch with an ad, if there is one",
        "leads move from `direct` and others to campaigns; their number and days do not change",
    )
    recycled_number_days: int = rule(
        45,
        "a number changes hands after {b} instead of {a} days",
        "shorter: more new owners",
        "a few people become two",
        limits=(1, 3650),
    )
    shared_identifier_degree: int = rule(
        5,
        "an identifier joins nobody if {b} instead of {a} people share it",
        "lower: fewer people may share one phone or e-mail and still be one lead; `1000`: no limit",
        "colleagues and families become several leads",
        limits=(2, 1000),
    )
    link_code_days: int = rule(
        7,
        "codes of the site's button are valid for {b} instead of {a} days",
        "shorter: fewer chats belong to the page of their button",
        "those become `direct`",
        limits=(1, 90),
    )
    chat_qualifies: Literal["always", "without_crm"] = rule(
        "always",
        "chat rules qualify leads {b} instead of {a}",
        "`without_crm`: a chat rule says nothing of leads of which a CRM has said anything",
        "fewer qualified leads; nobody new is a lead or changes the source",
    )
    exchange_rates: Literal["seed", "ecb"] = rule("seed", "exchange rates of {b} instead of {a}")
    reporting_currency: types.Currency = rule("BRL", "reporting currency {b} instead of {a}")
    reporting_timezone: types.Zone = rule("America/Sao_Paulo", "days of {b} instead of {a}")
    ecb_url: types.ServiceUrl = "https://data-api.ecb.europa.eu"
    default_country: types.Country = "BR"

    # The file of the rules by which a chat qualifies (docs/chat-rules.md).
    chat_rules: Path | None = None

    # Meta redelivers for up to 7 days; a body must be kept longer than that to be parsed again.
    vault_retention_days: int = Field(90, ge=8, le=3650)
    backup_dir: Path | None = None
    nightly_cron: types.CronLine = "0 5 * * *"
    activation_cron: types.CronLine = "20 * * * *"
    # For Dagster's runs and their logs, and for damaged files that were set aside.
    run_history_days: int = Field(30, ge=1, le=3650)
    # Dagster's column lineage: makes runs about 50 % longer.
    column_lineage: bool = False
    # Where failed runs and alarms are reported (docs/operations.md). The addresses contain secrets.
    alert_webhook_url: types.AlertWebhookUrl | None = None
    alert_email_to: types.MailAddresses = ()
    alert_email_from: types.MailAddresses = ()
    smtp_url: types.MailServerUrl | None = None
    # The weekly digest goes to the same people, when this is set (docs/report.md).
    digest_cron: types.CronLine | None = None
    digest_language: Literal["en", "es", "pt-BR"] = "en"
    # Where the report can be opened, for the link in the digest; and whether ads have pictures.
    report_url: types.PublicUrl | None = None
    report_thumbnails: bool = False

    intake_secret: SecretStr | None = None
    # Not secret: it is part of the page, and makes other companies' codes invalid.
    site_id: types.SiteId = ""
    site_origins: types.Origins = ()
    # The receiver's address on this machine: doctor and nightly job ask it which vault it fills.
    receiver_url: types.ServiceUrl = "http://127.0.0.1:8080"
    # Unsigned requests are limited by address and by day (docs/connect/website.md).
    clicks_per_day: int = Field(50_000, ge=1, le=100_000_000)
    trusted_proxies: types.Networks = (IPv4Network("127.0.0.1"), IPv6Network("::1"))
    # The receiver's address as others call it: Twilio signs it together with the body.
    public_url: types.PublicUrl = ""
    # Several secrets, comma-separated, are all accepted: this is how to rotate them.
    meta_app_secret: SecretStr | None = None
    meta_verify_token: SecretStr | None = None
    twilio_auth_token: SecretStr | None = None
    dialog360_webhook_secret: SecretStr | None = None
    gupshup_webhook_secret: SecretStr | None = None

    meta_graph_url: types.ServiceUrl = "https://graph.facebook.com"
    meta_api_version: types.MetaVersion = "v27.0"
    meta_access_token: SecretStr | None = None
    meta_ad_account_ids: types.AccountIds = ()
    meta_lookback_days: int = Field(30, ge=1, le=1100)
    meta_backfill_days: int = Field(90, ge=1, le=1125)
    meta_page_ids: types.PageIds = ()
    meta_page_token: SecretStr | None = None

    google_ads_url: types.ServiceUrl = "https://googleads.googleapis.com"
    google_ads_api_version: types.GoogleVersion = "v23"
    google_oauth_url: types.ServiceUrl = "https://oauth2.googleapis.com"
    google_ads_developer_token: SecretStr | None = None
    google_ads_client_id: str = ""
    google_ads_client_secret: SecretStr | None = None
    google_ads_refresh_token: SecretStr | None = None
    google_ads_login_customer_id: types.CustomerId = ""
    google_ads_customer_ids: types.CustomerIds = ()
    # Google attributes conversions and corrects clicks for up to 90 days.
    google_ads_lookback_days: int = Field(90, ge=1, le=1100)

    hubspot_url: types.ServiceUrl = "https://api.hubapi.com"
    hubspot_token: SecretStr | None = None

    # What is sent (docs/conversions.md, docs/write-back.md). By default, nothing is.
    meta_conversions_mode: Literal["off", "dry_run", "test", "live"] = "dry_run"
    meta_dataset_ids: types.DatasetPairs = {}
    meta_test_event_code: str = ""
    # A separate token, if the one that reads ads may not manage events.
    meta_conversions_token: SecretStr | None = None
    meta_conversion_events: types.EventPairs = {
        "qualified": "QualifiedLead|LeadSubmitted",
        "won": "Purchase",
    }
    meta_conversion_click: Literal["latest_ad", "first_touch"] = "latest_ad"
    meta_conversion_click_days: int = Field(7, ge=1, le=90)
    meta_conversions_on_unknown: Literal["park", "resend"] = "park"
    hubspot_write_back: Literal["off", "dry_run", "live"] = "dry_run"
    crm_edits: Literal["keep", "overwrite"] = "keep"
    crm_webhook_url: types.CrmUrl = ""
    crm_webhook_secret: SecretStr | None = None

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Settings:
        if self.meta_conversions_mode == "test" and not self.meta_test_event_code:
            raise ValueError(
                "META_TEST_EVENT_CODE: META_CONVERSIONS_MODE=test needs the code that Events "
                "Manager shows under Test events"
            )
        if self.engine == "spark" and self.spark_url is None:
            raise ValueError(f"CTWA_SPARK_URL: CTWA_ENGINE=spark {types.SPARK_ADDRESS}")
        if self.engine == "spark" and self.column_lineage:
            raise ValueError("CTWA_COLUMN_LINEAGE: is only there for CTWA_ENGINE=duckdb")
        return self

    @model_validator(mode="before")
    @classmethod
    def _blank_is_unset(cls, values: dict[str, Any]) -> dict[str, Any]:
        """`NAME=` means not set. In the environment it also overrides a value in `.env`."""
        return {name: value for name, value in values.items() if value != ""}

    @model_validator(mode="after")
    def _paths(self) -> Settings:
        data = self.data_dir.expanduser().absolute()
        put = object.__setattr__  # the model is frozen
        put(self, "data_dir", data)
        vault = types.absolute_url(self.vault_url)
        put(self, "vault_url", vault or f"sqlite:///{data / 'vault.db'}")
        lake = self.lake_url or str(data / "lake")
        put(self, "lake_url", lake if "://" in lake else str(Path(lake).expanduser().absolute()))
        for name, default in (("warehouse_path", "warehouse"), ("marts_path", "marts")):
            path = getattr(self, name)
            path = data / f"{default}.duckdb" if path == Path() else path
            put(self, name, path.expanduser().absolute())
        for name in ("backup_dir", "chat_rules", "ctwa_home"):
            if (path := getattr(self, name)) is not None:
                put(self, name, path.expanduser().absolute())
        return self

    @property
    def meta_is_on(self) -> bool:
        """Whether Meta is to be read: without its settings it is simply off."""
        return bool(self.meta_access_token and self.meta_ad_account_ids)

    @property
    def meta_app_secrets(self) -> list[bytes]:
        """Every accepted signature key of the WhatsApp webhook."""
        return secrets(self.meta_app_secret)

    @property
    def intake_secrets(self) -> list[bytes]:
        """Every accepted signature key of leads and outcomes."""
        return secrets(self.intake_secret)

    @property
    def google_missing(self) -> list[str]:
        """Variables that Google Ads still needs; all of them if none is set."""
        # Not the developer token: Google abolished those in September 2026.
        needed = ("client_id", "client_secret", "refresh_token", "customer_ids")
        return [name_of(f"google_ads_{n}") for n in needed if not getattr(self, f"google_ads_{n}")]

    @property
    def google_is_on(self) -> bool:
        """Whether everything that Google Ads needs is set."""
        return not self.google_missing

    @property
    def hubspot_is_on(self) -> bool:
        """Whether HubSpot is to be read."""
        return self.hubspot_token is not None

    @property
    def conversion_names(self) -> dict[str, tuple[str, ...]]:
        """Funnel stage to its event names: the preferred one, then its fall-backs."""
        return {stage: tuple(n.split("|")) for stage, n in self.meta_conversion_events.items()}

    @property
    def activation_dir(self) -> Path:
        """Folder of the ledger of what was sent, and of the states that the marts read."""
        return self.data_dir / "activation"

    @property
    def alerts_are_on(self) -> bool:
        """Whether failed runs and alarms are sent anywhere."""
        by_mail = self.smtp_url is not None and bool(self.alert_email_to)
        return self.alert_webhook_url is not None or by_mail

    @property
    def twilio_tokens(self) -> list[bytes]:
        """Every accepted auth token of Twilio."""
        return secrets(self.twilio_auth_token)

    @property
    def dialog360_secrets(self) -> list[bytes]:
        """Every accepted secret of 360dialog's webhooks."""
        return secrets(self.dialog360_webhook_secret)

    @property
    def gupshup_secrets(self) -> list[bytes]:
        """Every accepted secret of Gupshup's webhooks."""
        return secrets(self.gupshup_webhook_secret)

    @property
    def dagster_home(self) -> Path:
        """Where Dagster keeps runs and schedules of this data directory."""
        return self.data_dir / "dagster"

    @property
    def dbt_target_dir(self) -> Path:
        """dbt's artifacts; in the data directory, so that two installations never share them."""
        return self.data_dir / "dbt"

    @property
    def lock_path(self) -> Path:
        """The one lock around load, build and publish."""
        return self.data_dir / "refresh.lock"

    @property
    def rules(self) -> dict[str, str]:
        """The settings that change what the marts say about the same events, by their dbt var: the
        warehouse is rebuilt when one changes, and `ctwa diff-rules` accepts any."""
        return {name: str(getattr(self, name)) for name in RULES}

    @property
    def rules_text(self) -> str:
        """The rules as one text, `name=value` comma-separated."""
        return ",".join(f"{name}={value}" for name, value in self.rules.items())

    def dbt_environment(self, as_of: date) -> dict[str, str]:
        """Variables that `profiles.yml`, the dbt sources and the rule macros read.

        `as_of` is the last day that the marts cover. They are passed by environment, not by
        `--vars`: changed vars make dbt parse the whole project again.
        """
        lake = self.lake_url.removeprefix("file://")
        return {
            "CTWA_WAREHOUSE_PATH": str(self.warehouse_path),
            "CTWA_LAKE_PATH": lake,
            "CTWA_IDENTITY_PATH": f"{lake}/identity",
            "CTWA_CHAT_SIGNALS_PATH": f"{lake}/event_log/chat_signals",
            "CTWA_AS_OF": as_of.isoformat(),
            "CTWA_ACTIVATION_PATH": str(self.activation_dir),
            "CTWA_CONVERSION_STAGES": ",".join(
                f"{stage}:{names[0]}" for stage, names in self.conversion_names.items()
            ),
            "CTWA_CONVERSION_CLICK": self.meta_conversion_click,
            "CTWA_CONVERSION_CLICK_DAYS": str(self.meta_conversion_click_days),
            **{name_of(name): value for name, value in self.rules.items()},
            "DBT_TARGET_PATH": str(self.dbt_target_dir),
            "DBT_LOG_PATH": str(self.dbt_target_dir / "logs"),
            "DBT_PROJECT_DIR": str(PROJECT_DIR),
            "DBT_PROFILES_DIR": str(PROJECT_DIR),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
            "DBT_VERSION_CHECK": "false",
        }


RULES: dict[str, Rule] = types.rules_of(Settings)
"""Field -> texts of the settings that are attribution rules; each is a dbt var of that name."""


def load_settings(**overrides: Any) -> Settings:
    """Read environment and `.env`. Raises `SettingsError` with a line for each wrong value."""
    # By variable: `populate_by_name` would also read somebody else's DATA_DIR from the environment.
    given = {name_of(n) if n in Settings.model_fields else n: v for n, v in overrides.items()}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingsError("\n".join(dict.fromkeys(map(_line, error.errors())))) from None
    except UnicodeDecodeError:
        place = Path(ENV_FILE).absolute()
        raise SettingsError(f"{place} is not UTF-8 text: save it as UTF-8") from None
    except OSError as error:
        place = error.filename or Path(ENV_FILE).absolute()
        raise SettingsError(
            f"{place} cannot be read: {error.strerror}; give the account that runs ctwa read access"
        ) from None


def _line(error: Any) -> str:
    # Never the value: it may be a secret.
    text = error["msg"].removeprefix("Value error, ").replace("Input should be", "expects", 1)
    if not error["loc"]:  # of several settings together: the text names them
        return f"{text} (see .env.example)"
    name = name_of(str(error["loc"][0]))
    return f"{name}: {text.partition(', unable to parse')[0]} (see .env.example)"
