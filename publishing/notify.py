"""Telling people: a webhook that takes Slack's JSON, and e-mail, where they are set.

A channel that is dead, slow or refuses is told to the caller and raises nothing: whoever tells of a
failure must not fail of it. Texts go out as they are given; addresses with their secrets never
come back in one.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from urllib.parse import SplitResult, unquote, urlsplit

import requests

from ctwa.settings import Settings

SECONDS = 10.0
MAX_CHARS = 3500
"""Slack cuts a text at 4,000."""
_LOCAL = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Told:
    """Channels that took the text, and what went wrong with the others (name -> problem)."""

    by: list[str] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)


def tell(settings: Settings, subject: str, text: str) -> Told:
    """Send one message by every channel that is set. Never raises."""
    told = Told()
    for name, send in _channels(settings).items():
        try:
            send(subject, shortened(text))
        except Exception as error:  # noqa: BLE001 - whatever it is, the run must not fail of it
            told.problems[name] = _problem(error)
        else:
            told.by.append(name)
    return told


class NotToldError(RuntimeError):
    """The channel did not take it; the text says why, without the channel's secrets."""


def shortened(text: str) -> str:
    """The text cut at the end of a line, saying so."""
    if len(text) <= MAX_CHARS:
        return text
    head = text[: MAX_CHARS - 2]
    kept = head.rpartition("\n")[0] or head
    return f"{kept}\n…"


def _channels(settings: Settings) -> dict[str, Callable[[str, str], None]]:
    found: dict[str, Callable[[str, str], None]] = {}
    if settings.alert_webhook_url is not None:
        url = settings.alert_webhook_url.get_secret_value()
        found["webhook"] = lambda subject, text: _post(url, subject, text)
    if settings.smtp_url is not None and settings.alert_recipients:
        server = settings.smtp_url.get_secret_value()
        found["e-mail"] = lambda subject, text: _mail(server, settings, subject, text)
    return found


def _problem(error: Exception) -> str:
    # The text of others may quote the address, which is the secret.
    return str(error) if isinstance(error, NotToldError) else type(error).__name__


def _post(url: str, subject: str, text: str) -> None:
    """`{"text": …}`, as Slack, Mattermost, Rocket.Chat and Google Chat take it."""
    body = {"text": f"*{_escaped(subject)}*\n{_escaped(text)}"}
    # A redirect would hand the text to somebody whom nobody has set.
    answer = requests.post(url, json=body, timeout=SECONDS, allow_redirects=False)
    if not 200 <= answer.status_code < 300:
        raise NotToldError(f"the webhook answers {answer.status_code}; check its address")


def _escaped(text: str) -> str:
    """Slack's three characters, so that a campaign's name is no mention and no link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _mail(url: str, settings: Settings, subject: str, text: str) -> None:
    server = urlsplit(url)
    message = EmailMessage()
    message["Subject"] = " ".join(subject.split())
    message["From"] = settings.alert_email_from or _sender(server)
    message["To"] = ", ".join(settings.alert_recipients)
    message.set_content(text)
    with _connect(server) as smtp:
        user = unquote(server.username or "")
        if user:
            smtp.login(user, unquote(server.password or ""))
        smtp.send_message(message)


def _connect(server: SplitResult) -> smtplib.SMTP:
    host = server.hostname or ""
    context = ssl.create_default_context()
    if server.scheme == "smtps":
        return smtplib.SMTP_SSL(host, server.port or 465, timeout=SECONDS, context=context)
    smtp = smtplib.SMTP(host, server.port or 587, timeout=SECONDS)
    try:
        smtp.ehlo_or_helo_if_needed()
        if smtp.has_extn("starttls"):
            smtp.starttls(context=context)
        elif server.username and host not in _LOCAL:
            raise NotToldError(
                "the mail server offers no STARTTLS, and the password is not sent in the clear: "
                "use smtps:// in CTWA_SMTP_URL"
            )
    except BaseException:
        smtp.close()
        raise
    return smtp


def _sender(server: SplitResult) -> str:
    user = unquote(server.username or "")
    return user if "@" in user else f"ctwa@{socket.getfqdn()}"
