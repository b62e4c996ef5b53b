"""The forecast's models on leads of a test's own, without a lake and without building all.

dbt compiles them once; DuckDB runs them in memory. Each account is a company of its own in all that
matters here, so one run tries many.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from tests.support.warehouse import DbtWorld

AS_OF = date(2026, 7, 1)
HISTORY_DAYS = 190
"""Days of leads before `AS_OF`."""
_MODELS = {
    "int_cohort_leads__known": "intermediate",
    "int_cohort_lags__estimated": "intermediate",
    "int_cohort_rates__estimated": "intermediate",
    "int_cohort_parts__expected": "intermediate",
    "int_cohorts__expected": "intermediate",
    "forecast_backtest": "marts",
    "cohort_forecast": "marts",
}
_NOW = datetime.combine(AS_OF, datetime.min.time(), UTC)
_SOURCE = re.compile(r"read_parquet\([^)]*\)")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Born:
    """One lead: when it came, and (whether or not anybody knows yet) when it qualifies."""

    account: str
    campaign: str
    at: datetime
    qualified_at: datetime | None = None
    told_at: datetime | None = None
    """When the CRM said so; by default at once."""
    ad: str = "1"
    backfilled: bool = False


@dataclass(slots=True)
class Campaign:
    """A campaign with its true rate and lag, as a company has it."""

    account: str
    name: str
    rate: float
    median_lag_days: float
    leads_per_day: float
    drift: float = 1.0
    """Factor of the lag of leads of the last 60 days."""
    spread: float = 1.0
    leads: list[Born] = field(default_factory=list)

    def play(self, rng: random.Random, days: int = HISTORY_DAYS, until: date = AS_OF) -> None:
        """Leads of the days before `until`."""
        for back in range(days, 0, -1):
            day = until - timedelta(days=back)
            for _ in range(poisson(rng, self.leads_per_day)):
                at = datetime.combine(day, datetime.min.time(), UTC) + timedelta(
                    seconds=3 * 3600 + rng.randrange(86400)
                )
                qualified = None
                if rng.random() < self.rate:
                    median = self.median_lag_days * (self.drift if back <= 60 else 1)
                    lag = median * rng.lognormvariate(0, self.spread)
                    qualified = at + timedelta(days=lag)
                self.leads.append(Born(self.account, self.name, at, qualified))


def company(
    rng: random.Random, account: str, *, drift: float = 1.0, leads_per_month: float = 110
) -> list[Campaign]:
    """Twelve campaigns whose rates, lags and sizes differ, with their leads."""
    made = [
        Campaign(
            account,
            f"{account}-{n}",
            rng.betavariate(4, 12),
            rng.uniform(2, 14),
            leads_per_month / 30 * rng.lognormvariate(0, 0.6),
            drift,
        )
        for n in range(12)
    ]
    for campaign in made:
        campaign.play(rng)
    return made


def poisson(rng: random.Random, mean: float) -> int:
    """How many of what happens `mean` times on average."""
    count, left = 0, rng.expovariate(1)
    while left < mean:
        count, left = count + 1, left + rng.expovariate(1)
    return count


class Forecast:
    """Leads in, expectations out, as of `AS_OF`; `origins`: from how many earlier days as well."""

    def __init__(self, folder: Path, origins: int = 0) -> None:
        world = DbtWorld(folder)
        compiled = world.dbt(
            "compile",
            "--select",
            *_MODELS,
            "--vars",
            f"{{forecast_origins: {origins}}}",
            as_of=AS_OF,
        ).result
        self._code = {
            r.node.name: r.node.compiled_code.replace('"warehouse".', "")
            for r in compiled  # type: ignore[union-attr]
        }
        self.connection = duckdb.connect()
        self.connection.execute("set timezone = 'UTC'; create schema marts")
        self.connection.execute("create schema intermediate; create schema event_log")
        self.connection.execute(_REPORTS)

    def fill(self, leads: Iterable[Born]) -> None:
        """The marts that these leads make, and every model of the forecast on them."""
        rows = list(leads)
        known = [
            lead.qualified_at is not None and max(lead.qualified_at, lead.told_at or _PAST) < _NOW
            for lead in rows
        ]
        qualified = [b.qualified_at if k else None for b, k in zip(rows, known, strict=True)]
        ids = [str(n) for n in range(len(rows))]
        born = pa.table(
            {
                "lead_id": ids,
                "account_id": [b.account for b in rows],
                "campaign_id": [b.campaign for b in rows],
                "ad_id": [b.ad for b in rows],
                "first_touch_at": pa.array([b.at for b in rows], pa.timestamp("us", "UTC")),
                "qualified_at": pa.array(qualified, pa.timestamp("us", "UTC")),
                "told_at": pa.array([b.told_at for b in rows], pa.timestamp("us", "UTC")),
                "is_backfilled": [b.backfilled for b in rows],
            }
        )
        self.connection.register("born", born)
        self.connection.execute(_MARTS)
        for name in _MODELS:
            self._make(name)

    def _make(self, name: str) -> None:
        sql = _SOURCE.sub("event_log.outcomes", self._code[name])
        self.connection.execute(f"create or replace table {_MODELS[name]}.{name} as {sql}")

    def again(self) -> None:
        """`cohort_forecast` once more, after `spend`."""
        self._make("cohort_forecast")

    def spend(self, campaign: str, day: date, amount: float | None) -> None:
        """What the campaign, which is its account's only one, spent that day; None: not read."""
        self.connection.execute(
            "insert into marts.campaign_performance values ($1, 'meta', $2, $2, 'BRL', $3, $3, $4)",
            [day, campaign, amount, "unread" if amount is None else "read"],
        )

    def forecast(self, where: str = "true") -> list[Row]:
        """Rows of `cohort_forecast`."""
        return self.query(f"select * from marts.cohort_forecast where {where}")

    def expected(self, where: str = "is_present") -> list[Row]:
        """Rows of `int_cohorts__expected`."""
        return self.query(f"select * from intermediate.int_cohorts__expected where {where}")

    def query(self, sql: str) -> list[Row]:
        """Any rows."""
        cursor = self.connection.execute(sql)
        names = [column[0] for column in cursor.description or []]
        return [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]


