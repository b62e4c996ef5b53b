"""What the marts must say of a world: rows, by construction.

Leads are stated by the stories; money is the ad accounts' own; here they are only put into the
columns of the marts and added up by day. Every rule that is decided in SQL was decided in a story
by its author, so that an error cannot be made twice in the same way.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from ctwa.pseudonym import Pseudonymizer
from simulator.ads_state import AdDay, AdsState, DailyStats
from simulator.bill import bill
from simulator.company import ADS, FORM_DESTINATIONS
from simulator.google_state import GoogleState, Stats
from simulator.names import Names
from simulator.people import GoogleClick, Lead
from simulator.rates import Rates
from simulator.scene import REPORTING_ZONE
from simulator.truth_board import board, most_wasteful
from simulator.truth_forecast import SOURCE, cohorts
from simulator.truth_reports import (
    WINDOWS,
    Row,
    Rows,
    ad_of_lead,
    ad_of_spend,
    ads,
    campaign_of_lead,
    campaign_of_spend,
    campaigns,
    cash,
    channels,
)
from simulator.truth_unread import Silence, Unread
from simulator.world import World

_ADS = {ad.ad_id: ad for ad in ADS}
_CHANNELS = {"WEBSITE": "meta_web"} | dict.fromkeys(FORM_DESTINATIONS, "meta_lead_form")
_BOARDS = {"ad": "creative_board", "adset": "adset_board", "campaign": "campaign_board"}
_HEALTH = """(
    select
        'all' as scope,
        cast(sum(unmatched_outcomes) as bigint) as unmatched_outcomes,
        cast(sum(quarantined_elements) as bigint) as quarantined_elements,
        cast(sum(excluded_leads) as bigint) as excluded_leads,
        cast(sum(web_leads) as bigint) as web_leads
    from marts.attribution_health
)"""


_SHARED = """(
    select lead_id, started_at, answered_by, handovers, inbound_messages, outbound_messages
    from marts.fct_conversations
    where answered_by not in ('own', 'unknown') or handovers > 0
)"""
_BILL = """(
    select
        business_number_id, strftime(cost_date, '%Y-%m') as month, market,
        cast(sum(messages) as bigint) as messages,
        cast(sum(billable_messages) as bigint) as billable,
        case when count(cost) = count(*) then cast(sum(cost) as decimal(18, 6)) end as cost
    from marts.fct_message_costs group by 1, 2, 3
)"""
_FIRST = """(
    select platform, campaign_id, true as is_first
    from marts.monday where what = 'campaign' and kind <> 'scale' order by rank limit 1
)"""
_LEADS = "select * from marts.fct_leads"
_SENT = "(select * from marts.fct_outcomes where source not like 'hubspot%')"
# A merged record tells its stages once more, under its new id.
_READ = """(
    select distinct source, stage, occurred_at, coalesce(lead_id, 'nobody') as lead_id,
        funnel_stage, value, currency
    from marts.fct_outcomes where source like 'hubspot%'
)"""
_UNREAD = """(
    select * from marts.spend_reconciliation
    where spend_status = 'unread' and spend_unread_reason <> 'no_source'
        and spend_date < (select max(as_of) from marts.health_alarms)
)"""


@dataclass(frozen=True, slots=True)
class Expected:
    """The rows of one mart: key columns, and by key the columns that are compared.

    `source` is what is selected from, where that is not the mart `name` itself.
    """

    name: str
    keys: tuple[str, ...]
    rows: Rows
    source: str = ""


@dataclass(frozen=True, slots=True)
class Truth:
    """Every compared mart of a world."""

    tables: tuple[Expected, ...]

    def rows(self, name: str) -> Rows:
        """The expected rows of one mart; of leads, those that are no test traffic."""
        return next(t.rows for t in self.tables if t.name == name)


def truth(
    world: World,
    pseudonymizer: Pseudonymizer,
    *,
    quarantined: int | None = None,
    first_night: bool = True,
    clicks_since: date = date.min,
    silence: Silence | None = None,
) -> Truth:
    """The expected marts of a world; `pseudonymizer` holds the key of the installation.

    `quarantined`: how many malformed elements were delivered; None leaves that uncompared.
    `first_night`: whether the ads were read before their renames as well. `clicks_since`: the first
    day whose clicks Google still reported when they were read. `silence`: an ad account whose spend
    was refused from a night on.
    """
    world = silence.world(world) if silence else world
    rates = Rates()
    ids = {id(lead): _lead_id(lead, pseudonymizer) for lead in world.leads}
    told = {id(lead): _as_google_tells(lead, clicks_since) for lead in world.leads}
    leads = {
        (ids[id(lead)],): _lead_row(told[id(lead)], rates, first_night, world.names)
        for lead in world.leads
    }
    if len(leads) != len(world.leads):
        raise AssertionError("two leads of the world have one id: a story reuses a person")
    tests = {
        (_lead_id(lead, pseudonymizer),): _public(_lead_row(lead, rates, first_night, world.names))
        for lead in world.tests
    }
    touches = {(ids[id(lead)],): {"touches": lead.touches} for lead in world.leads}
    spend = _spend_rows(world, rates)
    facts = [(told[id(lead)], leads[ids[id(lead)],]) for lead in world.leads]
    outcomes = _outcome_rows(world, ids, pseudonymizer)
    health: Row = {
        "unmatched_outcomes": sum(r["lead_id"] is None for r in outcomes.values())
        + len(world.stages_of_nobody),
        "excluded_leads": sum(lead.excluded is not None for lead in world.leads),
        "web_leads": len(
            {form.body["lead_id"] for form in world.forms}
            | {lead.lead_id for lead in world.instant_leads if not lead.is_test}
        ),
    }
    if quarantined is not None:
        health["quarantined_elements"] = quarantined
    touch_counts = (
        "(select lead_id, count(*) as touches from marts.fct_touches"
        " where lead_id not like 'test:%' group by lead_id)"
    )
    by_campaign = campaigns(facts, spend, world.today)
    by_ad = ads(facts, spend, world.today)
    by_channel = channels(facts, spend)
    by_cash = cash(facts, world.outcomes, spend, rates)
    more: tuple[Expected, ...] = ()
    if silence:
        unread = Unread(silence, silence.days(world), world.today, facts, spend)
        by_campaign = unread.report(by_campaign, campaign_of_lead, campaign_of_spend)
        by_ad = unread.report(by_ad, ad_of_lead, ad_of_spend)
        by_channel = unread.channels(by_channel)
        by_cash = unread.cash(by_cash, by_campaign)
        more = (Expected("unread", ("account_id", "spend_date"), unread.account_days(), _UNREAD),)
    elif first := most_wasteful(facts, spend, world.today):
        more = (Expected("first line of monday", ("platform", "campaign_id"), first, _FIRST),)
    return Truth(
        (
            *more,
            Expected(
                "fct_leads",
                ("lead_id",),
                {k: _public(r) for k, r in leads.items()},
                f"({_LEADS} where not is_test)",
            ),
            Expected("fct_leads", ("lead_id",), tests, f"({_LEADS} where is_test)"),
            Expected("touches of leads", ("lead_id",), touches, touch_counts),
            Expected("holders of chats", ("lead_id", "started_at"), _chats(world, ids), _SHARED),
            Expected(
                "identity_conflicts",
                ("lead_id_earlier",),
                _conflicts(world, ids),
                # What the CRM corrects between two nights it never said to the product.
                "(select * from marts.identity_conflicts where reason <> 'corrected')",
            ),
            Expected("fct_outcomes", ("source", "event_id"), outcomes, _SENT),
            Expected(
                "outcomes of HubSpot",
                ("source", "stage", "occurred_at", "lead_id"),
                _stage_rows(world, ids),
                _READ,
            ),
            Expected("totals of attribution_health", ("scope",), {("all",): health}, _HEALTH),
            Expected("fct_ad_spend", ("account_id", "spend_date", "ad_id", "row_kind"), spend),
            Expected(
                "spend_reconciliation",
                ("account_id", "spend_date"),
                _account_days(world),
                # Days that were read and had no delivery are rows of zeros there.
                "(select * from marts.spend_reconciliation where account_spend <> 0"
                " or ads_spend <> 0)",
            ),
            Expected(
                "campaign_performance",
                ("report_date", "platform", "campaign_id"),
                by_campaign,
            ),
            Expected(
                "ad_performance",
                ("report_date", "platform", "ad_id"),
                by_ad,
            ),
            Expected(
                "campaign_cash_performance",
                ("report_date", "platform", "campaign_id"),
                by_cash,
            ),
            Expected("channel_performance", ("report_date", "channel"), by_channel),
            *(
                Expected(
                    name,
                    ("platform", f"{level}_id", "window_days"),
                    board(facts, spend, world.today, level),
                )
                for level, name in _BOARDS.items()
            ),
            Expected(
                "cohort_forecast",
                ("level", "entity_key", "grain", "period_start", "horizon_days"),
                cohorts(facts, world.today),
                SOURCE,
            ),
            Expected(
                "bills of numbers",
                ("business_number_id", "month", "market"),
                bill(world.events),
                _BILL,
            ),
        )
    )


# ---- leads and outcomes --------------------------------------------------------------------------


def _lead_id(lead: Lead, pseudonymizer: Pseudonymizer) -> str:
    kind, value = lead.identity
    name = {"phone": pseudonymizer.phone, "bsuid": pseudonymizer.bsuid}
    key = name.get(kind, pseudonymizer.web_lead)(value)
    if key is None:
        raise AssertionError(f"{lead.story}: {kind} of the lead is none")
    return f"test:{key}" if lead.is_test else key


def _as_google_tells(lead: Lead, clicks_since: date) -> Lead:
    """The lead without what Google no longer reports about its clicks."""

    def is_told(click: GoogleClick | None) -> bool:
        zone = ZoneInfo(click.ad.campaign.account.zone) if click else None
        return click is None or click.at.astimezone(zone).date() >= clicks_since

    if not is_told(lead.gclid):
        day = lead.first_touch_at.astimezone(ZoneInfo(REPORTING_ZONE)).date()
        lead = replace(lead, ad=None, first_touch_date=day)
    return lead if is_told(lead.latest_gclid) else replace(lead, latest_ad=None)


def _lead_row(lead: Lead, rates: Rates, first_night: bool, names: Names) -> Row:
    funnel, ad = lead.funnel, lead.ad
    known = ad if ad is not None and ad.is_resolved else None
    place = known.campaign if known else lead.campaign
    qualified_at = funnel.qualified_at
    days = None
    if qualified_at is not None:
        days = max(0, (qualified_at - lead.first_touch_at) // timedelta(days=1))
    won = [rates.convert(*sale) for sale in funnel.won]
    return {
        "first_touch_at": lead.first_touch_at,
        "first_touch_date": lead.first_touch_date,
        "channel": lead.channel,
        "basis": lead.basis,
        "platform": lead.platform,
        "ad_id": ad.ad_id if ad else None,
        "ad_name": names(known.name) if known else _IGNORED,
        # Every lead came before the renames.
        "ad_name_at_touch": (
            names((first_night and known.first_name) or known.name) if known else _IGNORED
        ),
        "adset_id": known.adset_id if known else None,
        "campaign_id": place.campaign_id if place else None,
        "campaign_name": names(place.name) if place else None,
        "account_id": place.account.account_id if place else None,
        "resolution": _resolution(lead),
        "latest_channel": lead.latest_channel,
        "latest_ad_id": lead.latest_ad.ad_id if lead.latest_ad else None,
        "country": lead.country,
        "is_qualified": qualified_at is not None,
        "is_currently_qualified": funnel.currently,
        "qualified_at": qualified_at,
        "days_to_qualify": days,
        "is_won": funnel.is_won,
        "won_value_reporting": sum(won, Decimal(0)) if won else None,
        "lead_cycle": 1,
        "is_from_form": lead.is_from_form,
        "has_replied": lead.replied,
        "is_excluded": lead.excluded is not None,
        "exclusion_reason": lead.excluded,
        "is_test": lead.is_test,
        "is_boosted_post_candidate": lead.boosted > 0,
        "boosted_post_ads": lead.boosted,
        **{
            f"_qualified_{n}d": qualified_at is not None
            and qualified_at <= lead.first_touch_at + timedelta(days=n)
            for n in WINDOWS
        },
    }


_IGNORED = object()
"""In place of a value that no rule fixes, such as the name of an ad that Meta hides."""


def _public(row: Row) -> Row:
    return {k: v for k, v in row.items() if not k.startswith("_") and v is not _IGNORED}


def _resolution(lead: Lead) -> str | None:
    if lead.ad is None and lead.campaign is None:
        # A click id that Google does not know, or no longer knows.
        return "gone" if lead.has_gclid else None
    kind = lead.ad.kind if lead.ad else ""
    return kind if kind in ("foreign", "gone") else "resolved"


def _chats(world: World, ids: dict[int, str]) -> Rows:
    """Chats that another responder had at some time: any other is its own business's throughout."""
    return {
        (ids[id(chat.lead)], chat.started_at): {
            "answered_by": chat.answered_by,
            "handovers": chat.handovers,
            "inbound_messages": chat.inbound,
            "outbound_messages": chat.outbound,
        }
        for chat in world.chats
        if chat.answered_by != "own" or chat.handovers
    }


