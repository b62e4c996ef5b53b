"""Checks that look at the lake after each landing; dbt's tests cover the models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from ctwa.settings import Settings
from ingestion.lake import Lake
from orchestration.lake import known_lake

QUARANTINE_WARN_RATIO = 0.01
QUARANTINE_WARN_MINIMUM = 10

_CONSERVATION = """
with landed as (
    select seq, count(*) as messages from {messages} group by seq
), refused as (
    select seq, count(*) as refused from {quarantine} where element = 'message' group by seq
)
select
    count(*) as envelopes,
    coalesce(sum(e.message_elements), 0) as elements,
    coalesce(sum(e.messages), 0) as messages,
    coalesce(sum(e.quarantined_messages), 0) as quarantined,
    count(*) filter (
        e.message_elements <> e.messages + e.quarantined_messages
        or e.messages <> coalesce(l.messages, 0)
        or e.quarantined_messages <> coalesce(r.refused, 0)
    ) as wrong
from {envelopes} as e
left join landed as l on e.seq = l.seq
left join refused as r on e.seq = r.seq
"""

_QUARANTINE = """
select
    count(*) as elements,
    count(*) filter (received_at >= newest - interval 1 day) as recent,
    (select count(*) from {envelopes}
     where received_at >= (select max(received_at) from {envelopes}) - interval 1 day) as envelopes
from {quarantine} cross join (select max(received_at) as newest from {envelopes})
"""

_REASONS = """
select element, split_part(reason, ':', 1) as reason, count(*) as elements
from {quarantine} group by all order by elements desc, element, reason limit 10
"""

_PENDING = """
with wanted as (
    select distinct referral_source_id as ad_id from {messages}
    where referral_source_id is not null and referral_source_type is distinct from 'post'
)
select
    count(*) as ads_in_referrals,
    count(*) filter (
        ad_id not in (select ad_id from {ads} where ad_id is not null)
        and ad_id not in (select ad_id from {lookups} where status in ('foreign', 'gone'))
    ) as pending
from wanted
"""


def build_checks(settings: Settings) -> list[dg.AssetChecksDefinition]:
    """Conservation (rule R1), quarantine and ads still to be looked up."""

    def lake() -> Lake:
        return known_lake(settings)

    @dg.asset_check(
        asset=dg.AssetKey(["event_log", "envelopes"]),
        name="nothing_disappears",
        description="Messages in envelopes = rows + quarantined, in every envelope (rule R1).",
        additional_deps=_keys("messages", "quarantine"),
    )
    def nothing_disappears() -> dg.AssetCheckResult:
        figures = _row(lake(), _CONSERVATION, "envelopes", "messages", "quarantine")
        return dg.AssetCheckResult(passed=figures["wrong"] == 0, metadata=figures)

    @dg.asset_check(
        asset=dg.AssetKey(["event_log", "envelopes"]),
        name="every_envelope_landed",
        description=(
            "Warns when the vault has had envelopes that the event log lacks: an older lake was "
            "put back after their bodies had been purged. A newer copy of the lake has them."
        ),
    )
    def every_envelope_landed() -> dg.AssetCheckResult:
        missing = missing_envelopes(settings, lake())
        return dg.AssetCheckResult(
            passed=missing == 0,
            severity=dg.AssetCheckSeverity.WARN,
            description=(
                f"{missing} envelopes of the vault are not in the event log and their bodies are "
                "purged: restore a newer copy of the lake, then run `ctwa refresh --full`"
                if missing
                else "the event log has every envelope of the vault"
            ),
            metadata={"missing": missing},
        )

    @dg.asset_check(
        asset=dg.AssetKey(["event_log", "quarantine"]),
        name="quarantine_is_small",
        description="Warns when over 1 % of the last day's envelopes hold something unreadable.",
        additional_deps=_keys("envelopes"),
    )
    def quarantine_is_small() -> dg.AssetCheckResult:
        figures = _row(lake(), _QUARANTINE, "envelopes", "quarantine")
        limit = max(QUARANTINE_WARN_MINIMUM, QUARANTINE_WARN_RATIO * figures["envelopes"])
        reasons = lake().query(_REASONS, quarantine="event_log/quarantine").to_pylist()
        table = "\n".join(f"| {r['element']} | {r['reason']} | {r['elements']} |" for r in reasons)
        return dg.AssetCheckResult(
            passed=figures["recent"] <= limit,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                **figures,
                "reasons": dg.MetadataValue.md(
                    f"| element | reason | count |\n|---|---|---|\n{table}"
                ),
            },
        )

    @dg.asset_check(
        asset=dg.AssetKey(["meta_ads", "ads"]),
        name="ads_are_resolved",
        description="Warns when ads of referrals are neither known nor refused by Meta (rule R8).",
        additional_deps=[dg.AssetKey(["meta_ads", "ad_lookups"]), *_keys("messages")],
    )
    def ads_are_resolved() -> dg.AssetCheckResult:
        figures = _one(
            lake()
            .query(
                _PENDING,
                messages="event_log/messages",
                ads="meta_ads/ads",
                lookups="meta_ads/ad_lookups",
            )
            .to_pylist()
        )
        return dg.AssetCheckResult(
            # Without a connection to Meta every ad is pending, and nothing is wrong with that.
            passed=figures["pending"] == 0 or not settings.meta_is_on,
            severity=dg.AssetCheckSeverity.WARN,
            metadata=figures,
        )

    return [nothing_disappears, every_envelope_landed, quarantine_is_small, ads_are_resolved]


def missing_envelopes(settings: Settings, lake: Lake) -> int:
    """How many envelopes up to the watermark the vault knows of and the event log does not."""
    from ingestion.webhook.vault import Vault

    landed = lake.max_value("event_log", "envelopes", "seq")
    file = settings.vault_url.removeprefix("sqlite:///")
    if not landed or (file != settings.vault_url and not Path(file).exists()):
        return 0
    vault = Vault.open(settings.vault_url)
    try:
        lowest, received = vault.extent(landed)
    finally:
        vault.close()
    sql = f"select count(distinct seq) as landed from {{envelopes}} where seq >= {lowest}"  # noqa: S608
    return received - _row(lake, sql, "envelopes")["landed"]


def _keys(*tables: str) -> list[dg.AssetKey]:
    return [dg.AssetKey(["event_log", t]) for t in tables]


def _row(lake: Lake, sql: str, *tables: str) -> dict[str, int]:
    return _one(lake.query(sql, **{t: f"event_log/{t}" for t in tables}).to_pylist())


def _one(rows: Sequence[dict[str, object]]) -> dict[str, int]:
    """The only row, as plain integers (sums come as decimals)."""
    return {k: int(str(v or 0)) for k, v in rows[0].items()}
