"""The report in a real browser: its numbers are the marts', and everybody can use it."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from ctwa.settings import Settings, load_settings
from publishing.marts import publish_marts
from publishing.report import thumbnails
from publishing.report.page import write_report
from simulator.world import build_world
from tests.browser.conftest import _FLAGS, CHROMIUM
from tests.browser.report_reader import ALL_PAGES, PAGES, reading
from tests.dbt.test_google import CUSTOMER, Google
from tests.dbt.test_unread_spend import MONDAY, advertise, chats
from tests.publishing.test_thumbnails import picture
from tests.support.meta import BR, US, Meta
from tests.support.people import Inbox
from tests.support.report import AS_OF, write_many, write_marts
from tests.support.warehouse import DbtWorld
from tests.support.worlds import playing

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser

HOSTILE = "</script><img src=x onerror=alert(1)><b>bold</b> \"'&\u2028"
LONG = "Campanha_de_inverno_" * 8
OPEN_ALL = "document.querySelectorAll('main details').forEach(one => one.open = true)"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    assert CHROMIUM.exists(), "install Debian's package chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The company of `ctwa demo --nasty`: its marts, with an alarm that stands, and the report."""
    root = tmp_path_factory.mktemp("demo")
    with playing(root, build_world(7, leads=400)) as run:
        run.whole()
        publish_marts(run.settings, as_of=run.world.today)
        with duckdb.connect(str(run.settings.marts_path)) as marts:
            marts.execute(
                "update marts.health_alarms set status = 'warn', since = as_of - 6, "
                "measured = 0.123, mend = 'Look in Ads Manager for boosted posts' "
                "where alarm = 'unallocated_spend'"
            )
        write_report(run.settings)
        return run.settings


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A company by hand: names that want to be more than names, verdicts, events, many ads."""
    settings = load_settings(_env_file=None, data_dir=tmp_path_factory.mktemp("company"))
    write_many(settings.marts_path, days=150, ads=60)
    with duckdb.connect(str(settings.marts_path)) as marts:
        marts.execute("update marts.dim_campaigns set campaign_name = ? where campaign_id = 'c1'",
                      [HOSTILE])  # fmt: skip
        marts.execute("update marts.dim_campaigns set campaign_name = ? where campaign_id = 'c2'",
                      [LONG])  # fmt: skip
        marts.execute("update marts.dim_ads set headline = ? where ad_id = 'ad1'", [HOSTILE])
        marts.execute(
            "insert into marts.dim_accounts (platform, account_id, account_name, currency, "
            "spend_complete_through) "
            "values ('meta', 'a0', ?, 'BRL', ?), ('meta', 'a1', ?, 'USD', ?)",
            [HOSTILE, AS_OF, "Second", AS_OF],
        )
        marts.execute(
            "insert into marts.spend_reconciliation select platform, account_id, spend_date, "
            "sum(spend_reporting) + 1, sum(spend_reporting), 0, 1 from marts.fct_ad_spend "
            "group by all"
        )
        marts.execute(
            "insert into marts.attribution_health (report_date, conversations, resolved, "
            "pending, ad_suspected, direct) "
            "select distinct spend_date, 9, 5, 1, 1, 2 from marts.fct_ad_spend"
        )
    add_verdicts(settings.marts_path)
    write_report(settings)
    return settings


def add_verdicts(path: Path) -> None:
    """Tables of verdicts beside those that are there."""
    beside = path.with_name("beside") / "marts.duckdb"
    write_marts(beside, creative_board=[
        {"platform": "meta", "ad_id": f"ad{i}", "window_days": 90, "leads": 40,
         "qualified_leads": 12, "shrunk_qualified_rate": "0.3", "qualified_rate_low": "0.2",
         "qualified_rate_high": "0.45",
         "verdict": ("scale", "hold", "cut", "not_enough_data")[i % 4], "currency": "BRL",
         "account_id": "a0", "spend": "900", "peer_cost_per_qualified_lead": "30"}
        for i in range(20)
    ], budget_shift=[
        {"platform": "meta", "account_id": "a0", "currency": "BRL", "from_ad_id": "ad2",
         "from_ad_name": HOSTILE, "to_ad_id": "ad0", "to_ad_name": "Ad 0", "window_days": 90,
         "pair_number": 1, "suggested_daily_amount": "42.50", "expected_weekly_gain": "2.4",
         "expected_weekly_gain_low": "0.4", "expected_weekly_gain_high": "4.1"}
    ], conversion_events=[
        {"event_name": "Purchase", "status": status, "reason": reason,
         "occurred_at": "2026-06-20 10:00:00+00"}
        for status, reason in (("sent", None), ("sent", None), ("skipped", "no_value"))
    ])  # fmt: skip
    with duckdb.connect(str(path)) as marts:
        marts.execute(f"attach '{beside}' as beside (read_only)")
        for table in ("creative_board", "budget_shift", "conversion_events"):
            marts.execute(f"create table marts.{table} as from beside.{table}")


def url_of(settings: Settings) -> str:
    return settings.marts_path.with_name("report.html").as_uri()


def asked(settings: Settings, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """Rows of the marts; amounts as floats, as a browser has them."""
    with duckdb.connect(str(settings.marts_path), read_only=True) as marts:
        rows = marts.execute(query, values).fetchall()
    return [tuple(float(v) if not isinstance(v, str | date | None) else v for v in r) for r in rows]


TOTALS = """
select sum(spend_reporting), sum(leads), sum(qualified_leads),
    sum(spend_reporting) / nullif(sum(leads), 0),
    sum(spend_reporting) / nullif(sum(qualified_leads), 0)
