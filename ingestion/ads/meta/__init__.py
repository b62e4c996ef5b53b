"""Meta's Marketing API: ads and their names in every status, spend by ad and day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING, Any

from ctwa.settings import Settings
from ingestion.ads.schema import DESCRIPTIONS, META_ADS, OBJECT_TABLES, SPEND_TABLES
from ingestion.source import Backfill, Finding, Landing, Source

if TYPE_CHECKING:
    from dlt.extract import DltSource

_OLDEST_DAYS = 37 * 30
"""Meta keeps insights for about 37 months."""


def _land_ads(settings: Settings) -> Any:
    from ingestion.ads.meta.source import land_meta_ads

    return land_meta_ads(settings)


def _land_insights(settings: Settings, since: date | None = None, until: date | None = None) -> Any:
    from ingestion.ads.meta.spend import land_insights

    return land_insights(settings, since=since, until=until)


def _dlt_source(settings: Settings) -> DltSource:
    from ingestion.ads.meta.source import meta_ads_source

    return meta_ads_source(settings)


def _examine(settings: Settings) -> Iterator[Finding]:
    from ingestion.ads.meta.accounts import examine

    return examine(settings)


def _off_because(settings: Settings) -> str | None:
    if settings.meta_is_on:
        return None
    return "set META_ACCESS_TOKEN and META_AD_ACCOUNT_IDS to read ads and spend (see .env.example)."


META_ADS_SOURCE = Source(
    dataset="meta_ads",
    title="Meta ads",
    group="ad_platforms",
    schemas=META_ADS,
    descriptions={t: DESCRIPTIONS[t] for t in META_ADS},
    landings=(
        Landing(
            "meta_ads",
            OBJECT_TABLES,
            _land_ads,
            # Ads seen only in referrals are looked up by id, so messages come first.
            after=[("event_log", "messages")],
        ),
        Landing(
            "meta_insights",
            SPEND_TABLES,
            _land_insights,
            # Insights of deleted ads are read by id: the look-up that says "deleted" comes first.
            after=[("meta_ads", "ads")],
            backfill=Backfill("insights_backfill", _land_insights, _OLDEST_DAYS),
        ),
    ),
    kinds=frozenset({"facebook"}),
    off_because=_off_because,
    examine=_examine,
    dlt_source=_dlt_source,
    settings=("META_ACCESS_TOKEN", "META_AD_ACCOUNT_IDS"),
    docs="docs/connect/meta-ads.md",
)
