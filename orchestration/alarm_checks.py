"""Alarms about silent losses as checks, each on the asset concerned.

They read `health_alarms` as it was built, so that Dagster, the report and BI tools agree.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of check functions.

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
import duckdb

from ctwa.settings import Settings
from ingestion.watch import ENVELOPES_MISSING
from orchestration.dbt_manifest import MARTS_SCHEMA
from orchestration.keys import ENVELOPES_KEY

MART = "health_alarms"
_HEALTH = dg.AssetKey(["marts", "attribution_health"])

ALARMS: Mapping[str, tuple[dg.AssetKey, str]] = {
    ENVELOPES_MISSING: (
        ENVELOPES_KEY,
        "Warns while webhooks have been silent for longer than usual at that hour and weekday.",
    ),
    "referral_share": (_HEALTH, "Warns while the share of referrals is outside its 28-day range."),
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
        "Warns while an account is billed more than usual that no ad accounts for.",
    ),
    "platform_conversations": (
        _HEALTH,
        "Warns while our conversations and those counted by Meta diverge.",
    ),
    "unmatched_outcomes": (
        dg.AssetKey(["marts", "fct_outcomes"]),
        "Warns while more outcomes than usual match no lead.",
    ),
    "shared_identifiers": (
        dg.AssetKey(["marts", "identity_conflicts"]),
        "Warns while more leads than usual have a phone or e-mail shared by too many people.",
    ),
    "quarantine": (
        dg.AssetKey(["event_log", "quarantine"]),
        "Warns while more webhooks than usual contain something unreadable.",
    ),
    "unknown_fields": (
        dg.AssetKey(["event_log", "account_events"]),
        "Warns while a webhook field unknown to the parser brings messages or people.",
    ),
    "silent_sources": (
        _HEALTH,
        "Warns while a source that used to bring something is working but brings nothing.",
    ),
    "meta_token": (
        dg.AssetKey(["meta_ads", "accounts"]),
        "Warns two weeks before Meta's token expires, and while it lacks a permission.",
    ),
    "api_versions": (
        _HEALTH,
        "Warns from 60 days before an API version in use is shut down.",
    ),
}
"""Alarm -> the asset concerned, and the description of its check."""


def build_alarm_checks(settings: Settings, marts: Sequence[str]) -> list[dg.AssetChecksDefinition]:
    """One check for each alarm; none if the project lacks the mart."""
    if MART not in marts:
        return []
    mart = dg.AssetKey([MARTS_SCHEMA, MART])

    @dg.multi_asset_check(
        name=MART,
        specs=[
            dg.AssetCheckSpec(name, asset=key, description=text, additional_deps=[mart])
            for name, (key, text) in ALARMS.items()
        ],
        can_subset=True,
    )
    def health_alarms(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        rows = alarm_rows(settings)
        for check in sorted(context.selected_asset_check_keys):
            yield result_of(check, rows.get(check.name))

    return [health_alarms]


def alarm_rows(settings: Settings) -> dict[str, dict[str, Any]]:
    """Alarm -> its row of the mart in the warehouse, as of the last build."""
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as warehouse:
        found = warehouse.execute(f'select * from "{MARTS_SCHEMA}"."{MART}" order by place')  # noqa: S608
        names = [column[0] for column in found.description or []]
        rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    return {row["alarm"]: row for row in rows}


def result_of(key: dg.AssetCheckKey, row: Mapping[str, Any] | None) -> dg.AssetCheckResult:
    """The result of a check from its row: what happened, then what to do."""
    if row is None:
        row = {"status": "off", "message": "removed from dbt_project/seeds/alarms.csv"}
    figures = ("measured", "expected_low", "expected_high")
    metadata: dict[str, Any] = {n: float(row[n]) for n in figures if row.get(n) is not None}
    if row.get("since"):
        metadata["since"] = row["since"].isoformat()
    return dg.AssetCheckResult(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=row["status"] != "warn",
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{described(row)}{_runbook(row)}",
        metadata={"status": str(row["status"]), **metadata},
    )


def described(row: Mapping[str, Any]) -> str:
    """`message (since …). What to do`."""
    since = f" (since {row['since']})" if row.get("since") else ""
    mend = f". {row['mend']}" if row.get("mend") else ""
    return f"{row['message']}{since}{mend}"


def _runbook(row: Mapping[str, Any]) -> str:
    """Where to read on, for an alarm that fires."""
    return f" (docs/runbooks.md#{row['alarm']})" if row["status"] == "warn" else ""
