"""Stories of how people come: ads, posts, our own messages, and the ways evidence arrives.

Each is a case users met (ids of the edge cases in brackets). Moments leave room at both ends of
the world's time, so that what follows still happens in it.
"""

from __future__ import annotations

from datetime import date, timedelta

from simulator import payloads
from simulator.company import (
    MAIN,
    MOVED,
    NEW_YORK,
    POST_ID,
    SAO_PAULO,
    SECOND,
    ad_named,
    ad_of_kind,
)
from simulator.people import REPORTING_ZONE, Scene, local_time

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
CTWA = "click_to_whatsapp"


def ad_click_first(s: Scene) -> None:
    """The plain good case: a tap, the referral, a reply billed as free entry point."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=3)
    s.hears(ana, at, referral=s.referral(ad))
    s.says(ana, at + HOUR, billing="free_entry_point")
    s.hears(ana, at + 2 * HOUR)
    s.lead(ana, at, "ctwa_click", ad)


def ad_in_status_without_click_id(s: Scene) -> None:
    """Ads in WhatsApp Status carry no click id (E7)."""
    ana, ad, at = s.person(), s.ad(), s.moment()
    s.hears(ana, at, referral=s.referral(ad, click=False))
    s.lead(ana, at, "ctwa_ad", ad)


def empty_click_id(s: Scene) -> None:
    """An empty click id is none, and is never replaced by the ad id (E9)."""
    ana, ad, at = s.person(), s.ad(), s.moment()
    s.hears(ana, at, referral={**s.referral(ad), "ctwa_clid": ""})
    s.lead(ana, at, "ctwa_ad", ad)


def click_id_without_ad(s: Scene) -> None:
    """Meta says paid, but not which ad (E8)."""
    ana, at = s.person(), s.moment()
    referral = s.referral(s.ad())
    del referral["source_id"]
    s.hears(ana, at, referral=referral)
    s.lead(ana, at, "ctwa_click", channel="unknown_ad", platform="meta")


def ad_id_as_number(s: Scene) -> None:
    """A JSON number of 18 digits must stay exact (E38)."""
    ana, ad, at = s.person(), s.ad(), s.moment()
    s.hears(ana, at, referral={**s.referral(ad), "source_id": int(ad.ad_id)}, numeric_time=True)
    s.lead(ana, at, "ctwa_click", ad)


def organic_then_ad(s: Scene) -> None:
    """First touch stays direct; the ad is the latest (E16)."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=20)
    s.hears(ana, at)
    s.hears(ana, at + 9 * DAY, referral=s.referral(ad))
    s.lead(ana, at, "direct", latest=(CTWA, ad), touches=2)


def organic_then_ad_in_one_hour(s: Scene) -> None:
    """The free entry point is explained by the later tap: the opening stays direct."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=3)
    s.hears(ana, at)
    s.hears(ana, at + HOUR, referral=s.referral(ad))
    s.says(ana, at + 2 * HOUR, billing="free_entry_point")
    s.lead(ana, at, "direct", latest=(CTWA, ad), touches=2)


def two_ads(s: Scene) -> None:
    """A second ad an hour later: one lead, of the first (E4, E17)."""
    ana, at, first = s.person(), s.moment(), s.ad()
    second = s.ad(but=first)
    s.hears(ana, at, referral=s.referral(first))
    s.hears(ana, at + HOUR, referral=s.referral(second))
    s.lead(ana, at, "ctwa_click", first, latest=(CTWA, second), touches=2)


def same_ad_twice(s: Scene) -> None:
    """A second click on the same ad."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    for day in (0, 7):
        s.hears(ana, at + day * DAY, referral=s.referral(ad))
    s.lead(ana, at, "ctwa_click", ad, touches=2)


def back_after_the_gap(s: Scene) -> None:
    """Silent for longer than the gap: a new conversation, the same lead (E18)."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=40)
    s.hears(ana, at, referral=s.referral(ad))
    s.hears(ana, at + 31 * DAY)
    s.lead(ana, at, "ctwa_click", ad, latest=("direct", ad), touches=2)


def back_within_the_gap(s: Scene) -> None:
    """Exactly the gap is not over it: still one conversation."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=40)
    s.hears(ana, at, referral=s.referral(ad))
    s.hears(ana, at + 30 * DAY)
    s.lead(ana, at, "ctwa_click", ad)


