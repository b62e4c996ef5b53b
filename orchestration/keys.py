"""Names shared by assets, checks, jobs, sensors and texts."""

from __future__ import annotations

import dagster as dg

from orchestration.destinations import CONTACTS, EVENTS, LEADS

OWNERS = ["team:data"]

STATUS = "status"
"""Metadata of sources and destinations: `loaded` or `sent`, `off`, `failed`."""
PROBLEM = "problem"
STALE_SINCE = "stale_since"
SAW = "saw"
"""An outage in a word or two, so that several checks of one source report it once."""
ROWS_LOADED = "rows_loaded"

LOADED = "loaded"
"""Check of each landing: whether the source was read completely."""
FRESH = "sources_are_fresh"
"""Check of each mart: whether the sources that it depends on were read."""
SENT = "sent"
"""Check of each destination: whether everything due was sent."""
RECORDED = "recorded"
"""Check of the restatements: fails if they could not be recorded, and stops nothing."""

NIGHTLY = "nightly_refresh"
FRESH_LEADS = "fresh_leads"
BACKFILL = "meta_backfill"
COMPARE = "compare_rules"
ACTIVATION = "activation"
DIGEST = "digest"
REFRESH_JOBS = (NIGHTLY, FRESH_LEADS, ACTIVATION)
"""Jobs that bring the marts up to date."""

DBT_STEP = "dbt_build"
FULL_TAG = "ctwa/full_build"
"""Run tag: every model was built again."""

ENVELOPES_KEY = dg.AssetKey(["event_log", "envelopes"])
BACKFILL_KEY = dg.AssetKey(["meta_ads", "insights_backfill"])

EVENTS_KEY = dg.AssetKey(EVENTS)
CONTACTS_KEY = dg.AssetKey(CONTACTS)
LEADS_KEY = dg.AssetKey(LEADS)
DESTINATION_KEYS = (EVENTS_KEY, CONTACTS_KEY, LEADS_KEY)

RESTATEMENTS_KEY = dg.AssetKey(["publish", "restatements"])
MARTS_KEY = dg.AssetKey(["publish", "marts"])
REPORT_KEY = dg.AssetKey(["publish", "report"])
POSTGRES_KEY = dg.AssetKey(["publish", "marts_postgres"])
VERDICT_KEY = dg.AssetKey(["publish", "refresh_verdict"])
CREDIT_DIFF_KEY = dg.AssetKey(["comparison", "credit_diff"])

LIVE_KEY = dg.AssetKey(["live", "worker"])

VAULT_RETENTION_KEY = dg.AssetKey(["vault", "retention"])
BACKUP_KEY = dg.AssetKey(["installation", "backup"])
HISTORY_RETENTION_KEY = dg.AssetKey(["history", "retention"])


def check_name(asset_key: dg.AssetKey, name: str) -> str:
    """The name of a check in texts and in the ledger of alerts."""
    return f"{'/'.join(asset_key.path)}: {name}"