from marts.channel_performance where report_date between ? and ?
"""


def test_the_report_of_the_demo_says_what_its_marts_say(demo: Settings, chromium: Browser) -> None:
    (first, last), = asked(demo, "select min(report_date), max(report_date) from "
                           "marts.channel_performance")  # fmt: skip
    view = {"from": first.isoformat(), "to": last.isoformat()}
    with reading(chromium, url_of(demo)) as reader:
        for name in ALL_PAGES:
            reader.show(name, **view)
        reader.show("overview", **view)
        assert reader.tiles() == pytest.approx(asked(demo, TOTALS, first, last)[0])
        by_channel = asked(demo, CHANNELS)
        assert figures(reader.rows("channels")) == near(row[1:] for row in by_channel)
        reader.show("creatives", **view)
        ads = asked(demo, grouped_sql("ad_performance", "ad_id"))
        shown = reader.rows("creatives")
        unpaid = [row for row in shown if row["name"] == "No campaign"]
        assert figures([row for row in shown if row not in unpaid]) == near(row[2:] for row in ads)
        assert len(unpaid) == 1
        verdicts = asked(demo, VERDICTS)
        assert verdicts
        assert {name: reader.page.locator(f".verdict.{name}").count() for name, _ in verdicts} == (
            dict(verdicts)
        )
        reader.show("campaigns", **view)
        told = {row["name"]: (row["spend"], row["leads"], row["qualified"])
                for row in named(reader.rows("campaigns"))}  # fmt: skip
        expected = asked(demo, CAMPAIGNS)
        assert told.keys() - {"No campaign"} == {row[0] for row in expected}
        for name, *sums in expected:
            assert told[name] == pytest.approx(tuple(sums)), name
        # The total of every page is that of the overview.
        whole = asked(demo, TOTALS, first, last)[0]
        for page, table in (("campaigns", "campaigns"), ("creatives", "creatives"),
                            ("overview", "channels")):  # fmt: skip
            reader.show(page, **view)
            (total,) = reader.rows(table, "tfoot")
            told = (total["spend"], total["leads"], total["qualified"], total["cpl"], total["cpql"])
            assert told == pytest.approx(whole), page
            if page != "creatives":
                # Leads without a chat, of web forms, are not answered at once.
                ((median,),) = asked(demo, ANSWERED)
                assert total["answered"] == median > 60, page


def near(rows: Iterable[tuple[float, ...]]) -> list[Any]:
    return [pytest.approx(row) for row in sorted(rows)]


def figures(rows: list[dict[str, Any]]) -> list[tuple[float, ...]]:
    # What nobody can read the spend of shows a dash.
    return sorted((row["spend"] or 0, row["leads"], row["qualified"]) for row in rows)


def grouped_sql(mart: str, key: str) -> str:
    return (
        f"select platform, {key}, coalesce(sum(spend_reporting), 0), sum(leads), "
        "sum(qualified_leads) "
        f"from marts.{mart} group by all "
        "having sum(leads) > 0 or sum(spend_reporting) > 0 or sum(impressions) > 0"
    )


def named(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of one name as one: accounts may have campaigns of the same name."""
    made: dict[str, dict[str, Any]] = {}
    for row in rows:
        one = made.setdefault(row["name"], {"name": row["name"], "spend": 0, "leads": 0,
                                            "qualified": 0})  # fmt: skip
        for measure in ("spend", "leads", "qualified"):
            one[measure] += row[measure] or 0
    return list(made.values())


CHANNELS = """
select channel, sum(spend_reporting), sum(leads), sum(qualified_leads)
from marts.channel_performance group by channel
"""
VERDICTS = """
select verdict, count(*) from marts.creative_board
where window_days = 90 and (platform, ad_id) in (
    select (platform, ad_id) from marts.ad_performance
    where leads > 0 or spend_reporting > 0 or impressions > 0
)
group by verdict
"""
ANSWERED = "select median(first_response_seconds) from marts.fct_leads where not is_excluded"
HEALTH = """
select sum(pending), sum(ad_suspected), sum(unmatched_outcomes),
    sum(resolved) / sum(resolved + pending + "foreign" + gone + ad_suspected)
from marts.attribution_health
where report_date between (select min(report_date) from marts.channel_performance)
    and (select as_of from marts.publication)
"""
CAMPAIGNS = """
select
    case when campaign_id = 'unresolved' then platform_name || ': campaign not known'
        when campaign_id like 'unallocated:%' then platform_name || ': spend under no campaign'
        else campaign_name end as name,
    coalesce(sum(spend_reporting), 0), sum(leads), sum(qualified_leads)
from (
    select *, case platform when 'meta' then 'Meta' when 'google' then 'Google'
        when 'microsoft' then 'Microsoft' else platform end
        as platform_name
    from marts.campaign_performance
)
group by 1 having sum(leads) > 0 or sum(spend_reporting) > 0 or sum(impressions) > 0
"""


def test_cohorts_and_health_of_the_demo_are_those_of_the_marts(
    demo: Settings, chromium: Browser
) -> None:
    with reading(chromium, url_of(demo)) as reader:
        reader.show("cohorts", period="all", grain="month")
        told = [[row[f"rate_{age}"] for age in ("7", "30", "ever")] for row in cohort_rows(reader)]
        expected = asked(
            demo,
            "select sum(qualified_leads_7d) / sum(leads), sum(qualified_leads_30d) / sum(leads), "
            "sum(qualified_leads) / sum(leads) from marts.channel_performance "
            "group by date_trunc('month', report_date) having sum(leads) > 0 "
            "order by date_trunc('month', report_date)",
        )
        assert told == [pytest.approx(list(row)) for row in expected]
        young = reader.page.locator("#table-cohorts tbody tr").last.locator(".immature")
        assert young.count() == 4
        assert "still growing" in young.first.inner_text()
        reader.show("health", period="all")
        (counts,) = asked(demo, HEALTH)
        shown = [float(reader.page.get_attribute(f"[data-figure={n}]", "value") or "nan")
                 for n in ("pending", "suspected", "unmatched", "match_rate")]  # fmt: skip
        assert shown == pytest.approx(list(counts))
        billed = asked(demo, "select sum(account_spend), sum(unallocated) from "
                       "marts.spend_reconciliation where account_id <> 'unknown' "
                       "group by platform, account_id")  # fmt: skip
        rows = reader.rows("reconciliation")
        assert sorted((row["billed"], row["unallocated"]) for row in rows) == near(billed)


