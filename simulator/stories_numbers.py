"""Stories about numbers that change hands, copies under several addresses, and moved numbers.

A phone number is a person only for a time: after weeks of silence a payload may show it with
another user id, and from then on it is somebody else's (E28). Without that evidence it is not.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from simulator import payloads
from simulator.company import MAIN, MOVED, OTHER_WABA, SECOND
from simulator.people import Funnel, Person
from simulator.scene import Scene
from simulator.stories import Chapter

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
CTWA = "click_to_whatsapp"
told = Chapter()


def _heir(s: Scene, former: Person) -> Person:
    """Somebody else, to whom the network has given the number."""
    other = s.person()
    return replace(former, name=other.name, bsuid=other.bsuid, email=other.email)


@told("E28")
def number_given_to_somebody_else(s: Scene) -> None:
    """Silent for 46 days, then another user id: two people, each with an ad of their own."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=50)
    bia, other, later = _heir(s, ana), s.ad(), at + 46 * DAY
    s.hears(ana, at, referral=s.referral(ad))
    s.hears(bia, later, referral=s.referral(other))
    s.conflict(
        s.lead(ana, at, "ctwa_click", ad),
        s.lead(bia, later, "ctwa_click", other),
        last_seen=at,
        first_seen=later,
    )


@told("E28")
def given_away_after_exactly_the_days(s: Scene) -> None:
    """45 days to the second are enough."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=50)
    bia, later = _heir(s, ana), at + 45 * DAY
    s.hears(ana, at, referral=s.referral(ad))
    s.hears(bia, later)
    s.conflict(
        s.lead(ana, at, "ctwa_click", ad),
        s.lead(bia, later, "direct"),
        last_seen=at,
        first_seen=later,
    )


@told("E28")
def after_the_heir_the_phone_alone_is_theirs(s: Scene) -> None:
    """What shows only the phone goes to whom it belonged then: messages, our answers, the CRM."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=56)
    bia, later = _heir(s, ana), at + 48 * DAY
    s.hears(ana, at, referral=s.referral(ad))
    s.says(ana, at + HOUR, ids="phone")
    s.hears(ana, at + 2 * HOUR, ids="phone")
    early = s.crm("qualified", at + 3 * DAY, phone=ana.crm_phone)
    s.hears(bia, later)
    s.says(bia, later + HOUR, ids="phone")
    s.hears(bia, later + DAY, ids="phone")
    ids = (
        s.crm("qualified", later + 2 * DAY, phone=bia.crm_phone),
        s.crm("qualified", later + 4 * DAY, phone=bia.crm_phone, email=bia.email),
        s.crm("opportunity", later + 5 * DAY, email=bia.email),
    )
    s.conflict(
        s.lead(
            ana,
            at,
            "ctwa_click",
            ad,
            funnel=Funnel(at + 3 * DAY, True),
            event_ids=(early,),
            replied=True,
        ),
        s.lead(
            bia,
            later,
            "direct",
            funnel=Funnel(later + 2 * DAY, True),
            event_ids=ids,
            replied=True,
        ),
        last_seen=at,
        first_seen=later,
    )


@told("E28", "E12")
def heir_shows_in_the_second_night(s: Scene) -> None:
    """For a night the number is still Ana's, with all that shows only the phone."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=56)
    bia, later = _heir(s, ana), at + 47 * DAY
    s.hears(ana, at, referral=s.referral(ad), night=1)
    s.hears(bia, later + HOUR, ids="phone", night=1)
    done = s.crm("qualified", later + DAY, phone=bia.crm_phone, night=1)
    s.hears(bia, later, night=2)
    s.conflict(
        s.lead(ana, at, "ctwa_click", ad),
        s.lead(bia, later, "direct", funnel=Funnel(later + DAY, True), event_ids=(done,)),
        last_seen=at,
        first_seen=later,
    )


@told("E28", "E12")
def late_message_closes_the_silence(s: Scene) -> None:
    """Two people for one night; a late message shows that Ana had the number all along."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=56)
    other = _heir(s, ana)
    s.hears(ana, at, referral=s.referral(ad), night=1)
    s.hears(other, at + 50 * DAY, night=1)
    s.hears(ana, at + 25 * DAY, night=2)
    s.lead(ana, at, "ctwa_click", ad)


@told("E28")
def new_user_id_after_a_short_silence(s: Scene) -> None:
    """44 days are too short for a number to be given away: one person with a new user id."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=50)
    s.hears(ana, at, referral=s.referral(ad))
    s.hears(_heir(s, ana), at + 44 * DAY)
    s.lead(ana, at, "ctwa_click", ad, latest=("direct", ad), touches=2)


@told("E28", "E25")
def other_user_id_at_another_portfolio(s: Scene) -> None:
    """User ids differ between portfolios by their nature: no evidence against one person."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=56)
    s.hears(ana, at, referral=s.referral(ad))
    s.hears(_heir(s, ana), at + 50 * DAY, number=OTHER_WABA)
    s.lead(ana, at, "ctwa_click", ad, latest=("direct", ad), touches=2)


