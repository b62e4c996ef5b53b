"""Published marts written by hand: the tables and columns that the report reads, no others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

Row = Mapping[str, Any]

AS_OF = date(2026, 6, 30)
VERSION = "20260630T050000000000"

_TABLES = {
    "fct_ad_spend": """platform varchar, account_id varchar, ad_id varchar, spend_date date,
        row_kind varchar default 'ad', campaign_id varchar, channel varchar,
        spend_reporting decimal(18, 6), impressions bigint default 0,
        clicks bigint default 0, platform_conversations bigint default 0""",
    "fct_leads": """lead_id varchar, first_touch_date date, channel varchar, platform varchar,
        account_id varchar, campaign_id varchar, ad_id varchar, is_excluded boolean default false,
        is_qualified boolean default false, is_qualified_7d boolean default false,
        is_qualified_14d boolean default false, is_qualified_30d boolean default false,
        is_qualified_90d boolean default false,
        won_value_reporting decimal(18, 6), has_unconverted_value boolean default false,
        message_cost_reporting decimal(18, 6) default 0,
        agent_cost_reporting decimal(18, 6) default 0,
        first_touch_at timestamptz, qualified_at timestamptz, has_replied boolean default false,
        is_won boolean default false, business_number_id varchar, brand varchar,
        basis varchar default 'direct', resolution varchar, current_stage varchar,
        utm_source varchar, utm_medium varchar, has_click_id boolean, is_from_form boolean,
        is_boosted_post_candidate boolean, first_touch_id varchar, source_touch_id varchar""",
    "dim_accounts": """platform varchar, account_id varchar, account_name varchar,
        currency varchar, timezone varchar, spend_complete_through date""",
    "dim_campaigns": """platform varchar, campaign_id varchar, campaign_name varchar,
        effective_status varchar""",
    "dim_ads": """platform varchar, ad_id varchar, ad_name varchar, adset_id varchar,
        adset_name varchar, campaign_id varchar, headline varchar, media_type varchar,
        effective_status varchar, creative_id varchar, thumbnail_url varchar""",
    "attribution_health": """report_date date, conversations bigint default 0,
        with_referral bigint default 0, resolved bigint default 0, pending bigint default 0,
        "foreign" bigint default 0, gone bigint default 0, ad_suspected bigint default 0,
        direct bigint default 0, outbound bigint default 0,
        platform_conversations bigint default 0, unmatched_outcomes bigint default 0,
        envelopes bigint default 0, quarantined_envelopes bigint default 0,
        excluded_leads bigint default 0, web_leads bigint default 0, repeats bigint default 0""",
    "spend_reconciliation": """platform varchar, account_id varchar, spend_date date,
        account_spend decimal(18, 6), ads_spend decimal(18, 6),
        campaign_level_spend decimal(18, 6) default 0, unallocated decimal(18, 6)""",
    "creative_board": """platform varchar, ad_id varchar, window_days integer, leads bigint,
        qualified_leads bigint, shrunk_qualified_rate decimal(9, 6),
        qualified_rate_low decimal(9, 6), qualified_rate_high decimal(9, 6), verdict varchar,
        account_id varchar, currency varchar, spend decimal(18, 6),
        expected_cost_per_qualified_lead_low decimal(18, 6),
        expected_cost_per_qualified_lead_high decimal(18, 6),
        peer_cost_per_qualified_lead decimal(18, 6), peer_qualified_leads bigint,
        unread_days integer default 0""",
    "budget_shift": """platform varchar, account_id varchar, currency varchar,
        from_ad_id varchar, from_ad_name varchar, from_campaign_name varchar, to_ad_id varchar,
        to_ad_name varchar, to_campaign_name varchar, window_days integer,
        pair_number integer, suggested_daily_amount decimal(18, 6),
        expected_weekly_gain decimal(18, 3), expected_weekly_gain_low decimal(18, 3),
        expected_weekly_gain_high decimal(18, 3),
        from_expected_cost_per_qualified_lead decimal(18, 6),
        to_expected_cost_per_qualified_lead decimal(18, 6)""",
    "health_alarms": """alarm varchar, status varchar, since date, subject varchar,
        measured decimal(18, 6), expected_low decimal(18, 6), expected_high decimal(18, 6),
        message varchar default '', mend varchar, place integer default 1""",
    "monday": """rank integer, kind varchar, what varchar,
        money_at_stake_reporting decimal(18, 2), money_at_stake_low_reporting decimal(18, 2),
        money_at_stake_high_reporting decimal(18, 2), reason_code varchar, reason_values varchar,
        platform varchar, account_id varchar, account_name varchar, campaign_id varchar,
        campaign_name varchar, adset_id varchar, adset_name varchar, ad_id varchar,
        ad_name varchar, alarm varchar, evidence varchar""",
    "target_pacing": """level varchar default 'campaign', entity_key varchar, platform varchar,
        account_id varchar, account_name varchar, campaign_id varchar, campaign_name varchar,
        currency varchar default 'BRL', target_cost_per_qualified_lead decimal(18, 6),
        monthly_budget decimal(18, 6), month_start date default date '2026-06-01',
        spend_so_far decimal(18, 6), expected_spend decimal(18, 2), budget_status varchar,
        cost_month date, expected_cost_per_qualified_lead decimal(18, 6),
        expected_cost_per_qualified_lead_low decimal(18, 6),
        expected_cost_per_qualified_lead_high decimal(18, 6), cost_status varchar,
        cost_reason_code varchar, unread_days integer default 0, problem_code varchar""",
    "cohort_forecast": """level varchar, entity_key varchar, grain varchar, basis varchar,
        reason_code varchar, spend_status varchar default 'read', period_start date,
        horizon_days integer default 90, leads bigint, qualified_so_far bigint,
        expected_qualified decimal(18, 3), expected_qualified_low decimal(18, 3),
        expected_qualified_high decimal(18, 3),
        expected_cost_per_qualified_lead_reporting decimal(18, 6),
        expected_cost_per_qualified_lead_low_reporting decimal(18, 6),
        expected_cost_per_qualified_lead_high_reporting decimal(18, 6),
        backtest_coverage decimal(9, 6), is_out_of_range boolean default false""",
    "answer_performance": """scope varchar default 'all', platform varchar, account_id varchar,
        campaign_id varchar, compared varchar default 'answer_time', answer_group varchar,
        group_order integer, reference_group varchar, leads bigint, qualified_leads bigint,
        qualified_rate decimal(9, 6), median_response_seconds bigint, compared_leads bigint,
        rate_difference decimal(9, 6), rate_difference_low decimal(9, 6),
        rate_difference_high decimal(9, 6), verdict_code varchar, caution_code varchar""",
    "restatements": """restated_on date, report_date date, cause varchar,
        spend_reporting_delta decimal(18, 6) default 0, leads_delta bigint default 0,
        qualified_leads_delta bigint default 0""",
    "fct_message_costs": "category varchar",
    "conversion_events": """conversion_event_id varchar, funnel_stage varchar default 'won',
        event_name varchar, status varchar, reason varchar, occurred_at timestamptz""",
}
OPTIONAL = (
    "creative_board", "budget_shift", "conversion_events", "health_alarms", "restatements",
    "monday", "target_pacing", "cohort_forecast", "answer_performance", "fct_message_costs",
)  # fmt: skip

_CHANNELS = """
create table marts.channel_performance as
select report_date, channel, sum(leads) as leads, sum(qualified) as qualified_leads,
    case when bool_and(spend is not null) then sum(spend) end as spend_reporting
