"""Rules of every kind against their truth: bodies through the parser and the models, in any order,
in pieces, repeated (rules R3, R9)."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingestion.parser import Parser
from ingestion.parser.chat_rules import ChatRules, read_chat_rules
from orchestration.plan import filled_in, run_values
from tests.dbt.chat_rules_reference import THEY_WRITE, WE_WRITE, Said
from tests.dbt.chat_rules_reference import outcomes as outcomes_of
from tests.ingestion.parser.payloads import BATCH, BUSINESS, NAMES, encode, envelope
from tests.support.plans import plan_for
from tests.support.warehouse import DbtWorld

RULES = """
- id: quote
  stage: qualified
  value: true
  when:
    all:
      - {we_wrote: [orçamento, cotización, عرض سعر]}
      - price_over: {amount: 500, currency: BRL}
- {id: talk, stage: qualified, when: {replies: 3, within: 24h}}
- {id: sale, stage: won, once_per: conversation, value: true, when: {order: true}}
- {id: call, stage: qualified, when: {call_seconds: 60}}
- {id: visit, stage: qualified, when: {any: [{template: visit}, {they_wrote: [agendar]}]}}
- {id: booked, stage: opportunity, when: {answered: [book, "7"]}}
- {id: paid, stage: won, value: true, when: {payment: true}}
- {id: changed, stage: lead, when: {they_wrote: [valor]}}
- {id: changed, stage: opportunity, valid_from: 2026-05-10, when: {they_wrote: [preço]}}
"""
START = datetime(2026, 5, 1, 12, tzinfo=UTC)
DAY, HOUR = 24.0, 1.0
RECEIVED = datetime(2026, 7, 1, tzinfo=UTC)

Told = tuple[str, str, datetime, Decimal | None, bool]
"""Rule, stage, time and value of an outcome, and whether it is a lead's."""


