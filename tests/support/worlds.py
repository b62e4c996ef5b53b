"""Worlds of the simulator against the product, fast: vault, landing, Meta, one dbt build, compare.

Everything from the vault on is the product's own; only the receiver's HTTP, Dagster's processes and
the publication are left out. A `WorldRun` is a `DbtWorld`, so `build`, `rows`, `prints` are there.

    with playing(tmp_path, build_world(3, leads=2_000)) as run:
        run.whole()
        assert run.compare().differences == []
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest

from ctwa.pseudonym import Pseudonymizer
from ingestion.ads.google.source import land_google_ads
from ingestion.ads.meta.source import land_meta_ads
from ingestion.ads.meta.spend import land_insights
from ingestion.crm.hubspot.source import land_hubspot
from ingestion.crm.lead_forms.source import land_lead_forms
from ingestion.event_log.source import EventLogCounts
from ingestion.source import SourceIncompleteError
from keeping.erasure.steps import land
from simulator.ads_faults import Fault, FaultScript
from simulator.ads_insights import JobScript
from simulator.company import PAGE_ID, SITE_ID
from simulator.compare import Comparison, compare
from simulator.delivery import Delivery, deliveries
from simulator.google_api import GoogleApi, serve_google_api
from simulator.hubspot_api import HubspotApi, serve_hubspot_api
from simulator.installation import google_settings
from simulator.lead_forms_api import LeadFormsApi, serve_lead_forms_api
from simulator.stories_rules import install_rules
from simulator.truth import truth
from simulator.truth_unread import Silence
from simulator.world import World
from tests.conftest import PII_KEY
from tests.e2e.installation import receive
from tests.support.warehouse import DbtWorld

MARTS = ("+path:dbt_project/models/marts",)
TOKEN = "EAAtoken0of0a0world"
_OBJECTS = ("campaigns", "adsets", "ads", "creatives", "spend", "extra_spend")


class WorldRun(DbtWorld):
    """One installation that a world happens to, night by night.

    `overrides`: settings by field name or variable, e.g. conversation_gap_days=7.
    """

    def __init__(
        self,
        root: Path,
        world: World,
        api: LeadFormsApi,
        google: GoogleApi,
        crm: HubspotApi,
        **overrides: Any,
    ) -> None:
        given = {
            "hubspot_url": crm.url,
            "hubspot_token": crm.token,
            "CTWA_SITE_ID": SITE_ID,
            "CTWA_CHAT_RULES": str(install_rules(root)),
            **google_settings(google),
            "CTWA_PII_KEY": PII_KEY,
            "meta_graph_url": api.url,
            "meta_api_version": api.version,
            "meta_access_token": api.token,
            "meta_ad_account_ids": ",".join(world.account_ids),
            "meta_page_ids": PAGE_ID,
        }
        super().__init__(root, as_of=world.today, **(given | overrides))
        self.world, self.api, self.google, self.crm = world, api, google, crm
        self.malformed = 0
        self.refused: set[str] = set()
        """Leads of instant forms that Meta refuses by their id."""

    def show(self, night: int) -> None:
        """From now on the APIs show the accounts of that night, 1 to their number."""
        for name in _OBJECTS:
            setattr(
                self.api.state, name, copy.deepcopy(getattr(self.world.nights[night - 1], name))
            )
        self.google.state = copy.deepcopy(self.world.google_nights[night - 1])

    def receive(self, bodies: Sequence[Delivery], day: date) -> None:
        """Into the vault, as if the receiver had taken them on that day."""
        receive(self.settings, bodies, datetime.combine(day, time(3), UTC))
        self.malformed += sum(body.malformed for body in bodies)

    def land(self, day: date, silent: str = "") -> EventLogCounts:
        """Everything into the lake: vault, then Meta's objects and insights as of that day.

        `silent`: an ad account whose insights Meta refuses.
        """
        moment = datetime.combine(day, time(8), UTC)
        self.crm.state = self.world.hubspot(moment)
        land_hubspot(self.settings, now=lambda: moment)
        self.land_forms(moment)
        counts = land(self.settings)
        # Report runs are complete at the first look: nothing to wait for between two.
        self.api.jobs_to_come = [JobScript(["Job Completed"]) for _ in range(500)]
        self.api.state.now = lambda: moment
        land_meta_ads(self.settings, now=lambda: moment)
        if silent:
            refused = Fault(f"act_{silent}/insights", times=1_000, status=403, code=200)
            self.api.faults = FaultScript([refused])
            with pytest.raises(SourceIncompleteError, match=silent):
                land_insights(self.settings, now=lambda: moment)
            self.api.faults = FaultScript()
        else:
            land_insights(self.settings, now=lambda: moment)
        self.google.state.now = lambda: moment
        land_google_ads(self.settings, now=lambda: moment)
        for wrong in (self.api.wrong, self.google.wrong, self.crm.wrong):
            assert wrong == [], f"an API was asked wrongly: {wrong[0]}"
        return counts

    def land_forms(self, moment: datetime) -> None:
        """Instant forms into the vault: by notices, as `ctwa live` does, then in full."""
        self.api.forms = self.world.page(moment)
        self.api.forms.refused = self.refused
        land_lead_forms(self.settings, lambda: moment, in_bulk=False)
        refusal = pytest.raises(SourceIncompleteError, match="|".join(self.refused))
        with refusal if self.refused else nullcontext():
            land_lead_forms(self.settings, lambda: moment)

    def night(
        self,
        bodies: Sequence[Delivery],
        shown: int,
        day: date,
        *,
        tests: bool = False,
        silent: str = "",
    ) -> None:
        """What came, what the APIs show in night `shown`, landed and built as of `day`."""
        self.receive(bodies, day)
        self.show(shown)
        self.land(day, silent)
        self.build_marts(day, tests=tests)

    def build_marts(
        self, day: date | None = None, *, full_refresh: bool = False, tests: bool = False
    ) -> None:
        """The marts and all before them; data tests only when asked."""
        self.build(*MARTS, tests=tests, as_of=day, full_refresh=full_refresh)

    def whole(self, seed: int = 0, *, tests: bool = False) -> None:
        """The whole world, as `seed` delivers it, in one night; Meta was read the night before."""
        day = self.world.today
        self.show(1)
        self.land(day - timedelta(days=1))
        self.night(deliveries(self.world, seed), len(self.world.nights), day, tests=tests)

    def compare(self, silence: Silence | None = None) -> Comparison:
        """The warehouse's marts against the truth of everything in the world."""
        names = Pseudonymizer.from_settings(self.settings)
        expected = truth(self.world, names, quarantined=self.malformed, silence=silence)
        return compare(expected, self.settings.warehouse_path)


@contextmanager
def playing(root: Path, world: World, **overrides: Any) -> Iterator[WorldRun]:
    """A new installation below `root` beside the ads APIs, which show the first night."""
    shown = copy.deepcopy(world.nights[0])
    with (
        serve_lead_forms_api(world.page(world.start), shown, token=TOKEN, page_size=500) as api,
        serve_google_api(copy.deepcopy(world.google_nights[0]), batch_size=200) as google,
        serve_hubspot_api(world.hubspot(world.start)) as crm,
    ):
        yield WorldRun(root, world, api, google, crm, **overrides)