def _conflicts(world: World, ids: dict[int, str]) -> Rows:
    return {
        (ids[id(conflict.earlier)],): {
            "lead_id_later": ids[id(conflict.later)],
            "reason": conflict.reason,
            "last_seen_earlier_at": conflict.last_seen,
            "first_seen_later_at": conflict.first_seen,
        }
        for conflict in world.conflicts
    }


def _outcome_rows(world: World, ids: dict[int, str], pseudonymizer: Pseudonymizer) -> Rows:
    owner = {event: ids[id(lead)] for lead in world.leads for event in lead.event_ids}
    rows: Rows = {}
    for outcome in world.outcomes:
        if outcome.superseded:
            continue
        body = outcome.body
        value = Decimal(str(body["value"])) if "value" in body else None
        rows[body["source"], body["event_id"]] = {
            "lead_id": owner.get(body["event_id"]),
            "occurred_at": outcome.occurred_at,
            "stage": body["stage"],
            "funnel_stage": outcome.funnel_stage,
            "value": value,
            "currency": body.get("currency"),
        }
    for met in world.rules_met:
        event_id = f"{met.rule}:{pseudonymizer.message(met.number, met.wamid)}"
        rows["chat", event_id] = {
            "lead_id": owner[met.event_id],
            "occurred_at": met.at,
            "stage": met.stage,
            "funnel_stage": met.stage,
            "value": None,
            "currency": None,
        }
    return rows


