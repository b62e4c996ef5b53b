"""Stories about unexpected payloads and ads that still count."""

from __future__ import annotations

from datetime import timedelta

from simulator.company import IN_LISBON, LISBON, NEW_AD, SAO_PAULO, ad_named, ad_of_kind
from simulator.scene import Scene, local_time
from simulator.stories import Chapter

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
told = Chapter()


@told("E22")
def call_from_an_ad(s: Scene) -> None:
    """They call instead of writing; the call shows the ad, and nothing but the phone."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=3)
    call = {
        "id": s.wamid(ana),
        "from": ana.wa_id,
        "timestamp": str(int(at.timestamp())),
        "event": "connect",
        "direction": "USER_INITIATED",
        "referral": s.referral(ad),
    }
    s.emits(at, call, field="calls", part="calls")
    s.hears(ana, at + HOUR)
    s.lead(ana, at, "ctwa_click", ad, identity="phone")


@told("E9")
def click_id_filled_with_the_ad_id(s: Scene) -> None:
    """A gateway's guess: an ad id is no click id."""
    ana, ad, at = s.person(), s.ad(), s.moment()
    s.hears(ana, at, referral={**s.referral(ad), "ctwa_clid": ad.ad_id})
    s.lead(ana, at, "ctwa_ad", ad)


@told("E35")
def another_creative_of_the_ad(s: Scene) -> None:
    """One ad, several creatives: headline and picture are not those we know, the id is."""
    ana, ad, at = s.person(), s.ad(), s.moment()
    shown = {"headline": "Só hoje!", "body": "Outra peça", "media_type": "carousel"}
    s.hears(ana, at, referral={**s.referral(ad), **shown})
    s.lead(ana, at, "ctwa_click", ad)


@told("E76", "E11")
def fields_of_other_types(s: Scene) -> None:
    """Texts turn into objects and numbers overnight: the ad is still identified by its id."""
    ana, ad, at = s.person(), s.ad(), s.moment()
    drifted = {"media_type": {"kind": "image"}, "headline": 7, "seen": [1, {"deep": None}]}
    s.hears(ana, at, referral={**s.referral(ad), **drifted}, extra={"context": "none"})
    s.lead(ana, at, "ctwa_click", ad)


@told("E33", "E32")
def ad_that_is_listed_a_night_late(s: Scene) -> None:
    """Created yesterday: for one night neither the ad nor its campaign is known."""
    for _ in range(2):
        ana, ad, at = s.person(), ad_named(NEW_AD), s.moment(before=2.5)
        s.hears(ana, at, referral=s.referral(ad), night=1)
        s.lead(ana, at, "ctwa_click", ad)


@told("E43", "E42")
def account_of_another_zone_goes_on(s: Scene) -> None:
    """An account never changes its zone: a new one takes over, and its leads have its days."""
    day = s.moment(before=3, after=2).date()
    midnight = local_time(day, 0, 30, LISBON.zone)
    for ad, expected in (
        (ad_named(IN_LISBON), day),
        (ad_of_kind("active", SAO_PAULO), day - DAY),
    ):
        ana = s.person()
        s.hears(ana, midnight, referral=s.referral(ad))
        s.lead(ana, midnight, "ctwa_click", ad, day=expected)