def cohort_rows(reader: Any) -> list[dict[str, Any]]:
    return [row for row in reader.rows("cohorts") if row["leads"] > 0]


def test_filters_change_every_number(company: Settings, chromium: Browser) -> None:
    first, last = AS_OF - timedelta(30), AS_OF - timedelta(1)
    with reading(chromium, url_of(company)) as reader:
        whole = reader.tiles()
        assert whole == pytest.approx(asked(company, TOTALS, first, last)[0])  # last 30 days

        reader.page.click("#filter-channel summary")
        reader.page.check("#filter-channel input[value=meta_web]")
        web = TOTALS + " and channel = 'meta_web'"
        assert reader.tiles() == pytest.approx(asked(company, web, first, last)[0])
        assert reader.tiles() != whole
        assert [row["name"] for row in reader.rows("channels")] == ["Meta ads to the site"]

        reader.page.fill("#filter-from", (last - timedelta(9)).isoformat())
        assert reader.tiles() == pytest.approx(asked(company, web, last - timedelta(9), last)[0])
        assert reader.page.input_value("#filter-period") == "custom"

        reader.page.click("#filter-channel summary")
        reader.page.click("#filter-channel button")
        reader.page.select_option("#filter-period", "90d")
        reader.page.click("#filter-account summary")
        reader.page.check("#filter-account input[value='meta:a1']")
        (expected,) = asked(company, "select sum(spend_reporting) from marts.fct_ad_spend "
                            "where account_id = 'a1' and spend_date >= ?",
                            AS_OF - timedelta(90))  # fmt: skip
        assert reader.tile("spend") == pytest.approx(expected[0])
        said = reader.page.text_content("#announcement") or ""
        assert "Second" in said
        reader.page.reload()  # the address knows it all
        assert reader.tile("spend") == pytest.approx(expected[0])
        reader.page.click("#filter-account summary")
        assert reader.page.is_checked("#filter-account input[value='meta:a1']")


def test_a_window_counts_only_days_that_are_old_enough(
    company: Settings, chromium: Browser
) -> None:
    ripe = AS_OF - timedelta(30)
    (spend, leads, good), = asked(
        company,
        "select (select sum(spend_reporting) from marts.fct_ad_spend where spend_date < $1), "
        "count(*), count(*) filter (is_qualified_30d) from marts.fct_leads "
        "where first_touch_date < $1",
        ripe,
    )  # fmt: skip
    with reading(chromium, url_of(company)) as reader:
        reader.show("overview", period="all", within="30")
        # Every figure covers the same days, so that one divided by another gives the third.
        assert reader.tiles() == pytest.approx((spend, leads, good, spend / leads, spend / good))
        assert "later leads have not yet had 30 days" in reader.page.inner_text(".page .notice")
        (total,) = reader.rows("channels", "tfoot")
        assert total["rate"] == pytest.approx(good / leads)
        # All of the last 30 days is too young: not known, which is not 0.
        reader.show("overview", within="30")
        assert reader.tiles() == (None,) * 5
        assert reader.page.text_content("#tile-cpql .big") == "–"
        assert "No day of this period" in reader.page.inner_text(".page .notice")


EQUAL_AGE = """
select
    (select sum(spend_reporting) from marts.fct_ad_spend where spend_date between $1 and $2)
    / count(*) filter (
        is_qualified and qualified_at - first_touch_at
        <= ($3::date - 1 - first_touch_date) * interval 1 day
    )
from marts.fct_leads where first_touch_date between $1 and $2
"""


def test_e162_the_period_before_is_compared_at_equal_age(
    company: Settings, chromium: Browser
) -> None:
    last = AS_OF - timedelta(1)
    ((now,),) = asked(company, EQUAL_AGE, last - timedelta(6), last, AS_OF)
    ((then,),) = asked(
        company, EQUAL_AGE, last - timedelta(13), last - timedelta(7), AS_OF - timedelta(7)
    )
    (whole,) = asked(company, TOTALS, last - timedelta(13), last - timedelta(7))
    assert then > whole[4] * 1.2  # as it stands today, the period before has had a week more
    with reading(chromium, url_of(company)) as reader:
        reader.show("overview", period="7d")
        text = reader.page.text_content("#tile-cpql .against") or ""
        assert f"{abs(now / then - 1) * 100:.0f}%" in text
        assert ("up" if now > then else "down") in text
        assert f"R${then:,.2f}" in text
        reader.show("overview", period="all")
        assert "no period before" in (reader.page.text_content("#tile-cpql .against") or "")
        # A year ago is further than these marts go back.
        reader.show("overview", period="7d", against="year")
        assert "no period before" in (reader.page.text_content("#tile-cpql .against") or "")


def test_e162_a_change_on_few_leads_is_grey_and_says_so(
    company: Settings, chromium: Browser
) -> None:
    with reading(chromium, url_of(company)) as reader:
        reader.show("campaigns", period="30d")
        tags = reader.page.locator("#table-campaigns tbody .change:not(.none)")
        assert tags.count() > 10
        few = reader.page.locator("#table-campaigns tbody .change.few")
        assert few.count() > 5
        assert "may be chance" in few.first.inner_text()
        assert few.count() < tags.count()
        # What is spent is no matter of chance.
        reader.show("overview", period="30d")
        assert reader.page.locator("#tile-spend .change.flat").count() == 1


