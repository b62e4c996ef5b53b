"""`/clicks`: who may tell of a click, and what they are told otherwise."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from commands.doctor.inbound import receiver as receiver_findings
from ctwa.link_code import code_of
from ctwa.settings import Settings, SettingsError
from ingestion.pages import read_page
from ingestion.vault import open_vault
from ingestion.webhook.clicks import (
    BURST,
    PER_SECOND,
    ClientAddress,
    DayBudget,
    Shares,
    TokenBucket,
    kept_part,
)
from ingestion.webhook.server import running
from tests.ingestion.webhook.clients import (
    INTAKE_SECRET,
    WEB_LEAD,
    Reply,
    get,
    post_leads,
    request,
)

ORIGIN = "https://www.example.com"
CLICK = {
    "code": code_of("7KQ2M9XF", "aurora"),
    "page_url": f"{ORIGIN}/lp?gclid=Cj0KCQ-abc_DEF",
    "referrer": "https://www.google.com",
    "clicked_at": "2026-05-04T17:31:00.123000+00:00",
}


@pytest.fixture
def site_settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(site_id="aurora", site_origins=f"https://example.com, {ORIGIN}")


@pytest.fixture
def url(site_settings: Settings) -> Iterator[str]:
    with running(site_settings) as base:
        yield base


def _post(url: str, content: Any, origin: str | None = ORIGIN, **headers: str) -> Reply:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    names = headers | ({"origin": origin} if origin is not None else {})
    return request(url, "POST", "/clicks", body, content_type="text/plain;charset=UTF-8", **names)


def _stored(settings: Settings) -> list[tuple[str, bytes]]:
    vault = open_vault(settings.vault_url)
    rows = [row for batch in vault.read_batches(0) for row in batch.to_pylist()]
    vault.close()
    return [(row["source"], row["body"]) for row in rows]


def test_a_click_of_the_sites_page_is_kept(url: str, site_settings: Settings) -> None:
    reply = _post(url, CLICK)
    assert reply.status == 200
    assert reply.headers["access-control-allow-origin"] == ORIGIN
    assert reply.headers["vary"] == "Origin"
    bare = {"code": CLICK["code"], "page_url": f"{ORIGIN}/"}
    assert _post(url, bare).status == 200
    assert [json.loads(body) for _, body in _stored(site_settings)] == [CLICK, bare]
    assert {source for source, _ in _stored(site_settings)} == {"clicks"}
    assert b'endpoint="/clicks",outcome="stored"} 2.0' in get(url, "/metrics").body


@pytest.mark.parametrize(
    "origin",
    [None, "null", "", "https://evil.example", f"{ORIGIN}.evil.example", f"{ORIGIN}/lp",
     "http://www.example.com", f"{ORIGIN}:8443"],
)  # fmt: skip
def test_e75_another_origin_is_refused(
    url: str, site_settings: Settings, origin: str | None
) -> None:
    reply = _post(url, CLICK, origin)
    assert reply.status == 403
    assert "access-control-allow-origin" not in reply.headers
    assert _stored(site_settings) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json",
        [CLICK, CLICK],
        {**CLICK, "code": code_of("7KQ2M9XF", "another-site")},
        {**CLICK, "code": "7KQ2M9XF00"},
        {**CLICK, "code": CLICK["code"].lower()},
        {**CLICK, "code": 7},
        {"code": CLICK["code"]},
        {**CLICK, "clicked_at": "2026-05-04T17:31:00"},
    ],
)
def test_e21_what_is_no_click_of_this_site_is_refused(
    url: str, site_settings: Settings, content: Any
) -> None:
    reply = _post(url, content)
    assert reply.status == 422
    assert json.loads(reply.body)["problems"]
    assert _stored(site_settings) == []


def test_e75_large_bodies_are_refused(url: str, site_settings: Settings) -> None:
    reply = _post(url, CLICK | {"more": "x" * 6_144})
    assert (reply.status, reply.body) == (413, b"body larger than 6 KiB\n")
    assert _post(url, CLICK | {"more": "x" * 5_000}).status == 200
    assert [json.loads(body) for _, body in _stored(site_settings)] == [CLICK]  # and no more of it


def test_a_browser_may_ask_first(url: str) -> None:
    reply = request(url, "OPTIONS", "/clicks", origin=ORIGIN, access_control_request_method="POST")
    assert reply.status == 200
    assert reply.headers["access-control-allow-origin"] == ORIGIN
    assert reply.headers["access-control-allow-methods"] == "POST"
    assert reply.headers["access-control-allow-headers"] == "content-type"
    assert request(url, "OPTIONS", "/clicks", origin="https://evil.example").status == 403
    assert get(url, "/clicks").status == 405


def test_e75_a_flood_of_clicks_fills_no_disk(
    site_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingestion.webhook.clicks.PER_SECOND", 0.0)
    monkeypatch.setattr("ingestion.webhook.clicks.BURST", 3.0)
    with running(site_settings) as base:
        for _ in range(5):  # nonsense uses nothing up
            assert _post(base, b"{}").status == 422
        assert [_post(base, CLICK).status for _ in range(5)] == [200, 200, 200, 429, 429]
    assert len(_stored(site_settings)) == 3


def test_the_rate_comes_back_with_time() -> None:
    now = 1_000.0
    bucket = TokenBucket(PER_SECOND, BURST, clock=lambda: now)
    assert [bucket.take() for _ in range(201)].count(True) == BURST
    now += 0.1
    assert [bucket.take() for _ in range(10)].count(True) == 5
    now += 3_600
    assert [bucket.take() for _ in range(1_000)].count(True) == BURST


@pytest.mark.parametrize(
    "half", [{"site_id": "aurora"}, {"site_origins": ORIGIN}, {}], ids=["site", "origins", "none"]
)
def test_without_site_and_origins_there_is_no_such_endpoint(
    make_settings: Callable[..., Settings], caplog: pytest.LogCaptureFixture, half: dict[str, str]
) -> None:
    with running(make_settings(**half)) as base:
        assert _post(base, CLICK).status == 404
    said = "CTWA_SITE_ID and CTWA_SITE_ORIGINS go together" in caplog.text
    assert said == bool(half)


# --- what one can do who floods (E97) -------------------------------------------------------------


def _settings_of(make_settings: Callable[..., Settings], **others: Any) -> Settings:
    return make_settings(site_id="aurora", site_origins=ORIGIN, **others)


def test_e97_one_address_cannot_use_up_what_the_others_need(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a proxy on this machine, whose word counts: each address has its own rate."""
    monkeypatch.setattr("ingestion.webhook.clicks.ADDRESS_PER_SECOND", 0.0)
    monkeypatch.setattr("ingestion.webhook.clicks.ADDRESS_BURST", 5.0)
    with running(_settings_of(make_settings)) as base:
        flood = [_post(base, CLICK, x_forwarded_for="203.0.113.9").status for _ in range(20)]
        assert flood == [200] * 5 + [429] * 15
        # What the laptop itself writes before the proxy's entry makes it nobody else.
        told = [_post(base, CLICK, x_forwarded_for=f"198.51.100.{n}, 203.0.113.9") for n in (1, 2)]
        assert [reply.status for reply in told] == [429, 429]
        visitors = [_post(base, CLICK, x_forwarded_for=f"198.51.100.{n}") for n in range(20)]
        assert [reply.status for reply in visitors] == [200] * 20
        assert b'outcome="address_too_many"} 17.0' in get(base, "/metrics").body


