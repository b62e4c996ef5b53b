"""The vocabulary the stories are written in: people appear, write, are answered, qualify.

A scene has its own luck and its own people, so that no story can disturb another.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from ctwa.link_code import ALPHABET, code_of
from simulator import payloads
from simulator.company import (
    ADS,
    FORM_AD,
    FORM_ID,
    GOOGLE_ADS,
    MAIN,
    NUMBERS,
    PAGE_ID,
    SITE,
    SITE_ID,
    AdRef,
    BusinessNumber,
    CampaignRef,
)
from simulator.hubspot_state import HubspotState
from simulator.lead_forms_api import Lead as InstantLead
from simulator.names import HOSTILE, Names
from simulator.people import (
    Chat,
    Click,
    Conflict,
    CrmStage,
    CrmStep,
    Event,
    Exclusion,
    Form,
    Funnel,
    GoogleClick,
    Lead,
    Night,
    Notice,
    Outcome,
    Person,
    RuleMet,
)

REPORTING_ZONE = "America/Sao_Paulo"

# country: prefix of the wa_id, prefix as people write it, digits that follow
_SPELLINGS: dict[str, tuple[str, str, str]] = {
    "BR": ("55{area}", "+55 ({area}) 9", "31 41 51 61 71 81 85 91 19 48"),
    "BR9": ("55{area}9", "+55 {area} 9", "11 21 27 12"),
    "MX": ("521{area}", "+52 {area} ", "55 33 81"),
    "AR": ("549{area}", "+54 {area} ", "11 35"),
    "US": ("1212", "+1 (212) ", ""),
}


_CHANNELS = {
    "ctwa_click": "click_to_whatsapp",
    "ctwa_ad": "click_to_whatsapp",
    "post": "organic_social",
    "ad_suspected": "unknown_ad",
    "outbound": "outbound",
    "direct": "direct",
    "web_click_id": "paid_search",
    "lead_form": "meta_lead_form",
}


@dataclass(slots=True)
class Scene:
    """Where one story takes place: its own random numbers and people, and what it emitted so far.

    `start` and `end` bound the moments; all times are whole seconds in UTC, like WhatsApp's.
    `names`: what people are called, and write.
    """

    name: str
    serial: int
    start: datetime
    end: datetime
    rng: random.Random
    names: Names = HOSTILE
    events: list[Event] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    exclusions: list[Exclusion] = field(default_factory=list)
    forms: list[Form] = field(default_factory=list)
    instant_leads: list[InstantLead] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    clicks: list[Click] = field(default_factory=list)
    google_clicks: list[GoogleClick] = field(default_factory=list)
    crm_steps: list[CrmStep] = field(default_factory=list)
    stages_of_nobody: list[CrmStage] = field(default_factory=list)
    leads: list[Lead] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    chats: list[Chat] = field(default_factory=list)
    tests: list[Lead] = field(default_factory=list)
    rules_met: list[RuleMet] = field(default_factory=list)
    _made: int = 0

    def _next(self) -> int:
        self._made += 1
        return self.serial * 200 + self._made

    def person(self, country: str = "BR", *, local: str | None = None, area: str = "") -> Person:
        """A new person; no one else in the world has the same last eight digits by accident."""
        serial = self._next()
        prefix, written, areas = _SPELLINGS[country]
        area = area or (self.rng.choice(areas.split()) if areas else "")
        # 61-99 million: mobile numbers of Brazil before the ninth digit was put in front.
        local = local or f"{61_000_000 + serial * 7 % 38_000_000:08d}"
        if country == "US":
            local = f"{2_000_000 + serial % 7_999_999:07d}"
        digits = "".join(self.rng.choices("0123456789", k=16))
        code = country[:2]
        return Person(
            name=self.rng.choice(self.names.people),
            country=code,
            wa_id=prefix.format(area=area) + local,
            crm_phone=f"{written.format(area=area)}{local[:-4]}-{local[-4:]}",
            bsuid=f"{code}.{digits}{serial:05d}",
            email=f"Person.{serial}@Example.COM",
        )

    def moment(self, *, before: float = 1, after: float = 0) -> datetime:
        """A second at least `after` days past the start and `before` days ahead of the end."""
        first = self.start + timedelta(days=after)
        span = int((self.end - timedelta(days=before) - first).total_seconds())
        return first + timedelta(seconds=self.rng.randrange(max(span, 1)))

    def ad(self, *, but: AdRef | None = None) -> AdRef:
        """An ordinary ad that may bring leads, by popularity."""
        ads = [a for a in ADS if a.popularity and a is not but and a.kind in ("active", "paused")]
        return self.rng.choices(ads, [a.popularity for a in ads])[0]

    def number(self) -> BusinessNumber:
        """One of the company's numbers, mostly the main one."""
        return self.rng.choices(NUMBERS, (6, 3, 1))[0]

    def wamid(self, person: Person) -> str:
        """A message id; like the real ones it holds the phone number in base64."""
        raw = f"\x1c\x18\x0d{person.wa_id}\x15\x02\x00\x12\x18{self._next():016X}"
        return "wamid." + base64.b64encode(raw.encode("latin-1")).decode()

    def click_id(self) -> str:
        """A new `ctwa_clid`."""
        return "Af" + base64.urlsafe_b64encode(self.rng.randbytes(72)).decode().rstrip("=")

    def referral(self, ad: AdRef, *, click: bool = True) -> dict[str, Any]:
        """The referral of a tap on this ad."""
        return payloads.ad_referral(ad, self.click_id() if click else None, self.names)

    def hears(
        self,
        person: Person,
        at: datetime,
        *,
        number: BusinessNumber = MAIN,
        ids: str = "both",
        by: str = "messages",
        **message: Any,
    ) -> str:
        """An inbound message. `ids`: both, phone, bsuid, or swapped (BSUID where phones stand).

        `by`: the webhook field, `standby` where another responder holds the chat. Further keywords
        go to `payloads.message` (kind, referral, errors, group ...), `night` and `wamid` to the
        event. Returns the message id.
        """
        night, wamid = message.pop("night", None), message.pop("wamid", None) or self.wamid(person)
        message.setdefault("text", self.rng.choice(self.names.texts))
        element = payloads.message(person, wamid, at, ids=ids, **message)
        contact = payloads.contact(person, ids)
        key = (number.display, wamid)
        self.events.append(
            Event(at, number, by, "messages", element, contact, night, False, key, self.serial)
        )
        return wamid

    def says(
        self,
        person: Person,
        at: datetime,
        *,
        number: BusinessNumber = MAIN,
        billing: str = "free_customer_service",
        ids: str = "both",
        statuses: tuple[str, ...] = ("sent", "delivered", "read"),
        night: Night | None = None,
        by: str = "messages",
        wamid: str | None = None,
    ) -> str:
        """We write through the API, which only statuses show. Returns the message id."""
        wamid = wamid or self.wamid(person)
        for delay, status in enumerate(statuses):
            moment = at + timedelta(seconds=2 * delay)
            element = payloads.status(person, wamid, moment, status, billing=billing, ids=ids)
            contact = payloads.contact(person, ids) if status != "failed" else None
            self.events.append(
                Event(
                    moment, number, by, "statuses", element, contact, night,
                    scene=self.serial,
                )
            )  # fmt: skip
        return wamid

    def echoes(
        self,
        person: Person,
        at: datetime,
        *,
        number: BusinessNumber = MAIN,
        night: Night | None = None,
    ) -> str:
        """A colleague writes from the WhatsApp Business app."""
        wamid = self.wamid(person)
        element = payloads.echo(person, number, wamid, at)
        where = {"number": number, "field": "smb_message_echoes", "part": "message_echoes"}
        self.emits(at, element, message_key=(number.display, wamid), night=night, **where)
        return wamid

    def writes(
        self,
        person: Person,
        at: datetime,
        text: str,
        *,
        number: BusinessNumber = MAIN,
        night: Night | None = None,
    ) -> str:
        """A colleague writes this text from the WhatsApp Business app. Returns the message id."""
        wamid = self.wamid(person)
        element = payloads.echo(person, number, wamid, at, text)
        where = {"number": number, "field": "smb_message_echoes", "part": "message_echoes"}
        self.emits(at, element, message_key=(number.display, wamid), night=night, **where)
        return wamid

    def changes(
        self,
        person: Person,
        at: datetime,
        original: str,
        text: str | None,
        *,
        number: BusinessNumber = MAIN,
        night: Night | None = None,
    ) -> None:
        """The colleague edits that message to this text; None: deletes it for everyone."""
        wamid = self.wamid(person)
        element = payloads.revised(payloads.echo(person, number, wamid, at), original, text)
        where = {"number": number, "field": "smb_message_echoes", "part": "message_echoes"}
        self.emits(at, element, message_key=(number.display, wamid), night=night, **where)

    def by_rule(
        self, rule: str, stage: str, at: datetime, wamid: str, number: BusinessNumber
    ) -> str:
        """State that this message meets the rule; returns the id of the outcome."""
        met = RuleMet(rule, stage, at, number.display, wamid)
        self.rules_met.append(met)
        return met.event_id

    def answers_for_us(
        self, person: Person, at: datetime, *, number: BusinessNumber = MAIN, ids: str = "phone"
    ) -> str:
        """Another responder writes: its echo on `standby`, and a status. Returns the message id."""
        wamid = self.wamid(person)
        element = payloads.standby_echo(person, number, wamid, at, ids=ids)
        where = {"number": number, "field": "standby", "part": "message_echoes"}
        self.emits(at, element, message_key=(number.display, wamid), **where)
        self.says(
            person, at, number=number, ids=ids, statuses=("delivered",), by="standby", wamid=wamid
        )
        return wamid

    def hands_over(
        self,
        person: Person,
        at: datetime,
        event: str,
        previous: str | None,
        new: str | None,
        *,
        number: BusinessNumber = MAIN,
        night: Night | None = None,
    ) -> None:
        """A notice that the chat went from one responder to another."""
        element = payloads.handover(person, number, at, event, previous, new)
        self.emits(at, element, number=number, field="messaging_handovers", part="", night=night)

    def emits(self, at: datetime, element: Any, **where: Any) -> None:
        """Any other element: a notice, a history chunk, something malformed."""
        number = where.pop("number", MAIN)
        field_name, part = where.pop("field", "messages"), where.pop("part", "messages")
        self.events.append(Event(at, number, field_name, part, element, scene=self.serial, **where))

    def crm(
        self,
        stage: str,
        at: datetime,
        *,
        value: tuple[str, str] | None = None,
        event_id: str | None = None,
        source: str = "crm",
        funnel_stage: str | None = None,
        night: Night | None = None,
        superseded: bool = False,
        **who: Any,
    ) -> str:
        """The CRM reports a stage of the person that `who` names (phone, wa_id, user_id ...)."""
        event_id = event_id or f"{self.name}-{self._next()}"
        body: dict[str, Any] = {
            "event_id": event_id,
            "source": source,
            "stage": stage,
            "occurred_at": at.isoformat(),
            **who,
        }
        if value:
            body["value"], body["currency"] = float(value[0]), value[1]
        funnel = funnel_stage or stage.casefold()
        self.outcomes.append(Outcome(body, at, funnel, night, superseded, self.serial))
        return event_id

    # ---- the company's site ------------------------------------------------------------------

    def page(self, **parameters: str) -> str:
        """Address of the page somebody first came to."""
        rest = {"ref": self.rng.choice(self.names.refs)}
        return f"{SITE}/botox?{urlencode(parameters | rest)}"

    def google_ad(self) -> AdRef:
        """An ordinary ad of Google's, by popularity."""
        return self.rng.choices(GOOGLE_ADS, [a.popularity for a in GOOGLE_ADS])[0]

    def google_click(self, at: datetime, ad: AdRef | None = None) -> GoogleClick:
        """Somebody clicks on an ad of Google's; `click_view` will tell of it."""
        gclid = "Cj0KCQ" + base64.urlsafe_b64encode(self.rng.randbytes(30)).decode().rstrip("=")
        click = GoogleClick(gclid, at, ad or self.google_ad())
        self.google_clicks.append(click)
        return click

    def submits(
        self,
        person: Person,
        at: datetime,
        page: str | None,
        *,
        phone: bool = True,
        email: bool = True,
        lead_id: str | None = None,
        night: Night | None = None,
    ) -> str:
        """Somebody sends the form; the page is the one they first came to. Returns its lead id."""
        lead_id = lead_id or f"{self.name}-{self.serial}-{self._next()}"
        body = {
            "lead_id": lead_id,
            "submitted_at": at.isoformat(),
            "page_url": page,
            "phone": person.crm_phone if phone else None,
            "email": person.email if email else None,
        }
        body = {name: value for name, value in body.items() if value is not None}
        self.forms.append(Form(body, at, night, self.serial))
        return lead_id

    def sends_instant_form(
        self,
        person: Person,
        at: datetime,
        ad: AdRef | None = FORM_AD,
        *,
        form_id: str = FORM_ID,
        answers: tuple[str, ...] = ("phone_number", "email"),
        notices: tuple[Night | None, ...] = (None,),
        is_test: bool = False,
    ) -> str:
        """Somebody sends one of Meta's instant forms, by an ad or (None) without; its lead id.

        `answers`: what they give. `notices`: when its webhook comes, once for each; none: missed.
        """
        lead_id = str(23_000_000_000_000_000 + self._next())
        known = {"phone_number": person.crm_phone, "email": person.email}
        lead = InstantLead(
            lead_id,
            form_id,
            at,
            {"full_name": person.name, **{name: known[name] for name in answers}},
            ad_id=ad.ad_id if ad else None,
            adset_id=ad.adset_id if ad else None,
            campaign_id=ad.campaign.campaign_id if ad else None,
            is_organic=ad is None,
            is_test=is_test,
        )
        self.instant_leads.append(lead)
        body = lead.notice(PAGE_ID)
        self.notices += [Notice(body, at, night, self.serial) for night in notices]
        return lead_id

    def code(self) -> str:
        """A code as the page makes it."""
        return code_of("".join(self.rng.choices(ALPHABET, k=8)), SITE_ID)

    def clicks_button(self, at: datetime, page: str, *, night: Night | None = None) -> str:
        """Somebody clicks the WhatsApp button; what they write will have this code in it."""
        code = self.code()
        body = {"code": code, "page_url": page, "clicked_at": at.isoformat()}
        self.clicks.append(Click(body, at, night, self.serial))
        return code

    def hubspot(self, at: datetime, do: Callable[[HubspotState, dict[str, int]], None]) -> None:
        """Somebody does something in HubSpot at that moment."""
        self.crm_steps.append(CrmStep(at, do, self.serial))

    # ---- in the company ----------------------------------------------------------------------

    def excludes(
        self,
        at: datetime,
        reason: str = "staff",
        *,
        undo: bool = False,
        night: Night | None = None,
        **whom: str,
    ) -> None:
        """`ctwa exclude`: `whom` is phone, user_id, email or business_number (or takes it back)."""
        body = {**whom, "reason": reason, "declared_at": at.isoformat(), "excluded": not undo}
        self.exclusions.append(Exclusion(body, at, night, self.serial))

    def lead(
        self,
        person: Person,
        at: datetime,
        basis: str,
        ad: AdRef | None = None,
        *,
        identity: Literal["phone", "bsuid"] = "bsuid",
        form: str | None = None,
        gclid: GoogleClick | None = None,
        latest_gclid: GoogleClick | None = None,
        campaign: CampaignRef | None = None,
        unknown_click: bool = False,
        has_country: bool = True,
        channel: str | None = None,
        platform: str | None = None,
        latest: tuple[str, AdRef | None] | None = None,
        touches: int = 1,
        funnel: Funnel | None = None,
        event_ids: tuple[str, ...] = (),
        stages: tuple[CrmStage, ...] = (),
        day: date | None = None,
        replied: bool = False,
        excluded: str | None = None,
        is_test: bool = False,
        boosted: int = 0,
    ) -> Lead:
        """State the lead this story makes. `latest` defaults to the first touch itself.

        `form`: the lead id of the form it starts with. `gclid`: the click that leads to the ad.
        `unknown_click`: there is a gclid that Google does not know.
        `has_country`: false where neither phone nor user id tells it at birth.
        """
        channel = channel or _CHANNELS[basis]
        ad = gclid.ad if gclid else ad
        place = ad.campaign if ad and ad.is_resolved else campaign
        zone = place.account.zone if place else REPORTING_ZONE
        named = person.bsuid if identity == "bsuid" else person.wa_id
        if latest_gclid:
            latest = ("paid_search", latest_gclid.ad)
        row = Lead(
            story=self.name,
            identity=("web_lead", form) if form else (identity, named),
            country=person.country if has_country else None,
            first_touch_at=at,
            first_touch_date=day or at.astimezone(ZoneInfo(zone)).date(),
            basis=basis,
            channel=channel,
            platform=_platform(channel, ad or campaign) or platform,
            ad=ad,
            latest_channel=latest[0] if latest else channel,
            latest_ad=latest[1] if latest else ad,
            touches=touches,
            funnel=funnel or Funnel(),
            event_ids=event_ids,
            stages=stages,
            replied=replied,
            excluded=excluded,
            boosted=boosted,
            campaign=campaign,
            gclid=gclid,
            latest_gclid=latest_gclid or (gclid if latest is None else None),
            has_gclid=gclid is not None or unknown_click,
            is_from_form=form is not None,
            is_test=is_test,
        )
        (self.tests if is_test else self.leads).append(row)
        return row

    def chat(
        self,
        lead: Lead,
        at: datetime,
        answered_by: Literal["own", "ai_agent", "escalation", "other"],
        *,
        handovers: int = 0,
        inbound: int = 1,
        outbound: int = 0,
    ) -> None:
        """State who holds a chat that other responders had, or had no part in all the same."""
        self.chats.append(Chat(lead, at, answered_by, handovers, inbound, outbound))

    def conflict(
        self,
        earlier: Lead,
        later: Lead,
        *,
        last_seen: datetime,
        first_seen: datetime,
        reason: str = "recycled_number",
    ) -> None:
        """State that the two had one phone number: when the first last, the second first. Of an
        identifier that is also many others': when it was first said of each."""
        self.conflicts.append(Conflict(earlier, later, last_seen, first_seen, reason))


def _platform(channel: str, place: AdRef | CampaignRef | None) -> str | None:
    if isinstance(place, CampaignRef):
        return place.account.platform
    if place is not None:
        return place.platform
    return "meta" if channel in ("click_to_whatsapp", "meta_web", "meta_lead_form") else None


def local_time(day: date, hour: int, minute: int, zone: str, second: int = 0) -> datetime:
    """A wall-clock time in `zone`, in UTC."""
    local = datetime(day.year, day.month, day.day, hour, minute, second, tzinfo=ZoneInfo(zone))
    return local.astimezone(UTC)
