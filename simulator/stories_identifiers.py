"""Stories about identifiers of more than one person (R4): fillers, offices, mistakes in the CRM."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

from simulator.hubspot_state import HubspotState
from simulator.people import Funnel
from simulator.scene import Scene
from simulator.stories import Chapter

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FILLERS = ("(11) 99999-9999", "+55 21 98888-8888", "11 91234-5678", "12345678")
Ids = dict[str, int]
told = Chapter()


@told("E85")
def fillers_in_forms(s: Scene) -> None:
    """Strangers who type what gets them past the field: as many leads as people (E85)."""
    at = s.moment(before=9)
    for place, filler in enumerate((*FILLERS, *FILLERS)):
        ana = replace(s.person(), crm_phone=filler)
        when = at + place * HOUR
        form = s.submits(ana, when, s.page(utm_source="blog"))
        s.lead(ana, when, "web_utm", form=form, channel="web_other", has_country=False)


@told("E86")
def office_number_in_forms(s: Scene) -> None:
    """Six colleagues with the number of their office: six leads, each refused the next (E86)."""
    office, at = s.person("BR9").crm_phone, s.moment(before=12)
    leads = []
    for place in range(6):
        ana = replace(s.person(), crm_phone=office)
        when = at + place * HOUR
        form = s.submits(ana, when, s.page(utm_source="blog"))
        funnel, done = Funnel(), tuple[str, ...]()
        if place in (1, 4):
            funnel = Funnel(when + 2 * DAY, True)
            done = (s.crm("qualified", when + 2 * DAY, phone=office, email=ana.email),)
        leads.append(
            s.lead(
                ana, when, "web_utm", form=form, channel="web_other", funnel=funnel, event_ids=done
            )
        )
    for earlier, later in pairwise(leads):
        s.conflict(
            earlier, later, last_seen=earlier.first_touch_at, first_seen=later.first_touch_at,
            reason="shared_identifier",
        )  # fmt: skip


@told("E86")
def number_corrected_in_the_crm(s: Scene) -> None:
    """Somebody's number on another's contact, until it is corrected: two leads (E86)."""
    ana, bia, at = s.person("BR9"), s.person("BR9"), s.moment(before=14)
    mine = s.submits(ana, at, s.page(utm_source="blog"), phone=False)
    theirs = s.submits(bia, at + HOUR, s.page(utm_source="blog"), phone=False)

    def new(crm: HubspotState, ids: Ids) -> None:
        crm.contact(email=ana.email, phone=ana.crm_phone)
        ids["bia"] = crm.contact(email=bia.email, phone=ana.crm_phone)

    def correct(crm: HubspotState, ids: Ids) -> None:
        crm.update("contacts", ids["bia"], phone=bia.crm_phone)

    s.hubspot(at + DAY, new)
    s.hubspot(at + 6 * DAY, correct)
    s.lead(ana, at, "web_utm", form=mine, channel="web_other", has_country=False)
    s.lead(bia, at + HOUR, "web_utm", form=theirs, channel="web_other", has_country=False)
