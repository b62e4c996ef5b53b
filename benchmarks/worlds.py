"""Data folders to measure on: vaults full of envelopes, lakes full of spend."""

from __future__ import annotations

import time
from datetime import date, timedelta

import duckdb
import pyarrow as pa

from benchmarks.bodies import People, bodies
from ctwa.settings import Settings, load_settings

TODAY = date(2026, 11, 20)
"""The day of every measured refresh, so that runs can be compared."""

ACCOUNTS = 4
YEARS_DAYS = 730
ADS, AD_DAYS, ADS_OF_CAMPAIGN = 5_000, 240, 25
RESTATED_DAYS = 28
"""Meta corrects figures for so long."""


def settings_of(data_dir: str) -> Settings:
    """Settings on a folder, all sources off, whatever `.env` says."""
    return load_settings(_env_file=None, data_dir=data_dir, pii_key="0123456789abcdef" * 4)


def fill_vault(
    data_dir: str,
    count: int,
    *,
    days: int = 30,
    age: int = 0,
    seed: int = 1,
    people: tuple[int, int] | None = None,
    junk: float = 0.0,
) -> int:
    """Put `count` synthetic bodies into the vault, as the receiver would have.

    They are of the `days` that ended `age` days ago; `people`: how many, and the first of them;
    `junk`: share of the messages that all show one id beside their number.
    """
    from ingestion.vault import open_vault
    from ingestion.vault.vault import NewEnvelope

    settings = settings_of(data_dir)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    vault = open_vault(settings.vault_url)
    received = int(time.mktime(TODAY.timetuple())) * 1_000_000
    who = People(*people) if people else None
    batch: list[NewEnvelope] = []
    first_day = TODAY - timedelta(days=days + age)
    for body in bodies(count, first_day=first_day, days=days, seed=seed, people=who, junk=junk):
        batch.append(NewEnvelope(received, "whatsapp", body))
        if len(batch) == 5000:
            vault.append(batch)
            batch = []
    if batch:
        vault.append(batch)
    vault.close()
    return count


def fill_spend(
    data_dir: str, ads: int = ADS, days: int = AD_DAYS, of_campaign: int = ADS_OF_CAMPAIGN
) -> int:
    """Land metadata and spend of `ads` ads with `days` days each within two years, `of_campaign` of
    them in a campaign; the ad days.

    The rows of one complete read on the morning of `TODAY`, straight into the lake: what is
    measured begins behind the API.
    """
    return _land(
        data_dir,
        _OBJECTS | _SPEND,
        read_no=1,
        ads=ads,
        days=days,
        since_days=YEARS_DAYS,
        of_campaign=of_campaign,
    )


def restate_spend(data_dir: str, ads: int = ADS, days: int = AD_DAYS) -> int:
    """Land another read of the last 28 days in which every amount is a cent higher."""
    return _land(data_dir, _SPEND, read_no=2, ads=ads, days=days, since_days=RESTATED_DAYS)


def _land(data_dir: str, queries: dict[str, str], **world: int) -> int:
    from ingestion.ads.schema import META_ADS
    from ingestion.lake.lake import Lake

    settings = settings_of(data_dir)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    tables = _tables(queries, **world)
    lake = Lake.from_settings(settings)
    lake.ensure("meta_ads", META_ADS)
    lake.load("meta_ads", [tables], META_ADS)
    return tables["spend_rows"].num_rows


