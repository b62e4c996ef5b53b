"""Stories of who is who (rule R4): numbers, user ids, and the links that join them."""

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


@told("E23")
def user_id_only(s: Scene) -> None:
    """A user name and no phone: a lead like any other (E23)."""
    ana, ad, at = s.person(), s.ad(), s.moment()
    s.hears(ana, at, ids="bsuid", referral=s.referral(ad))
    s.lead(ana, at, "ctwa_click", ad)


@told()
def phone_only(s: Scene) -> None:
    """Nothing but a phone, as before 2026."""
    ana, ad, at = s.person("AR"), s.ad(), s.moment()
    s.hears(ana, at, ids="phone", referral=s.referral(ad))
    s.lead(ana, at, "ctwa_click", ad, identity="phone")


@told()
def user_id_in_place_of_the_phone(s: Scene) -> None:
    """Some gateways put the user id into `from` and `wa_id`."""
    ana, ad, at = s.person("MX"), s.ad(), s.moment()
    s.hears(ana, at, ids="swapped", referral=s.referral(ad))
    s.lead(ana, at, "ctwa_click", ad)


@told("E24")
def phone_then_both_then_user_id(s: Scene) -> None:
    """The key changes from phone to user id: still one lead (E24)."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    s.hears(ana, at, ids="phone", referral=s.referral(ad))
    s.hears(ana, at + DAY, ids="both")
    s.hears(ana, at + 2 * DAY, ids="bsuid")
    s.lead(ana, at, "ctwa_click", ad, identity="phone")


@told("E24")
def user_id_then_phone_by_status(s: Scene) -> None:
    """The contact beside a status shows both (E24); the CRM knows the phone only."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    s.hears(ana, at, ids="bsuid", referral=s.referral(ad))
    s.says(ana, at + HOUR, billing="free_entry_point")
    s.hears(ana, at + DAY, ids="phone")
    done = s.crm("qualified", at + 2 * DAY, phone=ana.crm_phone)
    funnel = Funnel(at + 2 * DAY, True)
    s.lead(ana, at, "ctwa_click", ad, funnel=funnel, event_ids=(done,), replied=True)


@told("E24")
def the_crm_joins_two_leads(s: Scene) -> None:
    """One outcome with phone and user id is evidence like a payload's."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    s.hears(ana, at, ids="bsuid", referral=s.referral(ad))
    s.hears(ana, at + DAY, ids="phone")
    done = s.crm("qualified", at + 3 * DAY, phone=ana.crm_phone, user_id=ana.bsuid)
    funnel = Funnel(at + 3 * DAY, True)
    s.lead(ana, at, "ctwa_click", ad, funnel=funnel, event_ids=(done,))


@told("E27")
def number_change(s: Scene) -> None:
    """A new number, and with it a new user id: the notice joins them, and is no touch (E27)."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=12)
    # The new number is in another area and has another user id.
    new = replace(s.person(), name=ana.name)
    s.hears(ana, at, referral=s.referral(ad))
    notice = payloads.number_change(ana, s.wamid(ana), at + 5 * DAY, new.wa_id)
    s.emits(at + 5 * DAY, notice)
    s.hears(new, at + 6 * DAY)
    s.lead(ana, at, "ctwa_click", ad)


@told("E27")
def number_change_of_nobody(s: Scene) -> None:
    """A notice of somebody who never wrote makes no lead (E27)."""
    ana, new, at = s.person(), s.person(), s.moment()
    s.emits(at, payloads.number_change(ana, s.wamid(ana), at, new.wa_id))


@told("E24")
def user_id_change(s: Scene) -> None:
    """The system notice joins old and new user id (E24)."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    new = replace(ana, bsuid=s.person().bsuid)
    s.hears(ana, at, ids="bsuid", referral=s.referral(ad))
    s.emits(at + DAY, payloads.id_change(ana, s.wamid(ana), at + DAY, new.bsuid))
    s.hears(new, at + 2 * DAY, ids="bsuid")
    s.lead(ana, at, "ctwa_click", ad)


@told("E24")
def user_id_update(s: Scene) -> None:
    """The same news by the webhook field `user_id_update`."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    new = replace(ana, bsuid=s.person().bsuid)
    s.hears(ana, at, ids="bsuid", referral=s.referral(ad))
    update = payloads.id_update(ana, at + DAY, new.bsuid)
    s.emits(at + DAY, update, field="user_id_update", part="user_id_update")
    s.hears(new, at + 2 * DAY, ids="bsuid")
    s.lead(ana, at, "ctwa_click", ad)


