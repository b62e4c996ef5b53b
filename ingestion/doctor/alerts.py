"""Who is told of failed runs and alarms. No message is sent."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from ctwa.settings import Settings
from ingestion.doctor import Finding, off, ok, wrong

_LOCAL = ("127.0.0.1", "localhost", "::1")


def channels(settings: Settings) -> Iterator[Finding]:
    """A webhook, e-mail, or nobody: which is no fault, but worth knowing."""
    mail, people = settings.smtp_url, settings.alert_recipients
    if mail and people:
        host = urlsplit(mail.get_secret_value()).hostname
        yield ok("alerts by e-mail", f"{len(people)} recipient(s), by {host}")
    elif mail or people:
        missing = "CTWA_ALERT_EMAIL_TO" if mail else "CTWA_SMTP_URL"
        yield wrong("alerts by e-mail", f"{missing} is not set", f"set {missing} (.env.example)")
    if settings.alert_webhook_url is not None:
        # The path is the secret.
        address = urlsplit(settings.alert_webhook_url.get_secret_value())
        if address.scheme != "https" and address.hostname not in _LOCAL:
            said = "CTWA_ALERT_WEBHOOK_URL is not https"
            yield wrong("alerts by webhook", said, "give the address with https")
        else:
            yield ok("alerts by webhook", f"told at {address.hostname}")
    elif not mail and not people:
        yield off(
            "alerts",
            "nobody is told of failed runs and alarms: set CTWA_ALERT_WEBHOOK_URL, or "
            "CTWA_ALERT_EMAIL_TO and CTWA_SMTP_URL",
        )
