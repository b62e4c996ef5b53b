"""Stories about the company's site: forms, coded links, and what a page's address says.

The author of a story states its expected result: by an id that the platform put there, by a click
id, by UTM parameters, or by nothing.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from ctwa.link_code import code_of, shown
from simulator.company import PMAX, ad_of_kind
from simulator.people import Funnel
from simulator.scene import Scene
from simulator.stories import Chapter

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
CTWA = "click_to_whatsapp"
told = Chapter()


# ---- forms ---------------------------------------------------------------------------------------


@told("E62")
def google_form_then_meta_ad(s: Scene) -> None:
    """A form by Google's click id, then a tap on an ad: one lead of Google (E62)."""
    ana, at = s.person(), s.moment(before=9)
    click, ad = s.google_click(at - HOUR), s.ad()
    form = s.submits(ana, at, s.page(gclid=click.gclid, utm_source="google"))
    s.hears(ana, at + 2 * DAY, referral=s.referral(ad))
    done = s.crm("qualified", at + 3 * DAY, wa_id=ana.wa_id)
    s.lead(
        ana, at, "web_click_id", form=form, gclid=click, platform="google", touches=2,
        latest=(CTWA, ad), funnel=Funnel(at + 3 * DAY, True), event_ids=(done,),
    )  # fmt: skip


@told("E62", "E61")
def meta_ad_then_google_form(s: Scene) -> None:
    """The other way round, the form known by its phone alone (E62); its news comes a night late."""
    ana, at = s.person("BR9"), s.moment(before=9)
    click, ad = s.google_click(at + DAY), s.ad()
    s.hears(ana, at, referral=s.referral(ad), night=1)
    s.submits(ana, at + 2 * DAY, s.page(gclid=click.gclid), email=False, night=2)
    s.lead(ana, at, "ctwa_click", ad, touches=2, latest_gclid=click)


@told("E62", "E12")
def form_told_after_the_chat(s: Scene) -> None:
    """The form was first but arrives a night later: then the lead is the form's (E12)."""
    ana, at = s.person(), s.moment(before=9)
    click, ad = s.google_click(at - MINUTE), s.ad()
    s.hears(ana, at + DAY, referral=s.referral(ad), night=1)
    form = s.submits(ana, at, s.page(gclid=click.gclid), night=2)
    s.lead(
        ana, at, "web_click_id", form=form, gclid=click, platform="google", touches=2,
        latest=(CTWA, ad),
    )  # fmt: skip


@told()
def form_that_qualifies_by_its_id(s: Scene) -> None:
    """Known only by the form's id, with neither phone nor address; the CRM names that id."""
    ana, at = s.person(), s.moment(before=12)
    click = s.google_click(at - DAY)
    form = s.submits(ana, at, s.page(gclid=click.gclid), phone=False, email=False)
    when = at + 6 * DAY
    done = s.crm("won", when, lead_id=form, value=("990.10", "BRL"))
    won = ((Decimal("990.10"), "BRL", when.date()),)
    s.lead(
        ana, at, "web_click_id", form=form, gclid=click, platform="google", has_country=False,
        funnel=Funnel(when, True, won), event_ids=(done,),
    )  # fmt: skip


@told()
def form_with_the_ids_of_a_meta_ad(s: Scene) -> None:
    """`utm_content={{ad.id}}`: the ad itself, by id, of the form as of a chat."""
    ana, at, ad = s.person(), s.moment(before=9), s.ad()
    page = s.page(
        utm_source="facebook", utm_medium="paid", utm_content=ad.ad_id,
        utm_id=ad.campaign.campaign_id, fbclid="IwAR0" + s.click_id(),
    )  # fmt: skip
    form = s.submits(ana, at, page)
    done = s.crm("qualified", at + DAY, email=ana.email)
    s.lead(
        ana, at, "web_ad_id", ad, form=form, channel="meta_web",
        funnel=Funnel(at + DAY, True), event_ids=(done,),
    )  # fmt: skip


@told("E32", "E34")
def form_with_the_id_of_a_hidden_or_deleted_ad(s: Scene) -> None:
    """Looked up by id: a deleted one resolves (E32), a partner's stays hidden (E34)."""
    for kind in ("deleted", "foreign"):
        ana, at, ad = s.person(), s.moment(before=9), ad_of_kind(kind)
        form = s.submits(ana, at, s.page(utm_source="fb", utm_medium="cpc", ad_id=ad.ad_id))
        s.lead(ana, at, "web_ad_id", ad, form=form, channel="meta_web")


