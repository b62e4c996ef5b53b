"""Conversion events over real HTTP: what is sent, when, once; and every way a request can fail."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from activation.conversions import ConversionsError, send_conversions
from activation.conversions_api import EventsApi
from activation.conversions_ledger import ConversionsLedger
from activation.ledger import LedgerError, ledger_path
from activation.outbox import OutboxError
from ctwa import lease
from ctwa.errors import LockLostError
from ctwa.lock import RefreshBusyError
from ctwa.settings import Settings
from simulator.ads_faults import Fault
from simulator.conversions_api import EventsFault
from tests.activation.conftest import Meta
from tests.support.outbox import DATASET, NOW, WABA, due, ledger_rows, states, write_outbox

EVENTS = "POST /[0-9]+/events"


def test_what_is_due_is_sent_once_and_the_marts_hear_of_it(meta: Meta) -> None:
    rows = [due(1), due(2, stage="won")]
    first, second = meta.send(rows), meta.send()
    assert (first.due, first.sent, second.due, second.sent) == (2, 2, 0, 0)
    assert [e["event_name"] for e in meta.api.accepted] == ["QualifiedLead", "Purchase"]
    assert meta.api.accepted[1]["custom_data"] == {"currency": "BRL", "value": 1250.5}
    found = states(meta.settings)[rows[1]["conversion_event_id"]]
    assert (found["status"], found["sent_at"], found["occurred_at"]) == (
        "sent", NOW, NOW - timedelta(minutes=1),
    )  # fmt: skip
    assert (found["event_name"], found["dataset_id"], str(found["value"])) == (
        "Purchase", DATASET, "1250.500000",
    )  # fmt: skip
    assert found["lead_id"] == rows[1]["lead_id"]


@pytest.mark.parametrize("mode", ["off", "dry_run"])
def test_nothing_is_sent_in_off_and_dry_run(meta: Meta, mode: str) -> None:
    meta.options["meta_conversions_mode"] = mode
    row = due(1)
    counts = meta.send([row, due(2, ineligible_reason="no_click_id")])
    assert meta.api.calls == []
    assert meta.told() == {
        row["conversion_event_id"]: {
            "off": ("skipped", "activation_off"), "dry_run": ("pending", "dry_run")
        }[mode]
    }  # fmt: skip
    assert counts.skipped.pop("no_click_id") == 1
    assert (counts.sent, counts.pending, counts.skipped) == {
        "off": (0, 0, {"activation_off": 1}), "dry_run": (0, 1, {})
    }[mode]  # fmt: skip


def test_a_dry_run_shows_the_reasons_that_only_the_moment_of_sending_knows(meta: Meta) -> None:
    meta.options["meta_conversions_mode"] = "dry_run"
    counts = meta.send([
        due(1), due(2, waba_id=None), due(3, waba_id="100000000000009"),
        due(4, at=NOW - timedelta(days=8)), due(5, occurred_at=NOW + timedelta(hours=1)),
    ])  # fmt: skip
    assert counts.skipped == {"no_waba": 1, "no_dataset": 1, "too_old": 1}
    assert counts.pending == 2  # one of them not due before an hour has passed
    assert sorted(r or "" for s, r in meta.told().values() if s == "pending") == [
        "dry_run", "in_the_future",
    ]  # fmt: skip


def test_in_test_mode_the_code_of_the_events_manager_goes_along(meta: Meta) -> None:
    meta.options |= {"meta_conversions_mode": "test", "meta_test_event_code": "TEST42"}
    meta.send([due(1)])
    meta.options = {}
    assert meta.send([due(1), due(2)]).sent == 1  # what was sent as a test has counted
    assert meta.api.test_codes == ["TEST42", None]


# ---- since when --------------------------------------------------------------------------------


def test_e71_outcomes_from_before_the_activation_are_never_sent(meta: Meta) -> None:
    old, new = due(1, at=NOW - timedelta(hours=2)), due(2)
    assert meta.send([old, new]).skipped == {"before_activation": 1}
    assert [e["event_id"] for e in meta.api.accepted] == [new["conversion_event_id"]]
    assert meta.told()[old["conversion_event_id"]] == ("skipped", "before_activation")


@pytest.mark.parametrize("mode", ["off", "dry_run"])
def test_e71_what_happened_while_it_was_switched_off_is_never_sent(meta: Meta, mode: str) -> None:
    meta.options["meta_conversions_mode"] = mode
    meta.send([due(1)])
    meta.options = {}
    meta.at = NOW + timedelta(minutes=5)
    counts = meta.send()
    assert counts.skipped == {"before_activation": 1}
    assert meta.api.calls == []


def test_e71_what_waited_when_it_was_switched_off_is_not_sent_later(meta: Meta) -> None:
    meta.fail(Fault(EVENTS, status=500, code=2, transient=True, times=99))
    meta.send([due(1)], patience=0)
    assert meta.told()[due(1)["conversion_event_id"]] == ("pending", "postponed")
    meta.fail()
    meta.options["meta_conversions_mode"] = "off"
    meta.send()
    meta.options = {}
    meta.at = NOW + timedelta(minutes=5)
    assert meta.send().skipped == {"before_activation": 1}
    assert meta.api.accepted == []


def test_e71_a_lost_ledger_begins_anew_and_sends_nothing_twice(meta: Meta) -> None:
    meta.send([due(1)])
    (meta.settings.activation_dir / "ledger.db").unlink()
    meta.at = NOW + timedelta(minutes=1)
    assert meta.send().skipped == {"before_activation": 1}


def test_e67_too_old_for_meta_is_skipped_with_a_margin(meta: Meta) -> None:
    meta.at = NOW + timedelta(days=7) - timedelta(minutes=16)
    young, old = due(1), due(2, occurred_at=NOW - timedelta(minutes=2))
    assert meta.send([young, old]).skipped == {"too_old": 1}
    assert meta.told()[old["conversion_event_id"]] == ("skipped", "too_old")
    assert [e["event_id"] for e in meta.api.accepted] == [young["conversion_event_id"]]


def test_a_time_still_to_come_is_waited_for(meta: Meta) -> None:
    row = due(1, occurred_at=NOW + timedelta(minutes=10))
    assert meta.send([row]).pending == 1
    assert meta.told()[row["conversion_event_id"]] == ("pending", "in_the_future")
    meta.at = NOW + timedelta(minutes=11)
    assert meta.send().sent == 1


# ---- once --------------------------------------------------------------------------------------


def test_r28_an_outcome_that_moved_to_another_lead_is_not_sent_again(meta: Meta) -> None:
    first, moved = due(1), due(2, outcome_key=due(1)["outcome_key"])
    meta.send([first])
    assert meta.send([moved]).skipped == {"already_sent": 1}
    found = meta.told()
    assert found[moved["conversion_event_id"]] == ("skipped", "already_sent")
    assert found[first["conversion_event_id"]] == ("sent", None)  # it stays visible


def test_r28_one_click_qualifies_once_and_may_buy_more_than_once(meta: Meta) -> None:
    click = due(1)["ctwa_clid"]
    meta.send([due(1), due(2, stage="won", ctwa_clid=click)])
    counts = meta.send([
        due(3, ctwa_clid=click), due(4, stage="won", ctwa_clid=click),
        due(5, stage="won", occurrence="deal-4"),
    ])  # fmt: skip
    assert (counts.sent, counts.skipped) == (1, {"already_sent": 2})


def test_a_rejected_event_does_not_keep_its_outcome_from_another_lead(meta: Meta) -> None:
    bad = due(1, ctwa_clid="x" * 1025)
    meta.send([bad])
    assert meta.send([due(2, outcome_key=bad["outcome_key"])]).sent == 1


def test_two_at_once_the_second_is_told_who_holds_the_lock(
    meta: Meta, hold_lock: Callable[[Settings], None]
) -> None:
    write_outbox(meta.settings, [due(1)])
    hold_lock(meta.settings)
    with pytest.raises(RefreshBusyError, match="another refresh is running"):
        send_conversions(meta.settings)
    assert meta.api.calls == []


def _sent_in_turn(meta: Meta) -> Callable[[int], Meta]:
    """Two hosts, the second with a copy of the first one's data folder from an hour before."""
    meta.send([due(1)])
    first = meta.settings.data_dir
    second = first.with_name("second")
    shutil.copytree(first, second)

    def at(host: int) -> Meta:
        meta.options["data_dir"] = (first, second)[host - 1]
        return meta

    return at


