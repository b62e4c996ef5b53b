"""Numbers with several responders: `standby`, `messaging_handovers`, fields that nobody knew."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from ingestion.parser import whatsapp
from ingestion.parser.changes import LISTS_READ, NO_NAME, UNREADABLE
from tests.ingestion.parser.payloads import (
    BSUID,
    BUSINESS,
    NAMES,
    OTHER_PHONE,
    PHONE,
    SENT,
    Rows,
    encode,
    envelope,
    links,
    message,
    own_payloads,
    parse,
    reasons,
    referral,
)
from tests.ingestion.parser.test_hostile import conserved

CONTACT = {"profile": {"name": "T"}, "wa_id": PHONE, "user_id": BSUID}
ECHO = {
    "id": "wamid.ECHO1",
    "timestamp": str(SENT + 60),
    "message": {
        "messaging_product": "whatsapp",
        "to": PHONE,
        "type": "text",
        "text": {"body": "Olá"},
    },
}


def standby(**lists: Any) -> dict[str, Any]:
    """A change of field `standby`, its lists in an object of that name."""
    return envelope(field="standby", standby=lists)


def without(rows: Rows, *columns: str) -> Rows:
    left_out = {*columns, "body_key", "size"}
    return {
        name: [{k: v for k, v in row.items() if k not in left_out} for row in found]
        for name, found in rows.items()
    }


def handover(event: str | None = "control_passed", **extra: Any) -> dict[str, Any]:
    """One notice, as the value of its change; `None` takes a key away."""
    found: dict[str, Any] = {
        "messaging_product": "whatsapp",
        "recipient": {"display_phone_number": BUSINESS, "phone_number_id": "31"},
        "sender": {"phone_number": PHONE},
        "type": event,
        "timestamp": str(SENT + 120),
    }
    if event:
        found[event] = {"previous_owner_role": "ai_agent", "new_owner_role": "escalation"}
    found.update(extra)
    return {key: value for key, value in found.items() if value is not None}


def change(field: Any, value: Any) -> dict[str, Any]:
    inner = {"value": value} if field is None else {"field": field, "value": value}
    entry = {"id": "41", "time": SENT + 5, "changes": [inner]}
    return {"object": "whatsapp_business_account", "entry": [entry]}


# ---- standby -------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["whatsapp", "dialog360", "gupshup"])
def test_e78_every_list_counts_on_standby_as_it_does_on_messages(source: str) -> None:
    """Own payloads of every kind, the lists of each moved into `standby`: the same rows."""
    moved, plain = [], []
    for raw in own_payloads().values():
        body = json.loads(raw)
        values = [c for e in body["entry"] for c in e["changes"] if c.get("field") == "messages"]
        if not values:
            continue
        plain.append(json.loads(raw))
        for found in values:
            value = found["value"]
            kept = {k: value.pop(k) for k in list(value) if k in LISTS_READ}
            found["field"], value["standby"] = "standby", kept
        moved.append(body)
    assert len(moved) > 30
    rows, expected = parse(*moved, source=source), parse(*plain, source=source)
    # Account-level errors are kept by their field, and paths say where something stood.
    assert without(rows, "field", "path") == without(expected, "field", "path")
    assert {r["field"] for r in rows["messages"]} == {"standby"}
    assert {r["field"] for r in expected["messages"]} == {"messages"}
    assert conserved(rows)


@pytest.mark.parametrize(
    "body",
    [
        envelope(message(1, referral=referral()), field="standby", contacts=[CONTACT]),
        standby(messages=[message(1, referral=referral())], contacts=[CONTACT]),
        envelope(
            field="standby",
            contacts=[CONTACT],
            standby=[{"messages": [message(1, referral=referral())]}],
        ),
    ],
    ids=["directly in value", "in its object", "in a list of objects"],
)
def test_e78_lists_are_read_wherever_they_stand_in_the_change(body: dict[str, Any]) -> None:
    rows = parse(body)
    (row,) = rows["messages"]
    assert (row["origin"], row["direction"], row["field"]) == ("live", "inbound", "standby")
    assert (row["phone_key"], row["bsuid_key"]) == (NAMES.phone(PHONE), NAMES.bsuid(BSUID))
    assert (row["referral_source_id"], row["ctwa_clid"]) == ("120299990000000001", "AfClick")
    assert links(rows) == {(NAMES.phone(PHONE), NAMES.bsuid(BSUID), "contact")}
    assert not rows["quarantine"]
    assert not rows["account_events"]


def test_e78_the_number_may_stand_in_the_inner_object_only() -> None:
    value = {
        "standby": {
            "metadata": {"display_phone_number": BUSINESS, "phone_number_id": "31"},
            "messages": [message()],
        }
    }
    (row,) = parse(change("standby", value))["messages"]
    assert (row["business_number_id"], row["phone_number_id"]) == (BUSINESS, "31")


@pytest.mark.parametrize(
    "echo",
    [
        ECHO,
        {**ECHO["message"], "id": ECHO["id"], "timestamp": ECHO["timestamp"]},  # type: ignore[dict-item]
        {**ECHO, "template": {"name": "x", "components": []}},
        {**ECHO["message"], "id": ECHO["id"], "timestamp": ECHO["timestamp"], "from": BUSINESS},  # type: ignore[dict-item]
    ],
    ids=["as asked for", "flat", "of a template", "flat with our number"],
)
@pytest.mark.parametrize("name", ["message_echoes", "messages"])
def test_e78_an_echo_is_ours_and_keeps_whom_it_went_to(echo: dict[str, Any], name: str) -> None:
    if name == "messages" and "message" not in echo and "from" not in echo:
        echo = {**echo, "from": BUSINESS}
    rows = parse(standby(**{name: [echo], "contacts": [CONTACT]}))
    (row,) = rows["messages"]
    assert (row["origin"], row["direction"], row["type"]) == ("echo", "outbound", "text")
    assert (row["phone_key"], row["sent_at"]) == (
        NAMES.phone(PHONE),
        datetime.fromtimestamp(SENT + 60, UTC),
    )
    assert row["message_key"] == NAMES.message(BUSINESS, "wamid.ECHO1")
    assert not row["has_referral"]
    assert conserved(rows)


def test_e78_echoes_to_a_user_id_and_to_a_group() -> None:
    to_id = {"recipient": BSUID, "type": "text"}
    to_group = {"recipient_type": "group", "to": "120363000000000000", "type": "text"}
    rows = parse(
        standby(
            message_echoes=[
                {"id": "wamid.1", "timestamp": str(SENT), "message": to_id},
                {"id": "wamid.2", "timestamp": str(SENT), "message": to_group},
            ]
        )
    )
    first, second = rows["messages"]
    assert (first["phone_key"], first["bsuid_key"]) == (None, NAMES.bsuid(BSUID))
    assert (second["is_group"], second["phone_key"]) == (True, None)
    assert not rows["quarantine"]


def test_e79_copies_on_both_fields_have_one_content() -> None:
    on_both = [
        envelope(message(1, referral=referral()), contacts=[CONTACT]),
        standby(messages=[message(1, referral=referral())], contacts=[CONTACT]),
    ]
    one, other = parse(*on_both)["messages"]
    assert {one["field"], other["field"]} == {"messages", "standby"}
    assert one["message_key"] == other["message_key"]
    assert one["content_key"] == other["content_key"]


def test_e78_one_bad_element_on_standby_costs_itself_only() -> None:
    raw = encode(standby(messages=[message(1, text="@@"), message(2), {"id": 1.5}]))
    rows = parse(raw.replace(b'"@@"', b'{"body":"x","body":"y"}'))
    assert len(rows["messages"]) + len(rows["quarantine"]) == 3
    assert {r["path"] for r in rows["quarantine"]} <= {
        f"entry[0].changes[0].value.standby.messages[{n}]" for n in range(3)
    }
    assert conserved(rows)


def test_e78_statuses_of_calls_are_none_of_messages() -> None:
    status = {"id": "wacid.1", "status": "RINGING", "type": "call", "timestamp": str(SENT)}
    ours = {"id": "wamid.9", "status": "sent", "timestamp": str(SENT), "recipient_id": PHONE}
    call = {"id": "wacid.2", "from": PHONE, "timestamp": str(SENT), "referral": referral()}
    rows = parse(standby(statuses=[status, ours], calls=[call]))
    assert [r["status"] for r in rows["statuses"]] == ["sent"]
    assert [(r["type"], r["has_referral"]) for r in rows["messages"]] == [("call", True)]


def test_e78_messenger_says_which_of_its_channels_an_event_came_by() -> None:
    def event(mid: str) -> dict[str, Any]:
        return {
            "sender": {"id": "1"},
            "recipient": {"id": "2"},
            "timestamp": SENT * 1000,
            "message": {"mid": mid, "text": "oi"},
        }

    body = {"object": "page", "entry": [{"messaging": [event("a")], "standby": [event("b")]}]}
    rows = parse(body, source="messenger")["messages"]
    assert [r["field"] for r in rows] == ["messaging", "standby"]


def test_e78_a_parser_that_knows_no_standby_loses_the_leads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The known-bad variant: what every version before 4 did, with exit code 0."""
    monkeypatch.setattr(whatsapp, "inner_objects", lambda field, value: [])
    rows = parse(standby(messages=[message(1, referral=referral())], contacts=[CONTACT]))
    assert not rows["messages"]
    # And the next such change is seen: a known field with people in no list that is read.
    (note,) = rows["account_events"]
    assert (note["field"], note["is_known"], note["holds_people"]) == ("standby", False, True)