def test_e97_nonsense_uses_up_its_own_address_only(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingestion.webhook.clicks.ADDRESS_PER_SECOND", 0.0)
    monkeypatch.setattr("ingestion.webhook.clicks.ADDRESS_BURST", 3.0)
    with running(_settings_of(make_settings)) as base:
        nonsense = [_post(base, b"{", x_forwarded_for="2001:db8::1").status for _ in range(5)]
        assert nonsense == [422, 422, 422, 429, 429]
        # Another address of the same network is the same visitor.
        assert _post(base, CLICK, x_forwarded_for="2001:db8::ffff:1").status == 429
        assert _post(base, CLICK, x_forwarded_for="2001:db8:0:1::1").status == 200


def test_e97_a_day_has_its_number_of_clicks_and_says_when_it_is_spent(
    make_settings: Callable[..., Settings],
) -> None:
    settings = _settings_of(make_settings, clicks_per_day=3, intake_secret=INTAKE_SECRET)
    with running(settings) as base:
        assert b"ctwa_clicks_left_today 3.0" in get(base, "/metrics").body
        statuses = [_post(base, CLICK).status for _ in range(5)]
        assert statuses == [200, 200, 200, 503, 503]
        metrics = get(base, "/metrics").body
        assert b"ctwa_clicks_left_today 0.0" in metrics
        assert b'outcome="budget_spent"} 2.0' in metrics
        assert _post(base, CLICK).headers["retry-after"] == "3600"
        findings = list(receiver_findings(settings, base))
        assert ["today's 3 clicks" in f.found for f in findings if f.status == "wrong"] == [True]
        # Whoever signs is not concerned.
        assert [post_leads(base, WEB_LEAD).status for _ in range(5)] == [200] * 5
    assert len(_stored(settings)) == 8


def test_e97_an_address_has_its_share_of_the_day() -> None:
    shares, day = Shares(1.0, 30.0, 2), DayBudget(10, 10_000, clock=lambda: now)
    now = 86_400.0 * 20_000
    one, other = (ipaddress.ip_address(f"203.0.113.{n}") for n in (1, 2))
    assert [shares.may_store(one, day.today()) for _ in range(4)] == [True, True, False, False]
    assert shares.may_store(other, day.today())
    # Of IPv6 a /64 counts once, and a /48, which one line may have, four times.
    nets = [ipaddress.ip_address(f"2001:db8:1:{n:x}::1") for n in range(12)]
    assert [shares.may_store(net, day.today()) for net in nets].count(True) == 8
    now += 86_400
    assert shares.may_store(one, day.today())  # a new day


def test_e97_a_budget_is_of_bytes_too_and_new_each_day() -> None:
    now = 86_400.0 * 20_000 + 5
    budget = DayBudget(10, 1_000, clock=lambda: now)
    assert [budget.spend(400) for _ in range(3)] == [True, True, False]
    assert budget.spend(200)
    assert budget.left() == 0
    now += 86_395
    assert budget.left() == 10


def test_e97_addresses_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingestion.webhook.clicks.MAX_KNOWN", 100)
    shares = Shares(0.0, 1.0, 10)
    for n in range(1_000):
        shares.may_ask(ipaddress.ip_address(n))
    assert len(shares._known) == 100
    assert not shares.may_ask(ipaddress.ip_address(999))  # those seen last are known


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", [b"198.51.100.7"], "203.0.113.9"),  # no proxy of ours: its own invention
        ("127.0.0.1", [b"198.51.100.7"], "198.51.100.7"),
        ("127.0.0.1", [b"1.1.1.1, 198.51.100.7"], "198.51.100.7"),
        ("127.0.0.1", [b"1.1.1.1", b"198.51.100.7"], "198.51.100.7"),
        ("127.0.0.1", [b"1.1.1.1, 198.51.100.7, 10.0.0.5"], "198.51.100.7"),  # two proxies
        ("10.0.0.5", [b"198.51.100.7:4711"], "198.51.100.7"),
        ("::1", [b"[2001:db8::7]:4711"], "2001:db8::7"),
        ("::ffff:127.0.0.1", [b"::ffff:198.51.100.7"], "198.51.100.7"),
        ("127.0.0.1", [], None),
        ("127.0.0.1", [b"unknown"], None),
        ("127.0.0.1", [b"1.1.1.1, nonsense"], None),
        ("172.18.0.2", [b"198.51.100.7"], None),  # a container's proxy that is not named
        ("127.0.0.1", [b"1.1.1.1," * 3_000 + b"198.51.100.7"], "198.51.100.7"),
    ],
)
def test_e97_who_asks_is_what_a_trusted_proxy_says(
    make_settings: Callable[..., Settings], peer: str, forwarded: list[bytes], found: str | None
) -> None:
    settings = make_settings(trusted_proxies="127.0.0.1, ::1, 10.0.0.0/24")
    scope = {
        "client": (peer, 5),
        "headers": [(b"x-forwarded-for", value) for value in forwarded],
    }
    address = ClientAddress(settings.trusted_proxies).of(scope)
    assert (str(address) if address else None) == found


