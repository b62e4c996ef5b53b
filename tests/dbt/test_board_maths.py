"""The maths of the creative board, on the very SQL that ships, against exact figures and chance."""

from __future__ import annotations

import random
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.board import Board, beta_cdf, beta_quantile
from tests.support.dbt import macro

WORSE_FIRST = ["cut", "hold", "scale"]
Z = 1.644854

Account = list[tuple[int, int, int]]
"""Ads of one account: leads, qualified, spend."""

counts = st.integers(0, 400).flatmap(
    lambda leads: st.tuples(st.just(leads), st.integers(0, leads), st.integers(0, 50_000))
)
companies = st.lists(st.lists(counts, min_size=1, max_size=8), min_size=1, max_size=20)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Board:
    return Board(tmp_path_factory.mktemp("board"))


def ad(name: str, leads: int, qualified: int, spend: float, **more: Any) -> dict[str, Any]:
    return {"ad_id": name, "leads": leads, "qualified_leads": qualified, "spend": spend, **more}


def rows(company: list[Account]) -> list[dict[str, Any]]:
    return [
        ad(f"{n}/{place}", *figures, account=f"{n}", campaign=f"{n}/{place % 2}")
        for n, account in enumerate(company)
        for place, figures in enumerate(account)
    ]


def test_the_incomplete_beta_of_these_tests_is_right() -> None:
    # In closed form: 1 - (1 - x)^b, x^a, and the binomial sum of Beta(2, 3).
    assert beta_cdf(1, 7, 0.1) == pytest.approx(1 - 0.9**7, abs=1e-12)
    assert beta_cdf(5, 1, 0.8) == pytest.approx(0.8**5, abs=1e-12)
    assert beta_cdf(2, 3, 0.4) == pytest.approx(0.5248, abs=1e-12)
    assert beta_quantile(5, 1, 0.05) == pytest.approx(0.05**0.2, abs=1e-12)


def test_the_quantiles_are_within_0_01_and_1_2_points_of_the_exact_ones(board: Board) -> None:
    """Paulson's approximation on every kind of beta that the board meets."""
    grid = [0, 1, 2, 4, 7, 14, 39, 149, 999]
    # Alone in its account an ad is Beta(1 + qualified, 1 + not): whole numbers from 1 on.
    alone = [ad(f"{q}/{m}", q + m, q, 9, account=f"{q}/{m}") for q in grid for m in grid]
    # With others the guess holds at least one of each: fractions from 1 on.
    rng = random.Random(4)
    among = [
        ad(f"{n}", leads := rng.randint(0, 60), int(leads * rate), 9, account=f"of {n // 8}")
        for n in range(400)
        for rate in [rng.choice([0.01, 0.1, 0.3, 0.9]) * rng.random()]
    ]
    found = board.estimate(alone + among).values()
    assert min(row["alpha"] for row in found) == 1
    worst_x = worst_share = 0.0
    for row in found:
        for column, share in (("rate_low", 0.05), ("rate_high", 0.95)):
            exact = beta_quantile(row["alpha"], row["beta"], share)
            worst_x = max(worst_x, abs(row[column] - exact))
            reached = beta_cdf(row["alpha"], row["beta"], row[column])
            worst_share = max(worst_share, abs(reached - share))
    assert worst_x < 0.01
    assert worst_share < 0.012


@settings(max_examples=15, deadline=None)
@given(companies)
def test_the_interval_holds_the_shrunk_rate_and_the_expected_cost(
    board: Board, company: list[Account]
) -> None:
    for row in board.estimate(rows(company)).values():
        assert 0 <= row["rate_low"] < row["shrunk_rate"] < row["rate_high"] <= 1
        if row["expected_cost"] is not None:
            assert 0 < row["expected_cost_low"] < row["expected_cost"] < row["expected_cost_high"]


@settings(max_examples=15, deadline=None)
@given(companies, st.randoms(use_true_random=False))
def test_more_qualified_of_the_same_leads_never_make_a_verdict_worse(
    board: Board, company: list[Account], rng: random.Random
) -> None:
    better = []
    for (leads, qualified, spend), *others in company:
        better.append([(leads, rng.randint(qualified, leads), spend), *others])
    before, after = board.judge(rows(company)), board.judge(rows(better))
    for name in (f"{n}/0" for n in range(len(company))):
        was, became = before[name], after[name]
        assert (was["verdict"] in WORSE_FIRST) == (became["verdict"] in WORSE_FIRST)
        if was["verdict"] in WORSE_FIRST:
            assert WORSE_FIRST.index(was["verdict"]) <= WORSE_FIRST.index(became["verdict"])
        yardstick = "peer_cost_per_qualified_lead"
        assert was[yardstick] == became[yardstick]