# ---- messaging_handovers -------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["control_passed", "control_taken"])
@pytest.mark.parametrize(
    "shape",
    [
        lambda n: n,
        lambda n: [n],
        lambda n: {"messaging_handovers": n},
        lambda n: {"messaging_handovers": [n]},
        lambda n: {k: v for k, v in n.items() if k != "type"},
    ],
    ids=["object", "list", "object by name", "list by name", "without its type"],
)
def test_e79_a_notice_of_a_handover_is_a_row(event: str, shape: Callable[[Any], Any]) -> None:
    rows = parse(change("messaging_handovers", shape(handover(event))))
    (row,) = rows["handovers"]
    assert row["event"] == event
    assert (row["previous_owner_role"], row["new_owner_role"]) == ("ai_agent", "escalation")
    assert (row["phone_key"], row["country"]) == (NAMES.phone(PHONE), "BR")
    assert (row["business_number_id"], row["waba_id"]) == (BUSINESS, "41")
    assert row["occurred_at"] == datetime.fromtimestamp(SENT + 120, UTC)
    assert not rows["quarantine"]
    assert not rows["messages"]
    assert not rows["account_events"]


def test_e79_a_notice_is_tolerated_whatever_it_lacks() -> None:
    rows = parse(
        change("messaging_handovers", handover("control_shared")),
        change("messaging_handovers", {"type": "control_passed"}),
        change("messaging_handovers", handover(control_passed=None, timestamp="soon")),
        change("messaging_handovers", handover(sender={"user_id": BSUID, "phone_number": PHONE})),
        change("messaging_handovers", handover(control_passed={"new_owner_role": PHONE})),
        change("messaging_handovers", [7]),
    )
    unknown, bare, roleless, both, hostile = rows["handovers"]
    assert (unknown["event"], unknown["new_owner_role"]) == ("control_shared", "escalation")
    assert (bare["phone_key"], bare["new_owner_role"]) == (None, None)
    assert (roleless["new_owner_role"], roleless["occurred_at"].timestamp()) == (None, SENT + 5)
    assert links(rows) == {(both["phone_key"], both["bsuid_key"], "contact")}
    assert hostile["new_owner_role"] is None  # a role is a word, and never a number
    assert reasons(rows) == ["handover_not_object"]


