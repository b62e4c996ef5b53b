"""Stories about people who come through ads and posts, and about their days and ids.

Each is a case users met (ids of the edge cases in brackets). Moments leave room at both ends of
the world's time, so that what follows still happens in it.
"""

from __future__ import annotations

from datetime import date, timedelta

from simulator import payloads
from simulator.company import (
    INSTAGRAM_ID,
    NEW_YORK,
    OTHER_POST_ID,
    POST_ID,
    SAO_PAULO,
    STORY_ID,
    ad_named,
    ad_of_kind,
)
from simulator.scene import REPORTING_ZONE, Scene, local_time
from simulator.stories import Chapter

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
told = Chapter()
CTWA = "click_to_whatsapp"


@told()
def ad_click_first(s: Scene) -> None:
    """The plain good case: a tap, the referral, a reply billed as free entry point."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=3)
    s.hears(ana, at, referral=s.referral(ad))
    s.says(ana, at + HOUR, billing="free_entry_point")
    s.hears(ana, at + 2 * HOUR)
    s.lead(ana, at, "ctwa_click", ad, replied=True)


@told("E7")
def ad_in_status_without_click_id(s: Scene) -> None:
    """Ads in WhatsApp Status carry no click id (E7)."""
    ana, ad, at = s.person(), s.ad(), s.moment()
    s.hears(ana, at, referral=s.referral(ad, click=False))
    s.lead(ana, at, "ctwa_ad", ad)


@told("E9")
def empty_click_id(s: Scene) -> None:
    """An empty click id is none, and is never replaced by the ad id (E9)."""
    ana, ad, at = s.person(), s.ad(), s.moment()
    s.hears(ana, at, referral={**s.referral(ad), "ctwa_clid": ""})
    s.lead(ana, at, "ctwa_ad", ad)


@told("E8")
def click_id_without_ad(s: Scene) -> None:
    """Meta says paid, but not which ad (E8)."""
    ana, at = s.person(), s.moment()
    referral = s.referral(s.ad())
    del referral["source_id"]
    s.hears(ana, at, referral=referral)
    s.lead(ana, at, "ctwa_click", channel="unknown_ad", platform="meta")


@told("E8")
def referral_without_any_id(s: Scene) -> None:
    """Said to be an ad and nothing else: suspected, and Meta's."""
    ana, at = s.person(), s.moment()
    referral = s.referral(s.ad(), click=False)
    del referral["source_id"]
    s.hears(ana, at, referral=referral)
    s.lead(ana, at, "ad_suspected", platform="meta")


@told("E11")
def referral_of_a_new_kind(s: Scene) -> None:
    """A source type of the future: paid by its click id, counted under no known channel (E11)."""
    ana, ad, at = s.person(), ad_of_kind("gone"), s.moment()
    s.hears(ana, at, referral={**s.referral(ad), "source_type": "hologram", "colour": 7})
    s.lead(ana, at, "ctwa_click", ad, channel="unknown_ad")


@told("E13", "E38")
def ad_id_as_number(s: Scene) -> None:
    """A JSON number of 18 digits must stay exact (E38)."""
    ana, ad, at = s.person(), s.ad(), s.moment()
    s.hears(ana, at, referral={**s.referral(ad), "source_id": int(ad.ad_id)}, numeric_time=True)
    s.lead(ana, at, "ctwa_click", ad)


@told("E16")
def organic_then_ad(s: Scene) -> None:
    """First touch stays direct; the ad is the latest (E16)."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=20)
    s.hears(ana, at)
    s.hears(ana, at + 9 * DAY, referral=s.referral(ad))
    s.lead(ana, at, "direct", latest=(CTWA, ad), touches=2)


@told("E6", "E16")
def organic_then_ad_in_one_hour(s: Scene) -> None:
    """The free entry point is explained by the later tap: the opening stays direct."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=3)
    s.hears(ana, at)
    s.hears(ana, at + HOUR, referral=s.referral(ad))
    s.says(ana, at + 2 * HOUR, billing="free_entry_point")
    s.lead(ana, at, "direct", latest=(CTWA, ad), touches=2)


@told("E4", "E17")
def two_ads(s: Scene) -> None:
    """A second ad an hour later: one lead, of the first (E4, E17)."""
    ana, at, first = s.person(), s.moment(), s.ad()
    second = s.ad(but=first)
    s.hears(ana, at, referral=s.referral(first))
    s.hears(ana, at + HOUR, referral=s.referral(second))
    s.lead(ana, at, "ctwa_click", first, latest=(CTWA, second), touches=2)


