"""How many sign patterns classifiers with few errors have on some V = K'/2 of K' cells: 2^V C((1-a) K', V) / C(K', V),
which is between b^V and sqrt((1-a)/(1-2a)) b^V, b = (1-a) (2 (1-a)/(1-2a))^(1-2a).

For each of the 2^K' labellings some classifier is right on at least (1-a) K' cells, hence on C((1-a) K', V) sets of V
cells. So on some set of V cells a share C((1-a) K', V) / C(K', V) of the labellings is realized, and as 2^(K'-V) of
them agree on it, there are as many patterns. For four cells and one error that is decided for all 65,536 families of
patterns. The base b is Stirling's; it is verified in balls for K' up to `largest`, where the ratio of the count to b^V
stays between 1 and its limit sqrt((1-a)/(1-2a)). The published base 2 (1-2a) is smaller: each factor of the quotient is
at least the last one, which is at least 1 - 2a, both decided symbolically for all K' and a.

`robust-size` counts patterns on all K' cells instead, and needs neither V nor Sauer's lemma.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import combinations
from math import comb

import numpy as np
import sympy as sp
from flint import arb

from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.symbolic import decide

Base = Callable[[arb], arb]


def base(error: arb) -> arb:
    """(1-a) (2 (1-a)/(1-2a))^(1-2a)."""
    return (1 - error) * (2 * (1 - error) / (1 - 2 * error)) ** (1 - 2 * error)


def published_base_is_smaller() -> bool:
    """The quotient is at least (1-2a)^V, factor by factor, for all K' and a."""
    K, i, a, more = sp.symbols("K i a more", nonnegative=True)
    last = i + more  # V - 1
    falling = decide(((1 - a) * K - i) * (K - last) - ((1 - a) * K - last) * (K - i), {K: 0, i: 0, a: 0, more: 0})
    smallest = decide(((1 - a) * K - K / 2 + 1) - (1 - 2 * a) * (K / 2 + 1), {K: 0, a: 0})
    return bool(falling.holds and smallest.holds)


def least_patterns() -> int:
    """Over all families of patterns on 4 cells that come within one error of every labelling: the least number of
    patterns that such a family has on its richest pair of cells."""
    families = np.arange(1 << 16, dtype=np.uint32)
    covers = np.ones(len(families), dtype=bool)
    for y in range(16):
        near = sum(1 << q for q in range(16) if (q ^ y).bit_count() <= 1)
        covers &= (families & near) > 0
    families = families[covers]
    richest = np.zeros(len(families), dtype=int)
    for i, j in combinations(range(4), 2):
        on_pair = np.zeros(len(families), dtype=int)
        for bits in range(4):
            with_bits = sum(1 << p for p in range(16) if (p >> i & 1, p >> j & 1) == (bits & 1, bits >> 1))
            on_pair += (families & with_bits) > 0
        richest = np.maximum(richest, on_pair)
    return int(richest.min())


def check(*, largest: int = 400, law: Base = base, most: float = 1.0) -> Finding:
    """The families on 4 cells, the count in balls for K' up to `largest`, and the published base.

    Args:
        largest: largest number of cells K'; multiples of 20 are checked.
        most: claimed upper end of the count over b^V, over sqrt((1-a)/(1-2a)).
    """
    least, published = least_patterns(), published_base_is_smaller()
    wrong, open_at, ratio = "", "", arb(0)
    for K in range(20, largest + 1, 20):
        for error in (Fraction(1, 20), Fraction(1, 10), Fraction(1, 5)):
            a, half = arb(error.numerator) / error.denominator, K // 2
            patterns = arb(2**half * comb(int((1 - error) * K), half)) / comb(K, half)
            ratio = patterns / law(a) ** half
            limit = most * ((1 - a) / (1 - 2 * a)).sqrt()
            if ratio < 1 or ratio > limit:
                wrong = wrong or f"K' = {K}, a = {error}: {float(ratio):.4g} times b^V"
            elif not (ratio >= 1 and ratio <= limit):
                open_at = f"K' = {K}, a = {error}"
    counted = least * comb(4, 2) >= 2**2 * comb(3, 2)
    holds = None if open_at else not wrong and counted and published
    return Finding(
        holds=holds,
        slack=1.0 if holds else 0.0,
        tested=f"K' = 20, 40, ..., {largest} and a = 1/20, 1/10, 1/5 in balls; all families on 4 cells",
        bound="b^V <= patterns <= sqrt((1-a)/(1-2a)) b^V",
        measured=f"at a = 1/5 and K' = {largest} {float(ratio):.4f} b^V, limit {float(limit):.4f}; on 4 cells at least "
        f"{least} patterns",
        constant="at a = 1/10 b = 1.7218, where 2 (1-2a) is 1.6",
        counterexample=wrong or ("" if counted else f"{least} patterns on 4 cells"),
    )


CLAIM = Claim(
    statement="classifiers that err on a share a of K' cells have b^(K'/2) patterns on some K'/2 cells, "
    "b = (1-a) (2 (1-a)/(1-2a))^(1-2a), up to a factor sqrt((1-a)/(1-2a))",
    source="Li et al., NeurIPS 2022, arXiv:2205.13863, proof of Theorem 4.3, with base 2 (1-2a); sharp base here",
    tag="[D]",
    evidence="interval",
    check=check,
    hypotheses={"20 <= largest <= 20,000": lambda largest: 20 <= largest <= 20_000},
    deep={"largest": 4000},
    controls={
        "(2 (1-a))^(K'/2)": {"law": lambda a: 2 * (1 - a), "largest": 100},
        "the published base 2 (1-2a), as sharp": {"law": lambda a: 2 * (1 - 2 * a), "largest": 100},
    },
    constants={
        "base b, factor 1": Constant(lambda f: {"law": lambda a: f * base(a)}),
        "K'/2 in the exponent": Constant(lambda f: {"law": lambda a: base(a) ** f}),
        "2 (1-a)/(1-2a)": Constant(
            lambda f: {"law": lambda a: (1 - a) * (f * 2 * (1 - a) / (1 - 2 * a)) ** (1 - 2 * a)}
        ),
        "exponent (1-2a)": Constant(
            lambda f: {"law": lambda a: (1 - a) * (2 * (1 - a) / (1 - 2 * a)) ** (f * (1 - 2 * a))}
        ),
        "factor 1 of sqrt((1-a)/(1-2a))": Constant(
            lambda f: {"most": f}, refuted=(0.95,), otherwise="a larger upper end is a weaker claim"
        ),
    },
)
