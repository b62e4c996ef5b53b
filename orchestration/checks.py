"""Checks in Python: of the lake after each landing, and of how fresh each mart's sources are.

dbt's tests cover the models. If a source cannot be read, the marts are built from its earlier rows:
that must be visible where people look, at the mart, not only at the source.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of check functions.

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from ctwa.settings import Settings
from ingestion import sources
from ingestion.event_log.adoption import look_at_receiver
from ingestion.lake.lake import Lake
from ingestion.source import Source
from ingestion.vault import open_vault
from ingestion.vault.vault import VaultDamagedError
from orchestration.dbt_manifest import MARTS_SCHEMA
from orchestration.keys import ENVELOPES_KEY, FRESH, PROBLEM, STALE_SINCE, STATUS
from orchestration.sources import loaded_keys

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

_CLICKS = """
select coalesce(max(clicks), 0) as clicks from (
    select cast(received_at at time zone 'UTC' as date) as day, count(*) as clicks
    from {envelopes}
    where source = 'clicks'
        and received_at >= (select max(received_at) from {envelopes}) - interval 2 day
    group by day
) as days
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
        and ad_id not in (select ad_id from {lookups} where lookup_status in ('foreign', 'gone'))
    ) as pending
from wanted
"""


def build_checks(settings: Settings) -> list[dg.AssetChecksDefinition]:
    """Conservation (rule R1), vault and receiver, quarantine, ads to look up."""

    def lake() -> Lake:
        return sources.known_lake(settings)

    @dg.asset_check(
        asset=ENVELOPES_KEY,
        name="nothing_disappears",
        description="In every envelope, messages = rows + quarantined elements (rule R1).",
        additional_deps=_keys("messages", "quarantine"),
    )
    def nothing_disappears() -> dg.AssetCheckResult:
        figures = _row(lake(), _CONSERVATION, "envelopes", "messages", "quarantine")
        return dg.AssetCheckResult(passed=figures["wrong"] == 0, metadata=figures)

    @dg.asset_check(
        asset=ENVELOPES_KEY,
        name="every_envelope_landed",
        description=(
            "Warns if the event log lacks envelopes that the vault has had: an older lake was "
            "restored after their bodies had been purged. A newer copy of the lake has them."
        ),
    )
    def every_envelope_landed() -> dg.AssetCheckResult:
        try:
            missing = missing_envelopes(settings, lake())
        except VaultDamagedError as error:
            return dg.AssetCheckResult(
                passed=False, severity=dg.AssetCheckSeverity.WARN, description=str(error)
            )
        return dg.AssetCheckResult(
            passed=missing == 0,
            severity=dg.AssetCheckSeverity.WARN,
            description=(
                f"{missing} envelopes of the vault are not in the event log, and their bodies have "
                "been purged: restore a newer copy of the lake, then run `ctwa refresh --full`"
                if missing
                else "the event log has every envelope of the vault"
            ),
            metadata={"missing": missing},
        )

    @dg.asset_check(
        asset=ENVELOPES_KEY,
        name="receiver_fills_this_vault",
        description=(
            "Warns if the receiver on this machine (CTWA_RECEIVER_URL) fills another vault than "
            "the one read here, or if bodies wait that no refresh has landed."
        ),
    )
    def receiver_fills_this_vault() -> dg.AssetCheckResult:
        found = look_at_receiver(settings, settings.receiver_url.rstrip("/"), datetime.now(UTC))
        return dg.AssetCheckResult(
            passed=found.status != "warn",
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{found.found}: {found.fix}" if found.fix else found.found,
        )

    @dg.asset_check(
        asset=dg.AssetKey(["event_log", "link_clicks"]),
        name="clicks_within_budget",
        description=(
            "Warns if one of the last two days reached 90 % of CTWA_CLICKS_PER_DAY: beyond the "
            "limit clicks are refused, and it is unknown from which page their chats came."
        ),
        additional_deps=_keys("envelopes"),
    )
    def clicks_within_budget() -> dg.AssetCheckResult:
        found = _row(lake(), _CLICKS, "envelopes")
        limit = settings.clicks_per_day
        return dg.AssetCheckResult(
            passed=found["clicks"] < 0.9 * limit,
            severity=dg.AssetCheckSeverity.WARN,
            description=(
                f"{found['clicks']} clicks in a day, of {limit} that CTWA_CLICKS_PER_DAY allows: "
                "raise it if they come from your visitors, else block the sender at the proxy"
            ),
            metadata={**found, "limit": limit},
        )

    @dg.asset_check(
        asset=dg.AssetKey(["event_log", "quarantine"]),
        name="quarantine_is_small",
        description="Warns if over 1 % of the last day's envelopes contain something unreadable.",
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
        description="Warns if ads of referrals are neither known nor refused by Meta (rule R8).",
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
            # Without a connection to Meta every ad is pending, and that is not an error.
            passed=figures["pending"] == 0 or not settings.meta_is_on,
            severity=dg.AssetCheckSeverity.WARN,
            metadata=figures,
        )

    return [
        nothing_disappears,
        every_envelope_landed,
        receiver_fills_this_vault,
        clicks_within_budget,
        quarantine_is_small,
        ads_are_resolved,
    ]


def build_freshness_checks(manifest: Mapping[str, Any]) -> list[dg.AssetChecksDefinition]:
    """One check per mart: whether its sources could be read."""
    rests_on = sources_of_marts(manifest)
    if not rests_on:
        return []

    @dg.multi_asset_check(
        name=FRESH,
        specs=[
            dg.AssetCheckSpec(
                FRESH,
                asset=dg.AssetKey([MARTS_SCHEMA, mart]),
                description=f"Warns while one of these could not be read: {', '.join(names)}.",
            )
            for mart, names in rests_on.items()
        ],
        can_subset=True,
    )
    def sources_are_fresh(
        context: dg.AssetCheckExecutionContext,
    ) -> Iterator[dg.AssetCheckResult]:
        stale = {key.path[0]: text for key in loaded_keys() if (text := _stale(context, key))}
        for check in sorted(context.selected_asset_check_keys):
            names = [n for n in rests_on[check.asset_key.path[-1]] if n in stale]
            yield dg.AssetCheckResult(
                asset_key=check.asset_key,
                check_name=FRESH,
                passed=not names,
                severity=dg.AssetCheckSeverity.WARN,
                description="; ".join(stale[n] for n in names) or "every source was read",
                metadata={"stale_sources": ", ".join(names)} if names else {},
            )

    return [sources_are_fresh]


def sources_of_marts(manifest: Mapping[str, Any]) -> dict[str, list[str]]:
    """Mart to the datasets that it depends on, through any number of models."""
    children: dict[str, set[str]] = defaultdict(set)
    for unique_id, node in manifest["nodes"].items():
        for parent in node.get("depends_on", {}).get("nodes", ()):
            children[parent].add(unique_id)
    found: dict[str, list[str]] = defaultdict(list)
    for source in sorted(sources.SOURCES, key=lambda source: source.dataset):
        start = {i for i, table in manifest["sources"].items() if _holds_rows_of(table, source)}
        for unique_id in sorted(_descendants(start, children)):
            node = manifest["nodes"].get(unique_id, {})
            if node.get("resource_type") == "model" and node["schema"] == MARTS_SCHEMA:
                found[node["alias"]].append(source.dataset)
    return dict(sorted(found.items()))


def _holds_rows_of(table: Mapping[str, Any], source: Source) -> bool:
    name = (table["source_name"], table["name"])
    return name[0] == source.dataset or name in source.reaches_models_by


def _descendants(start: set[str], children: Mapping[str, set[str]]) -> set[str]:
    reached, ahead = set(start), list(start)
    while ahead:
        for child in children.get(ahead.pop(), set()) - reached:
            reached.add(child)
            ahead.append(child)
    return reached


def _stale(context: dg.AssetCheckExecutionContext, key: dg.AssetKey) -> str:
    """What is wrong with a source, and since when; '' if it is off or was read."""
    event = context.instance.get_latest_materialization_event(key)
    if event is None or event.asset_materialization is None:
        return ""
    metadata = event.asset_materialization.metadata
    if STATUS not in metadata or metadata[STATUS].value != "failed":
        return ""
    return f"{key.path[0]} as of {metadata[STALE_SINCE].value}: {metadata[PROBLEM].value}"


def missing_envelopes(settings: Settings, lake: Lake) -> int:
    """How many envelopes up to the watermark the vault knows but the event log lacks."""
    landed = lake.max_value("event_log", "envelopes", "seq")
    file = settings.vault_url.removeprefix("sqlite:///")
    if not landed or (file != settings.vault_url and not Path(file).exists()):
        return 0
    vault = open_vault(settings.vault_url)
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
