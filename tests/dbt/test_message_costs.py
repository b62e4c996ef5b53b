"""What our WhatsApp messages cost: rows of statuses in, the bill of each number out.

One world for the module. The same statuses are billed by `simulator.bill`, which keeps a ledger
while things happen; known-bad variants of the models are seen to differ from it.
"""

from __future__ import annotations

import random
import shutil
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestration.plan import filled_in, run_values
from simulator.bill import Written, charges, price, shipped_rates
from tests.support.meta import BR, Meta, ad_row
from tests.support.people import Envelope, Inbox, message, outcome, referral, status
from tests.support.plans import plan_for
from tests.support.warehouse import DbtWorld

AS_OF = date(2026, 11, 20)
AD = "120226305854810726"
BUSY, QUIET, RULED = "5511400000001", "5511400000002", "5511400000003"
"""Numbers of which the first uses up its allowance; of the last, no status says what is charged."""
MODELS = ("+fct_message_costs",)
HOUR = timedelta(hours=1)
BRAZIL = shipped_rates()
D = Decimal

Bill = dict[tuple[str, str], Decimal]
"""Business number and month -> sum."""


def chats() -> list[Written]:
    """Some weeks around the day of the new prices."""
    rng, made = random.Random(16), []
    start = datetime(2026, 9, 10, 12, tzinfo=UTC)
    for number, people, replies in ((BUSY, 150, 12), (QUIET, 20, 4), (RULED, 150, 12)):
        for n in range(people):
            person, at = f"{number}-{n}", start + rng.random() * timedelta(days=45)
            for turn in range(rng.randrange(1, 4)):
                at = (at + rng.choice((1, 30, 60, 90, 200)) * HOUR * rng.random()).replace(
                    microsecond=0
                )
                made.append(
                    Written(at, number, person, f"{person}-{turn}", from_ad=rng.random() < 0.4)
                )
                for reply in range(rng.randrange(replies)):
                    sent = at + rng.choice((1, 10, 23, 25, 50, 71, 73, 90)) * HOUR * rng.uniform(
                        0.9, 1
                    )
                    sent = sent.replace(microsecond=0)
                    arrives = sent + timedelta(seconds=rng.randrange(1, 90))
                    made.append(
                        Written(
                            sent, number, person, f"{person}-{turn}-{reply}",
                            rng.choices(("service", "utility", "marketing"), (8, 2, 1))[0],
                            "Brazil",
                            arrives if rng.random() < 0.95 else None,
                        )
                    )  # fmt: skip
    return made


def envelopes(written: list[Written]) -> Iterator[Envelope]:
    """As webhooks: several statuses of each message, some of them twice, in no order."""
    why = charges(written)
    for m in written:
        who = {"phone": m.person, "number": m.number, "country": "BR"}
        if not m.category:
            yield message(m.at, id=m.name, **who, **(referral(AD) if m.from_ad else {}))
            continue
        free = {"free_entry_point": "free_entry_point", "charged": "regular"}
        words: dict[str, Any] = {"pricing_category": m.category, "pricing_model": "PMP"}
        if m.number != RULED and m.delivered_at:
            words["pricing_type"] = free.get(why[m.name], "free_customer_service")
        told = [status(m.at, id=m.name, **who, **words)]
        if m.delivered_at:
            told.append(status(m.delivered_at, id=m.name, status="delivered", **who, **words))
            read = m.delivered_at + timedelta(seconds=9)
            told.append(status(read, id=m.name, status="read", **who))
        yield from (*told, told[-1])


def billed(written: list[Written]) -> Bill:
    """The sums of the ledger."""
    found: Bill = defaultdict(Decimal)
    why = charges(written)
    for m in written:
        if m.delivered_at:
            cost = price(why[m.name], m.category, m.market, BRAZIL)
            assert cost is not None
            # Of these days, São Paulo is three hours behind UTC.
            found[m.number, (m.delivered_at - 3 * HOUR).strftime("%Y-%m")] += cost
    return dict(found)


_SUMS = f"""
    select business_number_id, strftime(cost_date, '%Y-%m'), sum(cost), count(*) - count(cost)
    from marts.fct_message_costs
    where business_number_id in ('{BUSY}', '{QUIET}', '{RULED}') group by 1, 2
"""


def _sums(rows: list[Any]) -> Bill:
    assert not any(unknown for *_, unknown in rows)
    return {(number, month): cost for number, month, cost, _ in rows}


OTHERS: list[Envelope] = []
HERE, US_LINE, NOWHERE = "5511400000004", "12125550140", "35391000000"


