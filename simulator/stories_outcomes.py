"""Stories about what the CRM says about a lead, and about input that cannot be read."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from simulator.company import NEW_YORK, ad_of_kind
from simulator.people import Funnel
from simulator.scene import Scene
from simulator.stories import Chapter

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
told = Chapter()


@told()
def qualified_in_a_week(s: Scene) -> None:
    """The plain case."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    s.hears(ana, at, referral=s.referral(ad))
    done = s.crm("qualified", at + 7 * DAY, phone=ana.crm_phone)
    s.lead(ana, at, "ctwa_click", ad, funnel=Funnel(at + 7 * DAY, True), event_ids=(done,))


@told()
def qualified_a_second_too_late(s: Scene) -> None:
    """One second after each window counts in the next (R11)."""
    for days in (7, 14, 30):
        ana, ad, at = s.person(), s.ad(), s.moment(before=40)
        when = at + days * DAY + timedelta(seconds=1)
        s.hears(ana, at, referral=s.referral(ad))
        done = s.crm("Qualified", when, wa_id=ana.wa_id)
        s.lead(ana, at, "ctwa_click", ad, funnel=Funnel(when, True), event_ids=(done,))


@told("E58")
def disqualified(s: Scene) -> None:
    """Qualified once, then not: ever, but not currently (E58)."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=12)
    s.hears(ana, at, referral=s.referral(ad))
    ids = (
        s.crm("qualified", at + DAY, user_id=ana.bsuid),
        s.crm("disqualified", at + 9 * DAY, user_id=ana.bsuid),
    )
    s.lead(ana, at, "ctwa_click", ad, funnel=Funnel(at + DAY), event_ids=ids)


@told("E58")
def never_qualified(s: Scene) -> None:
    """Straight out."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=6)
    s.hears(ana, at, referral=s.referral(ad))
    ids = (s.crm("lead", at + HOUR, phone=ana.crm_phone), s.crm("lost", at + DAY, wa_id=ana.wa_id))
    s.lead(ana, at, "ctwa_click", ad, event_ids=ids)


@told("E58")
def reopened(s: Scene) -> None:
    """Qualified, disqualified, qualified again; the middle is delivered last (E58)."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=12)
    s.hears(ana, at, referral=s.referral(ad))
    ids = (
        s.crm("qualified", at + 2 * DAY, phone=ana.crm_phone, night=1),
        s.crm("disqualified", at + 4 * DAY, phone=ana.crm_phone, night=2),
        s.crm("qualified", at + 8 * DAY, phone=ana.crm_phone, night=1),
    )
    s.lead(ana, at, "ctwa_click", ad, funnel=Funnel(at + 2 * DAY, True), event_ids=ids)


@told("E58")
def straight_to_won(s: Scene) -> None:
    """A skipped stage is implied (E58)."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    s.hears(ana, at, referral=s.referral(ad))
    when = at + 6 * DAY
    done = s.crm("won", when, value=("1234.56", "BRL"), phone=ana.crm_phone)
    won = ((Decimal("1234.56"), "BRL", when.date()),)
    s.lead(ana, at, "ctwa_click", ad, funnel=Funnel(when, True, won), event_ids=(done,))


@told("E44")
def won_twice_in_dollars(s: Scene) -> None:
    """Two sales in another currency, each at the rate of its day (R13)."""
    ana, ad, at = s.person("US"), ad_of_kind("active", NEW_YORK), s.moment(before=20)
    s.hears(ana, at, referral=s.referral(ad))
    first, second = at + 3 * DAY, at + 17 * DAY
    ids = (
        s.crm("opportunity", at + DAY, user_id=ana.bsuid),
        s.crm("won", first, value=("99.90", "USD"), user_id=ana.bsuid),
        s.crm("won", second, value=("250", "USD"), user_id=ana.bsuid),
    )
    won = (
        (Decimal("99.90"), "USD", first.date()),
        (Decimal("250"), "USD", second.date()),
    )
    s.lead(ana, at, "ctwa_click", ad, funnel=Funnel(at + DAY, True, won), event_ids=ids)