class Story:
    """What people and we write: bodies, and the outcomes that must come of them."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.of_crm: list[bytes] = []
        self.truth: Counter[Told] = Counter()
        self._made = 0
        self._phone = ""

    def person(self) -> Story:
        self._phone = f"55319876{self._next():05d}"
        return self

    def _next(self) -> int:
        self._made += 1
        return self._made

    def at(self, hours: float) -> datetime:
        return START + timedelta(seconds=round(hours * 3600))

    def says(self, hours: float, text: str = "oi", *, ours: bool = False, **more: Any) -> str:
        """One message; returns its id."""
        ends = {"from": BUSINESS, "to": self._phone} if ours else {"from": self._phone}
        wamid = more.pop("id", f"wamid.{self._next()}")
        element = {"id": wamid, "timestamp": str(int(self.at(hours).timestamp())), "type": "text"}
        element |= {"text": {"body": text}} if "type" not in more else {}
        element |= ends | more
        if ours:
            body = envelope(field="smb_message_echoes", message_echoes=[element])
        else:
            body = envelope(element)
        self.bodies.append(encode(body))
        return wamid

    def edits(self, hours: float, wamid: str, text: str, *, ours: bool = True) -> None:
        edit = {"original_message_id": wamid, "message": {"type": "text", "text": {"body": text}}}
        self.says(hours, ours=ours, type="edit", edit=edit)

    def orders(self, hours: float, price: str) -> str:
        items = [{"quantity": 1, "item_price": price, "currency": "BRL"}]
        return self.says(hours, type="order", order={"product_items": items})

    def answers(self, hours: float, **answer: Any) -> str:
        """A tap on a button or list row, or a flow that was sent."""
        return self.says(hours, type="interactive", interactive=answer)

    def pays(self, hours: float, status: str, cents: int, reference: str = "r1") -> None:
        """WhatsApp's status of a payment in the chat."""
        amount = {"value": cents, "offset": 100}
        paid = {
            "id": f"wamid.{self._next()}", "status": status, "recipient_id": self._phone,
            "timestamp": str(int(self.at(hours).timestamp())), "type": "payment",
            "payment": {"reference_id": reference, "currency": "BRL", "amount": amount},
        }  # fmt: skip
        self.bodies.append(encode(envelope(statuses=[paid])))

    def lives(self, luck: random.Random) -> None:
        """Anybody: one or two conversations in which anything is said, edited and deleted."""
        self.person()
        chat = []
        for start in (0.0, 40 * DAY)[: luck.choice((1, 1, 2))]:
            # On its own minute each: at equal times the message's key would decide.
            hours = [start + n / 60 for n in luck.sample(range(1, 240 * 60), luck.randint(2, 12))]
            chat += [Said(start, text="oi"), *(self._anything(at, luck) for at in sorted(hours))]
        for said in chat:
            self._tells(said)
        for rule, stage, at, value in outcomes_of(chat):
            self.makes(rule, stage, at, value)

    def _anything(self, at: float, luck: random.Random) -> Said:
        kind = luck.choice(("text",) * 8 + ("template", "order", "reaction", "call"))
        is_ours = kind == "template" or (kind == "text" and luck.random() < 0.5)
        words = WE_WRITE if is_ours else THEY_WRITE
        said = Said(at, kind, is_ours, luck.choice(words), str(luck.randint(1, 9)))
        said.seconds = luck.choice((0, 59, 60, 300))
        if kind == "text":
            later = (at + n / 3600 for n in luck.sample(range(1, 50), luck.choice((0, 0, 1, 2))))
            said.edits = [(hours, luck.choice(words)) for hours in later]
        said.is_deleted = kind in ("text", "order") and luck.random() < 0.15
        return said

    def _tells(self, said: Said) -> None:
        if said.kind == "call":
            self.calls(said.hours, said.seconds)
            return
        if said.kind == "order":
            wamid = self.orders(said.hours, said.price)
        elif said.kind == "template":
            template = {"name": "visit"}
            wamid = self.says(said.hours, ours=True, type="template", template=template)
        elif said.kind == "reaction":
            reaction = {"emoji": "👍", "message_id": "wamid.X"}
            wamid = self.says(said.hours, type="reaction", reaction=reaction)
        else:
            wamid = self.says(said.hours, said.text, ours=said.is_ours)
        for hours, text in said.edits:
            self.edits(hours, wamid, text, ours=said.is_ours)
        if said.is_deleted:
            revoke = {"original_message_id": wamid}
            self.says(said.hours + 0.02, ours=said.is_ours, type="revoke", revoke=revoke)

    def calls(self, hours: float, seconds: int) -> None:
        call = {
            "id": f"wacid.{self._next()}", "from": self._phone, "event": "terminate",
            "direction": "USER_INITIATED", "status": "COMPLETED", "duration": seconds,
            "timestamp": str(int(self.at(hours).timestamp())),
        }  # fmt: skip
        self.bodies.append(encode(envelope(field="calls", calls=[call])))

    def crm(self, hours: float, stage: str) -> None:
        """The CRM reports a stage of the person."""
        told = {"event_id": f"e{self._next()}", "stage": stage, "phone": f"+{self._phone}"}
        self.of_crm.append(encode(told | {"occurred_at": self.at(hours).isoformat()}))

    def makes(
        self, rule: str, stage: str, hours: float, value: str | None = None, *, lead: bool = True
    ) -> None:
        amount = None if value is None else Decimal(value)
        self.truth[rule, stage, self.at(hours), amount, lead] += 1


