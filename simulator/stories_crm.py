"""Stories about the CRM: HubSpot's contacts and deals, their stages, merges and deletions.

What somebody does there is told as they do it; what must come of it is stated as for any other
outcome.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from simulator.hubspot_state import HubspotState
from simulator.people import CrmStage, Funnel
from simulator.scene import Scene
from simulator.stories import Chapter

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
Ids = dict[str, int]
told = Chapter()


@told()
def contact_that_qualifies(s: Scene) -> None:
    """A contact with the number as people write it; its stages are the lead's outcomes."""
    ana, ad, at = s.person("BR9"), s.ad(), s.moment(before=9)
    s.hears(ana, at, referral=s.referral(ad))

    def new(crm: HubspotState, ids: Ids) -> None:
        ids["ana"] = crm.contact(phone=ana.crm_phone, lifecyclestage="lead")

    def qualify(crm: HubspotState, ids: Ids) -> None:
        crm.update("contacts", ids["ana"], lifecyclestage="salesqualifiedlead")

    s.hubspot(at + HOUR, new)
    s.hubspot(at + 3 * DAY, qualify)
    s.lead(
        ana, at, "ctwa_click", ad, funnel=Funnel(at + 3 * DAY, True),
        stages=(
            CrmStage("hubspot", "lead", at + HOUR, "lead"),
            CrmStage("hubspot", "salesqualifiedlead", at + 3 * DAY, "qualified"),
        ),
    )  # fmt: skip


@told("E58")
def deal_that_is_won(s: Scene) -> None:
    """A deal skips stages and is won; its money counts once (E58)."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=12)
    s.hears(ana, at, referral=s.referral(ad))
    done = at + 8 * DAY

    def new(crm: HubspotState, ids: Ids) -> None:
        ids["ana"] = crm.contact(mobilephone=ana.crm_phone)
        ids["deal"] = crm.deal(
            "appointmentscheduled", ids["ana"], amount="1500.50", deal_currency_code="BRL"
        )

    def win(crm: HubspotState, ids: Ids) -> None:
        crm.update("deals", ids["deal"], dealstage="closedwon", amount="1780.25")

    s.hubspot(at + DAY, new)
    s.hubspot(done, win)
    won = ((Decimal("1780.25"), "BRL", done.date()),)
    s.lead(
        ana, at, "ctwa_click", ad, funnel=Funnel(done, True, won),
        stages=(
            CrmStage("hubspot_deals", "appointmentscheduled", at + DAY, "lead"),
            CrmStage("hubspot_deals", "closedwon", done, "won", Decimal("1780.25"), "BRL"),
        ),
    )  # fmt: skip


@told("E90")
def deal_that_moves_on(s: Scene) -> None:
    """After the win the deal moves to a delivery pipeline, to an unmapped stage, and its amount
    becomes what is left to invoice: the win keeps its value (E90)."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=16)
    s.hears(ana, at, referral=s.referral(ad))
    done, onboard = at + 6 * DAY, at + 9 * DAY

    def new(crm: HubspotState, ids: Ids) -> None:
        crm.pipelines["4471"] = ("Onboarding", {"44711": "Kick-off"})
        ids["ana"] = crm.contact(phone=ana.crm_phone)
        ids["deal"] = crm.deal("qualifiedtobuy", ids["ana"], amount="800")

    def win(crm: HubspotState, ids: Ids) -> None:
        crm.update("deals", ids["deal"], dealstage="closedwon", amount="915.40")

    def move(crm: HubspotState, ids: Ids) -> None:
        crm.update("deals", ids["deal"], pipeline="4471", dealstage="44711", amount="100")

    def invoice(crm: HubspotState, ids: Ids) -> None:
        crm.update("deals", ids["deal"], amount="0")

    s.hubspot(at + DAY, new)
    s.hubspot(done, win)
    s.hubspot(onboard, move)
    s.hubspot(onboard + DAY, invoice)
    won = ((Decimal("915.40"), "BRL", done.date()),)
    s.lead(
        ana, at, "ctwa_click", ad, funnel=Funnel(at + DAY, True, won),
        stages=(
            CrmStage("hubspot_deals", "qualifiedtobuy", at + DAY, "qualified"),
            CrmStage("hubspot_deals", "closedwon", done, "won", Decimal("915.40"), "BRL"),
            CrmStage("hubspot_deals", "44711", onboard, None),
        ),
    )  # fmt: skip


