"""Tools of proofs: scans, proofs by signs, interval arithmetic, confidence intervals. Each must be able to fail."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st
from mpmath import iv
from scipy import stats

from cgro.base.errors import UserError
from cgro.claims.boxes import prove_positive
from cgro.claims.cases import scan
from cgro.claims.confidence import median_interval, proportion_interval
from cgro.claims.outcomes import Outcome, at_least, at_most, exactly, together, within
from cgro.claims.symbolic import decide, identities, nonnegative, vanishes

X, Y, Z = sp.symbols("x y z")


# Scans


def test_a_scan_finds_the_tightest_case_and_the_first_violation() -> None:
    found = scan(range(1, 6), lambda n: (n * n, 12))
    assert (found.count, found.violations, found.violation, found.tightest) == (5, 2, 4, 5)
    assert found.slack == 12 / 25
    assert not found.holds
    assert found.counterexample == "4"
    held = scan(range(1, 4), lambda n: (n * n, 12))
    assert held.holds
    assert (held.slack, held.tightest, held.counterexample) == (12 / 9, 3, "")


def test_a_scan_is_exact_for_rationals() -> None:
    third = Fraction(1, 3)
    more = third + Fraction(1, 10**40)
    assert scan([0], lambda _: (third, third)).slack == 1
    above = scan([0], lambda _: (more, third))
    assert not above.holds
    assert above.slack < 1
    below = scan([0], lambda _: (third, more))
    assert below.holds
    assert below.slack >= 1


def test_a_scan_counts_nan_as_a_violation_and_needs_a_case() -> None:
    assert not scan([0, 1], lambda k: (math.nan if k else 0.0, 1.0)).holds
    assert math.isnan(scan([0, 1], lambda k: (math.nan if k else 0.5, 1.0)).slack)
    with pytest.raises(ValueError, match="no case"):
        scan([], lambda _: (0, 0))


def test_a_finding_joins_scan_and_proof() -> None:
    found = scan([(1, Fraction(1, 20)), (2, Fraction(1, 2))], lambda c: (c[1], Fraction(1, 4)))
    wrong = found.finding("(n, x)", tested="two", bound="1/4", counterexample="of the proof")
    assert wrong.holds is False
    assert wrong.slack == 0.5
    assert wrong.counterexample == "(n, x) = (2, 1/2)"
    assert wrong.measured == "tightest at (n, x) = (2, 1/2)"
    held = scan([0.123456], lambda x: (x, 1))
    assert held.finding("x", tested="one", bound="1", measured="so").measured == "so; tightest at x = 0.1235"
    assert held.finding("x", tested="one", bound="1").holds is True
    open_ended = held.finding("x", tested="one", bound="1", proof=None, counterexample="c")
    assert (open_ended.holds, open_ended.slack, open_ended.counterexample) == (None, 0.0, "c")
    disproved = held.finding("x", tested="one", bound="1", proof=False, counterexample="c")
    assert (disproved.holds, disproved.slack, disproved.counterexample) == (False, 0.0, "c")


@given(st.integers(-3, 3), st.integers(-3, 3))
def test_slack_is_at_least_one_iff_the_inequality_holds(measured: int, bound: int) -> None:
    assert (scan([0], lambda _: (measured, bound)).slack >= 1) == (measured <= bound)


# Signs


@pytest.mark.parametrize(
    ("expression", "at_least", "proved"),
    [
        (X * Y - 1, {X: 1, Y: 1}, True),
        (X * Y - 2, {X: 1, Y: 1}, False),
        ((X - Y) ** 2, {X: 0, Y: 0}, False),  # true, but not by signs
        (X - Y, {X: Y, Y: 0}, True),
        (X / (Y + 1), {X: 0, Y: 0}, True),
        (-X / (Y + 1), {X: 0, Y: 0}, False),
        (-X / (-Y - 1), {X: 0, Y: 0}, True),
        (1 / (X - Y), {X: Y + 1, Y: 0}, True),
        (sp.Integer(0), {X: 0}, True),
    ],
)
def test_proof_by_signs(expression: sp.Expr, at_least: dict[sp.Symbol, sp.Expr], proved: bool) -> None:
    assert nonnegative(expression, at_least) is proved


def test_a_false_claim_is_refuted_by_its_smallest_counterexample() -> None:
    assert decide(X * Y - 1, {X: 1, Y: 1}).holds is True
    wrong = decide(X * Y - 2, {X: 1, Y: 1})
    assert wrong.holds is False
    assert wrong.counterexample == "x = 1, y = 1"
    assert decide(X - 2 * Y, {X: Y, Y: 0}).counterexample == "x = 1/4, y = 1/4"
    assert decide((X - Y) ** 2, {X: 0, Y: 0}).holds is None


@given(st.lists(st.integers(-4, 4), min_size=6, max_size=6), st.tuples(*[st.integers(0, 20)] * 2))
def test_no_proof_by_signs_of_what_is_negative_somewhere(coefficients: list[int], point: tuple[int, int]) -> None:
    monomials = (1, X, Y, X * Y, X**2, Y**2)
    expression = sum(c * m for c, m in zip(coefficients, monomials, strict=True))
    if nonnegative(sp.sympify(expression), {X: 1, Y: 2}):
        assert sp.sympify(expression).subs({X: 1 + point[0], Y: 2 + point[1]}) >= 0


def test_identities_name_the_first_residual() -> None:
    held = identities({"a": sp.Integer(0)}, "all")
    assert (held.holds, held.slack) == (True, math.inf)
    wrong = identities({"a": sp.Integer(0), "b": X, "c": Y}, "all")
    assert (wrong.holds, wrong.slack, wrong.counterexample) == (False, 0.0, "b: off by x")
    assert wrong.measured == "2 of 3 residuals are not 0"


def test_an_identity_vanishes() -> None:
    assert vanishes((X + Y) ** 2 - X**2 - 2 * X * Y - Y**2)
    assert vanishes(sp.sin(X) ** 2 + sp.cos(X) ** 2 - 1)
    assert not vanishes((X + Y) ** 2 - X**2 - Y**2)


# Boxes


def test_a_positive_function_is_proved_and_a_negative_one_refuted() -> None:
    proof = prove_positive(lambda x, y: x * x + y * y - x * y + iv.mpf("0.01"), [(-1, 1), (-1, 1)])
    assert proof.holds is True
    assert 0 < proof.smallest <= 0.01
    refuted = prove_positive(lambda x: iv.exp(x) - 3, [(0, 2)])
    assert refuted.holds is False
    assert refuted.point is not None
    assert math.exp(refuted.point[0]) < 3


def test_a_function_that_touches_zero_is_undecided() -> None:
    proof = prove_positive(lambda x: x * x, [(-1, 1)], most=50)
    assert proof.holds is None
    assert proof.pieces >= 50


def test_a_midpoint_that_may_be_negative_refutes_nothing() -> None:
    assert prove_positive(lambda x: x * 0 + iv.mpf([-1e-9, 1]), [(0, 1)], most=50).holds is None


def test_an_endpoint_is_part_of_the_box() -> None:
    assert prove_positive(lambda x: 1 - x, [(0, 1)], most=2000).holds is None
    assert prove_positive(lambda x: iv.mpf("1.001") - x, [(0, 1)]).holds is True
    assert prove_positive(lambda x: iv.mpf("0.999") - x, [(0, 1)], most=2000).holds is False


# Confidence


def test_the_exact_interval_of_a_proportion() -> None:
    low, high = proportion_interval(7, 20, 0.95)
    assert stats.binom.sf(6, 20, low) == pytest.approx(0.025, rel=1e-6)
    assert stats.binom.cdf(7, 20, high) == pytest.approx(0.025, rel=1e-6)
    assert proportion_interval(0, 5)[0] == 0
    assert proportion_interval(5, 5)[1] == 1


def test_the_interval_of_a_median_is_made_of_order_statistics() -> None:
    x = np.arange(15.0)
    # 2 P[Bin(15, 1/2) <= 2] = 0.0074, and 0.035 for 3.
    assert median_interval(x[::-1], 0.99) == (2.0, 12.0)
    assert median_interval(x[:8], 0.99) == (0.0, 7.0)
    assert median_interval(x[:7], 0.99) == (-math.inf, math.inf)
    # 2 P[Bin(2, 1/2) <= 0] is 1/2 exactly.
    assert median_interval(x[:2], 0.5) == (0.0, 1.0)
    draws = np.random.default_rng(0).exponential(size=(400, 25))
    assert sum(not low <= math.log(2) <= high for low, high in map(median_interval, draws)) < 20


# Three outcomes


@given(st.floats(-5, 5), st.floats(0, 5), st.floats(-5, 5), st.floats(0.01, 5))
def test_an_interval_decides_what_all_of_it_says(low: float, width: float, claimed: float, tolerance: float) -> None:
    high = low + width
    obeys = [abs(x - claimed) <= tolerance for x in (low, high, min(max(claimed, low), high))]
    found = within(low, high, claimed, tolerance)
    assert found.holds is (True if all(obeys) else None if any(obeys) else False)
    assert (found.slack >= 1) == (found.holds is True)


@given(st.floats(0, 5), st.floats(0, 5), st.floats(0.01, 5))
def test_an_interval_against_a_bound(low: float, width: float, bound: float) -> None:
    high = low + width
    above, below = at_least(low, high, bound), at_most(low, high, bound)
    assert above.holds is (True if low >= bound else False if high < bound else None)
    assert below.holds is (True if high <= bound else False if low > bound else None)
    for found in (above, below):
        assert (found.slack >= 1) == (found.holds is True)


def test_outcomes_by_hand() -> None:
    assert within(-3.69, -1.75, -3.0, 0.4).holds is None
    assert within(-2.81, -2.67, -3.0, 0.4) == Outcome(True, pytest.approx(0.4 / 0.33))
    assert within(-2.5, -2.4, -3.0, 0.4) == Outcome(False, pytest.approx(0.4 / 0.5))
    assert within(math.nan, math.nan, 1.0, 0.1).holds is None
    assert within(-math.inf, math.inf, 1.0, 0.1).holds is None
    assert within(1.0, 1.0, 1.0, 0.1) == Outcome(True, math.inf)


def test_parts_of_a_claim_hold_together_or_one_refutes_it() -> None:
    held, failed, open_ended = exactly(True, 3.0), exactly(False, 0.5), Outcome(None, 0.1)
    assert together(held, exactly(True, 2.0)) == Outcome(True, 2.0)
    assert together(held, open_ended) == Outcome(None, 0.1)
    assert together(held, failed, open_ended) == Outcome(False, 0.5)
    assert exactly(True, 0.999).slack == 1
    assert exactly(False, 1.0).slack < 1


@pytest.mark.parametrize(
    "call",
    [
        lambda: proportion_interval(1, 2, 1.0),
        lambda: median_interval(np.zeros(9), 0.0),
    ],
)
def test_bad_input_is_reported_in_one_line(call) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError) as caught:
        call()
    assert "\n" not in str(caught.value)