@told("E28", "E27")
def announced_new_user_id_after_a_silence(s: Scene) -> None:
    """WhatsApp said itself that the old user id became the new one."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=56)
    new = replace(ana, bsuid=s.person().bsuid)
    s.hears(ana, at, referral=s.referral(ad))
    s.emits(at + DAY, payloads.id_change(ana, s.wamid(ana), at + DAY, new.bsuid))
    s.hears(new, at + 50 * DAY)
    s.lead(ana, at, "ctwa_click", ad, latest=("direct", ad), touches=2)


@told("E28", "E27", "E12")
def the_announcement_comes_late(s: Scene) -> None:
    """Two people for a night, until the notice comes that they are one."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=56)
    new = replace(ana, bsuid=s.person().bsuid)
    s.hears(ana, at, referral=s.referral(ad), night=1)
    s.hears(new, at + 50 * DAY, night=1)
    s.emits(at + DAY, payloads.id_change(ana, s.wamid(ana), at + DAY, new.bsuid), night=2)
    s.lead(ana, at, "ctwa_click", ad, latest=("direct", ad), touches=2)


@told("E2")
def one_message_under_two_addresses(s: Scene) -> None:
    """One copy shows the phone, the other the user id: nothing else says that they are one."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    wamid = s.hears(ana, at, ids="phone", text="oi", referral=s.referral(ad))
    s.hears(ana, at, ids="bsuid", text="oi", wamid=wamid)
    s.hears(ana, at + DAY, ids="bsuid")
    done = s.crm("qualified", at + 2 * DAY, phone=ana.crm_phone)
    funnel = Funnel(at + 2 * DAY, True)
    s.lead(ana, at, "ctwa_click", ad, identity="phone", funnel=funnel, event_ids=(done,))


@told("E2", "E12")
def the_copy_comes_a_night_late(s: Scene) -> None:
    """Two leads for a night: the late copy of the second's message makes them one."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    s.hears(ana, at, ids="phone", referral=s.referral(ad), night=1)
    wamid = s.hears(ana, at + DAY, ids="bsuid", text="oi", night=1)
    s.hears(ana, at + DAY, ids="phone", text="oi", wamid=wamid, night=2)
    done = s.crm("qualified", at + 2 * DAY, user_id=ana.bsuid, night=1)
    funnel = Funnel(at + 2 * DAY, True)
    s.lead(ana, at, "ctwa_click", ad, identity="phone", funnel=funnel, event_ids=(done,))


@told("E30", "E1")
def one_message_before_and_after_the_move(s: Scene) -> None:
    """Delivered again under the moved number's new ids: still one message."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    wamid = s.hears(ana, at, text="oi", referral=s.referral(ad))
    s.hears(ana, at, text="oi", wamid=wamid, number=MOVED)
    s.hears(ana, at + DAY, number=MOVED)
    s.lead(ana, at, "ctwa_click", ad)


@told("E31", "E4")
def three_of_our_numbers(s: Scene) -> None:
    """One person, one lead, a conversation with each number; the second has an ad."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    s.hears(ana, at)
    s.hears(ana, at + HOUR, number=SECOND, referral=s.referral(ad))
    s.hears(ana, at + 2 * HOUR, number=OTHER_WABA)
    s.hears(ana, at + DAY, number=MAIN)
    s.lead(ana, at, "direct", latest=("direct", ad), touches=3)


@told("E25")
def one_parent_two_user_ids(s: Scene) -> None:
    """Linked portfolios share a parent id, of the longer form: one person."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    new = replace(ana, bsuid=s.person().bsuid)
    parent = {"from_parent_user_id": f"BR.ENT.{ana.bsuid[3:]}"}
    s.hears(ana, at, ids="bsuid", extra=parent, referral=s.referral(ad))
    s.hears(new, at + DAY, ids="bsuid", number=OTHER_WABA, extra=parent)
    s.lead(ana, at, "ctwa_click", ad, latest=("direct", ad), touches=2)


@told("E25")
def user_id_of_the_longer_form(s: Scene) -> None:
    """Only an id with ENT in it."""
    ana = s.person()
    ana, ad, at = replace(ana, bsuid=f"BR.ENT.{ana.bsuid[3:]}"), s.ad(), s.moment(before=9)
    s.hears(ana, at, ids="bsuid", referral=s.referral(ad))
    s.lead(ana, at, "ctwa_click", ad)
