"""Stories about evidence that arrives a night late and changes what the first night said.

The second night must repair exactly the people it touches, and end where one run over everything
would.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from simulator import payloads
from simulator.people import Funnel
from simulator.scene import Scene
from simulator.stories import Chapter

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
told = Chapter()
CTWA = "click_to_whatsapp"


@told("E12")
def earlier_message_arrives_late(s: Scene) -> None:
    """The second night brings the first message: the source becomes the ad (E12)."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=5)
    s.hears(ana, at + HOUR, night=1)
    s.hears(ana, at, referral=s.referral(ad), night=2)
    s.lead(ana, at, "ctwa_click", ad)


@told("E6")
def unsupported_explained_next_night(s: Scene) -> None:
    """131060 in the first night, the referral in the second (E6)."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=5)
    s.hears(ana, at, kind="unsupported", error=131060, night=1)
    s.hears(ana, at + 2 * HOUR, referral=s.referral(ad, click=False), night=2)
    s.lead(ana, at, "ctwa_ad", ad, touches=2)


@told("E12")
def late_message_bridges_the_gap(s: Scene) -> None:
    """Two conversations turn out to be one: the second was no touch."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=45)
    s.hears(ana, at, referral=s.referral(ad), night=1)
    s.hears(ana, at + 40 * DAY, night=1)
    s.hears(ana, at + 20 * DAY, night=2)
    s.lead(ana, at, "ctwa_click", ad)


@told("E12", "E14")
def our_template_shows_late(s: Scene) -> None:
    """We had written first; its status comes a night late."""
    ana, at = s.person(), s.moment(before=5)
    s.hears(ana, at, night=1)
    s.says(ana, at - 3 * HOUR, billing="regular", night=2)
    s.lead(ana, at, "outbound")


@told("E6", "E12")
def bill_shows_late(s: Scene) -> None:
    """The billing that makes an organic chat suspicious arrives a night late."""
    ana, at = s.person(), s.moment(before=5)
    s.hears(ana, at, night=1)
    s.says(ana, at + HOUR, billing="free_entry_point", night=2)
    s.lead(ana, at, "ad_suspected")


@told("E12", "E60")
def lead_arrives_after_its_outcome(s: Scene) -> None:
    """The CRM is faster than the webhook: unmatched for a night."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=5)
    s.hears(ana, at, referral=s.referral(ad), night=2)
    done = s.crm("qualified", at + DAY, phone=ana.crm_phone, night=1)
    s.lead(ana, at, "ctwa_click", ad, funnel=Funnel(at + DAY, True), event_ids=(done,))


@told("E24")
def two_leads_turn_out_to_be_one(s: Scene) -> None:
    """A later payload joins them: the older lead's id and source stay (E24)."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    s.hears(ana, at, ids="phone", night=1)
    s.hears(ana, at + DAY, ids="bsuid", referral=s.referral(ad), night=1)
    s.hears(ana, at + 5 * DAY, ids="both", night=2)
    done = s.crm("qualified", at + 2 * DAY, user_id=ana.bsuid, night=1)
    s.lead(
        ana,
        at,
        "direct",
        identity="phone",
        latest=(CTWA, ad),
        touches=2,
        funnel=Funnel(at + 2 * DAY, True),
        event_ids=(done,),
    )


@told("E27")
def number_change_shows_late(s: Scene) -> None:
    """Two leads for a night; the notice makes them one, of the older number (E27)."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=12)
    new = replace(s.person("BR", area="41"), name=ana.name)
    s.hears(ana, at, ids="phone", referral=s.referral(ad), night=1)
    s.hears(new, at + 6 * DAY, ids="phone", night=1)
    notice = payloads.number_change(ana, s.wamid(ana), at + 5 * DAY, new.wa_id)
    s.emits(at + 5 * DAY, notice, night=2)
    s.lead(ana, at, "ctwa_click", ad, identity="phone")
