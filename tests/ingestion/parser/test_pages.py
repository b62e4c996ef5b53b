"""What the address of a page says, and what is forgotten of it."""

from __future__ import annotations

import random
from urllib.parse import quote, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingestion import pages
from ingestion.pages import (
    ADDRESS_CHARS,
    KNOWN,
    MAX_PHONES,
    Page,
    known_part,
    origin_of,
    read_page,
)
from ingestion.parser.schema import WEB_LEADS

AD, ADSET, CAMPAIGN = "120226305854810727", "120226305854810728", "120226305854810726"
GCLID = "Cj0KCQjw_abc-DEF.123"


def _page(query: str = "", referrer: str | None = None) -> Page:
    return read_page(f"https://www.example.com/lp?{query}", referrer)


def test_the_columns_are_those_of_the_event_log_in_order() -> None:
    names = WEB_LEADS.names
    start = names.index("page_host")
    assert list(Page._fields) == names[start : names.index("content_key")]


def test_host_and_path_are_kept_and_nothing_else_of_the_query() -> None:
    page = read_page(
        "https://user:secret@WWW.Example.com:8443/a/b%20c;jsessionid=1F?name=Ana&utm_source=x#top",
        "https://www.google.com/search?q=ana",
    )
    assert page == Page("www.example.com", "/a/b c", "www.google.com", utm_source="x")


@pytest.mark.parametrize(
    "address",
    [None, "", "about:blank", "javascript:alert(1)", "ftp://x.example/?gclid=abcdefgh", "//x/y",
     "https://", "https:///p?gclid=abcdefgh", "http://[::1/?gclid=abcdefgh", "www.example.com",
     "https://exa mple.com/?gclid=abcdefgh", "android-app://com.google"],
)  # fmt: skip
def test_only_addresses_of_the_web_are_read(address: str | None) -> None:
    assert read_page(address, address) == Page()


def test_a_meta_ad_is_known_by_its_ids() -> None:
    page = _page(f"utm_source=fb&utm_medium=paid&utm_id={CAMPAIGN}&utm_content={AD}"
                 f"&utm_term={ADSET}&fbclid=IwAR0abc_def")  # fmt: skip
    assert (page.ad_platform, page.ad_id, page.adset_id, page.campaign_id) == (
        "meta", AD, ADSET, CAMPAIGN,
    )  # fmt: skip
    assert (page.utm_content, page.fbclid) == (AD, "IwAR0abc_def")


def test_a_google_click_with_its_campaign() -> None:
    page = _page(f"gad_source=1&gad_campaignid=20765432109&gclid={GCLID}&utm_campaign=Verão")
    assert (page.ad_platform, page.campaign_id, page.gclid) == ("google", "20765432109", GCLID)
    assert page.utm_campaign == "Verão"


def test_e38_ids_stay_text_to_the_last_digit() -> None:
    pages = [_page(f"ad_id={AD[:-1]}{n}&fbclid=IwAR0abc") for n in range(10)]
    assert len({page.ad_id for page in pages}) == 10


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        (f"ad_id=11111&hsa_ad=22222&creative=33333&utm_content={AD}", ("11111", None, None)),
        ("ad_id=spring&hsa_ad=22222", ("22222", None, None)),
        ("hsa_grp=44444&adgroupid=55555", (None, "44444", None)),
        (f"hsa_cam=66666&gad_campaignid=77777&utm_id={CAMPAIGN}", (None, None, "66666")),
        ("campaignid=1234&adgroupid=123456789012345678901", (None, None, None)),
        (f"utm_campaign={CAMPAIGN}", (None, None, CAMPAIGN)),
        (f"utm_campaign={ADSET}&utm_id={CAMPAIGN}", (None, None, CAMPAIGN)),
        ("utm_campaign=20765432109&utm_content=123456789012", (None, None, None)),
        (f"utm_source=tiktok&utm_content={AD}", (None, None, None)),
        (f"gclid={GCLID}&utm_content={AD}", (None, None, None)),
        ("ad_id=１２３４５", (None, None, None)),
    ],
)
def test_which_parameter_an_id_is_taken_from(
    query: str, ids: tuple[str | None, str | None, str | None]
) -> None:
    page = _page(query)
    assert (page.ad_id, page.adset_id, page.campaign_id) == ids


