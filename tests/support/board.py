"""The creative board's models on rows of a test's own, without a lake and without building all.

dbt compiles them once; DuckDB runs them in memory, in milliseconds, so that properties of the maths
can be tried on the very SQL that ships.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from tests.support.warehouse import DbtWorld

MODELS = ("int_board_windows__estimated", "creative_board", "campaign_board")
_INPUTS = """
    create schema intermediate;
    create schema marts;
    create table intermediate.int_board_windows__counted (
        level varchar, platform varchar, entity_id varchar, window_days integer,
        account_id varchar, campaign_id varchar, is_click_to_whatsapp boolean,
        has_several_currencies boolean, currency varchar, spend decimal(18, 6),
        spend_reporting decimal(18, 6), leads bigint, qualified_leads bigint
    );
    create table intermediate.int_spend_days__unread (
        platform varchar, account_id varchar, spend_date date, spend_status varchar,
        unread_reason varchar
    );
    create table marts.dim_accounts (platform varchar, account_id varchar, account_name varchar);
    create table marts.dim_campaigns (
        platform varchar, campaign_id varchar, campaign_name varchar, effective_status varchar,
        is_deleted boolean
    );
    create table marts.dim_ads (
        platform varchar, ad_id varchar, ad_name varchar, adset_id varchar, adset_name varchar,
        campaign_name varchar, headline varchar, media_type varchar, thumbnail_url varchar,
        effective_status varchar, is_deleted boolean
    );
"""


class Board:
    """Counts of ads in, estimates and verdicts out; `rows` holds what is not said by default."""

    def __init__(self, folder: Path) -> None:
        world = DbtWorld(folder)
        compiled = world.dbt("compile", "--select", *MODELS).result
        code = {r.node.name: r.node.compiled_code for r in compiled}  # type: ignore[union-attr]
        self.connection = duckdb.connect()
        self.connection.execute(_INPUTS)
        for name in MODELS:
            schema = "marts" if name.endswith("_board") else "intermediate"
            sql = code[name].replace('"warehouse".', "")
            self.connection.execute(f"create view {schema}.{name} as {sql}")

    def judge(self, rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """Ad id -> its row of the board; `rows`: ad_id, leads, qualified_leads, spend, ..."""
        self._fill(rows)
        return self._read("select * from marts.creative_board")

    def estimate(self, rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """Ad id -> its row of `int_board_windows__estimated`, unrounded."""
        self._fill(rows)
        return self._read(
            "select entity_id as ad_id, * from intermediate.int_board_windows__estimated"
            " where level = 'ad'"
        )

    def judge_campaigns(self, rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """Campaign id -> its row of the campaigns' board."""
        self._fill(rows)
        return self._read("select campaign_id as ad_id, * from marts.campaign_board")

    def _fill(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self.connection.execute("delete from intermediate.int_board_windows__counted")
        given = [
            (
                row["ad_id"],
                row.get("account", "1"),
                row.get("campaign", "c"),
                row.get("currency", "BRL"),
                Decimal(str(row["spend"])),
                row["leads"],
                row["qualified_leads"],
            )
            for row in rows
        ]
        self.connection.executemany(
            "insert into intermediate.int_board_windows__counted"
            " select 'ad', 'meta', $1, 90, $2, $3, true, false, $4, $5, $5, $6, $7",
            given,
        )
        # A campaign has what its ads have.
        self.connection.execute(
            "insert into intermediate.int_board_windows__counted"
            " select 'campaign', platform, campaign_id, window_days, account_id, null, true, false,"
            " currency, sum(spend), sum(spend_reporting), sum(leads), sum(qualified_leads)"
            " from intermediate.int_board_windows__counted group by all"
        )

    def _read(self, sql: str) -> dict[str, dict[str, Any]]:
        cursor = self.connection.execute(sql)
        names = [column[0] for column in cursor.description or []]
        return {
            row["ad_id"]: row
            for row in (dict(zip(names, values, strict=True)) for values in cursor.fetchall())
        }


def beta_cdf(alpha: float, beta: float, x: float) -> float:
    """P(X <= x) of a beta variable, to 1e-12: the continued fraction of the incomplete beta."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (alpha + 1) / (alpha + beta + 2):
        return 1 - beta_cdf(beta, alpha, 1 - x)
    log = math.lgamma(alpha + beta) - math.lgamma(alpha) - math.lgamma(beta)
    front = math.exp(log + alpha * math.log(x) + beta * math.log1p(-x)) / alpha
    fraction, c, d = 1.0, 1.0, 0.0
    for step in range(500):
        m = step // 2
        if step == 0:
            term = 1.0
        elif step % 2 == 0:
            term = m * (beta - m) * x / ((alpha + 2 * m - 1) * (alpha + 2 * m))
        else:
            term = -(alpha + m) * (alpha + beta + m) * x
            term /= (alpha + 2 * m) * (alpha + 2 * m + 1)
        d = 1 / (1 + term * d)
        c = 1 + term / c
        fraction *= c * d
        if step and abs(1 - c * d) < 1e-13:
            break
    return front * (fraction - 1)


def beta_quantile(alpha: float, beta: float, share: float) -> float:
    """The x that a beta variable is below with probability `share`, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if beta_cdf(alpha, beta, middle) < share else (low, middle)
    return (low + high) / 2
