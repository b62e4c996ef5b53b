"""What a page's address says about how a visitor came: UTM parameters, click ids, ids of ads.

Host, path and the parameters named here are kept, without values that may be personal; every other
parameter is dropped. Pure, and never raises: an address may come from a browser, a form or a
keyboard. The work per address is bounded: the expensive check, whether digits are a valid phone
number, is made at most `MAX_PHONES` times, and any further candidate counts as a phone number.

The strongest sign in the address decides the platform:

1. a click id of Google, then of Microsoft: only their ads add them;
2. `gad_campaignid` or `gad_source`: added by Google's ads;
3. `fbclid`: Facebook adds it to any link that is shared, also to one copied from another
   platform's ad, which is why it comes after those;
4. `hsa_net` or `utm_source`, but not where the medium says organic and nothing has an id;
5. an id of 13 or more digits in a parameter where Meta's macros are put, and no other sign.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from ctwa.phones import PhoneError, typed_phone

VALUE_CHARS = 512
ADDRESS_CHARS = 2_048
"""Limit of an address as `known_part` keeps it; half of that for the path."""
MAX_CHARS = 8_192
"""Limit of an address that is read; browsers and servers rarely accept longer ones."""
MAX_PHONES = 8


class Page(NamedTuple):
    """The columns of `schema._WEB`, in their order."""

    page_host: str | None = None
    page_path: str | None = None
    referrer_host: str | None = None
    utm_source: str | None = None
    utm_medium: str | None = None
    utm_campaign: str | None = None
    utm_content: str | None = None
    utm_term: str | None = None
    utm_id: str | None = None
    ad_platform: str | None = None
    ad_id: str | None = None
    adset_id: str | None = None
    campaign_id: str | None = None
    has_unexpanded_macro: bool = False
    gclid: str | None = None
    gbraid: str | None = None
    wbraid: str | None = None
    fbclid: str | None = None
    msclkid: str | None = None


_UTM = tuple(f"utm_{n}" for n in ("source", "medium", "campaign", "content", "term", "id"))
_GOOGLE_CLICKS = ("gclid", "gbraid", "wbraid")
_CLICKS = (*_GOOGLE_CLICKS, "fbclid", "msclkid")
_IDS = {
    # First by name, then by the parameters in which Meta's macros are usually put.
    "ad_id": (("ad_id", "hsa_ad", "creative"), ("utm_content",)),
    "adset_id": (("adset_id", "hsa_grp", "adgroupid"), ("utm_term",)),
    "campaign_id": (
        ("campaign_id", "hsa_cam", "gad_campaignid", "campaignid"),
        ("utm_id", "utm_campaign"),
    ),
}
_SIGNS = ("gad_source", "hsa_net")
KNOWN = frozenset(
    (*_UTM, *_CLICKS, *_SIGNS, *(name for names, _ in _IDS.values() for name in names))
)
"""Every parameter that is read; `site/ctwa.js` sends these and no others."""

_META = frozenset((
    "facebook", "fb", "instagram", "ig", "meta", "an", "msg", "messenger", "threads",
    "audience_network", "facebook.com", "instagram.com", "facebook_ads", "facebookads", "fb_ads",
    "fbads", "meta_ads", "metaads", "meta-ads", "instagram_ads", "facebook_instagram",
))  # fmt: skip
_GOOGLE = frozenset((
    "google", "adwords", "googleads", "google_ads", "google-ads", "youtube", "google.com",
))  # fmt: skip
_MICROSOFT = frozenset((
    "bing", "microsoft", "adcenter", "bingads", "bing_ads", "microsoftads", "microsoft_ads",
))  # fmt: skip
_OTHERS = frozenset((
    # Their ids are as long as Meta's.
    "tiktok", "tiktok_ads", "tiktokads", "kwai", "kwai_ads", "linkedin", "linkedin_ads",
    "pinterest", "twitter", "x", "snapchat", "taboola", "outbrain", "criteo", "reddit",
))  # fmt: skip
_PAID = frozenset((
    "cpc", "ppc", "paid", "paidsearch", "paid_search", "paid-search", "sem", "cpm", "cpv",
    "display", "ads", "pmax", "shopping", "video", "paid_social", "paidsocial", "paid-social",
))  # fmt: skip
_ORGANIC = frozenset((
    "organic", "social", "organic_social", "organic-social", "organicsocial", "social_organic",
    "social-organic", "social_media", "social-media", "referral", "bio", "profile",
))  # fmt: skip

# {{ad.id}}, {campaignid}, __CAMPAIGN_ID__: macros that the platform did not expand.
_MACRO = re.compile(r"\{[^{}]*\}|__[A-Z][A-Z_]*__")
_CLICK = re.compile(r"(?=[^A-Za-z]*[A-Za-z])[A-Za-z0-9_.-]{8,512}")  # digits alone may be a phone
_ID = re.compile(r"[0-9]{5,20}")
_META_ID = re.compile(r"[0-9]{13,20}")
_UNFIT = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_HOST = re.compile(r"[\w.-]{1,253}")
_EMAIL = re.compile(r"[^\s@]@[\w-]+\.\w")
_WRITTEN_PHONE = re.compile(r"\+?\(?\d[\d().\- ]{6,20}\d")
_FULL_MOBILE = re.compile(r"55[1-9]{2}9\d{8}")
_CUT_ESCAPE = re.compile(r"%[0-9A-Fa-f]?$")
_DIGITS_OF_PHONES = range(7, 18)
"""From the shortest numbers of the smallest countries to 15 digits after 00."""


def read_page(page_url: str | None, referrer: str | None = None) -> Page:
    """Read the address of a page and that of the page before it."""
    before = _split(referrer)
    referrer_host = before.hostname if before else None
    parts = _split(page_url)
    if parts is None:
        return Page(referrer_host=referrer_host)
    given = _parameters(parts.query)
    phones = _Phones()
    macros = {name for name, value in given.items() if _has_macro(value)}
    given = {
        name: value
        for name, value in given.items()
        if name not in macros and (name in _CLICKS or not _is_personal(value, phones))
    }
    clicks = {n: given[n] for n in _CLICKS if n in given and _CLICK.fullmatch(given[n])}
    named = {column: _first(given, names, _ID) for column, (names, _) in _IDS.items()}
    placed = {column: _first(given, places, _META_ID) for column, (_, places) in _IDS.items()}
    platform = _platform(given, clicks, any(named.values()), any(placed.values()))
    ids = {
        column: named[column] or (placed[column] if platform == "meta" else None) for column in _IDS
    }
    return Page(
        page_host=parts.hostname,
        page_path=_path(parts.path, phones),
        referrer_host=referrer_host,
        ad_platform=platform,
        has_unexpanded_macro=bool(macros),
        **{name: given[name][:VALUE_CHARS].rstrip() for name in _UTM if name in given},
        **ids,
        **clicks,
    )


def known_part(address: str) -> str:
    """The parts of a page's address that `read_page` reads, in at most `ADDRESS_CHARS` characters.

    '' if it is not a web address. A parameter is kept whole or not at all, because half an id is
    another id; ids are kept before words.
    """
    parts = _split(address)
    if parts is None:
        return ""
    path = "/".join(step.partition(";")[0] for step in parts.path.split("/"))
    path = _CUT_ESCAPE.sub("", quote(path, safe="/%!$&'()*+,:=@~-._")[: ADDRESS_CHARS // 2])
    shorter = f"{parts.scheme}://{parts.hostname}{path}"
    given, mark = _parameters(parts.query), "?"
    for name in sorted(given, key=lambda name: (name in _UTM, name)):
        written = f"{mark}{name}={quote(given[name][: VALUE_CHARS + 1], safe='')}"
        if len(shorter) + len(written) <= ADDRESS_CHARS:
            shorter, mark = shorter + written, "&"
    return shorter


def origin_of(address: str) -> str:
    """The parts of a referrer that `read_page` reads: scheme and host, or ''."""
    parts = _split(address)
    return f"{parts.scheme}://{parts.hostname}" if parts else ""


def _split(address: str | None) -> SplitResult | None:
    """The parts of a web address; None for anything else."""
    if not address:
        return None
    try:
        parts = urlsplit(_UNFIT.sub("", address[:MAX_CHARS]).strip())
        host = parts.hostname
    except ValueError:  # brackets that do not hold an IPv6 address
        return None
    is_web = parts.scheme in ("http", "https") and host is not None and _HOST.fullmatch(host)
    return parts if is_web else None


def _parameters(query: str) -> dict[str, str]:
    """The known parameters that have a value; if one is repeated, the first counts."""
    found: dict[str, str] = {}
    for name, value in parse_qsl(query, errors="replace"):
        name = name.lower()
        value = _UNFIT.sub("", value).strip()
        if name in KNOWN and value:
            found.setdefault(name, value)
    return found


def _first(given: dict[str, str], names: Iterable[str], pattern: re.Pattern[str]) -> str | None:
    return next((given[n] for n in names if n in given and pattern.fullmatch(given[n])), None)


def _platform(
    given: dict[str, str], clicks: dict[str, str], has_named: bool, has_placed: bool
) -> str | None:
    if any(name in clicks for name in _GOOGLE_CLICKS):
        return "google"
    if "msclkid" in clicks:
        return "microsoft"
    if "gad_campaignid" in given or "gad_source" in given:
        return "google"
    if "fbclid" in clicks:
        return "meta"
    medium = given.get("utm_medium", "").lower()
    is_paid = medium in _PAID or has_named
    for word in (given.get("hsa_net", "").lower(), given.get("utm_source", "").lower()):
        if word in _META:
            is_organic = medium in _ORGANIC and not (has_named or has_placed)
            return None if is_organic else "meta"
        if word in _GOOGLE:
            return "google" if is_paid else None
        if word in _MICROSOFT:
            return "microsoft" if is_paid else None
        if word in _OTHERS:
            return None
    return "meta" if has_placed else None


def _has_macro(value: str) -> bool:
    return bool(_MACRO.search(value) or ("%" in value and _MACRO.search(unquote(value))))


class _Phones:
    """How many checks for phone numbers are left for one address."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_PHONES