@pytest.mark.parametrize(
    ("query", "platform"),
    [
        ("fbclid=IwAR0abc", "meta"),
        ("utm_source=Instagram", "meta"),
        ("utm_source=fb&utm_medium=cpc", "meta"),
        ("utm_source=facebook&utm_medium=social", None),
        ("utm_source=facebook&utm_medium=organic&fbclid=IwAR0abc", "meta"),
        (f"utm_source=facebook&utm_medium=social&utm_content={AD}", "meta"),
        (f"utm_content={AD}", "meta"),
        (f"utm_source=lp-2&utm_id={CAMPAIGN}", "meta"),
        (f"utm_source=kwai&utm_id={CAMPAIGN}", None),
        ("utm_source=newsletter&utm_medium=email", None),
        (f"gclid={GCLID}", "google"),
        ("wbraid=abc_DEF-123", "google"),
        ("gad_source=1", "google"),
        ("utm_source=google", None),
        ("utm_source=google&utm_medium=cpc", "google"),
        ("utm_source=google&campaignid=20765432109", "google"),
        ("utm_source=bing&utm_medium=organic", None),
        ("utm_source=bing&utm_medium=CPC", "microsoft"),
        ("msclkid=0123456789abcdef0123456789abcdef", "microsoft"),
        ("hsa_net=facebook&hsa_cam=12345", "meta"),
        # Click ids beat words; Facebook's, which any shared link gets, is the weakest.
        (f"gclid={GCLID}&utm_source=facebook&utm_medium=paid", "google"),
        ("fbclid=IwAR0abc&utm_source=google&utm_medium=cpc", "meta"),
        (f"fbclid=IwAR0abc&gclid={GCLID}", "google"),
        ("fbclid=IwAR0abc&msclkid=0123456789abcdef", "microsoft"),
        ("fbclid=IwAR0abc&gad_campaignid=20765432109", "google"),
    ],
)
def test_the_platform_is_that_of_the_strongest_sign(query: str, platform: str | None) -> None:
    assert _page(query).ad_platform == platform


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("utm_content", "{{ad.id}}"),
        ("utm_campaign", "promo {{campaign.name}}"),
        ("utm_content", "%7B%7Bad.id%7D%7D"),
        ("campaignid", "{campaignid}"),
        ("creative", "{creative}"),
        ("utm_campaign", "__CAMPAIGN_ID__"),
        ("gclid", "{gclid}"),
    ],
)
@pytest.mark.parametrize("encode", [quote, str])
def test_an_unexpanded_macro_is_missing_and_said(name: str, value: str, encode: object) -> None:
    assert callable(encode)
    page = _page(f"{name}={encode(value)}&utm_source=fb")
    assert page == Page("www.example.com", "/lp", utm_source="fb", ad_platform="meta",
                        has_unexpanded_macro=True)  # fmt: skip


def test_a_macro_elsewhere_is_nobodys_business() -> None:
    assert not _page("page={{ad.id}}").has_unexpanded_macro


@pytest.mark.parametrize(
    "value",
    ["ana@example.com", "lead ana.souza+x@example.com.br", "ana%40example.com", "5511987654321",
     "+55 11 98765-4321", "(11) 98765-4321", "tel 11 98765-4321", "+351 912 345 678"],
)  # fmt: skip
def test_e77_what_may_name_a_person_is_dropped(value: str) -> None:
    page = _page(urlencode({"utm_content": value, "utm_term": value, "utm_source": "fb"}))
    assert page == Page("www.example.com", "/lp", utm_source="fb", ad_platform="meta")
    path = read_page(f"https://www.example.com/obrigado/{quote(value, safe='')}/2").page_path
    assert path == "/obrigado/*/2"


@pytest.mark.parametrize(
    "value",
    ["20765432109", "123456789012", AD, "promo 2026-05-04", "1,5 milhão @ Santos", "r$ 199.900"],
)
def test_ids_dates_and_prices_are_not_taken_for_phones(value: str) -> None:
    assert _page(urlencode({"utm_content": value})).utm_content == value
    assert read_page(f"https://x.example/imovel/{quote(value)}").page_path == f"/imovel/{value}"


@pytest.mark.parametrize(
    "value", ["abc", "a b c d e f", "5511987654321", "ação-ação", "x" * 513, "%00abcdefgh%"]
)
def test_what_cannot_be_a_click_id_is_dropped(value: str) -> None:
    assert _page(urlencode({"gclid": value})) == Page("www.example.com", "/lp")


def test_click_ids_keep_their_case_and_utm_values_their_end() -> None:
    assert _page("GCLID=AbCdEfGh").gclid == "AbCdEfGh"
    assert len(_page(f"utm_term={'x' * 2_000}").utm_term or "") == 512
    assert _page("utm_term=%20%09a%00b%20").utm_term == "ab"


def test_of_a_parameter_that_comes_twice_the_first_counts() -> None:
    page = _page("utm_source=&utm_source=one&utm_source=two&gclid=AbCdEfGh&gclid=XXXXXXXX")
    assert (page.utm_source, page.gclid) == ("one", "AbCdEfGh")


