"""Farther than 2 delta + gamma from all training points f^ and f_clean have the same robust errors (c); so the robust
error of f^ is at least that of f_clean minus the probability of the rest.

If x is farther than 2 delta + gamma from all x_i, every x' in its ball is farther than delta + gamma, by the triangle
inequality, and there f^ = f_clean: read from the weights of built networks for all points of the space, as in the
claim robust-training. No smaller radius will do: around a linear f_clean whose only errors in the ball of x, a point
of label +1, are those nearest to a training point of the same label, f_clean has a robust error at x, and z3 proves
that the built f^ is positive on all of its ball. Nor will shared parts in l_2, the library's default, which hold only
in the domain that they are built for: beyond it, around f_clean = -1/2, f^ is positive on the ball of a point of label
+1.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import z3

from cgro.base.norms import Norm
from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import in_ball, outputs, prove
from cgro.memorizers.indicators import Parts
from cgro.memorizers.task import Memorizer
from cgro.networks.exact import ExactNetwork
from cgro.networks.relu import ReluNetwork

from .common import NORMS, classifier, far_example, gate, power, random_classifier, read

DELTA, GAMMA = 1.0, 0.25
"""Of the tight example."""
LITTLE = Fraction(1, 2**20)
CASES: tuple[tuple[Norm, int], ...] = (("1", 1), ("2", 1), ("inf", 1), ("1", 2), ("2", 2), ("inf", 2))
"""Norms and dimensions of the tight examples."""


def proved(built: Memorizer, factor: Fraction, share: Fraction) -> bool:
    """f^ = f_clean on the balls of all points farther than factor delta + share gamma from all training points."""
    reading, c, zero = read(built), z3.Real("c"), z3.RealVal(0)
    rest = (factor - 1) * Fraction(built.task.radius) + share * Fraction(built.options["shell"])
    far = rest >= 0 and max(reading.closes) <= power(built.task.norm, rest)
    return bool(far and prove(gate(reading, c, zero, zero) == c).holds)


def saved(norm: Norm, dim: int, reach: Fraction) -> bool:
    """Whether a point x of label +1, farther than `reach` from both training points, has a robust error under f_clean
    alone."""
    # x = distance e_1, its ball begins at `nearest` e_1, and f_clean is negative only next to that.
    distance = Fraction(float(reach + LITTLE))
    nearest = distance - Fraction(DELTA)
    clean = ReluNetwork.of([(np.eye(1, dim), np.array([-float(nearest + LITTLE)]))])
    points = np.vstack([np.zeros(dim), 16 * np.eye(1, dim)])
    built = classifier(points, np.array([1, -1]), norm, DELTA, clean, GAMMA)
    z = z3.Reals(" ".join(f"z{k}" for k in range(dim)))
    ball, box = in_ball(z, float(distance) * np.eye(1, dim)[0], norm, DELTA)
    value = outputs(ExactNetwork.of(built.float_network), z, box)[0]
    return bool(nearest + Fraction(float(clean.biases[0][0])) < 0 and prove(value > 0, ball).holds)


def saved_far_away(parts: Parts) -> bool:
    """Whether f^ is positive on all of the ball of the far point x, taken to be of label +1, and f_clean is not."""
    built, (x,) = far_example(parts)
    (z,) = z3.Reals("z")
    ball, box = in_ball([z], np.array([float(x)]), "2", built.task.radius)
    clean, value = (outputs(ExactNetwork.of(net), [z], box)[0] for net in (built.options["clean"], built.float_network))
    return bool(prove(z3.And(clean < 0, value > 0), ball).holds)


def check(*, cases: int = 2, seed: int = 0, factor: float = 2.0, share: float = 1.0, parts: Parts = "own") -> Finding:
    """Built classifiers of random points around random clean networks, and the tight ones, in three norms.

    Args:
        cases: random classifiers for each norm.
        seed: seed of the classifiers.
        factor: claimed factor of delta.
        share: claimed factor of gamma.
        parts: of the indicators in l_2 in the example of a far point, 'own' or 'shared'.
    """
    numbers = Fraction(factor), Fraction(share)
    built = [random_classifier(norm, case, seed) for norm in NORMS for case in range(cases)]
    done = [proved(m, *numbers) for m in built]
    reach = numbers[0] * Fraction(DELTA) + numbers[1] * Fraction(GAMMA)
    wrong = [
        f"l_{norm}, D = {dim}, delta = 1, gamma = 1/4: training points 0 and 16 e_1, x = {float(reach):.4g} e_1, "
        f"f_clean = x_1 - {float(reach) - 1:.4g}"
        for norm, dim in CASES
        if saved(norm, dim, reach)
    ]
    if saved_far_away(parts):
        wrong.append("l_2, D = 1, delta = 0.3, gamma = 0.1: training points 0 and 1, x = -4, f_clean = -1/2")
    nearer = Fraction(999, 1000) * (2 * Fraction(DELTA) + Fraction(GAMMA))
    needed = 0 if wrong else sum(saved(norm, dim, nearer) for norm, dim in CASES)
    return Finding(
        holds=False if wrong else True if all(done) else None,
        slack=1.0 if all(done) and not wrong else 0.0,
        tested=f"{len(built)} built classifiers in three norms, D = 1 to 8: all points of the space",
        bound=f"the same robust errors at distances > {factor:g} delta + {share:g} gamma",
        measured=f"{sum(done)} proved; at 0.999 (2 delta + gamma) they differ in {needed} of {len(CASES)} examples",
        counterexample=wrong[0] if wrong else "",
    )


CLAIM = Claim(
    statement="if training points of opposite labels are at least 2 delta + gamma apart, the CGRO classifier f^ built "
    "around f_clean, for all of R^D, has a robust error wherever f_clean has one farther than 2 delta + gamma from all "
    "of them, so its robust error is at least that of f_clean minus P[dist <= 2 delta + gamma]; in l_2 with indicators "
    "of own parts",
    source="derived here, for Li & Li, ICML 2025, arXiv:2306.01271, Theorem 4.4",
    tag="[D]",
    evidence="exact",
    check=check,
    hypotheses={
        "cases >= 1": lambda cases: cases >= 1,
        "1 <= factor <= 4": lambda factor: 1 <= factor <= 4,
        "0 <= share <= 4": lambda share: 0 <= share <= 4,
        "parts is 'own' or 'shared'": lambda parts: parts in ("own", "shared"),
    },
    constants={
        "2 delta + gamma apart": Constant(
            None, refuted=(), otherwise="a hypothesis: the library builds no such classifier for points nearer together"
        ),
        "2 delta": Constant(
            lambda factor: {"factor": 2 * factor}, refuted=(0.95,), otherwise="a larger radius is a weaker claim"
        ),
        "gamma": Constant(
            lambda factor: {"share": factor}, refuted=(0.95,), otherwise="a larger radius is a weaker claim"
        ),
    },
    deep={"cases": 30},
    controls={
        "within 1.9 delta + gamma": {"factor": 1.9, "cases": 1},
        "within 2 delta": {"share": 0.0, "cases": 1},
        "within delta + gamma": {"factor": 1.0, "cases": 1},
        "with shared parts in l_2": {"parts": "shared", "cases": 1},
    },
)
