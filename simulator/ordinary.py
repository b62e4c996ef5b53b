"""Ordinary people: the volume around the nasty cases, so that tables look like a real company's."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from simulator import payloads
from simulator.company import POST_ID, AdRef
from simulator.people import Funnel, Person, Scene

_KINDS = ("click", "status_ad", "direct", "outbound", "post", "suspected")
_WEIGHTS = (62, 7, 19, 6, 3, 3)
_COUNTRIES = ("BR", "BR9", "MX", "AR", "US")
_STEPS = ("qualified", "opportunity", "won")


def ordinary_lead(s: Scene) -> None:
    """One person who writes, is answered, and perhaps qualifies, buys or drops out."""
    rng = s.rng
    person = s.person(rng.choices(_COUNTRIES, (55, 25, 4, 4, 12))[0])
    kind = rng.choices(_KINDS, _WEIGHTS)[0]
    ad = s.ad() if kind in ("click", "status_ad") else None
    if ad and ad.campaign.account.currency == "USD" and rng.random() < 0.6:
        person = s.person("US")
    at, number = s.moment(), s.number()
    ids = rng.choices(("both", "phone", "bsuid"), (80, 10, 10))[0]
    basis = {"click": "ctwa_click", "status_ad": "ctwa_ad", "suspected": "ad_suspected"}.get(
        kind, kind
    )
    if kind == "outbound":
        s.says(person, at - timedelta(hours=rng.randrange(1, 40)), number=number, ids=ids)
    referral = s.referral(ad, click=kind == "click") if ad else None
    if kind == "post":
        referral = payloads.post_referral(POST_ID)
    message_type = rng.choices(("text", "audio", "image", "button"), (84, 8, 5, 3))[0]
    s.hears(person, at, number=number, ids=ids, referral=referral, kind=message_type)
    pays = "free_entry_point" if ad or kind == "suspected" else "free_customer_service"
    if kind == "suspected" or rng.random() < 0.8:
        reply = at + timedelta(seconds=rng.randrange(30, 20_000))
        s.says(person, reply, number=number, ids=ids, billing=pays)
    for _ in range(rng.choices((0, 1, 2, 4), (30, 30, 25, 15))[0]):
        later = at + timedelta(seconds=rng.randrange(60, 80_000))
        s.hears(person, later, number=number, ids=ids)
    funnel, event_ids = _outcomes(s, person, ids, at, ad)
    identity = "phone" if ids == "phone" else "bsuid"
    s.lead(
        person,
        at,
        basis,
        ad,
        identity=identity,  # type: ignore[arg-type]
        funnel=funnel,
        event_ids=event_ids,
    )


def _outcomes(
    s: Scene, person: Person, ids: str, at: datetime, ad: AdRef | None
) -> tuple[Funnel, tuple[str, ...]]:
    """Steps up the funnel, as far as luck and the world's time go; some fall out again."""
    rng = s.rng
    quality = 0.15 if ad is None else 0.12 + (int(ad.ad_id) % 7) * 0.07
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
