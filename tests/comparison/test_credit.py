"""Two databases compared: one case per cause, exact sums, and any two worlds at random."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comparison import credit, statements
from comparison.credit import ComparisonError, causes_of_nights, causes_of_rules, compare
from comparison.sides import NotComparableError
from comparison.tables import CreditDifference
from tests.support.marts import Marts, Row, lead, qualified, spend

Delta = tuple[str | None, str, Decimal, Decimal, int, int]


@pytest.fixture
def differ(tmp_path: Path) -> Callable[..., CreditDifference]:
    def run(before: Marts, after: Marts, **options: Any) -> CreditDifference:
        a, b = (m.write(tmp_path / f"{n}.duckdb") for n, m in (("a", before), ("b", after)))
        return compare(a, b, **options)

    return run


def deltas(difference: CreditDifference) -> list[Delta]:
    """(campaign or channel, cause, spend, spend_reporting, leads, qualified), in order."""
    return sorted(
        (
            row["campaign_id"] or row["channel"],
            row["cause"],
            row["spend_delta"],
            row["spend_reporting_delta"],
            row["leads_delta"],
            row["qualified_leads_delta"],
        )
        for row in difference.days.to_pylist()
    )


def leads_only(difference: CreditDifference) -> list[tuple[str | None, str, int, int]]:
    return [(place, cause, n, q) for place, cause, _, _, n, q in deltas(difference)]


A, B = lead("ana", "A"), lead("ana", "B")
OF_BRAND = {"lead_id": "ana:loja", "first_touch_id": "t-ana"}
EARLIER = {"first_touch_id": "t-0", "first_touch_at": "2026-03-01 08:00:00+00"}
TWINS = {"ad_id": "1", "first_touch_at": "2026-03-02 07:00:00+00"}


def met(name: str, rule: str, **columns: Any) -> Row:
    """An outcome of a chat rule, with the rule's id and version."""
    return qualified(name, f"{rule.split()[0]}:{name}", source="chat", stage_label=rule, **columns)