@told("E29")
def contacts_that_are_merged(s: Scene) -> None:
    """An address in a form, a number in a chat, two contacts: merging makes one lead (E29)."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=14)
    form = s.submits(ana, at, s.page(utm_source="blog"), phone=False)
    s.hears(ana, at + DAY, ids="phone", referral=s.referral(ad))

    def new(crm: HubspotState, ids: Ids) -> None:
        ids["by mail"] = crm.contact(email=ana.email)
        ids["by phone"] = crm.contact(phone=ana.crm_phone)

    def merge(crm: HubspotState, ids: Ids) -> None:
        ids["ana"] = crm.merge("contacts", ids["by mail"], ids["by phone"])

    def qualify(crm: HubspotState, ids: Ids) -> None:
        crm.update("contacts", ids["ana"], lifecyclestage="opportunity")

    s.hubspot(at + 2 * DAY, new)
    s.hubspot(at + 5 * DAY, merge)
    s.hubspot(at + 6 * DAY, qualify)
    s.lead(
        ana, at, "web_utm", form=form, channel="web_other", touches=2, has_country=False,
        latest=("click_to_whatsapp", ad), funnel=Funnel(at + 6 * DAY, True),
        stages=(CrmStage("hubspot", "opportunity", at + 6 * DAY, "opportunity"),),
    )  # fmt: skip


@told("E60")
def two_contacts_of_one_person(s: Scene) -> None:
    """Two records with one number, never merged: one lead, the stages of both (E60)."""
    ana, ad, at = s.person("MX"), s.ad(), s.moment(before=9)
    s.hears(ana, at, referral=s.referral(ad))

    def new(crm: HubspotState, ids: Ids) -> None:
        crm.contact(phone=ana.crm_phone, lifecyclestage="lead")
        crm.contact(hs_whatsapp_phone_number=f"+{ana.wa_id}", lifecyclestage="opportunity")

    s.hubspot(at + DAY, new)
    s.lead(
        ana, at, "ctwa_click", ad, funnel=Funnel(at + DAY, True),
        stages=(
            CrmStage("hubspot", "lead", at + DAY, "lead"),
            CrmStage("hubspot", "opportunity", at + DAY, "opportunity"),
        ),
    )  # fmt: skip


@told("E63", "E58")
def contact_that_is_deleted(s: Scene) -> None:
    """What was reached stays reached; a deleted record is not qualified any more (E58, E63)."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=12)
    s.hears(ana, at, referral=s.referral(ad))

    def new(crm: HubspotState, ids: Ids) -> None:
        ids["ana"] = crm.contact(phone=ana.crm_phone, lifecyclestage="salesqualifiedlead")

    def delete(crm: HubspotState, ids: Ids) -> None:
        crm.delete("contacts", ids["ana"])

    s.hubspot(at + DAY, new)
    s.hubspot(at + 4 * DAY, delete)
    s.lead(
        ana, at, "ctwa_click", ad, funnel=Funnel(at + DAY),
        stages=(
            CrmStage("hubspot", "salesqualifiedlead", at + DAY, "qualified"),
            CrmStage("hubspot", "deleted", at + 4 * DAY, "disqualified"),
        ),
    )  # fmt: skip


@told("E60")
def deal_of_nobody(s: Scene) -> None:
    """A deal without a contact, and a contact who never wrote: kept and counted (E60)."""
    ana, at = s.person(), s.moment(before=9)

    def new(crm: HubspotState, ids: Ids) -> None:
        crm.deal("qualifiedtobuy", amount="10")
        crm.contact(phone=ana.crm_phone, lifecyclestage="customer")

    s.hubspot(at, new)
    s.stages_of_nobody += [
        CrmStage("hubspot_deals", "qualifiedtobuy", at, "qualified", Decimal(10), "BRL"),
        CrmStage("hubspot", "customer", at, "won"),
    ]
