"""Stories about chats: organic, started by us, imported, copied, on several numbers."""

from __future__ import annotations

from datetime import timedelta

from simulator import payloads
from simulator.company import MAIN, MOVED, SECOND
from simulator.scene import Scene
from simulator.stories import Chapter

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
told = Chapter()
CTWA = "click_to_whatsapp"


@told("E6")
def other_unsupported_is_direct(s: Scene) -> None:
    """131051 is a poll or the like: a message like any other."""
    ana, at = s.person(), s.moment()
    s.hears(ana, at, kind="unsupported", error=131051)
    s.lead(ana, at, "direct")


@told("E6")
def billed_as_free_entry(s: Scene) -> None:
    """Meta billed an ad's chat, the referral is lost: suspected (E6)."""
    ana, at = s.person(), s.moment(before=3)
    s.hears(ana, at)
    s.says(ana, at + 2 * HOUR, billing="free_entry_point")
    s.lead(ana, at, "ad_suspected")


@told()
def direct(s: Scene) -> None:
    """They wrote on their own; replies are free customer service."""
    ana, at = s.person(), s.moment(before=2)
    s.hears(ana, at)
    s.says(ana, at + HOUR)
    s.lead(ana, at, "direct")


@told("E14")
def we_wrote_first(s: Scene) -> None:
    """A template, then their answer: not acquisition (E14)."""
    ana, at = s.person(), s.moment(before=3)
    s.says(ana, at, billing="regular")
    s.hears(ana, at + DAY)
    s.lead(ana, at + DAY, "outbound")


@told("E14")
def template_never_delivered(s: Scene) -> None:
    """A failed message is no contact: what they write later is theirs."""
    ana, at = s.person(), s.moment(before=3)
    s.says(ana, at, statuses=("failed",))
    s.hears(ana, at + DAY)
    s.lead(ana, at + DAY, "direct")


@told("E14")
def template_answered_after_the_gap(s: Scene) -> None:
    """Answered 40 days on: another conversation, which they opened."""
    ana, at = s.person(), s.moment(before=45)
    s.says(ana, at, billing="regular")
    s.hears(ana, at + 40 * DAY)
    s.lead(ana, at + 40 * DAY, "direct")


@told("E14")
def template_answered_days_later(s: Scene) -> None:
    """Answered 10 days on: one conversation, which we began; under a gap of 7 days it is theirs."""
    ana, at = s.person(), s.moment(before=14)
    s.says(ana, at, billing="regular")
    s.hears(ana, at + 10 * DAY)
    s.lead(ana, at + 10 * DAY, "outbound")


@told("E14", "E18")
def we_woke_them_up(s: Scene) -> None:
    """Direct once; after the gap we wrote and they answered."""
    ana, at = s.person(), s.moment(before=45)
    s.hears(ana, at)
    s.says(ana, at + 35 * DAY, billing="regular")
    s.hears(ana, at + 36 * DAY)
    s.lead(ana, at, "direct", latest=("outbound", None), touches=2, replied=True)


@told("E14")
def template_then_ad(s: Scene) -> None:
    """We wrote, and they came by an ad: the referral is the stronger evidence."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=3)
    s.says(ana, at, billing="regular")
    s.hears(ana, at + DAY, referral=s.referral(ad))
    s.lead(ana, at + DAY, "ctwa_click", ad)


@told("E15")
def echo_before_inbound(s: Scene) -> None:
    """A colleague's message from the phone opens the conversation (E15)."""
    ana, at = s.person(), s.moment(before=3)
    s.echoes(ana, at)
    s.hears(ana, at + HOUR)
    s.lead(ana, at + HOUR, "outbound")


@told("E15")
def only_ours(s: Scene) -> None:
    """Echoes and templates without an answer make no lead (E15)."""
    s.echoes(s.person(), s.moment())
    s.says(s.person(), s.moment(), billing="regular")


@told("E22")
def never_conversational(s: Scene) -> None:
    """Groups, reactions, edits and deletions are no touch (E22)."""
    s.hears(s.person(), s.moment(), group="120363041234567890", referral=s.referral(s.ad()))
    s.hears(s.person(), s.moment(), kind="reaction")
    for kind in ("edit", "revoke"):
        s.hears(s.person(), s.moment(), kind=kind, content={"original_message_id": "wamid.X"})


@told("E12")
def history_then_ad(s: Scene) -> None:
    """Imported history shows an older chat, and the lead starts there (E12)."""
    ana, ad, at = s.person(), s.ad(), s.moment()
    old = s.start - 70 * DAY
    rows = [(s.wamid(ana), old, True), (s.wamid(ana), old + HOUR, False)]
    s.emits(at, payloads.history(ana, MAIN, rows), field="history", part="history")
    s.hears(ana, at, referral=s.referral(ad))
    s.lead(ana, old, "direct", identity="phone", latest=(CTWA, ad), touches=2, replied=True)


@told("E1")
def live_and_in_history(s: Scene) -> None:
    """The day of onboarding comes both ways: one message (E1)."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=2)
    wamid = s.hears(ana, at, referral=s.referral(ad))
    chunk = payloads.history(ana, MAIN, [(wamid, at, True)])
    s.emits(at + HOUR, chunk, field="history", part="history")
    s.lead(ana, at, "ctwa_click", ad)


@told("E1")
def copies_that_differ(s: Scene) -> None:
    """Of two copies the one with the referral wins (R2)."""
    ana, ad, at = s.person(), s.ad(), s.moment()
    wamid = s.hears(ana, at, text="oi")
    s.hears(ana, at, text="oi", wamid=wamid, referral=s.referral(ad))
    s.lead(ana, at, "ctwa_click", ad)


@told("E12")
def one_second_two_messages(s: Scene) -> None:
    """A tie: the message with the referral comes first (R3)."""
    ana, ad, at = s.person(), s.ad(), s.moment()
    s.hears(ana, at)
    s.hears(ana, at, referral=s.referral(ad))
    s.lead(ana, at, "ctwa_click", ad)


@told("E31")
def two_numbers(s: Scene) -> None:
    """Two of our numbers, one person, one lead (E31)."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=3)
    s.hears(ana, at, referral=s.referral(ad))
    s.hears(ana, at + HOUR, number=SECOND)
    s.lead(ana, at, "ctwa_click", ad, latest=("direct", ad), touches=2)


@told("E30")
def number_moved_to_another_waba(s: Scene) -> None:
    """Same display number, new ids: the chat goes on (E30)."""
    ana, ad, at = s.person(), s.ad(), s.moment(before=9)
    s.hears(ana, at, referral=s.referral(ad))
    s.hears(ana, at + 3 * DAY, number=MOVED)
    s.lead(ana, at, "ctwa_click", ad)
