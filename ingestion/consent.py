"""`ctwa consent`: one person gave consent to marketing, or withdrew it (E72).

The word goes the way everything goes: as an envelope into the vault, from there into the event
log, so that a full rebuild knows of it. The latest word on a person counts, wherever it came from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from ctwa.settings import Settings
from ingestion.parser.consents import SOURCE
from ingestion.webhook.consents import validate_consent
from ingestion.webhook.fields import IntakeError
from ingestion.webhook.vault import NewEnvelope, Vault, microseconds

SAID_BY_COMMAND = "ctwa_consent"
_OPTIONS = {"phone": "--phone", "user_id": "--bsuid", "email": "--email"}


class ConsentError(ValueError):
    """What was given cannot be anybody's word; the text names the option and the mend."""


@dataclass(frozen=True, slots=True)
class Declared:
    """What was declared. `field`: phone, user_id or email."""

    field: str
    is_given: bool

    def text(self) -> str:
        """What happened and when it shows, for people."""
        whose = f"the person with this {_WORDS[self.field]}"
        if self.is_given:
            return (
                f"Consent given by {whose}: from the next refresh on their outcomes may be sent to "
                "Meta. --withdrawn takes it back."
            )
        return (
            f"Consent withdrawn by {whose}: from the next refresh on nothing of theirs is sent to "
            "Meta; conversion_events says skipped, consent_withdrawn. What was sent before stays "
            "with Meta; leads and reports stay as they are. --given takes it back; `ctwa forget` "
            "erases the person."
        )


_WORDS = {"phone": "phone", "user_id": "user id", "email": "e-mail address"}


def declare(
    settings: Settings,
    *,
    given: bool | None,
    phone: str | None = None,
    bsuid: str | None = None,
    email: str | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Declared:
    """Declare that one person gave (`given`) or withdrew consent, as of now.

    Raises `ConsentError`, `VaultError`.
    """
    named = {"phone": phone, "user_id": bsuid, "email": email}
    chosen = {name: value for name, value in named.items() if value and value.strip()}
    if len(chosen) != 1:
        raise ConsentError(f"give exactly one of {', '.join(_OPTIONS.values())}")
    if given is None:
        raise ConsentError("say --withdrawn or --given")
    moment = now()
    statement = {
        **chosen,
        "given": given,
        "declared_at": moment.isoformat(),
        "source": SAID_BY_COMMAND,
    }
    (field,) = chosen
    try:  # what the parser would quarantine later is refused now
        validate_consent(statement, default_country=settings.default_country)
    except IntakeError as error:
        raise ConsentError(f"{_OPTIONS[field]}: {error.problems[0].reason}") from None
    vault = Vault.open(settings.vault_url)
    try:
        vault.append([NewEnvelope(microseconds(moment), SOURCE, orjson.dumps(statement))])
    finally:
        vault.close()
    return Declared(field, given)
