"""Pictures of ads in the report: small, kept, and no way in for foreign bytes or calls."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from ctwa.settings import Settings
from publishing.report import thumbnails
from publishing.report.page import write_report
from tests.support.report import AS_OF, write_marts
from tests.support.report_page import payload_of, words


def picture(kind: str = "PNG", size: tuple[int, int] = (300, 200), **more: Any) -> bytes:
    made = BytesIO()
    Image.new("RGB", size, "#c03020").save(made, kind, **more)
    return made.getvalue()


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HIDDEN = b"somebody's place"
JPEG = picture("JPEG", comment=HIDDEN)


@dataclass
class Pictures:
    """A server on loopback; `asked` are the paths of its requests."""

    url: str = ""
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pictures]:
    """Every way in which a host answers. In its tests it stands for Meta's hosts, alone."""
    served, ended = Pictures(), threading.Event()
    bodies = {
        "/good.png": picture(),
        "/good.jpg": JPEG,
        "/script.svg": SVG,
        "/not.png": b"<html>log in</html>",
        "/half.jpg": JPEG[: len(JPEG) // 2],
        "/huge.png": b"\x89PNG\r\n\x1a\n" + bytes(200_000),
        "/wide.png": picture(size=(8_000, 2_001)),
    }
    elsewhere = {
        "/moved.png": "/good.png",
        "/inside.png": "http://169.254.169.254/latest/meta-data",
        "/circle.png": "/circle.png",
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append(self.path)
            if self.path in elsewhere:
                self.send_response(302)
                self.send_header("Location", elsewhere[self.path])
                self.end_headers()
            elif self.path == "/slow.png":
                self.send_response(200)
                self.end_headers()
                while not ended.wait(0.05):  # a little at a time, for as long as it is listened to
                    try:
                        self.wfile.write(b"\x89")
                        self.wfile.flush()
                    except OSError:
                        return
            else:
                body = bodies.get(self.path)
                self.send_response(200 if body else 404)
                self.send_header("Content-Type", "image/png")
                self.end_headers()
                try:
                    self.wfile.write(body or b"")
                except OSError:  # the reader has had enough
                    return

        def log_message(self, format: str, *args: Any) -> None: ...

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, daemon=True).start()
    served.url = f"http://127.0.0.1:{http.server_port}"
    monkeypatch.setattr(thumbnails, "is_allowed", lambda url: url.startswith(f"{served.url}/"))
    monkeypatch.setattr(thumbnails, "SECONDS", 60.0)  # but for the slow one
    monkeypatch.setattr(thumbnails, "MAX_BYTES", 100_000)
    yield served
    ended.set()
    http.shutdown()
    http.server_close()


def marts(settings: Settings, *urls: str | None) -> None:
    """An ad for each address: `ad0`, `ad1` …, the first with the most spend."""
    write_marts(
        settings.marts_path,
        fct_ad_spend=[
            {"platform": "meta", "account_id": "1", "ad_id": f"ad{i}", "spend_date": AS_OF,
             "spend_reporting": str(900 - i), "campaign_id": "c", "channel": "click_to_whatsapp"}
            for i in range(len(urls))
        ],
        dim_ads=[
            {"platform": "meta", "ad_id": f"ad{i}", "ad_name": f"Ad {i}", "thumbnail_url": url,
             "creative_id": f"creative {url}"}
            for i, url in enumerate(urls)
        ],
    )  # fmt: skip


def shown(settings: Settings, *, fetch: bool = True) -> dict[str, bytes]:
    """Ad -> its picture in the report."""
    ads = payload_of(write_report(settings, fetch=fetch).path)["ads"]
    uris = words(ads["picture"]) if "picture" in ads else [None] * len(words(ads["id"]))
    head = "data:image/webp;base64,"
    return {
        ad: base64.b64decode(uri.removeprefix(head))
        for ad, uri in zip(words(ads["id"]), uris, strict=True)
        if uri and uri.startswith(head) and ad
    }


@pytest.fixture
def wanting(settings: Settings) -> Settings:
    return settings.model_copy(update={"report_thumbnails": True})


def test_pictures_are_made_small_and_what_is_none_leaves_the_icon(
    wanting: Settings, server: Pictures
) -> None:
    names = (
        "good.png", "good.jpg", "moved.png", "huge.png", "wide.png", "not.png",
        "script.svg", "half.jpg", "gone.png", "inside.png", "circle.png",
    )  # fmt: skip
    marts(wanting, *(f"{server.url}/{name}" for name in names), "https://cdn.example/a.png", None)
    written = write_report(wanting)
    assert written.pictures == (
        "thumbnails of 3 of 12 ads; without one: 3 not a picture, 2 too large, "
        "2 not at one of Meta's addresses, 1 HTTP 404, 1 redirected too often"
    )
    page = written.path.read_bytes()
    assert server.url.encode() not in page
    found = shown(wanting)
    assert sorted(found) == ["ad0", "ad1", "ad2"]
    for one in found.values():
        with Image.open(BytesIO(one)) as opened:
            assert (opened.format, opened.size) == ("WEBP", (80, 80))
    assert HIDDEN in JPEG
    assert HIDDEN not in found["ad1"]


def test_a_picture_is_kept_when_its_address_no_longer_works(
    wanting: Settings, server: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    marts(wanting, f"{server.url}/good.png")
    first = shown(wanting)
    assert server.asked == ["/good.png"]
    marts(wanting, f"{server.url}/good.png", f"{server.url}/slow.png")
    assert shown(wanting, fetch=False) == first
    assert server.asked == ["/good.png"]
    monkeypatch.setattr(thumbnails, "SECONDS", 0.2)
    assert "1 no answer in time" in write_report(wanting).pictures
    assert shown(wanting) == first
    assert server.asked == ["/good.png", "/slow.png", "/slow.png"]


def test_nothing_is_fetched_unless_it_is_asked_for(settings: Settings, server: Pictures) -> None:
    marts(settings, f"{server.url}/good.png")
    assert (shown(settings), server.asked) == ({}, [])
    assert not (settings.data_dir / "thumbnails").exists()


def test_pictures_never_make_the_report_too_large(
    wanting: Settings, server: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    marts(wanting, f"{server.url}/good.png", f"{server.url}/wide.png", f"{server.url}/good.jpg")
    without = write_report(wanting, fetch=False).bytes
    both = shown(wanting)
    assert sorted(both) == ["ad0", "ad2"]
    room = without + 4 * len(both["ad0"]) // 3 + 200  # for one of them
    monkeypatch.setattr(thumbnails, "REPORT_BYTES", room)
    made = write_report(wanting, wanting.data_dir / "y.html")
    assert made.bytes <= room
    ads = payload_of(made.path)["ads"]
    assert [uri is not None for uri in words(ads["picture"])] == [True, False, False]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://scontent.xx.fbcdn.net/v/1.jpg?oe=1", True),
        ("https://www.facebook.com/ads/image/?d=A", True),
        ("https://SCONTENT.FBCDN.NET.:443/1.jpg", True),
        ("http://scontent.xx.fbcdn.net/1.jpg", False),
        ("https://scontent.xx.fbcdn.net:8443/1.jpg", False),
        ("https://user:secret@scontent.xx.fbcdn.net/1.jpg", False),
        ("https://scontent.xx.fbcdn.net@10.0.0.1/1.jpg", False),
        ("https://evilfbcdn.net/1.jpg", False),
        ("https://evil.example\\.fbcdn.net/1.jpg", False),  # requests connects to evil.example
        ("https://fbcdn.net.example/1.jpg", False),
        ("https://127.0.0.1/1.jpg", False),
        ("https://[::1/1.jpg", False),
        ("https://scontent.xx.fbcdn.net:x/1.jpg", False),
        ("file:///etc/passwd", False),
        ("", False),
    ],
)
def test_only_metas_hosts_are_asked(url: str, expected: bool) -> None:
    assert thumbnails.is_allowed(url) is expected
