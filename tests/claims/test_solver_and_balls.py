"""Proofs about networks by z3, and comparisons of balls: what is true, what is false, and what they cannot tell."""

from __future__ import annotations

import os
import signal
import time
from fractions import Fraction
from threading import Timer

import numpy as np
import pytest
import z3
from flint import arb, ctx
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cgro.base.norms import Norm
from cgro.claims.balls import beta_cdf, beta_sf, certainly_less, quantile, scan_balls
from cgro.claims.solver import all_of, finding, in_ball, outputs, prove
from cgro.claims.symbolic import Decision
from cgro.networks.exact import ExactNetwork
from cgro.networks.relu import ReluNetwork


def drawn(seed: int) -> ExactNetwork:
    rng = np.random.default_rng(seed)
    return ExactNetwork.of(
        ReluNetwork.of([(rng.normal(size=(b, a)), rng.normal(size=b)) for a, b in [(2, 4), (4, 3), (3, 1)]])
    )


def test_a_signal_stops_the_solver_and_is_not_lost() -> None:
    """Left alone, z3 takes Ctrl-C for itself, answers that it cannot tell, and everything goes on."""
    a, b, c = numbers = z3.Ints("a b c")
    cubes = a**3 + b**3 + c**3 != 114
    bounded = [z3.And(v > -(10**5), v < 10**5) for v in numbers]
    timer = Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        prove(cubes, *bounded, seconds=60)
    assert time.monotonic() - began < 30
    assert prove(cubes, *bounded, seconds=0.1).holds is None


@given(st.integers(0, 10**6), st.booleans())
def test_terms_are_the_network(seed: int, boxed: bool) -> None:
    network, x = drawn(seed), [Fraction(1, 3), Fraction(-2, 7)]
    box = [(v - Fraction(1, 2), v + Fraction(1, 4)) for v in x] if boxed else []
    (value,) = outputs(network, z3.Reals("a b"), box)
    known = [(z3.Real(name), z3.Q(v.numerator, v.denominator)) for name, v in zip("ab", x, strict=True)]
    at = z3.simplify(z3.substitute(value, *known))
    assert at.as_fraction() == network.evaluate(x)[0]


@pytest.mark.parametrize("norm", ["1", "2", "inf"])
def test_a_ball_is_its_formula(norm: Norm) -> None:
    x = z3.Reals("a b")
    within, box = in_ball(x, np.array([1.0, -1.0]), norm, 0.5)
    assert box == [(Fraction(1, 2), Fraction(3, 2)), (Fraction(-3, 2), Fraction(-1, 2))]
    largest = {"1": 0.5, "2": 0.8, "inf": 1.0}[norm]
    assert prove(x[0] + x[1] <= largest, within).holds
    assert prove(x[0] + x[1] <= largest - 0.2, within).holds is False


def test_parts_hold_together_and_the_first_failure_is_named() -> None:
    good, bad, unsure = Decision(True), Decision(False, "x = 1"), Decision(None)
    assert all_of({"a": good, "b": good}).holds
    assert all_of({"a": unsure, "b": bad}) == Decision(False, "b: x = 1")
    assert all_of({"a": good, "b": unsure}).holds is None
    found = finding({"a": good, "b": bad}, tested="-", bound="-")
    assert (found.holds, found.slack, found.measured) == (False, 0.0, "1 of 2 statements proved")


@given(st.floats(0.01, 0.99), st.integers(1, 60), st.integers(1, 60))
def test_beta_balls_contain_the_law(x: float, k: int, rest: int) -> None:
    law = stats.beta(k / 2, rest / 2)
    assert float(beta_cdf(x, arb(k) / 2, arb(rest) / 2)) == pytest.approx(law.cdf(x), rel=1e-7, abs=1e-12)
    assert float(beta_sf(x, arb(k) / 2, arb(rest) / 2)) == pytest.approx(law.sf(x), rel=1e-7, abs=1e-12)
    low, high = quantile(arb(0.25), arb(k) / 2, arb(rest) / 2)
    assert low < high
    assert low == pytest.approx(law.ppf(0.25), rel=1e-7)


def test_a_comparison_takes_as_many_bits_as_it_needs() -> None:
    before = ctx.prec
    assert certainly_less(lambda: (arb(2).sqrt() ** 2, 2 + arb(2) ** -100)) is True
    assert certainly_less(lambda: (arb(2).sqrt() ** 2, 2 - arb(2) ** -100)) is False
    assert certainly_less(lambda: (arb(2).sqrt() ** 2, arb(2))) is None
    assert ctx.prec == before


def test_a_scan_of_balls_has_three_outcomes() -> None:
    held = scan_balls([1, 2, 3], lambda n: (arb(n), arb(6)))
    assert (held.holds, held.slack, held.tightest, held.counterexample) == (True, 2.0, 3, "")
    failed = scan_balls([1, 2, 3], lambda n: (arb(n), arb(2.5)))
    assert (failed.holds, failed.counterexample) == (False, "3")
    assert failed.slack < 1
    unsure = scan_balls([1, 2], lambda n: (arb(n).sqrt() ** 2, arb(n)))
    assert (unsure.holds, unsure.undecided) == (None, 1)
    with pytest.raises(ValueError, match="no case"):
        scan_balls([], lambda n: (arb(n), arb(n)))
