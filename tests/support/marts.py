"""Small marts written by hand, without dbt: what a comparison reads, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from comparison.sides import COLUMNS

Row = dict[str, Any]

_PERFORMANCE = """
create table marts.campaign_performance as
with spend as (
    select spend_date as report_date, platform,
        coalesce(campaign_id, 'unallocated:' || account_id) as campaign_id, sum(spend) as spend,
        case when count(spend_reporting) = count(*) then sum(spend_reporting) end
            as spend_reporting
    from marts.fct_ad_spend group by all
), leads as (
    select first_touch_date as report_date, platform,
        coalesce(campaign_id, 'unresolved') as campaign_id, count(*) as leads,
        count(*) filter (is_qualified) as qualified_leads
    from marts.fct_leads where platform is not null and not coalesce(is_excluded, false)
    group by all
)
select report_date, platform, campaign_id, 'Campaign ' || campaign_id as campaign_name,
    cast(coalesce(spend.spend, 0) as decimal(18, 6)) as spend,
    cast(case when spend.spend is null then 0 else spend.spend_reporting end as decimal(18, 6))
        as spend_reporting,
    coalesce(leads.leads, 0) as leads, coalesce(leads.qualified_leads, 0) as qualified_leads
from spend full outer join leads using (report_date, platform, campaign_id)
"""


def lead(name: str, campaign: str | None = None, **columns: Any) -> Row:
    """A lead of 3 March who came by an ad of `campaign`; without one, of their own accord."""
    paid = campaign is not None
    return {
        "lead_id": name,
        "first_touch_id": f"t-{name}",
        "first_touch_at": "2026-03-03 12:00:00+00",
        "first_touch_date": "2026-03-03",
        "channel": "click_to_whatsapp" if paid else "direct",
        "basis": "ctwa_click" if paid else "direct",
        "platform": "meta" if paid else None,
        "campaign_id": campaign,
        "campaign_name": f"Campaign {campaign}" if paid else None,
        "ad_id": f"ad of {campaign}" if paid else None,
        "resolution": "resolved" if paid else None,
        "latest_channel": "click_to_whatsapp" if paid else "direct",
        "is_qualified": False,
        "why": f"why {name}",
        **columns,
    }


def spend(ad: str, amount: str, campaign: str | None = "A", **columns: Any) -> Row:
    """An ad's spend of 3 March in the reporting currency."""
    return {
        "platform": "meta", "account_id": "1", "ad_id": ad, "spend_date": "2026-03-03",
        "row_kind": "ad", "campaign_id": campaign, "spend": amount, "spend_reporting": amount,
        "exchange_rate": None, **columns,
    }  # fmt: skip


def qualified(name: str, event: str = "", **columns: Any) -> Row:
    """An outcome that qualifies a lead."""
    return {
        "source": "crm", "event_id": event or f"e-{name}", "lead_id": name, "stage": "good",
        "funnel_stage": "qualified", "occurred_at": "2026-03-09 10:00:00+00", **columns,
    }  # fmt: skip


@dataclass
class Marts:
    """Contents of one database; every lead's first touch is a touch unless `touches` says more."""

    leads: Sequence[Row] = ()
    spend: Sequence[Row] = ()
    outcomes: Sequence[Row] = ()
    touches: Mapping[str, str] = field(default_factory=dict)
    """Further touches: touch_id -> lead_id."""

    def write(self, path: Path) -> Path:
        """As schema `marts` of a new file."""
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        touches = {row["first_touch_id"]: row["lead_id"] for row in self.leads} | dict(self.touches)
        with duckdb.connect(str(path)) as connection:
            connection.execute("set timezone = 'UTC'; create schema marts")
            for table, rows in (
                ("fct_leads", self.leads),
                ("fct_ad_spend", self.spend),
                ("fct_outcomes", self.outcomes),
                ("fct_touches", [{"touch_id": t, "lead_id": n} for t, n in touches.items()]),
            ):
                columns = COLUMNS[table]
                body = ", ".join(f"{name} {kind}" for name, kind in columns.items())
                connection.execute(f"create table marts.{table} ({body})")
                values = [[row.get(c) for c in columns] for row in rows]
                if values:
                    marks = ", ".join("?" * len(columns))
                    connection.executemany(f"insert into marts.{table} values ({marks})", values)
            connection.execute(
                "alter table marts.fct_touches add column rule_version varchar default '2'"
            )
            connection.execute(_PERFORMANCE)
        return path
