"""How many sign patterns classifiers with few errors must have on some V = K'/2 of K' cells:
C(K', V)^-1 2^V C((1-a) K', V) >= (2 (1-2a))^V.

For each of the 2^K' labellings some classifier is right on at least (1-a) K' cells, hence on C((1-a) K', V) sets of V
cells. So on some set of V cells a share C((1-a) K', V) / C(K', V) of the labellings is realized, and as 2^(K'-V) of
them agree on it, there are as many patterns as stated. Sauer's lemma is then applied to that set (`sauer-constant`).

Each factor of C((1-a) K', V) / C(K', V) = prod_{i<V} ((1-a) K' - i) / (K' - i) is at least the last one,
((1/2 - a) K' + 1) / (K'/2 + 1), and that is at least 1 - 2a. Both inequalities are decided symbolically for all K' and
a >= 0; the statement is then verified in integers. K' is the number of cells of the grid family, a the share of cells
on which a classifier may err.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import comb, log2

import sympy as sp

from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Finding
from cgro.claims.symbolic import decide

Base = Callable[[Fraction], Fraction]


def base(error: Fraction) -> Fraction:
    """2 (1 - 2a), whose power K'/2 bounds the number of patterns."""
    return 2 * (1 - 2 * error)


def check(*, largest: int = 400, law: Base = base) -> Finding:
    """Both steps, and the statement in integers for K' up to `largest`.

    Args:
        largest: largest number of cells K'; multiples of 20 are checked.
    """
    K, i, a, more = sp.symbols("K i a more", nonnegative=True)
    last = i + more  # V - 1
    # Factors decrease in i: cross-multiplied, and the last one with V = K/2.
    falling = decide(((1 - a) * K - i) * (K - last) - ((1 - a) * K - last) * (K - i), {K: 0, i: 0, a: 0, more: 0})
    smallest = decide(((1 - a) * K - K / 2 + 1) - (1 - 2 * a) * (K / 2 + 1), {K: 0, a: 0})
    proved = bool(falling.holds and smallest.holds)
    errors = (Fraction(1, 20), Fraction(1, 10), Fraction(1, 5))
    cases = [(k, e) for k in range(20, largest + 1, 20) for e in errors]

    def power_and_patterns(case: tuple[int, Fraction]) -> tuple[Fraction, Fraction]:
        k, e = case
        half = k // 2
        return law(e) ** half, Fraction(2**half * comb(int((1 - e) * k), half), comb(k, half))

    found = scan(cases, power_and_patterns)
    k = cases[-1][0]
    patterns = power_and_patterns((k, Fraction(1, 10)))[1]
    rate = (log2(patterns.numerator) - log2(patterns.denominator)) / k
    return found.finding(
        "(K', a)",
        proof=proved,
        tested=f"all K' and a < 1/2; {found.count} cases in integers, K' up to {largest}",
        bound="(2 (1 - 2a))^(K'/2)",
        constant=f"at a = 1/10 and K' = {k} patterns grow as {4**rate:.4f}^(K'/2) in place of 1.6^(K'/2)",
    )


CLAIM = Claim(
    statement="classifiers that err on a share a of the cells have (2 (1-2a))^(K'/2) patterns on some K'/2 cells",
    source="Li et al., NeurIPS 2022, arXiv:2205.13863, proof of Theorem 4.3",
    tag="[S]",
    evidence="symbolic",
    check=check,
    hypotheses={"largest >= 20": lambda largest: largest >= 20},
    deep={"largest": 4000},
    controls={
        "(2 (1-a))^(K'/2)": {"law": lambda a: 2 * (1 - a), "largest": 100},
        "a base 20 % larger": {"law": lambda a: Fraction(6, 5) * base(a), "largest": 100},
    },
)
