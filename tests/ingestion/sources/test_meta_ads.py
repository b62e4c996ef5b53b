"""Meta's objects into the lake: every status, history of names, look-ups by id."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ctwa.settings import Settings
from ingestion.ads.meta import lookups as meta_lookups
from ingestion.ads.meta.errors import GraphTokenError, GraphVersionError
from ingestion.ads.meta.lookups import Earlier, ReaderById, due_lookups, look_up
from ingestion.ads.meta.objects import Objects
from ingestion.lake.lake import Lake
from ingestion.source import SourceIncompleteError
from simulator.ads_faults import Fault, FaultScript
from simulator.ads_state import Account, Ad, AdSet, Campaign, Creative
from tests.support.ads import (
    ADS,
    ADSET,
    BRAZIL,
    CAMPAIGN,
    NOW,
    TOKEN,
    ZEALAND,
    Advertiser,
    advertiser,
)
from tests.support.lake import write_rows

AD1, AD2, AD3 = ADS[BRAZIL]
AGENCY, AGENCY_AD = "3030035716096012", "120226305854899999"


def _names(shop: Advertiser, table: str, key: str, name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in shop.rows(table):
        found.setdefault(row[key], []).append(row[name])
    return found


def _lookups(shop: Advertiser, ad_id: str) -> list[dict[str, Any]]:
    return [r for r in shop.rows("ad_lookups") if r["ad_id"] == ad_id]


def _agency(shop: Advertiser, *, visible: bool) -> None:
    shop.state.add(
        Account(AGENCY, "Agency", currency="EUR", timezone="Europe/Lisbon", visible=visible),
        Campaign("9001", AGENCY, "Their campaign"),
        AdSet("9002", AGENCY, "9001", "Their ad set"),
        Creative("9003", AGENCY, "c", title="Theirs", media_type="video"),
        Ad(AGENCY_AD, AGENCY, "9001", "9002", "Their ad", "9003"),
    )


def test_everything_is_read_with_its_parents_and_creative(shop: Advertiser) -> None:
    counts = shop.objects()
    assert counts.rows == {
        "accounts": 1,
        "campaigns": 1,
        "adsets": 1,
        "ads": 3,
        "creatives": 3,
        "ad_lookups": 0,
    }
    (account,) = shop.rows("accounts")
    assert (account["account_id"], account["currency"]) == (BRAZIL, "BRL")
    assert account["timezone"] == "America/Sao_Paulo"
    ad = shop.rows("ads")[0]
    assert (ad["ad_id"], ad["adset_id"], ad["campaign_id"]) == (
        AD1,
        ADSET[BRAZIL],
        CAMPAIGN[BRAZIL],
    )
    assert ad["created_at"] == datetime(2026, 1, 5, 12, tzinfo=UTC)
    creative = next(r for r in shop.rows("creatives") if r["creative_id"] == ad["creative_id"])
    assert (creative["headline"], creative["body"]) == ("Oferta 0", "Fale connosco")
    assert (creative["media_type"], creative["call_to_action_type"]) == (
        "image",
        "WHATSAPP_MESSAGE",
    )
    assert shop.rows("adsets")[0]["destination_type"] == "WHATSAPP"


def test_a_second_pull_of_the_same_objects_writes_no_row(shop: Advertiser) -> None:
    shop.objects()
    before = shop.counts()
    again = shop.objects()
    assert set(again.rows.values()) == {0}  # although every thumbnail has a new signature
    assert shop.counts() == before


def test_e38_ids_beyond_two_to_the_53_stay_apart(shop: Advertiser) -> None:
    assert float(AD1) == float(AD2)
    shop.objects()
    assert {r["ad_id"] for r in shop.rows("ads")} == {AD1, AD2, AD3}


def test_e36_a_rename_is_a_new_row_and_the_old_name_stays(shop: Advertiser) -> None:
    shop.objects()
    shop.state.update(AD1, name="Ad new")
    shop.state.update(CAMPAIGN[BRAZIL], name="Campanha nova")
    counts = shop.objects()
    assert (counts.rows["ads"], counts.rows["campaigns"], counts.rows["creatives"]) == (1, 1, 0)
    assert _names(shop, "ads", "ad_id", "ad_name")[AD1] == ["Ad 0", "Ad new"]
    assert _names(shop, "campaigns", "campaign_id", "campaign_name") == {
        CAMPAIGN[BRAZIL]: ["Campanha", "Campanha nova"]
    }
    assert [r["read_no"] for r in shop.rows("ads") if r["ad_id"] == AD1] == [1, 2]


def test_small_files_of_many_pulls_become_one_and_no_name_is_lost(
    shop: Advertiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Lake.compact.__kwdefaults__, "max_small_files", 3)
    names = [f"Ad renamed {n}" for n in range(6)]
    for name in names:
        shop.state.update(AD1, name=name)
        shop.objects()
    lake = Lake.from_settings(shop.settings)
    assert len(lake.files("meta_ads", "ads")) <= 4
    assert _names(shop, "ads", "ad_id", "ad_name")[AD1] == names


def test_e43_an_account_that_changes_currency_and_zone_gets_a_new_row(shop: Advertiser) -> None:
    shop.objects()
    account = shop.state.accounts[BRAZIL]
    account.currency, account.timezone = "USD", "America/New_York"
    assert shop.objects().rows["accounts"] == 1
    assert [r["currency"] for r in shop.rows("accounts")] == ["BRL", "USD"]
    assert [r["timezone"] for r in shop.rows("accounts")][-1] == "America/New_York"


def test_e56_ads_that_are_not_click_to_whatsapp_are_kept(shop: Advertiser) -> None:
    shop.state.add(
        Campaign("81", BRAZIL, "Post: boosted", objective="POST_ENGAGEMENT"),
        AdSet("82", BRAZIL, "81", "Boost", destination_type=None, optimization_goal="REACH"),
        Ad("83", BRAZIL, "81", "82", "Boosted post"),
    )
    shop.objects()
    kept = next(r for r in shop.rows("adsets") if r["adset_id"] == "82")
    assert (kept["destination_type"], kept["optimization_goal"]) == (None, "REACH")
    assert next(r for r in shop.rows("ads") if r["ad_id"] == "83")["creative_id"] is None


def test_e50_archived_objects_are_asked_for_explicitly(shop: Advertiser) -> None:
    shop.state.archive(CAMPAIGN[BRAZIL])
    counts = shop.objects()
    assert (counts.rows["campaigns"], counts.rows["adsets"], counts.rows["ads"]) == (1, 1, 3)
    assert {r["effective_status"] for r in shop.rows("ads")} == {"ARCHIVED"}
    assert not [c for c in shop.api.calls if "DELETED" in c]


def test_e32_an_ad_deleted_before_the_first_sync_is_read_by_its_id(shop: Advertiser) -> None:
    shop.state.delete(AD2)
    counts = shop.objects({AD2})
    assert counts.lookups == {"resolved": 1}
    status = {r["ad_id"]: r["effective_status"] for r in shop.rows("ads")}
    assert status == {AD1: "ACTIVE", AD2: "DELETED", AD3: "ACTIVE"}
    shop.objects({AD2})
    assert len(_lookups(shop, AD2)) == 1  # once resolved, never asked again


def test_e32_an_ad_deleted_after_it_was_seen_becomes_deleted_and_stays(shop: Advertiser) -> None:
    shop.objects()
    shop.state.delete(CAMPAIGN[BRAZIL])
    counts = shop.objects()
    assert counts.rows["ads"] == 3
    history = _names(shop, "ads", "ad_id", "effective_status")
    assert history == {ad_id: ["ACTIVE", "DELETED"] for ad_id in ADS[BRAZIL]}
    shop.api.calls.clear()
    assert shop.objects().rows["ads"] == 0
    # Known as deleted: not asked for again.
    assert not [c for c in shop.api.calls if ".id" in c or c.startswith("GET /1")]


def test_e33_an_ad_of_no_list_comes_with_campaign_ad_set_creative_account(
    shop: Advertiser,
) -> None:
    _agency(shop, visible=True)
    shop.objects({AGENCY_AD})
    assert [r["ad_name"] for r in shop.rows("ads") if r["ad_id"] == AGENCY_AD] == ["Their ad"]
    assert "9001" in _names(shop, "campaigns", "campaign_id", "campaign_name")
    assert "9002" in _names(shop, "adsets", "adset_id", "adset_name")
    theirs = next(r for r in shop.rows("creatives") if r["creative_id"] == "9003")
    assert (theirs["headline"], theirs["media_type"]) == ("Theirs", "video")
    account = next(r for r in shop.rows("accounts") if r["account_id"] == AGENCY)
    assert (account["currency"], account["timezone"]) == ("EUR", "Europe/Lisbon")


def test_e34_foreign_and_gone_ads_are_told_apart(shop: Advertiser) -> None:
    _agency(shop, visible=False)
    assert shop.objects({AGENCY_AD, "777"}).lookups == {"foreign": 1, "gone": 1}
    (foreign,), (gone,) = _lookups(shop, AGENCY_AD), _lookups(shop, "777")
    assert (foreign["error_code"], foreign["error_subcode"]) == (100, 33)
    assert (gone["error_code"], gone["error_subcode"]) == (803, None)
    assert shop.objects({AGENCY_AD, "777"}).lookups == {}  # the same night: not asked again


def test_e34_unreadable_ads_are_asked_for_less_and_less_then_left(shop: Advertiser) -> None:
    _agency(shop, visible=False)
    earlier: dict[str, Earlier] = {}
    asked: dict[str, list[int]] = {AGENCY_AD: [], "777": []}
    for day in range(60):
        # Nightly, but some minutes earlier each time.
        now = NOW + timedelta(days=day) - timedelta(minutes=day % 30)
        due = due_lookups(set(asked), earlier, now)
        for row in look_up(ReaderById(shop.client()), due, earlier, now, Objects()):
            asked[row["ad_id"]].append(day)
            earlier[row["ad_id"]] = Earlier(
                row["lookup_status"], row["attempts"], row["next_attempt_at"]
            )
    assert asked == {i: [0, 1, 2, 4, 8, 15, 29] for i in (AGENCY_AD, "777")}
    assert {e.next_attempt_at for e in earlier.values()} == {None}


def test_e34_a_foreign_ad_that_becomes_visible_is_resolved(shop: Advertiser) -> None:
    _agency(shop, visible=False)
    shop.objects({AGENCY_AD})
    shop.state.accounts[AGENCY].visible = True
    shop.now += timedelta(days=1)
    shop.objects({AGENCY_AD})
    assert [r["lookup_status"] for r in _lookups(shop, AGENCY_AD)] == ["foreign", "resolved"]


def _late_ads(shop: Advertiser, count: int, account: str = BRAZIL) -> list[str]:
    """Deleted ads that no list shows; their account is asked in whole pages."""
    ids = [str(10**17 + n) for n in range(count)]
    for ad_id in ids:
        shop.state.add(Ad(ad_id, account, CAMPAIGN[account], ADSET[account], "late"))
        shop.state.delete(ad_id)
    shop.api.page_size = 1000
    return ids


def _asked_by_id(shop: Advertiser) -> tuple[list[str], list[str]]:
    """Calls by a filter on ids, and calls for one object."""
    edges = [c for c in shop.api.calls if '.id"' in c]
    return edges, [c for c in shop.api.calls if c.startswith("GET /1") and "/insights" not in c]


def test_e92_five_hundred_ads_are_looked_up_in_few_calls(both: Advertiser) -> None:
    """Of the last of two accounts: each account's edge is asked, nothing at the root."""
    fresh = _late_ads(both, 500, ZEALAND)
    assert both.objects(set(fresh)).lookups == {"resolved": 500}
    edges, singles = _asked_by_id(both)
    assert (len(edges), singles) == (8, [])
    assert both.api.wrong == []
    assert {r["effective_status"] for r in both.rows("ads") if r["ad_id"] in fresh} == {"DELETED"}


