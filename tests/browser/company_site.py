"""A company's little site on loopback: landing page, form handler, WhatsApp button and snippet.

Its form handler does what docs/connect/website.md shows: it signs what the visitor sent, together
with the snippet's fields, and posts it to the receiver.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qsl, urlsplit

from tests.ingestion.webhook.clients import post_leads

SITE_ID = "aurora"
SNIPPET = Path(__file__).resolve().parents[2] / "site" / "ctwa.js"
NUMBER = "5511400012345"

_PAGE = """<!doctype html><html lang="pt-BR"><head><meta charset="utf-8"><title>Aurora</title>
<link rel="icon" href="data:,">
<script src="/ctwa.js" data-site="{site}" data-receiver="{receiver}" data-text="Oi" defer></script>
</head><body>
<a id="next" href="/sobre">Sobre</a>
<form id="lead" method="post" action="/form">
  <input name="phone"><input name="email"><button>Enviar</button>
</form>
<form id="off" data-ctwa="off" method="post" action="/nothing"><button>Sair</button></form>
<form id="search" action="/nothing"><input type="search" name="q"><button>Buscar</button></form>
<a id="chat" target="_blank" href="https://wa.me/{number}?text=Ol%C3%A1%2C%20quero%201%2B1">WhatsApp</a>
<a id="same" href="https://api.whatsapp.com/send?phone={number}"><b id="in">WhatsApp</b></a>
<a id="quiet" data-ctwa="off" target="_blank" href="https://wa.me/{number}">WhatsApp</a>
<a id="short" target="_blank" href="https://wa.me/message/ABCDEF">WhatsApp</a>
</body></html>"""


@dataclass
class Site:
    """Where the site is, and what its form handler was sent and answered."""

    url: str
    receiver: str = ""
    forms: list[dict[str, str]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    def page(self) -> bytes:
        """The one page, at every address."""
        page = _PAGE.format(site=SITE_ID, receiver=self.receiver, number=NUMBER)
        return page.encode()

    def take(self, form: dict[str, str]) -> None:
        """A form that came: signed, and on to the receiver."""
        self.forms.append(form)
        lead = {
            "lead_id": form.get("ctwa_lead_id"),
            "submitted_at": datetime.now(UTC).isoformat(),
            "phone": form.get("phone"),
            "email": form.get("email"),
            "page_url": form.get("ctwa_page_url"),
            "referrer": form.get("ctwa_referrer"),
        }
        self.answers.append(post_leads(self.receiver, lead).status)


@contextmanager
def running_site() -> Iterator[Site]:
    """The site on a free port; give it the receiver's address before a page is opened."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_script = urlsplit(self.path).path == "/ctwa.js"
            self._send(SNIPPET.read_bytes() if is_script else site.page(), is_script)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            if urlsplit(self.path).path == "/form":
                site.take(dict(parse_qsl(body, keep_blank_values=True)))
            else:
                site.forms.append(dict(parse_qsl(body)))
            self._send(site.page(), False)

        def _send(self, content: bytes, is_script: bool) -> None:
            self.send_response(200)
            kind = "text/javascript" if is_script else "text/html"
            self.send_header("content-type", f"{kind}; charset=utf-8")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site = Site(f"http://127.0.0.1:{server.server_address[1]}")
    thread = Thread(target=server.serve_forever, name="site", daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)


def fields_of(body: bytes) -> dict[str, str]:
    """A JSON body of strings."""
    found: dict[str, str] = json.loads(body)
    return found
