"""Small HTTP clients for the receiver's tests, one of them on a bare socket."""

from __future__ import annotations

import http.client
import json
import socket
import urllib.parse
from typing import NamedTuple

from ingestion.webhook.endpoints import sign

APP_SECRET = "app-secret-canary-7b1e"
INTAKE_SECRET = "intake-secret-canary-93aa"
VERIFY_TOKEN = "verify-token-canary-55d0"

BODY = b'{"object":"whatsapp_business_account","entry":[]}'
OUTCOME = {
    "event_id": "deal-1",
    "stage": "qualified",
    "occurred_at": "2026-05-04T14:31:00-03:00",
    "phone": "+55 11 98765-4321",
}
CONSENT = {
    "given": False,
    "declared_at": "2026-05-04T14:31:00-03:00",
    "phone": "+55 11 98765-4321",
}
WEB_LEAD = {
    "lead_id": "9f1c0a7e5b2d4c6e8a0b1c2d3e4f5a6b",
    "submitted_at": "2026-05-04T14:31:00-03:00",
    "phone": "(11) 98765-4321",
    "email": "ana.souza@example.com",
    "page_url": "https://www.example.com/lp?utm_source=google&utm_medium=cpc&gclid=Cj0KCQ-abc_DEF",
    "referrer": "https://www.google.com",
    "brand": "aurora",
}


class Reply(NamedTuple):
    """Status, body and lower-case headers."""

    status: int
    body: bytes
    headers: dict[str, str]


def request(url: str, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
    """One request on a connection of its own; `x_signature` becomes the header `x-signature`."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    try:
        names = {k.replace("_", "-"): v for k, v in headers.items()}
        connection.request(method, path, body=body, headers=names)
        reply = connection.getresponse()
        fields = {k.lower(): v for k, v in reply.getheaders()}
        return Reply(reply.status, reply.read(), fields)
    finally:
        connection.close()


def get(url: str, path: str) -> Reply:
    """GET."""
    return request(url, "GET", path)


def post_whatsapp(url: str, body: bytes = BODY, secret: str = APP_SECRET) -> Reply:
    """A rightly signed webhook."""
    signature = sign(body, secret.encode())
    return request(url, "POST", "/webhooks/whatsapp", body, x_hub_signature_256=signature)


def post_outcomes(url: str, content: object, secret: str = INTAKE_SECRET) -> Reply:
    """Rightly signed outcomes; bytes are sent as they are."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    signature = sign(body, secret.encode())
    return request(url, "POST", "/webhooks/outcomes", body, x_signature_256=signature)


def post_consents(url: str, content: object, secret: str = INTAKE_SECRET) -> Reply:
    """Rightly signed words of consent; bytes are sent as they are."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    signature = sign(body, secret.encode())
    return request(url, "POST", "/webhooks/consents", body, x_signature_256=signature)


def post_leads(url: str, content: object, secret: str = INTAKE_SECRET) -> Reply:
    """Rightly signed web leads; bytes are sent as they are."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    signature = sign(body, secret.encode())
    return request(url, "POST", "/webhooks/leads", body, x_signature_256=signature)


def open_socket(url: str) -> socket.socket:
    """A connected socket, for requests that no client library would send."""
    parts = urllib.parse.urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=20)


def raw(url: str, data: bytes) -> bytes:
    """Send `data`, return everything until the server closes."""
    with open_socket(url) as connection:
        connection.sendall(data)
        return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    """Everything until the server closes (a reset counts as closing)."""
    found = b""
    try:
        while part := connection.recv(65_536):
            found += part
    except ConnectionResetError:
        pass
    return found