@told("E57")
def qualified_after_two_months(s: Scene) -> None:
    """Came in two months ago, qualified now: the old cohort changes, and only its widest window."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=66)
    s.hears(ana, at, referral=s.referral(ad), night=1)
    done = s.crm("qualified", at + 62 * DAY, phone=ana.crm_phone, night=2)
    s.lead(ana, at, "ctwa_click", ad, funnel=Funnel(at + 62 * DAY, True), event_ids=(done,))


@told("E58")
def stages_of_one_instant(s: Scene) -> None:
    """A CRM that saves all at once: the later stage of the funnel is the current one."""
    for stages, currently in (
        (("disqualified", "qualified"), False),
        (("qualified", "lead"), True),
        (("won", "qualified", "opportunity"), True),
        (("lost", "won"), False),
    ):
        ana, ad, at = s.person(), s.ad(), s.moment(before=9)
        s.hears(ana, at, referral=s.referral(ad))
        when, sold = at + 2 * DAY, "won" in stages
        ids = []
        for stage in stages:
            value = ("500", "BRL") if stage == "won" else None
            ids.append(s.crm(stage, when, value=value, phone=ana.crm_phone))
        won = ((Decimal(500), "BRL", when.date()),) if sold else ()
        funnel = Funnel(when, currently, won)
        s.lead(ana, at, "ctwa_click", ad, funnel=funnel, event_ids=tuple(ids))


@told("E63", "E1")
def told_again_and_again(s: Scene) -> None:
    """One stage under three event ids, and one event id of two systems: qualified once."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=12)
    s.hears(ana, at, referral=s.referral(ad))
    first = at + 3 * DAY
    one = s.crm("qualified", first, phone=ana.crm_phone)
    s.crm("qualified", first + DAY, phone=ana.crm_phone, event_id=one, source="import")
    ids = [s.crm("qualified", first + n * HOUR, wa_id=ana.wa_id) for n in (1, 2)]
    s.lead(ana, at, "ctwa_click", ad, funnel=Funnel(first, True), event_ids=(one, *ids))


@told("E58")
def stages_by_other_names(s: Scene) -> None:
    """Each CRM has its own names, in upper or lower case."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=15)
    s.hears(ana, at, referral=s.referral(ad))
    words = (("Contacted", "lead"), ("SQL", "qualified"), ("Proposal", "opportunity"))
    ids = tuple(
        s.crm(word, at + n * DAY, phone=ana.crm_phone, funnel_stage=stage)
        for n, (word, stage) in enumerate(words, 1)
    )
    s.lead(ana, at, "ctwa_click", ad, funnel=Funnel(at + 2 * DAY, True), event_ids=ids)


@told("E61")
def outcome_before_the_first_message(s: Scene) -> None:
    """The CRM knew them before (E61): matched, and 0 days to qualify."""
    ana, ad, at = s.person(), s.ad(), s.moment(after=9)
    s.hears(ana, at, referral=s.referral(ad))
    done = s.crm("qualified", at - 6 * DAY, phone=ana.crm_phone)
    s.lead(ana, at, "ctwa_click", ad, funnel=Funnel(at - 6 * DAY, True), event_ids=(done,))


@told("E60")
def outcome_of_nobody(s: Scene) -> None:
    """No lead: kept and counted, never matched by time (E60)."""
    ana, at = s.person(), s.moment()
    s.crm("qualified", at, phone=ana.crm_phone)
    s.crm("won", at, email=ana.email, value=("10", "BRL"))


@told("E60")
def outcome_by_message(s: Scene) -> None:
    """By their message's id, and by our answer's."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    theirs = s.hears(ana, at, ids="bsuid", referral=s.referral(ad))
    ours = s.says(ana, at + HOUR, ids="bsuid")
    ids = (
        s.crm("opportunity", at + 3 * DAY, message_id=ours),
        s.crm("qualified", at + 2 * DAY, message_id=theirs),
    )
    s.lead(ana, at, "ctwa_click", ad, funnel=Funnel(at + 2 * DAY, True), event_ids=ids)


@told("E24")
def outcome_by_email(s: Scene) -> None:
    """One outcome shows phone and address, the next the address only, spelt differently."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    s.hears(ana, at, referral=s.referral(ad))
    ids = (
        s.crm("lead", at + DAY, phone=ana.crm_phone, email=ana.email),
        s.crm("qualified", at + 2 * DAY, email=f" {ana.email.lower()}"),
    )
    s.lead(ana, at, "ctwa_click", ad, funnel=Funnel(at + 2 * DAY, True), event_ids=ids)


@told("E63")
def outcome_corrected(s: Scene) -> None:
    """One event id, reported twice: the later version counts, whichever arrived first."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    s.hears(ana, at, referral=s.referral(ad))
    when = at + 3 * DAY
    done = s.crm("qualified", when, phone=ana.crm_phone, night=2)
    s.crm("lead", at + DAY, phone=ana.crm_phone, event_id=done, superseded=True, night=1)
    s.lead(ana, at, "ctwa_click", ad, funnel=Funnel(when, True), event_ids=(done,))


@told()
def outcome_of_direct_lead(s: Scene) -> None:
    """Organic leads qualify too."""
    ana, at = s.person(), s.moment(before=9)
    s.hears(ana, at)
    done = s.crm("qualified", at + 4 * DAY, phone=ana.crm_phone)
    s.lead(ana, at, "direct", funnel=Funnel(at + 4 * DAY, True), event_ids=(done,))


@told()
def malformed_beside_good(s: Scene) -> None:
    """Only what cannot be read goes to quarantine (R1)."""
    ana, ad, at = s.person(), s.ad(), s.moment()
    s.hears(ana, at, referral=s.referral(ad))
    bad = {"from": ana.wa_id, "timestamp": "1781000000", "type": "text", "text": {"body": "x"}}
    s.emits(at, bad, malformed=True)  # no id
    s.emits(at, "not an object", malformed=True)
    s.emits(at, [s.wamid(ana)], malformed=True)
    s.lead(ana, at, "ctwa_click", ad)
