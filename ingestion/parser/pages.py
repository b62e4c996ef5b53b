"""What the address of a page says of how somebody came: UTM parameters, click ids, ids of ads.

Host and path are kept and the parameters named here, of their values what cannot be personal;
every other parameter is forgotten. Pure, and never raises: an address is whatever a browser, a
form or somebody's own hand put there.

Which platform an address speaks of is decided by the strongest sign that it has:

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
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from ctwa.phones import PhoneError, typed_phone

VALUE_CHARS = 512


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
    # By name first; then by the place where Meta's macros are put.
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
"""Every parameter that is looked at; `site/ctwa.js` sends these and no other."""

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

# {{ad.id}}, {campaignid}, __CAMPAIGN_ID__: what the platform was to put there, and did not.
_MACRO = re.compile(r"\{[^{}]*\}|__[A-Z][A-Z_]*__")
_CLICK = re.compile(r"(?=[^A-Za-z]*[A-Za-z])[A-Za-z0-9_.-]{8,512}")  # digits alone may be a phone
_ID = re.compile(r"[0-9]{5,20}")
_META_ID = re.compile(r"[0-9]{13,20}")
_UNFIT = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_HOST = re.compile(r"[\w.-]{1,253}")
_EMAIL = re.compile(r"[^\s@]@[\w-]+\.\w")
_WRITTEN_PHONE = re.compile(r"\+?\(?\d[\d().\- ]{6,20}\d")
_FULL_MOBILE = re.compile(r"55[1-9]{2}9\d{8}")


def read_page(page_url: str | None, referrer: str | None = None) -> Page:
    """What the address of a page, and that of the page before it, say."""
    before = _split(referrer)
    referrer_host = before.hostname if before else None
    parts = _split(page_url)
    if parts is None:
        return Page(referrer_host=referrer_host)
    given = _parameters(parts.query)
    macros = {name for name, value in given.items() if _has_macro(value)}
    given = {
        name: value
        for name, value in given.items()
        if name not in macros and (name in _CLICKS or not _is_personal(value))
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
        page_path=_path(parts.path),
        referrer_host=referrer_host,
        ad_platform=platform,
        has_unexpanded_macro=bool(macros),
        **{name: given[name][:VALUE_CHARS].rstrip() for name in _UTM if name in given},
        **ids,
        **clicks,
    )


def _split(address: str | None) -> SplitResult | None:
    """The parts of an address of the web; None for anything else."""
    if not address:
        return None
    try:
        parts = urlsplit(_UNFIT.sub("", address).strip())
        host = parts.hostname
    except ValueError:  # brackets that are no IPv6 address
        return None
    is_web = parts.scheme in ("http", "https") and host is not None and _HOST.fullmatch(host)
    return parts if is_web else None


def _parameters(query: str) -> dict[str, str]:
    """The known parameters that hold something; of one that comes twice, the first."""
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


def _path(path: str) -> str | None:
    """The path, with `*` in the place of what may name a person, and without `;` parameters."""
    steps = (step.partition(";")[0] for step in unquote(path, errors="replace").split("/"))
    kept = "/".join("*" if _is_personal(step) else step for step in steps)
    return _UNFIT.sub("", kept)[:VALUE_CHARS] or None


def _is_personal(value: str) -> bool:
    """Whether an e-mail address or a phone number stands in it.

    Digits alone are ids, but for a Brazilian mobile number in full; other numbers are taken for
    phones where they are written as phones are, and can exist.
    """
    value = unquote(value) if "%" in value else value
    if "@" in value and _EMAIL.search(value):
        return True
    return any(_is_phone(written) for written in _WRITTEN_PHONE.findall(value))


def _is_phone(written: str) -> bool:
    if written.isdecimal():
        return bool(_FULL_MOBILE.fullmatch(written))
    try:
        typed_phone(written)
    except PhoneError:
        return False
    return True


__all__ = ["KNOWN", "Page", "read_page"]