def post(s: Scene) -> None:
    """A post is organic, even one that an ad boosts (E10)."""
    ana, at = s.person(), s.moment()
    s.hears(ana, at, referral=payloads.post_referral(POST_ID))
    s.lead(ana, at, "post")


def post_without_id(s: Scene) -> None:
    """One collected sample of a post has no id."""
    ana, at = s.person(), s.moment()
    s.hears(ana, at, referral=payloads.post_referral(None))
    s.lead(ana, at, "post")


def referral_on_any_type(s: Scene) -> None:
    """Voice notes, cards, opened chats, types of the future: all carry referrals (E5)."""
    kinds = ("audio", "contacts", "request_welcome", "button", "location", "image", "hologram")
    for kind in kinds:
        ana, ad, at = s.person(), s.ad(), s.moment()
        s.hears(ana, at, kind=kind, referral=s.referral(ad))
        s.lead(ana, at, "ctwa_click", ad)


def message_without_type(s: Scene) -> None:
    """Seen in third-party samples."""
    ana, ad, at = s.person(), s.ad(), s.moment()
    s.hears(ana, at, referral=s.referral(ad), without=("type",))
    s.lead(ana, at, "ctwa_click", ad)


def unsupported_then_referral(s: Scene) -> None:
    """131060 first, the referral within 72 h: the opening is that ad's (E6)."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=5)
    s.hears(ana, at, kind="unsupported", error=131060)
    s.hears(ana, at + 71 * HOUR, referral=s.referral(ad))
    s.lead(ana, at, "ctwa_click", ad, touches=2)


def unsupported_explained_next_night(s: Scene) -> None:
    """The same, but the referral is delivered a night later."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=5)
    s.hears(ana, at, kind="unsupported", error=131060, night=1)
    s.hears(ana, at + 2 * HOUR, referral=s.referral(ad, click=False), night=2)
    s.lead(ana, at, "ctwa_ad", ad, touches=2)


def unsupported_never_explained(s: Scene) -> None:
    """131060 and no referral: suspected, never direct (E6)."""
    ana, at = s.person(), s.moment(before=5)
    s.hears(ana, at, kind="unsupported", error=131060)
    s.hears(ana, at + HOUR)
    s.lead(ana, at, "ad_suspected")


def unsupported_explained_too_late(s: Scene) -> None:
    """A referral after 72 h is another touch, no explanation."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    s.hears(ana, at, kind="unsupported", error=131060)
    s.hears(ana, at + 80 * HOUR, referral=s.referral(ad))
    s.lead(ana, at, "ad_suspected", latest=(CTWA, ad), touches=2)


def other_unsupported_is_direct(s: Scene) -> None:
    """131051 is a poll or the like: a message as any other."""
    ana, at = s.person(), s.moment()
    s.hears(ana, at, kind="unsupported", error=131051)
    s.lead(ana, at, "direct")


def billed_as_free_entry(s: Scene) -> None:
    """Meta billed an ad's chat, the referral is lost: suspected (E6)."""
    ana, at = s.person(), s.moment(before=3)
    s.hears(ana, at)
    s.says(ana, at + 2 * HOUR, billing="free_entry_point")
    s.lead(ana, at, "ad_suspected")


def direct(s: Scene) -> None:
    """They wrote by themselves; replies are free customer service."""
    ana, at = s.person(), s.moment(before=2)
    s.hears(ana, at)
    s.says(ana, at + HOUR)
    s.lead(ana, at, "direct")


def we_wrote_first(s: Scene) -> None:
    """A template, then their answer: not acquisition (E14)."""
    ana, at = s.person(), s.moment(before=3)
    s.says(ana, at, billing="regular")
    s.hears(ana, at + DAY)
    s.lead(ana, at + DAY, "outbound")