@told()
def form_with_an_unexpanded_macro(s: Scene) -> None:
    """A literal `{{ad.id}}` is no id: it gives the channel, but no ad."""
    ana, at = s.person(), s.moment(before=9)
    page = s.page(utm_source="instagram", utm_medium="paid_social", utm_content="{{ad.id}}")
    form = s.submits(ana, at, page)
    s.lead(ana, at, "web_utm", form=form, channel="meta_web")


@told()
def form_of_a_facebook_link(s: Scene) -> None:
    """`fbclid` alone gives the channel, not the ad."""
    ana, at = s.person(), s.moment(before=9)
    form = s.submits(ana, at, s.page(fbclid="IwAR1" + s.click_id()))
    s.lead(ana, at, "web_click_id", form=form, channel="meta_web")


@told()
def form_of_performance_max(s: Scene) -> None:
    """An iPhone's click without gclid: the campaign by Google's own id, and no ad."""
    ana, at = s.person(), s.moment(before=9)
    page = s.page(gbraid="0AAAAA" + s.click_id(), gad_source="1", gad_campaignid=PMAX.campaign_id)
    form = s.submits(ana, at, page)
    s.lead(ana, at, "web_ad_id", form=form, campaign=PMAX, channel="paid_search")


@told()
def form_of_a_click_that_google_forgot(s: Scene) -> None:
    """A click id of another account, or an old one: paid search, the ad unknown for good."""
    ana, at = s.person(), s.moment(before=9)
    form = s.submits(ana, at, s.page(gclid="EAIaIQ" + s.click_id()))
    s.lead(ana, at, "web_click_id", form=form, platform="google", unknown_click=True)


@told()
def forms_of_other_pages(s: Scene) -> None:
    """UTM parameters decide a channel at most; without any it is just the site."""
    for page, basis, channel, platform in (
        (s.page(utm_source="newsletter", utm_medium="email"), "web_utm", "web_other", None),
        (s.page(utm_source="instagram", utm_medium="social"), "web_utm", "organic_social", None),
        (s.page(utm_source="google", utm_medium="cpc"), "web_utm", "paid_search", "google"),
        (s.page(msclkid="a1b2c3d4e5f6a7b8"), "web_click_id", "paid_search", "microsoft"),
        (s.page(), "direct", "web_other", None),
        (None, "direct", "web_other", None),
    ):
        ana, at = s.person(), s.moment(before=9)
        form = s.submits(ana, at, page)
        s.lead(ana, at, basis, form=form, channel=channel, platform=platform)


@told("E1")
def form_sent_twice(s: Scene) -> None:
    """The form's server tries again: one touch, one lead (E1)."""
    ana, at = s.person(), s.moment(before=9)
    page = s.page(utm_source="blog")
    form = s.submits(ana, at, page)
    s.submits(ana, at + MINUTE, page, lead_id=form)
    s.lead(ana, at, "web_utm", form=form, channel="web_other")


@told("E24")
def form_joined_by_the_crm(s: Scene) -> None:
    """An address in the form, a phone in the chat; what the CRM says joins them later (E24)."""
    ana, at = s.person(), s.moment(before=12)
    form = s.submits(ana, at, s.page(utm_source="blog"), phone=False, night=1)
    s.hears(ana, at + DAY, ids="phone", night=1)
    done = s.crm("qualified", at + 5 * DAY, email=ana.email, phone=ana.crm_phone, night=2)
    s.lead(
        ana, at, "web_utm", form=form, channel="web_other", touches=2, latest=("direct", None),
        has_country=False, funnel=Funnel(at + 5 * DAY, True), event_ids=(done,),
    )  # fmt: skip


@told("E20")
def form_of_a_colleague(s: Scene) -> None:
    """Excluded by address, as chats are by phone (E20)."""
    ana, at = s.person(), s.moment(before=9)
    form = s.submits(ana, at, s.page(utm_source="test"), phone=False)
    s.excludes(at + DAY, "staff", email=ana.email)
    s.lead(
        ana, at, "web_utm", form=form, channel="web_other", excluded="staff", has_country=False
    )  # fmt: skip


# ---- coded links ---------------------------------------------------------------------------------


def _writes(code: str, *, forwarded: bool = False) -> dict[str, Any]:
    text = f"Ol\u00e1! Vim pelo site ({code if '-' in code else shown(code)})"
    return {"text": text} | ({"extra": {"context": {"forwarded": True}}} if forwarded else {})


