"""How long each version of an API is served: data, each line with its source.

The sources are read again before each release. `ctwa doctor` and the alarm `api_versions` warn
`WARN_DAYS` before a version ends. A version that is not in the table is reported as unknown, never
as fine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Literal, NamedTuple

from ctwa.settings import Settings

WARN_DAYS = 60

META, GOOGLE, HUBSPOT, ECB = (
    "Meta Marketing API",
    "Google Ads API",
    "HubSpot API",
    "ECB Data Portal API",
)
HUBSPOT_VERSION = "2026-09"
"""Part of the paths of our own calls; no setting changes it."""


class ApiVersion(NamedTuple):
    """A version. `ends_on`: the first day on which it may no longer answer; None: none announced.
    `is_month`: only the month was announced, and its first day is taken. `read_on`: the day on
    which the source was read."""

    api: str
    version: str
    ends_on: date | None
    source: str
    read_on: date
    is_month: bool = False


_READ = date(2026, 11, 29)
_META = (
    "https://developers.facebook.com/documentation/ads-commerce/marketing-api/"
    "marketing-api-changelog/versions"
)
_GOOGLE = "https://developers.google.com/google-ads/api/docs/sunset-dates"
_GOOGLE_BLOG = (
    "https://developers.google.com/ads/blog/posts/2026/{}/google-ads-api-{}-sunset-reminder"
)
_HUBSPOT_LEGACY = (
    "https://developers.hubspot.com/changelog/"
    "legacy-apis-and-legacy-apps-whats-going-unsupported-and-when"
)
_HUBSPOT_V4 = "https://developers.hubspot.com/changelog/deprecating-support-for-hubspot-v4-apis"
_HUBSPOT_DATED = "https://developers.hubspot.com/docs/developer-tooling/platform/versioning"

VERSIONS: tuple[ApiVersion, ...] = (
    ApiVersion(META, "v23.0", date(2026, 6, 9), _META, _READ),
    ApiVersion(META, "v24.0", date(2026, 11, 10), _META, _READ),
    ApiVersion(META, "v25.0", date(2027, 2, 23), _META, _READ),
    ApiVersion(META, "v26.0", None, _META, _READ),
    ApiVersion(META, "v27.0", None, _META, _READ),
    ApiVersion(
        GOOGLE,
        "v21",
        date(2026, 8, 5),
        _GOOGLE_BLOG + "06/google-ads-api-v21-sunset-reminder",
        _READ,
    ),
    ApiVersion(
        GOOGLE,
        "v22",
        date(2026, 10, 7),
        _GOOGLE_BLOG + "09/google-ads-api-v22-sunset-reminder",
        _READ,
    ),
    ApiVersion(GOOGLE, "v23", date(2027, 2, 1), _GOOGLE, _READ, is_month=True),
    ApiVersion(GOOGLE, "v24", date(2027, 5, 1), _GOOGLE, _READ, is_month=True),
    ApiVersion(GOOGLE, "v25", date(2027, 8, 1), _GOOGLE, _READ, is_month=True),
    ApiVersion(GOOGLE, "v26", date(2027, 11, 1), _GOOGLE, _READ, is_month=True),
    ApiVersion(HUBSPOT, "v4", date(2027, 3, 30), _HUBSPOT_V4, _READ),
    ApiVersion(HUBSPOT, "v3", date(2027, 9, 1), _HUBSPOT_LEGACY, _READ, is_month=True),
    # Supported for 18 months after its release.
    ApiVersion(HUBSPOT, "2026-03", date(2027, 9, 1), _HUBSPOT_DATED, _READ, is_month=True),
    ApiVersion(HUBSPOT, "2026-09", date(2028, 3, 1), _HUBSPOT_DATED, _READ, is_month=True),
    ApiVersion(ECB, "SDMX 2.1", None, "https://data.ecb.europa.eu/help/api/overview", _READ),
)


@dataclass(frozen=True, slots=True)
class InUse:
    """A version that this installation calls. `setting`: the one that chooses it, '' if none."""

    api: str
    version: str
    setting: str = ""

    @property
    def subject(self) -> str:
        """Name for people, e.g. `Google Ads API v23`."""
        return f"{self.api} {self.version}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`days`: until the end, None if none is known. `fix`: how to fix it, '' if it is fine."""

    status: Literal["ok", "ends", "unknown"]
    found: str
    fix: str = ""
    days: int | None = None


