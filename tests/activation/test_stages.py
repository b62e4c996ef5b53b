"""Stages of instant forms' leads, told back as Conversion Leads: all, once, or explained."""

from __future__ import annotations

from datetime import timedelta

import pytest

from simulator.ads_faults import Fault
from simulator.conversions_api import EventsFault
from tests.activation.conftest import Meta
from tests.support.outbox import (
    DATASET,
    NOW,
    PAGE,
    WABA,
    due,
    form_stage,
    ledger_rows,
    states,
)

EVENTS = "POST /[0-9]+/events"


@pytest.fixture
def forms(meta: Meta) -> Meta:
    meta.options["meta_dataset_ids"] = f"{WABA}:{DATASET},{PAGE}:{DATASET}"
    return meta


def test_every_stage_is_told_by_the_leads_id_and_once(forms: Meta) -> None:
    rows = [form_stage(1), form_stage(1, "qualified"), form_stage(1, "opportunity"),
            form_stage(1, "won"), due(2)]  # fmt: skip
    assert (forms.send(rows).sent, forms.send().sent) == (5, 0)
    told = {e["event_name"]: e for e in forms.api.accepted}
    assert told.keys() == {"lead", "qualified", "opportunity", "won", "QualifiedLead"}
    assert told["lead"] == {
        "event_name": "lead",
        "event_time": int((NOW - timedelta(minutes=1)).timestamp()),
        "action_source": "system_generated",
        "user_data": {"lead_id": "1122334455000001"},
        "custom_data": {"event_source": "crm", "lead_event_source": "ctwa-attribution"},
        "event_id": rows[0]["conversion_event_id"],
    }
    assert (
        told["won"]["custom_data"] | {"value": 1250.5, "currency": "BRL"}
        == (told["won"]["custom_data"])
    )
    found = states(forms.settings)[rows[2]["conversion_event_id"]]
    assert (found["event_name"], found["dataset_id"]) == ("opportunity", DATASET)


def test_a_lead_that_moved_to_another_person_is_not_told_twice(forms: Meta) -> None:
    forms.send([form_stage(1), form_stage(1, "qualified")])
    again = [form_stage(1, lead_id="b" * 32), form_stage(1, "qualified", lead_id="b" * 32)]
    counts = forms.send(again)
    assert (counts.sent, counts.skipped) == (0, {"already_sent": 2})


def test_without_a_dataset_for_the_page_it_is_explained(meta: Meta) -> None:
    assert meta.send([form_stage(1), form_stage(2, page_id=None)]).skipped == {
        "no_dataset": 1,
        "no_waba": 1,
    }


def test_a_bad_lead_id_is_rejected_and_takes_no_other_along(forms: Meta) -> None:
    bad = form_stage(1, leadgen_id="12")
    assert forms.send([bad, form_stage(2)]).sent == 1
    assert forms.told()[bad["conversion_event_id"]] == ("rejected", "invalid_lead_id")


def test_a_refused_name_of_a_stage_ends(forms: Meta) -> None:
    forms.api.refused_names = {"lead"}
    row = form_stage(1)
    assert forms.send([row, form_stage(2)]).sent == 0
    assert forms.told()[row["conversion_event_id"]] == ("rejected", "refused_100_2804066")


@pytest.mark.parametrize(
    "fault",
    [
        EventsFault(EVENTS, kind="drop", takes=True),
        EventsFault(EVENTS, kind="truncated"),
        Fault(EVENTS, status=500, code=2, transient=True),
        EventsFault(EVENTS, kind="html", status=502, takes=True),
    ],
    ids=["taken and hung up", "answer cut", "refused for now", "taken, error page"],
)
def test_no_fault_makes_a_stage_count_twice(forms: Meta, fault: Fault) -> None:
    forms.fail(fault)
    rows = [form_stage(1), form_stage(1, "qualified"), form_stage(2)]
    forms.send(rows)
    forms.fail()
    forms.send()
    times = forms.api.times_accepted()
    assert max(times.values()) == 1
    told = {row["conversion_event_id"] for row in rows}
    in_doubt = {k for k, row in ledger_rows(forms.settings).items() if row.state == "unknown"}
    assert times.keys() | in_doubt == told, "sent, or parked and said"