def test_e79_what_the_agent_sums_up_is_not_kept_and_costs_nothing() -> None:
    told = {"new_owner_role": "escalation", "metadata": "@@", "conversation_context": {"a": "@@"}}
    raw = encode(change("messaging_handovers", handover(control_passed=told)))
    rows = parse(raw.replace(b"@@", b"Ana \\ud83d\\u0000 quer botox"))
    assert len(rows["handovers"]) == 1
    assert not rows["quarantine"]
    assert "botox" not in str(rows)


# ---- fields that nobody knew ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "has_people"),
    [
        ({"messages": [message()]}, True),
        ({"a": {"b": [{"c": {"messages": [{"x": 1}]}}]}}, True),
        ({"threads": [{"wa_id": PHONE}]}, True),
        ({"threads": [{"user_id": BSUID}]}, True),
        ({"tap": {"referral": {"source_id": "1"}}}, True),
        ({"event": {"from": PHONE}}, True),
        ({"event": {"to": "+55 (31) 98765-0001"}}, True),
        ({"event": {"recipient": BSUID}}, True),
        ({"items": [{"customer": "+55 31 98765-0001"}]}, True),
        ({"recipient_identity": BSUID}, True),
        (
            {
                "metadata": {"display_phone_number": BUSINESS},
                "items": [{"ours": f"+{BUSINESS}", "at": "1763600002", "v": "1.2"}],
            },
            False,
        ),
        ([{"contacts": [{}]}], True),
        ({"deep": [[[[[[{"phone_number": PHONE}]]]]]]}, True),
        ({"large": [{"n": n} for n in range(6_000)]}, True),
        ({"metadata": {"display_phone_number": BUSINESS}, "phone_number": BUSINESS}, False),
        ({"rating": {"from": "GREEN", "to": "RED"}, "messages": []}, False),
        ({"event": "SOMETHING", "contacts": None, "user_id": ""}, False),
        ({}, False),
        (None, False),
        ("text", False),
    ],
)
def test_e80_a_field_that_nobody_knew_is_noted_and_whether_it_holds_people(
    value: Any, has_people: bool
) -> None:
    rows = parse(change("brand_new", value))
    (note,) = rows["account_events"]
    assert (note["field"], note["is_known"]) == ("brand_new", False)
    assert note["holds_people"] is has_people
    assert PHONE not in str(rows)
    assert BSUID not in str(rows)


