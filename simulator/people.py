"""People, what they do, and what the product must say about them.

A story tells both at once: it emits events (a message, a status, an outcome) and states the lead
that follows from them. Nothing here repeats the product's SQL: the person who wrote the story knew
the answer. `simulator.scene` is the vocabulary the stories are written in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal

from simulator.company import AdRef, BusinessNumber, CampaignRef
from simulator.hubspot_state import HubspotState

Night = Literal[1, 2]
"""Arrives early or late: evidence of the second night meets a build of the first night's."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody on WhatsApp. `wa_id` is WhatsApp's spelling, `crm_phone` what the CRM has."""

    name: str
    country: str
    wa_id: str
    crm_phone: str
    bsuid: str
    email: str


@dataclass(frozen=True, slots=True)
class Event:
    """One element of a webhook. `field` and `part` say in which list it travels.

    `night` pins it to a delivery; None leaves that to the deliverer. `malformed` elements must end
    in quarantine, each as one row. `scene` tells whose story it belongs to.
    """

    at: datetime
    number: BusinessNumber
    field: str
    part: str
    element: Any
    contact: dict[str, Any] | None = None
    night: Night | None = None
    malformed: bool = False
    message_key: tuple[str, str] | None = None
    scene: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One CRM event, as JSON for `/webhooks/outcomes`, with its expected result."""

    body: dict[str, Any]
    occurred_at: datetime
    funnel_stage: str
    night: Night | None = None
    superseded: bool = False
    scene: int = 0


@dataclass(frozen=True, slots=True)
class Form:
    """One web form, as JSON for `/webhooks/leads`."""

    body: dict[str, Any]
    submitted_at: datetime
    night: Night | None = None
    scene: int = 0


@dataclass(frozen=True, slots=True)
class Notice:
    """One webhook of a page: that somebody sent an instant form."""

    body: dict[str, Any]
    sent_at: datetime
    night: Night | None = None
    scene: int = 0


@dataclass(frozen=True, slots=True)
class Click:
    """One click on the site's WhatsApp button, as JSON for `/clicks`."""

    body: dict[str, Any]
    clicked_at: datetime
    night: Night | None = None
    scene: int = 0


@dataclass(frozen=True, slots=True)
class GoogleClick:
    """A click on a Google ad, as `click_view` reports it for 90 days."""

    gclid: str
    at: datetime
    ad: AdRef


@dataclass(frozen=True, slots=True)
class CrmStep:
    """Somebody does something in HubSpot: `do` gets the account, and the scene's ids so far."""

    at: datetime
    do: Callable[[HubspotState, dict[str, int]], None]
    scene: int = 0


@dataclass(frozen=True, slots=True)
class CrmStage:
    """One expected row of `fct_outcomes` that HubSpot's records make."""

    source: Literal["hubspot", "hubspot_deals"]
    stage: str
    at: datetime
    funnel_stage: str | None
    value: Decimal | None = None
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class RuleMet:
    """One expected row of `fct_outcomes` that a rule of the chat makes, of a number's message."""

    rule: str
    stage: str
    at: datetime
    number: str
    wamid: str

    @property
    def event_id(self) -> str:
        """How stories name it; in the marts the message's key stands in the id's place."""
        return f"{self.rule}:{self.wamid}"


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Somebody in the company excludes a person or a number from counts (E20)."""

    body: dict[str, Any]
    declared_at: datetime
    night: Night | None = None
    scene: int = 0


@dataclass(frozen=True, slots=True)
class Funnel:
    """What the CRM's outcomes amount to."""

    qualified_at: datetime | None = None
    currently: bool = False
    won: tuple[tuple[Decimal, str, date], ...] = ()

    @property
    def is_won(self) -> bool:
        """Whether any sale is recorded."""
        return bool(self.won)


@dataclass(frozen=True, slots=True)
class Lead:
    """One expected row of `fct_leads`. `identity` is the one whose keyed hash is the lead id.

    `campaign`: where evidence names no ad and a campaign all the same. `gclid`: the click that
    leads to `ad` (`latest_gclid`: to `latest_ad`), as long as Google tells of it. `replied`: wrote
    again after our first answer. `excluded`: the reason, where not to be counted; `is_test`: in no
    count, not even of those. `boosted`: how many ads show the post they came by.
    """

    story: str
    identity: tuple[Literal["phone", "bsuid", "web_lead"], str]
    country: str | None
    first_touch_at: datetime
    first_touch_date: date
    basis: str
    channel: str
    platform: str | None
    ad: AdRef | None
    latest_channel: str
    latest_ad: AdRef | None
    touches: int
    funnel: Funnel
    event_ids: tuple[str, ...]
    stages: tuple[CrmStage, ...] = ()
    replied: bool = False
    excluded: str | None = None
    boosted: int = 0
    campaign: CampaignRef | None = None
    gclid: GoogleClick | None = None
    latest_gclid: GoogleClick | None = None
    has_gclid: bool = False
    is_from_form: bool = False
    is_test: bool = False


@dataclass(frozen=True, slots=True)
class Chat:
    """One expected row of `fct_conversations` of a number with several responders (E78, E79)."""

    lead: Lead
    started_at: datetime
    answered_by: Literal["own", "ai_agent", "escalation", "other"]
    handovers: int
    inbound: int
    outbound: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """One expected row of `identity_conflicts`: two people who had one phone number (E28), or whose
    identifier is also many others' (E86)."""

    earlier: Lead
    later: Lead
    last_seen: datetime
    first_seen: datetime
    reason: str = "recycled_number"