@told("E17")
def same_ad_twice(s: Scene) -> None:
    """A second click on the same ad."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    for day in (0, 7):
        s.hears(ana, at + day * DAY, referral=s.referral(ad))
    s.lead(ana, at, "ctwa_click", ad, touches=2)


@told("E18")
def back_after_the_gap(s: Scene) -> None:
    """Silent for longer than the gap: a new conversation, the same lead (E18)."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=40)
    s.hears(ana, at, referral=s.referral(ad))
    s.hears(ana, at + 31 * DAY)
    s.lead(ana, at, "ctwa_click", ad, latest=("direct", ad), touches=2)


@told("E18")
def back_within_the_gap(s: Scene) -> None:
    """Exactly the gap is not over it: still one conversation."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=40)
    s.hears(ana, at, referral=s.referral(ad))
    s.hears(ana, at + 30 * DAY)
    s.lead(ana, at, "ctwa_click", ad)


@told("E10", "E56")
def post(s: Scene) -> None:
    """A post is organic, even one that ads show; that is marked beside it."""
    for post_id, ads in ((POST_ID, 2), (STORY_ID, 2), (INSTAGRAM_ID, 1), (OTHER_POST_ID, 0)):
        ana, at = s.person(), s.moment()
        s.hears(ana, at, referral=payloads.post_referral(post_id))
        s.lead(ana, at, "post", boosted=ads)


@told("E10")
def post_without_id(s: Scene) -> None:
    """One collected sample of a post has no id."""
    ana, at = s.person(), s.moment()
    s.hears(ana, at, referral=payloads.post_referral(None))
    s.lead(ana, at, "post")


@told("E10", "E39")
def post_with_the_id_of_an_ad(s: Scene) -> None:
    """Ids have a kind: a post's id that equals an ad's names no ad."""
    ana, ad, at = s.person(), s.ad(), s.moment()
    s.hears(ana, at, referral=payloads.post_referral(ad.ad_id))
    s.lead(ana, at, "post")


@told("E5")
def referral_on_any_type(s: Scene) -> None:
    """Voice notes, cards, opened chats, types of the future: all carry referrals (E5)."""
    kinds = ("audio", "contacts", "request_welcome", "button", "location", "image", "hologram")
    for kind in kinds:
        ana, ad, at = s.person(), s.ad(), s.moment()
        s.hears(ana, at, kind=kind, referral=s.referral(ad))
        s.lead(ana, at, "ctwa_click", ad)


@told("E5")
def message_without_type(s: Scene) -> None:
    """Seen in third-party samples."""
    ana, ad, at = s.person(), s.ad(), s.moment()
    s.hears(ana, at, referral=s.referral(ad), without=("type",))
    s.lead(ana, at, "ctwa_click", ad)


@told("E6")
def unsupported_then_referral(s: Scene) -> None:
    """131060 first, the referral within 72 h: the opening is that ad's (E6)."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=5)
    s.hears(ana, at, kind="unsupported", error=131060)
    s.hears(ana, at + 71 * HOUR, referral=s.referral(ad))
    s.lead(ana, at, "ctwa_click", ad, touches=2)


@told("E6")
def unsupported_never_explained(s: Scene) -> None:
    """131060 and no referral: suspected, never direct (E6)."""
    ana, at = s.person(), s.moment(before=5)
    s.hears(ana, at, kind="unsupported", error=131060)
    s.hears(ana, at + HOUR)
    s.lead(ana, at, "ad_suspected")


@told("E6")
def unsupported_explained_too_late(s: Scene) -> None:
    """A referral after 72 h is another touch, no explanation."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    s.hears(ana, at, kind="unsupported", error=131060)
    s.hears(ana, at + 80 * HOUR, referral=s.referral(ad))
    s.lead(ana, at, "ad_suspected", latest=(CTWA, ad), touches=2)


@told("E32", "E34", "E36")
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


@told("E37")
def same_texts_other_ad(s: Scene) -> None:
    """Duplicated ads share name, texts and link; only the id differs (E37)."""
    for ad in (ad_named("carrossel v1"), s.ad(but=ad_named("carrossel v1"))):
        ana, at = s.person(), s.moment()
        s.hears(ana, at, referral=s.referral(ad))
        s.lead(ana, at, "ctwa_click", ad)


@told("E42")
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