def template_never_delivered(s: Scene) -> None:
    """A failed message is no contact: what they write later is theirs."""
    ana, at = s.person(), s.moment(before=3)
    s.says(ana, at, statuses=("failed",))
    s.hears(ana, at + DAY)
    s.lead(ana, at + DAY, "direct")


def template_answered_after_the_gap(s: Scene) -> None:
    """Answered 40 days on: another conversation, which they opened."""
    ana, at = s.person(), s.moment(before=45)
    s.says(ana, at, billing="regular")
    s.hears(ana, at + 40 * DAY)
    s.lead(ana, at + 40 * DAY, "direct")


def we_woke_them_up(s: Scene) -> None:
    """Direct once; after the gap we wrote and they answered."""
    ana, at = s.person(), s.moment(before=45)
    s.hears(ana, at)
    s.says(ana, at + 35 * DAY, billing="regular")
    s.hears(ana, at + 36 * DAY)
    s.lead(ana, at, "direct", latest=("outbound", None), touches=2)


def template_then_ad(s: Scene) -> None:
    """We wrote, and they came by an ad: the referral is the stronger evidence."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=3)
    s.says(ana, at, billing="regular")
    s.hears(ana, at + DAY, referral=s.referral(ad))
    s.lead(ana, at + DAY, "ctwa_click", ad)


def echo_before_inbound(s: Scene) -> None:
    """A colleague's message from the phone opens the conversation (E15)."""
    ana, at = s.person(), s.moment(before=3)
    s.echoes(ana, at)
    s.hears(ana, at + HOUR)
    s.lead(ana, at + HOUR, "outbound")


def only_ours(s: Scene) -> None:
    """Echoes and templates without an answer make no lead (E15)."""
    s.echoes(s.person(), s.moment())
    s.says(s.person(), s.moment(), billing="regular")


def never_conversational(s: Scene) -> None:
    """Groups, reactions, edits and deletions are no touch (E22)."""
    s.hears(s.person(), s.moment(), group="120363041234567890", referral=s.referral(s.ad()))
    s.hears(s.person(), s.moment(), kind="reaction")
    for kind in ("edit", "revoke"):
        s.hears(s.person(), s.moment(), kind=kind, content={"original_message_id": "wamid.X"})


def history_then_ad(s: Scene) -> None:
    """Imported history shows an older chat: the lead is born there (E12)."""
    ana, ad, at = s.person(), s.ad(), s.moment()
    old = s.start - 70 * DAY
    rows = [(s.wamid(ana), old, True), (s.wamid(ana), old + HOUR, False)]
    s.emits(at, payloads.history(ana, MAIN, rows), field="history", part="history")
    s.hears(ana, at, referral=s.referral(ad))
    s.lead(ana, old, "direct", identity="phone", latest=(CTWA, ad), touches=2)


def live_and_in_history(s: Scene) -> None:
    """The day of onboarding comes both ways: one message (E1)."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=2)
    wamid = s.hears(ana, at, referral=s.referral(ad))
    chunk = payloads.history(ana, MAIN, [(wamid, at, True)])
    s.emits(at + HOUR, chunk, field="history", part="history")
    s.lead(ana, at, "ctwa_click", ad)


def copies_that_differ(s: Scene) -> None:
    """Of two copies the one with the referral wins (R2)."""
    ana, ad, at = s.person(), s.ad(), s.moment()
    wamid = s.hears(ana, at, text="oi")
    s.hears(ana, at, text="oi", wamid=wamid, referral=s.referral(ad))
    s.lead(ana, at, "ctwa_click", ad)


def one_second_two_messages(s: Scene) -> None:
    """A tie: the message with the referral comes first (R3)."""
    ana, ad, at = s.person(), s.ad(), s.moment()
    s.hears(ana, at)
    s.hears(ana, at, referral=s.referral(ad))
    s.lead(ana, at, "ctwa_click", ad)


def earlier_message_arrives_late(s: Scene) -> None:
    """The second night brings the first message: the source becomes the ad (E12)."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=5)
    s.hears(ana, at + HOUR, night=1)
    s.hears(ana, at, referral=s.referral(ad), night=2)
    s.lead(ana, at, "ctwa_click", ad)


