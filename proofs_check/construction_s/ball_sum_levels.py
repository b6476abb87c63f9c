"""The number of levels of squares in construction S: m = max(1, ceil(log_4(2 k / gap)) - 1) makes the error at most
half the gap.

In the unit cube gap = lambda_t (lambda_t - 2 mu_t) and the error of k squares is k 4^-(m+1). Exactly, over rational
gaps:

    k 4^-(m+1) <= gap / 2,   and for m > 1 one level fewer would not suffice,

hence m <= max(1, log_4(2 k / gap)). The library's squares do err by 4^-(m+1) each, at t = 2^-(m+1), evaluated exactly.
The cube has side L and is placed separately in each coordinate. With Delta the
largest distance of points, a coordinate's range over all balls is at most Delta + 2 mu <= 2 Delta, so L <= 2 Delta,
and a projection to k of d dimensions is supposed to keep lambda'^2 >= k lambda^2 / (2 d), as some projection does
(`projection-dimension`); without one k = d and lambda' = lambda. Hence

    2 k / gap = 2 k L^2 / (lambda'^2 (1 - rho')) <= 16 d (Delta / lambda)^2 / (1 - rho'),

shown symbolically for every L in [0, 2 Delta], from 2 Delta = L + s and lambda'^2 = k lambda^2 / (2 d) + b, s and b
at least 0. With s = b = 0 both sides are equal, so no smaller factor or power follows from L <= 2 Delta, and two points
at rho -> 1 have L -> 2 Delta. Larger numbers are weaker claims. Then networks are built, with and without a projection,
from points far away in some coordinates, and their levels are compared with the bound. At small rho the library saves
dimensions by projections that keep less than that: these networks are left out, and counted among them the claim is
false.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
import sympy as sp

from cgro.base.norms import distances
from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.symbolic import decide
from cgro.data.separation import LabelledPoints, opposite_separation
from cgro.memorizers.ball_sum import levels, scaled
from cgro.memorizers.constructions import memorize
from cgro.memorizers.task import Memorizer, memorization_task
from cgro.networks.exact import ExactNetwork
from cgro.networks.gadgets import square

Law = Callable[[int, Fraction], int]
Built = tuple[str, int, float, float]
"""Construction, dimension D, ratio rho, and how far some coordinates lie from 0."""


def chosen(dim: int, gap: Fraction) -> int:
    """The library's m."""
    return levels(dim, float(gap))


@dataclass(frozen=True)
class Numbers:
    """Those of the bound."""

    factor: float = 16.0
    power: float = 2.0
    base: float = 4.0
    side: float = 2.0
    """Of the cube, over Delta."""
    kept: float = 2.0
    """lambda'^2 >= k lambda^2 / (kept d)."""


def level_bound(dim: int, spread: float, ratio: float, numbers: Numbers) -> float:
    """max(1, log_4(16 d (Delta / lambda)^2 / (1 - rho')))."""
    inside = numbers.factor * dim * spread**numbers.power / (1 - ratio)
    return max(1.0, math.log(inside, numbers.base))


def needed(numbers: Numbers) -> bool:
    """The error of a square is base^-(m+1); the largest cube, of two points at rho = 0.999, has no larger side than
    claimed; and 2 k (2 Delta)^2 / (k lambda^2 / (2 d)), with the largest cube and the smallest projected separation, is
    no larger than claimed."""
    errors = all(
        math.isclose(ExactNetwork.of(square(m)).evaluate([t])[0] - t**2, numbers.base ** -(m + 1), rel_tol=1e-9)
        for m, t in ((m, Fraction(1, 2 ** (m + 1))) for m in range(1, 5))
    )
    pair = memorization_task([[0.0], [1.0]], [-1, 1], "2", 0.999 / 2)
    side = 1 / float(scaled(pair).weight.max())
    largest = 2 * numbers.kept * 2.0**2
    return (
        errors
        and side <= numbers.side
        and all(largest * spread**2 <= numbers.factor * spread**numbers.power * (1 + 1e-9) for spread in (1, 10, 1000))
    )