def test_e92_ids_that_no_edge_shows_are_asked_for_one_by_one(shop: Advertiser) -> None:
    fresh = _late_ads(shop, 120)
    shop.state.ads.pop(fresh[60])
    assert shop.objects(set(fresh)).lookups == {"resolved": 119, "gone": 1}
    edges, singles = _asked_by_id(shop)
    assert (len(edges), len(singles)) == (1, 1)


def test_e92_foreign_ids_are_spread_over_nights_oldest_first(
    shop: Advertiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meta_lookups, "MAX_SINGLES", 5)
    _agency(shop, visible=False)
    strangers = [str(10**17 + n) for n in (7, 3, 9, 1, 5, 8, 2, 6)]
    counts = shop.objects(strangers)
    assert (counts.lookups, counts.lookups_waiting) == ({"gone": 5}, 3)
    assert {r["ad_id"] for r in shop.rows("ad_lookups")} == set(strangers[:5])
    shop.now += timedelta(hours=1)  # none is due again: only what waits is asked for
    counts = shop.objects(strangers)
    assert (counts.lookups, counts.lookups_waiting) == ({"gone": 3}, 0)
    assert shop.objects(strangers).lookups == {}


def test_e92_where_edges_tell_no_deleted_ads_each_is_asked_for_by_itself(
    shop: Advertiser,
) -> None:
    shop.api.edges_tell_deleted = False
    fresh = _late_ads(shop, 30)
    assert shop.objects(set(fresh)).lookups == {"resolved": 30}
    edges, singles = _asked_by_id(shop)
    assert (len(edges), len(singles)) == (2, 30)


