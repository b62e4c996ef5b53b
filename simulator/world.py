"""A synthetic company, whole: people and what they did, ads and what they cost, over two nights.

`build_world` is a function of its arguments alone. The first night sees the company as it was two
days ago; by the second, spend is restated, rows are withdrawn, names changed, ads deleted, and the
rest of the messages has come.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from simulator import (
    stories_ads,
    stories_chats,
    stories_late,
    stories_outcomes,
    stories_people,
)
from simulator.ads_state import Account, Ad, AdSet, AdsState, Campaign, Creative, DailyStats
from simulator.company import ACCOUNTS, ADS, CAMPAIGNS, FOREIGN, AdRef, CampaignRef, ad_named
from simulator.ordinary import ordinary_lead
from simulator.people import Event, Lead, Outcome, Scene

DEFAULT_TODAY = date(2026, 11, 20)
"""A fixed day: the seed `exchange_rates.csv` has rates around it."""
DAYS = 75
"""Length of the world; less than META_BACKFILL_DAYS, so that the first run reads all of it."""
LEADS_PER_ROUND = 400
_LEADS_OF_BUDGETS = 1_200
"""With so many leads the ads' budgets give prices of leads as they are in life."""
STORIES = (
    *stories_ads.STORIES,
    *stories_chats.STORIES,
    *stories_late.STORIES,
    *stories_people.STORIES,
    *stories_outcomes.STORIES,
)

_DELETED_LATER = ad_named("@promo\tcom tab")

_JUNK = (
    b"not json at all",
    b'{"object":"whatsapp_business_account","entry":[{"id":"1"',
    b"[" * 5_000,
    b"\x00\xff\xfe",
)


@dataclass(frozen=True)
class World:
    """What happened. `nights`: the ad accounts as the API shows them at each of two nights.

    `junk`: bodies that are rightly signed and no webhook; each must end in quarantine.
    """

    seed: int
    today: date
    start: datetime
    end: datetime
    events: tuple[Event, ...]
    outcomes: tuple[Outcome, ...]
    leads: tuple[Lead, ...]
    nights: tuple[AdsState, AdsState]
    junk: tuple[bytes, ...] = _JUNK

    @property
    def ads(self) -> AdsState:
        """The ad accounts as they are today."""
        return self.nights[1]

    @property
    def account_ids(self) -> list[str]:
        """The accounts that the token may see."""
        return [a.account_id for a in ACCOUNTS]