CLAIMED = Numbers()


def built_cases(farthest: float) -> Iterator[Built]:
    """Networks to build: both constructions, several D and rho, at 0 and far away."""
    for name in ("ball_sum", "projected_ball_sum"):
        for dim in (1, 2, 5):
            for ratio in (0.001, 0.03, 0.3, 0.9, 0.99):
                for offset in (0.0, 10.0, farthest):
                    yield name, dim, ratio, offset
    yield "projected_ball_sum", 20, 0.001, 0.0


@lru_cache(maxsize=256)
def memorizer(case: Built, seed: int) -> Memorizer:
    """A task of 2 D + 2 random points; every second coordinate, counted from the last, is shifted by the offset."""
    name, dim, ratio, offset = case
    generator = np.random.default_rng([seed, dim])
    x = generator.uniform(size=(2 * dim + 2, dim))
    x[:, ::-2] += offset
    y = np.where(np.arange(len(x)) % 2, 1, -1)
    apart = opposite_separation(LabelledPoints(x, y), "2").distance
    return memorize(x, y, "2", ratio * apart / 2, construction=name)


def projected_separation(m: Memorizer) -> tuple[float, int]:
    """lambda' and k of a built network; without a projection lambda and D."""
    task, x = m.task, m.task.data.points
    if m.construction != "projected_ball_sum":
        return task.separation.distance, task.data.dim
    # The first layer is a multiple of orthonormal rows.
    rows = np.asarray(m.float_network.weights[0])
    rows = rows / np.linalg.norm(rows[0])
    return opposite_separation(LabelledPoints((x - x[0]) @ rows.T, task.data.labels), "2").distance, len(rows)


def span(m: Memorizer) -> int:
    """d: random points span as many dimensions as they can."""
    return min(m.task.data.dim, m.task.data.size - 1)


def keeps_enough(m: Memorizer, numbers: Numbers) -> bool:
    """lambda'^2 >= k lambda^2 / (2 d), up to rounding."""
    apart, k = projected_separation(m)
    return apart**2 * numbers.kept * span(m) >= k * m.task.separation.distance**2 * (1 - 1e-9)


def levels_and_bound(m: Memorizer, numbers: Numbers) -> tuple[int, float]:
    """The levels of a built network, read off its depth, and the bound, with rho' of the projected points."""
    x, taken = m.task.data.points, m.float_network.depth - 3 - (m.construction == "projected_ball_sum")
    ratio = 2 * m.task.radius / projected_separation(m)[0]
    spread = float(distances(x - x[0], x - x[0], "2").max()) / m.task.separation.distance
    return taken, level_bound(span(m), spread, ratio, numbers)


