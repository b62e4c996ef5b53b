"""Leads of Meta's instant forms beside chats: one person, one lead, their own channel and cost."""

from __future__ import annotations

import random
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from ctwa.settings import Settings
from ingestion.apis.client import RetryPolicy
from ingestion.crm.lead_forms.page import Pages
from ingestion.crm.lead_forms.source import land_lead_forms
from ingestion.vault import open_vault
from ingestion.vault.vault import NewEnvelope, microseconds
from keeping.erasure.steps import land as land_events
from simulator.lead_forms_api import Form, FormsState, Lead, Page, serve_lead_forms_api
from tests.support.meta import BR, Meta
from tests.support.people import (
    Envelope,
    Inbox,
    exclusion,
    form,
    message,
    outcome,
    referral,
    shuffled,
)
from tests.support.warehouse import DbtWorld

AD, CHAT_AD, CAMPAIGN, ADSET = "120226305854810726", "120226305854810727", "1202", "1203"
BY_GOAL, BY_BUTTON, BY_LEAD, OF_SITE = (f"12022630585481090{n}" for n in range(4))
"""Ads whose ad sets name no form as their destination; the last one leads to none."""
DAY = "2026-05-10"
MODELS = (
    "+path:dbt_project/models/marts/leads",
    "+path:dbt_project/models/marts/reports/channel_performance.sql",
    "+path:dbt_project/models/marts/reports/campaign_performance.sql",
    "+path:dbt_project/models/marts/ads/fct_ad_spend.sql",
    "web_leads_are_conserved",
)


def instant(at: str, lead_id: str, *, ad: str | None = AD, **columns: Any) -> Envelope:
    """A lead of an instant form, as the parser writes it."""
    made = {"lead_form_id": "900", "page_id": "516", "leadgen_id": lead_id, "is_organic": False}
    return form(at, lead_id, ad_platform="meta", ad_id=ad, **(made | columns))


def test_lead(at: str, lead_id: str, **columns: Any) -> Envelope:
    """One of the testing tool: it links nobody."""
    found = instant(at, lead_id, is_test=True, **columns)
    return Envelope({"web_leads": found.rows["web_leads"]})


test_lead.__test__ = False  # type: ignore[attr-defined]

STORY = (
    instant(f"{DAY} 09:00", "ad", phone="ana", email="ana@"),
    outcome("2026-05-11 09:00", "qualified", "e1", phone="ana"),
    # By phone and by e-mail with a chat; the earlier of the two gives the source.
    instant(f"{DAY} 10:00", "first", phone="bia"),
    message(f"{DAY} 12:00", phone="bia", **referral(CHAT_AD)),
    message(f"{DAY} 10:00", phone="carla", **referral(CHAT_AD)),
    instant(f"{DAY} 12:00", "second", phone="carla", email="carla@"),
    outcome("2026-05-12 09:00", "qualified", "e2", email="carla@"),
    # Read in bulk and by a notice: the same body twice.
    instant(f"{DAY} 11:00", "twice", email="d@"),
    instant(f"{DAY} 11:00", "twice", email="d@"),
    # Another system forwards it under Meta's id, with an earlier time and no ad.
    form(f"{DAY} 08:00", "forwarded", email="f@", utm_source="crm"),
    instant(f"{DAY} 08:30", "forwarded", email="f@"),
    instant(f"{DAY} 09:00", "organic", ad=None, email="o@", is_organic=True),
    instant(f"{DAY} 09:00", "named", email="n@", is_organic=True),
    instant(f"{DAY} 09:00", "unnamed", ad=None, email="u@", is_organic=None),
    instant(f"{DAY} 09:00", "pending", ad="120226305854810799", email="p@"),
    # Of the next day, so that no figure of this one depends on it.
    instant("2026-05-11 15:00", "late", ad=BY_LEAD, email="l@"),
    test_lead(f"{DAY} 09:00", "test", phone="ana"),
    instant(f"{DAY} 09:00", "staff", email="staff@"),
    exclusion("2026-05-02 09:00", email="staff@"),
)  # fmt: skip