@settings(max_examples=10, deadline=None)
@given(companies, st.integers(1, 20))
def test_the_same_counts_are_judged_alike_in_any_currency_and_any_order(
    board: Board, company: list[Account], factor: int
) -> None:
    plain = board.judge(rows(company))
    dearer = [row | {"spend": row["spend"] * factor, "currency": "CLP"} for row in rows(company)]
    other = board.judge(dearer)
    assert {k: r["verdict"] for k, r in plain.items()} == {
        k: r["verdict"] for k, r in other.items()
    }
    assert plain == board.judge(reversed(rows(company)))


def test_without_leads_an_ad_is_expected_to_do_as_its_campaign(board: Board) -> None:
    account = [
        ad("new", 0, 0, 10, campaign="mine"),
        *(ad(f"m{n}", 1000, 400, 9000, campaign="mine") for n in range(3)),
        *(ad(f"t{n}", 1000, 100, 9000, campaign="theirs") for n in range(3)),
    ]
    found = board.judge(account)
    assert float(found["new"]["shrunk_qualified_rate"]) == pytest.approx(0.40, abs=0.002)
    # The more leads of its own, the further from there.
    rates = []
    for leads in (0, 10, 100, 1000, 100_000):
        account[0] = ad("new", leads, 0, 10, campaign="mine")
        rates.append(float(board.judge(account)["new"]["shrunk_qualified_rate"]))
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.001


def test_the_guess_weighs_ten_leads_less_where_few_ads_make_it(board: Board) -> None:
    for others, weight in ((1, 5), (4, 8), (9, 9)):
        account = [ad(f"a{n}", 100, 30, 100) for n in range(others + 1)]
        assert board.judge(account)["a0"]["prior_leads"] == weight
    # At least one qualified lead, whatever the rate: at 2 % that takes 50.
    rare = board.judge([ad(f"a{n}", 1000, 20, 100) for n in range(10)])["a0"]
    assert float(rare["prior_leads"] * rare["prior_qualified_rate"]) == pytest.approx(1, abs=1e-3)
    alone = board.judge([ad("a0", 3, 1, 100)])["a0"]
    assert (alone["shrunk_qualified_rate"], alone["verdict"]) == (Decimal("0.4"), "not_enough_data")


def test_nine_of_ten_intervals_hold_the_truth(board: Board) -> None:
    """Simulated accounts: rates and costs per lead differ by ad, leads and qualified by chance."""
    rng = random.Random(20260630)
    made, truth = [], {}
    for account in range(150):
        mean, strength = rng.uniform(0.1, 0.6), rng.choice([8, 20, 60])
        for n in range(12):
            name = f"{account}-{n}"
            rate = rng.betavariate(mean * strength, (1 - mean) * strength)
            leads_per_real = rng.gammavariate(4, 1 / 80)  # 20 for a lead, more or less
            spend = rng.choice([50, 300, 900, 3000])
            leads = _poisson(rng, spend * leads_per_real)
            qualified = sum(rng.random() < rate for _ in range(leads))
            made.append(ad(name, leads, qualified, spend, account=f"{account}"))
            truth[name] = (rate, 1 / (leads_per_real * max(rate, 1e-9)))
    found = board.estimate(made)
    rates = [r["rate_low"] <= truth[k][0] <= r["rate_high"] for k, r in found.items()]
    costs = [
        r["expected_cost_low"] <= truth[k][1] <= r["expected_cost_high"] for k, r in found.items()
    ]
    assert 0.88 < sum(rates) / len(rates) < 0.93
    assert 0.88 < sum(costs) / len(costs) < 0.93


def test_of_equal_ads_hardly_any_is_scaled_or_cut(board: Board) -> None:
    """E65. All the same but for chance: a ranking would name winners and losers."""
    rng = random.Random(7)
    made = []
    for account in range(60):
        for n in range(10):
            leads = _poisson(rng, 30)
            qualified = sum(rng.random() < 0.3 for _ in range(leads))
            made.append(ad(f"{account}-{n}", leads, qualified, 600, account=f"{account}"))
    verdicts = [row["verdict"] for row in board.judge(made).values()]
    # Of a true 90 % interval one in twenty would be past either end.
    assert verdicts.count("scale") / len(verdicts) < 0.05
    assert verdicts.count("cut") / len(verdicts) < 0.05


def _poisson(rng: random.Random, mean: float) -> int:
    count, left = 0, rng.expovariate(1)
    while left < mean:
        count, left = count + 1, left + rng.expovariate(1)
    return count


