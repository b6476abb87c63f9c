"""Robust classifiers of the grid family shatter 0.0895 K' cells (K13): the largest share, to three digits, that Sauer's
lemma gives for every K' from 1.6^(K'/2) patterns on K'/2 cells.

The patterns are those on some V = K'/2 cells (`labelling-patterns`), so Sauer's lemma applies to these V: if a class
had VC dimension at most s K' there, it would have sum_{i <= s K'} C(V, i) <= 2^(V H(2 s)) patterns, H the binary
entropy. With H(2 s) < log2(1.6) that is fewer than 1.6^V, so the VC dimension exceeds s K'. Conversely Sauer's sum is
at least 2^(V H(2 s)) / (V + 1) at multiples of 1/V, so with H(2 s) > log2(1.6) it exceeds 1.6^V for large V, and
nothing follows. Both bounds of binomial sums are decided by z3, term by term: the first as in `robust-size`, the second
because of the V + 1 terms C(V, i) a^i (1 - a)^(V - i), which add up to 1, the one at i = a V is the largest. The share
where H(2 s) = log2(1.6) is enclosed in balls; the sums are compared in integers, too.

(e V / d)^d in place of the sum gives 0.0846 K', and the sharp base of `labelling-patterns` in place of 1.6 gives
0.1167 K'. The published constant is 0.05 K'. `robust-size` does without the VC dimension.
"""

from __future__ import annotations

from math import comb

import z3
from flint import arb

from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import prove
from cgro.memorizers.grid_bounds import shattered_share

from .robust_size import entropy_bounds_sums


def entropy_gap(share: float, base: float) -> arb:
    """log2(base) - H(2 s), a ball."""
    s = 2 * arb(share)
    return (arb(base).log() + s * s.log() + (1 - s) * (1 - s).log()) / arb(2).log()


def largest_term() -> bool:
    """The terms C(V, i) a^i (1 - a)^(V - i) rise up to i = a V and fall beyond: their quotients are at least, at most
    1."""
    i, half, a = z3.Reals("i V a")
    up, down = (half - i) * a, (i + 1) * (1 - a)
    domain = (a > 0, a < 1, half > 0)
    rises = prove(up >= down, i + 1 <= a * half, *domain)
    return rises.holds is True and prove(up <= down, i >= a * half, *domain).holds is True


def sauer_and_patterns(cells: int, share: float) -> tuple[int, int]:
    """(sum_{i <= s K'} C(V, i)) 5^V and 8^V - 1, V = K'/2: the first is at most the second iff the sum is below
    1.6^V."""
    half = cells // 2
    total = sum(comb(half, i) for i in range(int(share * cells) + 1))
    return total * 5**half, 8**half - 1


def check(*, share: float = 0.0895, base: float = 1.6, largest: int = 1000) -> Finding:
    """The entropies for all K', and the sums in integers.

    Args:
        share: claimed share s of cells that are shattered, the largest to three digits.
        base: claimed base of the number of patterns.
        largest: largest number of cells K'; multiples of 20 are checked.
    """
    follows, beyond = entropy_gap(share, base), entropy_gap(share + 1e-4, base)
    found = scan(range(20, largest + 1, 20), lambda k: sauer_and_patterns(k, share))
    # The library's share is where the gap closes.
    best = shattered_share(0.1)
    closes = entropy_gap(best - 1e-9, 1.6) > 0 and entropy_gap(best + 1e-9, 1.6) < 0
    terms = entropy_bounds_sums() and largest_term()
    holds = terms and follows > 0 and beyond < 0 and closes and found.holds
    refuted = follows < 0 or beyond > 0 or not found.holds
    return Finding(
        holds=True if holds else False if refuted else None,
        slack=max(best / share, 1.0) if holds else min(best / share, share / best, 0.999),
        tested=f"all K' by entropies, in balls; integers for K' up to {largest}",
        bound=f"H(2 s) < log2({base:g}) <= H(2 (s + 0.0001))",
        measured=f"bounds of binomial sums proved: {terms}; gaps {float(follows):.2g} and {float(beyond):.2g}",
        constant=f"s = {best:.6f} is the largest that follows for every K'; the published one is 0.05",
        counterexample=(
            ""
            if not refuted
            else f"K' = {found.counterexample}"
            if not found.holds
            else "K' large"
            if follows < 0
            else f"s = {share + 1e-4:g} follows, too"
        ),
    )


CLAIM = Claim(
    statement="from 1.6^(K'/2) patterns on K'/2 cells Sauer's lemma gives a VC dimension of 0.0895 K', and no more",
    source="Li et al., NeurIPS 2022, arXiv:2205.13863, proof of Theorem 4.3, which states 0.05 K' (K13)",
    tag="[D]",
    evidence="interval",
    check=check,
    hypotheses={"0 < share < 1/4": lambda share: 0 < share < 0.25, "largest >= 20": lambda largest: largest >= 20},
    deep={"largest": 4000},
    controls={
        "0.09": {"share": 0.09, "largest": 100},
        "the published 0.05, as the largest": {"share": 0.05, "largest": 100},
        "0.1": {"share": 0.1, "largest": 200},
    },
    constants={
        "0.0895": Constant(lambda f: {"share": 0.0895 * f}),
        "1.6": Constant(lambda f: {"base": 1.6 * f}),
        "K'/2 patterns' exponent and cells": Constant(lambda f: {"base": 1.6**f}),
    },
)