def build(world: DbtWorld, *parts: tuple[Envelope, ...]) -> DbtWorld:
    meta = Meta(world)
    place = {"account_id": BR, "campaign_id": CAMPAIGN}
    meta.objects(
        "2026-05-12 03:00",
        accounts=[{"account_id": BR, "account_name": "BR", "currency": "BRL",
                   "timezone": "America/Sao_Paulo"}],
        campaigns=[place | {"campaign_name": "Formulários"}],
        adsets=[
            place | {"adset_id": ADSET, "adset_name": "Form", "destination_type": "ON_AD"},
            place | {"adset_id": "21", "destination_type": "UNDEFINED",
                     "optimization_goal": "LEAD_GENERATION"},
            place | {"adset_id": "22", "optimization_goal": "OFFSITE_CONVERSIONS"},
        ],
        creatives=[{"creative_id": "31", "lead_form_id": "900"}],
        ads=[
            place | {"ad_id": AD, "ad_name": "vídeo", "adset_id": ADSET},
            place | {"ad_id": BY_GOAL, "adset_id": "21"},
            place | {"ad_id": BY_BUTTON, "adset_id": "22", "creative_id": "31"},
            place | {"ad_id": BY_LEAD, "adset_id": "22"},
            place | {"ad_id": OF_SITE, "adset_id": "22"},
        ],
    )  # fmt: skip
    spent = {AD: "60", BY_GOAL: "1", BY_BUTTON: "2", BY_LEAD: "4", OF_SITE: "8"}
    rows = [{"ad_id": ad, "campaign_id": CAMPAIGN, "spend": spend} for ad, spend in spent.items()]
    meta.spend("2026-05-12 03:00", {(BR, DAY): ("75", rows)})
    inbox = Inbox(world)
    for part in parts:
        inbox.deliver(*part)
        world.build(*MODELS)
    return world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> DbtWorld:
    return build(DbtWorld(tmp_path_factory.mktemp("forms")), STORY)


def lead(world: DbtWorld, lead_id: str) -> dict[str, Any]:
    return world.one("marts.fct_leads", f"lead_id = '{lead_id}'")


def test_a_lead_of_a_form_belongs_to_its_ad_by_id(world: DbtWorld) -> None:
    found = lead(world, "web_lead:ad")
    assert (found["channel"], found["basis"], found["platform"]) == (
        "meta_lead_form", "lead_form", "meta",
    )  # fmt: skip
    assert (found["campaign_id"], found["resolution"]) == (CAMPAIGN, "resolved")
    assert (found["is_qualified"], found["inbound_messages"]) == (True, 0)
    assert found["why"].startswith(
        f'Sent an instant form of Meta\'s on {DAY} 09:00 UTC after tapping the ad "vídeo" (ad {AD})'
    )
    assert lead(world, "web_lead:pending")["resolution"] == "pending"


def test_e182_a_form_and_a_chat_of_one_person_are_one_lead(world: DbtWorld) -> None:
    first, second = lead(world, "web_lead:first"), lead(world, "phone:carla")
    assert (first["channel"], first["latest_channel"], first["touches"]) == (
        "meta_lead_form", "click_to_whatsapp", 2,
    )  # fmt: skip
    assert (second["channel"], second["latest_channel"], second["touches"]) == (
        "click_to_whatsapp", "meta_lead_form", 2,
    )  # fmt: skip
    assert second["is_qualified"], "by the e-mail address of the form"


def test_repeated_and_forwarded_forms_are_one_touch_by_metas_word(world: DbtWorld) -> None:
    assert lead(world, "web_lead:twice")["touches"] == 1
    forwarded = lead(world, "web_lead:forwarded")
    assert (forwarded["touches"], forwarded["channel"]) == (1, "meta_lead_form")


def test_e183_organic_and_unnamed_ones_have_no_ad(world: DbtWorld) -> None:
    organic, unnamed = lead(world, "web_lead:organic"), lead(world, "web_lead:unnamed")
    assert (organic["channel"], organic["platform"], organic["ad_id"]) == (
        "organic_social", None, None,
    )  # fmt: skip
    assert "reached without an ad" in organic["why"]
    named = lead(world, "web_lead:named")  # an ad's id is stronger than the word
    assert (named["channel"], named["ad_id"]) == ("meta_lead_form", AD)
    assert (unnamed["channel"], unnamed["ad_id"], unnamed["resolution"]) == (
        "meta_lead_form", None, None,
    )  # fmt: skip


def test_r14_e183_a_test_lead_is_kept_and_counts_for_nobody(world: DbtWorld) -> None:
    found = lead(world, "test:web_lead:test")
    assert (found["is_test"], found["is_excluded"]) == (True, True)
    assert lead(world, "web_lead:ad")["touches"] == 1, "the real owner of the phone stays alone"
    assert lead(world, "web_lead:staff")["is_excluded"]


def test_spend_of_the_forms_ads_stands_beside_their_leads(world: DbtWorld) -> None:
    row = world.one(
        "marts.channel_performance", f"channel = 'meta_lead_form' and report_date = '{DAY}'"
    )
    # ad, first, twice, forwarded, named, unnamed, pending
    assert (row["leads"], row["qualified_leads"], row["spend_reporting"]) == (7, 1, Decimal(67))
    campaign = world.one(
        "marts.campaign_performance", f"campaign_id = '{CAMPAIGN}' and report_date = '{DAY}'"
    )
    assert (campaign["leads"], campaign["spend"]) == (5, Decimal(75))
    assert campaign["cost_per_lead"] == Decimal(15)


