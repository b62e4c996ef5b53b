"""Messages to people: real HTTP and a real mail server on loopback; dead channels harm nobody."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import requests

from ctwa.errors import connection_failure
from ctwa.settings import Settings, SettingsError
from publishing import notify
from publishing.notify import send_message
from tests.support.channels import hook, mailbox

PASSWORD = "p%40ss-canary"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "PAUSES", (0.01, 0.02))


def test_one_message_goes_out_by_every_channel_that_is_set(
    make_settings: Callable[..., Settings],
) -> None:
    with hook() as chat, mailbox() as mail:
        settings = make_settings(
            alert_webhook_url=chat.url,
            alert_email_to="ana@example.com, bia@example.com",
            alert_email_from="ctwa@example.com",
            smtp_url=f"smtp://ctwa%40example.com:{PASSWORD}@127.0.0.1:{mail.port}",
        )
        told = send_message(settings, "ctwa: nightly failed", "✗ meta_ads: <token> & so on")
        send_message(settings, "digest", "plain", "<p>rich</p>")
    assert (told.by, told.problems) == (["webhook", "e-mail"], {})
    # What Slack would take for a mention or a link is text.
    first = "*ctwa: nightly failed*\n✗ meta_ads: &lt;token&gt; &amp; so on"
    assert chat.texts == [first, "*digest*\nplain"]
    sent, digest = mail.mails
    told_as = {p.get_content_type(): p.get_content().strip() for p in digest.iter_parts()}
    assert told_as == {"text/plain": "plain", "text/html": "<p>rich</p>"}
    assert sent["Subject"] == "ctwa: nightly failed"
    assert (sent["From"], sent["To"]) == ("ctwa@example.com", "ana@example.com, bia@example.com")
    assert sent.get_content().strip() == "✗ meta_ads: <token> & so on"
    assert mail.recipients == 2 * ["ana@example.com", "bia@example.com"]
    assert mail.logins == 2 * [("ctwa@example.com", "p@ss-canary")]


def test_nothing_is_sent_where_nothing_is_set(settings: Settings) -> None:
    assert send_message(settings, "subject", "text") == notify.Notified()


def test_a_channel_that_refuses_is_told_without_its_secret_and_the_other_works(
    make_settings: Callable[..., Settings],
) -> None:
    with hook() as chat, mailbox() as mail:
        settings = make_settings(
            alert_webhook_url=chat.url,
            alert_email_to="ana@example.com",
            smtp_url=f"smtp://127.0.0.1:{mail.port}",
        )
        chat.status = 404
        first = send_message(settings, "s", "t")
        chat.status, mail.accepts = 200, False
        second = send_message(settings, "s", "t")
    assert first.by == ["e-mail"]
    assert first.problems == {"webhook": "the webhook answers 404; check its address"}
    assert second.by == ["webhook"]
    assert second.problems == {"e-mail": "SMTPRecipientsRefused"}


def test_a_redirect_is_not_followed(make_settings: Callable[..., Settings]) -> None:
    with hook() as chat:
        chat.status = 302
        told = send_message(make_settings(alert_webhook_url=chat.url), "s", "t")
    assert told.by == []
    assert len(chat.texts) == 1


def test_dead_channels_raise_nothing_and_give_no_address_away(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "SECONDS", 0.2)
    settings = make_settings(
        alert_webhook_url="http://127.0.0.1:9/canary",
        alert_email_to="ana@example.com",
        smtp_url=f"smtps://u:{PASSWORD}@127.0.0.1:9",
    )
    told = send_message(settings, "s", "t")
    assert told.by == []
    said = "connection refused, after 3 tries"
    assert told.problems == {"webhook": said, "e-mail": said}


def test_e94_a_webhook_that_is_down_for_a_moment_is_tried_again_within_bounds(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    with hook() as chat, mailbox() as mail:
        settings = make_settings(
            alert_webhook_url=chat.url,
            alert_email_to="ana@example.com",
            smtp_url=f"smtp://127.0.0.1:{mail.port}",
        )
        chat.status = 503
        monkeypatch.setattr(notify.time, "sleep", lambda _: setattr(chat, "status", 200))
        assert send_message(settings, "s", "t").by == ["webhook", "e-mail"]
        monkeypatch.setattr(notify.time, "sleep", lambda _: None)
        chat.status = 503
        told = send_message(settings, "s", "t")
    assert len(chat.texts) == 2 + 3
    assert told.problems == {"webhook": "the webhook answers 503, after 3 tries"}
    # Who is told by the other channel learns of it.
    said = mail.mails[-1].get_content()
    assert "(not sent by webhook: the webhook answers 503, after 3 tries)" in said


def test_e94_no_channel_is_tried_for_longer_than_a_sensor_may_take(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "PATIENCE", 0.0)
    with hook() as chat:
        chat.status = 500
        send_message(make_settings(alert_webhook_url=chat.url), "s", "t")
    assert len(chat.texts) == 1


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:9/x", "connection refused"),
        ("http://no-such-host.invalid/x", "name not found"),
    ],
)
def test_what_was_seen_of_a_dead_address_is_said(url: str, said: str) -> None:
    with pytest.raises(requests.RequestException) as error:
        requests.get(url, timeout=2)
    assert connection_failure(error.value) == said


def test_a_password_does_not_leave_the_machine_in_the_clear(
    make_settings: Callable[..., Settings],
) -> None:
    with mailbox("127.0.0.2") as mail:
        settings = make_settings(
            alert_email_to="ana@example.com", smtp_url=f"smtp://u:{PASSWORD}@127.0.0.2:{mail.port}"
        )
        told = send_message(settings, "s", "t")
    assert "no STARTTLS" in told.problems["e-mail"]
    assert (mail.logins, mail.mails) == ([], [])


def test_a_long_text_is_cut_at_the_end_of_a_line() -> None:
    text = "\n".join(["x" * 99] * 60)
    short = notify.shortened(text)
    assert len(short) <= notify.MAX_CHARS
    assert short.endswith(f"{'x' * 99}\n…")
    assert notify.shortened("short") == "short"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CTWA_ALERT_WEBHOOK_URL", "hooks.slack.com/canary"),
        ("CTWA_SMTP_URL", "mail.example.com:canary"),
        ("CTWA_SMTP_URL", "smtp://u:can@ary@mail.example.com"),
        ("CTWA_ALERT_EMAIL_TO", "Ana <canary@example.com>"),
    ],
)
def test_a_wrong_address_is_one_line_without_the_value(
    make_settings: Callable[..., Settings], name: str, value: str
) -> None:
    with pytest.raises(SettingsError, match=f"^{name}: expects") as error:
        make_settings(**{name: value})
    assert "canary" not in str(error.value)