def test_what_another_host_has_sent_is_not_sent_again_and_the_rest_is(
    meta: Meta, postgres_url: str
) -> None:
    meta.options["vault_url"] = postgres_url
    at = _sent_in_turn(meta)
    meta.at = NOW + timedelta(minutes=5)
    second, third = due(2, at=meta.at), due(3, at=meta.at)
    assert at(2).send([due(1), second]).sent == 1
    meta.at = NOW + timedelta(minutes=10)
    assert at(1).send([due(1), second, third]).sent == 1
    assert [status for status, _ in meta.told().values()] == ["sent"] * 3  # of both hosts
    assert not ledger_path(meta.settings).exists()


def test_known_bad_with_vaults_in_files_the_first_host_sends_it_again(meta: Meta) -> None:
    at = _sent_in_turn(meta)
    meta.at = NOW + timedelta(minutes=5)
    second = due(2, at=meta.at)
    assert at(2).send([second]).sent == 1
    meta.at = NOW + timedelta(minutes=10)
    assert at(1).send([due(1), second]).sent == 1  # twice: nobody could know
    meta.options = {"meta_conversions_on_unknown": "resend"}  # the fixture's own look at that


@pytest.mark.parametrize("is_known_bad", [False, True])
def test_a_host_that_lost_the_lock_before_a_request_sends_nothing(
    meta: Meta, postgres_url: str, monkeypatch: pytest.MonkeyPatch, is_known_bad: bool
) -> None:
    """Paused after every question, so that only the transaction itself can tell."""
    meta.options["vault_url"] = postgres_url
    write_outbox(meta.settings, [due(1)])
    real = ConversionsLedger.start

    def paused(*args: Any) -> None:
        with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as database:
            database.execute("update ctwa_leases set token = token + 1, holder = '1:b:boot:7:1'")
        if is_known_bad:
            monkeypatch.setattr(lease.Lease, "guard", lambda *_: None)
        real(*args)

    monkeypatch.setattr(ConversionsLedger, "start", paused)
    if is_known_bad:
        meta.send()
        assert len(meta.api.calls) == 1
        return
    with pytest.raises(LockLostError, match="process 7 on b"):
        meta.send()
    assert meta.api.calls == []
    assert {row.state for row in ledger_rows(meta.settings).values()} == {"pending"}


