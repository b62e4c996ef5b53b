"""Chat rules: what their file may say, and which conditions a message meets.

The canary of every text here is CANARY: it may be in no table, whatever happens.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ingestion.parser import Parser
from ingestion.parser.chat_rules import ChatRules, read_chat_rules
from ingestion.parser.chat_texts import amounts_of
from ingestion.parser.helper import in_processes
from tests.ingestion.parser.payloads import BUSINESS, NAMES, PHONE, SENT, batch_of, envelope

CANARY = "hemorroida"
ZONE = "America/Sao_Paulo"
ALL = """
- id: quote
  stage: qualified
  value: true
  when:
    all:
      - {we_wrote: [orçamento, proposta comercial]}
      - price_over: {amount: 500, currency: BRL}
- {id: template, stage: qualified, when: {template: visit_confirmed}}
- {id: button, stage: opportunity, when: {answered: [book_visit, "1"]}}
- id: sale
  stage: won
  once_per: conversation
  value: true
  when: {any: [order: true, payment: true]}
- {id: call, stage: qualified, when: {call_seconds: 60}}
- {id: talk, stage: qualified, when: {replies: 3, within: 24h}}
- {id: asks, stage: lead, when: {they_wrote: {pattern: 'quero\\s+(comprar|agendar)'}}}
"""


def rules_of(text: str, folder: Path) -> ChatRules:
    path = folder / "chat_rules.yml"
    path.write_text(text)
    return read_chat_rules(path, ZONE)


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> ChatRules:
    found = rules_of(ALL, tmp_path_factory.mktemp("rules"))
    assert found.problems == ()
    return found


def tables(rules: ChatRules, *bodies: Any, source: str = "whatsapp") -> dict[str, list[Any]]:
    found = Parser(NAMES, chat_rules=rules).parse(batch_of(bodies, source))
    said = json.dumps([t.to_pylist() for t in found.values()], default=str, ensure_ascii=False)
    assert CANARY not in said
    return {name: table.to_pylist() for name, table in found.items()}


def met(rules: ChatRules, *bodies: Any, source: str = "whatsapp") -> list[tuple[str, int]]:
    """Rule and condition of every row."""
    rows = tables(rules, *bodies, source=source)["chat_signals"]
    return [(row["rule_id"], row["part"]) for row in rows if row["rule_id"]]


def ours(text: str = CANARY, **more: Any) -> dict[str, Any]:
    element = {"from": BUSINESS, "to": PHONE, "id": "wamid.OURS", "timestamp": SENT, "type": "text"}
    element |= {"text": {"body": f"{text} {CANARY}"}} if "type" not in more else {}
    return envelope(field="smb_message_echoes", message_echoes=[element | more])


def theirs(text: str = CANARY, **more: Any) -> dict[str, Any]:
    element = {"from": PHONE, "id": "wamid.THEIRS", "timestamp": SENT, "type": "text"}
    element |= {"text": {"body": f"{text} {CANARY}"}} if "type" not in more else {}
    return envelope(element | more)


TALK = ("talk", 0)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (ours("Segue o ORCAMENTO: R$ 1.250,00"), [("quote", 0), ("quote", 1)]),
        (ours("Segue o orçamento: R$ 300"), [("quote", 0)]),
        (ours("orçamentos"), []),  # whole words only
        (theirs("me manda o orçamento de R$ 900?"), [TALK]),  # not ours
        (ours("a Proposta\n comercial"), [("quote", 0)]),
        (
            ours(type="template", template={"name": "visit_confirmed", "components": []}),
            [("template", 0)],
        ),
        (theirs(type="template", template={"name": "visit_confirmed"}), [TALK]),
        (
            theirs(
                type="interactive",
                interactive={"type": "list_reply", "list_reply": {"id": "book_visit"}},
            ),
            [("button", 0), TALK],
        ),
        (theirs(type="button", button={"payload": "book_visit"}), [("button", 0), TALK]),
        (
            theirs(
                type="interactive",
                interactive={
                    "type": "nfm_reply",
                    "nfm_reply": {"response_json": json.dumps({"flow_token": "1", "x": CANARY})},
                },
            ),
            [("button", 0), TALK],
        ),
        (theirs("quero  agendar uma visita"), [TALK, ("asks", 0)]),
        (theirs(type="reaction", reaction={"emoji": "👍", "message_id": "wamid.X"}), []),
        (theirs(group_id="G1"), []),
    ],
)  # fmt: skip
def test_what_a_message_meets(
    rules: ChatRules, body: dict[str, Any], expected: list[tuple[str, int]]
) -> None:
    assert met(rules, body) == expected


def test_orders_payments_and_calls_have_their_amount_and_length(rules: ChatRules) -> None:
    items = [
        {"product_retailer_id": CANARY, "quantity": 2, "item_price": "99.90", "currency": "BRL"},
        {"product_retailer_id": "b", "quantity": 1, "item_price": 10, "currency": "BRL"},
    ]
    order = theirs(type="order", order={"catalog_id": "1", "product_items": items})
    paid = {
        "id": "wamid.P", "status": "captured", "timestamp": SENT, "recipient_id": PHONE,
        "type": "payment",
        "payment": {
            "reference_id": CANARY, "currency": "BRL", "amount": {"value": 12345, "offset": 100}
        },
    }  # fmt: skip
    call = {
        "id": "wacid.1", "from": PHONE, "to": BUSINESS, "event": "terminate", "timestamp": SENT,
        "direction": "USER_INITIATED", "status": "COMPLETED", "duration": 61,
    }  # fmt: skip
    short = call | {"id": "wacid.2", "duration": 59}
    missed = call | {"id": "wacid.3", "status": "FAILED"}
    rows = tables(
        rules,
        order,
        envelope(statuses=[paid, paid | {"status": "pending"}]),
        envelope(field="calls", calls=[call, short, missed, {"id": CANARY}]),
    )["chat_signals"]
    found = [(r["rule_id"], r["value"], r["currency"]) for r in rows if r["rule_id"] != "talk"]
    assert found == [
        ("sale", Decimal("209.800000"), "BRL"),
        ("sale", Decimal("123.450000"), "BRL"),
        ("call", None, None),
    ]


def test_an_edit_and_a_deletion_speak_of_the_message_before(rules: ChatRules) -> None:
    edit = {
        "id": "wamid.E", "type": "edit",
        "edit": {
            "original_message_id": "wamid.OURS",
            "message": {"type": "text", "text": {"body": "proposta comercial"}},
        },
    }  # fmt: skip
    revoke = {"id": "wamid.R", "type": "revoke", "revoke": {"original_message_id": "wamid.OURS"}}
    rows = tables(rules, ours("orçamento"), ours(**edit), ours(**revoke))["chat_signals"]
    first, withdrawn, edited, deleted = rows
    assert len({row["message_key"] for row in rows}) == 1
    assert (first["revision_key"], first["rule_id"]) == (None, "quote")
    assert withdrawn["rule_id"] is None
    assert not withdrawn["is_deleted"]
    assert (edited["rule_id"], edited["revision_key"]) == ("quote", withdrawn["revision_key"])
    assert deleted["rule_id"] is None
    assert deleted["is_deleted"]


def test_a_rule_applies_to_its_numbers_and_from_its_day_on(tmp_path: Path) -> None:
    """SENT is 9 June 2026. The later of two entries with one id replaces the earlier one."""
    day = "2026-06-15"
    found = rules_of(
        f"""
