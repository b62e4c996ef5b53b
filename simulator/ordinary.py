"""Ordinary people: the volume around the nasty cases, so that tables look like a real company's.

Each is put together by luck from what people do, and what follows is stated as it is put together.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from ctwa.link_code import shown
from simulator import payloads
from simulator.company import OTHER_POST_ID, POST_ID, AdRef, BusinessNumber
from simulator.people import Funnel, Lead, Person
from simulator.scene import Scene

_KINDS = ("click", "status_ad", "direct", "outbound", "post", "suspected")
_BASIS = {"click": "ctwa_click", "status_ad": "ctwa_ad", "suspected": "ad_suspected"}
_COUNTRIES = ("BR", "BR9", "MX", "AR", "US")
_STEPS = ("qualified", "opportunity", "won")
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Mix:
    """How frequent things are in one company: weights, in the order of what they weigh."""

    kinds: tuple[float, ...]
    countries: tuple[float, ...]
    sequels: tuple[float, ...]
    quality: float

    @classmethod
    def of(cls, rng: random.Random) -> Mix:
        """Close to the usual values, so that two seeds are not one company with different names."""

        def about(*weights: float) -> tuple[float, ...]:
            return tuple(w * rng.uniform(0.5, 1.6) for w in weights)

        return cls(
            kinds=about(62, 7, 19, 6, 3, 3),
            countries=about(55, 25, 4, 4, 12),
            sequels=about(70, 9, 9, 6, 6),
            quality=rng.uniform(0.7, 1.3),
        )


@dataclass(slots=True)
class _Chat:
    """What is known about the lead while it is being built."""

    person: Person
    number: BusinessNumber
    ids: str
    at: datetime
    last: datetime
    ad: AdRef | None
    answered: datetime | None = None
    replied: bool = False
    touches: int = 1
    latest: tuple[str, AdRef | None] | None = None


def ordinary_lead(s: Scene, *, mix: Mix) -> Lead:
    """One person who writes, is answered, and perhaps comes back, qualifies, buys or drops out."""
    rng = s.rng
    person = s.person(rng.choices(_COUNTRIES, mix.countries)[0])
    kind = rng.choices(_KINDS, mix.kinds)[0]
    ad = s.ad() if kind in ("click", "status_ad") else None
    if ad and ad.campaign.account.currency == "USD" and rng.random() < 0.6:
        person = s.person("US")
    at = s.moment()
    ids = rng.choices(("both", "phone", "bsuid"), (80, 10, 10))[0]
    chat = _Chat(person, s.number(), ids, at, last=at, ad=ad)
    post_id = rng.choice((POST_ID, OTHER_POST_ID))
    _opens(s, chat, kind, post_id)
    is_entry = ad is not None or kind == "suspected"
    billing = "free_entry_point" if is_entry else "free_customer_service"
    _goes_on(s, chat, billing, answered=kind == "suspected" or rng.random() < 0.8)
    _comes_back(s, chat, mix)
    funnel, event_ids = _outcomes(s, person, ids, at, ad, mix.quality)
    return s.lead(
        person,
        at,
        _BASIS.get(kind, kind),
        ad,
        identity="phone" if ids == "phone" else "bsuid",
        latest=chat.latest,
        touches=chat.touches,
        funnel=funnel,
        event_ids=event_ids,
        replied=chat.replied,
        boosted=2 if kind == "post" and post_id == POST_ID else 0,
    )


def ordinary_visitor(s: Scene, *, mix: Mix) -> Lead:
    """One person who comes through the site: submits the form, or uses its WhatsApp button."""
    rng = s.rng
    person, at = s.person(rng.choice(("BR", "BR9"))), s.moment(before=2)
    kind = rng.choices(("google", "meta", "mail", "bare"), (60, 15, 10, 15))[0]
    click = (
        s.google_click(at - timedelta(minutes=rng.randrange(1, 300))) if kind == "google" else None
    )
    ad = s.ad() if kind == "meta" else None
    campaign = s.names("Verão | 😀")
    parameters = {
        "google": {"gclid": click.gclid if click else "", "utm_source": "google"},
        "meta": {"utm_source": "facebook", "utm_medium": "paid", "ad_id": ad.ad_id if ad else ""},
        "mail": {
            "utm_source": "news",
            "utm_medium": "email",
            "utm_campaign": campaign,
        },
        "bare": {},
    }[kind]
    basis, channel = {
        "google": ("web_click_id", "paid_search"),
        "meta": ("web_ad_id", "meta_web"),
        "mail": ("web_utm", "web_other"),
        "bare": ("direct", "web_other"),
    }[kind]
    page = s.page(**parameters)
    form = None
    if rng.random() < 0.7:
        form = s.submits(person, at, page, email=rng.random() < 0.8)
    else:
        code = s.clicks_button(at - timedelta(minutes=1), page)
        s.hears(person, at, text=f"Oi ({shown(code)})")
    # The CRM knows the phone of a form, and likewise of a chat.
    shown_ad = click.ad if click else ad
    funnel, event_ids = _outcomes(s, person, "phone", at, shown_ad, mix.quality)
    return s.lead(
        person, at, basis, ad, form=form, gclid=click, channel=channel,
        platform={"google": "google", "meta": "meta"}.get(kind), funnel=funnel,
        event_ids=event_ids,
    )  # fmt: skip


def _opens(s: Scene, chat: _Chat, kind: str, post_id: str) -> None:
    """The first touch, and before it our own message where we wrote first."""
    rng = s.rng
    if kind == "outbound":
        before = chat.at - timedelta(hours=rng.randrange(1, 40))
        s.says(chat.person, before, number=chat.number, ids=chat.ids)
    referral = s.referral(chat.ad, click=kind == "click") if chat.ad else None
    if kind == "post":
        referral = payloads.post_referral(post_id)
    message_type = rng.choices(("text", "audio", "image", "button"), (84, 8, 5, 3))[0]
    _hears(s, chat, chat.at, referral=referral, kind=message_type)


def _hears(s: Scene, chat: _Chat, at: datetime, **message: Any) -> None:
    """They write once more."""
    s.hears(chat.person, at, number=chat.number, ids=chat.ids, **message)
    chat.last = max(chat.last, at)
    chat.replied |= chat.answered is not None and at > chat.answered


def _goes_on(s: Scene, chat: _Chat, billing: str, *, answered: bool) -> None:
    """Our answer, perhaps, and what they write within the day, before or after it."""
    rng = s.rng
    if answered:
        chat.answered = chat.at + timedelta(seconds=rng.randrange(30, 20_000))
        s.says(chat.person, chat.answered, number=chat.number, ids=chat.ids, billing=billing)
        chat.last = max(chat.last, chat.answered)
    for _ in range(rng.choices((0, 1, 2, 4), (30, 30, 25, 15))[0]):
        _hears(s, chat, chat.at + timedelta(seconds=rng.randrange(60, 80_000)))


def _comes_back(s: Scene, chat: _Chat, mix: Mix) -> None:
    """Later: by an ad within the gap; or after it on their own, by an ad, or because we wrote."""
    rng = s.rng
    how = rng.choices(("", "ad", "direct", "ad after", "woken"), mix.sequels)[0]
    # Not within 72 hours: there an ad would explain a suspicious opening.
    days = rng.uniform(4, 29) if how == "ad" else rng.uniform(30.1, 50)
    at = (chat.last + days * _DAY).replace(microsecond=0)
    if not how or at >= s.end - _DAY:
        return
    chat.touches += 1
    if how in ("ad", "ad after"):
        ad = s.ad()
        chat.latest = ("click_to_whatsapp", ad)
        _hears(s, chat, at, referral=s.referral(ad))
        return
    chat.latest = ("direct", chat.ad)
    if how == "woken":
        s.says(chat.person, at - _HOUR, number=chat.number, ids=chat.ids, billing="regular")
        chat.latest, chat.answered = ("outbound", chat.ad), chat.answered or at - _HOUR
    _hears(s, chat, at)


def _outcomes(
    s: Scene, person: Person, ids: str, at: datetime, ad: AdRef | None, factor: float
) -> tuple[Funnel, tuple[str, ...]]:
    """Steps up the funnel, as far as luck and the world's time go; some fall out again."""
    rng = s.rng
    quality = factor * (0.15 if ad is None else 0.12 + (int(ad.ad_id) % 7) * 0.07)
    when = at
    reached: list[str] = []
    event_ids: list[str] = []
    qualified_at, won = None, []
    for step, chance in zip(_STEPS, (quality, 0.5, 0.6), strict=True):
        when += timedelta(seconds=int(rng.lognormvariate(12.2, 1.1)))
        if rng.random() > chance or when >= s.end:
            break
        who = _who(person, ids, "phone", person.crm_phone)
        amount = (f"{rng.randrange(15_000, 900_000) / 100:.2f}", "BRL") if step == "won" else None
        event_ids.append(s.crm(step, when, value=amount, **who))
        reached.append(step)
        qualified_at = qualified_at or when
        if amount:
            won.append((Decimal(amount[0]), amount[1], when.date()))
    currently = bool(reached)
    if reached == ["qualified"] and rng.random() < 0.2:
        when += timedelta(days=2)
        if when < s.end:
            who = _who(person, ids, "wa_id", person.wa_id)
            event_ids.append(s.crm("disqualified", when, **who))
            currently = False
    return Funnel(qualified_at, currently, tuple(won)), tuple(event_ids)


def _who(person: Person, ids: str, name: str, phone: str) -> dict[str, Any]:
    """By what the CRM knows somebody: the phone, unless WhatsApp never showed one."""
    return {"user_id": person.bsuid} if ids == "bsuid" else {name: phone}