def _stage_rows(world: World, ids: dict[int, str]) -> Rows:
    stages = [(s, ids[id(lead)]) for lead in world.leads for s in lead.stages]
    stages += [(s, "nobody") for s in world.stages_of_nobody]
    return {
        (s.source, s.stage, s.at, lead_id): {
            "funnel_stage": s.funnel_stage,
            "value": s.value,
            "currency": s.currency,
        }
        for s, lead_id in stages
    }


# ---- money ---------------------------------------------------------------------------------------


def _spend_rows(world: World, rates: Rates) -> Rows:
    """What the API shows of each ad, and per account day the rest of the account's total."""
    state = world.ads
    rows: Rows = {}
    rest = {
        (account, day): total
        for account in world.account_ids
        for day, total in state.account_days(account, date.min, date.max).items()
    }
    for account, day, ad_id in _told(state):
        stats = state.spend[account, day, ad_id]
        ad = _ADS[ad_id]
        rows[account, day, ad_id, "ad"] = {
            "platform": "meta",
            "campaign_id": ad.campaign.campaign_id,
            "adset_id": ad.adset_id,
            "channel": _CHANNELS.get(ad.campaign.destination, "click_to_whatsapp"),
            **_money_columns(stats, ad.campaign.account.currency, day, rates),
            "platform_conversations": stats.conversations,
        }
        total = rest[account, day]
        total.spend -= stats.spend
        total.impressions -= stats.impressions
        total.clicks -= stats.clicks
    for (account, day), total in rest.items():
        if total.spend:
            currency = state.accounts[account].currency
            rows[account, day, "unallocated", "unallocated"] = {
                "platform": "meta",
                "campaign_id": None,
                "adset_id": None,
                "channel": "meta_unallocated",
                **_money_columns(total, currency, day, rates),
                "platform_conversations": 0,
            }
    return rows | _google_rows(world.google, rates)


