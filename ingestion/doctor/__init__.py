"""`ctwa doctor`: is everything set up, reachable and allowed? Each ✗ comes with its mend.

An examination asks as little as it can (one small request for each account) and changes nothing
but a probe file and the vault's own probe row; `fix` also makes what is missing in HubSpot. Texts
never hold a secret.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from ctwa.settings import Settings
from ingestion.errors import SourceError

log = logging.getLogger(__name__)

RECEIVER_URL = "http://127.0.0.1:8080"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one thing. `off`: not set up, which is no fault. `mend`: for `wrong`."""

    subject: str
    status: Literal["ok", "off", "wrong"]
    found: str
    mend: str = ""


def ok(subject: str, found: str) -> Finding:
    """All right."""
    return Finding(subject, "ok", found)


def off(subject: str, found: str) -> Finding:
    """Not set up; nothing is wrong with that."""
    return Finding(subject, "off", found)


def wrong(subject: str, found: str, mend: str) -> Finding:
    """To be mended."""
    return Finding(subject, "wrong", found, mend)


def refused(subject: str, error: SourceError) -> Finding:
    """What a source's own error says: its text ends with the mend, after a colon."""
    found, _, mend = str(error).rpartition(": ")
    return wrong(subject, found or str(error), mend if found else "as it says")


Examination = Callable[[Settings], Iterator[Finding]]


def examine(
    settings: Settings, *, receiver_url: str = RECEIVER_URL, fix: bool = False
) -> list[Finding]:
    """Every finding, in the order in which a message travels. Never raises."""
    from ingestion.doctor import alerts, capture, going_out, google, hubspot, local, meta

    examinations: list[tuple[str, Examination]] = [
        ("versions", local.versions),
        ("data directory", local.data_directory),
        ("keys and stores", local.stores),
        ("receiver", lambda s: capture.receiver(s, receiver_url)),
        ("ways in", capture.ways_in),
        ("Meta ads", meta.ads),
        ("Google Ads", google.ads),
        ("HubSpot", hubspot.crm),
        ("conversions", going_out.conversions),
        ("HubSpot write-back", lambda s: hubspot.write_back(s, fix=fix)),
        ("CRM webhook", going_out.crm_webhook),
        ("marts", local.marts),
        ("alerts", alerts.channels),
        ("backup", local.backups),
    ]
    findings: list[Finding] = []
    for name, examination in examinations:
        try:
            findings += examination(settings)
        except SourceError as error:
            findings.append(refused(name, error))
        except Exception as error:
            log.debug("%s", name, exc_info=True)
            findings.append(
                wrong(
                    name,
                    f"could not be examined: {type(error).__name__}",
                    "run `ctwa -v doctor` and report what it prints",
                )
            )
    return findings