@pytest.mark.parametrize(
    "value",
    [
        {"messages": [message(1, referral=referral())]},
        {"brand_new": {"messages": [message(1, referral=referral())]}},
    ],
)
def test_e80_lists_that_are_known_by_name_land_from_a_field_that_is_not(value: Any) -> None:
    rows = parse(change("brand_new", value))
    (row,) = rows["messages"]
    assert (row["field"], row["has_referral"]) == ("brand_new", True)
    assert rows["account_events"][0]["holds_people"]


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("brand_new", "brand_new"),
        ("ads2whatsapp", "ads2whatsapp"),
        (PHONE, UNREADABLE),
        (f"u{PHONE}", UNREADABLE),
        (BSUID, UNREADABLE),
        ("ana@example.com", UNREADABLE),
        ("a" * 65, UNREADABLE),
        ("<script>", UNREADABLE),
        ("a\n", UNREADABLE),
        ({"a": 1}, UNREADABLE),
        (7, UNREADABLE),
        ("", NO_NAME),
        (None, NO_NAME),
    ],
)
def test_e80_the_name_of_a_field_is_kept_only_as_a_short_word(name: Any, kept: str) -> None:
    rows = parse(change(name, {"messages": [message()]}))
    assert [r["field"] for r in rows["account_events"]] == [kept]
    assert [r["field"] for r in rows["messages"]] == [kept]


def test_e80_people_of_a_known_field_in_no_list_that_is_read_are_noted() -> None:
    rows = parse(
        change("messages", {"handled": [{"from": OTHER_PHONE, "id": "wamid.1"}]}),
        change("standby", {"standby": {}}),
        change("standby", {"standby": {"messages": [message()], "more": [{"wa_id": PHONE}]}}),
        change("standby", {"standby": [message()]}),
        change("messages", {"messages": [message(2)], "conversation_context": {"type": "summary"}}),
        change("messages", {"metadata": {"display_phone_number": BUSINESS}}),
        change("account_update", {"event": "PARTNER_ADDED", "waba_info": {"user_id": "1"}}),
    )
    notes = [(r["field"], r["is_known"], r["holds_people"]) for r in rows["account_events"]]
    assert notes == [
        ("messages", False, True),
        ("standby", False, True),
        ("standby", False, True),
        ("account_update", True, None),
    ]
    assert len(rows["messages"]) == 2


def test_e79_a_copy_of_standby_beside_messages_is_told_as_such() -> None:
    rows = parse(envelope(message(1), standby={"messages": [message(2)]}))
    assert [r["field"] for r in rows["messages"]] == ["messages", "standby"]


def test_e80_nothing_that_is_known_today_is_noted() -> None:
    rows = parse(*(raw for name, raw in own_payloads().items() if name != "unknown_field"))
    assert [r for r in rows["account_events"] if not r["is_known"]] == []


def test_mutated_payloads_of_shared_numbers_never_stop_the_parser() -> None:
    from tests.ingestion.parser.test_fuzz import SECRET, mutate, raw_of

    rng = random.Random(78)
    known = [
        standby(messages=[message(1, referral=referral())], contacts=[CONTACT]),
        standby(message_echoes=[ECHO], statuses=[{"id": "w", "status": "sent"}]),
        change("messaging_handovers", handover()),
        change("messaging_handovers", {"messaging_handovers": [handover("control_taken")]}),
        change("brand_new", {"brand_new": {"messages": [message()]}}),
    ]
    rows = parse(*(raw_of(rng, mutate(rng, rng.choice(known))) for _ in range(4_000)))
    assert "parser_error" not in reasons(rows)
    assert conserved(rows)
    assert {r["field"] for r in rows["account_events"] + rows["messages"]} & {SECRET} == set()
    told = ("event", "previous_owner_role", "new_owner_role")
    assert SECRET not in str([[r[column] for column in told] for r in rows["handovers"]])
