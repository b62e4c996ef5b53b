"""The systems that something is sent to: Meta, HubSpot, a CRM's own address.

Nothing is sent unless the whole last build passed its blocking checks. `orchestration.activation`
makes assets of them; `ctwa live` sends by them too, without Dagster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ctwa.errors import CtwaError
from ctwa.settings import Settings
from orchestration.faults import describe, where
from orchestration.rebuild import unchecked_build

EVENTS = ("meta_conversions", "events")
CONTACTS = ("hubspot_contacts", "attribution")
LEADS = ("crm_webhook", "leads")
"""Paths of the assets of destinations."""


class UncheckedBuildError(CtwaError):
    """The last build was not completed or did not pass its checks: nothing is sent from it."""


@dataclass(frozen=True)
class Alarm:
    """A check that warns while the number `count` is not zero."""

    name: str
    count: str
    text: str
    """What it means and what to do; follows the number."""
    named: str = ""
    """The field of the counts that lists them, without personal values."""


@dataclass(frozen=True)
class Destination:
    """A system that something is sent to, and how that is shown."""

    path: Sequence[str]
    """Of its asset; the first part is the system."""
    kinds: frozenset[str]
    description: str
    mode: str
    outboxes: Sequence[str]
    """Models of schema `activation` with what is to be sent."""
    send: Callable[[], Any]
    """Returns counts: a dataclass of numbers, and of mappings that are shown as tables."""
    off_because: str | None = None
    alarms: Sequence[Alarm] = field(default=())

    def attempt(self, settings: Settings) -> Attempt:
        """Send what is due, if the last build passed its checks. Never raises."""
        try:
            if not self.off_because and (since := unchecked_build(settings)):
                raise UncheckedBuildError(
                    f"nothing was sent: the build of {since} did not pass all blocking checks; fix "
                    "what they name, then run the refresh again"
                )
            return Attempt(self, self.send())
        except Exception as error:  # noqa: BLE001 - reported by the caller; the others go on
            problem = str(error) if isinstance(error, UncheckedBuildError) else describe(error)
            return Attempt(self, getattr(error, "counts", None), problem, where(error))


@dataclass(frozen=True)
class Attempt:
    """What became of one destination in one run."""

    destination: Destination
    counts: Any
    """A dataclass as `Destination.send` returns it; None where it failed before it had any."""
    problem: str = ""
    """What happened and what to do; empty: everything due was sent."""
    stack: str = ""
    """Where an unexpected error was raised."""

    @property
    def status(self) -> str:
        """`failed`, `off` or `sent`."""
        off = self.destination.off_because
        return "failed" if self.problem else "off" if off else "sent"

    def alarms(self) -> Iterator[tuple[Alarm, int, str]]:
        """Each alarm with its number, 0 if it is quiet, and its text."""
        for alarm in self.destination.alarms:
            number = int(getattr(self.counts, alarm.count, 0) or 0)
            named = getattr(self.counts, alarm.named, []) if alarm.named else []
            text = f"{number:,} {alarm.text}" if number else "none"
            yield alarm, number, text + (f": {'; '.join(named)}" if named else "")


def destinations(settings: Settings) -> list[Destination]:
    """All of them, also those that are off."""
    return [_conversions(settings), _hubspot(settings), _webhook(settings)]


def writes_to_hubspot(settings: Settings) -> bool:
    """Whether leads' sources are written to HubSpot's contacts."""
    return settings.hubspot_is_on and settings.hubspot_write_back == "live"


def _conversions(settings: Settings) -> Destination:
    mode = settings.meta_conversions_mode

    def send() -> Any:
        from activation.conversions import send_conversions

        return send_conversions(settings)

    return Destination(
        path=EVENTS,
        kinds=frozenset({"meta"}),
        description=(
            "Qualified and won leads as conversion events, so that Meta can optimise for "
            "buyers. Each is sent once, as Meta does not deduplicate. See docs/conversions.md."
        ),
        mode=mode,
        outboxes=["conversion_outbox"],
        # Runs even if off: that ends the activation, so events of the meantime are never sent.
        send=send,
        off_because="META_CONVERSIONS_MODE is off." if mode == "off" else None,
        alarms=[
            Alarm(
                "fates_are_known",
                "unknown",
                "events whose requests ended without an answer, so Meta may or may not have them; "
                "they are not sent again (META_CONVERSIONS_ON_UNKNOWN=resend would, and might "
                "count them twice)",
            ),
            Alarm(
                "none_rejected",
                "rejected",
                "events that Meta rejected; `reason` in conversion_events says why, "
                "docs/conversions.md what to do",
            ),
        ],
    )


def _hubspot(settings: Settings) -> Destination:
    off = None
    if not settings.hubspot_is_on:
        off = "set HUBSPOT_TOKEN to connect HubSpot (see docs/connect/hubspot.md)."
    elif settings.hubspot_write_back == "off":
        off = "HUBSPOT_WRITE_BACK is off."

    def send() -> Any:
        from activation.hubspot import write_back

        return write_back(settings)

    return Destination(
        path=CONTACTS,
        kinds=frozenset({"hubspot"}),
        description=(
            "Source, channel, campaign, ad and first touch of each lead, written to its contact; "
            "only changes are written. See docs/write-back.md."
        ),
        mode=settings.hubspot_write_back,
        outboxes=["crm_outbox", "crm_records"],
        send=send,
        off_because=off,
        alarms=[
            Alarm(
                "none_refused",
                "refused",
                "contacts that HubSpot refused, by category in `refusals`; in HubSpot, fill in or "
                "correct what is named, or relax the account's rule (see docs/write-back.md)",
                "named",
            ),
        ],
    )


def _webhook(settings: Settings) -> Destination:
    def send() -> Any:
        from activation.webhook import post_leads

        return post_leads(settings)

    return Destination(
        path=LEADS,
        kinds=frozenset({"webhook"}),
        description=(
            "A signed POST to your CRM for each new lead, and when its source changes. "
            "See docs/write-back.md."
        ),
        mode="live",
        outboxes=["crm_outbox"],
        send=send,
        off_because=None if settings.crm_webhook_url else "CTWA_CRM_WEBHOOK_URL is not set.",
        alarms=[
            Alarm(
                "none_given_up",
                "given_up",
                "leads that the CRM's address did not accept for two days; they are not tried "
                "again, so check what is wrong with it",
            ),
            Alarm(
                "none_refused",
                "refused",
                "leads that the CRM's address refused; its log says why",
            ),
        ],
    )