def test_e92_objects_that_left_the_lists_are_read_by_the_edge(shop: Advertiser) -> None:
    shop.objects()
    shop.state.delete(CAMPAIGN[BRAZIL])
    shop.api.calls.clear()
    shop.objects()
    edges, singles = _asked_by_id(shop)
    assert (len(edges), len(singles)) == (2, 2)  # two ads or more; one campaign, one ad set
    assert {r["effective_status"] for r in shop.rows("ads")} == {"ACTIVE", "DELETED"}


def test_e92_an_ended_version_names_the_setting_and_the_version_to_put(shop: Advertiser) -> None:
    shop.api.ended_versions = frozenset({shop.settings.meta_api_version})
    with pytest.raises(GraphVersionError, match=r"META_API_VERSION.*set META_API_VERSION=v27\.0"):
        shop.objects()
    assert shop.slept == []


# ---- characters that no store takes ----------------------------------------------------------


@pytest.mark.parametrize("name", ["Oferta \ud83d", "\udc4bOferta", "Ofe\x00rta"])
def test_a_damaged_name_costs_the_account_nothing(shop: Advertiser, name: str) -> None:
    shop.state.update(AD1, name=name)
    shop.state.update(CAMPAIGN[BRAZIL], name=name)
    shop.state.creatives[f"{AD1}9"].title = name
    shop.state.accounts[BRAZIL].name = name
    counts = shop.objects()
    assert (counts.rows["ads"], counts.objects_refused, shop.slept) == (3, 0, [])
    names = _names(shop, "ads", "ad_id", "ad_name")
    assert names[AD1] == [name.translate({0xD83D: 0xFFFD, 0xDC4B: 0xFFFD, 0: 0xFFFD})]
    assert names[AD2] == ["Ad 1"]
    assert shop.objects().rows["ads"] == 0  # mended alike each night


