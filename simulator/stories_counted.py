"""Stories of who counts and how much: replies, exclusions, and cycles of one lead."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from simulator.company import PLATFORM_TEST, TEST_LINE, ad_of_kind
from simulator.people import Funnel
from simulator.scene import Scene
from simulator.stories import Chapter

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
CTWA = "click_to_whatsapp"
told = Chapter()


@told("E19")
def accidental_tap(s: Scene) -> None:
    """A tap, our answer, and nothing more: a lead that never replied."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=3)
    s.hears(ana, at, text="oi", referral=s.referral(ad))
    s.says(ana, at + HOUR, billing="free_entry_point")
    s.lead(ana, at, "ctwa_click", ad)


@told("E19")
def wrote_much_before_our_answer(s: Scene) -> None:
    """What they write before we answer is no reply; a reaction to the answer is none either."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=3)
    s.hears(ana, at, referral=s.referral(ad))
    for minutes in (1, 2, 50):
        s.hears(ana, at + timedelta(minutes=minutes))
    s.says(ana, at + HOUR)
    s.hears(ana, at + 2 * HOUR, kind="reaction")
    s.lead(ana, at, "ctwa_click", ad)


@told("E19", "E15")
def replied_to_a_colleague(s: Scene) -> None:
    """The answer came from the business app, the reply a month later, in a new conversation."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=40)
    s.hears(ana, at, referral=s.referral(ad))
    s.echoes(ana, at + HOUR)
    s.hears(ana, at + 32 * DAY)
    s.lead(ana, at, "ctwa_click", ad, latest=("direct", ad), touches=2, replied=True)


@told("E19", "E12")
def our_answer_shows_late(s: Scene) -> None:
    """Not replied for a night: the status of our answer in between came late."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=6)
    s.hears(ana, at, referral=s.referral(ad), night=1)
    s.hears(ana, at + 2 * HOUR, night=1)
    s.says(ana, at + HOUR, night=2)
    s.lead(ana, at, "ctwa_click", ad, replied=True)


@told("E20")
def staff(s: Scene) -> None:
    """Declared by phone; qualified in the CRM all the same: kept, and counted nowhere."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    s.hears(ana, at, referral=s.referral(ad))
    s.says(ana, at + HOUR)
    s.hears(ana, at + 2 * HOUR)
    done = s.crm("won", at + 3 * DAY, value=("99.99", "BRL"), phone=ana.crm_phone)
    s.excludes(at + DAY, "staff", phone=ana.crm_phone)
    won = ((Decimal("99.99"), "BRL", (at + 3 * DAY).date()),)
    s.lead(
        ana,
        at,
        "ctwa_click",
        ad,
        funnel=Funnel(at + 3 * DAY, True, won),
        event_ids=(done,),
        replied=True,
        excluded="staff",
    )


@told("E20", "E24")
def tester_known_by_another_id(s: Scene) -> None:
    """Declared by user id, wrote by phone: one person, by a payload that showed both."""
    ana, at = s.person(), s.moment(before=9, after=2)
    s.hears(ana, at, ids="phone")
    s.hears(ana, at + DAY, ids="both")
    s.excludes(at - DAY, "agency", user_id=ana.bsuid)
    s.lead(ana, at, "direct", identity="phone", excluded="agency")


@told("E20")
def declared_by_address(s: Scene) -> None:
    """An e-mail address that the CRM ties to the phone."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    s.hears(ana, at, referral=s.referral(ad))
    done = s.crm("lead", at + DAY, phone=ana.crm_phone, email=ana.email)
    s.excludes(at + 2 * DAY, "staff", email=ana.email.lower())
    s.lead(ana, at, "ctwa_click", ad, event_ids=(done,), excluded="staff")


@told("E20")
def declared_and_taken_back(s: Scene) -> None:
    """The latest statement counts, even if it arrives first."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    s.hears(ana, at, referral=s.referral(ad))
    s.excludes(at + DAY, "mistake", phone=ana.crm_phone, night=2)
    s.excludes(at + 2 * DAY, "mistake", undo=True, phone=ana.crm_phone, night=1)
    s.lead(ana, at, "ctwa_click", ad)


@told("E84")
def test_button(s: Scene) -> None:
    """A correctly signed sample from Meta's own test line: never a lead that counts."""
    ana, ad, at = s.person("US"), s.ad(), s.moment(before=9)
    s.hears(ana, at, number=PLATFORM_TEST, ids="phone", referral=s.referral(ad))
    s.says(ana, at + HOUR, number=PLATFORM_TEST, ids="phone")
    reason = "test traffic of the platform"
    s.lead(ana, at, "ctwa_click", ad, identity="phone", excluded=reason, is_test=True)


@told("E20", "E12")
def declared_after_a_night(s: Scene) -> None:
    """Counted for one night, then no longer."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    s.hears(ana, at, referral=s.referral(ad), night=1)
    s.excludes(at + DAY, "test", user_id=ana.bsuid, night=2)
    s.lead(ana, at, "ctwa_click", ad, excluded="test")


@told("E20")
def test_line(s: Scene) -> None:
    """The first person to write to it is testing; a customer who writes to it later is not."""
    ana, bia, ad, at = s.person(), s.person(), s.ad(), s.moment(before=9)
    s.excludes(s.start, "test line", business_number=f"+{TEST_LINE.display}")
    s.hears(ana, at, number=TEST_LINE, referral=s.referral(ad))
    s.lead(ana, at, "ctwa_click", ad, excluded="test line")
    s.hears(bia, at)
    s.hears(bia, at + HOUR, number=TEST_LINE)
    s.lead(bia, at, "direct", touches=2)


@told("E18", "E16")
def back_by_an_ad_after_two_months(s: Scene) -> None:
    """Without a setting there is one cycle: the old source stays, the ad is the latest."""
    ana, first, at = s.person(), s.ad(), s.moment(before=68)
    second, back = s.ad(but=first), at + 62 * DAY
    s.hears(ana, at, referral=s.referral(first))
    s.hears(ana, back, referral=s.referral(second))
    done = s.crm("qualified", back + DAY, phone=ana.crm_phone)
    s.lead(
        ana,
        at,
        "ctwa_click",
        first,
        latest=(CTWA, second),
        touches=2,
        funnel=Funnel(back + DAY, True),
        event_ids=(done,),
    )


@told("E48", "E47")
def writes_a_week_after_the_click(s: Scene) -> None:
    """A tap is reported only with the message: the lead has its day, though the ad had stopped."""
    ana, ad = s.person(), ad_of_kind("archived")
    at = s.end - 5 * DAY + timedelta(seconds=s.rng.randrange(80_000))
    s.hears(ana, at, referral=s.referral(ad))
    s.lead(ana, at, "ctwa_click", ad)
