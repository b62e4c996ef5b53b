"""Each edge case is told by a story, or it is said why no story can tell it."""

from __future__ import annotations

import random
import re
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from docs.generate import CASES
from simulator import advertiser, delivery, google_advertiser
from simulator.scene import Scene
from simulator.stories import Chapter, Story
from simulator.world import STORIES

ELSEWHERE = {
    "E51": "rate limits and failing jobs: tests of the Graph client and of the landing",
    "E52": "accounts that fail: tests of the landing and of publishing",
    "E53": "reach is in no mart",
    "E54": "years of history: tests of the landing",
    "E55": "attribution windows: tests of the landing",
    "E59": "the stages' rule is a seed: tests of leads that qualify",
    "E64": "brands need a seed of their own: tests of scopes",
    "E65": "intervals come with the creative board",
    "E66": "a day that is not over: tests of spend",
    "E67": "conversion events are not sent yet",
    "E68": "conversion events are not sent yet",
    "E69": "conversion events are not sent yet",
    "E70": "conversion events are not sent yet",
    "E71": "conversion events are not sent yet",
    "E72": "conversion events are not sent yet",
    "E73": "two runs, crashes, readers: tests of real refreshes",
    "E74": "a receiver that is down: tests of the receiver",
    "E75": "forged and oversized bodies: tests of the receiver",
    "E77": "what logs must not hold: tests of logs",
    "E80": "a field that nobody knows: tests of the parser",
    "E83": "characters that no table holds: tests of the parser",
    "E87": "an account that falls silent is no story of a person: tests of worlds",
    "E88": "files that people export: tests of the import",
    "E89": "ids that a spreadsheet spoilt: tests of the import and the receiver",
    "E92": "look-ups by the hundred: tests of the landing",
    "E94": "damaged ledgers: tests of the alerts",
    "E95": "copied folders: tests of real refreshes",
    "E96": "a year of nights: tests of the pruning",
    "E97": "floods: tests of the receiver",
    "E98": "crash inputs: tests of the receiver",
    "E99": "damaged files: tests of the lake",
    "E100": "a lost vault: tests of the landing",
}
"""Cases that happen around a company, or need a source that is not there yet."""


def _told() -> dict[str, list[str]]:
    told: dict[str, list[str]] = {}
    for story in STORIES:
        for case in story.cases:
            told.setdefault(case, []).append(story.name)
    for case in (*advertiser.CASES, *google_advertiser.CASES, *delivery.CASES):
        told.setdefault(case, []).append("the advertiser, or the way of the webhooks")
    return told


def test_every_case_is_told_by_a_story_or_said_to_be_elsewhere() -> None:
    told = _told()
    every = {f"E{n}" for n in range(1, CASES + 1)}

    assert every - told.keys() - ELSEWHERE.keys() == set(), "told by nobody"
    assert told.keys() & ELSEWHERE.keys() == set(), "told after all"
    assert told.keys() | ELSEWHERE.keys() == every


def test_stories_have_names_of_their_own_and_say_what_they_tell() -> None:
    assert [n for n, times in Counter(s.name for s in STORIES).items() if times > 1] == []
    for story in STORIES:
        assert story.play.__doc__, f"{story.name} says nothing"
        assert len(set(story.cases)) == len(story.cases)
        named = set(re.findall(r"\bE\d+\b", story.play.__doc__))
        assert named <= set(story.cases), f"{story.name} speaks of cases it is not filed under"


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_a_story_states_what_comes_of_all_it_emits(story: Story) -> None:
    """At the edges of the world's time too, whatever the luck."""
    end = datetime(2026, 11, 20, tzinfo=UTC)
    for luck in range(25):
        scene = Scene(story.name, luck + 1, end - timedelta(days=75), end, random.Random(luck))
        story.play(scene)

        assert all(e.at < end for e in scene.events), "an event after the world's end"
        assert all(o.occurred_at < end for o in scene.outcomes)
        assert all(x.declared_at < end for x in scene.exclusions)
        assert len({lead.identity for lead in scene.leads}) == len(scene.leads)
        sent = {o.body["event_id"] for o in scene.outcomes}
        sent |= {met.event_id for met in scene.rules_met}
        owned = [event for lead in scene.leads for event in lead.event_ids]
        assert set(owned) <= sent
        assert len(set(owned)) == len(owned), "two leads have one outcome"
        for lead in scene.leads:
            if lead.funnel.is_won or lead.funnel.qualified_at:
                assert lead.event_ids or lead.stages, "qualified by nothing"
        assert all(f.submitted_at < end for f in scene.forms)
        last_but_one = end - timedelta(days=1)
        assert all(lead.created_at < last_but_one for lead in scene.instant_leads)
        assert all(c.clicked_at < end for c in scene.clicks)
        assert all(step.at < end for step in scene.crm_steps)
        emitted = (
            *(*scene.events, *scene.outcomes, *scene.exclusions),
            *(*scene.forms, *scene.notices, *scene.clicks, *scene.crm_steps),
        )
        # The webhook of an instant form may be missed, and nothing else happen.
        assert {x.scene for x in emitted} <= {luck + 1}


def test_two_stories_of_one_name_are_refused() -> None:
    told = Chapter()

    @told("E1")
    def twice(_: Scene) -> None:
        """First."""

    with pytest.raises(ValueError, match="two stories are called twice"):
        told("E2")(twice)
