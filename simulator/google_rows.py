"""Rows of the Google Ads API: camelCase, int64 as text, and absent values left out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from simulator.google_gaql import CallError, Query, query_error
from simulator.google_state import Ad, AdGroup, Campaign, Customer, GoogleState, Stats

Flat = dict[str, Any]
"""A row by dotted names as GAQL writes them."""

CLICK_DAYS = 90
_ANY_DAY = (date.min, date.max)


def rows(
    state: GoogleState, customer_id: str, query: Query, *, omits_zeros: bool
) -> list[dict[str, Any]]:
    """Result rows of a query over one customer. `omits_zeros`: metrics of zero are absent."""
    customer = state.customers[customer_id]
    if query.has_metrics and customer.is_manager:
        raise query_error(
            "REQUESTED_METRICS_FOR_MANAGER", "Metrics cannot be requested for a manager account."
        )
    found = (_of_customer(customer) | row for row in _flat(state, customer_id, query))
    kept = (r for r in found if all(c.holds(r.get(c.field)) for c in query.conditions))
    return [_nested(row, query, omits_zeros) for row in kept]


def _flat(state: GoogleState, customer_id: str, query: Query) -> Iterator[Flat]:
    if query.resource == "customer_client":
        yield from (_client(customer_id, *item) for item in state.below(customer_id))
    elif query.resource == "click_view":
        yield from _clicks(state, customer_id, query)
    elif not query.has_metrics:
        yield from _objects(state, customer_id, query.resource)
    else:
        yield from _days(state, customer_id, query)


def _objects(state: GoogleState, customer_id: str, resource: str) -> Iterator[Flat]:
    if resource == "customer":
        yield {}
    elif resource == "campaign":
        own = [c for c in state.campaigns.values() if c.customer_id == customer_id]
        yield from (_campaign(c) for c in own)
    elif resource == "ad_group":
        groups = [g for g in state.ad_groups.values() if g.customer_id == customer_id]
        yield from (_ad_group(state, g) for g in groups)
    else:
        ads = [a for a in state.ads.values() if a.customer_id == customer_id]
        yield from (_ad(state, a) for a in ads)


def _days(state: GoogleState, customer_id: str, query: Query) -> Iterator[Flat]:
    since, until = query.days() or _ANY_DAY
    span = (customer_id, since, until)
    if query.resource == "customer":
        for day, stats in state.totals(*span).items():
            yield _stats(day, stats)
    elif query.resource == "campaign":
        for (day, key), stats in state.campaign_days(*span).items():
            yield _stats(day, stats) | _campaign(state.campaigns[key])
    elif query.resource == "ad_group":
        for (day, key), stats in state.ad_group_days(*span).items():
            yield _stats(day, stats) | _ad_group(state, state.ad_groups[key])
    else:
        for (day, key), stats in state.ad_days(*span).items():
            yield _stats(day, stats) | _ad(state, state.ads[key])


def _clicks(state: GoogleState, customer_id: str, query: Query) -> Iterator[Flat]:
    day, _ = query.days() or _ANY_DAY
    if day < state.today(customer_id) - timedelta(days=CLICK_DAYS):
        word = {"clickViewError": "DATE_TOO_OLD"}
        raise CallError(400, word, "The requested date is too old.")
    for click in state.clicks:
        if click.customer_id != customer_id or click.day != day:
            continue
        row: Flat = {
            "click_view.resource_name": f"customers/{customer_id}/clickViews/{day}~{click.gclid}",
            "click_view.gclid": click.gclid,
            "click_view.keyword_info.text": click.keyword,
            "segments.date": day.isoformat(),
            "metrics.clicks": 1,
        }
        if click.ad_id is not None:
            row["click_view.ad_group_ad"] = _ad_name(customer_id, click.ad_group_id, click.ad_id)
        if click.campaign_id is not None:
            row |= _campaign(state.campaigns[click.campaign_id])
        if click.ad_group_id is not None:
            row |= _ad_group(state, state.ad_groups[click.ad_group_id])
        yield row


# ---- one value each --------------------------------------------------------------------------


def _of_customer(customer: Customer) -> Flat:
    return {
        "customer.resource_name": f"customers/{customer.customer_id}",
        "customer.id": customer.customer_id,
        "customer.descriptive_name": customer.name,
        "customer.currency_code": customer.currency,
        "customer.time_zone": customer.zone,
        "customer.status": customer.status,
        "customer.manager": customer.is_manager,
    }


def _client(customer_id: str, level: int, client: Customer) -> Flat:
    own = f"customers/{customer_id}/customerClients/{client.customer_id}"
    return {
        "customer_client.resource_name": own,
        "customer_client.client_customer": f"customers/{client.customer_id}",
        "customer_client.id": client.customer_id,
        "customer_client.descriptive_name": client.name,
        "customer_client.currency_code": client.currency,
        "customer_client.time_zone": client.zone,
        "customer_client.status": client.status,
        "customer_client.manager": client.is_manager,
        "customer_client.level": str(level),
    }


def _campaign(campaign: Campaign) -> Flat:
    return {
        "campaign.resource_name": (
            f"customers/{campaign.customer_id}/campaigns/{campaign.campaign_id}"
        ),
        "campaign.id": campaign.campaign_id,
        "campaign.name": campaign.name,
        "campaign.advertising_channel_type": campaign.channel_type,
        "campaign.status": campaign.status,
    }


def _ad_group(state: GoogleState, group: AdGroup) -> Flat:
    return _campaign(state.campaigns[group.campaign_id]) | {
        "ad_group.resource_name": f"customers/{group.customer_id}/adGroups/{group.ad_group_id}",
        "ad_group.id": group.ad_group_id,
        "ad_group.name": group.name,
        "ad_group.type": group.type,
        "ad_group.status": group.status,
    }


def _ad(state: GoogleState, ad: Ad) -> Flat:
    return _ad_group(state, state.ad_groups[ad.ad_group_id]) | {
        "ad_group_ad.resource_name": _ad_name(ad.customer_id, ad.ad_group_id, ad.ad_id),
        "ad_group_ad.ad.resource_name": f"customers/{ad.customer_id}/ads/{ad.ad_id}",
        "ad_group_ad.ad.id": ad.ad_id,
        "ad_group_ad.ad.name": ad.name,
        "ad_group_ad.ad.type": ad.type,
        "ad_group_ad.status": ad.status,
        "ad_group_ad.ad.responsive_search_ad.headlines": _texts(ad.headlines),
        "ad_group_ad.ad.responsive_search_ad.descriptions": _texts(ad.descriptions),
    }


def _ad_name(customer_id: str, ad_group_id: str | None, ad_id: str) -> str:
    return f"customers/{customer_id}/adGroupAds/{ad_group_id}~{ad_id}"


def _texts(texts: tuple[str, ...]) -> list[dict[str, str]] | None:
    return [{"text": text} for text in texts] or None


def _stats(day: date, stats: Stats) -> Flat:
    micros = stats.spend * 1_000_000
    if micros != micros.to_integral_value():
        raise ValueError(f"the spend of {day} is finer than a micro: {stats.spend}")
    return {
        "segments.date": day.isoformat(),
        "metrics.cost_micros": int(Decimal(micros)),
        "metrics.impressions": stats.impressions,
        "metrics.clicks": stats.clicks,
    }


# ---- as JSON ---------------------------------------------------------------------------------


def _nested(row: Flat, query: Query, omits_zeros: bool) -> dict[str, Any]:
    """What was selected, nested; each selected object has its resource name."""
    kinds = [name.partition(".")[0] for name in query.fields]
    names = [f"{kind}.resource_name" for kind in dict.fromkeys([query.resource, *kinds])]
    if any(name.startswith("ad_group_ad.ad.") for name in query.fields):
        names.append("ad_group_ad.ad.resource_name")
    nested: dict[str, Any] = {}
    for name in (*names, *query.fields):
        value = row.get(name)
        if value is None or (omits_zeros and name.startswith("metrics.") and not value):
            continue
        *path, last = (camel(part) for part in name.split("."))
        holder = nested
        for part in path:
            holder = holder.setdefault(part, {})
        is_number = isinstance(value, int) and not isinstance(value, bool)
        holder[last] = str(value) if is_number else value
    return nested


def camel(name: str) -> str:
    """A name as JSON has it: `ad_group` is `adGroup`."""
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)
