"""Tiny radii need O~(sqrt N) parameters at fixed D: grids serve every data set at rho < 1 / (N sqrt D), with error 0,
and depth about 2 sqrt(2 M (W + 2)) at width 3 D + 1 or 10.

The paper's range is rho <= 1 / (5 N sqrt D). Cells of side lambda_inf >= lambda / sqrt D hold one label, and N
fractional parts leave a gap of 1 / N (check fractional-gap), so balls of radius lambda_inf / (2 N) fit. Networks of
random points are built at the paper's radius and certified on all balls, exactly: there every neuron is affine. On a
diagonal two points of different labels a cell apart share their fractional parts, so N - 1 parts remain: points with
equally spaced ones are served just below 1 / ((N-1) sqrt D), and refused above.
Depth: with M stored cells of W bits in groups of x it is n + 1 + 2 ceil(M / x) + x (W + 2). By the inequality of
arithmetic and geometric means that is at least n + 1 + 2 sqrt(2 M (W + 2)), and the best x, rounded up, takes at most W
+ 4 more: z3, for all real M, W and x. Built networks, and the library's plans for large M, lie between both.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache

import numpy as np
import z3

from cgro.base.errors import UserError
from cgro.certify.affine import affine_margins
from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import finding, prove
from cgro.claims.symbolic import Decision
from cgro.data.separation import LabelledPoints, opposite_separation
from cgro.measures.scaling import power_law
from cgro.memorizers.cells import Plan, fit_grid
from cgro.memorizers.constructions import memorize
from cgro.memorizers.task import Memorizer

PLANS = (10, 11, 12, 13, 14, 15, 16)
"""log2 of the numbers M of cells of the plans whose parameters are fitted."""


@cache
def totals_of_plans() -> list[int]:
    """All parameters of these plans, with 16 bits a cell."""
    return [Plan.best(2**e, 16, 1, 1, 1).size.total for e in PLANS]


def core(cells: int, bits: int, two: float = 2.0, under: float = 2.0, more: float = 2.0, root: float = 0.5) -> float:
    """2 sqrt(2 M (W + 2))."""
    return two * (under * cells * (bits + more)) ** root


def means() -> dict[str, Decision]:
    """2 M / x + x w >= 2 s for s^2 = 2 M w, and at most 2 s + w at the best x rounded up; q stands for M / x."""
    M, x, w, s, q, r = z3.Reals("M x w s q r")
    root = (s * s == 2 * M * w, s > 0, w > 0, M > 0)
    return {
        "at least": prove(2 * q + x * w >= 2 * s, *root, x > 0, q * x == M),
        # r = s / w is the best x.
        "at most": prove(2 * q + x * w <= 2 * s + w, *root, r * w == s, x >= r, x <= r + 1, q * x == M, q > 0),
    }


def built(samples: int, dim: int, ratio: float, seed: int) -> Memorizer:
    """A network for points whose coordinates are shuffled integers, moved a little."""
    generator = np.random.default_rng([seed, samples, dim])
    x = generator.permuted(np.tile(np.arange(samples), (dim, 1)), axis=1).T
    x = x + generator.integers(0, 128, size=x.shape) / 256
    y = np.where(np.arange(samples) % 2, 1, -1)
    radius = ratio * opposite_separation(LabelledPoints(x, y), "2").distance / 2
    return memorize(x, y, "2", radius, construction="grid_cells")


def certified(memorizer: Memorizer) -> Decision:
    """Whether the margin is 1/2 on all of each ball, exactly."""
    task = memorizer.task
    exact = affine_margins(
        memorizer.network,  # type: ignore[arg-type]
        task.data.points,
        task.data.labels,
        "2",
        task.radius,
        "sign",
    )
    return Decision(set(exact) == {Fraction(1, 2)}, f"{sum(v != Fraction(1, 2) for v in exact)} balls")


def served(samples: int, dim: int, reach: float, powers: tuple[float, float]) -> bool:
    """Whether the worst points on a diagonal are served at rho = reach / ((N-1) sqrt D): N - 1 of them, equally spaced
    over a cell, have one label, and one a cell farther the other."""
    t = np.array([*np.arange(samples - 1), 2 * samples - 3]) / (samples - 1)
    x, y = np.repeat(t[:, None], dim, axis=1), np.array([-1] * (samples - 1) + [1])
    ratio = reach / ((samples - 1) ** powers[0] * dim ** powers[1])
    radius = ratio * opposite_separation(LabelledPoints(x, y), "2").distance / 2
    try:
        memorize(x, y, "2", radius, construction="grid_cells")
    except UserError:
        return False
    return True


def random_served(samples: int, dim: int, ratio: float, seed: int) -> bool:
    """Whether random points are served at this ratio."""
    try:
        built(samples, dim, ratio, seed)
    except UserError:
        return False
    return True


def check(
    *,
    largest: int = 64,
    seed: int = 0,
    five: float = 5.0,
    reach: float = 1.0,
    samples_power: float = 1.0,
    dim_power: float = 0.5,
    two: float = 2.0,
    under: float = 2.0,
    more: float = 2.0,
    root: float = 0.5,
    rest: float = 4.0,
) -> Finding:
    """The depth for all M and W; networks, certified; the radii on both sides of the largest.

    Args:
        largest: largest N of the networks.
        seed: seed of their points.
        five: the 5 of rho <= 1 / (5 N sqrt D).
        reach: the numerator of rho < 1 / (N sqrt D), and of 1 / ((N-1) sqrt D).
        samples_power: the exponent of N there.
        dim_power: the exponent of D there.
        two: the factor of the root.
        under: the factor of M under it.
        more: what is added to W under it.
        root: the exponent 1/2 of the root.
        rest: what is added to W outside.
    """
    parts, sizes, totals, excess = means(), [], [], []

    def between(name: str, cells: int, bits: int, depth: float) -> None:
        least = core(cells, bits, two, under, more, root)
        excess.append(depth - least)
        parts[name] = Decision(least <= depth <= least + bits + rest, f"depth {depth:g} beyond n + 1, not {least:.4g}")

    for samples in (2**e for e in range(3, largest.bit_length())):
        for dim in (1, 2):
            memorizer = built(samples, dim, 1 / (five * samples * math.sqrt(dim)), seed)
            grid, size = fit_grid(memorizer.task.data), memorizer.network.size
            name, bits = f"N = {samples}, D = {dim}", grid.digits * dim
            parts[f"{name}, certified"] = certified(memorizer)
            parts[f"{name}, width"] = Decision(size.width <= max(3 * dim + 1, 10), f"width {size.width}")
            between(f"{name}, depth", samples // 2, bits, size.depth - grid.digits - 1)
            sizes.append(samples // 2 * (bits + 2))
            totals.append(size.total)
    for cells, bits in ((2**10, 12), (2**12, 30), (2**14, 16)):
        plan = Plan.best(cells, bits, 1, 1, 1)
        between(f"plan of M = {cells}, W = {bits}", cells, bits, plan.depth - plan.digits - 1)
    law = power_law(2.0 ** np.array(PLANS), np.array(totals_of_plans(), dtype=float), 0.99)
    parts["exponent of the plans"] = Decision(
        root - 0.02 <= law.low and law.high <= root + 0.02, f"{law.low:.3f} to {law.high:.3f}"
    )
    for dim in (1, 2, 5):
        near_end = 0.98 * reach / (24**samples_power * dim**dim_power)
        parts[f"random points, D = {dim}"] = Decision(random_served(24, dim, near_end, seed), f"rho = {near_end:g}")
    for samples, dim in ((64, 1), (64, 3), (64, 16), (4, 1), (4, 3), (9, 2)):
        for share, right in ((0.999, True), (1.001, False)):
            found = served(samples, dim, share * reach, (samples_power, dim_power))
            parts[f"N = {samples}, D = {dim}, rho = {share * reach:g}/((N-1) sqrt D)"] = Decision(
                found is right, "served" if found else "refused"
            )
    fit = power_law(np.array(sizes, dtype=float), np.array(totals, dtype=float), 0.99)
    return finding(
        parts,
        tested=f"depth for all M, W; networks up to N = {largest} on all balls; plans up to M = 65,536; radii "
        "just below 1/(N sqrt D) for random points, N = 24, and 0.1 % on both sides of 1/((N-1) sqrt D) on a diagonal, "
        "N = 4, 9, 64",
        bound="margin 1/2 on all balls; depth n + 1 + 2 sqrt(2 M (W + 2)), at most W + 4 more",
        measured=f"at most {max(excess):.3g} more; exponent of all parameters of plans in M: {law.exponent:.3f} "
        f"({law.low:.3f} to {law.high:.3f}), of the built networks in M (W + 2): "
        f"{fit.exponent:.3f} ({fit.low:.3f} to {fit.high:.3f}), with the n layers of floors",
    )


CLAIM = Claim(
    statement="for rho <= 1/(5 N sqrt D) in l_2, and up to 1/(N sqrt D), by `fractional-gap`, O~(sqrt N) parameters at "
    "fixed D memorize N points, those tested, with error 0: depth n + 1 + 2 sqrt(2 M (W + 2)), or at most W + 4 more, "
    "for M cells of W bits and n digits; for N - 1 equally spaced points on a diagonal and one of the other label a "
    "cell farther they end exactly at 1/((N-1) sqrt D)",
    source="Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, Theorem 4.2 (i); layers, radius and constants of cgro",
    tag="[D]",
    evidence="exact",
    check=check,
    hypotheses={
        "16 <= largest <= 4096": lambda largest: 16 <= largest <= 4096,
        "five > 1": lambda five: five > 1,
    },
    deep={"largest": 512},
    constants={
        "5 in 1/(5 N sqrt D)": Constant(
            lambda factor: {"five": 5 * factor},
            refuted=(),
            otherwise="loose: the grids of cgro serve five times that radius",
        ),
        "1/((N-1) sqrt D)": Constant(lambda factor: {"reach": factor}),
        "exponent of N in 1/((N-1) sqrt D)": Constant(lambda factor: {"samples_power": factor}),
        "exponent of D in 1/((N-1) sqrt D)": Constant(lambda factor: {"dim_power": 0.5 * factor}),
        "2 sqrt": Constant(lambda factor: {"two": 2 * factor}),
        "2 M": Constant(lambda factor: {"under": 2 * factor}),
        "W + 2": Constant(
            lambda factor: {"more": 2 * factor}, refuted=(1.05,), otherwise="W + 4 more cover it, at these M"
        ),
        "exponent 1/2 of sqrt": Constant(lambda factor: {"root": 0.5 * factor}),
        "W + 4": Constant(
            lambda factor: {"rest": 4 * factor},
            refuted=(),
            otherwise="loose: rounding rarely costs as much; the finding prints what it does",
        ),
    },
    controls={
        "1.5 sqrt(2 M (W + 2))": {"two": 1.5, "largest": 16},
        "exponent 0.4": {"root": 0.4, "largest": 16},
        "rho < 2/(N sqrt D)": {"reach": 2.0, "largest": 16},
    },
)