@pytest.mark.parametrize(
    "odd", [None, "x", [], {"id": "9", "creative": "x"}, {"id": ["9"]}, {"id": 9.5}, {"name": "x"},
            {"id": "9", "created_time": "yesterday"}, {"id": "9", "account_id": float("nan")}]
)  # fmt: skip
def test_an_object_of_another_kind_is_left_out_alone(shop: Advertiser, odd: object) -> None:
    good = {"id": AD1, "account_id": BRAZIL, "name": 12, "adset_id": 7, "campaign_id": 8}
    body = {"data": [odd, good]}
    shop.api.faults.faults.append(Fault("/ads\\?", kind="body", status=200, body=body))
    assert shop.objects().rows["ads"] == 1
    (row,) = shop.rows("ads")
    assert (row["ad_name"], row["adset_id"]) == ("12", "7")


def test_a_damaged_id_is_left_out_alone(shop: Advertiser) -> None:
    broken = Ad("12022\ud83d", BRAZIL, CAMPAIGN[BRAZIL], ADSET[BRAZIL], "nobody's")
    shop.state.add(broken)
    counts = shop.objects()
    assert (counts.rows["ads"], counts.objects_refused) == (3, 1)
    shop.state.ads.clear()
    shop.state.add(broken)
    with pytest.raises(SourceIncompleteError, match="characters that no id has"):
        shop.objects()  # all of a list: that is no slip


