"""The weight of temporal ensembling over epochs: w_max exp(-5 (1 - (t - 90) / 60)^2) has the quoted values, rises,
and jumps once.

2.0 at epoch 90, 9.3 at 100, 32.5 at 110, 86 at 120, 172 at 130, 300 from 150, to the printed digits, in interval
arithmetic. w rises on the ramp: its derivative 10 w (1 - s) / (E_e - E_s) is >= 0 for s <= 1, decided symbolically.
It is continuous at the end but not at the start, where it jumps from 0 to w_max e^-5, 0.7 % of the largest weight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import sympy as sp
from mpmath import iv, mp

from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Finding
from cgro.training.ensembling import weight

QUOTED: dict[int, tuple[str, str]] = {
    90: ("2.0", "0.05"),
    100: ("9.3", "0.05"),
    110: ("32.5", "0.05"),
    120: ("86", "0.5"),
    130: ("172", "0.5"),
    150: ("300", "0.5"),
}
"""For each epoch the printed value and half a unit in its last digit."""


def rises() -> bool:
    """Derivative of exp(-5 (1 - s)^2) in s is 10 (1 - s) times it."""
    s, rest = sp.symbols("s rest", nonnegative=True)
    ramp = sp.exp(-5 * (1 - s) ** 2)
    derivative = sp.simplify(sp.diff(ramp, s) / ramp)
    return bool(sp.simplify(derivative - 10 * (1 - s)) == 0 and (10 * (1 - s)).subs(s, 1 - rest).is_nonnegative)


def check(*, steepness: float = 5.0, quoted: Mapping[int, tuple[str, str]] = QUOTED) -> Finding:
    """The quoted values in interval arithmetic, and the library's weight at them.

    Args:
        steepness: the factor in the exponent.
    """
    proved = rises()

    def distance_and_half_unit(epoch: int) -> tuple[float, float]:
        value, half = (iv.mpf(text) for text in quoted[epoch])
        w = 300 * iv.exp(-iv.mpf(steepness) * (1 - (iv.mpf(epoch) - 90) / 60) ** 2)
        return float(mp.mpf(abs(w - value).b)), float(mp.mpf(half.a))

    found = scan(sorted(quoted), distance_and_half_unit)
    same = all(abs(weight(t) - 300 * math.exp(-5 * (1 - (min(t, 150) - 90) / 60) ** 2)) < 1e-9 for t in range(90, 200))
    jump = weight(90.0) - weight(90.0 - 1e-9)
    return found.finding(
        "epoch",
        proof=proved and same,
        tested=f"epochs {', '.join(map(str, sorted(quoted)))}; the library at epochs 90 to 199",
        bound="half a unit of the last printed digit",
        measured=f"rises: {proved}; jump of {jump:.3g} at the start of the ramp",
    )


CLAIM = Claim(
    statement="the ramp 300 exp(-5 (1 - (t - 90) / 60)^2) takes the quoted values at epochs 90 to 150, and rises",
    source="Dong et al., ICLR 2022, arXiv:2106.01606, and the authors' code",
    tag="[S]",
    evidence="interval",
    check=check,
    hypotheses={"steepness > 0": lambda steepness: steepness > 0},
    controls={
        "a steepness of 4": {"steepness": 4.0},
        "a steepness of 6": {"steepness": 6.0},
    },
)