@told("E81")
def user_id_replaced(s: Scene) -> None:
    """Reported without a sender, with old and new id in their own fields."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    new = replace(ana, bsuid=s.person().bsuid)
    s.hears(ana, at, ids="bsuid", referral=s.referral(ad))
    s.emits(at + DAY, payloads.ids_replaced(ana, new, s.wamid(ana), at + DAY))
    s.hears(new, at + 2 * DAY, ids="bsuid")
    s.lead(ana, at, "ctwa_click", ad)


@told("E81", "E12")
def number_change_told_by_the_new_number(s: Scene) -> None:
    """The notice comes from the new number, after what they write from it."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    new = replace(s.person(), name=ana.name)
    s.hears(ana, at, ids="phone", referral=s.referral(ad), night=1)
    notice = payloads.new_number(ana, new, s.wamid(new), at + DAY)
    s.emits(at + DAY, notice, night=2)
    s.hears(new, at + 2 * DAY, ids="phone", night=1)
    s.lead(ana, at, "ctwa_click", ad, identity="phone")


@told("E82")
def renumbered(s: Scene) -> None:
    """WhatsApp has the number from before the new plan, the CRM the one since; both appear."""
    local = f"07{s.serial:06d}"
    ana = replace(
        s.person(), country="CI", wa_id=f"225{local}", crm_phone=f"+225 07 {local}",
        bsuid=f"CI.{s.serial:016d}",
    )  # fmt: skip
    ad, at = s.ad(), s.moment(before=6)
    s.hears(ana, at, ids="phone", referral=s.referral(ad))
    s.hears(replace(ana, wa_id=f"22507{local}"), at + DAY, ids="phone")
    done = s.crm("qualified", at + 2 * DAY, phone=ana.crm_phone)
    funnel = Funnel(at + 2 * DAY, True)
    s.lead(ana, at, "ctwa_click", ad, identity="phone", funnel=funnel, event_ids=(done,))


@told("E23")
def shares_their_own_card(s: Scene) -> None:
    """Answering "share contact info": the card's phone is the sender's (E23)."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    s.hears(ana, at, ids="bsuid", referral=s.referral(ad))
    own = {"origin": "contact_request"}
    s.hears(ana, at + HOUR, ids="bsuid", kind="contacts", extra=own)
    done = s.crm("qualified", at + 2 * DAY, wa_id=ana.wa_id)
    funnel = Funnel(at + 2 * DAY, True)
    s.lead(ana, at, "ctwa_click", ad, funnel=funnel, event_ids=(done,))


@told("E23")
def shares_a_friends_card(s: Scene) -> None:
    """An unrequested card is somebody else's: two people, two leads."""
    ana, bia, ad, at = s.person(), s.person(), s.ad(), s.moment(before=3)
    card = [payloads.card(bia.name, bia.wa_id)]
    s.hears(ana, at, kind="contacts", content=card, referral=s.referral(ad))
    s.hears(bia, at + DAY)
    s.lead(ana, at, "ctwa_click", ad)
    s.lead(bia, at + DAY, "direct")


@told("E26")
def ninth_digit(s: Scene) -> None:
    """WhatsApp and the CRM spell one number differently (E26)."""
    for country in ("BR", "BR9", "MX", "AR"):
        ana, ad, at = s.person(country), s.ad(), s.moment(before=6)
        s.hears(ana, at, ids="phone", referral=s.referral(ad))
        done = s.crm("qualified", at + 2 * DAY, phone=ana.crm_phone)
        funnel = Funnel(at + 2 * DAY, True)
        s.lead(ana, at, "ctwa_click", ad, identity="phone", funnel=funnel, event_ids=(done,))


@told("E26")
def same_last_eight_digits(s: Scene) -> None:
    """Two area codes, one suffix: two people (E26)."""
    ana = s.person("BR", area="31")
    bia = replace(s.person("BR", area="41"), wa_id="5541" + ana.wa_id[-8:])
    ad, at = s.ad(), s.moment(before=3)
    s.hears(ana, at, ids="phone", referral=s.referral(ad))
    s.hears(bia, at + HOUR, ids="phone")
    s.lead(ana, at, "ctwa_click", ad, identity="phone")
    s.lead(bia, at + HOUR, "direct", identity="phone")


@told("E26")
def landline(s: Scene) -> None:
    """Landlines have WhatsApp too, and no ninth digit (E26)."""
    serial = f"{30_000_000 + s.serial:08d}"
    ana = replace(s.person("BR"), wa_id=f"5511{serial}", crm_phone=f"+55 11 {serial}")
    ad, at = s.ad(), s.moment(before=6)
    s.hears(ana, at, referral=s.referral(ad))
    done = s.crm("qualified", at + DAY, phone=ana.crm_phone)
    s.lead(ana, at, "ctwa_click", ad, funnel=Funnel(at + DAY, True), event_ids=(done,))
