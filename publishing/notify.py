"""Sends messages to people: by a webhook that accepts Slack's JSON, and by e-mail.

A channel that is dead, slow or refuses is reported to the caller and raises nothing: an alert about
a failure must not cause another. A channel that cannot be reached is tried again a few times,
seconds apart; the other one still gets the message, with a note about the failure. Texts are sent
as given. No error text contains an address, which may hold a secret.
"""

from __future__ import annotations

import logging
import smtplib
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from functools import partial
from html import escape
from urllib.parse import SplitResult, unquote, urlsplit

import requests

from ctwa.errors import CtwaError, connection_failure
from ctwa.settings import Settings

log = logging.getLogger("ctwa.alerts")

SECONDS = 10.0
PAUSES = (2.0, 6.0)
"""Seconds before each further attempt at a channel that cannot be reached."""
PATIENCE = 20.0
"""Seconds after which no channel is tried again: Dagster ends a sensor after 60."""
_PASSING = (
    "connection refused", "connection cut", "name not found", "network unreachable",
    "no answer in time",
)  # fmt: skip
MAX_CHARS = 3500
"""Slack truncates texts at 4,000 characters."""
_LOCAL = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Notified:
    """Channels that accepted the text, and the problem with each of the others, by name."""

    by: list[str] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)


def send_message(settings: Settings, subject: str, text: str, html: str = "") -> Notified:
    """Send one message by every configured channel. Never raises.

    `html`: the same for those who read mail as HTML.
    Takes at most `PATIENCE` seconds plus one more attempt per channel.
    """
    result = Notified()
    until = time.monotonic() + PATIENCE
    for name, send in _channels(settings).items():
        notes = [f"(not sent by {other}: {problem})" for other, problem in result.problems.items()]
        body = "\n".join([shortened(text), *notes])
        rich = html and html + "".join(f"<p>{escape(note)}</p>" for note in notes)
        try:
            _patiently(name, partial(send, subject, body, rich), until)
        except Exception as error:  # noqa: BLE001 - a failed alert must not fail the run
            result.problems[name] = _problem(error)
        else:
            result.by.append(name)
    return result


class NotifyError(CtwaError):
    """The channel did not accept the text; says why, without the channel's secrets."""

    def __init__(self, text: str, *, passes: bool = False) -> None:
        super().__init__(text)
        self.passes = passes
        """Whether it may work some seconds later."""


def _patiently(name: str, send: Callable[[], None], until: float) -> None:
    for tries, pause in enumerate((*PAUSES, float("inf")), start=1):
        try:
            send()
        except Exception as error:
            if not _may_pass(error):
                raise
            if time.monotonic() + pause > until:
                note = f", after {tries} tries" if tries > 1 else ""
                raise NotifyError(f"{_problem(error)}{note}") from None
            log.warning("alerts by %s: %s; again in %.0f s", name, _problem(error), pause)
            time.sleep(pause)
        else:
            return


def _may_pass(error: Exception) -> bool:
    if isinstance(error, NotifyError):
        return error.passes
    if isinstance(error, smtplib.SMTPResponseException):
        return 400 <= error.smtp_code < 500
    return connection_failure(error) in _PASSING


def shortened(text: str) -> str:
    """The text, if too long cut at the end of a line, with an ellipsis."""
    if len(text) <= MAX_CHARS:
        return text
    head = text[: MAX_CHARS - 2]
    kept = head.rpartition("\n")[0] or head
    return f"{kept}\n…"


def _channels(settings: Settings) -> dict[str, Callable[[str, str, str], None]]:
    found: dict[str, Callable[[str, str, str], None]] = {}
    if settings.alert_webhook_url is not None:
        url = settings.alert_webhook_url.get_secret_value()
        found["webhook"] = lambda subject, text, _: _post(url, subject, text)
    if settings.smtp_url is not None and settings.alert_email_to:
        server = settings.smtp_url.get_secret_value()
        found["e-mail"] = partial(_mail, server, settings)
    return found


def _problem(error: Exception) -> str:
    # Other errors' texts may quote the address, which is secret.
    return str(error) if isinstance(error, NotifyError) else connection_failure(error)


def _post(url: str, subject: str, text: str) -> None:
    """Post `{"text": …}`, as Slack, Mattermost, Rocket.Chat and Google Chat accept it."""
    body = {"text": f"*{_escaped(subject)}*\n{_escaped(text)}"}
    # A redirect would send the text to an address that is not configured.
    answer = requests.post(url, json=body, timeout=SECONDS, allow_redirects=False, stream=True)
    answer.close()  # its body, however long, is not needed
    if answer.status_code >= 500 or answer.status_code == 429:
        raise NotifyError(f"the webhook answers {answer.status_code}", passes=True)
    if not 200 <= answer.status_code < 300:
        raise NotifyError(f"the webhook answers {answer.status_code}; check its address")


def _escaped(text: str) -> str:
    """Escape Slack's three characters, so that a campaign's name is not read as mention or link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _mail(url: str, settings: Settings, subject: str, text: str, html: str) -> None:
    server = urlsplit(url)
    message = EmailMessage()
    message["Subject"] = " ".join(subject.split())
    message["From"] = ", ".join(settings.alert_email_from) or _sender(server)
    message["To"] = ", ".join(settings.alert_email_to)
    message.set_content(text)
    if html:
        message.add_alternative(html, subtype="html")
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
            raise NotifyError(
                "the mail server offers no STARTTLS, and the password is never sent unencrypted: "
                "use smtps:// in CTWA_SMTP_URL"
            )
    except BaseException:
        smtp.close()
        raise
    return smtp


def _sender(server: SplitResult) -> str:
    user = unquote(server.username or "")
    return user if "@" in user else f"ctwa@{socket.getfqdn()}"