def test_every_number_of_leads_leads_to_exactly_these(
    demo: Settings, company: Settings, chromium: Browser
) -> None:
    with reading(chromium, url_of(demo)) as reader:
        for page, table, view in (
            ("overview", "channels", {}), ("campaigns", "campaigns", {}),
            ("creatives", "creatives", {"within": "14", "period": "90d"}),
            ("funnel", "funnel_accounts", {"period": "90d"}),
        ):  # fmt: skip
            reader.show(page, **view)
            links = reader.page.locator(f"#table-{table} a.drill")
            assert links.count() > 5
            for at in range(0, links.count(), max(1, links.count() // 6)):
                reader.show(page, **view)
                link = links.nth(at)
                value = float(link.locator("data").get_attribute("value") or "nan")
                link.click()
                reader.page.wait_for_selector(".page-leads")
                told = reader.page.get_attribute("#lead-count data", "value")
                assert float(told or "nan") == value, (page, at)
                assert len(reader.rows("leads")) == value
    # What a larger company's file leaves out is said.
    with reading(chromium, url_of(company)) as reader:
        reader.show("leads", period="all")
        told = reader.page.inner_text("#lead-count")
        count = float(reader.page.get_attribute("#lead-count data", "value") or "nan")
        assert f"{count - 3000:,.0f} older ones are not in this file" in told


def test_campaigns_open_their_ad_sets_ads_and_leads(demo: Settings, chromium: Browser) -> None:
    with reading(chromium, url_of(demo)) as reader:
        reader.show("campaigns", period="90d")
        row = reader.page.locator("#table-campaigns tbody tr", has_text="Botox").first
        name = row.locator("a.first")
        leads = float(row.locator("[data-figure=leads]").get_attribute("value") or "nan")
        name.click()
        reader.page.wait_for_selector("#table-adsets tbody a.first")
        assert sum(r["leads"] for r in reader.rows("adsets")) == leads
        reader.page.locator("#table-adsets tbody a.first").first.click()
        reader.page.wait_for_selector(".page-creatives")
        trail = reader.page.locator(".trail li")
        assert trail.count() == 3
        reader.page.locator("#table-creatives tbody a.first").first.click()
        reader.page.wait_for_selector(".page-leads")
        assert trail.count() == 4
        trail.nth(1).locator("a").click()
        reader.page.wait_for_selector("#table-adsets tbody a.first")
        assert sum(r["leads"] for r in reader.rows("adsets")) == leads


def test_the_address_says_how_tables_are_sorted_and_searched(
    company: Settings, chromium: Browser
) -> None:
    with reading(chromium, url_of(company)) as reader:
        reader.show("campaigns", period="90d")
        reader.page.click("#table-campaigns thead th:nth-child(4) button")  # leads, the most first
        reader.page.fill("#search-campaigns", "campaign 1")
        told = reader.rows("campaigns")
        address = reader.page.evaluate("location.hash")
        assert "sort.campaigns=leads-" in address
        with reading(chromium, f"{url_of(company)}") as other:
            other.page.goto(url_of(company) + address)
            other.page.wait_for_selector(".page-campaigns")
            assert other.rows("campaigns") == told
            assert other.page.input_value("#search-campaigns") == "campaign 1"


def test_e163_a_csv_is_the_table_and_no_formula(company: Settings, chromium: Browser) -> None:
    formulas = {"c3": "=cmd|calc!A1", "c5": "\u200b ＝cmd|calc!A1", "c6": "\tTab", "c7": "＋1"}
    with duckdb.connect(str(company.marts_path)) as marts:
        for campaign, name in formulas.items():
            marts.execute("update marts.dim_campaigns set campaign_name = ? where campaign_id = ?",
                          [name, campaign])  # fmt: skip
    write_report(company)
    for locale, name, comma in (("en-US", "raw", False), ("pt-BR", "", True)):
        with reading(chromium, url_of(company), locale=locale, accept_downloads=True) as reader:
            reader.show("campaigns", period="90d")
            rows = reader.rows("campaigns")
            menu = reader.page.locator(".data-table:has(#table-campaigns) .download")
            menu.locator("summary").click()
            with reader.page.expect_download() as waiting:
                menu.locator(".panel button").nth(1 if name else 0).click()
            text = waiting.value.path().read_text(encoding="utf-8-sig")
            told = list(csv.reader(io.StringIO(text), delimiter=";" if comma else ","))
            assert len(told) == len(rows) + 1
            spend = [float(line[3].replace(",", ".")) for line in told[1:]]
            assert spend == pytest.approx([row["spend"] for row in rows])
            marked = {line[0] for line in told[1:] if line[0].startswith("'")}
            assert marked == {f"'{name}" for name in formulas.values()}
            assert all(not line[1][0].isdigit() for line in told[1:])  # ids stay text
            # The numbers beside a chart, and cohorts, which are no list.
            for page, part, count in (
                ("overview", "#chart-cost .alternative", 3),
                ("cohorts", ".card:has(#table-cohorts)", 8),
            ):
                reader.show(page, period="90d", grain="month")
                reader.page.evaluate(OPEN_ALL)
                shown = reader.page.locator(f"{part} tbody tr")
                shown.first.wait_for()
                with reader.page.expect_download() as waiting:
                    reader.page.locator(f"{part} .panel button").nth(1 if name else 0).click()
                text = waiting.value.path().read_text(encoding="utf-8-sig")
                told = list(csv.reader(io.StringIO(text), delimiter=";" if comma else ","))
                assert len(told) == shown.count() + 1
                assert {len(line) for line in told} == {count}


@pytest.mark.parametrize("language", ["en", "es", "pt-BR"])
def test_e161_health_never_says_fine_over_a_standing_alarm(
    demo: Settings, chromium: Browser, language: str
) -> None:
    warned = asked(demo, "select alarm from marts.health_alarms where status = 'warn'")
    assert ("unallocated_spend",) in warned
    ((share,),) = asked(
        demo,
        "select cast(round(100 * measured, 1) as decimal(9, 1))::text from marts.health_alarms "
        "where alarm = 'unallocated_spend' and status = 'warn'",
    )
    with reading(chromium, url_of(demo), locale=language) as reader:
        reader.show("health")
        assert reader.page.locator("#table-alarms tbody tr").count() == 13
        assert reader.page.locator("#table-alarms .state-warn").count() == len(warned)
        text = reader.page.inner_text(".page-health")
        assert reader.page.locator("#trust").is_visible()
        assert reader.page.locator(".tile:has([data-figure=fresh])").get_attribute("class") == (
            "tile state-warn"
        )
        first = reader.page.inner_text("#table-alarms tbody tr:first-child")
        assert share in first.replace(",", ".")
        if language != "en":  # the mart's sentences are English
            assert "Spend that the account" not in text
            assert "Look in Ads Manager" not in text
        rows = reader.rows("reconciliation")
        assert any(row["campaign_level"] for row in rows)
        for row in rows:
            parts = (row["ads"], row["campaign_level"], row["unallocated"])
            assert sum(parts) == pytest.approx(row["billed"], abs=0.001)


def test_e161_where_nothing_was_read_health_says_so(tmp_path: Path, chromium: Browser) -> None:
    settings = load_settings(_env_file=None, data_dir=tmp_path)
    write_marts(settings.marts_path, health_alarms=[{"alarm": "quarantine", "status": "off"}])
    write_report(settings)
    with reading(chromium, url_of(settings)) as reader:
        reader.show("health")
        assert reader.page.locator(".state-fine").count() == 0
        assert "Nothing has been read" in reader.page.inner_text("#trust")


def test_dates_may_be_typed_in_either_order(company: Settings, chromium: Browser) -> None:
    first, last = AS_OF - timedelta(60), AS_OF - timedelta(30)
    with reading(chromium, url_of(company)) as reader:
        reader.page.fill("#filter-to", first.isoformat())  # before the first day that is chosen
        assert reader.page.input_value("#filter-from") == first.isoformat()
        assert reader.page.input_value("#filter-to") == last.isoformat()
        reader.show("overview", **{"from": first, "to": last})
        assert reader.tiles() == pytest.approx(asked(company, TOTALS, first, last)[0])


@pytest.mark.parametrize(("locale", "stop"), [("en-US", "Stop"), ("pt-BR", "Parar"), ("es", "Det")])
def test_monday_forecast_and_answers_are_those_of_the_marts(
    tmp_path: Path, chromium: Browser, locale: str, stop: str
) -> None:
    settings = load_settings(_env_file=None, data_dir=tmp_path)
    write_many(settings.marts_path, days=120, ads=10)
    beside = tmp_path / "beside" / "marts.duckdb"
    write_marts(beside, **advised())
    with duckdb.connect(str(settings.marts_path)) as marts:
        marts.execute(f"attach '{beside}' as beside (read_only)")
        for table in advised():
            marts.execute(f"create table marts.{table} as from beside.{table}")
    write_report(settings)
    with reading(chromium, url_of(settings), locale=locale) as reader:
        lines = reader.page.locator(".monday li")  # it is the first page
        assert lines.count() == 2
        assert reader.page.locator("#restated a").get_attribute("href").startswith("#/health")
        assert stop in lines.nth(0).inner_text()
        assert "80" in lines.nth(0).locator(".because").inner_text()
        assert HOSTILE[:9] in lines.nth(0).inner_text()
        assert "{" not in lines.nth(1).inner_text()  # a code that this page does not know
        lines.nth(0).locator("a.more").click()
        reader.page.wait_for_selector("#table-adsets tbody a.first")
        assert "campaign=meta%3Ac1" in reader.page.evaluate("location.hash")
        reader.show("cohorts", period="90d", grain="week")
        (row,) = reader.rows("forecast")
        assert (row["leads"], row["qualified"], row["expected"], row["cost"]) == (40, 3, 9.5, 210)
        reader.show("cohorts", period="90d", grain="week", campaign=["meta:c1", "meta:c2"])
        assert reader.page.locator("#chart-forecast .empty").is_visible()
        reader.show("answering")
        assert [row["leads"] for row in reader.rows("answer_time")] == [40, 50]
        assert reader.rows("answer_time")[1]["difference"] == -0.06
        for name in ("monday", "cohorts", "answering", "overview"):
            reader.show(name)
            assert reader.complaints() == [], name
        # Marks on the trend: each is a link with its text, and listed under the chart.
        signs = reader.page.locator("#chart-cost a.mark-sign")
        told = reader.page.locator("#chart-cost ol.marks li").all_inner_texts()
        labels = [sign.get_attribute("aria-label") for sign in signs.all()]
        assert labels == [f"{n}: {text}" for n, text in enumerate(told, start=1)]
        assert len(told) == 3  # two days of much, one alarm; the change of 1 in a million is none
        signs.first.focus()
        reader.page.keyboard.press("Enter")
        reader.page.wait_for_selector(".page-health")
        reader.show("monday")
        first, second = reader.rows("targets")
        assert (first["spend_so_far"], first["expected"], first["monthly_budget"]) == (
            800,
            1250,
            1e3,
        )
        assert second["spend_so_far"] is None
        cells = reader.page.locator("#table-targets tbody tr")
        assert "{" not in cells.nth(0).inner_text() + cells.nth(1).inner_text()


def advised() -> dict[str, list[dict[str, Any]]]:
    """What the marts advise and expect, for a company of ads and campaigns c0, c1 ..."""
    values = {"leads": 30, "qualified_leads": 1, "spend": 900.5, "currency": "BRL",
              "cost_low": 400, "cost_high": 2000, "peer_cost": 80}  # fmt: skip
    return {
        "monday": [
            {"rank": 1, "kind": "stop", "what": "campaign", "campaign_name": HOSTILE,
             "campaign_id": "c1", "platform": "meta", "money_at_stake_reporting": "1200",
             "reason_code": "dearer_than_peers", "reason_values": json.dumps(values),
             "evidence": json.dumps({"page": "campaigns", "platform": "meta",
                                     "campaign_id": "c1"})},
            {"rank": 2, "kind": "look_into", "what": "stage", "reason_code": "of_another_version",
             "reason_values": "{}", "evidence": json.dumps({"page": "health"})},
        ],
        "target_pacing": [
            {"campaign_id": "c1", "campaign_name": "A target", "platform": "meta",
             "spend_so_far": "800", "expected_spend": "1250", "monthly_budget": "1000",
             "budget_status": "over", "expected_cost_per_qualified_lead": "90",
             "expected_cost_per_qualified_lead_low": "80", "cost_status": "over",
             "expected_cost_per_qualified_lead_high": "110",
             "target_cost_per_qualified_lead": "60"},
            {"campaign_id": "zzz", "platform": "meta", "problem_code": "unknown_campaign"},
        ],
        "health_alarms": [
            {"alarm": "unallocated_spend", "status": "warn", "since": AS_OF - timedelta(10),
             "measured": "0.3", "expected_high": "0.1"},
            {"alarm": "quarantine", "status": "ok"},
        ],
        "restatements": [
            {"restated_on": AS_OF, "report_date": AS_OF - timedelta(days), "cause": cause,
             "spend_reporting_delta": delta}
            for days, cause, delta in (
                (5, "restated_spend", "-400"), (25, "late_spend", "900"),
                (15, "restated_spend", "0.01"), (12, "late_outcome", "5000"),
            )
        ],
        "cohort_forecast": [
            {"level": "company", "entity_key": "all", "grain": "week", "basis": "own_lag",
             "period_start": AS_OF - timedelta(15), "leads": 40, "qualified_so_far": 3,
             "expected_qualified": "9.5", "expected_qualified_low": "7",
             "expected_qualified_high": "13",
             "expected_cost_per_qualified_lead_reporting": "210"},
        ],
        "answer_performance": [
            {"answer_group": "under_5m", "group_order": 1, "leads": 40, "qualified_leads": 12,
             "qualified_rate": "0.3", "verdict_code": "reference"},
            {"answer_group": "over_24h", "group_order": 4, "leads": 50, "qualified_leads": 9,
             "qualified_rate": "0.18", "verdict_code": "lower", "rate_difference": "-0.06",
             "rate_difference_low": "-0.11", "rate_difference_high": "-0.01"},
        ],
    }  # fmt: skip


@pytest.mark.parametrize("language", ["en-US", "es", "pt-BR"])
def test_a_phone_shows_the_cost_of_a_qualified_lead_at_once(
    company: Settings, chromium: Browser, language: str
) -> None:
    with reading(chromium, url_of(company), locale=language, width=390) as reader:
        box = reader.page.locator("#tile-cpql .big").bounding_box()
        assert box is not None
        assert box["y"] + box["height"] < 844


def test_names_are_text_wherever_they_stand(company: Settings, chromium: Browser) -> None:
    with reading(chromium, url_of(company)) as reader:
        for name in PAGES:
            reader.show(name, period="all")
            reader.page.evaluate(OPEN_ALL)
            assert reader.page.locator("main img, main b").count() == 0
        reader.show("campaigns", period="all")
        names = [row["name"] for row in reader.rows("campaigns")]
        assert HOSTILE in names
        reader.page.fill("#search-campaigns", "campaign 17")
        assert {row["name"] for row in reader.rows("campaigns")} == {"Campaign 17"}
        reader.show("creatives")
        assert "2.4" in reader.page.inner_text("#table-shift")
        reader.show("health")
        assert [r["events"] for r in reader.rows("events")] == [2, 1]


@pytest.mark.parametrize(
    ("locale", "language", "spend"),
    [("pt-PT", "pt-BR", r"R\$\s[\d.]+"), ("es-MX", "es", "BRL|R\\$"), ("fr", "en", r"R\$[\d,]+")],
)
def test_it_speaks_the_readers_language(
    company: Settings, chromium: Browser, locale: str, language: str, spend: str
) -> None:
    import re

    with reading(chromium, url_of(company), locale=locale) as reader:
        assert reader.page.get_attribute("html", "lang") == language
        assert re.search(spend, reader.page.text_content("#tile-spend .big") or "")
        for name in PAGES:
            reader.show(name)
            text = reader.page.inner_text("body")
            assert "undefined" not in text
            assert "NaN" not in text
            assert "[object" not in text
        heading = reader.page.text_content("h1")
        reader.page.focus("#language")
        reader.page.select_option("#language", "es" if language != "es" else "en")
        assert reader.page.text_content("h1") != heading
        assert reader.page.evaluate("document.activeElement.id") == "language"


def test_everything_can_be_done_from_the_keyboard(company: Settings, chromium: Browser) -> None:
    with reading(chromium, url_of(company)) as reader:
        press = reader.page.keyboard.press
        focused = partial(reader.page.evaluate, "document.activeElement.id")
        press("Tab")
        assert reader.page.evaluate("document.activeElement.className") == "skip"
        press("Enter")
        assert focused() == "content"
        reader.page.focus("nav a[data-page=campaigns]")
        press("Enter")
        reader.page.wait_for_selector(".page-campaigns")
        assert focused() == "content"
        assert reader.page.get_attribute("nav a[aria-current=page]", "data-page") == "campaigns"
        reader.page.focus("#filter-channel summary")
        press("Enter")
        press("Tab")
        press("Space")
        assert "channel=" in reader.page.evaluate("location.hash")
        press("Escape")
        assert focused() == "filter-channel-summary"
        assert not reader.page.evaluate("document.getElementById('filter-channel').open")
        first = "#table-campaigns thead th:nth-child(1)"
        reader.page.focus(f"{first} button")
        press("Enter")
        assert reader.page.get_attribute(first, "aria-sort") == "ascending"
        names = [row["name"].lower() for row in reader.rows("campaigns")]
        assert len(names) > 1
        reader.page.focus(f"{first} button")
        press("Enter")
        assert reader.page.get_attribute(first, "aria-sort") == "descending"
        assert "Campaign" in (reader.page.text_content("#announcement") or "")
        reader.page.go_back()
        reader.page.wait_for_selector(".page-overview")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize(
    ("theme", "locale", "of"),
    [("light", "en-US", "company"), ("dark", "es", "demo"), ("dark", "pt-BR", "company")],
)
def test_axe_finds_nothing_to_complain_about(
    request: pytest.FixtureRequest,
    chromium: Browser,
    theme: str,
    locale: str,
    of: str,
    width: int,
) -> None:
    url = url_of(request.getfixturevalue(of))
    with reading(chromium, url, locale=locale, width=width, color_scheme=theme) as reader:
        for name in ALL_PAGES if of == "demo" else PAGES:
            reader.show(name, period="90d")
            reader.page.evaluate(OPEN_ALL)
            assert reader.complaints() == [], name


@pytest.mark.parametrize("width", [320, 390, 768])
def test_nothing_is_wider_than_a_phone(
    company: Settings, demo: Settings, chromium: Browser, width: int
) -> None:
    for settings, language, pages in ((company, "pt-BR", PAGES), (demo, "es", ALL_PAGES)):
        with reading(chromium, url_of(settings), locale=language, width=width) as reader:
            for name in pages:
                reader.show(name, period="all")
                assert reader.overflow() <= 0, name


def test_paper_has_all_rows_and_no_controls(company: Settings, chromium: Browser) -> None:
    with reading(chromium, url_of(company), color_scheme="dark") as reader:
        reader.show("creatives", period="all")
        rows = reader.page.locator("#table-creatives tbody tr")
        assert rows.count() == 25
        reader.page.emulate_media(media="print")
        reader.page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert rows.count() == 60
        for selector in ("nav", ".filters", ".pager"):
            assert not reader.page.is_visible(selector)
        assert reader.page.is_visible("#lead")  # says what was chosen
        ink, paper = (
            reader.page.evaluate(f"getComputedStyle(document.body).{name}")
            for name in ("color", "backgroundColor")
        )
        assert (ink, paper) == ("rgb(23, 33, 29)", "rgb(255, 255, 255)")
        reader.page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert rows.count() == 25
        assert reader.page.get_attribute("html", "data-theme") is None


def test_many_rows_are_small_and_quick(tmp_path: Path, chromium: Browser) -> None:
    """540 days of 200 ads: the size is exact, the time has room for a machine that has others."""
    settings = load_settings(_env_file=None, data_dir=tmp_path)
    write_many(settings.marts_path, days=540, ads=200)
    made = write_report(settings)
    assert made.rows == 108_000
    assert made.bytes < 4_000_000
    with reading(chromium, url_of(settings)) as reader:
        times = []
        for period in ("all", "90d") * 8:
            reader.page.select_option("#filter-period", period)
            times.append(float(reader.page.get_attribute("html", "data-redraw") or "nan"))
        assert min(times) < 150


def test_charts_have_their_numbers_beside_them(company: Settings, chromium: Browser) -> None:
    with reading(chromium, url_of(company)) as reader:
        reader.show("overview", period="90d", grain="month")
        chart = reader.page.locator("#chart-cost")
        label = chart.locator("[role=img]").get_attribute("aria-label") or ""
        assert "lowest" in label
        assert chart.locator("canvas").count() == 1
        chart.locator(".alternative > summary").click()
        # The browser fires `toggle` as a task of its own, after the click has returned.
        chart.locator("tbody tr").nth(2).wait_for()
        assert chart.locator("tbody tr").count() == 3
        drawn = chart.locator("canvas").evaluate(
            "one => new Set(one.getContext('2d').getImageData(0, 0, one.width, one.height).data)"
            ".size"
        )
        assert drawn > 20


def test_pointing_at_a_chart_tells_its_numbers(company: Settings, chromium: Browser) -> None:
    with reading(chromium, url_of(company)) as reader:
        for page, chart in (
            ("overview", "cost"),
            ("overview", "origin"),
            ("campaigns", "shares"),
            ("creatives", "intervals"),
            ("cohorts", "cohorts"),
            ("health", "conversations"),
        ):
            reader.show(page, period="90d")
            canvas = reader.page.locator(f"#chart-{chart} .canvas")
            canvas.hover(position={"x": 300, "y": 120})
            tip = canvas.locator(".tip")
            tip.wait_for(state="visible")
            assert tip.locator("dd").count() > 0
            assert not {"NaN", "[object"} & set(tip.inner_text().split())


def test_on_a_phone_the_menu_shows_where_one_is(company: Settings, chromium: Browser) -> None:
    with reading(chromium, url_of(company), width=390) as reader:
        for name in PAGES:
            reader.show(name)
            link = reader.page.locator("nav a[aria-current=page]")
            box = link.bounding_box()
            assert link.get_attribute("data-page") == name
            assert box is not None
            assert box["x"] >= 0, name
            assert box["x"] + box["width"] <= 390, name


def test_pictures_of_ads_are_in_the_page(
    tmp_path: Path, chromium: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(_env_file=None, data_dir=tmp_path, report_thumbnails=True)
    write_many(settings.marts_path, days=40, ads=6)
    with duckdb.connect(str(settings.marts_path)) as marts:
        marts.execute("update marts.dim_ads set thumbnail_url = ad_id where ad_id <> 'ad3'")
    monkeypatch.setattr(thumbnails, "_body", lambda url: picture(size=(200, 60 + ord(url[-1]))))
    write_report(settings)
    with reading(chromium, url_of(settings)) as reader:
        reader.show("creatives")
        assert (
            reader.page.evaluate(
                "[...document.querySelectorAll('img.thumb')].map(i => i.complete && i.naturalWidth)"
            )
            == [thumbnails.SIDE] * 5
        )
        assert reader.page.locator("span.thumb").count() == 1


def test_on_the_first_of_a_month_the_last_one_is_the_one_that_has_ended(
    tmp_path: Path, chromium: Browser
) -> None:
    settings = load_settings(_env_file=None, data_dir=tmp_path)
    write_many(settings.marts_path, days=70, ads=2)
    with duckdb.connect(str(settings.marts_path)) as marts:
        marts.execute("update marts.publication set as_of = date '2026-07-01'")
    write_report(settings)
    with reading(chromium, url_of(settings)) as reader:
        for period, first, last in (
            ("1d", "2026-06-30", "2026-06-30"), ("month", "2026-07-01", "2026-07-01"),
            ("last_month", "2026-06-01", "2026-06-30"),
            ("last_quarter", "2026-04-01", "2026-06-30"),
        ):  # fmt: skip
            reader.show("overview", period=period)
            told = [reader.page.input_value(f"#filter-{end}") for end in ("from", "to")]
            assert told == [first, last], period


def test_an_address_that_is_typed_wrongly_is_no_other_view(
    company: Settings, chromium: Browser
) -> None:
    """Unknown values are named, and centuries are the days that there are."""
    with reading(chromium, url_of(company)) as reader:
        whole = reader.tiles()
        unknown = reader.page.locator("#unknown")
        assert unknown.is_hidden()
        reader.show("overview", campaign=["meta:c1", "meta:<b>gone"], period="never", grain="eon")
        assert "campaign=meta:<b>gone" in unknown.inner_text()
        assert "meta:c1" not in unknown.inner_text()
        reader.show("overview", **{"from": "0001-01-01", "to": "9999-12-31"})
        assert reader.page.input_value("#filter-to") == AS_OF.isoformat()
        assert reader.tile("spend") > (whole[0] or 0)
        reader.show("overview", **{"from": "1066-10-14", "to": "1492-10-12"})
        assert reader.tile("leads") == 0
        assert unknown.is_hidden()
        reader.page.go_back()
        assert reader.page.input_value("#filter-to") == AS_OF.isoformat()


def test_empty_marts_make_a_page_that_says_so(tmp_path: Path, chromium: Browser) -> None:
    settings = load_settings(_env_file=None, data_dir=tmp_path)
    write_marts(settings.marts_path)
    write_report(settings)
    with reading(chromium, url_of(settings)) as reader:
        for name in PAGES:
            reader.show(name)
        reader.show("overview")
        assert reader.tiles() == (0, 0, 0, None, None)
        assert "No data for this period and selection" in reader.page.inner_text("main")


def test_a_web_server_serves_it_as_it_is(company: Settings, chromium: Browser) -> None:
    folder = company.marts_path.parent
    handler = partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/report.html"
        with reading(chromium, url) as reader:
            assert reader.tile("leads") > 0
            assert [one for one in reader.requests if not one.startswith("data:")] == [url]
        server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def test_what_is_chosen_is_not_kept_in_the_browser(company: Settings, chromium: Browser) -> None:
    with reading(chromium, url_of(company)) as reader:
        reader.page.select_option("#theme", "dark")
        reader.page.select_option("#language", "es")
        assert reader.page.get_attribute("html", "data-theme") == "dark"
        assert reader.page.evaluate("[localStorage.length, document.cookie]") == [0, ""]


@pytest.fixture(scope="module")
def friday(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A company whose token died on Friday at noon; it is Monday."""
    made = DbtWorld(tmp_path_factory.mktemp("friday"), as_of=MONDAY)
    advertise(Meta(made), Google(made))
    Inbox(made).deliver(*chats())
    made.build(tests=False)
    publish_marts(made.settings, as_of=MONDAY)
    write_report(made.settings)
    return made.settings


@pytest.mark.parametrize("size", [(1280, 900), (390, 844)], ids=["desktop", "phone"])
def test_e87_every_page_says_what_was_not_read_and_shows_a_dash(
    friday: Settings, chromium: Browser, size: tuple[int, int]
) -> None:
    page = chromium.new_page(viewport={"width": size[0], "height": size[1]}, locale="en-US")
    try:
        page.goto(url_of(friday))
        assert page.input_value("#filter-to") == "2026-06-25"
        for name in PAGES:
            page.goto(f"{url_of(friday)}#/{name}?from=2026-06-24&to=2026-06-25")
            note = page.locator("#unread").inner_text()
            assert f"({BR}): not read since Jun 26, 2026" in note, name
            assert "Periods therefore end on Jun 25, 2026" in note
        # The failed day of Google is no matter of these; of a period with it, it is.
        assert "could not be read" not in note
        page.goto(f"{url_of(friday)}#/overview?from=2026-06-24&to=2026-06-25")
        assert page.locator("#tile-spend .big").inner_text() == "R$87.00"

        page.goto(f"{url_of(friday)}#/overview?from=2026-06-23&to=2026-06-28")
        note = page.locator("#unread").inner_text()
        assert f"{CUSTOMER}: Jun 23, 2026 could not be read" in note
        assert "show a dash" in note
        for tile in ("spend", "cpl", "cpql"):
            told = page.locator(f"#tile-{tile}")
            assert told.locator(".big").inner_text() == "–", tile
            assert "has not been read" in told.locator(".against").inner_text()
        assert page.locator("#tile-leads .big").inner_text() == "7"

        page.goto(f"{url_of(friday)}#/campaigns?from=2026-06-26&to=2026-06-28")
        rows = page.locator("#table-campaigns tbody tr")
        cells = {r.split("\n")[0].strip(): r.split("\t") for r in rows.all_inner_texts()}
        assert [c.strip() for c in cells["Dead"][1:4]] == ["–", "–", "3"]
        assert [c.strip() for c in cells["Alive"][1:4]] == ["R$9.00", "10", "1"]
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0
    finally:
        page.close()


def test_e87_a_period_of_other_accounts_is_known(friday: Settings, chromium: Browser) -> None:
    page = chromium.new_page(locale="en-US")
    try:
        other = f"account=meta:{US}&from=2026-06-24&to=2026-06-28"
        page.goto(f"{url_of(friday)}#/overview?{other}")
        assert page.locator("#tile-spend .big").inner_text() == "R$16.00"
        assert page.locator("#unread").is_hidden()
    finally:
        page.close()


def test_e87_what_costs_nothing_has_no_price(friday: Settings, chromium: Browser) -> None:
    page = chromium.new_page(locale="en-US")
    try:
        page.goto(f"{url_of(friday)}#/overview?from=2026-06-28&to=2026-06-28&channel=direct")
        assert page.locator("#tile-leads .big").inner_text() == "1"
        assert page.locator("#tile-cpl .big").inner_text() == "–"
    finally:
        page.close()
