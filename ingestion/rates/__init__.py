"""Daily exchange rates of the European Central Bank, where the settings ask for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctwa.settings import Settings
from ingestion.rates.tables import DATASET, EXCHANGE_RATES
from ingestion.source import Landing, Source

if TYPE_CHECKING:
    from dlt.extract import DltSource


def _land(settings: Settings) -> Any:
    from ingestion.rates.source import land_ecb_rates

    return land_ecb_rates(settings)


def _dlt_source(settings: Settings) -> DltSource:
    from ingestion.rates.source import exchange_rates_source

    return exchange_rates_source(settings)


def _off_because(settings: Settings) -> str | None:
    if settings.exchange_rates == "ecb":
        return None
    return (
        "set CTWA_EXCHANGE_RATES=ecb to convert at the European Central Bank's rates; until then "
        "those of dbt_project/seeds/exchange_rates.csv count."
    )


RATES_SOURCE = Source(
    dataset=DATASET,
    title="exchange rates",
    group="sources",
    schemas=EXCHANGE_RATES,
    descriptions={
        "ecb_rates": "One row per day, currency and read that found the rate new or corrected.",
    },
    landings=(Landing("exchange_rates", list(EXCHANGE_RATES), _land),),
    kinds=frozenset({"csv"}),
    off_because=_off_because,
    dlt_source=_dlt_source,
    settings=("CTWA_EXCHANGE_RATES",),
    docs="docs/attribution.md",
)
