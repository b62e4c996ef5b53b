"""`ctwa doctor`: is everything set up, reachable and permitted? Each ✗ says how to fix it.

An examination asks as little as possible (one small request per account) and writes nothing except
a probe file and the vault's own probe row. `fix` also creates what HubSpot lacks and, with `deep`,
restores damaged files of the lake from a backup. Texts never contain a secret.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from ctwa.errors import CtwaError
from ctwa.settings import Settings
from ingestion.source import Finding, SourceError, refused, wrong

log = logging.getLogger(__name__)


Examination = Callable[[Settings], Iterator[Finding]]


def examine(
    settings: Settings, *, receiver_url: str = "", fix: bool = False, deep: bool = False
) -> list[Finding]:
    """Every finding, in the order in which a message travels. Never raises.

    `receiver_url` overrides that of the settings.
    """
    from commands.doctor import inbound, installation, outbound, stores
    from ingestion import sources
    from ingestion.crm.hubspot.account import examine_write_back

    receiver_url = receiver_url or settings.receiver_url.rstrip("/")
    examinations: list[tuple[str, Examination]] = [
        ("versions", installation.versions),
        ("names of settings", installation.names),
        ("rules", installation.rules),
        ("engine", installation.engine),
        ("chat rules", installation.chat_rules),
        ("data directory", installation.data_directory),
        ("keys and stores", stores.stores),
        ("lake files", lambda s: stores.lake_files(s, deep=deep, fix=fix)),
        ("vault bodies", lambda s: stores.vault_bodies(s, deep=deep)),
        ("ledgers", stores.ledgers),
        ("receiver", lambda s: inbound.receiver(s, receiver_url)),
        ("ways in", inbound.ways_in),
        ("WhatsApp routing", inbound.numbers),
        *((s.title, s.examine) for s in sources.SOURCES if s.examine is not None),
        ("API versions", installation.ends),
        ("conversions", outbound.conversions),
        ("HubSpot write-back", lambda s: examine_write_back(s, fix=fix)),
        ("CRM webhook", outbound.crm_webhook),
        ("marts", outbound.marts),
        ("readers", outbound.readers),
        ("schedules", installation.schedules),
        ("live", installation.live),
        ("lock of all hosts", installation.lock),
        ("run history", installation.history),
        ("alerts", outbound.channels),
        ("backup", stores.backups),
    ]
    findings: list[Finding] = []
    for name, examination in examinations:
        try:
            findings += examination(settings)
        except SourceError as error:
            findings.append(refused(name, error))
        except CtwaError as error:
            findings.append(wrong(name, f"could not be examined: {error}", "fix this first"))
        except Exception as error:
            log.debug("%s", name, exc_info=True)
            findings.append(
                wrong(
                    name,
                    f"could not be examined: {type(error).__name__}",
                    "run `ctwa -v doctor` and report its output",
                )
            )
    return findings