LEAD_CASES: dict[str, tuple[Marts, Marts, list[tuple[str, str, int, int]]]] = {
    "a lead whose message came late": (
        Marts(),
        Marts([A]),
        [("A", "late_message", 1, 0)],
    ),
    "another id, born of the same touch: nothing moved": (
        Marts([A]),
        Marts([lead("ana", "A", **OF_BRAND)]),
        [],
    ),
    "another id and another campaign: it moved, and nobody came or went": (
        Marts([A]),
        Marts([lead("ana", "B", **OF_BRAND)]),
        [("A", "late_referral", -1, 0), ("B", "late_referral", 1, 0)],
    ),
    "another id, and a lead more of the same person": (
        Marts([A], touches={"t-more": "ana"}),
        Marts([lead("ana", "A", **OF_BRAND), lead("more", "B")]),
        [("B", "late_link", 1, 0)],
    ),
    "an earlier message came late": (
        Marts([A]),
        Marts([lead("ana", "B", **EARLIER)], touches={"t-ana": "ana"}),
        [("A", "late_message", -1, 0), ("B", "late_message", 1, 0)],
    ),
    "two leads turn out to be one": (
        Marts([A, lead("old", "B")]),
        Marts([lead("old", "B")], touches={"t-ana": "old"}),
        [("A", "late_link", -1, 0)],
    ),
    "one lead turns out to be two": (
        Marts([lead("old", "B")], touches={"t-ana": "old"}),
        Marts([A, lead("old", "B")]),
        [("A", "late_link", 1, 0)],
    ),
    "a merged lead brings an earlier touch": (
        Marts([A, lead("old")]),
        Marts([lead("ana", first_touch_id="t-old")], touches={"t-ana": "ana"}),
        [("A", "late_link", -1, 0)],
    ),
    "the referral follows": (
        Marts([lead("ana", basis="ad_suspected", channel="unknown_ad")]),
        Marts([A]),
        [("A", "late_referral", 1, 0), ("unknown_ad", "late_referral", -1, 0)],
    ),
    "the ad is looked up": (
        Marts([lead("ana", "A", campaign_id=None, resolution="pending")]),
        Marts([A]),
        [("A", "ad_resolved", 1, 0), ("unresolved", "ad_resolved", -1, 0)],
    ),
    "the ad stands in another campaign": (
        Marts([A]),
        Marts([lead("ana", "B", ad_id="ad of A")]),
        [("A", "ad_moved", -1, 0), ("B", "ad_moved", 1, 0)],
    ),
    "an outcome comes late": (
        Marts([A]),
        Marts([lead("ana", "A", is_qualified=True)], outcomes=[qualified("ana")]),
        [("A", "late_outcome", 0, 1)],
    ),
    "an outcome turns out to be another lead's": (
        Marts([lead("ana", "A", is_qualified=True), lead("bea", "B")], outcomes=[qualified("ana")]),
        Marts(
            [lead("ana", "A"), lead("bea", "B", is_qualified=True)],
            outcomes=[qualified("bea", "e-ana")],
        ),
        [("A", "late_link", 0, -1), ("B", "late_link", 0, 1)],
    ),
    "a stage is mapped": (
        Marts([A], outcomes=[qualified("ana", funnel_stage=None)]),
        Marts([lead("ana", "A", is_qualified=True)], outcomes=[qualified("ana")]),
        [("A", "stage_mapping", 0, 1)],
    ),
    "a chat rule is changed and applied again": (
        Marts([A, lead("bea", "B", is_qualified=True)], outcomes=[met("bea", "quote 1")]),
        Marts(
            [lead("ana", "A", is_qualified=True), lead("bea", "B")],
            outcomes=[met("ana", "quote 2")],
        ),
        [("A", "chat_rules", 0, 1), ("B", "chat_rules", 0, -1)],
    ),
    "a changed chat rule was in force for some days before it is applied again": (
        Marts(
            [A, lead("bea", "B", is_qualified=True)],
            outcomes=[met("bea", "quote 2", occurred_at="2026-03-10 10:00:00+00")],
        ),
        Marts(
            [lead("ana", "A", is_qualified=True), lead("bea", "B", is_qualified=True)],
            outcomes=[
                met("bea", "quote 2", occurred_at="2026-03-10 10:00:00+00"),
                met("ana", "quote 2"),
            ],
        ),
        [("A", "chat_rules", 0, 1)],
    ),
    "a chat rule gives the same message another stage": (
        Marts([A], outcomes=[met("ana", "quote 1", stage="lead", funnel_stage="lead")]),
        Marts([lead("ana", "A", is_qualified=True)], outcomes=[met("ana", "quote 2")]),
        [("A", "chat_rules", 0, 1)],
    ),
    "a message that meets a chat rule comes late": (
        Marts(
            [A, lead("bea", "B", is_qualified=True)],
            outcomes=[met("bea", "quote 1", occurred_at="2026-03-04 10:00:00+00")],
        ),
        Marts(
            [lead("ana", "A", is_qualified=True), lead("bea", "B", is_qualified=True)],
            outcomes=[
                met("bea", "quote 1", occurred_at="2026-03-04 10:00:00+00"),
                met("ana", "quote 1"),
            ],
        ),
        [("A", "late_outcome", 0, 1)],
    ),
    "a colleague is left out": (
        Marts([lead("ana", "A", is_qualified=True)], outcomes=[qualified("ana")]),
        Marts(
            [lead("ana", "A", is_qualified=True, is_excluded=True, exclusion_reason="staff")],
            outcomes=[qualified("ana")],
        ),
        [("A", "exclusion", -1, -1)],
    ),
    "a person is erased: the same lead under a random key": (
        Marts([lead("ana", "A", **TWINS)]),
        Marts([lead("f00", "A", **TWINS)]),
        [],
    ),
    "a lead takes its qualification along": (
        Marts([lead("ana", "A", is_qualified=True)], outcomes=[qualified("ana")]),
        Marts(
            [lead("ana", "B", is_qualified=True, **EARLIER)],
            outcomes=[qualified("ana")],
            touches={"t-ana": "ana"},
        ),
        [("A", "late_message", -1, -1), ("B", "late_message", 1, 1)],
    ),
    "moved, and qualified since": (
        Marts([A]),
        Marts(
            [lead("ana", "B", is_qualified=True, **EARLIER)],
            outcomes=[qualified("ana")],
            touches={"t-ana": "ana"},
        ),
        [
            ("A", "late_message", -1, 0),
            ("B", "late_message", 1, 0),
            ("B", "late_outcome", 0, 1),
        ],
    ),
    "nothing but a name": (Marts([A]), Marts([lead("ana", "A", campaign_name="New name")]), []),
}