- {{id: here, stage: qualified, numbers: "+{BUSINESS}", when: {{replies: 1}}}}
- {{id: elsewhere, stage: qualified, numbers: ["+5511400099999"], when: {{replies: 1}}}}
- {{id: later, stage: qualified, valid_from: {day}, when: {{replies: 1}}}}
- {{id: moved, stage: qualified, when: {{replies: 1}}}}
- {{id: moved, stage: won, valid_from: {day}, when: {{replies: 1}}}}
""",
        tmp_path,
    )
    assert found.problems == ()
    later = str(int(SENT) + 8 * 86_400)
    rows = tables(found, theirs(), theirs(id="wamid.2", timestamp=later))["chat_signals"]
    assert [(r["rule_id"], r["stage"]) for r in rows] == [
        ("here", "qualified"), ("moved", "qualified"),
        ("here", "qualified"), ("later", "qualified"), ("moved", "won"),
    ]  # fmt: skip
    versions = {(r["rule_id"], r["stage"]): r["rule_version"] for r in rows}
    assert len(set(versions.values())) == len(versions)


def test_the_second_process_applies_the_same_rules(rules: ChatRules) -> None:
    batches = [batch_of([ours("orçamento de R$ 900")], first_seq=n) for n in range(1, 40)]
    one = [Parser(NAMES, chat_rules=rules).parse(b)["chat_signals"] for b in batches]
    two = [t["chat_signals"] for t in in_processes(batches, bytes(range(32)), "BR", "", rules)]
    assert [t.num_rows for t in two] == [2] * len(batches)
    assert two == one


@pytest.mark.parametrize(
    ("text", "currency", "expected"),
    [
        ("fica R$1.200,50 à vista ou 3x de R$ 450", "BRL", ["1200.50", "450"]),
        ("sai por 2 mil reais", "BRL", ["2000"]),
        ("R$ 1,5 mil", "BRL", ["1500"]),
        ("US$ 1,200.00 or $99", "USD", ["1200.00", "99"]),
        ("R$ 700", "USD", []),
        ("cuesta 1.200 pesos", "ARS", ["1200"]),
        ("1200 €", "EUR", ["1200"]),
        ("ligue 11 98765-4321", "BRL", []),
        ("R$\u00a01.234,56 e R$  2.000", "BRL", ["1234.56", "2000"]),  # as a computer writes it
        ("12\u00a0345,00\u00a0€ ou 1\u202f200 €", "EUR", ["12345.00", "1200"]),
        ("\u200fR$ \u200e900\u200f", "BRL", ["900"]),  # marks of direction
        ("R$ ١٬٢٣٤٫٥٦", "BRL", ["1234.56"]),
        ("R$ １２３４", "BRL", ["1234"]),
        ("R$ 5k, 5 K reais, R$ 30/kg, R$ 7kg", "BRL", ["5000", "5000", "30", "7"]),
        ("R$ 1,2 milhão ou 2 milhões de reais", "BRL", ["1200000.0", "2000000"]),
        ("$ 500 mi amor, 1 millón de pesos", "MXN", ["500", "1000000"]),
        ("US$1,234.56, R$ 1.234,56", "USD", ["1234.56"]),
        ("R$ 12⁹⁰", "BRL", ["12"]),
        ("R$ " + "9" * 30, "BRL", []),
    ],
)
def test_e191_amounts_as_people_write_them(text: str, currency: str, expected: list[str]) -> None:
    assert amounts_of(text, currency) == [Decimal(e) for e in expected]


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("{id: A, stage: qualified, when: {replies: 1}}", "id: expected up to 40 of a-z"),
        ("{id: a, stage: hot, when: {replies: 1}}", "'hot' is not mapped for source chat"),
        ("{id: a, stage: won}", "when: expected a condition"),
        ("{id: a, stage: won, when: {any: []}}", "when.any: is empty, so the rule could never"),
        ("{id: a, stage: won, when: {they_wrote: []}}", "when.they_wrote: is empty"),
        ("{id: a, stage: won, when: {they_wrote: [oi], replies: 2}}", "put both into a list"),
        ("{id: a, stage: won, when: {all: [{label: vip}]}}", "/webhooks/outcomes"),
        ("{id: a, stage: won, when: {colour: red}}", "colour is not a condition; known: template"),
        ("{id: a, stage: won, when: {answered: 12}}", "in quotes if it is a number"),
        ("{id: a, stage: won, when: {replies: 3, within: 1w}}", "within: expected a time such as"),
        ("{id: a, stage: won, when: {we_wrote: {pattern: '(?=x)y'}}}", "invalid perl operator"),
        ("{id: a, stage: won, when: {we_wrote: {pattern: '(a)\\1'}}}", "no back references"),
        ("{id: a, stage: won, when: {we_wrote: {pattern: '(x{900}){900}'}}}", "RE2"),
        ("{id: a, stage: won, when: {we_wrote: {pattern: 'x*'}}}", "would match every message"),
        ("{id: a, stage: won, numbers: [], when: {replies: 1}}", "numbers: is empty"),
        ("{id: a, stage: won, numbers: [12], when: {replies: 1}}", "number in full"),
        ("{id: a, stage: won, brands: [norte], when: {replies: 1}}", "business_numbers.csv"),
        ("{id: a, stage: won, valid_from: soon, when: {replies: 1}}", "a date such as 2026-05-04"),
        ("{id: a, stage: won, value: true, when: {replies: 1}}", "have an amount to read"),
        ("{id: a, stage: won, when: {price_over: 5}}", "expected amount and currency"),
        ("{id: a, stage: won, when: {price_over: {amount: .nan, currency: BRL}}}", "from 0"),
        ("{id: a, stage: won, when: {price_over: {amount: .inf, currency: BRL}}}", "from 0"),
        ("{id: a, stage: won, when: {price_over: {amount: 5, currency: [BRL]}}}", "ISO 4217"),
        ("{id: a, stage: won, brands: [[norte]], when: {replies: 1}}", "business_numbers.csv"),
        ("{id: a, stage: [won], when: {replies: 1}}", "is not mapped for source chat"),
        ("{id: a, stage: won, when: &w {any: [*w]}}", "at most three levels deep"),
        ("{id: a, stage: won, valid_from: 2026-13-40, when: {replies: 1}}", "a date such as"),
        ("{id: a, stage: won, when: {replies: !!int x}}", "cannot be read"),
        (f"{{id: a, stage: won, when: {{any: [{'{order: true},' * 65}]}}}}", "at most 64"),
        ("{id: a, id: b, stage: won, when: {replies: 1}}", "id is given twice"),
        ("{id: good, stage: won, when: {replies: 1}}", "another rule has this id"),
        ("5", "expected a rule with id, stage and when"),
    ],
)
def test_e189_a_wrong_rule_is_named_with_the_fix_and_the_good_ones_stay(
    rule: str, reason: str, tmp_path: Path
) -> None:
    found = rules_of(f"- {{id: good, stage: won, when: {{replies: 1}}}}\n- {rule}\n", tmp_path)
    assert len(found.problems) == 1
    assert reason in found.problems[0]
    assert str(tmp_path) in found.problems[0]
    if "rule 2" in found.problems[0]:  # else the file as a whole cannot be read
        assert [entry["id"] for entry in found.entries] == ["good"]


@pytest.mark.parametrize("page", ["chat-rules.md", "pt-BR/chat-rules.md", "es/chat-rules.md"])
def test_every_example_of_the_documentation_is_a_rule(page: str, tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / page).read_text()
    examples = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert len(examples) >= 3
    for example in examples:
        found = rules_of(example, tmp_path)
        assert found.rules
        assert found.problems == ()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"- id: [", "is not YAML"),
        (b"\xff\xfe\x00", "is not UTF-8"),
        (b"id: a", "expected a list of rules"),
        (b"rules: 5", "expected a list of rules"),
        (b"x" * 300_000, "at most 256 kB"),
        (None, "CTWA_CHAT_RULES"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(
    content: bytes | None, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "chat_rules.yml"
    if content is not None:
        path.write_bytes(content)
    found = read_chat_rules(path, ZONE)
    assert not found
    assert [reason in problem for problem in found.problems] == [True]


def test_e189_a_file_that_unfolds_without_end_is_refused_at_once(tmp_path: Path) -> None:
    """Three levels of a thousand references each are a billion conditions."""
    inner = ", ".join(["*c"] * 1_000), ", ".join(["*b"] * 1_000)
    found = rules_of(
        f"""
