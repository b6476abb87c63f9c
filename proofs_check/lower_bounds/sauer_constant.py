"""Robust classifiers of the grid family shatter 0.05 K' cells (K13): from 1.6^(K'/2) patterns by Sauer's lemma, for
every K'.

If a class had VC dimension at most s K', Sauer's lemma would allow it sum_{i <= s K'} C(K', i) <= 2^(H(s) K')
patterns, H the binary entropy. With H(s) < log2(1.6) / 2 that is fewer than 1.6^(K'/2), so the VC dimension exceeds s
K'. H(0.05) < log2(1.6) / 2 is decided in interval arithmetic, and the sums in integers up to a few thousand cells.
The largest s with H(s) = log2(1.6) / 2 is 0.0629.
"""

from __future__ import annotations

from math import comb

from mpmath import iv, mp

from cgro.claim import Claim, Finding
from cgro.evidence.cases import scan
from cgro.networks.memorizers.grid_bounds import shattered_share


def entropy_gap(share: float) -> iv.mpf:
    """log2(1.6) / 2 - H(s), an interval."""
    s = iv.mpf(share)
    h = -(s * iv.log(s) + (1 - s) * iv.log(1 - s)) / iv.log(2)
    return iv.log(iv.mpf(8) / 5) / iv.log(2) / 2 - h


def sauer_and_patterns(cells: int, share: float) -> tuple[int, int]:
    """(sum_{i <= s K'} C(K', i))^2 5^K' and 8^K': the first is smaller iff the sum is below 1.6^(K'/2)."""
    total = sum(comb(cells, i) for i in range(int(share * cells) + 1))
    return total**2 * 5**cells, 8**cells


def check(*, share: float = 0.05, largest: int = 1000) -> Finding:
    """The entropy bound for all K', and integers.

    Args:
        share: claimed share s of cells that are shattered.
        largest: cells K' up to this, multiples of 20.
    """
    gap = entropy_gap(share)
    cases = range(20, largest + 1, 20)
    found = scan(cases, lambda k: sauer_and_patterns(k, share))
    # The library's constant is where the gap closes.
    closes = abs(float(mp.mpf(entropy_gap(shattered_share(0.1)).a))) < 1e-9
    proved = bool(gap.a > 0) and closes
    holds = proved and found.holds
    refuted = bool(gap.b < 0) or not found.holds
    return Finding(
        holds=True if holds else False if refuted else None,
        slack=shattered_share(0.1) / share if holds else min(shattered_share(0.1) / share, 0.999),
        tested=f"all K' by the entropy bound in interval arithmetic; integers for K' up to {largest}",
        bound="H(s) < log2(1.6) / 2",
        measured=f"log2(1.6) / 2 - H(s) in [{float(gap.a):.6f}, {float(gap.b):.6f}]",
        constant=f"s = {shattered_share(0.1):.4f} is the largest that the entropy bound gives",
        counterexample=f"K' = {found.counterexample}" if not found.holds else "",
    )


CLAIM = Claim(
    statement="from 1.6^(K'/2) patterns Sauer's lemma gives a VC dimension of at least 0.05 K'",
    source="Li et al., NeurIPS 2022, proof of Theorem 4.3 (K13)",
    tag="[S]",
    evidence="interval",
    check=check,
    hypotheses={"0 < share < 1/2": lambda share: 0 < share < 0.5, "largest >= 20": lambda largest: largest >= 20},
    deep={"largest": 4000},
    controls={"0.065": {"share": 0.065, "largest": 400}, "0.1": {"share": 0.1, "largest": 100}},
)