def build_world(seed: int, leads: int = 400, today: date = DEFAULT_TODAY) -> World:
    """A company with about `leads` leads (never fewer than its stories make) up to `today`."""
    end = datetime.combine(today, time(), UTC)
    start = end - timedelta(days=DAYS)
    scenes: list[Scene] = []

    def play(story: Callable[[Scene], None]) -> int:
        serial = len(scenes) + 1
        luck = random.Random(f"{seed}:{serial}:{story.__name__}")
        scene = Scene(story.__name__, serial, start, end, luck)
        story(scene)
        scenes.append(scene)
        return len(scene.leads)

    made = sum(play(s) for _ in range(max(1, leads // LEADS_PER_ROUND)) for s in STORIES)
    while made < leads:
        made += play(ordinary_lead)
    return World(
        seed=seed,
        today=today,
        start=start,
        end=end,
        events=tuple(e for s in scenes for e in s.events),
        outcomes=tuple(o for s in scenes for o in s.outcomes),
        leads=tuple(lead for s in scenes for lead in s.leads),
        nights=_nights(seed, today, made),
    )


def _nights(seed: int, today: date, leads: int) -> tuple[AdsState, AdsState]:
    """The ad accounts at the first and at the second night."""
    rng = random.Random(f"{seed}:spend")
    first = _advertiser(today)
    for ad in ADS:
        if ad.daily_budget_cents:
            _spend(first, ad, today, leads, rng)
    for account in ACCOUNTS:
        for back in rng.sample(range(1, DAYS), 25):
            # Never shown at any ad: credits, rounding, ads of deleted campaigns (E45).
            cents = rng.choice((-120, 1, 7, 199, 4_321))
            first.extra_spend[account.account_id, today - timedelta(days=back)] = _money(cents)
    second = copy.deepcopy(first)
    _first_night(first, today)
    _restate(second, today, rng)
    return first, second


def _advertiser(today: date) -> AdsState:
    clock = datetime.combine(today, time(8), UTC)
    state = AdsState(now=lambda: clock)
    for account in (*ACCOUNTS, FOREIGN):
        visible = account is not FOREIGN
        state.add(
            Account(account.account_id, account.name, account.currency, account.zone, visible)
        )
    for campaign in CAMPAIGNS:
        state.add(
            Campaign(
                campaign.campaign_id,
                campaign.account.account_id,
                campaign.first_name or campaign.name,
                campaign.objective,
            )
        )
    for ad in ADS:
        if ad.kind != "gone":
            _add_ad(state, ad, ad.campaign)
    return state


def _add_ad(state: AdsState, ad: AdRef, campaign: CampaignRef) -> None:
    account = campaign.account.account_id
    is_website = campaign.destination == "WEBSITE"
    state.add(
        AdSet(
            ad.adset_id,
            account,
            campaign.campaign_id,
            f"ad set {ad.adset_id[-2:]} 'A'",
            destination_type=campaign.destination,
            optimization_goal="LINK_CLICKS" if is_website else "CONVERSATIONS",
        ),
        Creative(
            ad.creative_id,
            account,
            f"creative {ad.creative_id[-2:]}",
            title=ad.headline,
            body=ad.body,
            media_type=ad.media_type,
            call_to_action_type="LEARN_MORE" if is_website else "WHATSAPP_MESSAGE",
            effective_object_story_id=ad.story_id,
        ),
        Ad(
            ad.ad_id,
            account,
            campaign.campaign_id,
            ad.adset_id,
            ad.first_name or ad.name,
            ad.creative_id,
            effective_status=ad.kind.upper() if ad.kind != "foreign" else "ACTIVE",
        ),
    )


def _spend(state: AdsState, ad: AdRef, today: date, leads: int, rng: random.Random) -> None:
    """Delivery of one ad: some days none, some days impressions that cost nothing."""
    for back in range(1, DAYS + 1):
        if ad.kind == "archived" and back < 20:
            continue  # stopped three weeks ago; its leads still come (E47)
        if ad is _DELETED_LATER and back > 18:
            continue
        luck = rng.random()
        if luck < 0.08:
            continue
        cents = (
            0
            if luck > 0.99
            else int(ad.daily_budget_cents * rng.uniform(0.6, 1.1) * leads / _LEADS_OF_BUDGETS)
        )
        shown = 3 + cents * 10 // rng.randrange(12, 30)
        clicks = shown // rng.randrange(20, 60)
        state.spend[ad.campaign.account.account_id, today - timedelta(days=back), ad.ad_id] = (
            DailyStats(_money(cents), shown, clicks, clicks // 2, clicks // 6, shown * 2 // 3)
        )


def _money(cents: int) -> Decimal:
    return Decimal(cents) / 100


def _first_night(state: AdsState, today: date) -> None:
    """Before the changes: nothing of the last two days."""
    for ad_day in [d for d in state.spend if d[1] >= today - timedelta(days=1)]:
        del state.spend[ad_day]
    for day in [d for d in state.extra_spend if d[1] >= today - timedelta(days=1)]:
        del state.extra_spend[day]


def _restate(state: AdsState, today: date, rng: random.Random) -> None:
    """What Meta and the media buyer change between the nights (E40, E41, E32)."""
    recent = sorted(k for k in state.spend if k[1] >= today - timedelta(days=20))
    for key in rng.sample(recent, len(recent) // 8):
        stats = state.spend[key]
        stats.spend = max(Decimal(0), stats.spend - _money(rng.choice((-35, 1, 99, 250))))
    for account, _, ad_id in rng.sample(recent, 4):
        # Invalid clicks: the row is withdrawn; on one day the whole account's.
        state.withdraw(ad_id, today - timedelta(days=rng.randrange(2, 18)))
        emptied = (account, today - timedelta(days=19))
    for key in [k for k in state.spend if k[:2] == emptied]:
        del state.spend[key]
    state.extra_spend.pop(emptied, None)
    # Older days would keep the ad's row, as Meta told it then; this ad is too young for that.
    state.delete(_DELETED_LATER.ad_id)
    for campaign in CAMPAIGNS:
        if campaign.first_name:
            state.update(campaign.campaign_id, name=campaign.name)
    for ad in ADS:
        if ad.first_name:
            state.update(ad.ad_id, name=ad.name)
