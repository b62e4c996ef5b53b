"""Endpoints of other providers, over real sockets, and Twilio's signature by its known vectors."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl

import pytest

from ctwa.settings import Settings
from ingestion.vault import open_vault
from ingestion.webhook.app import Receiver
from ingestion.webhook.endpoints import TwilioSignature, sign, sign_form
from ingestion.webhook.server import running
from tests.ingestion.parser.payloads import ROOT
from tests.ingestion.parser.provider_payloads import body, payloads
from tests.ingestion.webhook.clients import (
    APP_SECRET,
    INTAKE_SECRET,
    VERIFY_TOKEN,
    Reply,
    get,
    raw,
    request,
)

MIB = 1024 * 1024
PUBLIC = "https://hooks.example.com/ctwa"
TOKEN, OLD_TOKEN = "twilio-token-canary-1f0a", "twilio-token-retired"
SECRET, OLD_SECRET = "provider-secret-canary-77c2", "provider-secret-retired"
PATHS = {
    "/webhooks/360dialog": ("dialog360", "text_referral", "DIALOG360_WEBHOOK_SECRET"),
    "/webhooks/gupshup": ("gupshup", "text_referral", "GUPSHUP_WEBHOOK_SECRET"),
}


@pytest.fixture
def provider_settings(make_settings: Callable[..., Settings]) -> Settings:
    secrets = f"{OLD_SECRET}, {SECRET}"
    return make_settings(
        public_url=PUBLIC,
        twilio_auth_token=f"{OLD_TOKEN},{TOKEN}",
        dialog360_webhook_secret=secrets,
        gupshup_webhook_secret=secrets,
        meta_app_secret=APP_SECRET,
        meta_verify_token=VERIFY_TOKEN,
        intake_secret=INTAKE_SECRET,
    )


@pytest.fixture
def url(provider_settings: Settings) -> Iterator[str]:
    with running(provider_settings) as base:
        yield base


def stored(settings: Settings) -> list[tuple[str, bytes]]:
    vault = open_vault(settings.vault_url)
    rows = [row for batch in vault.read_batches(0) for row in batch.to_pylist()]
    vault.close()
    return [(row["source"], row["body"]) for row in rows]


# ---- Twilio: the algorithm -----------------------------------------------------------------------

# Of Twilio's documentation and helper libraries, with the token 12345.
HOST, PATH, QUERY, KEY = "https://mycompany.com", "/myapp.php", b"foo=1&bar=2", b"12345"
CALL = [
    ("CallSid", "CA1234567890ABCDE"), ("Digits", "1234"), ("From", "+14158675309"),
    ("To", "+18005551212"), ("Caller", "+14158675309"),
]  # fmt: skip
CALL_FORM = (
    b"CallSid=CA1234567890ABCDE&Digits=1234&From=%2B14158675309&To=%2B18005551212"
    b"&Caller=%2B14158675309"
)
JSON_BODY = b'{"property": "value", "boolean": true}'
JSON_HASH = b"0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"


def scope(signature: str, query: bytes = QUERY, path: str = PATH) -> dict[str, Any]:
    headers = [(b"x-twilio-signature", signature.encode())]
    return {"path": path, "query_string": query, "headers": headers}


@pytest.mark.parametrize(
    ("host", "form", "signature"),
    [
        (HOST, CALL_FORM, "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        (f"{HOST}/", CALL_FORM, "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        (HOST, CALL_FORM, "kvajT1Ptam85bY51eRf/AJRuM3w="),  # of the URL with port 443
        (f"{HOST}:1234", CALL_FORM, "RSOYDt4T1cUTdK1PDd93/VVr8B8="),  # of the URL without
        ("http://mycompany.com", CALL_FORM, "0ZXoZLH/DfblKGATFgpif+LLRf4="),  # with port 80
        ("http://mycompany.com:1234", CALL_FORM, "Zmvh+3yNM1Phv2jhDCwEM3q5ebU="),
        (
            HOST,
            b"Sid=CA123&SidAccount=AC123&Digits=5678&Digits=1234&Digits=1234",
            "IK+Dwps556ElfBT0I3Rgjkr1wJU=",
        ),
    ],
)
def test_known_vectors_of_forms(host: str, form: bytes, signature: str) -> None:
    assert TwilioSignature(host)(scope(signature), form, [KEY])
    assert not TwilioSignature(host)(scope(signature), form + b"1", [KEY])
    assert not TwilioSignature(host)(scope(signature), form, [b"12346"])
    assert not TwilioSignature("https://other.com")(scope(signature), form, [KEY])
    assert not TwilioSignature(host)(scope(signature, path="/other"), form, [KEY])
    assert not TwilioSignature(host)(scope(signature, query=b"foo=1&bar=3"), form, [KEY])


def test_known_vector_of_another_body_than_a_form() -> None:
    verify, query = TwilioSignature(HOST), QUERY + b"&bodySHA256=" + JSON_HASH
    given = scope("a9nBmqA0ju/hNViExpshrM61xv4=", query)
    assert verify(given, JSON_BODY, [KEY])
    assert not verify(given, JSON_BODY + b" ", [KEY])
    assert not verify(scope("a9nBmqA0ju/hNViExpshrM61xv4="), JSON_BODY, [KEY])
    twice = scope("a9nBmqA0ju/hNViExpshrM61xv4=", query + b"&bodySHA256=" + b"0" * 64)
    assert not verify(twice, JSON_BODY, [KEY])


def test_signing_is_what_the_check_expects() -> None:
    assert sign_form(f"{HOST}{PATH}?{QUERY.decode()}", CALL, KEY) == "RSOYDt4T1cUTdK1PDd93/VVr8B8="
    text = [("Body", "Olá 👋 & 'x' = ~"), ("Empty", "")]
    signature = sign_form(f"{HOST}{PATH}", text, KEY)
    form = "Body=Ol%C3%A1+%F0%9F%91%8B+%26+%27x%27+%3D+~&Empty="
    assert TwilioSignature(HOST)(scope(signature, b""), form.encode(), [KEY])


@pytest.mark.parametrize(
    ("query", "form"),
    [
        (b"", b"&".join([b"a=1"] * 1_001)),
        (b"\xff", b"a=1"),
        (b"bodySHA256=%C3%A1", b"a=1"),
        (b"&".join([b"a=1"] * 50), b"a=1"),
        (b"", b"\xff\xfe=%FF%00"),
        (b"", b""),
    ],
)
def test_odd_requests_are_refused_and_stop_nothing(query: bytes, form: bytes) -> None:
    assert not TwilioSignature(HOST)(scope("RSOYDt4T1cUTdK1PDd93/VVr8B8=", query), form, [KEY])


# ---- Twilio: the endpoint ------------------------------------------------------------------------


def post_twilio(
    url: str, form: bytes, token: str = TOKEN, query: str = "", public: str = PUBLIC
) -> Reply:
    """A form, signed as Twilio does."""
    path = f"/webhooks/twilio{query}"
    pairs = parse_qsl(form.decode(), keep_blank_values=True)
    signature = sign_form(f"{public}{path}", pairs, token.encode())
    return request(url, "POST", path, form, x_twilio_signature=signature)


def test_every_form_is_stored_as_it_came(url: str, provider_settings: Settings) -> None:
    forms = list(payloads("twilio").values())
    assert {post_twilio(url, form).status for form in forms} == {200}
    assert stored(provider_settings) == [("twilio", form) for form in forms]


def test_the_answer_is_no_message_to_the_customer(url: str) -> None:
    """Twilio would send a plain text on to the person who wrote."""
    reply = post_twilio(url, body("twilio", "text"))
    assert (reply.body, reply.headers["content-type"]) == (b"<Response/>", "text/xml")


def test_both_tokens_are_taken_while_rotating(url: str, provider_settings: Settings) -> None:
    form = body("twilio", "text")
    statuses = [post_twilio(url, form, token).status for token in (OLD_TOKEN, TOKEN, "other")]
    assert statuses == [200, 200, 401]
    assert len(stored(provider_settings)) == 2


def test_the_query_is_signed_with_the_rest(url: str) -> None:
    form = body("twilio", "text")
    assert post_twilio(url, form, query="?a=1&b=%20").status == 200
    signature = sign_form(f"{PUBLIC}/webhooks/twilio?a=1", [], TOKEN.encode())
    other = request(url, "POST", "/webhooks/twilio?a=2", form, x_twilio_signature=signature)
    assert other.status == 401


def test_a_body_that_is_no_form_is_signed_by_its_hash(
    url: str, provider_settings: Settings
) -> None:
    path = f"/webhooks/twilio?bodySHA256={hashlib.sha256(JSON_BODY).hexdigest()}"
    signature = sign_form(f"{PUBLIC}{path}", [], TOKEN.encode())
    assert request(url, "POST", path, JSON_BODY, x_twilio_signature=signature).status == 200
    assert request(url, "POST", path, b"{}", x_twilio_signature=signature).status == 401
    assert stored(provider_settings) == [("twilio", JSON_BODY)]


def test_e75_anything_unsigned_is_refused(url: str, provider_settings: Settings) -> None:
    form, path = body("twilio", "text"), "/webhooks/twilio"
    good = sign_form(f"{PUBLIC}{path}", [], TOKEN.encode())
    for given in ("", "=", good, good.lower(), base64.b64encode(b"x" * 20).decode(), "ação"):
        latin = given.encode().decode("latin-1")
        assert request(url, "POST", path, form, x_twilio_signature=latin).status == 401, given
    assert request(url, "POST", path, form).status == 401
    assert post_twilio(url, form, public="https://other.example.com").status == 401
    meta = sign(form, TOKEN.encode())
    assert request(url, "POST", path, form, x_hub_signature_256=meta).status == 401
    assert stored(provider_settings) == []


@pytest.mark.parametrize(
    ("values", "missing"),
    [
        ({}, "TWILIO_AUTH_TOKEN"),
        ({"public_url": PUBLIC}, "TWILIO_AUTH_TOKEN"),
        ({"twilio_auth_token": TOKEN}, "CTWA_PUBLIC_URL"),
        ({"twilio_auth_token": " , ", "public_url": PUBLIC}, "TWILIO_AUTH_TOKEN"),
    ],
)
def test_twilio_half_configured_is_503_and_names_what_is_missing(
    make_settings: Callable[..., Settings], values: dict[str, str], missing: str
) -> None:
    settings = make_settings(**values)
    with running(settings) as base:
        reply = post_twilio(base, body("twilio", "text"))
    assert (reply.status, reply.body) == (503, f"{missing} is not set\n".encode())
    assert stored(settings) == []


def test_a_token_without_the_address_is_said_at_the_start_but_no_provider_is_missed(
    make_settings: Callable[..., Settings], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), running(make_settings(twilio_auth_token=TOKEN)):
        pass
    assert "/webhooks/twilio answers 503: CTWA_PUBLIC_URL is not set" in caplog.text
    for path in ("360dialog", "gupshup", "messenger"):
        assert f"/webhooks/{path}" not in caplog.text


# ---- 360dialog and Gupshup -----------------------------------------------------------------------


def basic(password: str, user: str = "ctwa") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_360dialog_may_sign_the_body_instead(url: str) -> None:
    content = body("dialog360", "text_referral")
    digest = hmac.digest(SECRET.encode(), content, "sha256")
    good = [digest.hex(), digest.hex().upper(), f"sha256={digest.hex()}",
            base64.b64encode(digest).decode()]  # fmt: skip
    forged = hmac.digest(b"another", content, "sha256").hex()
    bad = ["", "sha256=", digest.hex()[:-1], forged, SECRET]
    for path, expected in (("360dialog", 200), ("gupshup", 401)):
        answers = [
            request(url, "POST", f"/webhooks/{path}", content, x_360dialog_signature=s).status
            for s in good + bad
        ]
        assert answers == [expected] * len(good) + [401] * len(bad)


@pytest.mark.parametrize("path", PATHS)
def test_a_secret_is_shown_in_any_of_three_ways(
    url: str, provider_settings: Settings, path: str
) -> None:
    source, name, _ = PATHS[path]
    content = body(source, name)
    ways = [
        {"authorization": f"Bearer {SECRET}"},
        {"authorization": f"bearer {SECRET}"},
        {"authorization": basic(SECRET)},
        {"authorization": basic(SECRET, "")},
        {"x_webhook_secret": SECRET},
        {"x_webhook_secret": OLD_SECRET},
        {"x_webhook_secret": SECRET, "authorization": "Bearer of something else"},
    ]
    assert [request(url, "POST", path, content, **way).status for way in ways] == [200] * len(ways)
    assert stored(provider_settings) == [(source, content)] * len(ways)


@pytest.mark.parametrize("path", PATHS)
def test_e75_any_other_way_is_refused_and_nothing_is_stored(
    url: str, provider_settings: Settings, path: str
) -> None:
    source, name, _ = PATHS[path]
    content = body(source, name)
    encoded = base64.b64encode(SECRET.encode()).decode()
    ways = [
        {},
        {"authorization": SECRET},
        {"authorization": f"Token {SECRET}"},
        {"authorization": "Bearer"},
        {"authorization": f"Bearer {SECRET}x"},
        {"authorization": f"Basic {encoded}"},  # a user without a password
        {"authorization": "Basic ***"},
        {"authorization": basic("")},
        {"authorization": basic("x", SECRET)},
        {"x_webhook_secret": ""},
        {"x_webhook_secret": f"{OLD_SECRET}, {SECRET}"},
        {"x_webhook_secret": SECRET.upper()},
        {"x_webhook_secret": "ação"},
        {"x_hub_signature_256": sign(content, SECRET.encode())},
        {"x_webhook_secret": APP_SECRET},
    ]
    for way in ways:
        assert request(url, "POST", path, content, **way).status == 401, way
    for query in (f"?secret={SECRET}", f"?token={SECRET}", f"?{SECRET}"):
        assert request(url, "POST", path + query, content).status == 401
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n"
    twice = f"X-Webhook-Secret: {SECRET}\r\n" * 2
    assert raw(url, f"{head}{twice}\r\n{{}}".encode()).startswith(b"HTTP/1.1 401 ")
    assert stored(provider_settings) == []


def test_gupshup_gets_the_empty_answer_it_asks_for(url: str) -> None:
    reply = request(url, "POST", "/webhooks/gupshup", b"{}", x_webhook_secret=SECRET)
    assert (reply.status, reply.body) == (200, b"")


@pytest.mark.parametrize("path", PATHS)
def test_without_its_secret_the_endpoint_is_503_and_names_it(
    make_settings: Callable[..., Settings], path: str
) -> None:
    with running(make_settings(public_url=PUBLIC, twilio_auth_token=TOKEN)) as base:
        reply = request(base, "POST", path, b"{}", x_webhook_secret=SECRET)
    assert (reply.status, reply.body) == (503, f"{PATHS[path][2]} is not set\n".encode())


# ---- Messenger and Instagram ---------------------------------------------------------------------


def test_messenger_is_signed_as_whatsapp_is(url: str, provider_settings: Settings) -> None:
    bodies = list(payloads("messenger").values())
    for content in bodies:
        good = sign(content, APP_SECRET.encode())
        reply = request(url, "POST", "/webhooks/messenger", content, x_hub_signature_256=good)
        assert reply.status == 200
        for bad in (good[:-1] + "g", good.upper(), sign(content, SECRET.encode()), ""):
            reply = request(url, "POST", "/webhooks/messenger", content, x_hub_signature_256=bad)
            assert reply.status == 401
    assert request(url, "POST", "/webhooks/messenger", bodies[0]).status == 401
    assert stored(provider_settings) == [("messenger", content) for content in bodies]


def test_messenger_has_metas_handshake(url: str) -> None:
    ask = "/webhooks/messenger?hub.mode=subscribe&hub.verify_token={}&hub.challenge=1158201444"
    reply = get(url, ask.format(VERIFY_TOKEN))
    assert (reply.status, reply.body) == (200, b"1158201444")
    assert get(url, ask.format("wrong")).status == 403
    assert get(url, "/webhooks/twilio").status == 405


def test_messenger_without_the_app_secret_is_503(make_settings: Callable[..., Settings]) -> None:
    with running(make_settings()) as base:
        reply = request(base, "POST", "/webhooks/messenger", b"{}", x_hub_signature_256="x")
    assert (reply.status, reply.body) == (503, b"META_APP_SECRET is not set\n")


# ---- all -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*PATHS, "/webhooks/twilio", "/webhooks/messenger"])
def test_e75_too_large_is_413(url: str, provider_settings: Settings, path: str) -> None:
    reply = request(url, "POST", path, b"x" * (3 * MIB + 1), x_webhook_secret=SECRET)
    assert reply.status == 413
    assert stored(provider_settings) == []


def test_e77_no_secret_and_no_body_is_logged(
    url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The receiver has no access log; but pytest gives even silent loggers its own handler.
    monkeypatch.setattr(logging.getLogger("uvicorn.access"), "handlers", [])
    with caplog.at_level(logging.DEBUG):
        form = body("twilio", "text")
        post_twilio(url, form, "other", query=f"?key={SECRET}")
        for path in PATHS:
            request(url, "POST", f"{path}?secret={SECRET}", form, authorization=basic("wrong-4711"))
            request(url, "POST", path, form, x_webhook_secret=SECRET)
    assert "answered 401" in caplog.text
    for secret in (SECRET, TOKEN, "wrong-4711", "87650001"):
        assert secret not in caplog.text


def test_metrics_name_each_provider(url: str) -> None:
    post_twilio(url, body("twilio", "text"))
    request(url, "POST", "/webhooks/gupshup", b"{}", x_webhook_secret=SECRET)
    text = get(url, "/metrics").body.decode()
    for source in ("twilio", "gupshup"):
        assert f'ctwa_last_envelope_timestamp_seconds{{source="{source}"}}' in text
    assert 'endpoint="/webhooks/twilio",outcome="stored"} 1.0' in text


@pytest.mark.parametrize("page", ["whatsapp", "twilio", "360dialog", "gupshup", "messenger"])
def test_its_page_names_the_address_and_every_setting(page: str) -> None:
    text = (ROOT / "docs" / "connect" / f"{page}.md").read_text()
    settings = Settings(_env_file=None)
    endpoint = Receiver(settings).intakes[f"/webhooks/{page}"]
    assert f"https://your.host/webhooks/{page}" in text
    named = set(re.findall(r"`((?:META|TWILIO|CTWA|DIALOG360|GUPSHUP)_[A-Z0-9_]+)`", text))
    documented = (ROOT / ".env.example").read_text()
    assert [name for name in sorted(named) if f"\n{name}=" not in documented] == []
    assert endpoint.setting in named
    assert f'source="{endpoint.source}"' in text
