"""Stories about Meta's instant forms: a page's webhooks, missed, late and repeated, and the
leads that its forms keep all the same.

Each is sent a day or more before the end, so that the last two nights read it: the one before the
old form is deleted, and the one after.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from simulator.company import FORM_AD, OLD_FORM_AD, OLD_FORM_ID
from simulator.people import Funnel
from simulator.scene import Scene
from simulator.stories import Chapter

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FORM, CTWA = "meta_lead_form", "click_to_whatsapp"
told = Chapter()


@told()
def instant_form_that_qualifies(s: Scene) -> None:
    """Announced and read; the CRM knows the address only."""
    ana, at = s.person(), s.moment(before=9)
    form = s.sends_instant_form(ana, at)
    done = s.crm("qualified", at + 3 * DAY, email=ana.email)
    funnel = Funnel(at + 3 * DAY, True)
    s.lead(ana, at, "lead_form", FORM_AD, form=form, funnel=funnel, event_ids=(done,))


@told()
def instant_form_whose_webhook_is_missed(s: Scene) -> None:
    """Nobody is told of it: the form itself has it. By an ad set that names no destination."""
    ana, at = s.person(), s.moment(before=2)
    form = s.sends_instant_form(ana, at, OLD_FORM_AD, notices=())
    s.lead(ana, at, "lead_form", OLD_FORM_AD, form=form)


@told()
def instant_form_announced_again_and_late(s: Scene) -> None:
    """Three webhooks, one of them after the form was read in full: one lead."""
    ana, at = s.person("MX"), s.moment(before=3)
    form = s.sends_instant_form(ana, at, notices=(None, 1, 2))
    s.lead(ana, at, "lead_form", FORM_AD, form=form)


@told()
def instant_form_that_was_shared(s: Scene) -> None:
    """Reached without an ad: no ad, no campaign, no spend beside it."""
    ana, at = s.person(), s.moment(before=2)
    form = s.sends_instant_form(ana, at, None, answers=("email",))
    s.lead(ana, at, "lead_form", form=form, channel="organic_social", has_country=False)


@told()
def instant_form_then_chat(s: Scene) -> None:
    """One lead of the form's ad, by the phone; the chat comes a night before the form is known."""
    ana, at, ad = s.person("BR9"), s.moment(before=9), s.ad()
    form = s.sends_instant_form(ana, at, notices=(2,))
    s.hears(ana, at + HOUR, referral=s.referral(ad), night=1)
    when = at + 4 * DAY
    done = s.crm("won", when, value=("810.40", "BRL"), wa_id=ana.wa_id)
    won = ((Decimal("810.40"), "BRL", when.date()),)
    s.lead(
        ana, at, "lead_form", FORM_AD, form=form, touches=2, latest=(CTWA, ad),
        funnel=Funnel(when, True, won), event_ids=(done,),
    )  # fmt: skip


@told()
def chat_then_instant_form(s: Scene) -> None:
    """A lead of the chat's ad; the CRM qualifies it by the address of the form."""
    ana, at, ad = s.person(), s.moment(before=9), s.ad()
    s.hears(ana, at, referral=s.referral(ad))
    s.sends_instant_form(ana, at + 2 * DAY)
    done = s.crm("qualified", at + 3 * DAY, email=ana.email.lower())
    s.lead(
        ana, at, "ctwa_click", ad, touches=2, latest=(FORM, FORM_AD),
        funnel=Funnel(at + 3 * DAY, True), event_ids=(done,),
    )  # fmt: skip


@told()
def two_instant_forms(s: Scene) -> None:
    """The same person by phone in one and by phone and address in the other, of other ads."""
    ana, at = s.person(), s.moment(before=9)
    form = s.sends_instant_form(ana, at, answers=("phone_number",))
    s.sends_instant_form(ana, at + DAY, OLD_FORM_AD, notices=())
    s.lead(ana, at, "lead_form", FORM_AD, form=form, touches=2, latest=(FORM, OLD_FORM_AD))


@told()
def instant_form_that_is_deleted_meanwhile(s: Scene) -> None:
    """What was read of it stays; its webhook comes again when the form is gone."""
    ana, at = s.person(), s.moment(before=2)
    form = s.sends_instant_form(ana, at, OLD_FORM_AD, form_id=OLD_FORM_ID, notices=(1, 2))
    s.lead(ana, at, "lead_form", OLD_FORM_AD, form=form)


@told()
def instant_form_that_a_tool_forwards(s: Scene) -> None:
    """Under Meta's id, with a page of its own and an earlier time: Meta's word counts."""
    ana, at = s.person(), s.moment(before=9)
    form = s.sends_instant_form(ana, at)
    s.submits(ana, at - HOUR, s.page(utm_source="crm"), lead_id=form)
    done = s.crm("qualified", at + DAY, lead_id=form)
    s.lead(
        ana, at, "lead_form", FORM_AD, form=form, funnel=Funnel(at + DAY, True), event_ids=(done,)
    )


@told("E84")
def instant_form_of_the_testing_tool(s: Scene) -> None:
    """Kept, and a lead that counts nowhere; the owner of its phone is somebody else (E84)."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    s.hears(ana, at, referral=s.referral(ad))
    s.lead(ana, at, "ctwa_click", ad)
    form = s.sends_instant_form(ana, at + DAY, None, is_test=True)
    s.lead(
        ana, at + DAY, "lead_form", form=form, channel="organic_social",
        excluded="test traffic of the platform", is_test=True,
    )  # fmt: skip
