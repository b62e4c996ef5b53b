"""Stories of a branch without a CRM: what is said in the chat says who qualified.

Its rules apply to its own number only; `install_rules` writes them as an installation has them.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from simulator.company import WITHOUT_CRM, WITHOUT_CRM_AD
from simulator.people import Funnel
from simulator.scene import Scene
from simulator.stories import Chapter

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
told = Chapter()

_RULES = f"""
- id: quote_sent
  stage: qualified
  numbers: "+{WITHOUT_CRM.display}"
  when:
    all:
      - we_wrote: [orçamento]
      - price_over: {{amount: 500, currency: BRL}}
- id: visit_booked
  stage: opportunity
  numbers: "+{WITHOUT_CRM.display}"
  when: {{answered: [book_visit]}}
- id: keeps_writing
  stage: qualified
  numbers: "+{WITHOUT_CRM.display}"
  when: {{replies: 3, within: 24h}}
"""


def install_rules(folder: Path) -> Path:
    """The file of the branch's rules, written into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "chat_rules.yml"
    path.write_text(_RULES, encoding="utf-8")
    return path


@told()
def quote_with_its_price(s: Scene) -> None:
    """Both conditions in one message, sent twice: the first time counts."""
    ana, ad, at = s.person(), WITHOUT_CRM_AD, s.moment(before=9)
    s.hears(ana, at, number=WITHOUT_CRM, referral=s.referral(ad))
    first = s.writes(ana, at + HOUR, "Segue o ORÇAMENTO: R$ 1.250,00", number=WITHOUT_CRM)
    s.writes(ana, at + DAY, "De novo: orçamento de R$ 1.350,00", number=WITHOUT_CRM)
    met = s.by_rule("quote_sent", "qualified", at + HOUR, first, WITHOUT_CRM)
    s.lead(ana, at, "ctwa_click", ad, funnel=Funnel(at + HOUR, True), event_ids=(met,))


@told()
def price_before_the_quote(s: Scene) -> None:
    """The conditions stand in two messages, of which the second arrives a night earlier."""
    ana, ad, at = s.person(), WITHOUT_CRM_AD, s.moment(before=9)
    s.hears(ana, at, number=WITHOUT_CRM, referral=s.referral(ad), night=1)
    s.writes(ana, at + HOUR, "fica em R$ 900", number=WITHOUT_CRM, night=2)
    last = s.writes(ana, at + 2 * HOUR, "mando o orcamento já", number=WITHOUT_CRM, night=1)
    met = s.by_rule("quote_sent", "qualified", at + 2 * HOUR, last, WITHOUT_CRM)
    s.lead(ana, at, "ctwa_click", ad, funnel=Funnel(at + 2 * HOUR, True), event_ids=(met,))


@told()
def quote_that_was_edited(s: Scene) -> None:
    """A low price is corrected to a high one: met from the edit on. The other way: never."""
    for before, after, counts in (("R$ 90", "R$ 900", True), ("R$ 900", "R$ 90", False)):
        ana, ad, at = s.person(), WITHOUT_CRM_AD, s.moment(before=9)
        s.hears(ana, at, number=WITHOUT_CRM, referral=s.referral(ad))
        first = s.writes(ana, at + HOUR, f"orçamento: {before}", number=WITHOUT_CRM)
        when = at + HOUR + 5 * MINUTE
        s.changes(ana, when, first, f"orçamento: {after}", number=WITHOUT_CRM)
        met = [s.by_rule("quote_sent", "qualified", when, first, WITHOUT_CRM)] if counts else []
        funnel = Funnel(when, True) if counts else Funnel()
        s.lead(ana, at, "ctwa_click", ad, funnel=funnel, event_ids=tuple(met))


@told()
def quote_to_the_wrong_chat(s: Scene) -> None:
    """Deleted for everyone: it counts as not said, although the deletion comes first."""
    ana, ad, at = s.person(), WITHOUT_CRM_AD, s.moment(before=9)
    s.hears(ana, at, number=WITHOUT_CRM, referral=s.referral(ad))
    first = s.writes(ana, at + HOUR, "orçamento: R$ 5.000", number=WITHOUT_CRM, night=2)
    s.changes(ana, at + HOUR + MINUTE, first, None, number=WITHOUT_CRM, night=1)
    s.lead(ana, at, "ctwa_click", ad)


@told()
def visit_booked_by_a_button(s: Scene) -> None:
    """A later stage implies qualified. The same button on a number with a CRM means nothing."""
    ana, ad, at = s.person(), WITHOUT_CRM_AD, s.moment(before=9)
    s.hears(ana, at, number=WITHOUT_CRM, referral=s.referral(ad))
    reply = {"type": "button_reply", "button_reply": {"id": "book_visit", "title": "Agendar"}}
    first = s.hears(ana, at + 3 * HOUR, number=WITHOUT_CRM, kind="interactive", content=reply)
    met = s.by_rule("visit_booked", "opportunity", at + 3 * HOUR, first, WITHOUT_CRM)
    s.lead(ana, at, "ctwa_click", ad, funnel=Funnel(at + 3 * HOUR, True), event_ids=(met,))
    bia, other, at = s.person(), s.ad(), s.moment(before=9)
    s.hears(bia, at, referral=s.referral(other))
    s.hears(bia, at + HOUR, kind="interactive", content=reply)
    s.lead(bia, at, "ctwa_click", other)


@told()
def keeps_writing_and_gives_up(s: Scene) -> None:
    """Three replies within a day of the first message qualify; the third a day later does not."""
    for last, counts in ((20, True), (25, False)):
        ana, ad, at = s.person(), WITHOUT_CRM_AD, s.moment(before=9)
        s.hears(ana, at, number=WITHOUT_CRM, referral=s.referral(ad))
        for hours in (1, 2):
            s.hears(ana, at + hours * HOUR, number=WITHOUT_CRM)
        s.hears(ana, at + 3 * HOUR, number=WITHOUT_CRM, kind="reaction")
        when = at + last * HOUR
        third = s.hears(ana, when, number=WITHOUT_CRM)
        met = [s.by_rule("keeps_writing", "qualified", when, third, WITHOUT_CRM)] if counts else []
        funnel = Funnel(when, True) if counts else Funnel()
        s.lead(ana, at, "ctwa_click", ad, funnel=funnel, event_ids=tuple(met))