_PAST = datetime(1970, 1, 1, tzinfo=UTC)
_REPORTS = """
    create table marts.campaign_performance (
        report_date date, platform varchar, campaign_id varchar, account_id varchar,
        currency varchar, spend decimal(18, 6), spend_reporting decimal(18, 6), spend_status varchar
    );
    create table marts.ad_performance (
        report_date date, platform varchar, ad_id varchar, campaign_id varchar, account_id varchar,
        currency varchar, spend decimal(18, 6), spend_reporting decimal(18, 6), spend_status varchar
    );
    create table marts.channel_performance (
        report_date date, channel varchar, spend_reporting decimal(18, 6), spend_status varchar
    );
    create table marts.dim_accounts (
        platform varchar, account_id varchar, account_name varchar, currency varchar
    );
    create table marts.dim_campaigns (
        platform varchar, campaign_id varchar, campaign_name varchar
    );
    create table marts.dim_ads (platform varchar, ad_id varchar, ad_name varchar);
"""
_MARTS = """
    create or replace table marts.fct_leads as
    select
        lead_id, 'click_to_whatsapp' as channel, 'meta' as platform, account_id, campaign_id,
        ad_id, is_backfilled, false as is_excluded, false as is_test, first_touch_at,
        cast(first_touch_at at time zone 'America/Sao_Paulo' as date) as first_touch_date,
        qualified_at,
        coalesce(qualified_at <= first_touch_at + interval 30 day, false) as is_qualified_30d,
        coalesce(qualified_at <= first_touch_at + interval 90 day, false) as is_qualified_90d
    from born;
    create or replace table marts.fct_outcomes as
    select
        'crm' as source, lead_id as event_id, lead_id, qualified_at as occurred_at,
        'qualified' as funnel_stage, false as is_overruled
    from born where qualified_at is not null;
    create or replace table event_log.outcomes as
    select
        'crm' as source, lead_id as event_id, coalesce(told_at, qualified_at) as received_at
    from born where qualified_at is not null;
"""


def truths(leads: Sequence[Born], first: date, horizon_days: int = 90) -> dict[str, int]:
    """Campaign -> of its leads from `first` on, those that qualify within the horizon."""
    found: dict[str, int] = {}
    for lead in leads:
        day = (lead.at - timedelta(hours=3)).date()
        if day >= first:
            ends = lead.at + timedelta(days=horizon_days)
            is_one = lead.qualified_at is not None and lead.qualified_at <= ends
            found[lead.campaign] = found.get(lead.campaign, 0) + is_one
    return found