def test_ids_of_referrals_pages_and_insights_are_looked_up_those_of_posts_are_not(
    shop: Advertiser,
) -> None:
    def message(number: int, source_type: str | None, source_id: str) -> dict[str, Any]:
        return {
            "message_key": f"m{number}",
            "has_referral": True,
            "referral_source_type": source_type,
            "referral_source_id": source_id,
        }

    lake = Path(shop.settings.lake_url)
    write_rows(
        lake,
        "event_log",
        "messages",
        [
            message(1, "ad", "501"),
            message(2, None, "502"),
            message(3, "story", "503"),
            message(4, "post", "504"),
            message(5, "ad", AD1),
            message(6, "ad", ""),
            message(7, "ad", "../me"),
        ],
    )
    for table, number in (("web_leads", "506"), ("link_clicks", "507")):
        pages = [("meta", number), ("google", "508"), ("meta", None)]
        rows = [{"ad_platform": platform, "ad_id": ad_id} for platform, ad_id in pages]
        write_rows(lake, "event_log", table, rows)
    write_rows(lake, "meta_ads", "spend_rows", [{"account_id": BRAZIL, "ad_id": "505"}])
    shop.insights()  # sweeps away rows that no complete load wrote
    shop.state.spent(AD3, (NOW - timedelta(days=1)).date(), "1", impressions=1)
    shop.insights()
    shop.state.delete(AD3)
    shop.objects()
    asked = {r["ad_id"]: (r["lookup_status"], r["attempts"]) for r in shop.rows("ad_lookups")}
    assert asked == {
        "501": ("gone", 1),
        "502": ("gone", 1),
        "503": ("gone", 1),
        "506": ("gone", 1),
        "507": ("gone", 1),
        AD3: ("resolved", 1),
        "../me": ("gone", 0),
    }
    assert not [c for c in shop.api.calls if "/me" in c]


# ---- faults ----------------------------------------------------------------------------------


def test_e52_one_failing_account_does_not_stop_the_other(both: Advertiser) -> None:
    both.objects()
    before = both.counts()
    both.state.update(AD1, name="unread")
    both.state.update(ADS[ZEALAND][0], name="read")
    both.api.faults.faults.append(Fault(f"act_{BRAZIL}/ads.*after", code=2, times=9))
    with pytest.raises(SourceIncompleteError, match=BRAZIL) as caught:
        both.objects()
    assert list(caught.value.failures) == [BRAZIL]
    assert both.counts() == before | {"ads": before["ads"] + 1}
    assert _names(both, "ads", "ad_id", "ad_name")[AD1] == ["Ad 0"]


@pytest.mark.parametrize(("code", "subcode"), [(10, None), (200, None), (100, 3191001), (100, 33)])
def test_an_account_without_permission_is_named(
    both: Advertiser, code: int, subcode: int | None
) -> None:
    both.api.faults.faults.append(Fault(rf"act_{BRAZIL}\?", code=code, subcode=subcode))
    with pytest.raises(SourceIncompleteError, match=BRAZIL):
        both.objects()
    assert {r["account_id"] for r in both.rows("ads")} == {ZEALAND}
    assert both.slept == []


def test_a_dead_token_stops_at_once_and_leaves_all_data_alone(both: Advertiser) -> None:
    both.objects()
    before = both.counts()
    both.state.update(AD1, name="unread")
    both.api.calls.clear()
    both.api.faults.faults.append(Fault("/ads.*after", code=190, subcode=460, status=401))
    with pytest.raises(GraphTokenError, match="make a new system user token"):
        both.objects()
    assert sum("/ads?" in c for c in both.api.calls) == 2  # page 1, page 2, and no more
    assert both.slept == []
    assert both.counts() == before