@pytest.mark.parametrize("case", LEAD_CASES)
def test_why_leads_changed(differ: Callable[..., CreditDifference], case: str) -> None:
    before, after, expected = LEAD_CASES[case]
    assert leads_only(differ(before, after)) == expected


def test_the_touch_that_gives_the_source_decides_not_the_birth(
    differ: Callable[..., CreditDifference],
) -> None:
    """With first_touch=paid a lead is born by one touch and credited by another (E16)."""
    paid = {"first_touch_id": "t-0", "source_touch_id": "t-ana"}
    before = Marts([lead("ana", first_touch_id="t-0")], touches={"t-ana": "ana"})
    found = differ(before, Marts([lead("ana", "A", **paid)], touches={"t-ana": "ana"}))
    assert leads_only(found) == [("A", "late_message", 1, 0), ("direct", "late_message", -1, 0)]
    rules = causes_of_rules({"first_touch", "conversation_gap_days"})
    (row,) = differ(
        before, Marts([lead("ana", "A", **paid)], touches={"t-ana": "ana"}), causes=rules
    ).leads.to_pylist()
    assert row["cause"] == "first_touch"


def test_a_lead_counts_on_another_day(differ: Callable[..., CreditDifference]) -> None:
    found = differ(Marts([A]), Marts([lead("ana", "A", first_touch_date="2026-03-04")]))
    assert [
        (str(r["report_date"]), r["cause"], r["leads_delta"]) for r in found.days.to_pylist()
    ] == [("2026-03-03", "day_boundary", -1), ("2026-03-04", "day_boundary", 1)]
    assert found.leads.to_pylist()[0]["change"] == "redated"


SPEND_CASES: dict[str, tuple[Marts, Marts, list[tuple[str, str, str, str]]]] = {
    "restated": (
        Marts(spend=[spend("1", "10")]),
        Marts(spend=[spend("1", "10.25")]),
        [("A", "restated_spend", "0.25", "0.25")],
    ),
    "an ad more on a day that was read": (
        Marts(spend=[spend("1", "10")]),
        Marts(spend=[spend("1", "10"), spend("2", "3", "B")]),
        [("B", "restated_spend", "3", "3")],
    ),
    "a day without any": (
        Marts(),
        Marts(spend=[spend("1", "10")]),
        [("A", "late_spend", "10", "10")],
    ),
    "the rate changed": (
        Marts(spend=[spend("1", "10", spend_reporting="50", exchange_rate="5")]),
        Marts(spend=[spend("1", "10", spend_reporting="51", exchange_rate="5.1")]),
        [("A", "exchange_rate", "0", "1")],
    ),
    "amount and rate changed: the amount at the old rate": (
        Marts(spend=[spend("1", "10", spend_reporting="50", exchange_rate="5")]),
        Marts(spend=[spend("1", "11", spend_reporting="56.1", exchange_rate="5.1")]),
        [("A", "exchange_rate", "0", "1.1"), ("A", "restated_spend", "1", "5")],
    ),
    "a large amount and its rate changed: more digits than a decimal(18) holds": (
        Marts(spend=[spend("1", "5021.89", spend_reporting="27319.0816", exchange_rate="5.44")]),
        Marts(spend=[spend("1", "5100", spend_reporting="27795", exchange_rate="5.45")]),
        [("A", "exchange_rate", "0", "51"), ("A", "restated_spend", "78.11", "424.9184")],
    ),
    "a rate becomes known": (
        Marts(spend=[spend("1", "10", spend_reporting=None)]),
        Marts(spend=[spend("1", "10", spend_reporting="51", exchange_rate="5.1")]),
        [("A", "exchange_rate", "0", "51")],
    ),
    "one rate of two is missing: the campaign's day counts as nothing": (
        Marts(spend=[spend("1", "10"), spend("2", "5")]),
        Marts(spend=[spend("1", "10"), spend("2", "5", spend_reporting=None)]),
        [("A", "exchange_rate", "0", "-15")],
    ),
    "an ad's campaign becomes known, its amount changed": (
        Marts(spend=[spend("1", "10", None)]),
        Marts(spend=[spend("1", "12", "A")]),
        [
            ("A", "ad_resolved", "10", "10"),
            ("A", "restated_spend", "2", "2"),
            ("unallocated:1", "ad_resolved", "-10", "-10"),
        ],
    ),
}