def _tables(
    queries: dict[str, str],
    *,
    read_no: int,
    ads: int,
    days: int,
    since_days: int,
    of_campaign: int = ADS_OF_CAMPAIGN,
) -> dict[str, pa.Table]:
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute(
            f"create table ad as select n, 120200000000000000 + n as ad_id, "
            f"n // 5 as adset, n // {of_campaign} as campaign, "
            f"n // {of_campaign} % {ACCOUNTS} as account, "
            # Each ad runs for its days without a break, somewhere within the two years.
            f"date '{TODAY}' - {YEARS_DAYS} + cast(n * 7919 % {YEARS_DAYS - days + 1} as integer) "
            f"as first_day from range({ads}) as r (n)"
        )
        connection.execute(
            f"create table ad_day as select ad.*, first_day + cast(d as integer) as day, "
            # 5 to 105 a day; restated: a cent more.
            f"cast(5 + n * 31 % 10000 / 100.0 + {read_no - 1} / 100.0 as decimal(20, 6)) as spend "
            f"from ad, range({days}) as r (d) "
            f"where first_day + cast(d as integer) >= date '{TODAY}' - {since_days}"
        )
        read = (
            f"'meta' as platform, {read_no} as read_no, "
            f"timestamptz '{TODAY} 05:00:00+00' + interval {read_no} minute as read_at"
        )
        place = f"date '{TODAY}' - {since_days} as since_date, date '{TODAY}' - 1 as until_date"
        return {
            table: connection.sql(
                sql.format(read=read, place=place, accounts=ACCOUNTS)
            ).to_arrow_table()
            for table, sql in queries.items()
        }


_OBJECTS = {
    "accounts": """
        select {read}, cast(1010035716096000 + a as varchar) as account_id,
            'Account ' || a as account_name, 'BRL' as currency, 'America/Sao_Paulo' as timezone,
            '1' as account_status
        from range({accounts}) as r (a)""",
    "campaigns": """
        select distinct {read}, cast(120210000000000000 + campaign as varchar) as campaign_id,
            cast(1010035716096000 + account as varchar) as account_id,
            'Campaign ' || campaign as campaign_name, 'OUTCOME_ENGAGEMENT' as objective,
            'ACTIVE' as status, 'ACTIVE' as effective_status
        from ad""",
    "adsets": """
        select distinct {read}, cast(120220000000000000 + adset as varchar) as adset_id,
            cast(1010035716096000 + account as varchar) as account_id,
            cast(120210000000000000 + campaign as varchar) as campaign_id,
            'Ad set ' || adset as adset_name, 'ACTIVE' as status, 'ACTIVE' as effective_status,
            'WHATSAPP' as destination_type
        from ad""",
    "ads": """
        select {read}, cast(ad_id as varchar) as ad_id,
            cast(1010035716096000 + account as varchar) as account_id,
            cast(120210000000000000 + campaign as varchar) as campaign_id,
            cast(120220000000000000 + adset as varchar) as adset_id,
            'Ad ' || n as ad_name, 'ACTIVE' as status, 'ACTIVE' as effective_status
        from ad""",
}
_SPEND = {
    "spend_rows": """
        select {read}, cast(1010035716096000 + account as varchar) as account_id,
            day as spend_date, 'ad' as spend_level, cast(ad_id as varchar) as ad_id,
            'Ad ' || n as ad_name, cast(120220000000000000 + adset as varchar) as adset_id,
            'Ad set ' || adset as adset_name,
            cast(120210000000000000 + campaign as varchar) as campaign_id,
            'Campaign ' || campaign as campaign_name, 'BRL' as currency, spend,
            1000 + n as impressions, 900 + n as reach, 20 as clicks, 15 as inline_link_clicks,
            5 as platform_conversations
        from ad_day""",
    "spend_days": """
        select {read}, cast(1010035716096000 + account as varchar) as account_id,
            day as spend_date, 'BRL' as currency, cast(sum(spend) as decimal(20, 6))
            as account_spend, cast(sum(1000 + n) as bigint) as account_impressions,
            20 * count(*) as account_clicks, count(*) as ad_rows,
            md5(concat(account, day, sum(spend))) as content_hash
        from ad_day
        group by account, day""",
    "spend_reads": """
        select {read}, cast(1010035716096000 + a as varchar) as account_id, {place}
        from range({accounts}) as r (a)""",
}
