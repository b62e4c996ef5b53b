"""Stories of numbers with several responders: the business's app, a partner's, Meta's agent.

A message goes to who holds the chat; everybody else gets a copy by the field `standby` (E78). Who
holds it is told by notices, and by the field that a message comes by where nobody tells (E79).
"""

from __future__ import annotations

from datetime import timedelta

from simulator.company import MAIN, MOVED, SECOND
from simulator.people import Funnel
from simulator.scene import Scene
from simulator.stories import Chapter

MINUTE, HOUR, DAY = (
    timedelta(minutes=1),
    timedelta(hours=1),
    timedelta(days=1),
)
AGENT, ESCALATION, SERVICE = "ai_agent", "escalation", "customer_service"
PASSED, TAKEN = "control_passed", "control_taken"
told = Chapter()


@told("E78")
def answered_by_its_own_app(s: Scene) -> None:
    """A number with one responder: nothing but `messages`, and nothing changes."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    s.hears(ana, at, referral=s.referral(ad))
    s.says(ana, at + MINUTE)
    s.chat(s.lead(ana, at, "ctwa_click", ad), at, "own", outbound=1)


@told("E78")
def routed_to_a_partner_and_we_only_listen(s: Scene) -> None:
    """Everything arrives in `standby`; the partner's answers are ours, and never a lead."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    s.hears(ana, at, by="standby", referral=s.referral(ad))
    s.answers_for_us(ana, at + MINUTE)
    s.hears(ana, at + HOUR, by="standby")
    done = s.crm("qualified", at + DAY, phone=ana.crm_phone)
    lead = s.lead(
        ana, at, "ctwa_click", ad,
        funnel=Funnel(at + DAY, True), event_ids=(done,), replied=True,
    )  # fmt: skip
    s.chat(lead, at, "other", inbound=2, outbound=1)


@told("E78", "E25")
def held_by_metas_agent_with_the_phone_hidden(s: Scene) -> None:
    """The agent answers a user id; a notice tells that it is the agent."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    s.hears(ana, at, by="standby", ids="bsuid", referral=s.referral(ad))
    s.hands_over(ana, at + MINUTE, TAKEN, SERVICE, AGENT)
    s.answers_for_us(ana, at + 2 * MINUTE, ids="bsuid")
    s.hears(ana, at + HOUR, by="standby", ids="both")
    lead = s.lead(ana, at, "ctwa_click", ad, replied=True)
    s.chat(lead, at, "ai_agent", handovers=1, inbound=2, outbound=1)


@told("E78", "E7")
def an_ad_in_status_and_a_direct_chat_on_standby(s: Scene) -> None:
    """Messages without a click id, or without an ad, count as on `messages`."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    bia = s.person()
    s.hears(ana, at, by="standby", referral=s.referral(ad, click=False))
    s.hears(bia, at + HOUR, by="standby", number=SECOND)
    s.chat(s.lead(ana, at, "ctwa_ad", ad), at, "other")
    s.chat(s.lead(bia, at + HOUR, "direct"), at + HOUR, "other")


@told("E79")
def the_agent_passes_it_to_our_people(s: Scene) -> None:
    """By `standby` up to the notice, from then on by `messages`: we are who it escalates to."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    s.hears(ana, at, by="standby", referral=s.referral(ad))
    s.answers_for_us(ana, at + MINUTE)
    s.hands_over(ana, at + 5 * MINUTE, PASSED, AGENT, ESCALATION)
    s.hears(ana, at + 6 * MINUTE)
    s.says(ana, at + 7 * MINUTE)
    lead = s.lead(ana, at, "ctwa_click", ad, replied=True)
    s.chat(lead, at, "escalation", handovers=1, inbound=2, outbound=2)


@told("E79")
def the_escalation_partner_takes_it_from_us(s: Scene) -> None:
    """Taken from us, and later returned to us, which is not reported."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    s.hears(ana, at, referral=s.referral(ad))
    s.hands_over(ana, at + 5 * MINUTE, TAKEN, SERVICE, ESCALATION)
    s.hears(ana, at + 6 * MINUTE, by="standby")
    lead = s.lead(ana, at, "ctwa_click", ad)
    s.chat(lead, at, "escalation", handovers=1, inbound=2)
    bia, at = s.person(), at + HOUR
    s.hears(bia, at, referral=s.referral(ad))
    s.hands_over(bia, at + 5 * MINUTE, TAKEN, SERVICE, ESCALATION)
    s.hears(bia, at + 6 * MINUTE, by="standby")
    s.hears(bia, at + 3 * DAY)
    s.chat(s.lead(bia, at, "ctwa_click", ad), at, "own", handovers=2, inbound=3)


@told("E79", "E1")
def copies_on_both_fields_are_one_message(s: Scene) -> None:
    """The chat changes hands while the message is on its way: one message, and one lead."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    referral = s.referral(ad)
    wamid = s.hears(ana, at, by="standby", text="oi", referral=referral)
    s.hears(ana, at, text="oi", wamid=wamid, referral=referral)
    s.chat(s.lead(ana, at, "ctwa_click", ad), at, "own")


@told("E79", "E2", "E12")
def the_copy_with_the_referral_comes_by_standby_a_night_late(s: Scene) -> None:
    """Of copies that differ the one with the referral wins, whichever field it came by."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    wamid = s.hears(ana, at, text="oi", night=1)
    s.hears(ana, at, text="oi", wamid=wamid, by="standby", referral=s.referral(ad), night=2)
    s.chat(s.lead(ana, at, "ctwa_click", ad), at, "own")


@told("E79", "E12")
def the_notice_comes_a_night_late(s: Scene) -> None:
    """No role for one night, then Meta's agent."""
    ana, at = s.person(), s.moment(before=9)
    s.hears(ana, at, by="standby", night=1)
    s.hands_over(ana, at + MINUTE, TAKEN, SERVICE, AGENT, night=2)
    s.chat(s.lead(ana, at, "direct"), at, "ai_agent", handovers=1)


@told("E79", "E12")
def the_copy_of_who_holds_it_comes_a_night_late(s: Scene) -> None:
    """By `standby` alone for a night: then a copy shows that it was ours."""
    ana, at = s.person(), s.moment(before=9)
    wamid = s.hears(ana, at, text="oi", by="standby", night=1)
    s.hears(ana, at, text="oi", wamid=wamid, night=2)
    s.chat(s.lead(ana, at, "direct"), at, "own")


@told("E79")
def a_later_chat_has_a_holder_of_its_own(s: Scene) -> None:
    """A new conversation after weeks of silence: reports about the old one no longer hold."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=45)
    later = at + 40 * DAY
    s.hears(ana, at, by="standby", referral=s.referral(ad))
    s.hands_over(ana, at + MINUTE, PASSED, AGENT, SERVICE)
    s.hears(ana, later, by="standby")
    lead = s.lead(ana, at, "ctwa_click", ad, latest=("direct", ad), touches=2)
    s.chat(lead, at, "own", handovers=1)
    s.chat(lead, later, "other")


@told("E79", "E30")
def the_notice_names_the_moved_number(s: Scene) -> None:
    """A number that moved to another account goes on, and its notices with it."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    s.hears(ana, at, by="standby", number=MAIN, referral=s.referral(ad))
    s.hands_over(ana, at + MINUTE, TAKEN, None, AGENT, number=MOVED)
    s.chat(s.lead(ana, at, "ctwa_click", ad), at, "ai_agent", handovers=1)
