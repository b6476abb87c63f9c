"""Robust error of the CGRO classifier (c): L(f^) >= L(f_clean) - P[dist(X, {X_i}) <= 2 delta + gamma].

If X is farther than 2 delta + gamma from all training points, every X' in its ball is farther than delta + gamma,
where f^ = f_clean (b): so X is a robust error of both or of neither. Decided in dimension 1 in integers: the unit is
1/400, the label +1 everywhere, f_clean(x) = x + 1/2, training points are random, X is uniform on [-2, 1]. All
functions are piecewise linear with breakpoints at integers, so signs at integers decide robust errors. A smaller
coverage radius must fail on some training set.
"""

from __future__ import annotations

import numpy as np

from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Finding

UNIT, DELTA, GAMMA = 400, 40, 20
"""1, delta = 1/10 and gamma = 1/20 in units."""
SLOPE = 10
"""B, at least |f_clean|."""


def robust_errors(train: np.ndarray, gate: bool) -> np.ndarray:
    """Whether each X in [-2, 1] has a robust error under f^, or under f_clean."""
    x = np.arange(-2 * UNIT - DELTA, UNIT + DELTA + 1)
    clean = x + UNIT // 2
    if gate:
        # GAMMA times the sum S of soft indicators.
        s = np.clip(DELTA + GAMMA - np.abs(x[:, None] - train), 0, GAMMA).sum(axis=1)
        closing = SLOPE * UNIT // GAMMA * s
        value = np.maximum(clean - closing, 0) - np.maximum(-clean - closing, 0) + UNIT // GAMMA * s
    else:
        value = clean
    wrong = np.concatenate([[0], np.cumsum(value <= 0)])
    return wrong[2 * DELTA + 1 :] - wrong[: -2 * DELTA - 1] > 0


def check(*, sets: int = 200, reach: float = 1.0, seed: int = 0) -> Finding:
    """Robust errors of f^ and f_clean for random training sets on the line.

    Args:
        sets: training sets of 1 to 5 points.
        reach: the coverage radius is reach times 2 delta + gamma.
        seed: seed of the sets.
    """
    generator = np.random.default_rng(seed)
    x = np.arange(-2 * UNIT, UNIT + 1)
    clean = int(robust_errors(np.zeros(0), gate=False).sum())
    radius = reach * (2 * DELTA + GAMMA)
    cases = [tuple(sorted(generator.integers(-2 * UNIT, UNIT, 1 + k * 5 // sets).tolist())) for k in range(sets)]

    def bound_and_error(train: tuple[int, ...]) -> tuple[int, int]:
        covered = int((np.abs(x[:, None] - np.array(train)).min(axis=1) <= radius).sum())
        return clean - covered, int(robust_errors(np.array(train), gate=True).sum())

    found = scan(cases, bound_and_error)
    needed = max(_radius_needed(x, train, clean - bound_and_error(train)[1]) for train in cases) / (2 * DELTA + GAMMA)
    gap = min(error - bound for bound, error in map(bound_and_error, cases))
    return Finding(
        holds=found.holds,
        slack=found.slack,
        tested=f"{sets} training sets on a line, {len(x)} test points, delta = 1/10, gamma = 1/20",
        bound=f"L(f_clean) - P[dist <= {reach:g} (2 delta + gamma)]",
        measured=f"smallest surplus {gap} of {len(x)} test points; f_clean has robust errors on {clean}",
        constant=f"on these sets {needed:.2f} (2 delta + gamma) would suffice",
        counterexample="training points " + ", ".join(f"{t / UNIT:g}" for t in found.violation)
        if found.violation
        else "",
    )


def _radius_needed(x: np.ndarray, train: tuple[int, ...], saved: int) -> int:
    """The smallest radius that covers as many test points as f^ has fewer robust errors than f_clean."""
    distances = np.sort(np.abs(x[:, None] - np.array(train)).min(axis=1))
    return int(distances[saved - 1]) if saved > 0 else 0


CLAIM = Claim(
    statement="robust error of f^ >= robust error of f_clean - P[dist(X, training points) <= 2 delta + gamma]",
    source="derived here, for Li & Li, ICML 2025, arXiv:2306.01271, Theorem 4.4",
    tag="[D]",
    evidence="exact",
    check=check,
    hypotheses={"sets >= 1": lambda sets: sets >= 1, "reach >= 0": lambda reach: reach >= 0},
    deep={"sets": 2000},
    controls={
        "no coverage term": {"reach": 0.0, "sets": 100},
        "within half of delta": {"reach": 0.2, "sets": 100},
    },
)
