"""What has a place of its own in the page: ads and campaigns, as far as there is room for them.

A company may have a hundred thousand ads, with names of hundreds of characters. Those of the latest
half-year come first, by spend. What does not fit is summed up as `others` (ads of a campaign) and
`others:<account>` (campaigns of an account), so that nothing is missing from a sum (rule R12).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import duckdb

REPORT_BYTES = 4_000_000
"""Size of the whole report at most, however long the history and whatever the names."""


@dataclass(frozen=True)
class Room:
    """Bytes for what the page knows of campaigns and of ads: names, ids, verdicts."""

    campaigns: int = 350_000
    ads: int = 950_000


# About what stands beside the names of one: its entities, its row, and with verdicts those of
# each window.
_BESIDE = {"campaigns": 110, "ads": 100}
_VERDICTS = 230
_HALF_YEAR = 182

# Placeholders (`unresolved`, `unallocated:…`, `unknown`) are few and say what is not known.
_CAMPAIGNS = """
create temp table small_campaigns as
with ranked as (
    select
        platform, campaign, (select max(last_day) from found) - max(last_day) as age,
        coalesce(sum(spend), 0) as spend, sum(leads) as leads
    from found
    where platform is not null and campaign is not null and campaign <> 'unresolved'
        and campaign not like 'unallocated:%'
    group by platform, campaign
), sized as (
    select
        ranked.platform, ranked.campaign,
        sum(
            strlen(ranked.campaign) + coalesce(strlen(described.campaign_name), 0) + $beside::bigint
            + case when age < $half::bigint then $verdicts::bigint else 0 end
        ) over (
            order by age // $half::bigint, spend desc, leads desc, ranked.platform, ranked.campaign
            rows unbounded preceding
        ) as taken
    from ranked
    left join marts.dim_campaigns as described
        on ranked.platform = described.platform and ranked.campaign = described.campaign_id
)
select platform, campaign from sized where taken > $room::bigint
"""
_ADS = """
create temp table small_ads as
with ranked as (
    select
        platform, ad, (select max(last_day) from found) - max(last_day) as age,
        coalesce(sum(spend), 0) as spend, sum(leads) as leads,
        bool_and((platform, campaign) in (select (platform, campaign) from small_campaigns))
            as is_of_others
    from found
    where platform is not null and ad is not null and ad <> 'unknown'
        and ad not like 'unallocated:%'
    group by platform, ad
), sized as (
    select
        ranked.platform, ranked.ad, is_of_others,
        sum(
            case when is_of_others then 0 else
                strlen(ranked.ad) + coalesce(strlen(described.ad_name), 0)
                + coalesce(strlen(described.headline), 0)
                + coalesce(strlen(described.adset_name), 0) + $beside::bigint
                + case when age < $half::bigint then $verdicts::bigint else 0 end
            end
        ) over (
            order by age // $half::bigint, spend desc, leads desc, ranked.platform, ranked.ad
            rows unbounded preceding
        ) as taken
    from ranked
    left join marts.dim_ads as described
        on ranked.platform = described.platform and ranked.ad = described.ad_id
)
select platform, ad from sized where is_of_others or taken > $room::bigint
"""
_ADSETS = """
create temp table small_adsets as
select platform, adset_id from marts.dim_ads
where (platform, ad_id) in (select (platform, ad) from small_ads)
except
select platform, adset_id from marts.dim_ads
where (platform, ad_id) not in (select (platform, ad) from small_ads)
"""
_SHOWN = """
create temp view shown as
select
    found.*,
    case when small_campaigns.campaign is null then found.campaign
        else 'others:' || coalesce(account, '') end as shown_campaign,
    case when small_ads.ad is null then found.ad else 'others' end as shown_ad
from found
left join small_campaigns
    on found.platform = small_campaigns.platform and found.campaign = small_campaigns.campaign
left join small_ads on found.platform = small_ads.platform and found.ad = small_ads.ad
"""


def choose(connection: duckdb.DuckDBPyConnection, room: Room) -> dict[str, int]:
    """Make the view `shown` of `found`, with what each campaign and ad is in the page.

    Also the tables `small_campaigns`, `small_adsets` and `small_ads` of those without a place of
    their own; returns how many campaigns and ads these are.
    """
    for query, beside, bytes_ in (
        (_CAMPAIGNS, _BESIDE["campaigns"], room.campaigns),
        (_ADS, _BESIDE["ads"], room.ads),
    ):
        connection.execute(
            query,
            {"beside": beside, "verdicts": _VERDICTS, "half": _HALF_YEAR, "room": bytes_},
        )
    connection.execute(_ADSETS)
    connection.execute(_SHOWN)
    counts: Any = connection.execute(
        "select (select count(*) from small_campaigns), (select count(*) from small_ads)"
    ).fetchone()
    return {"campaigns": counts[0], "ads": counts[1]}
