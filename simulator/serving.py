"""`ctwa demo --serve`: the company goes on after its two nights, until it is stopped.

The stand-ins stay up, so every source is on in the UI. Now and then somebody writes, and a little
later the CRM says what became of somebody else. `ctwa live` brings both into the marts and the
report, and tells Meta what it should know.
"""

from __future__ import annotations

import json
import random
import secrets
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import urllib3
from starlette.requests import Request
from starlette.responses import Response

from ctwa.settings import Settings
from simulator.company import ADS, FORM_DESTINATIONS, MAIN, NUMBERS
from simulator.conversions_api import ConversionsApi
from simulator.delivery import meta_json, sign
from simulator.lead_forms_api import LeadFormsApi
from simulator.names import HOSTILE, Names
from simulator.payloads import ad_referral, contact, message
from simulator.people import Person

PAUSE_SECONDS = (8.0, 25.0)
"""Between two new people: at least and at most."""
DATASETS = {number.waba_id: f"77{number.waba_id[-13:]}" for number in NUMBERS}
"""WhatsApp account -> the dataset that takes its conversion events."""
_PATIENCE = 2
"""The CRM says nothing of somebody before so many others have written."""


@dataclass(frozen=True)
class Serve:
    """Where the company goes on: ports of receiver and UI, and the UI's address."""

    port: int = 8080
    ui_port: int = 3000
    ui_host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        """Of the UI, for people."""
        host = "127.0.0.1" if self.ui_host == "0.0.0.0" else self.ui_host  # noqa: S104 nobody listens
        return f"http://{host}:{self.ui_port}"


Post = tuple[str, bytes]
"""Path and body of a webhook."""


@dataclass
class Meta(LeadFormsApi):
    """Meta's ads and pages, and at the same address the conversion events that it is told."""

    events: ConversionsApi = field(default_factory=lambda: ConversionsApi({}))

    def __post_init__(self) -> None:
        super().__post_init__()
        self.events.token, self.events.wrong = self.token, self.wrong
        self.events.datasets = {dataset: {waba} for waba, dataset in DATASETS.items()}

    async def handle(self, request: Request) -> Response:
        """Answer a request, or let the stand-in of conversion events answer it."""
        if request.path_params["path"].endswith("/events"):
            return await self.events.handle(request)
        return await super().handle(request)


class Newcomers:
    """People who write for the first time, and what the CRM says of them later."""

    def __init__(self, rng: random.Random, names: Names = HOSTILE) -> None:
        self._rng, self._names = rng, names
        self._waiting: deque[Person] = deque()

    def turn(self, at: datetime) -> list[Post]:
        """Somebody writes at this moment; perhaps something is told of one who wrote before."""
        person = self._person()
        posts = [("/webhooks/whatsapp", self._chat(person, at))]
        if len(self._waiting) >= _PATIENCE:
            posts += self._told(self._waiting.popleft(), at)
        self._waiting.append(person)
        return posts

    def _person(self) -> Person:
        # 0000 to 4999 after the area code are no mobile numbers: nobody has them.
        phone = f"55119{self._rng.randrange(10_000_000):08d}"
        bsuid = f"BR.9{self._rng.randrange(10**18):018d}"
        return Person(self._rng.choice(self._names.people), "BR", phone, phone, bsuid, "")

    def _chat(self, person: Person, at: datetime) -> bytes:
        """Mostly by an ad that runs; some of these taps have no click id, and some come by none."""
        how = self._rng.choices(("tap", "status", "direct"), (75, 10, 15))[0]
        referral = None
        if how != "direct":
            ads = [ad for ad in ADS if ad.kind == "active"]
            ads = [ad for ad in ads if ad.campaign.destination not in FORM_DESTINATIONS]
            ad = self._rng.choice(ads)
            click_id = f"Af{secrets.token_urlsafe(60)}" if how == "tap" else None
            referral = ad_referral(ad, click_id, self._names)
        wamid = f"wamid.{secrets.token_hex(20)}"
        text = self._rng.choice(self._names.texts)
        value = {
            "messaging_product": "whatsapp",
            "metadata": {
                "display_phone_number": MAIN.display,
                "phone_number_id": MAIN.phone_number_id,
            },
            "contacts": [contact(person, "both")],
            "messages": [message(person, wamid, at, text=text, referral=referral)],
        }
        entry = {"id": MAIN.waba_id, "changes": [{"field": "messages", "value": value}]}
        return meta_json({"object": "whatsapp_business_account", "entry": [entry]})

    def _told(self, person: Person, at: datetime) -> list[Post]:
        """Some qualify, some buy, some of them at an unknown price; and some want no ads' use."""
        what = self._rng.choices(
            ("nothing", "qualified", "won", "won, no price", "consent withdrawn"),
            (35, 30, 15, 8, 12),
        )[0]
        if what == "nothing":
            return []
        who = {"phone": f"+{person.wa_id}", "source": "crm"}
        stage: dict[str, Any] = {
            **who,
            "event_id": secrets.token_hex(8),
            "stage": "won" if what.startswith("won") else "qualified",
            "occurred_at": at.isoformat(),
        }
        if what == "won":
            stage |= {"value": self._rng.randrange(300, 4_000), "currency": "BRL"}
        posts = [("/webhooks/outcomes", json.dumps(stage).encode())]
        if what == "consent withdrawn":
            no = {**who, "given": False, "declared_at": at.isoformat()}
            posts.insert(0, ("/webhooks/consents", json.dumps(no).encode()))
        return posts


@contextmanager
def people_writing(
    url: str,
    *,
    app_secret: str,
    intake_secret: str,
    names: Names = HOSTILE,
    pause: tuple[float, float] = PAUSE_SECONDS,
) -> Iterator[None]:
    """While it lasts, somebody new writes to the receiver at `url` after each pause (seconds).

    Nothing is lost if the receiver is not up yet: they write later.
    """
    stop, rng = threading.Event(), random.Random()
    people = Newcomers(rng, names)

    def go_on() -> None:
        with urllib3.PoolManager(retries=False, timeout=10) as pool:
            while not stop.wait(rng.uniform(*pause)):
                for path, body in people.turn(datetime.now(UTC)):
                    of_meta = path == "/webhooks/whatsapp"
                    header = "X-Hub-Signature-256" if of_meta else "X-Signature-256"
                    headers = {header: sign(body, app_secret if of_meta else intake_secret)}
                    try:
                        pool.request("POST", f"{url}{path}", body=body, headers=headers)
                    except urllib3.exceptions.HTTPError:
                        break

    thread = threading.Thread(target=go_on, name="people", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(15)


def go_on(settings: Settings, names: Names, serve: Serve) -> int:
    """UI, daemon, receiver and live worker there, with people writing; an exit code."""
    from orchestration.instance import dev

    app_secret, intake_secret = settings.meta_app_secret, settings.intake_secret
    assert app_secret is not None, "the demo's own settings have it"
    assert intake_secret is not None, "the demo's own settings have it"
    url = f"http://127.0.0.1:{serve.port}"
    settings = settings.model_copy(update={"receiver_url": url})
    with people_writing(
        url,
        app_secret=app_secret.get_secret_value(),
        intake_secret=intake_secret.get_secret_value(),
        names=names,
    ):
        return dev(settings, port=serve.port, ui_port=serve.ui_port, ui_host=serve.ui_host)
