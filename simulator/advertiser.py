"""What the company's ads cost, and what Meta's API says about it on each of several nights.

Money is never stated twice: the truth of a world is the last night's state itself. What the nights
before showed differs from it in every way that Meta and media buyers change things.
"""

from __future__ import annotations

import copy
import random
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from simulator.ads_state import Account, Ad, AdSet, AdsState, Campaign, Creative, DailyStats
from simulator.company import (
    ACCOUNTS,
    ADS,
    CAMPAIGNS,
    FOREIGN,
    FORM_AD,
    FORM_DESTINATIONS,
    FORM_ID,
    AdRef,
    CampaignRef,
    ad_named,
)

DAYS = 75
"""Length of the world; less than META_BACKFILL_DAYS, so that the first run reads all of it."""
CASES = {
    "E40": "spend of the last weeks is restated, every night",
    "E41": "rows are withdrawn, come back, and whole account days become empty",
    "E43": "an account of another zone and currency goes on where one has stopped",
    "E44": "accounts in three currencies",
    "E45": "the account's total holds money that no ad shows",
    "E46": "an ad without leads costs money",
    "E47": "an ad that stopped weeks ago has leads",
    "E49": "campaigns with a website beside WhatsApp, or alone",
    "E50": "ads in every state, archived and deleted ones too",
    "E56": "boosted posts cost money",
}
"""Edge cases that the advertiser covers, beside those of the stories about people."""
_LEADS_OF_BUDGETS = 1_200
"""With this many leads the ads' budgets give realistic costs per lead."""
_DELETED_LATER = ad_named("@promo\tcom tab")


def nights(seed: int, today: date, leads: int, count: int = 2) -> tuple[AdsState, ...]:
    """The ad accounts at each of `count` nights, the last of them that of `today`.

    A night shows the days before its own. Each changes what the one before showed; the last one
    renames and deletes as well.
    """
    if count < 2:
        raise ValueError("a world has two nights or more: the first is changed by another")
    rng = random.Random(f"{seed}:spend")
    state = _advertiser(today)
    for ad in ADS:
        if ad.daily_budget_cents:
            _spend(state, ad, today, leads, rng)
    for account in ACCOUNTS:
        for back in rng.sample(range(1, DAYS), 25):
            # Not shown under any ad: credits, rounding, ads of deleted campaigns (E45).
            cents = rng.choice((-120, 1, 7, 199, 4_321))
            state.extra_spend[account.account_id, today - timedelta(days=back)] = _money(cents)
    shown = []
    for night in range(1, count + 1):
        day = today - timedelta(days=count - night)
        if night > 1:
            _restate(state, day, rng, empties=(count - night) % 9 == 0)
        if night == count:
            _rename_and_delete(state)
        shown.append(_as_seen(state, day, is_last=night == count))
    return tuple(shown)


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
    goals = {"WEBSITE": "LINK_CLICKS"} | dict.fromkeys(FORM_DESTINATIONS, "LEAD_GENERATION")
    buttons = {"WEBSITE": "LEARN_MORE"} | dict.fromkeys(FORM_DESTINATIONS, "SIGN_UP")
    state.add(
        AdSet(
            ad.adset_id,
            account,
            campaign.campaign_id,
            f"ad set {ad.adset_id[-2:]} 'A'",
            destination_type=campaign.destination,
            optimization_goal=goals.get(campaign.destination, "CONVERSATIONS"),
        ),
        Creative(
            ad.creative_id,
            account,
            f"creative {ad.creative_id[-2:]}",
            title=ad.headline,
            body=ad.body,
            media_type=ad.media_type,
            call_to_action_type=buttons.get(campaign.destination, "WHATSAPP_MESSAGE"),
            lead_form_id=FORM_ID if ad is FORM_AD else None,
            effective_object_story_id=ad.story_id,
            effective_instagram_media_id=ad.instagram_id,
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
    first, last = ad.delivers
    for back in range(last, min(first, DAYS) + 1):
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


def _as_seen(state: AdsState, day: date, *, is_last: bool) -> AdsState:
    """What the API shows at the night of `day`: days that are over, and objects made by then."""
    seen = copy.deepcopy(state)
    seen.spend = {k: v for k, v in seen.spend.items() if k[1] < day}
    seen.extra_spend = {k: v for k, v in seen.extra_spend.items() if k[1] < day}
    for ad in ADS:
        if ad.is_new and not is_last:
            for table, key in (
                (seen.ads, ad.ad_id),
                (seen.adsets, ad.adset_id),
                (seen.creatives, ad.creative_id),
                (seen.campaigns, ad.campaign.campaign_id),
            ):
                table.pop(key, None)
    return seen


def _restate(state: AdsState, day: date, rng: random.Random, *, empties: bool) -> None:
    """What Meta changes about days that an earlier night has shown (E40, E41)."""
    since, until = day - timedelta(days=20), day - timedelta(days=2)
    recent = sorted(k for k in state.spend if since <= k[1] <= until)
    for key in rng.sample(recent, len(recent) // 8):
        stats = state.spend[key]
        stats.spend = max(Decimal(0), stats.spend - _money(rng.choice((-35, 1, 99, 250))))
    for account, back, ad_id in rng.sample(recent, 3):
        # Invalid clicks: the row is withdrawn; on one day the whole account's.
        state.withdraw(ad_id, back)
        emptied = (account, day - timedelta(days=19))
    # A row for an ad that had none: a credit that was reversed.
    account, back, ad_id = rng.choice(recent)
    state.spend[account, back - timedelta(days=1), ad_id] = DailyStats(_money(77), 9, 1)
    if empties:
        for key in [k for k in state.spend if k[:2] == emptied]:
            del state.spend[key]
        state.extra_spend.pop(emptied, None)


def _rename_and_delete(state: AdsState) -> None:
    """What the media buyer does before the last night (E32, E36)."""
    # Older days would keep the ad's row as Meta reported it then; this ad is too new for that.
    state.delete(_DELETED_LATER.ad_id)
    for campaign in CAMPAIGNS:
        if campaign.first_name:
            state.update(campaign.campaign_id, name=campaign.name)
    for ad in ADS:
        if ad.first_name:
            state.update(ad.ad_id, name=ad.name)