def charged(at: str, id: str, category: str = "marketing", **more: Any) -> Envelope:
    columns = {"status": "delivered", "pricing_type": "regular", "pricing_model": "PMP"}
    columns |= {"country": "BR", "number": HERE, **more}
    return status(at, id=id, pricing_category=category, **columns)


OTHERS += [
    charged("2026-10-05 12:00", "user id only", bsuid="BR.1"),
    charged("2026-10-05 12:00", "user id of another line", bsuid="BR.2", number=US_LINE),
    charged("2026-10-05 12:00", "in chile", phone="chi", country="CL"),
    charged("2026-10-05 12:00", "before the card", phone="old", country="IN", number="9"),
    charged("2025-10-05 12:00", "before any card", phone="older"),
    charged("2025-05-05 12:00", "a conversation", phone="conv", pricing_model="CBP"),
    status("2026-10-05 12:00", id="no words", phone="nix", status="delivered", number=HERE),
    status("2026-10-05 12:00", id="failed", phone="nix", status="failed", number=HERE),
    charged("2026-10-05 12:00", "unknown line", bsuid="BR.3", number=NOWHERE),
    *(
        charged(f"2026-10-{day} 15:00", f"own {day}", phone=f"p{day}")
        for day in ("09", "10", "19", "20")
    ),
    charged("2026-10-09 15:00", "a service", "service", phone="s"),
    charged("2026-10-09 15:00", "in ireland", phone="ie", country="IE"),
    # A lead of an ad, qualified, with two charged messages; another with a message of unknown cost.
    message("2026-10-06 12:00", phone="lia", number=HERE, **referral(AD)),
    charged("2026-10-20 12:00", "lia 1", phone="lia"),
    charged("2026-10-21 12:00", "lia 2", "utility", phone="lia"),
    outcome("2026-10-22 12:00", "qualified", "q", phone="lia"),
    message("2026-10-07 12:00", phone="max", number=HERE, country="CL", **referral(AD)),
    charged("2026-10-20 12:00", "max 1", phone="max", country="CL"),
    message("2026-10-08 12:00", phone="nia", number=HERE, **referral(AD)),
]


@pytest.fixture(scope="module")
def written() -> list[Written]:
    """The chats that the ledger bills."""
    return chats()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, written: list[Written]) -> DbtWorld:
    """Everything, delivered in two parts and built after each."""
    made = DbtWorld(tmp_path_factory.mktemp("costs"), as_of=AS_OF)
    told = [*envelopes(written), *OTHERS]
    random.Random(1).shuffle(told)
    days = [date(2026, 9, 1) + timedelta(days=n) for n in range(80)]
    Meta(made).spend(
        "2026-11-20 06:00", {(BR, str(day)): ("10", [ad_row(AD, "10")]) for day in days}
    )
    inbox = Inbox(made)
    for part in (told[::2], told[1::2]):
        inbox.deliver(*part)
        made.build(*MODELS, "+channel_performance")
    return made


def test_e140_e141_e144_the_bill_of_each_number_and_month_equals_the_ledger_to_the_cent(
    world: DbtWorld, written: list[Written]
) -> None:
    expected = billed(written)
    assert _sums([tuple(row.values()) for row in world.query(_SUMS)]) == expected
    assert expected[BUSY, "2026-10"] > expected[BUSY, "2026-09"] > expected[QUIET, "2026-09"]
    why = charges(written)
    for number in (BUSY, RULED):  # a world that used nothing up would prove nothing
        kinds = {why[m.name] for m in written if m.number == number and m.name in why}
        assert kinds == {"charged", "free_entry_point", "allowance", "service_window"}


def test_e142_a_message_is_charged_once_whatever_the_number_of_its_statuses(
    world: DbtWorld, written: list[Written]
) -> None:
    row = world.query(
        "select sum(messages) as messages from marts.fct_message_costs"
        f" where business_number_id in ('{BUSY}', '{QUIET}', '{RULED}')"
    )
    assert row[0]["messages"] == sum(m.delivered_at is not None for m in written)