from (
    select spend_date as report_date, channel, spend_reporting as spend, 0 as leads, 0 as qualified
    from marts.fct_ad_spend
    union all
    select first_touch_date, channel, 0, 1, cast(is_qualified as integer)
    from marts.fct_leads where not is_excluded
)
group by report_date, channel
"""


def write_marts(path: Path, **tables: Sequence[Row]) -> Path:
    """A published file; optional marts are there when they are named, the others always."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with duckdb.connect(str(path)) as connection:
        _create(connection, tables)
        for name, rows in tables.items():
            for row in rows:
                marks = ", ".join("?" * len(row))
                columns = ", ".join(f'"{c}"' for c in row)
                connection.execute(
                    f"insert into marts.{name} ({columns}) values ({marks})", list(row.values())
                )
        # Leads without a time of their own come at noon; the qualified ones qualify a day later.
        connection.execute(
            "update marts.fct_leads set first_touch_at = coalesce(first_touch_at, "
            "cast(first_touch_date as timestamptz) + interval 12 hour)"
        )
        connection.execute(
            "update marts.fct_leads set qualified_at = coalesce(qualified_at, "
            "first_touch_at + interval 1 day) where is_qualified"
        )
        connection.execute(_CHANNELS)
    return path


def write_many(
    path: Path,
    *,
    days: int,
    ads: int,
    accounts: int = 3,
    campaigns: int = 40,
    name: str = "",
    leads: int = 2,
    everything: bool = False,
) -> Path:
    """`days * ads` rows of spend, and `leads` for two thirds of them: what a large company has.

    `name` stands before all names; `everything`: also what depends on the number of accounts,
    campaigns and ads rather than on the days.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with duckdb.connect(str(path)) as connection:
        _create(connection, dict.fromkeys(OPTIONAL) if everything else {})
        connection.execute("select setseed(0.5)")
        connection.execute(
            "insert into marts.fct_ad_spend (platform, account_id, ad_id, spend_date, campaign_id, "
            "channel, spend_reporting, impressions, clicks) "
            f"select 'meta', 'a' || ad % {accounts}, 'ad' || ad, "
            f"date '{AS_OF}' - cast(day as integer), 'c' || ad % {campaigns}, "
            "case when ad % 5 = 0 then 'meta_web' else 'click_to_whatsapp' end, "
            "round(random() * 90, 2), 500 + (ad * day) % 4000, (ad * day) % 90 "
            f"from range({ads}) a(ad), range(1, {days} + 1) d(day)"
        )
        connection.execute(
            "insert into marts.fct_leads (lead_id, first_touch_date, channel, platform, "
            "account_id, campaign_id, ad_id, is_qualified, is_qualified_30d, first_touch_at, "
            "qualified_at) "
            "select md5(ad_id || spend_date || n), spend_date, channel, platform, account_id, "
            "campaign_id, ad_id, qualified, qualified and days <= 30, touched, "
            "case when qualified then touched + days * interval 1 day - interval 3 hour end "
            "from (select *, (impressions + n) % 4 = 0 as qualified, "
            "(impressions + n) % 45 + 1 as days, "
            "cast(spend_date as timestamptz) + interval 15 hour as touched "
            f"from marts.fct_ad_spend, range({leads}) t(n) where (impressions + n) % 3 > 0)"
        )
        connection.execute(
            "insert into marts.dim_ads select 'meta', 'ad' || i, $name || 'Ad ' || i, "
            f"'s' || i % {2 * campaigns}, $name || 'Set ' || i % {2 * campaigns}, "
            f"'c' || i % {campaigns}, $name || 'Headline ' || i, 'image', 'ACTIVE', null, null "
            f"from range({ads}) t(i)",
            {"name": name},
        )
        connection.execute(
            "insert into marts.dim_campaigns select 'meta', 'c' || i, $name || 'Campaign ' || i, "
            f"'ACTIVE' from range({campaigns}) t(i)",
            {"name": name},
        )
        if everything:
            _write_everything(connection, accounts, campaigns, name)
        connection.execute(_CHANNELS)
    return path


_EVERYTHING = (
    "insert into marts.dim_accounts select 'meta', 'a' || i, $name || 'Account ' || i, 'BRL', "
    "'America/Sao_Paulo', date '{as_of}' from range({accounts}) t(i)",
    "insert into marts.spend_reconciliation select platform, account_id, spend_date, "
    "sum(spend_reporting) + 1, sum(spend_reporting), 0, 1 from marts.fct_ad_spend group by all",
    "insert into marts.creative_board select 'meta', ad_id, w, 40, 12, 0.312345, 0.212345, "
    "0.456789, 'hold', 'a0', 'BRL', 900.17 + w, 63.123456, 118.654321, 99.5, 70, 0 "
    "from marts.dim_ads, (values (30), (90), (180)) t(w)",
    "insert into marts.cohort_forecast select 'campaign', 'meta:c' || i, 'month', 'own_lag', null, "
    "'read', date '2025-01-01' + to_months(m), h, 40 + i, 12, 14.5, 12.1, 17.9, 63.12, 51.17, "
    "78.25, 0.81, false from range({campaigns}) c(i), range(18) t(m), (values (30), (90)) t(h)",
    "insert into marts.cohort_forecast select 'account', 'meta:a' || i, 'week', 'own_lag', null, "
    "'read', date '2025-01-06' + cast(7 * m as integer), h, 40 + i, 12, 14.5, 12.1, 17.9, 63.12, "
    "51.17, 78.25, 0.81, false from range({accounts}) c(i), range(77) t(m), "
    "(values (30), (90)) t(h)",
    "insert into marts.answer_performance select 'campaign', 'meta', 'a0', 'c' || i, "
    "'answer_time', 'under_5m', g, 'under_5m', 40 + i, 12, 0.312345, 321, 38, 0.012345, -0.05, "
    "0.07, 'no_difference', 'observational' from range({campaigns}) c(i), range(10) t(g)",
    "insert into marts.target_pacing (platform, account_id, campaign_id, campaign_name, "
    "monthly_budget) select 'meta', 'a0', campaign_id, campaign_name, 500 from marts.dim_campaigns",
    "insert into marts.conversion_events select md5(d || '.' || r), 'qualified', 'Lead', "
    "'skipped', "
    "'reason ' || r, timestamptz '2026-06-29 12:00:00+00' - to_days(cast(d as integer)) "
    "from range(1500) t(d), range(12) s(r)",
    "insert into marts.attribution_health (report_date, conversations, resolved, direct) "
    "select distinct spend_date, 9, 5, 2 from marts.fct_ad_spend",
)


def _write_everything(
    connection: duckdb.DuckDBPyConnection, accounts: int, campaigns: int, name: str
) -> None:
    for query in _EVERYTHING:
        values = {"name": name} if "$name" in query else {}
        connection.execute(
            query.format(as_of=AS_OF, accounts=accounts, campaigns=campaigns), values
        )


def _create(connection: duckdb.DuckDBPyConnection, tables: Mapping[str, Any]) -> None:
    # In a file called marts.duckdb the tables stand in its default schema, as publishing does.
    connection.execute("set timezone = 'UTC'")
    for name, columns in _TABLES.items():
        if name not in OPTIONAL or name in tables:
            connection.execute(f"create table marts.{name} ({columns})")
    connection.execute(
        "create table marts.publication as select ? as version, cast(? as date) as as_of, "
        "timestamptz '2026-06-30 05:00:00+00' as published_at, '3' as rule_version, "
        "'reporting_currency=BRL,reporting_timezone=America/Sao_Paulo' as rules",
        [VERSION, AS_OF],
    )
