"""Failed runs, failed checks and alarms, told to people once (docs/operations.md).

A run that failed is told at its end; the same failures of the same job again only after most of a
day, so that a job that tries every ten minutes is no noise. A warning is told by the run in which
it is new. Nothing here raises: a dead channel is a line in the log.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from pydantic import SecretStr

from ctwa.settings import Settings
from orchestration.alert_ledger import AlertLedger, open_alerts
from publishing.notify import tell

log = logging.getLogger("ctwa.alerts")

AGAIN_SECONDS = 20 * 3600
"""The same failures of a job are told again this late: each night, not each try."""
_SHOWN = 12

_PHONE = re.compile(r"(?<![\w.])\+?\d[\d ().-]{6,17}\d(?![\w.])")
_EMAIL = re.compile(r"[^\s@<>,;:\"'()]+@[^\s@<>,;:\"'()]+\.[A-Za-z]{2,}")
_USER_IN_URL = re.compile(r"(?<=://)[^\s/@]+@")


@dataclass(frozen=True)
class RunEnd:
    """How a run ended. `warnings`: failed checks of severity WARN, by name; `passed`: the names of
    those that passed, so that an alarm that comes back is told again."""

    job: str
    run_id: str = ""
    failures: Sequence[str] = ()
    warnings: Mapping[str, str] = field(default_factory=dict)
    passed: frozenset[str] = frozenset()
    published: bool | None = None


def tell_run(settings: Settings, end: RunEnd) -> list[str]:
    """Tell what is new of a finished run; the channels that took it. Never raises."""
    if not settings.alerts_are_on:
        return []
    try:
        with open_alerts(settings.data_dir / "alerts.db") as ledger:
            return _tell(settings, ledger, end)
    except Exception:
        log.exception("nobody could be told of run %s", end.run_id[:8] or end.job)
        return []


def _tell(settings: Settings, ledger: AlertLedger, end: RunEnd) -> list[str]:
    event = f"run:{end.run_id}"
    if end.run_id and not ledger.claim(event):
        return []
    firing = ledger.firing()
    new = {name: text for name, text in end.warnings.items() if name not in firing}
    over = [name for name in firing if name in end.passed]
    ledger.quiet(over)
    job = f"job:{end.job}"
    failures = _worth_telling(ledger, firing, job, end.failures)
    if not failures and not new:
        return []
    still = len(end.warnings) - len(new)
    subject, text = _message(end, failures, list(new.values()), still, over)
    told = tell(settings, redacted(settings, subject), redacted(settings, text))
    for channel, problem in told.problems.items():
        log.error("alerts by %s: %s", channel, problem)
    if told.by:
        ledger.fire(new)
        if failures:
            ledger.fire({job: _digest(failures)})
    elif end.run_id:
        ledger.release(event)
    return told.by


def _worth_telling(
    ledger: AlertLedger,
    firing: Mapping[str, tuple[str, float]],
    job: str,
    failures: Sequence[str],
) -> Sequence[str]:
    if not failures:
        ledger.quiet([job])
        return ()
    before, at = firing.get(job, ("", 0.0))
    is_known = before == _digest(failures) and time.time() - at < AGAIN_SECONDS
    return () if is_known else failures


def _digest(failures: Sequence[str]) -> str:
    # Numbers differ from try to try: pids, counts, times.
    plain = re.sub(r"\d+", "", "\n".join(sorted(failures)))
    return sha256(plain.encode()).hexdigest()


def _message(
    end: RunEnd, failures: Sequence[str], new: Sequence[str], still: int, over: Sequence[str]
) -> tuple[str, str]:
    if failures:
        subject = f"ctwa: {end.job} failed"
    else:
        subject = f"ctwa: {len(new)} new warning{'s' if len(new) > 1 else ''}"
    lines = [f"✗ {text}" for text in _first(failures)] + [f"! {text}" for text in _first(new)]
    if over:
        lines.append(f"over: {', '.join(over)}")
    if still:
        lines.append(f"{still} earlier warning{'s' if still > 1 else ''} still there")
    if failures and end.published is not None:
        lines.append(
            "The marts were published." if end.published else "The marts of before stay published."
        )
    if end.run_id:
        lines.append(f"Run {end.run_id[:8]} of {end.job}; more in the Dagster UI (`ctwa dev`).")
    return subject, "\n".join(lines)


def _first(texts: Sequence[str]) -> list[str]:
    shown = [" ".join(text.split())[:600] for text in texts[:_SHOWN]]
    return [*shown, f"and {len(texts) - _SHOWN} more"] if len(texts) > _SHOWN else shown


def redacted(settings: Settings, text: str) -> str:
    """The text without secrets of ours, e-mail addresses and what looks like a phone number.

    Texts are made without them; this is for the library that quotes what it choked on. Ids of our
    own accounts and ids of ads, which are longer than phone numbers, stay.
    """
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr) and len(value.get_secret_value()) >= 6:
            text = text.replace(value.get_secret_value(), "***")
    text = _USER_IN_URL.sub("***@", text)
    text = _EMAIL.sub("(e-mail)", text)
    own = {*settings.meta_accounts, *settings.google_customers, *settings.datasets}

    def phone(found: re.Match[str]) -> str:
        digits = re.sub(r"\D", "", found[0])
        is_date = re.fullmatch(r"\d{4}-\d{2}-\d{2}( \d{1,2})?", found[0])
        least = 8 if found[0].startswith("+") else 10
        if is_date or digits in own or not least <= len(digits) <= 14:
            return found[0]
        return "(number)"

    return _PHONE.sub(phone, text)
