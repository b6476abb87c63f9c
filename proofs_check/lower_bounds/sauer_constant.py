"""Robust classifiers of the grid family shatter 0.0895 K' cells (K13): from 1.6^(K'/2) patterns by Sauer's lemma, for
every K'.

The patterns are those on some V = K'/2 cells (`labelling-patterns`), so Sauer's lemma applies to these V: if a class
had VC dimension at most s K' there, it would have sum_{i <= s K'} C(V, i) <= 2^(V H(2 s)) patterns, H the binary
entropy. With H(2 s) < log2(1.6) that is fewer than 1.6^V, so the VC dimension exceeds s K'. The inequality of
entropies is decided in interval arithmetic, and the sums in integers up to a few thousand cells.

H(2 s) = log2(1.6) at s = 0.08954, the largest share that follows for every K': Sauer's sum grows as 2^(V H(2 s)), so
a larger share has a counterexample. (e V / d)^d in place of the sum gives 0.08465 K'. The published constant is 0.05
K'.
"""

from __future__ import annotations

from math import comb

from mpmath import iv, mp

from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Finding
from cgro.memorizers.grid_bounds import shattered_share


def entropy_gap(share: float) -> iv.mpf:
    """log2(1.6) - H(2 s), an interval."""
    s = 2 * iv.mpf(share)
    h = -(s * iv.log(s) + (1 - s) * iv.log(1 - s)) / iv.log(2)
    return iv.log(iv.mpf(8) / 5) / iv.log(2) - h


def sauer_and_patterns(cells: int, share: float) -> tuple[int, int]:
    """(sum_{i <= s K'} C(V, i)) 5^V and 8^V, V = K'/2: the first is smaller iff the sum is below 1.6^V."""
    half = cells // 2
    total = sum(comb(half, i) for i in range(int(share * cells) + 1))
    return total * 5**half, 8**half - 1


def check(*, share: float = 0.0895, largest: int = 1000) -> Finding:
    """The entropy bound for all K', and the sums in integers.

    Args:
        share: claimed share s of cells that are shattered.
        largest: largest number of cells K'; multiples of 20 are checked.
    """
    gap = entropy_gap(share)
    cases = range(20, largest + 1, 20)
    found = scan(cases, lambda k: sauer_and_patterns(k, share))
    # The library's constant is where the gap closes.
    closes = abs(float(mp.mpf(entropy_gap(shattered_share(0.1)).a))) < 1e-9
    holds = bool(gap.a > 0) and closes and found.holds
    refuted = bool(gap.b < 0) or not found.holds
    best = shattered_share(0.1)
    return Finding(
        holds=True if holds else False if refuted else None,
        slack=best / share if holds else min(best / share, 0.999),
        tested=f"all K' by the entropy bound in interval arithmetic; integers for K' up to {largest}",
        bound="H(2 s) < log2(1.6)",
        measured=f"log2(1.6) - H(2 s) in [{float(gap.a):.6f}, {float(gap.b):.6f}]",
        constant=f"s = {best:.5f} is the largest that follows for every K'; the published one is 0.05",
        counterexample=f"K' = {found.counterexample}" if not found.holds else "K' large" if refuted else "",
    )


CLAIM = Claim(
    statement="from 1.6^(K'/2) patterns on K'/2 cells Sauer's lemma gives a VC dimension of at least 0.0895 K'",
    source="Li et al., NeurIPS 2022, arXiv:2205.13863, proof of Theorem 4.3, which states 0.05 K' (K13)",
    tag="[D]",
    evidence="interval",
    check=check,
    hypotheses={"0 < share < 1/4": lambda share: 0 < share < 0.25, "largest >= 20": lambda largest: largest >= 20},
    deep={"largest": 4000},
    controls={
        "0.09": {"share": 0.09, "largest": 100},
        "5 % more": {"share": 1.05 * 0.0895},
        "0.1": {"share": 0.1, "largest": 200},
    },
)
