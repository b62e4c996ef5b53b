"""Small pictures of ads for the report, fetched while it is written (`CTWA_REPORT_THUMBNAILS`).

The page itself makes no requests: pictures are in it, as data URIs. Addresses come from Meta's API
and from webhooks and expire after some days, so each picture is fetched once and kept in the data
folder, by creative. Only Meta's own hosts are asked, by https, also after a redirect: an
address in a webhook must not make this machine call one of its neighbours. What arrives is decoded
and encoded again, never passed on.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import duckdb
import requests

from ctwa.errors import CtwaError, connection_failure
from ctwa.files import write_durably
from ctwa.settings import Settings
from publishing.report.columns import words
from publishing.report.room import REPORT_BYTES

HOSTS = ("fbcdn.net", "facebook.com", "cdninstagram.com", "whatsapp.net")
"""Where Meta keeps pictures of creatives; these and hosts below them."""
ADS = 120
"""Ads that get a picture: those with the most spend in `DAYS` days."""
DAYS = 90
SIDE = 80
"""Pixels; the page shows half as many, for sharp screens."""
SECONDS = 3.0
"""For one picture, with its redirects. With `AT_ONCE` fetches, all of them take under a minute."""
AT_ONCE = 8
REDIRECTS = 2
MAX_BYTES = 2_000_000
MAX_PIXELS = 16_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
_FOLDER = "thumbnails"

_WANTED = """
with spent as (
    select platform, ad_id, sum(spend_reporting) as spend
    from marts.fct_ad_spend
    where spend_date > (select max(spend_date) from marts.fct_ad_spend) - $days::integer
    group by platform, ad_id
)
select ads.platform, ads.ad_id, coalesce(ads.creative_id, 'ad ' || ads.ad_id), ads.thumbnail_url
from marts.dim_ads as ads
inner join spent on ads.platform = spent.platform and ads.ad_id = spent.ad_id
where ads.thumbnail_url is not null
order by spent.spend desc nulls last, ads.platform, ads.ad_id
limit $ads
"""

log = logging.getLogger(__name__)


class PictureError(CtwaError):
    """Why there is no picture. `passes`: another try may have one."""

    def __init__(self, text: str, *, passes: bool = False) -> None:
        super().__init__(text)
        self.passes = passes


@dataclass(frozen=True)
class Wanted:
    """An ad and where its picture is."""

    platform: str
    ad: str
    creative: str
    url: str


@dataclass(frozen=True)
class Thumbnails:
    """What is known of the pictures of one report."""

    uris: dict[tuple[str, str], str]
    """(platform, ad id) -> data URI, most spend first."""
    wanted: int
    problems: dict[str, int]
    """Ads without a picture by reason."""
    is_final: bool
    """False if a picture may come at another try."""

    def __str__(self) -> str:
        text = f"thumbnails of {len(self.uris)} of {self.wanted} ads"
        missing = ", ".join(f"{count} {reason}" for reason, count in self.problems.items())
        return f"{text}; without one: {missing}" if missing else text


def thumbnails(settings: Settings, *, fetch: bool = True) -> Thumbnails:
    """Pictures of the ads with the most spend. Never fails: an ad without one keeps its icon.

    `fetch` false: only those that are kept already.
    """
    with duckdb.connect(str(settings.marts_path), read_only=True) as marts:
        rows = marts.execute(_WANTED, {"days": DAYS, "ads": ADS}).fetchall()
    wanted = [Wanted(*row) for row in rows]
    folder = settings.data_dir / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    by_path = {_path(folder, one): one for one in reversed(wanted)}
    missing = [(path, one) for path, one in by_path.items() if not path.exists()]
    errors: dict[Path, PictureError] = {}
    if fetch:
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="thumbnail") as pool:
            tried = pool.map(lambda pair: _fetched(*pair), missing)
            errors = {path: error for path, error in tried if error is not None}
    else:
        errors = {path: PictureError("not fetched yet", passes=True) for path, _ in missing}
    uris, problems = {}, Counter[str]()
    for one in wanted:
        path = _path(folder, one)
        if path in errors:
            problems[str(errors[path])] += 1
        else:
            uris[one.platform, one.ad] = _uri(path.read_bytes())
    is_final = not any(error.passes for error in errors.values())
    return Thumbnails(uris, len(wanted), dict(problems.most_common()), is_final)


def put(content: dict[str, Any], found: Thumbnails, page_bytes: int) -> None:
    """Add the column `picture` to the ads of a payload whose page has so many bytes without it.

    Pictures that would make the report too large are left out, least spend first.
    """
    ads = content["ads"]
    room = REPORT_BYTES - page_bytes - 40 - 4 * len(ads["id"]["i"])  # the column, and its indexes
    kept: dict[tuple[str, str], str] = {}
    counted: set[str] = set()
    for key, uri in found.uris.items():
        if uri not in counted:
            room -= len(uri) + 3  # quotes and comma
            counted.add(uri)
        if room < 0:
            log.warning("%d thumbnails do not fit into the report", len(found.uris) - len(kept))
            break
        kept[key] = uri
    keys = zip(_texts(ads["platform"]), _texts(ads["id"]), strict=True)
    content["ads"] = {**ads, "picture": words([kept.get(key) for key in keys])}


def is_allowed(url: str) -> bool:
    """Whether an address may be asked: https, the usual port, one of `HOSTS`, no password in it."""
    from urllib3.exceptions import LocationParseError
    from urllib3.util import parse_url

    # As the library that connects reads it: to others `https://evil.example\.fbcdn.net` is Meta's.
    try:
        parts = parse_url(url)
    except LocationParseError:
        return False
    host = (parts.host or "").rstrip(".")
    return (
        parts.scheme == "https"
        and parts.port in (None, 443)
        and parts.auth is None
        and any(host == one or host.endswith(f".{one}") for one in HOSTS)
    )


def shrunk(content: bytes) -> bytes:
    """A picture as a square WebP of `SIDE` pixels, without metadata. Raises `PictureError`."""
    from PIL import Image, ImageOps

    try:
        with Image.open(BytesIO(content), formats=FORMATS) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise PictureError("too large")
            opened.draft("RGB", (2 * SIDE, 2 * SIDE))  # JPEG: decodes no more than is needed
            picture = opened.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        square = ImageOps.fit(Image.alpha_composite(white, picture).convert("RGB"), (SIDE, SIDE))
        made = BytesIO()
        square.save(made, "WEBP", quality=70)
        return made.getvalue()
    except PictureError:
        raise
    except Exception:  # noqa: BLE001 - decoders fail on bad files in many ways
        raise PictureError("not a picture") from None


def _fetched(path: Path, one: Wanted) -> tuple[Path, PictureError | None]:
    try:
        write_durably(path, shrunk(_body(one.url)))
    except PictureError as error:
        return path, error
    except OSError as error:
        return path, PictureError(f"not kept: {error.strerror}", passes=True)
    return path, None


def _body(url: str) -> bytes:
    until = time.monotonic() + SECONDS
    for _ in range(REDIRECTS + 1):
        if not is_allowed(url):
            raise PictureError("not at one of Meta's addresses")
        left = until - time.monotonic()
        try:
            # As it is: a small compressed body may be a large one.
            headers = {"Accept": "image/*", "Accept-Encoding": "identity"}
            with requests.get(
                url, headers=headers, timeout=max(left, 0.1), allow_redirects=False, stream=True
            ) as answer:
                if not answer.is_redirect:
                    return _read(answer, until)
                url = urljoin(url, answer.headers["location"])
        except (requests.RequestException, OSError) as error:
            raise PictureError(connection_failure(error), passes=True) from None
    raise PictureError("redirected too often")


def _read(answer: requests.Response, until: float) -> bytes:
    if answer.status_code != 200:
        passes = answer.status_code >= 500 or answer.status_code == 429
        raise PictureError(f"HTTP {answer.status_code}", passes=passes)
    content = bytearray()
    for chunk in _chunks(answer):
        content += chunk
        if len(content) > MAX_BYTES:
            raise PictureError("too large")
        if time.monotonic() > until:
            raise PictureError("no answer in time", passes=True)
    return bytes(content)


def _chunks(answer: requests.Response) -> Iterator[bytes]:
    import urllib3

    try:
        # `read1` gives what has come; `read` waits until the whole chunk is there, however slowly.
        while chunk := answer.raw.read1(65536, decode_content=False):
            yield chunk
    except urllib3.exceptions.HTTPError as error:
        raise requests.ConnectionError(error) from error


def _path(folder: Path, one: Wanted) -> Path:
    key = hashlib.sha256(f"{one.platform} {one.creative}".encode()).hexdigest()
    return folder / f"{key[:32]}.webp"


def _uri(picture: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(picture).decode()}"


def _texts(column: Any) -> Sequence[str]:
    return [column["w"][index] for index in column["i"]]
