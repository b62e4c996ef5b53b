"""`/clicks`: who may tell of a click, and what they are told otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ctwa.link_code import code_of
from ctwa.settings import Settings
from ingestion.webhook.clicks import BURST, PER_SECOND, TokenBucket
from ingestion.webhook.server import running
from ingestion.webhook.vault import Vault
from tests.ingestion.webhook.clients import Reply, get, request

ORIGIN = "https://www.example.com"
CLICK = {
    "code": code_of("7KQ2M9XF", "aurora"),
    "page_url": f"{ORIGIN}/lp?gclid=Cj0KCQ-abc_DEF",
    "referrer": "https://www.google.com",
    "clicked_at": "2026-05-04T17:31:00.123Z",
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
    vault = Vault.open(settings.vault_url)
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
    reply = _post(url, CLICK | {"more": "x" * 8_192})
    assert (reply.status, reply.body) == (413, b"body larger than 8 KiB\n")
    assert _post(url, CLICK | {"more": "x" * 7_000}).status == 200
    assert len(_stored(site_settings)) == 1


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