@pytest.mark.parametrize("case", SPEND_CASES)
def test_why_spend_changed(differ: Callable[..., CreditDifference], case: str) -> None:
    before, after, expected = SPEND_CASES[case]
    assert [(p, c, s, r) for p, c, s, r, _, _ in deltas(differ(before, after))] == [
        (p, c, Decimal(s), Decimal(r)) for p, c, s, r in expected
    ]


def test_changed_rules_between_two_nights_are_said_to_be_the_cause(
    differ: Callable[..., CreditDifference],
) -> None:
    after = Marts([lead("ana", "B", **EARLIER)], [spend("1", "9")], touches={"t-ana": "ana"})
    found = differ(Marts([A]), after, causes=causes_of_nights({"first_touch"}))
    assert {cause for _, cause, *_ in deltas(found)} == {"rules", "late_spend"}


def test_of_several_rules_the_one_that_can_do_it_is_named() -> None:
    both = causes_of_rules({"first_touch", "conversation_gap_days"})
    assert both["other_touch"] == "first_touch"
    assert both["evidence"] == "conversation_gap_days"
    assert causes_of_rules({"lead_scope", "lead_cycle_days"})["split"] == "rules"
    assert causes_of_rules({"first_touch"})["split"] == "first_touch"


def test_a_lead_says_what_it_was_and_is(differ: Callable[..., CreditDifference]) -> None:
    after = Marts([lead("ana", "B", ad_name="Spring", **EARLIER)], touches={"t-ana": "ana"})
    found = differ(Marts([A], touches={"t-0": "ana"}), after, prefix="Source: ")
    (row,) = found.leads.to_pylist()
    assert (row["change"], row["campaign_id_a"], row["campaign_id_b"]) == ("moved", "A", "B")
    assert row["because"] == (
        'Source: another of the same touches is the source: the ad "Spring" instead of '
        "the ad ad of A"
    )
    assert (row["why_a"], row["why_b"]) == ("why ana", "why ana")


def test_cost_of_a_qualified_lead_is_a_sum_over_a_sum(
    differ: Callable[..., CreditDifference],
) -> None:
    good = [lead(n, "A", is_qualified=True) for n in ("ana", "bea", "cai")]
    found = differ(Marts(good, [spend("1", "10")]), Marts(good[:2], [spend("1", "10")]))
    (row,) = found.campaigns.to_pylist()
    name = "cost_per_qualified_lead_reporting"
    assert [str(row[f"{name}_{s}"]) for s in ("a", "b", "delta")] == [
        "3.333333", "5.000000", "1.666667",
    ]  # fmt: skip


