"""The alarms on silent loss as checks, each on the asset it speaks of.

They read `health_alarms` as it was built, so that Dagster, the report and BI tools say the same.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of check functions.

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb

from ctwa.settings import Settings
from ingestion.watch import ENVELOPES_MISSING

MART = "health_alarms"
ENVELOPES_KEY = dg.AssetKey(["event_log", "envelopes"])
_HEALTH = dg.AssetKey(["marts", "attribution_health"])

ALARMS: Mapping[str, tuple[dg.AssetKey, str]] = {
    ENVELOPES_MISSING: (
        ENVELOPES_KEY,
        "Warns while webhooks have been silent for longer than usual for that hour and weekday.",
    ),
    "referral_share": (_HEALTH, "Warns while the share of referrals is out of its 28-day range."),
    "withheld_messages": (
        _HEALTH,
        "Warns while Meta withholds more first messages (131060) than usual.",
    ),
    "unresolved_ads": (
        dg.AssetKey(["meta_ads", "ads"]),
        "Warns while more conversations than usual come from ads without a known campaign.",
    ),
    "unallocated_spend": (
        dg.AssetKey(["marts", "spend_reconciliation"]),
        "Warns while an account is billed for more than usual that no ad shows.",
    ),
    "platform_conversations": (
        _HEALTH,
        "Warns while our conversations and those that Meta counts have come apart.",
    ),
    "unmatched_outcomes": (
        dg.AssetKey(["marts", "fct_outcomes"]),
        "Warns while more outcomes than usual fit no lead.",
    ),
    "quarantine": (
        dg.AssetKey(["event_log", "quarantine"]),
        "Warns while more webhooks than usual hold something unreadable.",
    ),
    "silent_sources": (
        _HEALTH,
        "Warns while a source that used to bring something is read, or up, and brings nothing.",
    ),
    "meta_token": (
        dg.AssetKey(["meta_ads", "accounts"]),
        "Warns two weeks before Meta's token ends, and when it lacks a permission.",
    ),
}
"""Alarm -> the asset it speaks of, and what its check says of itself."""


def build_alarm_checks(
    settings: Settings, manifest: Path, marts_schema: str
) -> list[dg.AssetChecksDefinition]:
    """One check for each alarm; none in a project without the mart."""
    nodes = json.loads(manifest.read_text())["nodes"].values()
    if not any(n["resource_type"] == "model" and n["name"] == MART for n in nodes):
        return []
    mart = dg.AssetKey([marts_schema, MART])

    @dg.multi_asset_check(
        name=MART,
        specs=[
            dg.AssetCheckSpec(name, asset=key, description=text, additional_deps=[mart])
            for name, (key, text) in ALARMS.items()
        ],
        can_subset=True,
    )
    def health_alarms(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        rows = alarm_rows(settings, marts_schema)
        for check in sorted(context.selected_asset_check_keys):
            yield result_of(check, rows.get(check.name))

    return [health_alarms]


def alarm_rows(settings: Settings, marts_schema: str) -> dict[str, dict[str, Any]]:
    """Alarm -> its row of the mart in the warehouse, as the last build left it."""
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as warehouse:
        found = warehouse.execute(f'select * from "{marts_schema}"."{MART}" order by place')  # noqa: S608
        names = [column[0] for column in found.description or []]
        rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    return {row["alarm"]: row for row in rows}


def result_of(key: dg.AssetCheckKey, row: Mapping[str, Any] | None) -> dg.AssetCheckResult:
    """What a row says, as the result of its check: what happened, then what to do."""
    if row is None:
        row = {"status": "off", "message": "taken out of dbt_project/seeds/alarms.csv"}
    figures = ("measured", "expected_low", "expected_high")
    metadata: dict[str, Any] = {n: float(row[n]) for n in figures if row.get(n) is not None}
    if row.get("since"):
        metadata["since"] = row["since"].isoformat()
    return dg.AssetCheckResult(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=row["status"] != "warn",
        severity=dg.AssetCheckSeverity.WARN,
        description=described(row),
        metadata={"status": str(row["status"]), **metadata},
    )


def described(row: Mapping[str, Any]) -> str:
    """`message (since …): mend`."""
    since = f" (since {row['since']})" if row.get("since") else ""
    mend = f". {row['mend']}" if row.get("mend") else ""
    return f"{row['message']}{since}{mend}"