def check(
    *,
    largest_dim: int = 40,
    farthest: float = 1e4,
    seed: int = 0,
    law: Law = chosen,
    numbers: Numbers = CLAIMED,
    kept: Callable[[Memorizer, Numbers], bool] = keeps_enough,
) -> Finding:
    """The choice of m for dimensions and gaps 4^-a (1 + b/8), the bound on its argument, and built networks.

    Args:
        largest_dim: largest dimension; all from 1 on are tried.
        farthest: how far some coordinates of the points of built networks lie from 0.
        seed: seed of the points of built networks.
    """
    gaps = [Fraction(8 + b, 8 * 4**a) for a in range(10) for b in range(0, 24, 3)]
    cases = [(k, gap) for k in range(1, largest_dim + 1) for gap in gaps if gap <= k]

    def error_and_half_gap(case: tuple[int, Fraction]) -> tuple[Fraction, Fraction]:
        k, gap = case
        return k * Fraction(1, 4 ** (law(k, gap) + 1)), gap / 2

    enough = scan(cases, error_and_half_gap)
    wasteful = next(((k, g) for k, g in cases if law(k, g) > 1 and k * Fraction(1, 4 ** law(k, g)) <= g / 2), None)

    k, d, lam, L, s, b = sp.symbols("k d lambda L s b", nonnegative=True)
    Delta = (L + s) / sp.nsimplify(numbers.side)
    separation = k * lam**2 / (sp.nsimplify(numbers.kept) * d) + b
    # 2 k L^2 / separation <= factor d (Delta / lambda)^2, both over 1 - rho'.
    claim = sp.nsimplify(numbers.factor) * d * Delta**2 * separation - lam**2 * 2 * k * L**2
    bound = decide(claim, {k: 1, d: 1, lam: 0, L: 0, s: 0, b: 0})
    networks = [case for case in built_cases(farthest) if kept(memorizer(case, seed), numbers)]
    projected = sum(memorizer(case, seed).float_network.widths[0] < case[1] for case in networks if "proj" in case[0])
    built = scan(networks, lambda case: levels_and_bound(memorizer(case, seed), numbers))
    sharp = needed(numbers)
    holds = enough.holds and wasteful is None and bound.holds is True and built.holds and sharp
    return Finding(
        holds=holds,
        slack=min(enough.slack, built.slack)
        if bound.holds and wasteful is None and (sharp or not built.holds)
        else 0.0,
        tested=f"{enough.count} dimensions and rational gaps; the argument's bound for all k, d, lambda, Delta and L; "
        f"{built.count} networks, {projected} of them projected to fewer dimensions, rho >= .001, coordinates up to "
        f"{farthest:g}",
        bound="k 4^-(m+1) <= gap / 2; 2 k / gap <= 16 d (Delta / lambda)^2 / (1 - rho')",
        measured=f"tightest at (k, gap) = ({enough.tightest[0]}, {enough.tightest[1]}); no level can be spared; bound "
        f"is at least {built.slack:.3g} times the levels of networks",
        counterexample=enough.counterexample
        or (f"one level too many: {wasteful}" if wasteful else bound.counterexample)
        or built.counterexample
        or ("" if sharp else "an extreme case of the argument exceeds the claim"),
    )


WEAKER = "a larger bound is a weaker claim: Delta >= lambda"
CLAIM = Claim(
    statement="construction S in the per-coordinate cube, after a projection of d to k dimensions with lambda'^2 >= k "
    "lambda^2 / (2 d), or without one for points that span all dimensions (k = d), needs m <= max(1, log_4(16 d "
    "(Delta/lambda)^2 / (1 - rho'))) levels, d the span of the points, Delta their largest distance, rho' = 2 mu / "
    "lambda'",
    source="construction S",
    tag="[D]",
    evidence="exact",
    check=check,
    hypotheses={
        "largest_dim >= 1": lambda largest_dim: largest_dim >= 1,
        "0 <= farthest <= 1e5": lambda farthest: 0 <= farthest <= 1e5,
    },
    deep={"largest_dim": 300, "farthest": 1e5},
    controls={
        "one level fewer": {"law": lambda k, gap: max(1, chosen(k, gap) - 1), "largest_dim": 5},
        "one level more": {"law": lambda k, gap: chosen(k, gap) + 1, "largest_dim": 5},
        "15.2 instead of 16": {"numbers": Numbers(factor=15.2), "largest_dim": 5},
        "at small rho, after any projection that keeps balls apart": {
            "kept": lambda m, numbers: True,
            "largest_dim": 5,
        },
        "a cube of side 2.1 Delta": {"numbers": Numbers(side=2.1), "largest_dim": 5},
    },
    constants={
        "16 d": Constant(lambda f: {"numbers": Numbers(factor=16 * f)}, refuted=(0.95,), otherwise=WEAKER),
        "exponent 2 of Delta/lambda": Constant(
            lambda f: {"numbers": Numbers(power=2 * f)}, refuted=(0.95,), otherwise=WEAKER
        ),
        "base 4 of log_4": Constant(lambda f: {"numbers": Numbers(base=4 * f)}),
        "k lambda^2 / (2 d)": Constant(
            lambda f: {"numbers": Numbers(kept=2 * f)},
            refuted=(1.05,),
            otherwise="a projection that keeps more is a stronger hypothesis",
        ),
        "side 2 Delta of the cube": Constant(lambda f: {"numbers": Numbers(side=2 * f)}),
    },
)