def test_leads_that_no_platform_bills_cost_an_unknown_amount_and_not_0(
    differ: Callable[..., CreditDifference],
) -> None:
    unbilled = [lead("ana", None, is_qualified=True), lead("bea", "unresolved", is_qualified=True)]
    found = differ(Marts(unbilled), Marts([*unbilled, lead("cai", None)]))
    assert [(r["spend_reporting_a"], r["cost_per_qualified_lead_reporting_a"])
            for r in found.campaigns.to_pylist()] == [(0, None), (0, None)]  # fmt: skip


def test_files_without_marts_are_refused(tmp_path: Path) -> None:
    marts = Marts([A]).write(tmp_path / "a.duckdb")
    duckdb.connect(str(tmp_path / "empty.duckdb")).close()
    with pytest.raises(NotComparableError, match=r"empty\.duckdb has no table marts\.fct_leads"):
        compare(marts, tmp_path / "empty.duckdb")
    with pytest.raises(NotComparableError, match=r"no file .*absent"):
        compare(marts, tmp_path / "absent.duckdb")


def test_a_file_of_an_older_version_lacks_columns(tmp_path: Path) -> None:
    old = Marts([A]).write(tmp_path / "old.duckdb")
    with duckdb.connect(str(old)) as connection:
        connection.execute("alter table marts.fct_leads drop column is_excluded")
        connection.execute("drop table marts.fct_outcomes")
    assert compare(old, Marts([A]).write(tmp_path / "new.duckdb")).days.num_rows == 0


def test_known_bad_a_difference_that_no_row_explains_is_not_hidden(tmp_path: Path) -> None:
    paths = [Marts([A], [spend("1", "10")]).write(tmp_path / f"{n}.duckdb") for n in "ab"]
    with duckdb.connect(str(paths[1])) as connection:
        connection.execute("update marts.campaign_performance set leads = 7, spend = 3")
    assert deltas(compare(*paths)) == [("A", "other", Decimal(-7), Decimal(0), 6, 0)]


def test_known_bad_deltas_that_do_not_add_up_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "REST", "select 1")
    monkeypatch.setattr(
        statements, "CHANGES", statements.CHANGES.replace("sum(leads)", "sum(leads) + 1")
    )
    paths = [Marts(m).write(tmp_path / f"{n}.duckdb") for n, m in (("a", []), ("b", [A]))]
    with pytest.raises(
        ComparisonError, match="1 campaign days do not add up, the first is 2026-03-03"
    ):
        credit.changes(*paths)


# ---- any two worlds ------------------------------------------------------------------------------

_NAMES = ("ana", "bea", "cai", "dan")
_DATES = ("2026-03-03", "2026-03-04")


@st.composite
def worlds(draw: st.DrawFn) -> Marts:
    """Few leads, ads and days, so that any two worlds have much in common."""
    touches = {f"t-{i}": draw(st.sampled_from(_NAMES)) for i in range(6)}
    leads: list[Row] = []
    for name in draw(st.sets(st.sampled_from(_NAMES))):
        campaign = draw(st.sampled_from([None, "A", "B"]))
        own = [t for t, owner in touches.items() if owner == name]
        resolved = draw(st.booleans())
        more = {} if resolved or campaign is None else {"campaign_id": None, "resolution": "gone"}
        leads.append(
            lead(
                name,
                campaign,
                **more,
                first_touch_id=draw(st.sampled_from(own)) if own else f"t-{name}",
                first_touch_date=draw(st.sampled_from(_DATES)),
                first_touch_at=f"2026-03-03 0{draw(st.integers(1, 3))}:00:00+00",
                is_qualified=draw(st.booleans()),
                is_excluded=draw(st.sampled_from([False, False, None, True])),
            )
        )
    outcomes = [
        qualified(draw(st.sampled_from(_NAMES)), f"e{i}", stage=draw(st.sampled_from("xy")),
                  funnel_stage=draw(st.sampled_from(["lead", "won", None])))
        for i in range(draw(st.integers(0, 4)))
    ]  # fmt: skip
    rows = []
    for ad, day in draw(st.sets(st.tuples(st.sampled_from("12"), st.sampled_from(_DATES)))):
        amount = draw(st.decimals(-5, 50, places=2))
        rate = draw(st.sampled_from([None, Decimal("5.12345678"), Decimal("0.33")]))
        converted = (amount * rate).quantize(Decimal("0.000001")) if rate else amount
        rows.append(
            spend(
                ad,
                str(amount),
                draw(st.sampled_from([None, "A", "B"])),
                spend_date=day,
                exchange_rate=rate,
                spend_reporting=draw(st.sampled_from([converted, converted, None])),
            )
        )
    return Marts(leads, rows, outcomes, touches)


