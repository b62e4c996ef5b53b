"""Who withdrew consent since the models were built: asked at the moment of sending (E72).

The models know every word that had landed. What came into the vault since is run through the one
parser here, in memory: nothing is landed, the next run does that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.lake import Lake
from ingestion.parser import Parser
from ingestion.webhook.vault import Vault

_KEYS = ("phone_key", "bsuid_key", "email_key")


def withdrawn_since(settings: Settings, people: Mapping[str, set[str]]) -> set[str]:
    """Those of `people` (name to identity keys) whose latest word since the landing is: no.

    Raises `VaultError` where the vault cannot be read: without it nothing may be sent.
    """
    if not people:
        return set()
    wanted: dict[str, list[str]] = defaultdict(list)
    for name, keys in people.items():
        for key in keys:
            wanted[key].append(name)
    latest: dict[str, tuple[Any, bool]] = {}
    for word in _words_since(settings):
        # At the same instant the withdrawal counts, so it sorts last.
        said = (word["declared_at"], not word["is_given"])
        for name in {name for column in _KEYS for name in wanted.get(word[column] or "", ())}:
            latest[name] = max(said, latest.get(name, said))
    return {name for name, (_, is_withdrawn) in latest.items() if is_withdrawn}


def _words_since(settings: Settings) -> list[dict[str, Any]]:
    """Rows of `consents` in envelopes that have not landed."""
    landed = Lake.from_settings(settings).max_value("event_log", "envelopes", "seq")
    names = Pseudonymizer.from_settings(settings)
    parser = Parser(names, settings.default_country, settings.site_id)
    vault = Vault.open(settings.vault_url)
    try:
        return [
            word
            for batch in vault.read_batches(landed)
            for word in parser.parse(batch)["consents"].to_pylist()
        ]
    finally:
        vault.close()


__all__ = ["withdrawn_since"]
