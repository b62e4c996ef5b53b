"""The list of sources, in the order in which `ctwa doctor` examines them."""

from __future__ import annotations

from ctwa.settings import Settings
from ingestion.ads.google import GOOGLE_ADS_SOURCE
from ingestion.ads.meta import META_ADS_SOURCE
from ingestion.crm.hubspot import HUBSPOT_SOURCE
from ingestion.crm.lead_forms import META_LEAD_FORMS_SOURCE
from ingestion.event_log import EVENT_LOG_SOURCE
from ingestion.lake.lake import Lake
from ingestion.rates import RATES_SOURCE
from ingestion.source import Source
from ingestion.watch import ALARMS_SOURCE

SOURCES: tuple[Source, ...] = (
    EVENT_LOG_SOURCE,
    META_ADS_SOURCE,
    GOOGLE_ADS_SOURCE,
    HUBSPOT_SOURCE,
    META_LEAD_FORMS_SOURCE,
    RATES_SOURCE,
    ALARMS_SOURCE,
)


def known_lake(settings: Settings) -> Lake:
    """The lake with every table present, even those of sources that are off: dbt reads them all."""
    lake = Lake.from_settings(settings)
    for source in SOURCES:
        lake.ensure(source.dataset, source.schemas)
    return lake
