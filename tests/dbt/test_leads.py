"""From messages to leads: whose touch it was, which one counts, and what it rests on."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from tests.support.people import (
    Envelope,
    Inbox,
    echo,
    message,
    outcome,
    people_models,
    quarantined,
    referral,
    status,
    withheld,
)
from tests.support.warehouse import DbtWorld

AD = "120226305854810726"
OTHER_AD = "120226305854810727"


def build(world: DbtWorld, *envelopes: Envelope) -> None:
    """Land the envelopes and build everything about people."""
    Inbox(world).deliver(*envelopes)
    world.build(*people_models(), tests=False)


def lead(world: DbtWorld) -> dict[str, Any]:
    """The only lead."""
    return world.one("marts.fct_leads")


def test_e01_duplicate_deliveries_are_one_message(dbt_world: DbtWorld) -> None:
    tap = message("2026-05-03 14:02", phone="ana", id="m1", **referral(AD))

    build(dbt_world, tap, tap, tap, quarantined(2))

    assert dbt_world.one("marts.fct_conversations")["inbound_messages"] == 1
    assert dbt_world.one("intermediate.int_messages__deduplicated")["copies"] == 3
    assert lead(dbt_world)["touches"] == 1


def test_e02_of_copies_that_differ_the_one_with_the_referral_wins(dbt_world: DbtWorld) -> None:
    bare = message("2026-05-03 14:02", phone="ana", id="m1", origin="history")
    full = message("2026-05-03 14:02", phone="ana", id="m1", **referral(AD))

    build(dbt_world, bare, full, bare)

    assert lead(dbt_world)["ad_id"] == AD
    assert lead(dbt_world)["origin"] == "live"


def test_e03_elements_of_one_envelope_are_all_counted(dbt_world: DbtWorld) -> None:
    rows: dict[str, list[dict[str, Any]]] = {}
    for part in (
        message("2026-05-03 14:02", phone="ana"),
        message("2026-05-03 14:02", phone="bia", bsuid="b"),
        status("2026-05-03 14:05", id="s1", phone="ana"),
    ):
        for table, found in part.rows.items():
            rows.setdefault(table, []).extend(found)

    build(dbt_world, Envelope(rows))

    assert len(dbt_world.rows("marts.fct_leads")) == 2
    conversation = dbt_world.one("marts.fct_conversations", "lead_id = 'phone:ana'")
    assert conversation["outbound_messages"] == 1
    assert conversation["first_response_seconds"] == 180


def test_e04_referral_on_a_later_message_is_a_touch_of_its_own_time(dbt_world: DbtWorld) -> None:
    build(
        dbt_world,
        message("2026-05-01 09:00", phone="ana", **referral(AD)),
        message("2026-05-04 09:00", phone="ana", id="second", **referral(OTHER_AD)),
    )

    assert lead(dbt_world)["ad_id"] == AD
    assert lead(dbt_world)["latest_ad_id"] == OTHER_AD
    second = dbt_world.one("marts.fct_touches", f"ad_id = '{OTHER_AD}'")
    assert second["occurred_at"] == datetime(2026, 5, 4, 9, tzinfo=UTC)
    assert not second["is_opening"]


def test_e05_referral_counts_on_any_type(dbt_world: DbtWorld) -> None:
    for person, kind in enumerate(["audio", "button", "interactive", "request_welcome", "new"]):
        Inbox(dbt_world, last_seq=person).deliver(
            message("2026-05-01 09:00", phone=f"p{person}", type=kind, **referral(AD))
        )
    dbt_world.build(*people_models(), tests=False)

    bases = [row["basis"] for row in dbt_world.rows("marts.fct_leads")]
    assert bases == ["ctwa_click"] * 5


def test_e06_withheld_first_message_is_suspected_never_direct(dbt_world: DbtWorld) -> None:
    build(dbt_world, message("2026-05-01 09:00", phone="ana", **withheld()))

    found = lead(dbt_world)
    assert (found["basis"], found["channel"]) == ("ad_suspected", "unknown_ad")
    assert found["ad_id"] is None
    assert "Meta withheld" in found["why"]


def test_e06_referral_that_arrives_late_upgrades_the_first_message(dbt_world: DbtWorld) -> None:
    inbox = Inbox(dbt_world)
    inbox.deliver(message("2026-05-01 09:00", phone="ana", id="m1", **withheld()))
    dbt_world.build(*people_models(), tests=False)
    assert lead(dbt_world)["basis"] == "ad_suspected"

    inbox.deliver(message("2026-05-03 09:00", phone="ana", **referral(AD)))
    dbt_world.build(*people_models(), tests=False)

    found = lead(dbt_world)
    assert (found["basis"], found["ad_id"]) == ("ctwa_click", AD)
    assert found["first_touch_at"] == datetime(2026, 5, 1, 9, tzinfo=UTC)
    assert AD in found["why"]


def test_e06_billing_betrays_an_ad_even_if_the_status_comes_a_run_later(
    dbt_world: DbtWorld,
) -> None:
    inbox = Inbox(dbt_world)
    inbox.deliver(
        message("2026-05-01 09:00", phone="ana"), status("2026-05-01 09:01", id="r", phone="ana")
    )
    dbt_world.build(*people_models(), tests=False)
    assert lead(dbt_world)["basis"] == "direct"

    billed = {"status": "delivered", "pricing_type": "free_entry_point"}
    inbox.deliver(status("2026-05-01 09:02", id="r", phone="ana", **billed))
    dbt_world.build(*people_models(), tests=False)

    assert lead(dbt_world)["basis"] == "ad_suspected"
    assert dbt_world.one("marts.fct_conversations")["basis"] == "ad_suspected"


def test_e06_a_bill_before_the_referral_gives_the_first_message_its_ad(
    dbt_world: DbtWorld,
) -> None:
    billed = {"status": "delivered", "pricing_type": "free_entry_point"}
    build(
        dbt_world,
        message("2026-05-01 09:00", phone="ana"),
        status("2026-05-01 09:02", id="r", phone="ana", **billed),
        message("2026-05-01 09:05", phone="ana", **referral(AD)),
    )
    found = lead(dbt_world)
    assert (found["basis"], found["ad_id"]) == ("ctwa_click", AD)
    assert found["first_touch_at"] == datetime(2026, 5, 1, 9, tzinfo=UTC)
    assert "billed the chat as opened by an ad; the referral that followed" in found["why"]


def test_e07_referral_without_click_id_is_ctwa_ad(dbt_world: DbtWorld) -> None:
    build(dbt_world, message("2026-05-01 09:00", phone="ana", **referral(AD, clid=None)))

    assert (lead(dbt_world)["basis"], lead(dbt_world)["has_click_id"]) == ("ctwa_ad", False)
    assert lead(dbt_world)["channel"] == "click_to_whatsapp"


def test_e08_e09_click_id_without_ad_is_paid_and_unknown(dbt_world: DbtWorld) -> None:
    build(dbt_world, message("2026-05-01 09:00", phone="ana", **referral(None, clid="clid")))

    found = lead(dbt_world)
    assert (found["basis"], found["channel"]) == ("ctwa_click", "unknown_ad")
    assert (found["ad_id"], found["resolution"], found["platform"]) == (None, None, "meta")


def test_e10_post_is_organic_and_its_id_is_no_ad(dbt_world: DbtWorld) -> None:
    build(dbt_world, message("2026-05-01 09:00", phone="ana", **referral("9", source_type="post")))

    found = dbt_world.one("marts.fct_touches")
    assert (found["basis"], found["channel"]) == ("post", "organic_social")
    assert (found["ad_id"], found["post_id"], found["platform"]) == (None, "9", None)


def test_e10_a_post_is_a_post_in_any_case_of_its_letters(dbt_world: DbtWorld) -> None:
    build(
        dbt_world, message("2026-05-01 09:00", phone="ana", **referral("900", source_type="POST"))
    )

    assert lead(dbt_world)["basis"] == "post"
    assert dbt_world.rows("intermediate.int_referral_ads__latest") == []


def test_e11_unknown_source_type_is_paid_and_unknown(dbt_world: DbtWorld) -> None:
    tap = message("2026-05-01 09:00", phone="ana", **referral(AD, source_type="hologram"))
    build(dbt_world, tap)

    found = dbt_world.one("marts.fct_touches")
    assert (found["channel"], found["referral_source_type"]) == ("unknown_ad", "hologram")


def test_e12_late_earlier_message_moves_the_first_touch(dbt_world: DbtWorld) -> None:
    inbox = Inbox(dbt_world)
    inbox.deliver(message("2026-05-08 09:00", phone="ana"))
    dbt_world.build(*people_models(), tests=False)

    inbox.deliver(message("2026-05-01 09:00", phone="ana", origin="history", **referral(AD)))
    dbt_world.build(*people_models(), tests=False)

    found = lead(dbt_world)
    assert (found["basis"], found["ad_id"]) == ("ctwa_click", AD)
    assert found["is_backfilled"]
    assert found["first_touch_date"] == date(2026, 5, 1)


def test_e14_answer_to_our_message_is_outbound(dbt_world: DbtWorld) -> None:
    build(
        dbt_world,
        status("2026-05-01 09:00", id="template", phone="ana"),
        message("2026-05-01 10:00", phone="ana"),
    )

    found = lead(dbt_world)
    assert (found["basis"], found["channel"]) == ("outbound", "outbound")
    assert found["first_touch_at"] == datetime(2026, 5, 1, 10, tzinfo=UTC)


def test_e14_automatic_answer_in_the_same_second_did_not_write_first(dbt_world: DbtWorld) -> None:
    # Keys that sort before and after the person's own, as hashes do by luck.
    for place, key in enumerate(["a", "z"]):
        Inbox(dbt_world, last_seq=2 * place).deliver(
            message("2026-05-01 09:00", phone=key, id=f"m-{key}"),
            echo("2026-05-01 09:00", phone=key, id=f"{key}-greeting"),
        )
    dbt_world.build(*people_models(), tests=False)

    found = dbt_world.rows("marts.fct_leads", order_by="lead_id")
    assert [row["basis"] for row in found] == ["direct", "direct"]
    talks = dbt_world.rows("marts.fct_conversations")
    assert [(t["started_by"], t["first_response_seconds"]) for t in talks] == [("inbound", 0)] * 2


def test_e14_message_that_only_failed_opens_nothing(dbt_world: DbtWorld) -> None:
    build(
        dbt_world,
        status("2026-05-01 09:00", id="template", phone="ana", status="failed"),
        message("2026-05-01 10:00", phone="ana"),
    )

    assert lead(dbt_world)["basis"] == "direct"
    assert dbt_world.one("marts.fct_conversations")["outbound_messages"] == 0


def test_e15_echo_opens_a_conversation_and_makes_no_lead(dbt_world: DbtWorld) -> None:
    written = echo("2026-05-01 09:00", phone="ana", id="e1")
    build(dbt_world, written, status("2026-05-01 09:00:01", id="e1", phone="ana"))

    assert dbt_world.rows("marts.fct_leads") == []
    shell = dbt_world.one("marts.fct_conversations")
    assert (shell["lead_id"], shell["basis"], shell["outbound_messages"]) == (None, "outbound", 1)


def test_e16_organic_chat_first_keeps_the_source_direct(dbt_world: DbtWorld) -> None:
    build(
        dbt_world,
        message("2026-05-01 09:00", phone="ana"),
        message("2026-05-05 09:00", phone="ana", **referral(AD)),
    )

    found = lead(dbt_world)
    assert (found["channel"], found["latest_channel"]) == ("direct", "click_to_whatsapp")
    assert found["latest_ad_id"] == AD


def test_e17_second_click_is_the_same_lead(dbt_world: DbtWorld) -> None:
    build(
        dbt_world,
        message("2026-03-01 09:00", phone="ana", **referral(AD)),
        message("2026-05-01 09:00", phone="ana", **referral(AD)),
    )

    assert (lead(dbt_world)["touches"], lead(dbt_world)["ad_touches"]) == (2, 2)
    assert len(dbt_world.rows("marts.fct_conversations")) == 2


def test_e22_groups_reactions_and_notices_are_no_talk(dbt_world: DbtWorld) -> None:
    build(
        dbt_world,
        message("2026-05-01 09:00", phone="ana", is_group=True),
        message("2026-05-01 09:00", phone="bia", type="reaction"),
        message("2026-05-01 09:00", phone="eva", type="system"),
        status("2026-05-01 09:00", id="g", phone="ana", is_group=True),
    )

    assert dbt_world.rows("marts.fct_conversations") == []
    assert dbt_world.rows("marts.fct_leads") == []


def test_e33_ad_that_is_looked_up_later_resolves_old_touches(dbt_world: DbtWorld) -> None:
    build(dbt_world, message("2026-05-01 02:00", phone="ana", **referral(AD)))
    before = lead(dbt_world)
    assert (before["resolution"], before["campaign_id"]) == ("pending", None)
    assert before["first_touch_date"] == date(2026, 4, 30)

    place = {"account_id": "1", "campaign_id": "c1"}
    dbt_world.write(
        "meta_ads.accounts", [{"account_id": "1", "timezone_name": "Asia/Tokyo", "currency": "JPY"}]
    )
    dbt_world.write("meta_ads.campaigns", [{**place, "campaign_name": "May"}])
    dbt_world.write("meta_ads.ads", [{**place, "ad_id": AD, "ad_name": "Blue"}])
    dbt_world.build(*people_models(), tests=False)

    after = lead(dbt_world)
    assert (after["resolution"], after["campaign_name"], after["ad_name"]) == (
        "resolved",
        "May",
        "Blue",
    )
    assert after["first_touch_date"] == date(2026, 5, 1)


def test_e38_ids_of_18_digits_survive(dbt_world: DbtWorld) -> None:
    build(
        dbt_world,
        message("2026-05-01 09:00", phone="ana", **referral(AD)),
        message("2026-05-01 09:00", phone="bia", **referral(OTHER_AD)),
    )

    ads = {row["ad_id"] for row in dbt_world.rows("marts.fct_leads")}
    assert ads == {AD, OTHER_AD}


def test_why_names_touch_time_rule_and_version(dbt_world: DbtWorld) -> None:
    build(dbt_world, message("2026-05-03 14:02", phone="ana", **referral(AD)))

    assert lead(dbt_world)["why"] == (
        f'Wrote on 2026-05-03 14:02 UTC after tapping the ad "Headline" (ad {AD}), with Meta\'s '
        "click id; the ad has not been looked up yet (first touch R5, basis R6 ctwa_click, "
        "rules v2)."
    )


def test_no_personal_key_but_the_lead_id_reaches_the_marts(dbt_world: DbtWorld) -> None:
    build(
        dbt_world,
        message("2026-05-01 09:00", phone="ana", bsuid="ana", **referral(AD, clid="secret-clid")),
        outcome("2026-05-02 09:00", "qualified", "e1", phone="ana", email="ana@x"),
    )

    everything = repr(dbt_world.snapshot(["marts"]))
    assert "bsuid:ana" in everything
    for personal in ("phone:ana", "email:ana@x", "secret-clid"):
        assert personal not in everything


def test_every_rule_of_people_and_leads_holds_in_its_unit_test(dbt_world: DbtWorld) -> None:
    """Unit tests do not run at night; here they do, on a built project."""
    build(dbt_world, message("2026-05-01 09:00", phone="ana"))
    folders = ("intermediate/people", "marts/leads")
    chosen = [f"test_type:unit,path:dbt_project/models/{folder}" for folder in folders]
    result = dbt_world.dbt("test", "--select", *chosen)
    assert len(result.result) >= 14
    assert {r.status for r in result.result} == {"pass"}