def in_use(settings: Settings) -> list[InUse]:
    """The versions of what is connected."""
    found: list[InUse] = []
    if settings.meta_access_token or settings.meta_ad_account_ids:
        found.append(InUse(META, settings.meta_api_version, "META_API_VERSION"))
    if settings.google_is_on:
        found.append(InUse(GOOGLE, settings.google_ads_api_version, "GOOGLE_ADS_API_VERSION"))
    if settings.hubspot_is_on:
        found.append(InUse(HUBSPOT, HUBSPOT_VERSION))
    if settings.exchange_rates == "ecb":
        found.append(InUse(ECB, "SDMX 2.1"))
    return found


def judge(use: InUse, today: date) -> Verdict:
    """Whether a version is served for longer than `WARN_DAYS` from `today` on."""
    known = [v for v in VERSIONS if v.api == use.api]
    own = next((v for v in known if v.version == use.version), None)
    if own is None:
        return _unknown(use, known)
    read = f"as of {own.read_on:%Y-%m-%d}"
    if own.ends_on is None:
        return Verdict("ok", f"no end announced, {read}")
    when = f"{own.ends_on:%B %Y}" if own.is_month else f"{own.ends_on:%Y-%m-%d}"
    days = (own.ends_on - today).days
    if days > WARN_DAYS:
        return Verdict("ok", f"served until {when}, {read}", days=days)
    end = f"{'ended' if days <= 0 else 'ends'} {'in' if own.is_month else 'on'} {when}"
    return Verdict("ends", f"{end} ({own.source})", fix_for(use, today), days)


def newest(api: str, today: date) -> str:
    """The version in the table that is served longest; '' if none is."""
    served = [v for v in VERSIONS if v.api == api and (v.ends_on is None or v.ends_on > today)]
    lasting = max(served, key=lambda v: (v.ends_on or date.max, _number(v.version)), default=None)
    return lasting.version if lasting else ""


def fix_for(use: InUse, today: date = _READ) -> str:
    """What to do about a version that ends or has ended."""
    better = newest(use.api, today) if use.setting else ""
    if not better or better == use.version:
        return "update ctwa-attribution, whose newest release knows which version is served"
    return f"set {use.setting}={better} and run again"


def fix_for_ended(api: str, setting: str) -> str:
    """The same, if an answer says that a version has ended but not which one."""
    better = newest(api, _READ)
    return f"set {setting}={better} and run again; if it is that already, update ctwa-attribution"


def _unknown(use: InUse, known: list[ApiVersion]) -> Verdict:
    oldest = min(known, key=lambda v: _number(v.version))
    last = max(known, key=lambda v: _number(v.version))
    if _number(use.version) < _number(oldest.version):
        found = f"older than {oldest.version}, which has ended; it is no longer served"
        return Verdict("ends", found, fix_for(use))
    return Verdict(
        "unknown",
        f"its end is not known here: this release knows versions up to {last.version}, as of "
        f"{last.read_on:%Y-%m-%d}. Look it up at {last.source}",
    )


def _number(version: str) -> tuple[int, ...]:
    """`v25.0` as (25, 0); dated versions such as `2026-09` are newer than all numbered ones."""
    return tuple(int(n) for n in re.findall(r"\d+", version)) or (0,)


__all__ = [
    "HUBSPOT_VERSION",
    "VERSIONS",
    "WARN_DAYS",
    "ApiVersion",
    "InUse",
    "Verdict",
    "fix_for",
    "fix_for_ended",
    "in_use",
    "judge",
    "newest",
]  # fmt: skip
