"""The CGRO classifier f^ has robust training error 0 around any f_clean (a), and is f_clean outside the shells (b), for
every point of the space.

For each built network the distances at which indicators open and close are read from its weights: s_i = 1 on the whole
ball of radius delta, and s_i = 0 from delta + gamma on, so on a ball the indicators of the other label vanish. What
remains is the gate as a function of c and of the two sums of indicators, where z3 decides for all real values that

    y f^ >= 1   if T_y >= 1, T_-y = 0 and |c| <= B,       f^ = c   if T_+ = T_- = 0

and that for every |c| > B some sign of c makes y f^ < 1 where T_y = 1: B is the largest bound, unless all points of a
label lie in balls of others. The margin is attained at the center
of a ball, and smaller shells and larger balls are refuted by a point at which the network is evaluated exactly. So is
(b) in l_2 for indicators with shared parts, the library's default, which hold only in the domain that they are built
for.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import z3

from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import prove
from cgro.memorizers.indicators import Parts
from cgro.memorizers.task import Memorizer
from cgro.networks.exact import ExactNetwork

from .common import NORMS, Exact, Reading, exact, far_example, gate, measure, power, random_classifier, read


def proved(built: Memorizer, reading: Reading, ball: Fraction, away: Fraction, margin: Fraction) -> bool:
    """Both statements on all of the space, except that |c| <= B is left to `bound_is_exact`."""
    norm, task = built.task.norm, built.task
    x, y = [exact(p) for p in task.data.points], task.data.labels
    apart = all(
        measure(norm, [a - b for a, b in zip(x[i], x[j], strict=True)]) >= power(norm, ball + away)
        for i in range(len(x))
        for j in range(i)
        if y[i] != y[j]
    )
    around = min(reading.opens) >= power(norm, ball) and max(reading.closes) <= power(norm, away)
    c = z3.Real("c")
    same = prove(gate(reading, c, z3.RealVal(0), z3.RealVal(0)) == c)
    return bool(apart and around and margin <= 1 and same.holds)


def bound_is_exact(reading: Reading, share: Fraction) -> tuple[bool, str]:
    """Whether the gate holds for |c| <= share B, and fails for every larger |c| of the wrong sign."""
    c, t = z3.Reals("c t")
    limit = z3.Q(*(share * reading.bound).as_integer_ratio())
    zero = z3.RealVal(0)
    closed = [
        prove(gate(reading, c, t, zero) <= -1, t >= 1, c <= limit, c >= -limit),
        prove(gate(reading, c, zero, t) >= 1, t >= 1, c <= limit, c >= -limit),
    ]
    broken = [
        prove(gate(reading, c, z3.RealVal(1), zero) > -1, c > limit),
        prove(gate(reading, c, zero, z3.RealVal(1)) < 1, c < -limit),
    ]
    wrong = next((d.counterexample for d in (*closed, *broken) if d.holds is False), "")
    return all(d.holds is True for d in (*closed, *broken)), wrong


def probes(built: Memorizer, distance: Fraction) -> Iterator[tuple[int, Exact, bool]]:
    """Points at this distance from x_i along axes, and whether they are no nearer to any other point."""
    norm, x = built.task.norm, [exact(p) for p in built.task.data.points]
    for i, center in enumerate(x):
        for k in range(2 * len(center)):
            z = [v + (1 - 2 * (k % 2)) * distance * (j == k // 2) for j, v in enumerate(center)]
            far = all(measure(norm, [a - b for a, b in zip(z, p, strict=True)]) >= power(norm, distance) for p in x)
            yield i, z, far


def counterexample(built: Memorizer, ball: Fraction, away: Fraction, margin: Fraction) -> str:
    """A point of a ball of too small a margin, or one farther than `away` where f^ differs from f_clean; or nothing."""
    network, clean = ExactNetwork.of(built.float_network), ExactNetwork.of(built.options["clean"])
    labels, where = built.task.data.labels, f"l_{built.task.norm}, D = {built.task.data.dim}"
    for distance in (ball, Fraction(0)):
        for i, z, _ in probes(built, distance):
            if int(labels[i]) * network.evaluate(z)[0] < margin:
                return f"{where}: margin {float(int(labels[i]) * network.evaluate(z)[0]):.4g} in the ball of point {i}"
    for i, z, far in probes(built, away):
        if far and network.evaluate(z) != clean.evaluate(z):
            return f"{where}: f^ is not f_clean at distance {float(away):.4g} from point {i}"
    return ""


def differs_far_away(parts: Parts) -> str:
    """Whether f^ is not f_clean at the far point of the example, in words; or nothing."""
    built, x = far_example(parts)
    found, clean = (ExactNetwork.of(net).evaluate(x)[0] for net in (built.float_network, built.options["clean"]))
    return "" if found == clean else f"l_2, D = 1, training points 0 and 1, x = {x[0]}: f^ is {found}, f_clean {clean}"


def check(
    *,
    cases: int = 2,
    seed: int = 0,
    margin: float = 1.0,
    share: float = 1.0,
    ball: float = 1.0,
    away: float = 1.0,
    parts: Parts = "own",
) -> Finding:
    """Built classifiers of random points, dimensions, radii, shells and clean networks in three norms.

    Args:
        cases: classifiers for each norm.
        seed: seed of the cases.
        margin: claimed margin on the balls.
        share: claimed bound of |f_clean|, as a share of B.
        ball: claimed radius of the balls, as a share of delta.
        away: distance from which f^ = f_clean is claimed, as a share of delta + gamma.
        parts: of the indicators in l_2 in the example of a far point, 'own' or 'shared'.
    """
    wrong, open_ended, opened = "", False, []
    for case in range(cases):
        for norm in NORMS:
            built = random_classifier(norm, case, seed)
            reading = read(built)
            radius, shell = Fraction(built.task.radius), Fraction(built.options["shell"])
            claimed = radius * Fraction(ball), (radius + shell) * Fraction(away), Fraction(margin)
            exact_bound, bad = bound_is_exact(reading, Fraction(share))
            done = proved(built, reading, *claimed) and exact_bound
            if not done and not wrong:
                wrong = f"l_{norm}, B = {float(reading.bound):.4g}: {bad}" if bad else counterexample(built, *claimed)
                open_ended |= not wrong
            opened.append(float(max(reading.closes) / power(norm, radius + shell)))
    wrong = wrong or differs_far_away(parts)
    holds = False if wrong else None if open_ended else True
    return Finding(
        holds=holds,
        slack=1.0 if holds else 0.0,
        tested=f"{len(opened)} built classifiers, D = 1 to 8, N = 2 to 9, in three norms: all points of the space",
        bound=f"margin {margin:g} on the balls; f^ = f_clean from delta + gamma on",
        measured=f"indicators vanish from {max(opened):.6f} (delta + gamma) on (squared in l_2)",
        counterexample=wrong,
    )


CLAIM = Claim(
    statement="if training points of opposite labels are at least 2 delta + gamma apart, the CGRO classifier f^ built "
    "around f_clean, for all of R^D, has margin 1 on their delta-balls if |f_clean| <= B there, not always for a bound "
    "larger than its weight B, and is f_clean at all distances >= delta + gamma from them; in l_2 with indicators of "
    "own parts",
    source="Li & Li, ICML 2025, arXiv:2306.01271, Lemma 4.5 and Theorem 4.4; statements a and b derived here",
    tag="[D]",
    evidence="exact",
    check=check,
    hypotheses={
        "cases >= 1": lambda cases: cases >= 1,
        "margin, share, ball and away > 0": lambda margin, share, ball, away: min(margin, share, ball, away) > 0,
        "parts is 'own' or 'shared'": lambda parts: parts in ("own", "shared"),
    },
    constants={
        "2 delta + gamma apart": Constant(
            None, refuted=(), otherwise="a hypothesis: the library builds no such classifier for points nearer together"
        ),
        "margin 1": Constant(
            lambda factor: {"margin": factor}, refuted=(1.05,), otherwise="a smaller margin is a weaker claim"
        ),
        "the bound B": Constant(lambda factor: {"share": factor}),
        "delta, the radius of the balls": Constant(
            lambda factor: {"ball": factor}, refuted=(1.05,), otherwise="smaller balls are a weaker claim"
        ),
        "delta + gamma, where f_clean begins": Constant(
            lambda factor: {"away": factor}, refuted=(0.95,), otherwise="farther away is a weaker claim"
        ),
    },
    deep={"cases": 20},
    controls={
        "a clean network 5 % larger than B": {"share": 1.05, "cases": 1},
        "balls 5 % larger": {"ball": 1.05, "cases": 1},
        "f_clean from 0.95 (delta + gamma) on": {"away": 0.95, "cases": 1},
        "with shared parts in l_2": {"parts": "shared", "cases": 1},
    },
)