def test_a_wrong_network_is_named(make_settings: Callable[..., Settings]) -> None:
    with pytest.raises(SettingsError, match="CTWA_TRUSTED_PROXIES: expects addresses"):
        make_settings(trusted_proxies="10.0.0.1/8, proxy")


def test_e97_of_a_click_only_what_is_read_reaches_the_vault() -> None:
    """What a page puts into its address beside the ads' parameters may be personal."""
    page = (
        "https://ana:canary1@www.example.com:8443/lp;canary2/b?name=canary3&utm_source=google"
        "&gclid=Cj0KCQ-abc_DEF&utm_source=canary4&token=canary5&utm_campaign=Ver%C3%A3o+26#canary6"
    )
    referrer = "https://www.google.com/search?q=canary7"
    kept = json.loads(kept_part(json.dumps({**CLICK, "page_url": page, "referrer": referrer,
                                            "more": "canary8"}).encode(), "aurora"))  # fmt: skip
    assert "canary" not in json.dumps(kept)
    assert kept["referrer"] == "https://www.google.com"
    assert read_page(kept["page_url"], kept["referrer"]) == read_page(page, referrer)


def test_e97_an_address_is_cut_at_two_kib_and_never_through_an_id() -> None:
    ids = "gclid=Cj0KCQ-abc_DEF&campaignid=20765432109&utm_campaign=" + "v" * 500
    others = "&".join(f"utm_{name}=" + "%20w" * 500 for name in ("content", "term", "medium"))
    page = f"https://www.example.com/{'p%C3%A9' * 100}?{others}&{ids}"
    assert len(page) > 5_000
    body = json.dumps({**CLICK, "page_url": page}).encode()
    kept = json.loads(kept_part(body, "aurora"))["page_url"]
    assert len(kept) <= 2_048
    found, whole = read_page(kept), read_page(page)
    assert (found.gclid, found.campaign_id) == (whole.gclid, whole.campaign_id)
    assert found.page_path == whole.page_path
    assert found.utm_campaign in (None, whole.utm_campaign)