def _google_rows(state: GoogleState, rates: Rates) -> Rows:
    """What Google shows of ads, of ad groups and campaigns beyond their ads, and of no campaign."""
    rows: Rows = {}

    def add(account: str, day: date, name: str, kind: str, stats: Stats, **place: Any) -> None:
        if kind != "ad" and not (stats.spend or stats.impressions or stats.clicks):
            return
        rows[account, day, name, kind] = {
            "platform": "google",
            "campaign_id": None,
            "adset_id": None,
            "channel": "paid_search",
            **_money_columns(stats, state.customers[account].currency, day, rates),
            "platform_conversations": 0,
            **place,
        }

    for (account, day, ad_id), stats in state.spend.items():
        ad = state.ads[ad_id]
        if stats.spend or stats.impressions or stats.clicks:
            place = {"campaign_id": ad.campaign_id, "adset_id": ad.ad_group_id}
            add(account, day, ad_id, "ad", stats, **place)
    for (account, day, group), stats in state.ad_group_spend.items():
        place = {"campaign_id": state.ad_groups[group].campaign_id, "adset_id": group}
        add(account, day, f"ad_group:{group}", "ad_group", stats, **place)
    for (account, day, campaign), stats in state.campaign_spend.items():
        add(account, day, f"campaign:{campaign}", "campaign", stats, campaign_id=campaign)
    for (account, day), spend in state.extra_spend.items():
        if spend:
            place = {"channel": "google_unallocated"}
            add(account, day, "unallocated", "unallocated", Stats(spend), **place)
    return rows