def story() -> Story:
    s = Story()
    # All conditions at once; in two messages, the price first; in two conversations: not met.
    s.person().says(0)
    s.says(1, "Orçamento: R$ 900,00", ours=True)
    s.says(2, "orçamento de novo: R$ 1.900,00", ours=True)
    s.makes("quote", "qualified", 1, "900")
    s.person().says(0)
    s.says(3, "segue o orcamento", ours=True)
    s.says(2, "fica R$ 700", ours=True)
    s.makes("quote", "qualified", 3, "700")
    s.person().says(0)
    s.says(1, "segue o orçamento", ours=True)
    s.says(40 * DAY, "R$ 700", ours=True)
    # Edited into it, edited out of it, deleted.
    s.person().says(0)
    first = s.says(1, "orçamento: R$ 100", ours=True)
    s.edits(1.1, first, "orçamento: R$ 100,00")
    s.edits(1.2, first, "orçamento: R$ 1.000,00")
    s.makes("quote", "qualified", 1.2, "1000")
    s.person().says(0)
    first = s.says(1, "orçamento: R$ 1000", ours=True)
    s.edits(1.2, first, "desculpe, era para outra pessoa")
    s.person().says(0)
    first = s.says(1, "orçamento: R$ 1000", ours=True)
    s.says(1.2, ours=True, type="revoke", revoke={"original_message_id": first})
    # Replies: the opening is none, nor is a reaction; late ones come too late.
    s.person().says(0)
    for hours in (1, 2, 3, 4):
        s.says(hours)
    s.makes("talk", "qualified", 3)
    s.person().says(0)
    s.says(1)
    s.says(2)
    s.says(3, type="reaction", reaction={"emoji": "👍", "message_id": "wamid.X"})
    s.person().says(0)
    for hours in (1, 2, 24.1):
        s.says(hours)
    # Once per conversation; what was deleted is no sale.
    s.person().says(0)
    deleted = {"original_message_id": s.orders(1, "10")}
    s.says(1, type="revoke", revoke=deleted)
    s.person().says(0)
    s.orders(1, "10")
    s.orders(2, "20")
    s.makes("sale", "won", 1, "10")
    s.orders(40 * DAY, "30")
    s.makes("sale", "won", 40 * DAY, "30")
    # In other languages; a template button, a list row of the same title, a flow with its answers.
    for text in ("Su cotizacion: R$ 800", "R$ 800 — عرض سعر"):
        s.person().says(0)
        s.says(1, text, ours=True)
        s.makes("quote", "qualified", 1, "800")
    row = {"title": "Marcar agora", "description": "book"}
    flow = {"flow_token": "book", "screen": {"answers": [{"flow_token": "7"}, 7]}}
    for answer in (
        {"type": "list_reply", "list_reply": row | {"id": "book"}},
        {"type": "button_reply", "button_reply": {"id": "7", "title": "x"}},
        {"type": "nfm_reply", "nfm_reply": {"response_json": json.dumps(flow)}},
    ):
        s.person().says(0)
        s.answers(1, type="list_reply", list_reply=row | {"id": "other"})
        s.answers(2, **answer)
        s.makes("booked", "opportunity", 2)
    s.person().says(0)
    s.says(1, type="button", button={"payload": "other", "text": "book"})
    s.answers(2, type="nfm_reply", nfm_reply={"response_json": json.dumps(flow["screen"])})
    # A payment counts once it is captured, however often that is said, and is of the chat before.
    s.person().says(0)
    s.pays(1, "pending", 9_990)
    s.pays(2, "captured", 9_990)
    s.pays(3, "captured", 9_990)
    s.makes("paid", "won", 2, "99.90")
    # A call belongs to the chat before it; without one it is nobody's lead.
    s.person().says(0)
    s.calls(5, 61)
    s.calls(6, 70)
    s.makes("call", "qualified", 5)
    s.person().says(0)
    s.calls(5, 59)
    s.person().calls(5, 61)
    s.makes("call", "qualified", 5, lead=False)
    # Either way; once for both.
    s.person().says(0, "quero AGENDAR")
    s.says(1, ours=True, type="template", template={"name": "visit"})
    s.makes("visit", "qualified", 0)
    # Who says so: the rule, the CRM, both; or the CRM knows better.
    s.person().says(0.1, "agendar")
    s.makes("visit", "qualified", 0.1)
    s.crm(5, "won")
    s.person().says(0.2, "agendar")
    s.makes("visit", "qualified", 0.2)
    s.crm(5, "lost")
    s.person().says(0)
    s.crm(5, "qualified")
    # A rule that changed in mid-history.
    s.person().says(0, "qual o preço?")
    s.says(1, "qual o valor?")
    s.makes("changed", "lead", 1)
    s.person().says(9 * DAY, "qual o valor?")
    s.says(9 * DAY + 1, "e o preço?")
    s.makes("changed", "opportunity", 9 * DAY + 1)
    return s


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> ChatRules:
    path = tmp_path_factory.mktemp("rules") / "chat_rules.yml"
    path.write_text(RULES)
    found = read_chat_rules(path, "America/Sao_Paulo")
    assert found.problems == ()
    return found


def land(
    world: DbtWorld,
    rules: ChatRules,
    bodies: Sequence[bytes],
    first_seq: int,
    source: str = "whatsapp",
) -> None:
    columns = [
        list(range(first_seq, first_seq + len(bodies))),
        [RECEIVED] * len(bodies),
        [source] * len(bodies),
        list(bodies),
    ]
    batch = pa.RecordBatch.from_arrays(
        [pa.array(c, f.type) for c, f in zip(columns, BATCH, strict=True)], schema=BATCH
    )
    for name, table in Parser(NAMES, chat_rules=rules).parse(batch).items():
        pq.write_table(table, world.lake / "event_log" / name / f"{first_seq:06d}.0.parquet")


