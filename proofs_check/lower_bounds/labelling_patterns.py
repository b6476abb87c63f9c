"""Classifiers with few errors have at least 2^V C((1-a) K', V) / C(K', V) sign patterns on some V = K'/2 of K' cells,
which is between b^V and sqrt((1-a)/(1-2a)) b^V, b = (1-a) (2 (1-a)/(1-2a))^(1-2a), for all even K' and a K' < V an
integer.

For each of the 2^K' labellings some classifier is right on at least (1-a) K' cells, hence on C((1-a) K', V) sets of V
cells. So on some set of V cells a share C((1-a) K', V) / C(K', V) of the labellings is realized, and as 2^(K'-V) of
them agree on it, there are as many patterns (z3). For one error that is also decided for all families of patterns on
three and four cells; on three the count is attained, up to being no integer. There may be more patterns.

The base b is Stirling's. With phi(n) = ln n! - n ln n + n the logarithm of count / b^V is

    [phi(V) - phi(V - e)] - [phi(K') - phi(K' - e)],   e = a K' errors,

at least 0 since phi(n+1) - phi(n) = 1 - n ln(1 + 1/n) decreases. With theta(n) = phi(n) - ln(n) / 2 instead of phi it
is the logarithm of count / (sqrt((1-a)/(1-2a)) b^V), at most 0 since theta(n+1) - theta(n) = 1 - (n + 1/2) ln(1 + 1/n)
increases. Both slopes are decided by their second derivatives and limits (sympy), so that this holds for all K' and a.
If a K' is no integer there are at most floor(a K') errors, and b^V only grows, as b decreases in a. In balls the count
is compared with b^V for K' up to `largest` once more, which a wrong b or limit does not survive. The published base 2
(1-2a) is smaller: each factor of the quotient is at least the last one, which is at least 1 - 2a, both decided
symbolically for all K' and a.

`robust-size` counts patterns on all K' cells instead, and needs neither V nor Sauer's lemma.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import combinations, product
from math import ceil, comb

import numpy as np
import sympy as sp
import z3
from flint import arb

from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import prove
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


def count_is_enough() -> bool:
    """p C(K', V) >= 2^V C((1-a) K', V) for p patterns on the richest set, by counting pairs of a labelling and a
    set."""
    pairs, richest, p, few, many, on_set, rest = z3.Reals("pairs richest p few many on_set rest")
    # 2^K' = on_set * rest labellings; each is right on `few` of the `many` sets; `rest` of them agree on a set.
    given = (pairs >= on_set * rest * few, pairs <= many * richest, richest <= p * rest)
    return prove(p * many >= on_set * few, *given, rest > 0, many > 0, few > 0, on_set > 0, p > 0).holds is True


def between_base_and_limit() -> bool:
    """The slopes of phi and theta, that b is the base of the n ln n, and that it decreases in a."""
    x, a = sp.symbols("x a", positive=True)
    slope = sp.log(1 + 1 / x)
    signs = []
    for step, sign in ((x * slope, 1), ((x + sp.Rational(1, 2)) * slope, -1)):
        # The derivative tends to 0, and is monotone: so it has one sign.
        first, second = sp.diff(step, x), sp.factor(sp.simplify(sp.diff(step, x, 2)))
        signs.append((-sign * second).is_positive and sp.limit(first, x, sp.oo) == 0)
    # Per cell of V: K' = 2 V, e = 2 a V, and V ln V cancels.
    left = sp.log(2) + 2 * (1 - a) * sp.log(2 * (1 - a)) - (1 - 2 * a) * sp.log(1 - 2 * a) - 2 * sp.log(2)
    base = sp.log(1 - a) + (1 - 2 * a) * (sp.log(2) + sp.log(1 - a) - sp.log(1 - 2 * a))
    stirling = sp.simplify(sp.expand(sp.expand_log(left, force=True)) - sp.expand(base)) == 0
    slope_of_base = 2 * (sp.log(1 - 2 * a) - sp.log(2) - sp.log(1 - a))
    # (1 - 2 a) < 2 (1 - a), so that this is negative.
    falls = sp.simplify(sp.diff(base, a) - slope_of_base) == 0
    return bool(all(signs) and stirling and falls)


def least_patterns(cells: int, chosen: int) -> int:
    """Over all families of patterns on the cells that come within one error of every labelling: the least number of
    patterns that such a family has on its richest set of `chosen` cells."""
    patterns = range(1 << cells)
    families = np.arange(1 << (1 << cells), dtype=np.uint32)
    covers = np.ones(len(families), dtype=bool)
    for y in patterns:
        near = sum(1 << q for q in patterns if (q ^ y).bit_count() <= 1)
        covers &= (families & near) > 0
    families = families[covers]
    richest = np.zeros(len(families), dtype=int)
    for some in combinations(range(cells), chosen):
        on_some = np.zeros(len(families), dtype=int)
        for signs in product((0, 1), repeat=chosen):
            with_signs = sum(1 << p for p in patterns if all(p >> i & 1 == b for i, b in zip(some, signs, strict=True)))
            on_some += (families & with_signs) > 0
        richest = np.maximum(richest, on_some)
    return int(richest.min())


def counted(cells: int, chosen: int) -> Fraction:
    """2^V C(K' - 1, V) / C(K', V), one error."""
    return Fraction(2**chosen * comb(cells - 1, chosen), comb(cells, chosen))


def check(*, largest: int = 400, law: Base = base, most: float = 1.0) -> Finding:
    """The families on few cells, the count in balls for K' up to `largest`, and the published base.

    Args:
        largest: largest number of cells K'; multiples of 20 are checked.
        most: claimed upper end of the count over b^V, over sqrt((1-a)/(1-2a)).
    """
    published = published_base_is_smaller()
    proved = count_is_enough() and between_base_and_limit()
    least = {case: least_patterns(*case) for case in ((3, 1), (3, 2), (4, 2))}
    few = all(number >= counted(*case) for case, number in least.items())
    tight = all(least[case] == ceil(counted(*case)) for case in ((3, 1), (3, 2)))
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
    # A moved law that is certainly wrong somewhere is refuted, whatever is open elsewhere.
    holds = False if wrong or not (few and tight and published and proved) else None if open_at else True
    return Finding(
        holds=holds,
        slack=1.0 if holds else 0.0,
        tested=f"all even K' and a < 1/2; K' = 20, 40, ..., {largest} and a = 1/20, 1/10, 1/5 in balls; all families "
        "on "
        "3 and 4 cells",
        bound="b^V <= count <= sqrt((1-a)/(1-2a)) b^V, patterns >= count",
        measured=f"steps proved: {proved}; at a = 1/5 and K' = {largest} {float(ratio):.4f} b^V, limit "
        f"{float(limit):.4f}; patterns on "
        "few cells: "
        + ", ".join(f"{number} (count {counted(*case)}) on {case[1]} of {case[0]}" for case, number in least.items()),
        constant="at a = 1/10 b = 1.7218, where 2 (1-2a) is 1.6",
        counterexample=wrong or ("" if few and tight else f"patterns on few cells: {least}"),
    )


CLAIM = Claim(
    statement="classifiers of which, for every labelling of K' cells, K' even, one errs on at most a share a < 1/2 of "
    "them have at least b^(K'/2) patterns on some K'/2 cells, b = (1-a) (2 (1-a)/(1-2a))^(1-2a); for a K' an integer "
    "the count that shows it is at most sqrt((1-a)/(1-2a)) times that",
    source="Li et al., NeurIPS 2022, arXiv:2205.13863, proof of Theorem 4.3, with base 2 (1-2a); sharp base here",
    tag="[D]",
    evidence="symbolic",
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
        "factor 1 of sqrt((1-a)/(1-2a)), the limit of the count": Constant(
            lambda f: {"most": f}, refuted=(0.95,), otherwise="a larger upper end is a weaker claim"
        ),
    },
)
