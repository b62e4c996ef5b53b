"""`ctwa demo --serve`: the company goes on after its two nights, until it is stopped.

The stand-ins stay up, so every source is on in the UI, and now and then somebody taps an ad and
writes. `ctwa live` brings them into the marts and the report.
"""

from __future__ import annotations

import random
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import urllib3

from ctwa.settings import Settings
from simulator.company import ADS, FORM_DESTINATIONS, MAIN
from simulator.delivery import meta_json, sign
from simulator.payloads import ad_referral, contact, message
from simulator.people import Person

PAUSE_SECONDS = (8.0, 25.0)
"""Between two new people: at least and at most."""
_NAMES = ("Ana", "Bruno", "Carla", "Diego", "Elisa", "Fábio", "Gabriela", "Hugo", "Inês", "João")
_TEXTS = ("Oi! Vi o anúncio e quero saber o preço", "Bom dia, ainda tem vaga?", "Quero agendar")


def new_chat(rng: random.Random, at: datetime) -> bytes:
    """The webhook of somebody who taps an ad that runs, and writes at this moment."""
    # 0000 to 4999 after the area code are no mobile numbers: nobody has them.
    phone = f"55119{rng.randrange(10_000_000):08d}"
    name = rng.choice(_NAMES)
    person = Person(name, "BR", phone, phone, f"BR.9{rng.randrange(10**18):018d}", "")
    ads = [ad for ad in ADS if ad.kind == "active"]
    ad = rng.choice([ad for ad in ads if ad.campaign.destination not in FORM_DESTINATIONS])
    tapped = ad_referral(ad, f"Af{secrets.token_urlsafe(60)}")
    wamid = f"wamid.{secrets.token_hex(20)}"
    value = {
        "messaging_product": "whatsapp",
        "metadata": {
            "display_phone_number": MAIN.display,
            "phone_number_id": MAIN.phone_number_id,
        },
        "contacts": [contact(person, "both")],
        "messages": [message(person, wamid, at, text=rng.choice(_TEXTS), referral=tapped)],
    }
    entry = {"id": MAIN.waba_id, "changes": [{"field": "messages", "value": value}]}
    return meta_json({"object": "whatsapp_business_account", "entry": [entry]})


@contextmanager
def people_writing(
    url: str, app_secret: str, pause: tuple[float, float] = PAUSE_SECONDS
) -> Iterator[None]:
    """While it lasts, somebody new writes to the receiver at `url` after each pause (seconds).

    Nothing is lost if the receiver is not up yet: they write later.
    """
    stop, rng = threading.Event(), random.Random()

    def go_on() -> None:
        with urllib3.PoolManager(retries=False, timeout=10) as pool:
            while not stop.wait(rng.uniform(*pause)):
                body = new_chat(rng, datetime.now(UTC))
                headers = {"X-Hub-Signature-256": sign(body, app_secret)}
                try:
                    pool.request("POST", f"{url}/webhooks/whatsapp", body=body, headers=headers)
                except urllib3.exceptions.HTTPError:
                    continue

    thread = threading.Thread(target=go_on, name="people", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(15)


def go_on(settings: Settings, port: int, ui_port: int) -> int:
    """UI, daemon, receiver and live worker on these ports, with people writing; an exit code."""
    from orchestration.instance import dev

    secret = settings.meta_app_secret
    assert secret is not None, "the demo's own settings have it"
    url = f"http://127.0.0.1:{port}"
    settings = settings.model_copy(update={"receiver_url": url})
    with people_writing(url, secret.get_secret_value()):
        return dev(settings, port=port, ui_port=ui_port)