def two_numbers(s: Scene) -> None:
    """Two of our numbers, one person, one lead (E31)."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=3)
    s.hears(ana, at, referral=s.referral(ad))
    s.hears(ana, at + HOUR, number=SECOND)
    s.lead(ana, at, "ctwa_click", ad, latest=("direct", ad), touches=2)


def number_moved_to_another_waba(s: Scene) -> None:
    """Same display number, new ids: the chat goes on (E30)."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    s.hears(ana, at, referral=s.referral(ad))
    s.hears(ana, at + 3 * DAY, number=MOVED)
    s.lead(ana, at, "ctwa_click", ad)


def ads_in_every_state(s: Scene) -> None:
    """Archived, deleted, foreign, unknown, renamed: the lead keeps its ad (E32, E34, E36)."""
    for ad in (
        ad_of_kind("archived"),
        ad_of_kind("deleted", SAO_PAULO),
        ad_of_kind("deleted", NEW_YORK),
        ad_of_kind("foreign"),
        ad_of_kind("gone"),
        ad_named("renamed between the nights"),
    ):
        ana, at = s.person(), s.moment(before=3)
        s.hears(ana, at, referral=s.referral(ad), night=1)
        s.lead(ana, at, "ctwa_click", ad)


def same_texts_other_ad(s: Scene) -> None:
    """Duplicated ads share name, texts and link: only the id tells (E37)."""
    for ad in (ad_named("carrossel v1"), s.ad(but=ad_named("carrossel v1"))):
        ana, at = s.person(), s.moment()
        s.hears(ana, at, referral=s.referral(ad))
        s.lead(ana, at, "ctwa_click", ad)


def midnight_in_the_accounts_zone(s: Scene) -> None:
    """The day is the ad account's, with its summer time, or the reporting zone's (E42)."""
    day = s.moment(before=3, after=2).date()
    paulista, yorker = ad_of_kind("active", SAO_PAULO), ad_of_kind("active", NEW_YORK)
    autumn = date(day.year, 11, 1)  # 25 hours in New York
    if not s.start.date() < autumn < (s.end - DAY).date():
        autumn = day
    zones = (SAO_PAULO.zone, NEW_YORK.zone)
    for at, ad, expected in (
        (local_time(day, 23, 59, zones[0], 59), paulista, day),
        (local_time(day, 0, 0, zones[0]), paulista, day),
        (local_time(autumn, 23, 30, zones[1]), yorker, autumn),
        (local_time(autumn, 0, 30, zones[1]), yorker, autumn),
        (local_time(day, 0, 30, zones[0]), yorker, day - DAY),
    ):
        ana = s.person()
        s.hears(ana, at, referral=s.referral(ad))
        s.lead(ana, at, "ctwa_click", ad, day=expected)
    ana, at = s.person(), local_time(day, 23, 30, REPORTING_ZONE)
    s.hears(ana, at)
    s.lead(ana, at, "direct", day=day)


STORIES = (
    ad_click_first,
    ad_in_status_without_click_id,
    empty_click_id,
    click_id_without_ad,
    ad_id_as_number,
    organic_then_ad,
    organic_then_ad_in_one_hour,
    two_ads,
    same_ad_twice,
    back_after_the_gap,
    back_within_the_gap,
    post,
    post_without_id,
    referral_on_any_type,
    message_without_type,
    unsupported_then_referral,
    unsupported_explained_next_night,
    unsupported_never_explained,
    unsupported_explained_too_late,
    other_unsupported_is_direct,
    billed_as_free_entry,
    direct,
    we_wrote_first,
    template_never_delivered,
    template_answered_after_the_gap,
    we_woke_them_up,
    template_then_ad,
    echo_before_inbound,
    only_ours,
    never_conversational,
    history_then_ad,
    live_and_in_history,
    copies_that_differ,
    one_second_two_messages,
    earlier_message_arrives_late,
    two_numbers,
    number_moved_to_another_waba,
    ads_in_every_state,
    same_texts_other_ad,
    midnight_in_the_accounts_zone,
)