# ---- what goes wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [
    Fault(EVENTS, status=429, code=4, message="Application request limit reached"),
    Fault(EVENTS, kind="html", status=429),
    Fault(EVENTS, status=500, code=1, message="An unknown error occurred"),
    Fault(EVENTS, status=503, code=2, transient=True),
    Fault(EVENTS, status=400, code=80004),
    Fault(EVENTS, status=400, code=100, transient=True),
], ids=["429", "429 html", "500 code 1", "503", "limit", "transient"])  # fmt: skip
def test_what_was_not_processed_is_sent_again(meta: Meta, fault: Fault) -> None:
    meta.fail(fault)
    counts = meta.send([due(1), due(2)])
    assert (counts.sent, counts.requests, len(meta.slept)) == (2, 2, 1)


def test_meta_says_how_long_to_wait_and_patience_has_an_end(meta: Meta) -> None:
    limit = Fault(EVENTS, status=429, code=4, headers={"retry-after": "30"}, times=99)
    meta.fail(limit)
    counts = meta.send([due(1)], patience=100)
    assert meta.slept == [30.0, 30.0, 30.0]
    assert (counts.pending, counts.waited_seconds, counts.sent) == (1, 90.0, 0)
    assert "error 4" in counts.postponed
    assert meta.told()[due(1)["conversion_event_id"]] == ("pending", "postponed")
    meta.fail()
    assert meta.send().sent == 1  # the next run


def test_pauses_grow_to_their_limit(meta: Meta) -> None:
    meta.fail(Fault(EVENTS, status=500, code=2, times=99))
    meta.send([due(1)], patience=400)
    assert all(0.5 * 2**n <= s <= 2**n for n, s in enumerate(meta.slept[:6]))
    assert max(meta.slept) <= 60
    assert 300 < sum(meta.slept) <= 400