def test_e127_a_campaign_whose_ads_are_each_too_small_is_judged_as_a_whole(board: Board) -> None:
    """A quarter of the spend, split over so many ads that none of them says anything."""
    made = [ad(f"s{n}", 3, 0, 150, campaign="split") for n in range(12)]
    made += [ad(f"o{n}", 40, 12, 900, campaign=f"other {n // 2}") for n in range(6)]
    ads, campaigns = board.judge(made), board.judge_campaigns(made)
    assert {ads[f"s{n}"]["reason_code"] for n in range(12)} == {"few_leads"}
    split = campaigns["split"]
    assert (split["verdict"], split["leads"], split["qualified_leads"]) == ("cut", 36, 0)
    assert split["spend"] == 1800
    assert split["reason"].endswith(
        "worse than the BRL 75.00 of the account's other campaigns even at best."
    )
    # Neither luck with a campaign's own ads nor a campaign above it is in its prior.
    assert float(split["prior_qualified_rate"]) == pytest.approx(72.5 / 241, abs=1e-6)
    # The control: each of its ads for itself.
    assert {ads[f"s{n}"]["verdict"] for n in range(12)} == {"not_enough_data"}


def test_no_expected_cost_is_empty_and_not_the_largest_amount(board: Board) -> None:
    row = board.judge([ad("a0", 3, 1, 100)])["a0"]
    assert row["expected_cost_per_qualified_lead"] is None
    assert row["expected_cost_per_qualified_lead_high"] is None


# ---- estimates that every engine rounds alike ----------------------------------------------------


def six_digits(amount: float, decimals: int) -> Decimal:
    """As the shortest text of the double would be rounded by hand."""
    exact = Decimal(repr(amount))
    unit = Decimal(1).scaleb(max(exact.adjusted() - 5, -decimals))
    return (exact / unit).quantize(Decimal(1), ROUND_HALF_UP) * unit


amounts = st.one_of(
    st.floats(-1e11, 1e11),
    st.floats(0, 1),
    st.floats(0, 1e6),
    # Whole numbers of seven digits that end in a 5, which are as near to one as to the other.
    st.builds(
        lambda n, zeros: (10 * n + 5) * 10.0**zeros, st.integers(10**5, 10**6), st.integers(0, 4)
    ),
    st.builds(lambda zeros, more: 10.0**zeros + more, st.integers(-7, 11), st.integers(-1, 1)),
)


@pytest.mark.parametrize(("digits", "decimals"), [(18, 6), (18, 2), (9, 6), (9, 3)])
@settings(max_examples=20, deadline=None)
@given(amounts=st.lists(amounts, min_size=1, max_size=200))
def test_an_estimate_has_six_digits_as_if_rounded_by_hand(
    amounts: list[float], digits: int, decimals: int
) -> None:
    """Also where fewer decimals are kept: what is rounded twice has ties that nobody meant."""
    rounded = macro("rounded_estimate", "amount", f"decimal({digits}, {decimals})")
    query = f"select {rounded} from (select unnest(?::double[]) as amount)"
    fitting = [a for a in amounts if abs(a) <= 10 ** (digits - decimals - 1)]
    with duckdb.connect() as database:
        found = [row[0] for row in database.execute(query, [fitting]).fetchall()]
    assert found == [six_digits(amount, decimals) for amount in fitting]


def test_a_share_is_rounded_once() -> None:
    shares = [(part, whole) for whole in (1, 3, 128, 640, 1280, 1920) for part in range(whole + 1)]
    given = "(select unnest(?) as part, unnest(?) as whole)"
    query = f"select {macro('exact_share', 'part', 'whole')} from {given}"
    with duckdb.connect() as database:
        found = database.execute(query, [list(column) for column in zip(*shares, strict=True)])
        assert [row[0] for row in found.fetchall()] == [
            (Decimal(part) / whole).quantize(Decimal("0.000001"), ROUND_HALF_UP)
            for part, whole in shares
        ]
        assert database.execute(f"select {macro('exact_share', '0', '0')}").fetchone() == (None,)


def test_a_cast_would_not_round_as_by_hand() -> None:
    """Why estimates and shares have macros: a cast rounds what a product of doubles left."""
    query = (
        "select cast(440277942.99999547::double as decimal(18, 6)),"
        " cast(333::double / 640 as decimal(9, 6))"
    )
    with duckdb.connect() as database:
        (found,) = database.execute(query).fetchall()
    assert found[0] != Decimal("440277942.999995")
    assert found[1] != Decimal("0.520313")


def test_an_estimate_beyond_the_type_says_the_largest_and_null_stays_null() -> None:
    for scale, largest in (("18, 6", 10**11), ("18, 2", 10**15), ("9, 6", 100)):
        rounded = macro("rounded_estimate", "amount", f"decimal({scale})")
        values = "(values (1e300), (-1e16), ('inf'::double), (null)) t (amount)"
        with duckdb.connect() as database:
            found = [
                row[0] for row in database.execute(f"select {rounded} from {values}").fetchall()
            ]
        assert found == [largest, -largest, largest, None]