def _told(state: AdsState) -> list[AdDay]:
    """Account days and ads whose spend is known by ad.

    Deleted ads are read by their own id (a story has a lead of each), as far as the account's
    total is more than what its other ads spent: a credit of that day can leave no room.
    """
    deleted = {i for i, ad in state.ads.items() if ad.effective_status == "DELETED"}
    told = [key for key in state.spend if key[2] not in deleted]
    rest = {
        (account, day): total.spend
        for account in state.accounts
        for day, total in state.account_days(account, date.min, date.max).items()
    }
    for account, day, ad_id in told:
        rest[account, day] -= state.spend[account, day, ad_id].spend
    for key in sorted(k for k in state.spend if k[2] in deleted):
        if 0 < state.spend[key].spend <= rest[key[:2]]:
            rest[key[:2]] -= state.spend[key].spend
            told.append(key)
    return told


def _money_columns(stats: DailyStats | Stats, currency: str, day: date, rates: Rates) -> Row:
    return {
        "currency": currency,
        "spend": stats.spend,
        "spend_reporting": rates.convert(stats.spend, currency, day),
        "impressions": stats.impressions,
        "clicks": stats.clicks,
    }


def _account_days(world: World) -> Rows:
    state = world.ads
    rows: Rows = {}
    shown: dict[tuple[str, date], Decimal] = defaultdict(Decimal)
    for account, day, ad_id in _told(state):
        shown[account, day] += state.spend[account, day, ad_id].spend
    for account in world.account_ids:
        for day, total in state.account_days(account, date.min, date.max).items():
            if total.spend or shown[account, day]:
                rows[account, day] = {
                    "currency": state.accounts[account].currency,
                    "account_spend": total.spend,
                    "ads_spend": shown[account, day],
                    "campaign_level_spend": Decimal(0),
                    "unallocated": total.spend - shown[account, day],
                }
    return rows | _google_days(world.google)


def _google_days(state: GoogleState) -> Rows:
    days: dict[tuple[str, date], list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 3)
    parts = (state.spend, state.ad_group_spend, state.campaign_spend)
    for place, table in zip((0, 1, 1), parts, strict=True):
        for (account, day, _), stats in table.items():
            days[account, day][place] += stats.spend
    for key, spend in state.extra_spend.items():
        days[key][2] += spend
    return {
        (account, day): {
            "currency": state.customers[account].currency,
            "account_spend": sum(found, Decimal(0)),
            "ads_spend": found[0],
            "campaign_level_spend": found[1],
            "unallocated": found[2],
        }
        for (account, day), found in days.items()
        if sum(found) or found[0]
    }