- {{id: a, stage: won, when: &c {{any: [{", ".join(f"{{replies: {n}}}" for n in range(1, 65))}]}}}}
- {{id: b, stage: won, when: &b {{any: [{inner[0]}]}}}}
- {{id: c, stage: won, when: {{any: [{inner[1]}]}}}}
""",
        tmp_path,
    )
    assert [re.search("more than 32|at most 64", p) is None for p in found.problems] == [False] * 3


def test_a_hostile_pattern_and_a_huge_body_cost_no_more_than_reading_it(tmp_path: Path) -> None:
    """Backtracking engines need longer than the universe exists for this; the ratio is to plain
    words on the same body, so that no machine is too slow."""
    body = ours("x" * 3_000_000)
    hostile = rules_of("- {id: a, stage: won, when: {we_wrote: {pattern: '(x+x+)+y'}}}", tmp_path)
    plain = rules_of("- {id: a, stage: won, when: {we_wrote: [orçamento]}}", tmp_path)
    took = {}
    for name, found in (("hostile", hostile), ("plain", plain)):
        assert found.problems == ()
        began = time.perf_counter()
        assert met(found, body) == []
        took[name] = time.perf_counter() - began
    assert took["hostile"] < 20 * took["plain"] + 1


HOSTILE: Sequence[dict[str, Any]] = (
    {"type": "order", "order": {"product_items": [{"item_price": CANARY, "quantity": 1}]}},
    {"type": "order", "order": {"product_items": "x"}},
    {"type": "interactive", "interactive": {"nfm_reply": {"response_json": "{" + CANARY}}},
    {"type": "interactive", "interactive": [CANARY]},
    {"type": "edit", "edit": {"original_message_id": 5, "message": CANARY}},
    {"type": "text", "text": {"body": f"\ud800 orçamento \x00 {CANARY}"}},
    {"type": "template", "template": {"name": {"x": CANARY}, "components": [5, {"parameters": 1}]}},
)


@pytest.mark.parametrize("element", HOSTILE)
def test_what_cannot_be_read_costs_no_message_and_shows_no_value(
    element: dict[str, Any], rules: ChatRules
) -> None:
    for make in (ours, theirs):
        rows = tables(rules, make(**element))
        assert len(rows["messages"]) == 1, rows["quarantine"]
        assert rows["quarantine"] == []