@pytest.mark.parametrize("seed", range(3))
def test_e51_thirty_percent_faults_give_the_same_rows(both: Advertiser, seed: int) -> None:
    both.state.delete(AD2)
    both.api.faults = FaultScript(share=0.3, seed=seed)
    both.objects({AD2})
    assert both.api.faults.struck
    found = both.counts()
    assert (found["ads"], found["campaigns"], found["creatives"]) == (5, 2, 5)
    assert [r["lookup_status"] for r in _lookups(both, AD2)] == ["resolved"]


def test_a_page_that_is_too_much_is_asked_for_in_smaller_ones(shop: Advertiser) -> None:
    message = "Please reduce the amount of data you're asking for, then retry your request"
    shop.api.faults.faults.append(Fault("/ads.*limit=100", code=1, message=message, times=9))
    assert shop.objects().rows["ads"] == 3
    assert [c for c in shop.api.calls if "/ads?" in c and "limit=25" in c]


def test_a_look_up_that_cannot_be_told_is_an_error_and_due_again(shop: Advertiser) -> None:
    shop.state.delete(AD1)
    shop.api.faults.faults.append(Fault(f"GET /{AD1}", code=506, times=1))
    shop.objects({AD1})
    (row,) = _lookups(shop, AD1)
    assert (row["lookup_status"], row["error_code"]) == ("error", 506)
    shop.now += timedelta(days=1)
    shop.objects({AD1})
    assert [r["lookup_status"] for r in _lookups(shop, AD1)] == ["error", "resolved"]


def test_an_api_that_is_down_for_look_ups_fails_them_and_keeps_the_rest(
    shop: Advertiser,
) -> None:
    shop.api.faults.faults.append(Fault(r'\.id"|GET /7', kind="html", status=502, times=99))
    with pytest.raises(SourceIncompleteError, match="look-ups by id"):
        shop.objects({"701", "702", "703", "704"})
    assert len(shop.rows("ads")) == 3


def test_the_token_is_in_no_log_no_error_no_url_and_no_file(
    both: Advertiser, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    both.state.spent(AD1, (NOW - timedelta(days=1)).date(), "1", impressions=1)
    both.api.faults = FaultScript(
        [
            Fault("/ads.*after", kind="cut"),
            Fault("/adsets", kind="html", status=502),
            Fault("level=ad", code=1, message=f"Malformed access token {TOKEN}"),
            Fault(f"level=account.*{BRAZIL}|act_{BRAZIL}/insights", nth=3, code=100,
                  message=f"bad https://graph.facebook.com/x?access_token={TOKEN}&a=1"),
        ]
    )  # fmt: skip
    texts = []
    for run in (both.objects, both.insights):
        try:
            run()
        except SourceIncompleteError as error:
            texts += [str(error), repr(error)]
    both.api.faults = FaultScript([Fault("", code=190, message=f"Malformed access token {TOKEN}")])
    with pytest.raises(GraphTokenError) as caught:
        both.objects()
    texts += [str(caught.value), repr(caught.value.problem)]
    assert "Malformed access token ***" in texts[-2]
    output = capfd.readouterr()
    texts += [caplog.text, output.out, output.err, *both.api.calls]
    assert "no usable answer" in caplog.text  # something was logged
    assert not [t for t in texts if TOKEN in t or TOKEN[3:] in t]
    assert both.api.wrong == []
    files = [p for p in both.settings.data_dir.rglob("*") if p.is_file()]
    assert files
    assert not [p for p in files if TOKEN.encode() in p.read_bytes()]


def test_without_settings_the_source_is_off(make_settings: Callable[..., Settings]) -> None:
    from ingestion.ads.meta.source import land_meta_ads

    with advertiser(make_settings) as shop:
        off = make_settings(meta_graph_url=shop.api.url, meta_access_token=TOKEN)
        assert set(land_meta_ads(off).rows.values()) == {0}
        assert shop.api.calls == []
