"""From a click on an ad to form, chat and event log, in a real browser against the receiver."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from ctwa.link_code import ALPHABET, find, is_fit
from ctwa.pseudonym import Pseudonymizer
from ingestion.event_log.source import land_event_log
from tests.browser.company_site import NUMBER, SITE_ID, fields_of
from tests.browser.conftest import Browser, World
from tests.ingestion.parser.payloads import encode, envelope, message
from tests.ingestion.webhook.clients import post_whatsapp
from tests.support.erasure import rows
from tests.support.people import people_models
from tests.support.warehouse import DbtWorld

pytestmark = pytest.mark.browser

GCLID = "Cj0KCQjw_aBc-DEF.123"
CAMPAIGN = "20765432109"
AD_PAGE = (
    f"/lp?utm_source=google&utm_medium=cpc&gad_source=1&gad_campaignid={CAMPAIGN}&gclid={GCLID}"
    "&name=Ana&session=s3cr3t"
)
PHONE = "5511987654321"
SHOWN = re.compile(r"\(CW-([0-9A-Z]{5})-([0-9A-Z]{5})\)$")
KEPT = "() => [localStorage.length, sessionStorage.length, document.cookie]"


def _visit(browser: Browser, world: World) -> None:
    """Somebody comes by an ad, reads on, sends the form, and then writes on WhatsApp."""
    page = browser.open(world.site.url + AD_PAGE, referer="https://www.google.com/")
    page.click("#next")
    page.wait_for_url("**/sobre")
    page.fill("input[name=phone]", "(11) 98765-4321")
    page.fill("input[name=email]", "ana.souza@example.com")
    page.click("#lead button")
    page.wait_for_url("**/form")
    with browser.context.expect_page() as chat:
        page.click("#chat")
    chat.value.wait_for_load_state()
    world.wait_for("clicks", 1)
    sent = {"from": PHONE, "timestamp": str(round(time.time()) + 5)}
    text = {"body": browser.chat_text()}
    body = encode(envelope(message(**sent, type="text", text=text)))
    assert post_whatsapp(world.receiver, body).status == 200


def test_e62_a_form_and_a_chat_after_an_ad_of_googles(
    browser: Browser, world: World, tmp_path: Path
) -> None:
    _visit(browser, world)
    assert world.site.answers == [200]
    assert re.fullmatch(r"Olá, quero 1\+1 \(CW-\w{5}-\w{5}\)", browser.chat_text())
    assert browser.chats[-1].startswith(f"https://wa.me/{NUMBER}?text=")

    land_event_log(world.settings)
    names = Pseudonymizer.from_settings(world.settings)
    (lead,) = rows(world.settings, "web_leads")
    (click,) = rows(world.settings, "link_clicks")
    (chat,) = rows(world.settings, "messages")
    assert rows(world.settings, "quarantine") == []
    for row in (lead, click):
        assert (row["ad_platform"], row["campaign_id"], row["gclid"]) == (
            "google", CAMPAIGN, GCLID,
        )  # fmt: skip
        assert (row["page_host"], row["page_path"]) == ("127.0.0.1", "/lp")
        assert (row["referrer_host"], row["utm_medium"]) == ("www.google.com", "cpc")
    assert (lead["phone_key"], lead["email_key"]) == (
        names.phone(PHONE), names.email("ana.souza@example.com"),
    )  # fmt: skip
    assert chat["phone_key"] == lead["phone_key"]
    assert (chat["link_code_state"], chat["link_code_key"]) == ("fit", click["link_code_key"])

    # One lead, of the form that came first; the chat after it belongs to it.
    marts = DbtWorld(tmp_path, settings=world.settings, as_of=datetime.now(UTC).date())
    named = {"campaign_id": CAMPAIGN, "campaign_name": "Search | Botox", "account_id": "1"}
    marts.write("google_ads.campaigns", [named])
    marts.build(*people_models())
    (made,) = marts.rows("marts.fct_leads")
    assert (made["channel"], made["basis"]) == ("paid_search", "web_ad_id")
    assert (made["campaign_id"], made["campaign_name"]) == (CAMPAIGN, "Search | Botox")
    assert (made["utm_source"], made["is_from_form"], made["inbound_messages"]) == (
        "google", True, 1,
    )  # fmt: skip
    (sent, wrote) = marts.rows("marts.fct_touches", "conversation_id nulls first")
    for touch in (sent, wrote):
        assert (touch["channel"], touch["campaign_id"]) == ("paid_search", CAMPAIGN)
        assert touch["lead_id"] == made["lead_id"]
    assert (sent["is_source_touch"], wrote["link_code_state"]) == (True, "matched")


def test_the_page_tells_of_the_query_only_what_ads_put_there(
    browser: Browser, world: World
) -> None:
    _visit(browser, world)
    (form,) = world.site.forms
    (click,) = world.bodies("clicks")
    expected = world.site.url + AD_PAGE.partition("&name")[0]
    assert form["ctwa_page_url"] == expected
    # Of a click, which nobody signs, the receiver keeps host, path and the parameters it knows.
    kept, told = urlsplit(fields_of(click)["page_url"]), urlsplit(expected)
    assert (kept.hostname, kept.path) == (told.hostname, told.path)
    assert sorted(parse_qsl(kept.query)) == sorted(parse_qsl(told.query))
    assert form["ctwa_referrer"] == fields_of(click)["referrer"] == "https://www.google.com"
    assert re.fullmatch(r"[0-9a-f]{32}", form["ctwa_lead_id"])


def test_the_first_visit_stays_the_first_and_the_last_is_kept_beside_it(
    browser: Browser, world: World
) -> None:
    browser.open(f"{world.site.url}/")
    page = browser.open(world.site.url + AD_PAGE)
    page = browser.open(f"{world.site.url}/sobre")
    first, last = (page.evaluate(f"ctwa.touch('{which}')") for which in ("first", "last"))
    assert first["page"] == f"{world.site.url}/"
    assert GCLID in last["page"]
    page.click("#lead button")
    page.wait_for_url("**/form")
    page.click("#lead button")
    page.wait_for_url("**/form")
    assert {form["ctwa_page_url"] for form in world.site.forms} == {f"{world.site.url}/"}
    assert len({form["ctwa_lead_id"] for form in world.site.forms}) == 2  # people share devices


def test_after_ninety_days_a_visit_is_the_first_again(browser: Browser, world: World) -> None:
    page = browser.open(world.site.url + AD_PAGE)
    page.evaluate(
        "() => { const kept = JSON.parse(localStorage.ctwa); kept.first.at -= 90 * 864e5;"
        " localStorage.ctwa = JSON.stringify(kept); }"
    )
    page.goto(f"{world.site.url}/sobre")
    assert page.evaluate("ctwa.touch('first').page") == f"{world.site.url}/sobre"


def test_e21_each_click_has_one_code_of_its_own(browser: Browser, world: World) -> None:
    page = browser.open(f"{world.site.url}/")  # a visit that tells nothing has a code, too
    texts = []
    for _ in range(3):
        with browser.context.expect_page() as chat:
            page.click("#chat")
        chat.value.wait_for_load_state()
        texts.append(browser.chat_text())
    codes = {"".join(found.groups()) for text in texts if (found := SHOWN.search(text))}
    assert len(codes) == 3
    assert all(text.count("(CW-") == 1 for text in texts)
    assert {fields_of(body)["code"] for body in world.wait_for("clicks", 3)} == codes


def test_a_click_is_told_although_the_page_is_left(browser: Browser, world: World) -> None:
    page = browser.open(world.site.url + AD_PAGE)
    page.click("#in")  # inside the link
    page.wait_for_url("https://api.whatsapp.com/**")
    found = SHOWN.match(browser.chat_text().removeprefix("Oi "))  # data-text of the script
    assert found is not None
    (click,) = world.wait_for("clicks", 1)
    assert fields_of(click)["code"] == "".join(found.groups())


def test_links_that_take_no_code_stay_as_they_are(browser: Browser, world: World) -> None:
    page = browser.open(f"{world.site.url}/")
    for link in ("#quiet", "#short"):
        with browser.context.expect_page() as chat:
            page.click(link)
        chat.value.wait_for_load_state()
    assert browser.chats == [f"https://wa.me/{NUMBER}", "https://wa.me/message/ABCDEF"]
    others = ["https://wa.me.evil.example/1", "https://www.example.com/?u=https://wa.me/1", "#x",
              "https://api.whatsapp.com/sender", "tel:+5511987654321",
              "https://wa.me/abc"]  # fmt: skip
    assert page.evaluate("all => all.map((one) => ctwa.link(one))", others) == others
    assert world.bodies("clicks") == []


@pytest.mark.parametrize(
    "href",
    [f"https://wa.me/{NUMBER}", f"https://wa.me/+{NUMBER}/", "https://wa.me/?text=oi",
     f"https://web.whatsapp.com/send?phone={NUMBER}", f"whatsapp://send?phone={NUMBER}&text=a+b",
     f"https://api.whatsapp.com/send/?phone={NUMBER}&text=oi (CW-AAAAA-AAAAA)"],
)  # fmt: skip
def test_every_kind_of_link_takes_a_code(browser: Browser, world: World, href: str) -> None:
    page = browser.open(f"{world.site.url}/")
    coded = page.evaluate("href => ctwa.link(href)", href)
    text = page.evaluate("url => new URL(url).searchParams.get('text')", coded)
    found = find(text, SITE_ID)
    assert found is not None
    assert found.state == "fit"
    assert text.count("(CW-") == 1
    assert "+" not in coded.partition("?")[2]
    assert ("phone=" in href) == ("phone=" in coded)


def test_forms_that_are_no_leads_and_later_ones(browser: Browser, world: World) -> None:
    page = browser.open(world.site.url + AD_PAGE)
    page.click("#off button")
    page.wait_for_url("**/nothing")
    page.fill("input[name=q]", "casa")
    page.click("#search button")
    page.wait_for_url("**/nothing?q=casa")
    assert world.site.forms == [{}]
    page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', `<form id=later method=post action=/form>"
        "<input name=ctwa_page_url value=old><button>x</button></form>`)"
    )
    page.click("#later button")
    page.wait_for_url("**/form")
    assert GCLID in world.site.forms[-1]["ctwa_page_url"]


@pytest.mark.parametrize(
    "refusal",
    ["Object.defineProperty(navigator, 'globalPrivacyControl', {value: true})",
     "window.ctwaConsent = false"],
    ids=["global privacy control", "no consent"],
)  # fmt: skip
def test_who_refuses_is_neither_remembered_nor_told_of(
    browser: Browser, world: World, refusal: str
) -> None:
    browser.context.add_init_script(refusal)
    page = browser.open(world.site.url + AD_PAGE)
    with browser.context.expect_page() as chat:
        page.click("#chat")
    chat.value.wait_for_load_state()
    assert browser.chat_text() == "Olá, quero 1+1"
    page.click("#lead button")
    page.wait_for_url("**/form")
    assert set(world.site.forms[0]) <= {"phone", "email"}
    assert page.evaluate(KEPT) == [0, 0, ""]
    assert world.bodies("clicks") == []


def test_consent_that_comes_later_is_told_by_the_page(browser: Browser, world: World) -> None:
    browser.context.add_init_script("window.ctwaConsent = false")
    page = browser.open(world.site.url + AD_PAGE)
    page.evaluate("() => { window.ctwaConsent = true; ctwa.remember(); }")
    assert GCLID in page.evaluate("ctwa.touch('first').page")
    page.evaluate("ctwa.forget()")
    assert page.evaluate(KEPT) == [0, 0, ""]


@pytest.mark.parametrize(
    "stores", [["localStorage"], ["localStorage", "sessionStorage"]], ids=["one", "both"]
)
def test_blocked_storage_breaks_nothing(browser: Browser, world: World, stores: list[str]) -> None:
    for store in stores:
        browser.context.add_init_script(
            f"Object.defineProperty(window, '{store}', {{get() {{ throw new Error('no'); }}}})"
        )
    page = browser.open(world.site.url + AD_PAGE)
    if stores == ["localStorage"]:
        page.goto(f"{world.site.url}/sobre")
    page.click("#lead button")
    page.wait_for_url("**/form")
    assert GCLID in world.site.forms[0]["ctwa_page_url"]


def test_broken_storage_is_written_anew(browser: Browser, world: World) -> None:
    for broken in ("{", "null", "[]", '{"first": 1}', '{"first": {"at": "x"}}'):
        page = browser.open(f"{world.site.url}/")
        page.evaluate("broken => { localStorage.ctwa = broken; }", broken)
        page.goto(world.site.url + AD_PAGE)
        assert GCLID in page.evaluate("ctwa.touch('first').page")


def test_the_page_and_the_receiver_check_codes_alike(browser: Browser, world: World) -> None:
    page = browser.open(f"{world.site.url}/")
    made: list[str] = page.evaluate(
        "() => { navigator.sendBeacon = () => true; const made = [];"
        " for (let i = 0; i < 5000; i += 1) made.push(ctwa.link('https://wa.me/1'));"
        " return made.map((url) => new URL(url).searchParams.get('text')); }"
    )
    codes = ["".join(found.groups()) for text in made if (found := SHOWN.search(text))]
    assert len(set(codes)) == 5_000
    assert all(is_fit(code, SITE_ID) for code in codes)
    assert set("".join(codes)) == set(ALPHABET)


def test_a_very_long_address_still_gives_a_click(browser: Browser, world: World) -> None:
    query: dict[str, Any] = dict.fromkeys(("utm_campaign", "utm_content"), "ã" * 400)
    query |= {f"utm_{name}": "x" * 600 for name in ("source", "medium", "term", "id")}
    address = "&".join(f"{name}={value}" for name, value in query.items())
    page = browser.open(f"{world.site.url}/lp?gclid={GCLID}&{address}")
    with browser.context.expect_page() as chat:
        page.click("#chat")
    chat.value.wait_for_load_state()
    (click,) = world.wait_for("clicks", 1)
    assert GCLID in json.loads(click)["page_url"]
    assert len(click) < 8 * 1024
