"""The recalled best constant 0.0846 in place of 0.05 is wrong: Sauer's lemma does not give it.

Already for a few hundred cells sum_{i <= 0.0846 K'} C(K', i) exceeds 1.6^(K'/2), so that many patterns do not force a
VC dimension of 0.0846 K'. Right is 0.0629, from H(s) = log2(1.6) / 2. With the number of patterns itself in place of
its bound 1.6^(K'/2), s = 0.077 would be reached; 0.0846 is not reached either way.
"""

from __future__ import annotations

from cgro.claim import Claim, Finding
from proofs_check.lower_bounds import sauer_constant


def check(*, share: float = 0.0846, largest: int = 1000) -> Finding:
    """As `sauer_constant`, at the recalled constant.

    Args:
        share: claimed share s of cells that are shattered.
        largest: cells K' up to this, multiples of 20.
    """
    return sauer_constant.check(share=share, largest=largest)


CLAIM = Claim(
    statement="from 1.6^(K'/2) patterns Sauer's lemma gives a VC dimension of 0.0846 K'",
    source="recalled as the best constant for Li et al., NeurIPS 2022, Theorem 4.3 (K13)",
    tag="[R]",
    evidence="interval",
    check=check,
    known_wrong="0.0629 K'",
    hypotheses={"0 < share < 1/2": lambda share: 0 < share < 0.5, "largest >= 20": lambda largest: largest >= 20},
    deep={"largest": 4000},
    controls={"0.0629": {"share": 0.0629, "largest": 1000}},
)
