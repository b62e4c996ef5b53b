"""The event log: from the vault through the parser into the lake; and the vault's retention."""

# No `from __future__ import annotations` here: Dagster reads the annotations of asset functions.

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import dagster as dg

from ctwa.settings import Settings
from ingestion.parser.schema import EVENT_LOG
from orchestration.assets.raw import OWNERS, Landed, RawSource, run_source
from orchestration.resources import RefreshLock, RefreshOptions

DESCRIPTIONS = {
    "envelopes": "One row per webhook body in the vault, with the counts of what was in it.",
    "messages": "One row per message as delivered, with its ad referral; repeats included.",
    "statuses": "One row per delivery status of an outbound message, with its pricing.",
    "identity_links": "One row per pair of identities that one payload shows to be one person.",
    "outcomes": "One row per outcome a CRM sent: stage, time, value; repeats included.",
    "web_leads": "One row per form that somebody sent on the company's site; repeats included.",
    "link_clicks": "One row per click on the site's WhatsApp button; repeats included.",
    "exclusions": "One row per statement that somebody, or a business number, does not count.",
    "consents": "One row per word of somebody's consent to marketing: given, or withdrawn (E72).",
    "account_events": "One row per event about the business account itself.",
    "quarantine": "One row per element that could not be taken, with path and reason, no values.",
}


def event_log_source_of(settings: Settings) -> RawSource:
    """Tables and descriptions of the event log."""
    return RawSource(
        dataset="event_log",
        schemas=EVENT_LOG,
        descriptions=DESCRIPTIONS,
        kinds=frozenset({"python"}),
        # What was read of the CRM lies in the vault: landed in the same night.
        deps=(dg.AssetKey(["hubspot", "reads"]),),
    )


def build_event_log_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """The event log's tables as one step, and the purge of old bodies."""
    source = event_log_source_of(settings)

    @dg.multi_asset(
        name="event_log", specs=source.specs(), check_specs=[source.check_spec()], pool="duckdb"
    )
    def event_log(
        context: dg.AssetExecutionContext, lock: RefreshLock, options: RefreshOptions
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        yield from run_source(context, source, lambda: _land(settings, options.reparse))

    @dg.asset(
        key=["vault", "retention"],
        deps=[dg.AssetKey(["event_log", "envelopes"])],
        group_name="raw",
        owners=OWNERS,
        kinds={"python"},
        description=(
            f"Bodies older than {settings.vault_retention_days} days "
            "(CTWA_VAULT_RETENTION_DAYS) leave the vault once they are in the event log."
        ),
    )
    def vault_retention(lock: RefreshLock) -> dg.MaterializeResult:
        return dg.MaterializeResult(metadata={"purged_bodies": purge(settings)})

    return [event_log, vault_retention]


def _land(settings: Settings, reparse: bool) -> Landed:
    from ingestion.sources.event_log import land_event_log

    counts = land_event_log(settings, reparse=reparse)
    figures = asdict(counts)
    rows = next((v for v in figures.values() if isinstance(v, dict)), {})
    return Landed(rows, {k: v for k, v in figures.items() if isinstance(v, int)})


def purge(settings: Settings) -> int:
    """Purge bodies that are past their time and landed; how many."""
    from ingestion.lake import Lake
    from ingestion.webhook.vault import Vault

    landed = Lake.from_settings(settings).max_value("event_log", "envelopes", "seq")
    before = datetime.now(UTC) - timedelta(days=settings.vault_retention_days)
    vault = Vault.open(settings.vault_url)
    try:
        return vault.purge_bodies(before, landed) if landed else 0
    finally:
        vault.close()
