"""A synthetic company, whole: people and what they did, ads and what they cost, over some nights.

`build_world` is a function of its arguments alone. The first night sees the company as it was days
ago; each later one brings messages that came late, restated spend and withdrawn rows, and the last
one changed names and deleted ads.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import partial

from simulator import (
    stories_ads,
    stories_chats,
    stories_counted,
    stories_crm,
    stories_forms,
    stories_identifiers,
    stories_late,
    stories_numbers,
    stories_odd,
    stories_outcomes,
    stories_people,
    stories_rules,
    stories_shared,
    stories_web,
)
from simulator.ads_state import AdsState
from simulator.advertiser import DAYS, nights
from simulator.company import ACCOUNTS, FORM_ID, OLD_FORM_ID, PAGE_ID
from simulator.google_advertiser import google_nights
from simulator.google_state import GoogleState
from simulator.hubspot_state import HubspotState
from simulator.lead_forms_api import Form as PageForm
from simulator.lead_forms_api import FormsState, Page
from simulator.lead_forms_api import Lead as InstantLead
from simulator.names import HOSTILE, Names
from simulator.ordinary import Mix, ordinary_lead, ordinary_visitor
from simulator.people import (
    Chat,
    Click,
    Conflict,
    CrmStage,
    CrmStep,
    Event,
    Exclusion,
    Form,
    GoogleClick,
    Lead,
    Notice,
    Outcome,
    RuleMet,
)
from simulator.scene import Scene
from simulator.stories import Story

DEFAULT_TODAY = date(2026, 11, 20)
"""A fixed day: the seed `exchange_rates.csv` has rates around it."""
LEADS_PER_ROUND = 400
STORIES: tuple[Story, ...] = (
    *stories_ads.told,
    *stories_chats.told,
    *stories_late.told,
    *stories_people.told,
    *stories_outcomes.told,
    *stories_numbers.told,
    *stories_shared.told,
    *stories_counted.told,
    *stories_odd.told,
    *stories_web.told,
    *stories_crm.told,
    *stories_identifiers.told,
    *stories_rules.told,
    *stories_forms.told,
)

_TIMES = {
    1: "history_then_ad ads_in_every_state ad_that_is_listed_a_night_late call_from_an_ad "
    "staff test_line test_button number_change renumbered number_given_to_somebody_else "
    "ninth_digit user_id_only won_twice_in_dollars reopened outcome_of_nobody "
    "deal_of_nobody contacts_that_are_merged two_contacts_of_one_person "
    "google_form_then_meta_ad form_joined_by_the_crm chat_by_the_coded_link "
    "form_of_a_facebook_link",
    2: "account_of_another_zone_goes_on unsupported_then_referral post two_numbers "
    "echo_before_inbound we_woke_them_up accidental_tap quote_with_its_price "
    "visit_booked_by_a_button quote_that_was_edited keeps_writing_and_gives_up "
    "instant_form_then_chat",
    3: "instant_form_whose_webhook_is_missed",
    4: "held_by_metas_agent_with_the_phone_hidden the_agent_passes_it_to_our_people",
    6: "contact_that_qualifies deal_that_is_won form_of_performance_max "
    "instant_form_that_qualifies",
}
EVERYDAY = {name: times for times, names in _TIMES.items() for name in names.split()}
"""Of the stories, those that an ordinary company lives through as well, and how often."""

_JUNK = (
    b"not json at all",
    b'{"object":"whatsapp_business_account","entry":[{"id":"1"',
    b"[" * 5_000,
    b"\x00\xff\xfe",
)


@dataclass(frozen=True)
class World:
    """What happened. `nights`: the ad accounts as the API shows them on each of the nights.

    `junk`: bodies that are rightly signed and no webhook; each must end in quarantine.
    """

    seed: int
    today: date
    start: datetime
    end: datetime
    events: tuple[Event, ...]
    outcomes: tuple[Outcome, ...]
    exclusions: tuple[Exclusion, ...]
    forms: tuple[Form, ...]
    instant_leads: tuple[InstantLead, ...]
    notices: tuple[Notice, ...]
    clicks: tuple[Click, ...]
    google_clicks: tuple[GoogleClick, ...]
    crm_steps: tuple[CrmStep, ...]
    stages_of_nobody: tuple[CrmStage, ...]
    leads: tuple[Lead, ...]
    conflicts: tuple[Conflict, ...]
    chats: tuple[Chat, ...]
    tests: tuple[Lead, ...]
    """Leads of test traffic: in `fct_leads`, and in no count (E84)."""
    rules_met: tuple[RuleMet, ...]
    nights: tuple[AdsState, ...]
    google_nights: tuple[GoogleState, ...]
    junk: tuple[bytes, ...] = _JUNK
    names: Names = HOSTILE

    @property
    def ads(self) -> AdsState:
        """The ad accounts as they are today."""
        return self.nights[-1]

    @property
    def google(self) -> GoogleState:
        """Google's accounts as they are today."""
        return self.google_nights[-1]

    @property
    def account_ids(self) -> list[str]:
        """The accounts that the token may see."""
        return [a.account_id for a in ACCOUNTS]

    def hubspot(self, until: datetime) -> HubspotState:
        """The CRM as it was at a moment; ids do not depend on when one looks."""
        state = HubspotState(now=until)
        ids: dict[int, dict[str, int]] = defaultdict(dict)
        for step in self.crm_steps:
            if step.at < until:
                state.now = step.at
                step.do(state, ids[step.scene])
        state.now = until
        return state

    def page(self, until: datetime) -> FormsState:
        """The page and its instant forms as they were at a moment."""
        state = FormsState(now=until)
        # Between the last two nights, whatever their number.
        is_deleted = until > self.end - timedelta(hours=12)
        state.add(
            Page(PAGE_ID, "EAApage"),
            PageForm(FORM_ID, PAGE_ID, "Avaliação"),
            PageForm(OLD_FORM_ID, PAGE_ID, "2025", is_deleted=is_deleted),
            *(lead for lead in self.instant_leads if lead.created_at < until),
        )
        return state

    def day(self, night: int) -> date:
        """The day of a night, 1 to the number of nights; the last one is today's."""
        return self.today - timedelta(days=len(self.nights) - night)