def test_e186_without_a_destination_goal_button_and_leads_say_that_an_ad_has_a_form(
    world: DbtWorld,
) -> None:
    spent = {row["ad_id"]: row["channel"] for row in world.rows("marts.fct_ad_spend")}
    forms = dict.fromkeys((AD, BY_GOAL, BY_BUTTON, BY_LEAD), "meta_lead_form")
    assert spent == forms | {OF_SITE: "meta_web"}


@pytest.mark.parametrize("seed", [1, 2])
def test_any_order_in_pieces_makes_the_same_leads(
    world: DbtWorld, tmp_path: Path, seed: int
) -> None:
    mixed = shuffled(STORY, random.Random(seed))
    other = build(DbtWorld(tmp_path), tuple(mixed[:7]), tuple(mixed[7:]))
    for table in ("fct_leads", "fct_touches", "channel_performance"):
        assert other.rows(f"marts.{table}") == world.rows(f"marts.{table}")


# ---- the whole way: Meta's API and webhooks, vault, parser, models -------------------------------

PAGE, FORM, SECOND = "516540199", "900100200300400", "900100200300500"
TODAY = datetime(2026, 5, 12, 12, tzinfo=UTC)


def company() -> FormsState:
    """Seven leads in eight days; one of a form that is deleted later, one test, one organic."""
    state = FormsState(now=TODAY)
    state.add(Page(PAGE, "EAApage"), Form(FORM, PAGE, "Visita"), Form(SECOND, PAGE, "Preço"))
    for number in range(7):
        phone = f"+55319876500{number % 6:02}"  # the last is the first person again
        state.add(
            Lead(
                f"11223344556677{number:02}",
                SECOND if number == 3 else FORM,
                TODAY - timedelta(days=8 - number),
                {"full_name": "Ana Souza", "phone_number": phone},
                ad_id=None if number == 4 else AD,
                is_organic=number in (4, 5),
                is_test=number == 5,
            )
        )
    return state


def pull(settings: Settings, state: FormsState, at: datetime) -> None:
    """The source, then the event log, as in a run at that time."""
    now, everything = state.now, state.leads
    state.now, state.leads = at, {k: x for k, x in everything.items() if x.created_at <= at}
    pages = Pages(settings, RetryPolicy(tries=2), sleep=lambda _: None, seed=1)
    try:
        land_lead_forms(settings, lambda: at, pages=pages)
    finally:
        pages.close()
        state.now, state.leads = now, everything
    land_events(settings)


def notify(settings: Settings, *leads: Lead) -> None:
    bodies = [orjson.dumps(lead.notice(PAGE)) for lead in leads]
    with closing(open_vault(settings.vault_url)) as vault:
        vault.append([NewEnvelope(microseconds(TODAY), "messenger", body) for body in bodies])


def marts(root: Path, how: str) -> dict[str, list[dict[str, Any]]]:
    """What becomes of the company if webhooks come `how`."""
    state = company()
    with serve_lead_forms_api(state, token="EAAsystem", page_size=2) as api:
        values = {"META_GRAPH_URL": api.url, "META_PAGE_IDS": PAGE, "META_PAGE_TOKEN": "EAAsystem"}
        world = DbtWorld(root, CTWA_PII_KEY="0f" * 32, **values)
        settings, leads = world.settings, [*state.leads.values()]
        if how == "by notices, some missed, some twice and late":
            for day in (7, 5, 3, 0):
                at = TODAY - timedelta(days=day)
                known = [lead for lead in leads if lead.created_at <= at]
                notify(settings, *known[::2], *known[-1:], *known[:1])
                pull(settings, state, at)
                state.forms[SECOND].is_deleted = day <= 3
            land_events(settings, reparse=True)
        elif how == "in bulk":
            pull(settings, state, TODAY)
        else:  # known bad: only what notices name
            notify(settings, *leads[::2])
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("ingestion.crm.lead_forms.source._Pull._is_due", lambda *_: False)
                pull(settings, state, TODAY)
        assert api.wrong == []
    world.build("+path:dbt_project/models/marts/leads", "web_leads_are_conserved")
    return {t: world.rows(f"marts.{t}") for t in ("fct_leads", "fct_touches")}


def test_e180_missed_repeated_and_late_webhooks_make_the_leads_of_the_bulk_read(
    tmp_path: Path,
) -> None:
    truth = marts(tmp_path / "bulk", "in bulk")
    counted = [row for row in truth["fct_leads"] if not row["is_excluded"]]
    assert len(truth["fct_leads"]) == 6  # the seventh lead is the first person again
    assert sorted(row["channel"] for row in counted) == ["meta_lead_form"] * 4 + ["organic_social"]
    assert sorted(row["touches"] for row in counted) == [1, 1, 1, 1, 2]
    way = "by notices, some missed, some twice and late"
    assert marts(tmp_path / "notices", way) == truth
    assert marts(tmp_path / "bad", "without the bulk read") != truth
