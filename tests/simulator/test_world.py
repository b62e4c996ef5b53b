"""The synthetic company is the same for the same seed, and as nasty as it claims to be."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import timedelta

import pytest

from ctwa.pseudonym import phone_match_key
from simulator.ads_state import AdsState
from simulator.company import ADS
from simulator.delivery import deliveries
from simulator.names import LANGUAGES, Language, Names, language_of
from simulator.world import DAYS, EVERYDAY, STORIES, World, build_world


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(7, leads=400)


def _state(state: AdsState) -> dict[str, object]:
    return {k: v for k, v in vars(state).items() if k != "now"}


def test_equal_arguments_make_equal_worlds(world: World) -> None:
    again = build_world(7, leads=400)

    assert again.events == world.events
    assert again.outcomes == world.outcomes
    assert again.leads == world.leads
    assert [_state(n) for n in again.nights] == [_state(n) for n in world.nights]
    assert deliveries(again, 3) == deliveries(world, 3)


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_ordinary_company_has_nothing_that_a_visitor_would_wonder_at(language: Language) -> None:
    ordinary = build_world(7, leads=400, names=Names.of(language))

    played = Counter(lead.story for lead in ordinary.leads)
    assert played.keys() <= {*EVERYDAY, "ordinary_lead", "ordinary_visitor"}
    assert EVERYDAY.keys() <= {story.name for story in STORIES}
    assert played["ordinary_lead"] + played["ordinary_visitor"] > len(ordinary.leads) * 2 / 3
    assert ordinary.junk == ()
    texts = json.dumps([e.element for e in ordinary.events] + [f.body for f in ordinary.forms])
    assert re.findall(r"<|%3C|=HYPER|=cmd|Fale conosco", texts) == []
    for meta, google in zip(ordinary.nights, ordinary.google_nights, strict=True):
        shown = [
            thing.name
            for table in (
                meta.accounts, meta.campaigns, meta.adsets, meta.ads,
                google.customers, google.campaigns, google.ad_groups, google.ads,
            )
            for thing in table.values()
        ]  # fmt: skip
        shown += [text for c in meta.creatives.values() for text in (c.title, c.body)]
        assert [n for n in shown if not re.fullmatch(r"[\w ,.:|()'-]+", n or "")] == []
        words = "v1|night|nights|sync|ours|yesterday|new name|no CRM|ad set"
        assert [n for n in shown if re.search(rf"\b({words})\b", n or "")] == []


@pytest.mark.parametrize(
    ("wanted", "locale", "expected"),
    [
        (None, {"LANG": "pt_BR.UTF-8"}, "pt-BR"),
        (None, {"LANG": "de_DE", "LC_ALL": "es_AR.UTF-8"}, "es"),
        (None, {"LANG": "C.UTF-8"}, "en"),
        ("en", {"LANG": "pt_BR.UTF-8"}, "en"),
    ],
)
def test_names_are_in_the_language_of_the_visitor(
    wanted: str | None, locale: dict[str, str], expected: str
) -> None:
    assert language_of(wanted, locale) == expected


def test_another_seed_is_another_company(world: World) -> None:
    other = build_world(8, leads=400)

    assert other.leads != world.leads
    assert other.ads.spend != world.ads.spend


def test_a_world_has_the_leads_asked_for_and_never_fewer_than_its_stories(world: World) -> None:
    assert len(world.leads) == 400
    small = build_world(7, leads=20)
    assert {lead.story for lead in small.leads} >= {"ad_click_first", "number_change", "reopened"}
    assert "ordinary_lead" not in {lead.story for lead in small.leads}


def test_every_story_plays_and_every_channel_and_basis_occurs(world: World) -> None:
    names = {story.name for story in STORIES}
    assert len(names) == len(STORIES)
    assert Counter(lead.channel for lead in world.leads).keys() == {
        "click_to_whatsapp",
        "organic_social",
        "unknown_ad",
        "outbound",
        "direct",
        "meta_web",
        "paid_search",
        "web_other",
        "meta_lead_form",
    }
    assert {lead.basis for lead in world.leads} == {
        "ctwa_click",
        "ctwa_ad",
        "post",
        "ad_suspected",
        "outbound",
        "direct",
        "web_ad_id",
        "web_click_id",
        "web_utm",
        "lead_form",
    }


def test_no_two_leads_are_one_person(world: World) -> None:
    keys = [
        phone_match_key(value) if kind == "phone" else value
        for kind, value in (lead.identity for lead in world.leads)
    ]
    assert len(set(keys)) == len(keys)


def test_ids_are_neighbours_that_a_double_cannot_tell_apart() -> None:
    ids = [ad.ad_id for ad in ADS]

    assert len(set(ids)) == len(ids)
    assert all(len(i) == 18 for i in ids)
    assert len({float(i) for i in ids}) < len(ids)


def test_an_ad_set_belongs_to_one_campaign(world: World) -> None:
    for ad in world.ads.ads.values():
        assert world.ads.adsets[ad.adset_id].campaign_id == ad.campaign_id


def test_everything_happens_within_the_world(world: World) -> None:
    for lead in world.leads:
        if lead.story != "history_then_ad":
            assert world.start - timedelta(days=1) <= lead.first_touch_at < world.end
    assert all(e.at < world.end for e in world.events)
    assert all(o.occurred_at < world.end for o in world.outcomes)
    days = {day for _, day, _ in world.ads.spend}
    assert max(days) < world.today
    assert (world.today - min(days)).days <= DAYS


def test_the_second_night_restates_withdraws_renames_and_deletes(world: World) -> None:
    first, second = world.nights
    common = first.spend.keys() & second.spend.keys()

    assert any(first.spend[k].spend != second.spend[k].spend for k in common)
    assert first.spend.keys() - second.spend.keys()
    assert second.spend.keys() - first.spend.keys()
    assert any(first.ads[i].name != second.ads[i].name for i in first.ads)
    assert any(first.campaigns[i].name != second.campaigns[i].name for i in first.campaigns)
    deleted = [i for i, ad in second.ads.items() if ad.effective_status == "DELETED"]
    assert any(first.ads[i].effective_status != "DELETED" for i in deleted)
    emptied = {k[:2] for k in first.spend} - {k[:2] for k in second.spend}
    assert emptied


def test_restatements_stay_within_the_days_that_are_read_again(world: World) -> None:
    first, second = world.nights
    keys = first.spend.keys() | second.spend.keys()
    changed = [k for k in keys if first.spend.get(k) != second.spend.get(k)]
    assert changed
    assert all((world.today - day).days <= 28 for _, day, _ in changed)