RULES = {
    "a window of 24 hours": ("cast(72 as bigint)", "cast(24 as bigint)"),
    "another allowance": ("place_in_month <= 1000", "place_in_month <= 250"),
    "another day of change": ("cast('2026-10-01' as date)", "cast('2026-11-01' as date)"),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_wrong_rule_is_seen_in_the_bill(
    world: DbtWorld, written: list[Written], tmp_path: Path, rule: str
) -> None:
    bad = _again(world, tmp_path, *RULES[rule])
    expected = billed(written)
    found = _sums(bad.execute(_SUMS).fetchall())
    assert found != expected
    assert {k: v for k, v in found.items() if k[0] != RULED} == {
        k: v for k, v in expected.items() if k[0] != RULED
    }  # what the platform says needs no rule


PRICED = ("int_messages__charged", "int_messages__priced", "fct_message_costs")


def _again(
    world: DbtWorld,
    folder: Path,
    old: str = "",
    new: str = "",
    first: str = "",
    tables: tuple[str, ...] = PRICED,
) -> duckdb.DuckDBPyConnection:
    """The models built once more, on a copy of the warehouse, with another piece of their SQL."""
    folder.mkdir(exist_ok=True)
    copy = folder / world.settings.warehouse_path.name
    shutil.copy(world.settings.warehouse_path, copy)
    connection = duckdb.connect(str(copy))
    connection.execute("set timezone = 'UTC'")
    connection.execute(first or "select 1")
    nodes = {node.table: node for node in plan_for(world.settings).nodes}
    values = {**run_values(world.settings, AS_OF), "database": copy.stem}
    statements = [sql for table in tables for sql in nodes[table].full]
    assert not old or any(old in sql for sql in statements), old
    for sql in statements:
        connection.execute(filled_in(sql.replace(old, new) if old else sql, values))
    return connection


def of(world: DbtWorld, name: str) -> dict[str, Any]:
    return world.one("intermediate.int_messages__priced", f"message_key like '%/{name}'")


def test_e143_a_recipient_with_only_a_user_id_is_charged_by_the_market_of_the_number(
    world: DbtWorld,
) -> None:
    here, there = of(world, "user id only"), of(world, "user id of another line")
    assert (here["market"], here["is_by_number_market"], here["cost"]) == (
        "Brazil",
        True,
        D("0.0625"),
    )
    assert (there["market"], there["cost"], there["unpriced_reason"]) == (
        "North America", None, "no_rate",
    )  # fmt: skip
    assert of(world, "in chile")["is_by_number_market"] is False
    rows = world.query(
        "select sum(messages_by_number_market) as marked from marts.fct_message_costs"
    )
    assert rows[0]["marked"] == 3


def test_e145_a_cost_that_is_not_known_is_null_and_named(world: DbtWorld) -> None:
    reasons = {
        name: (of(world, name)["cost"], of(world, name)["unpriced_reason"])
        for name in (
            "in chile", "in ireland", "before any card", "a conversation", "no words",
            "unknown line", "before the card",
        )
    }  # fmt: skip
    assert reasons == {
        "in chile": (None, "no_rate"),
        "in ireland": (None, "no_rate"),
        "before any card": (None, "no_rate"),
        "a conversation": (None, "conversation_pricing"),
        "no words": (None, "no_pricing"),
        "unknown line": (None, "no_market"),
        "before the card": (D("0.8631"), "no_exchange_rate"),
    }
    assert (
        world.query(
            "select 1 from intermediate.int_messages__priced where message_key like '%/failed'"
        )
        == []
    )
    row = world.one("marts.fct_message_costs", "market = 'Chile' and channel = 'no_lead'")
    assert (row["cost"], row["messages_without_rate"], row["unpriced_reason"]) == (
        None,
        1,
        "no_rate",
    )


def test_r16_leads_and_days_carry_what_their_messages_cost(world: DbtWorld) -> None:
    costs = {
        row["lead_id"]: row["message_cost_reporting"]
        for row in world.query("select * from marts.fct_leads where lead_id in ('phone:lia',"
                               " 'phone:max', 'phone:nia')")
    }  # fmt: skip
    rates = {
        row["rate_date"].day: row["rate"]
        for row in world.query(
            "select * from intermediate.int_exchange_rates__daily where currency = 'USD' and"
            " rate_date in (date '2026-10-20', date '2026-10-21')"
        )
    }
    lia = (D("0.0625") * rates[20] + D("0.0068") * rates[21]).quantize(D("0.000001"))
    assert costs == {"phone:lia": lia, "phone:max": None, "phone:nia": D(0)}


def test_e146_the_companys_own_rate_comes_first_and_from_its_day_on(
    world: DbtWorld, tmp_path: Path
) -> None:
    own = """
        insert into seeds.own_message_rates values
            ('Brazil', 'marketing', 'BRL', 0.30, '2026-10-10'),
            ('Brazil', 'marketing', 'BRL', 0.31, '2026-10-20'),
            ('Chile', 'marketing', 'BRL', 0.40, '2026-01-01'),
            ('IE', 'marketing', 'BRL', 0.50, '2026-01-01'),
            ('Brazil', 'service', 'BRL', 0.05, '2026-01-01');
    """
    again = _again(world, tmp_path, first=own)
    found = {
        key.split("/")[1]: (cost, currency)
        for key, cost, currency in again.execute(
            "select message_key, cost, currency from intermediate.int_messages__priced"
            f" where message_key like '{HERE}/%'"
        ).fetchall()
    }
    assert found["own 09"] == (D("0.0625"), "USD")
    assert found["own 10"] == found["own 19"] == (D("0.30"), "BRL")
    assert found["own 20"] == (D("0.31"), "BRL")
    assert found["in chile"] == (D("0.40"), "BRL")
    assert found["in ireland"] == (D("0.50"), "BRL")
    assert found["a service"] == (D("0.05"), "BRL")
    assert found["lia 2"] == (D("0.0068"), "USD")


TOLD = ("int_agent_costs__spread", "fct_leads", "fct_message_costs", "channel_performance")
LOADED = """
    select spend_reporting, message_cost_reporting, agent_cost_reporting, leads,
        loaded_cost_per_lead
    from marts.channel_performance
    where channel = 'click_to_whatsapp' and leads > 0 and spend_reporting is not null
"""


def loaded(rows: list[Any], *, told: bool) -> list[Any]:
    """Rows of `LOADED` with a known agent's cost above 0, after each row's sum was checked."""
    for spend, messages, agent, leads, cost in rows:
        parts = (spend, messages, agent if told else D(0))
        expected = None if None in parts else sum(parts) / leads
        assert (cost is None) == (expected is None)
        assert expected is None or abs(cost - expected) < D("0.000002")
    return [row for row in rows if row[2] and row[4]]


def test_e165_what_the_agent_costs_is_spread_over_its_chats_to_the_cent(
    world: DbtWorld, tmp_path: Path
) -> None:
    held = f"""
        create or replace table marts.fct_conversations as select * replace (
            case when business_number_id = '{BUSY}' then 'ai_agent' else answered_by end
            as answered_by
        ) from marts.fct_conversations;
    """
    untold = _again(world, tmp_path / "untold", first=held, tables=TOLD)
    assert untold.execute(
        "select count(*) from marts.fct_message_costs where category = 'agent'"
    ).fetchall() == [(0,)]
    assert untold.execute(
        "select count(*) from marts.fct_leads where agent_cost_reporting is null"
    ).fetchall() > [(0,)]
    rows = untold.execute(LOADED).fetchall()
    assert loaded(rows, told=False) == []
    assert any(agent is None and cost is not None for _, _, agent, _, cost in rows)

    told = f"""
        {held}
        insert into seeds.agent_costs values
            ('{BUSY}', '2026-09-01', 'BRL', 100.01), ('{BUSY}', '2026-10-01', 'BRL', 77.77),
            ('{QUIET}', '2026-10-01', 'BRL', 5), ('{BUSY}', '2026-11-01', 'XXX', 9);
    """
    again = _again(world, tmp_path / "told", first=told, tables=TOLD)
    bill = again.execute(
        "select business_number_id, strftime(cost_date, '%Y-%m'), sum(cost), sum(messages)"
        " from marts.fct_message_costs where category = 'agent' group by 1, 2 order by 1, 2"
    ).fetchall()
    assert bill[0] == (BUSY, "2026-09", D("100.01"), 0)
    assert bill[1][:3] == (BUSY, "2026-10", D("77.77"))
    assert (QUIET, "2026-10", D(5), 0) in bill  # it held no chat: in no lead's cost
    shares = again.execute(
        "select max(amount) - min(amount), count(*) from intermediate.int_agent_costs__spread"
        f" where business_number_id = '{BUSY}' and cost_date < '2026-10-01'"
    ).fetchone()
    assert shares is not None
    assert shares[0] <= D("0.000001")
    assert shares[1] > 30
    assert again.execute(
        "select sum(agent_cost_reporting) from marts.fct_leads"
        f" where business_number_id = '{BUSY}' and first_touch_date < '2026-10-01'"
    ).fetchone() >= (D("100.01"),)
    assert set(
        again.execute(
            "select distinct unpriced_reason from marts.fct_message_costs"
            " where category = 'agent' and cost_reporting is null"
        ).fetchall()
    ) == {("no_exchange_rate",)}
    assert loaded(again.execute(LOADED).fetchall(), told=True)