def test_where_nobody_listens_nothing_was_sent(meta: Meta) -> None:
    meta.options["meta_graph_url"] = "http://127.0.0.1:9"  # discard: nobody there
    counts = meta.send([due(1)], patience=2)
    assert (counts.pending, counts.unknown) == (1, 0)
    assert "no connection to 127.0.0.1" in counts.postponed
    meta.options = {}
    assert meta.send().sent == 1


UNCLEAR = {
    "cut before the answer, taken": (EventsFault(EVENTS, kind="drop", takes=True), "no_answer"),
    "cut before the answer, not taken": (EventsFault(EVENTS, kind="drop"), "no_answer"),
    "cut within the answer": (EventsFault(EVENTS, kind="cut"), "no_answer"),
    "time-out after it was taken": (
        EventsFault(EVENTS, kind="hang", seconds=1, takes=True), "no_answer",
    ),
    "time-out before it was taken": (EventsFault(EVENTS, kind="hang", seconds=1), "no_answer"),
    "an error page": (EventsFault(EVENTS, kind="html", status=502, takes=True), "unclear_answer"),
    "an empty 500": (EventsFault(EVENTS, kind="empty", status=500), "unclear_answer"),
    "an unreadable 200": (EventsFault(EVENTS, kind="truncated"), "unclear_answer"),
    "a list": (EventsFault(EVENTS, kind="body", status=200, body=[], takes=True), "unclear_answer"),
    "another number": (
        EventsFault(EVENTS, kind="body", status=200, body={"events_received": 1}, takes=True),
        "count_differs",
    ),
    "no number": (
        EventsFault(EVENTS, kind="body", status=200, body={"messages": []}), "count_differs",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNCLEAR)
def test_a_request_whose_fate_is_unknown_is_parked(meta: Meta, name: str) -> None:
    fault, reason = UNCLEAR[name]
    fault.seen = fault.struck = 0
    meta.fail(fault)
    if fault.kind == "hang":
        meta.answer_seconds = 0.3
    rows = [due(1), due(2)]
    counts = meta.send(rows)
    assert (counts.sent, counts.unknown) == (0, 2)
    assert set(meta.told().values()) == {("unknown", reason)}
    again = meta.send()
    assert (again.due, again.unknown, len(meta.api.calls)) == (0, 2, 1)  # never a second request
    assert len(meta.api.accepted) in (0, 2)


def test_an_answer_without_messages_is_an_answer(meta: Meta) -> None:
    meta.fail(EventsFault(EVENTS, kind="no_messages"))
    assert meta.send([due(1)]).sent == 1


def test_e69_resend_tells_it_again_with_the_same_id_time_and_content(meta: Meta) -> None:
    meta.options["meta_conversions_on_unknown"] = "resend"
    meta.fail(EventsFault(EVENTS, kind="drop", takes=True))
    row = due(1, stage="won")
    meta.send([row])
    meta.at = NOW + timedelta(hours=1)
    corrected = row | {"occurred_at": NOW, "value": "9"}
    counts = meta.send([corrected])
    assert (counts.sent, counts.unknown) == (1, 0)
    first, second = meta.api.accepted
    assert first == second  # counted twice, as the setting says it may be
    assert meta.told()[row["conversion_event_id"]] == ("sent", None)


@pytest.mark.parametrize("change", [
    {"ctwa_clid": "AfAnother"}, {"ineligible_reason": "consent_withdrawn"}, {"waba_id": "1"},
])  # fmt: skip
def test_resend_leaves_alone_what_is_not_the_same_or_not_allowed_any_more(
    meta: Meta, change: dict[str, str]
) -> None:
    meta.options["meta_conversions_on_unknown"] = "resend"
    meta.fail(EventsFault(EVENTS, kind="drop"))
    meta.send([due(1)])
    counts = meta.send([due(1) | change])
    assert (counts.due, counts.unknown, len(meta.api.calls)) == (0, 1, 1)


def test_what_is_refused_when_it_is_sent_again_stays_unknown(meta: Meta) -> None:
    meta.options["meta_conversions_on_unknown"] = "resend"
    meta.fail(EventsFault(EVENTS, kind="drop", takes=True))
    row = due(1)
    meta.send([row])
    meta.api.poison.add(row["conversion_event_id"])
    meta.send()
    assert meta.told()[row["conversion_event_id"]] == ("unknown", "refused_100_2804016")
    meta.fail(Fault(EVENTS, status=429, code=4, times=99))
    meta.send(patience=0)
    assert meta.told()[row["conversion_event_id"]][0] == "unknown"


def test_a_bad_day_of_metas_does_not_make_thousands_unknown(meta: Meta) -> None:
    meta.fail(EventsFault(EVENTS, kind="html", status=502, times=99))
    counts = meta.send([due(n) for n in range(1200)])
    assert (counts.requests, counts.unknown, counts.pending) == (3, 1002, 198)
    meta.fail()
    assert meta.send().sent == 198


def test_after_an_unclear_answer_requests_grow_again(meta: Meta) -> None:
    meta.fail(EventsFault(EVENTS, kind="drop"))
    counts = meta.send([due(n) for n in range(2500)])
    assert (counts.unknown, counts.sent) == (1000, 1500)
    assert [len(r) for r in meta.api.requests] == [1000, 1, 10, 100, 1000, 389]


# ---- refused -----------------------------------------------------------------------------------


def test_e68_r27_one_bad_among_999_good_is_found_in_few_requests(meta: Meta) -> None:
    rows = [due(n) for n in range(1000)]
    bad = rows[617]["conversion_event_id"]
    meta.api.poison.add(bad)
    counts = meta.send(rows)
    assert (counts.sent, counts.rejected) == (999, 1)
    assert counts.rejected_because == {"refused_100_2804016": 1}
    assert meta.told()[bad] == ("rejected", "refused_100_2804016")
    assert counts.requests - 1 <= 2 * math.ceil(math.log2(1000))
    assert meta.send().due == 0


def test_e68_too_old_by_metas_clock_is_found_and_the_others_go_through(meta: Meta) -> None:
    meta.api.clock = lambda: (meta.at + timedelta(days=7)).timestamp()
    rows = [due(n, occurred_at=NOW - timedelta(seconds=n)) for n in range(1, 41)]
    for row in rows[3:]:
        row["occurred_at"] = NOW
    counts = meta.send(rows)
    assert (counts.sent, counts.rejected_because) == (37, {"too_old": 3})


def test_e68_a_refused_name_is_remembered_and_its_fall_back_used(meta: Meta) -> None:
    meta.api.refused_names.add("QualifiedLead")
    counts = meta.send([due(n) for n in range(40)])
    assert (counts.sent, counts.requests) == (40, 2)
    assert {e["event_name"] for e in meta.api.accepted} == {"LeadSubmitted"}
    assert {s["event_name"] for s in states(meta.settings).values()} == {"LeadSubmitted"}
    assert meta.send([due(50)]).requests == 1  # not asked again


def test_a_name_without_fall_back_is_rejected(meta: Meta) -> None:
    meta.options["meta_conversion_events"] = "qualified:QualifiedLead"
    meta.api.refused_names.add("QualifiedLead")
    assert meta.send([due(1), due(2)]).rejected_because == {"name_refused": 2}
    meta.send([due(3)])
    assert len(meta.api.calls) == 1


def test_what_is_wrong_before_it_is_sent_is_never_sent(meta: Meta) -> None:
    counts = meta.send([
        due(1, ctwa_clid=""), due(2, ctwa_clid="é" * 513), due(3, stage="won", value="-1"),
        due(4, stage="won", currency="R$"), due(5, stage="won", value=None), due(6),
    ])  # fmt: skip
    assert counts.sent == 1
    assert counts.rejected_because == {
        "invalid_click_id": 2, "invalid_value": 1, "invalid_currency": 1, "no_value": 1
    }  # fmt: skip
    assert len(meta.api.requests) == 1


def test_if_meta_refuses_all_of_a_dataset_most_of_them_wait_for_the_mend(meta: Meta) -> None:
    rows = [due(n) for n in range(500)]
    meta.api.poison |= {row["conversion_event_id"] for row in rows}
    with pytest.raises(ConversionsError, match="refused 20 events in a row, last: error 100"):
        meta.send(rows)
    meta.api.poison.clear()
    counts = meta.send()
    assert (counts.sent, counts.rejected) == (480, 20)


# ---- somebody has to mend it -------------------------------------------------------------------


def test_a_dead_token_stops_everything_and_loses_nothing(meta: Meta) -> None:
    meta.api.token = "another"
    meta.options |= {"meta_access_token": "old-and-secret"}
    rows = [due(1), due(2, stage="won"), due(3, waba_id="100000000000002")]
    meta.options["meta_dataset_ids"] = f"{WABA}:{DATASET},100000000000002:770000000000002"
    with pytest.raises(ConversionsError, match="META_CONVERSIONS_TOKEN") as caught:
        meta.send(rows)
    assert len(meta.api.calls) == 1
    assert "old-and-secret" not in str(caught.value)
    assert caught.value.counts is not None
    assert caught.value.counts.pending == 3
    assert set(meta.told().values()) == {("pending", "stopped")}
    meta.options["meta_access_token"] = "another"
    assert meta.send().sent == 3


@pytest.mark.parametrize("fault", [
    Fault(f"POST /{DATASET}/events", status=403, code=200, times=99),
    Fault(f"POST /{DATASET}/events", status=400, code=100, subcode=33, times=99),
], ids=["permission", "no such dataset"])  # fmt: skip
def test_a_dataset_that_may_not_be_used_holds_up_no_other(meta: Meta, fault: Fault) -> None:
    meta.options["meta_dataset_ids"] = f"{WABA}:{DATASET},100000000000002:770000000000002"
    meta.fail(fault)
    rows = [due(1), due(2, stage="won"), due(3, waba_id="100000000000002")]
    with pytest.raises(ConversionsError, match=f"dataset {DATASET}") as caught:
        meta.send(rows)
    assert caught.value.counts is not None
    assert (caught.value.counts.sent, caught.value.counts.pending) == (1, 2)
    meta.fail()
    assert meta.send().sent == 2


def test_no_token_is_said_and_the_activation_has_begun(meta: Meta) -> None:
    meta.options["meta_access_token"] = None
    write_outbox(meta.settings, [due(1)])
    with pytest.raises(ConversionsError, match="set META_CONVERSIONS_TOKEN"):
        send_conversions(meta.settings, now=lambda: NOW)
    assert set(meta.told().values()) == {("pending", None)}


def test_a_token_of_its_own_comes_first(meta: Meta) -> None:
    meta.options |= {"meta_access_token": "reads", "meta_conversions_token": meta.api.token}
    assert meta.send([due(1)]).sent == 1


def test_without_an_outbox_it_says_what_builds_one(settings: Settings) -> None:
    with pytest.raises(OutboxError, match="run `ctwa refresh`"):
        send_conversions(settings)
    settings.warehouse_path.touch()
    settings.warehouse_path.unlink()
    import duckdb

    duckdb.connect(str(settings.warehouse_path)).close()
    with pytest.raises(OutboxError, match=r"has no activation\.conversion_outbox"):
        send_conversions(settings)


def test_the_ledger_names_nobody_and_keeps_no_click_id(meta: Meta) -> None:
    meta.send([due(1)])
    (row,) = ledger_rows(meta.settings).values()
    assert row.click_key is not None
    assert len(row.click_key) == 32
    files = [p for p in meta.settings.activation_dir.rglob("*") if p.is_file()]
    kept = {p.name: oct(p.stat().st_mode & 0o777) for p in files if p.name.startswith("ledger.db")}
    assert set(kept.values()) == {"0o600"}
    assert [p.name for p in files if b"AfClick1" in p.read_bytes()] == []


def test_meta_is_asked_over_a_connection_of_its_own_without_a_redirect(meta: Meta) -> None:
    meta.fail(Fault(EVENTS, kind="empty", status=307, headers={"location": f"{meta.api.url}/x"}))
    assert meta.send([due(1)]).unknown == 1
    assert len(meta.api.calls) == 1
    assert EventsApi.from_settings(meta.settings) is not None


def test_a_damaged_ledger_sends_nothing_and_says_what_to_do(meta: Meta) -> None:
    path = ledger_path(meta.settings)
    for file in path.parent.glob(f"{path.name}-*"):
        file.unlink()
    path.write_bytes(b"torn" * 4096)
    with pytest.raises(LedgerError, match="is damaged, and nothing was sent"):
        meta.send([])
    assert meta.api.requests == []
