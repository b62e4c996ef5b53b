"""Google Ads: accounts, campaigns, costs by day, and clicks by click id."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ctwa.settings import Settings
from ingestion.ads.schema import DESCRIPTIONS, GOOGLE_ADS
from ingestion.source import Finding, Landing, Source

if TYPE_CHECKING:
    from dlt.extract import DltSource


def _land(settings: Settings) -> Any:
    from ingestion.ads.google.source import land_google_ads

    return land_google_ads(settings)


def _dlt_source(settings: Settings) -> DltSource:
    from ingestion.ads.google.source import google_ads_source

    return google_ads_source(settings)


def _examine(settings: Settings) -> Iterator[Finding]:
    from ingestion.ads.google.accounts import examine

    return examine(settings)


def _off_because(settings: Settings) -> str | None:
    missing = ", ".join(settings.google_missing)
    return f"set {missing} to read Google Ads (docs/connect/google-ads.md)." if missing else None


GOOGLE_ADS_SOURCE = Source(
    dataset="google_ads",
    title="Google Ads",
    group="ad_platforms",
    schemas=GOOGLE_ADS,
    descriptions={t: DESCRIPTIONS[t] for t in GOOGLE_ADS},
    landings=(Landing("google_ads", list(GOOGLE_ADS), _land),),
    kinds=frozenset({"googleads"}),
    off_because=_off_because,
    examine=_examine,
    dlt_source=_dlt_source,
    settings=(
        "GOOGLE_ADS_CLIENT_ID",
        "GOOGLE_ADS_CLIENT_SECRET",
        "GOOGLE_ADS_REFRESH_TOKEN",
        "GOOGLE_ADS_CUSTOMER_IDS",
    ),
    docs="docs/connect/google-ads.md",
)