def build_world(
    seed: int,
    leads: int = 400,
    today: date = DEFAULT_TODAY,
    *,
    count: int = 2,
    names: Names = HOSTILE,
) -> World:
    """A company with about `leads` leads (never fewer than its stories make) up to `today`.

    `count`: how many nights its ad accounts are known of, and its webhooks can be cut into.
    `names`: what its accounts, campaigns and ads are called. With ordinary names it is an ordinary
    company as well: of the stories only those of `EVERYDAY` play, and nothing posted is junk.
    """
    end = datetime.combine(today, time(), UTC)
    start = end - timedelta(days=DAYS)
    scenes: list[Scene] = []
    stories = [
        story
        for story in STORIES
        for _ in range(EVERYDAY.get(story.name, 0) if names.language else 1)
    ]

    def play(name: str, story: Callable[[Scene], object]) -> int:
        serial = len(scenes) + 1
        scene = Scene(name, serial, start, end, random.Random(f"{seed}:{serial}:{name}"), names)
        story(scene)
        scenes.append(scene)
        return len(scene.leads)

    rounds = max(1, leads // LEADS_PER_ROUND)
    made = sum(play(s.name, s.play) for _ in range(rounds) for s in stories)
    mix = Mix.of(random.Random(f"{seed}:mix"))
    ordinary, visitor = partial(ordinary_lead, mix=mix), partial(ordinary_visitor, mix=mix)
    while made < leads:
        by_site = len(scenes) % 4 == 0
        made += play("ordinary_visitor", visitor) if by_site else play("ordinary_lead", ordinary)
    google_clicks = tuple(g for s in scenes for g in s.google_clicks)
    meta_shown = nights(seed, today, made, count)
    google_shown = google_nights(seed, today, made, google_clicks, count)
    for meta, google in zip(meta_shown, google_shown, strict=True):
        names.give_to(meta, google)
    return World(
        seed=seed,
        today=today,
        start=start,
        end=end,
        events=tuple(e for s in scenes for e in s.events),
        outcomes=tuple(o for s in scenes for o in s.outcomes),
        exclusions=tuple(x for s in scenes for x in s.exclusions),
        forms=tuple(f for s in scenes for f in s.forms),
        instant_leads=tuple(i for s in scenes for i in s.instant_leads),
        notices=tuple(n for s in scenes for n in s.notices),
        clicks=tuple(c for s in scenes for c in s.clicks),
        google_clicks=google_clicks,
        crm_steps=tuple(
            sorted((c for s in scenes for c in s.crm_steps), key=lambda c: (c.at, c.scene))
        ),
        stages_of_nobody=tuple(x for s in scenes for x in s.stages_of_nobody),
        leads=tuple(lead for s in scenes for lead in s.leads),
        conflicts=tuple(c for s in scenes for c in s.conflicts),
        chats=tuple(c for s in scenes for c in s.chats),
        tests=tuple(t for s in scenes for t in s.tests),
        rules_met=tuple(m for s in scenes for m in s.rules_met),
        nights=meta_shown,
        google_nights=google_shown,
        junk=() if names.language else _JUNK,
        names=names,
    )