def _path(path: str, phones: _Phones) -> str | None:
    """The path without `;` parameters, with `*` in place of steps that may name a person."""
    steps = (step.partition(";")[0] for step in unquote(path, errors="replace").split("/"))
    kept: list[str] = []
    size = 0
    for step in steps:
        kept.append("*" if _is_personal(step, phones) else step)
        size += len(kept[-1]) + 1
        if size > 2 * VALUE_CHARS:  # more is cut off anyway
            break
    return _UNFIT.sub("", "/".join(kept))[:VALUE_CHARS] or None


def _is_personal(value: str, phones: _Phones) -> bool:
    """Whether it contains an e-mail address or a phone number.

    Digits alone are ids, except a full Brazilian mobile number; other numbers count as phones if
    they are written like phones and are valid.
    """
    value = unquote(value) if "%" in value else value
    if "@" in value and _EMAIL.search(value):
        return True
    return any(_is_phone(found[0], phones) for found in _WRITTEN_PHONE.finditer(value))


def _is_phone(written: str, phones: _Phones) -> bool:
    if written.isdecimal():
        return bool(_FULL_MOBILE.fullmatch(written))
    if sum(map(str.isdecimal, written)) not in _DIGITS_OF_PHONES:
        return False
    if phones.left == 0:
        return True
    phones.left -= 1
    try:
        typed_phone(written)
    except PhoneError:
        return False
    return True


__all__ = ["KNOWN", "Page", "known_part", "origin_of", "read_page"]