def _totals(difference: CreditDifference, sign: int = 1) -> dict[Any, tuple[Any, ...]]:
    """Deltas by day and place, over all causes, without those that cancel out."""
    found: dict[Any, list[Any]] = {}
    for row in difference.days.to_pylist():
        key = (row["report_date"], row["platform"], row["campaign_id"], row["channel"])
        sums = found.setdefault(key, [0, 0, 0, 0])
        names = ("spend_delta", "spend_reporting_delta", "leads_delta", "qualified_leads_delta")
        for place, name in enumerate(names):
            sums[place] += sign * row[name]
    return {key: tuple(sums) for key, sums in found.items() if any(sums)}


_REPORT = """
select report_date, platform, campaign_id, sum(spend), sum(coalesce(spend_reporting, 0)),
    sum(leads), sum(qualified_leads)
from marts.campaign_performance group by all
"""


def _report(path: Path) -> dict[Any, tuple[Any, ...]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return {row[:3]: row[3:] for row in connection.execute(_REPORT).fetchall()}


def check_sums(before: Marts, after: Marts) -> None:
    """before + deltas = after, both ways, without a rest; and nothing differs from itself."""
    with tempfile.TemporaryDirectory() as folder:
        a, b = before.write(Path(folder, "a.duckdb")), after.write(Path(folder, "b.duckdb"))
        there, back = compare(a, b), compare(b, a)
        assert _totals(there) == _totals(back, -1)
        assert "other" not in there.days["cause"].to_pylist()
        deltas = {k[:3]: v for k, v in _totals(there).items() if k[1] is not None}
        zero = (0, 0, 0, 0)
        reports = _report(a), _report(b)
        for key in {*reports[0], *reports[1], *deltas}:
            start, delta, end = (t.get(key, zero) for t in (reports[0], deltas, reports[1]))
            assert tuple(x + y for x, y in zip(start, delta, strict=True)) == end, key
        same = compare(a, a)
        assert (same.days.num_rows, same.leads.num_rows) == (0, 0)


_QUIET = settings(deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@settings(_QUIET, max_examples=8)
@given(worlds(), worlds())
def test_any_two_worlds_differ_by_exactly_their_deltas(before: Marts, after: Marts) -> None:
    check_sums(before, after)


@pytest.mark.deep
@pytest.mark.timeout(1_800)
@settings(_QUIET, max_examples=300)
@given(worlds(), worlds())
def test_any_two_worlds_differ_by_exactly_their_deltas_many(before: Marts, after: Marts) -> None:
    check_sums(before, after)


def test_e87_a_day_that_was_not_read_comes_as_late_spend(tmp_path: Path) -> None:
    """Null before, an amount after: a difference by its cause, and by no other."""
    unread = Marts([A]).write(tmp_path / "a.duckdb")
    with duckdb.connect(str(unread)) as marts:
        marts.execute("update marts.campaign_performance set spend = null, spend_reporting = null")
    read = Marts([A], spend=[spend("x", "10")]).write(tmp_path / "b.duckdb")
    found = compare(unread, read, causes=causes_of_nights())
    assert deltas(found) == [("A", "late_spend", Decimal(10), Decimal(10), 0, 0)]
    assert compare(read, unread, causes=causes_of_nights()).days.num_rows == 1