def outcomes(world: DbtWorld) -> Counter[Told]:
    rows = world.query("select * from marts.fct_outcomes where source = 'chat'")
    assert len({row["event_id"] for row in rows}) == len(rows)
    return Counter(
        (
            row["event_id"].partition(":")[0],
            row["stage"],
            row["occurred_at"],
            row["value"],
            row["lead_id"] is not None,
        )
        for row in rows
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_e187_rules_of_every_kind_equal_their_truth_in_any_order_and_pieces(
    seed: int, rules: ChatRules, tmp_path: Path
) -> None:
    told, world = story(), DbtWorld(tmp_path, as_of=date(2026, 7, 1))
    luck = random.Random(seed)
    for _ in range(150):
        told.lives(luck)
    bodies = told.bodies + luck.sample(told.bodies, len(told.bodies) // 2)
    luck.shuffle(bodies)
    half = len(bodies) // 2
    land(world, rules, bodies[:half], 1)
    world.build("+fct_outcomes", tests=False)
    land(world, rules, bodies[half:], half + 1)
    world.build("+fct_outcomes")
    assert outcomes(world) == told.truth
    values = {row["value_reporting"] for row in world.rows("marts.fct_outcomes") if row["value"]}
    assert None not in values
    files = b"".join(path.read_bytes() for path in world.lake.rglob("chat_signals/*.parquet"))
    assert "orçamento".encode() not in files
    assert "desculpe" not in json.dumps(world.snapshot(), default=str)


@pytest.fixture(scope="module")
def built(rules: ChatRules, tmp_path_factory: pytest.TempPathFactory) -> tuple[DbtWorld, str]:
    """The world as it came, and the query of the models that put rules together."""
    world = DbtWorld(tmp_path_factory.mktemp("built"), as_of=date(2026, 7, 1))
    land(world, rules, story().bodies, 1)
    land(world, rules, story().of_crm, 1_000, "outcomes")
    world.build("+fct_leads", tests=False)
    nodes = plan_for(world.settings, world.change_models, "").nodes
    values = {**run_values(world.settings, world.as_of), "database": "warehouse"}
    code = {}
    for name in ("int_chat_outcomes__met", "int_chat_signals__placed"):
        (node,) = (n for n in nodes if n.table == name)
        (statement,) = (s for s in node.full if "select * from " in s)
        sql = filled_in(statement, values)
        code[name] = sql[sql.index("(") + 1 : sql.rindex(")")]
    whole, count = re.subn(
        r'"warehouse"\."intermediate"\."int_chat_signals__placed"',
        lambda _: f"({code['int_chat_signals__placed']})",
        code["int_chat_outcomes__met"],
    )
    assert count == 1
    return world, whole


def test_e190_a_lead_says_who_qualified_it_and_where_the_crm_disagrees(
    built: tuple[DbtWorld, str],
) -> None:
    rows = built[0].rows("marts.fct_leads")
    assert {row["is_qualified"] == (row["qualified_by"] is not None) for row in rows} == {True}
    by_chat = sum(
        stage in ("qualified", "opportunity", "won") and is_lead
        for rule, stage, at, _, is_lead in story().truth.elements()
        if not (rule == "sale" and at > START + timedelta(days=30))
    )
    found = Counter((row["qualified_by"], row["is_disputed"]) for row in rows)
    assert found.pop((None, False)) > 0
    assert found == {
        ("chat", True): 1, ("crm_and_chat", False): 1, ("crm", False): 1,
        ("chat", False): by_chat - 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", ""),
        ("parts_met = parts", "true"),
        ("not signals.is_text", "true"),
        ("not in (select deleted.message_key from deleted)", "is not null"),
        ("or not is_opening", "or true"),
        ("within_seconds is null", "true"),
        ("place_before = 1", "false"),
        ("then conversation_id else", "then '' else"),
    ],
)
def test_without_any_of_its_conditions_the_truth_is_missed(
    old: str, new: str, built: tuple[DbtWorld, str]
) -> None:
    world, sql = built
    assert old in sql
    rows = world.query(sql.replace(old, new) if old else sql)
    found = sorted((r["event_id"].partition(":")[0], r["stage"], r["occurred_at"]) for r in rows)
    truth = sorted((rule, stage, at) for rule, stage, at, _, _ in story().truth.elements())
    assert (found == truth) == (old == new)
