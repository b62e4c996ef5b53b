"""What the company's Google ads cost and who clicked them, as the API reports it each night.

Money is never stated twice: the truth of a world is the last night's state itself.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from simulator.advertiser import DAYS
from simulator.company import (
    GOOGLE_ACCOUNTS,
    GOOGLE_ADS,
    GOOGLE_BR,
    GOOGLE_CAMPAIGNS,
    GOOGLE_US,
    AdRef,
)
from simulator.google_state import (
    Ad,
    AdGroup,
    Campaign,
    ClickView,
    Customer,
    GoogleState,
    Stats,
)
from simulator.people import GoogleClick

MANAGER = "4402211000"
"""The manager account above both: the one whose id the company gives."""
CASES = {
    "E39": "a campaign and an ad of Google's have ids of Meta's",
    "E40": "costs of the last weeks are corrected, every night",
    "E41": "rows are withdrawn, and whole days become empty",
    "E45": "the account's total holds money of no campaign, campaigns have some of no ad",
    "E91": "an account is suspended before the last night, which corrects its days",
}
"""Edge cases that Google's side covers."""
_LEADS_OF_BUDGETS = 1_200
_REMOVED_LATER = GOOGLE_CAMPAIGNS[4].campaign_id


def google_nights(
    seed: int, today: date, leads: int, clicks: Iterable[GoogleClick], count: int
) -> tuple[GoogleState, ...]:
    """Google's accounts at each of `count` nights, the last of them that of `today`.

    Clicks are told from the first night on: who asks for a day asks when it is over.
    """
    rng = random.Random(f"{seed}:google")
    state = _company(today)
    for ad in GOOGLE_ADS:
        _spend(state, ad, today, leads, rng)
    for campaign in GOOGLE_CAMPAIGNS:
        account = campaign.account.account_id
        for back in range(1, DAYS + 1 if campaign.daily_cents else 1):
            if rng.random() > 0.1:
                cents = int(
                    campaign.daily_cents * rng.uniform(0.5, 1.2) * leads / _LEADS_OF_BUDGETS
                )
                key = account, today - timedelta(days=back), campaign.campaign_id
                state.campaign_spend[key] = Stats(_money(cents), 20 + cents // 3, cents // 90)
    for account_ref in GOOGLE_ACCOUNTS:
        for back in rng.sample(range(1, DAYS), 12):
            cents = rng.choice((-3, 1, 2, 55))  # credits, rounding
            state.extra_spend[account_ref.account_id, today - timedelta(days=back)] = _money(cents)
    state.clicks = [_view(click) for click in clicks]
    shown = []
    for night in range(1, count + 1):
        day = today - timedelta(days=count - night)
        if night > 1:
            _correct(state, day, rng)
        if night == count:
            _rename_and_remove(state)
        shown.append(_as_seen(state, day))
    return tuple(shown)


def _company(today: date) -> GoogleState:
    clock = datetime.combine(today, time(8), UTC)
    state = GoogleState(now=lambda: clock)
    state.add(
        Customer(MANAGER, "Aurora (manager)", "BRL", "America/Sao_Paulo", is_manager=True),
        *(
            Customer(a.account_id, a.name, a.currency, a.zone, manager_id=MANAGER)
            for a in GOOGLE_ACCOUNTS
        ),
        *(
            Campaign(c.campaign_id, c.account.account_id, c.first_name or c.name, c.objective)
            for c in GOOGLE_CAMPAIGNS
        ),
    )
    for ad in GOOGLE_ADS:
        account, campaign = ad.campaign.account.account_id, ad.campaign.campaign_id
        state.add(
            AdGroup(ad.adset_id, account, campaign, f"grupo {ad.adset_id[-2:]}"),
            Ad(ad.ad_id, account, campaign, ad.adset_id, ad.name, headlines=(ad.headline,)),
        )
    return state


def _spend(state: GoogleState, ad: AdRef, today: date, leads: int, rng: random.Random) -> None:
    """Delivery of one ad, and sometimes some of its ad group's that is under no ad."""
    account = ad.campaign.account.account_id
    for back in range(1, DAYS + 1):
        if rng.random() < 0.12:
            continue
        share = leads / _LEADS_OF_BUDGETS
        cents = int(ad.daily_budget_cents * rng.uniform(0.4, 1.1) * share)
        day = today - timedelta(days=back)
        state.spend[account, day, ad.ad_id] = Stats(_money(cents), 5 + cents // 4, 1 + cents // 70)
        if rng.random() < 0.05:
            state.ad_group_spend[account, day, ad.adset_id] = Stats(
                _money(rng.choice((3, 41))), 2, 0
            )


def _money(cents: int) -> Decimal:
    return Decimal(cents) / 100


def _view(click: GoogleClick) -> ClickView:
    campaign = click.ad.campaign
    day = click.at.astimezone(ZoneInfo(campaign.account.zone)).date()
    return ClickView(
        click.gclid,
        campaign.account.account_id,
        day,
        campaign.campaign_id,
        click.ad.adset_id,
        click.ad.ad_id,
    )


def _as_seen(state: GoogleState, day: date) -> GoogleState:
    """What the API shows at the night of `day`: days that are over."""
    seen = copy.deepcopy(state)
    for name in ("spend", "ad_group_spend", "campaign_spend", "extra_spend"):
        rows = getattr(seen, name)
        setattr(seen, name, {key: value for key, value in rows.items() if key[1] < day})
    return seen


def _correct(state: GoogleState, day: date, rng: random.Random) -> None:
    """What Google changes about days that an earlier night has shown (E40, E41)."""
    since, until = day - timedelta(days=40), day - timedelta(days=2)
    recent = sorted(k for k in state.spend if since <= k[1] <= until)
    for key in rng.sample(recent, len(recent) // 10):
        stats = state.spend[key]
        stats.spend = max(Decimal(0), stats.spend - _money(rng.choice((-9, 1, 20, 75))))
    for key in rng.sample(recent, 2):
        state.spend.pop(key, None)
    emptied = GOOGLE_US.account_id, day - timedelta(days=rng.randrange(3, 30))
    for rows in (state.spend, state.ad_group_spend, state.campaign_spend):
        for key in [k for k in rows if k[:2] == emptied]:
            del rows[key]
    state.extra_spend.pop(emptied, None)


def _rename_and_remove(state: GoogleState) -> None:
    """What the media buyer does before the last night (E36), and Google (E91)."""
    suspended = state.customers[GOOGLE_US.account_id]
    suspended.status, suspended.reads_inactive = "SUSPENDED", True
    state.campaigns[_REMOVED_LATER].status = "REMOVED"
    for campaign in GOOGLE_CAMPAIGNS:
        if campaign.first_name:
            state.campaigns[campaign.campaign_id].name = campaign.name


__all__ = ["CASES", "GOOGLE_BR", "MANAGER", "google_nights"]