@told("E21")
def chat_by_the_coded_link(s: Scene) -> None:
    """The button's code ties the chat to the page's click id (E21)."""
    ana, at = s.person(), s.moment(before=9)
    click = s.google_click(at - MINUTE)
    code = s.clicks_button(at, s.page(gclid=click.gclid))
    s.hears(ana, at + MINUTE, **_writes(code))
    done = s.crm("qualified", at + 2 * DAY, phone=ana.crm_phone)
    s.lead(
        ana, at + MINUTE, "web_click_id", gclid=click, platform="google",
        funnel=Funnel(at + 2 * DAY, True), event_ids=(done,),
    )  # fmt: skip


@told("E21", "E12")
def click_told_after_the_chat(s: Scene) -> None:
    """The click comes a night later than the message (E12): the chat is the page's all the same."""
    ana, at = s.person(), s.moment(before=9)
    ad = s.ad()
    page = s.page(utm_source="ig", utm_medium="paid", utm_content=ad.ad_id)
    code = s.clicks_button(at, page, night=2)
    s.hears(ana, at + MINUTE, night=1, **_writes(shown(code).lower()))
    s.lead(ana, at + MINUTE, "web_ad_id", ad, channel="meta_web")


@told("E21")
def codes_that_do_not_count(s: Scene) -> None:
    """Edited, another company's, never clicked, too late, forwarded, two at once (E21)."""
    page = s.page(utm_source="blog")
    at = s.moment(before=20)
    good = s.clicks_button(at, page)
    edited = good[:9] + ("2" if good[9] != "2" else "3")
    theirs = (code_of(good[:8], site) for site in ("another", "third", "fourth"))
    stranger = next(code for code in theirs if code != good)
    late, handed, twice = (s.clicks_button(at, page) for _ in range(3))
    for text, when in (
        (_writes(edited), MINUTE),
        (_writes(stranger), MINUTE),
        (_writes(s.code()), MINUTE),
        (_writes(late), 7 * DAY + MINUTE),
        (_writes(handed, forwarded=True), MINUTE),
        ({"text": f"{shown(good)} {shown(twice)}"}, MINUTE),
    ):
        ana = s.person()
        s.hears(ana, at + when, **text)
        s.lead(ana, at + when, "direct")


@told("E21")
def code_used_by_a_friend(s: Scene) -> None:
    """The person who wrote first has it; the friend's message, delivered first, does not (E21)."""
    ana, bia, at = s.person(), s.person(), s.moment(before=9)
    code = s.clicks_button(at, s.page(utm_source="blog"))
    s.hears(bia, at + HOUR, night=1, **_writes(code))
    s.hears(ana, at + MINUTE, night=2, **_writes(code))
    s.lead(ana, at + MINUTE, "web_utm", channel="web_other")
    s.lead(bia, at + HOUR, "direct")


@told("E21")
def code_beside_a_referral(s: Scene) -> None:
    """Meta's own referral beats the code (E21)."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    code = s.clicks_button(at, s.page(utm_source="blog"))
    s.hears(ana, at + MINUTE, referral=s.referral(ad), **_writes(code))
    s.lead(ana, at + MINUTE, "ctwa_click", ad)


@told("E21")
def code_in_a_later_message(s: Scene) -> None:
    """Somebody already in a conversation came in another way (E21)."""
    ana, at = s.person(), s.moment(before=9)
    s.hears(ana, at - HOUR)
    code = s.clicks_button(at, s.page(utm_source="blog"))
    s.hears(ana, at + MINUTE, **_writes(code))
    s.lead(ana, at - HOUR, "direct")


@told("E93")
def form_with_the_id_of_a_campaign_in_utm_id(s: Scene) -> None:
    """`utm_id={campaignid}`: Google's campaign, because its tables know that id; else no id."""
    ana, at = s.person(), s.moment(before=9)
    page = s.page(utm_source="google", utm_medium="cpc", utm_id=PMAX.campaign_id)
    form = s.submits(ana, at, page)
    s.lead(ana, at, "web_ad_id", form=form, campaign=PMAX, channel="paid_search")
    bia, at = s.person(), s.moment(before=9)
    page = s.page(utm_source="google", utm_medium="cpc", utm_id="9" + PMAX.campaign_id)
    form = s.submits(bia, at, page)
    s.lead(bia, at, "web_utm", form=form, channel="paid_search", platform="google")
