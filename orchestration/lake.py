"""What models read: the lake with every table there and nothing of killed runs, and states."""

from __future__ import annotations

from activation.states import ensure_states
from ctwa.settings import Settings
from ingestion.lake import Lake
from ingestion.parser.schema import EVENT_LOG
from ingestion.sources.ecb_schema import EXCHANGE_RATES
from ingestion.sources.google_schema import GOOGLE_ADS
from ingestion.sources.hubspot_schema import HUBSPOT
from ingestion.sources.meta_schema import META_ADS
from ingestion.watch.schema import ALARMS

DATASETS = {
    "event_log": EVENT_LOG,
    "meta_ads": META_ADS,
    "google_ads": GOOGLE_ADS,
    "hubspot": HUBSPOT,
    "exchange_rates": EXCHANGE_RATES,
    "alarms": ALARMS,
}
"""Everything dbt reads: dataset -> table -> schema."""


def known_lake(settings: Settings) -> Lake:
    """The lake with every table there, of sources that are off, too."""
    lake = Lake.from_settings(settings)
    for dataset, schemas in DATASETS.items():
        lake.ensure(dataset, schemas)
    return lake


def ready_lake(settings: Settings) -> Lake:
    """The lake, made ready to be read; the caller holds the refresh lock.

    The states of conversion events as well, which models read beside it.
    """
    ensure_states(settings)
    lake = known_lake(settings)
    for dataset in DATASETS:
        lake.sweep(dataset)
    return lake