_VALUES = st.one_of(
    st.sampled_from([AD, ADSET, CAMPAIGN, GCLID, "20765432109", "fb", "google", "cpc", "social",
                     "{{ad.id}}", "{creative}", "5511987654321", "ana@example.com", "tiktok"]),
    st.text(max_size=30),
)  # fmt: skip
_QUERIES = st.dictionaries(st.sampled_from(sorted(KNOWN)), _VALUES, max_size=8)


@given(st.text(), st.text())
@example("https://x/?" + "utm_source=" * 500, "https://[")
@example("https://x/%\ud800?utm_term=%ed%a0%80\ud800", "https://\ud800/")
@example("http://x\u2100/", "https://x:99999999/")
def test_any_text_is_read_without_an_error(page_url: str, referrer: str) -> None:
    for start in ("", "https://x.example/", "https://x.example/?utm_term=", "https://"):
        page = read_page(start + page_url, referrer)
        for text in page:
            if isinstance(text, str):
                assert 0 < len(text) <= 512
                text.encode()
                assert "\x00" not in text


@given(_QUERIES, st.randoms(use_true_random=False))
def test_the_order_of_parameters_does_not_matter(
    given: dict[str, str], luck: random.Random
) -> None:
    pairs = list(given.items())
    luck.shuffle(pairs)
    assert _page(urlencode(pairs)) == _page(urlencode(given))


@given(_QUERIES)
def test_how_much_is_percent_encoded_does_not_matter(given: dict[str, str]) -> None:
    whole = "&".join(
        "".join(f"%{byte:02x}" for byte in name.encode())
        + "="
        + "".join(f"%{byte:02X}" for byte in value.encode("utf-8", "replace"))
        for name, value in given.items()
    )
    assert _page(whole) == _page(urlencode(given, errors="replace"))


@given(_QUERIES)
def test_whatever_comes_out_fits_its_column(given: dict[str, str]) -> None:
    page = _page(urlencode(given, errors="replace"))
    assert page.ad_platform in (None, "meta", "google", "microsoft")
    for text in (page.ad_id, page.adset_id, page.campaign_id):
        assert text is None or (5 <= len(text) <= 20 and text.isascii() and text.isdigit())
    assert "5511987654321" not in page
    assert not any("@example.com" in text for text in page if isinstance(text, str))


# --- bounded work (E97) ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "https://www.example.com/" + "/".join(["+55 1-2345-67"] * 700),
        "https://www.example.com/?" + "&".join(f"utm_{n}=" + "1-2345-678%20" * 150 for n in (
            "source", "medium", "campaign", "content", "term")),
        "https://www.example.com/" + "1.2.3.4.5.6.7.8 " * 500 + "?utm_source=" + "(11)1-" * 300,
        "https://www.example.com/?" + "utm_source=1&" * 600 + "utm_term=" + "a@" * 500,
    ],
)  # fmt: skip
def test_e97_one_address_asks_few_times_whether_digits_are_a_phone(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """The dear question: 2,199 clicks of such addresses took 72 seconds of the night."""
    asked = []
    real = pages.typed_phone

    def counting(text: str) -> str:
        asked.append(text)
        return real(text)

    monkeypatch.setattr(pages, "typed_phone", counting)
    read_page(address)
    assert len(asked) <= MAX_PHONES


def test_e97_what_is_not_looked_at_any_more_is_taken_for_personal() -> None:
    dates = "/".join(f"2024-05-{day:02}" for day in range(1, 20))
    found = read_page(f"https://www.example.com/{dates}/+55 11 98765-4321/end").page_path
    assert found is not None
    assert "98765" not in found
    assert found.startswith("/2024-05-01/2024-05-02/")
    assert found.endswith("/*/end")


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*sorted(KNOWN), "name", "UTM_Source"]),
            st.text(max_size=30) | st.sampled_from(["{{ad.id}}", "%7B%7Bad.id%7D%7D", AD, GCLID]),
        ),
        max_size=8,
    ),
    st.text(max_size=30),
)
@example([("utm_source", "a+b c&d"), ("utm_source", "second")], "/a;b/%2F%3B é%")
def test_e97_what_is_kept_of_an_address_is_read_as_the_whole(
    pairs: list[tuple[str, str]], path: str
) -> None:
    address = f"https://u:p@www.example.com:81/{path}?{urlencode(pairs)}#x"
    kept = known_part(address)
    assert len(kept) <= ADDRESS_CHARS
    assert read_page(kept) == read_page(address)
    assert known_part(kept) == kept
    assert origin_of(address) == ("https://www.example.com" if kept else "")
