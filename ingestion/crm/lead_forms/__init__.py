"""Meta's instant forms: leads of a company's pages, into the vault, before the event log lands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ctwa.settings import Settings
from ingestion.crm.lead_forms.tables import DATASET, LEAD_FORMS
from ingestion.source import Finding, Landing, Source


def _land(settings: Settings) -> Any:
    from ingestion.crm.lead_forms.source import land_lead_forms

    return land_lead_forms(settings)


def _examine(settings: Settings) -> Iterator[Finding]:
    from ingestion.crm.lead_forms.page import examine

    return examine(settings)


def _off_because(settings: Settings) -> str | None:
    if settings.meta_page_ids and (settings.meta_page_token or settings.meta_access_token):
        return None
    return "set META_PAGE_IDS and META_PAGE_TOKEN to read instant forms (see docs/lead-forms.md)."


META_LEAD_FORMS_SOURCE = Source(
    dataset=DATASET,
    title="Meta instant forms",
    group="sources",
    schemas=LEAD_FORMS,
    descriptions={
        "reads": (
            "One row each time a form was read to the end. The leads themselves go through the "
            "vault into the event log, as rows of `web_leads`."
        ),
        "forms": "One row per form and read that found it new, renamed or in another status.",
        "leads": "One row per lead that was read or refused; keyed hashes only.",
    },
    landings=(Landing(DATASET, list(LEAD_FORMS), _land),),
    kinds=frozenset({"facebook"}),
    # Without a new notice it asks Meta nothing until the next bulk read is due.
    runs="always",
    off_because=_off_because,
    examine=_examine,
    settings=("META_PAGE_IDS", "META_PAGE_TOKEN"),
    docs="docs/lead-forms.md",
    reaches_models_by=(("event_log", "web_leads"),),
)
