"""Small radii need O~(N D^(1/4) rho^(1/2)) parameters: groups of K points, each with a grid of its own, and error 0.

The paper's range is rho <= 1 / (5 sqrt D), its groups have floor(1 / (5 rho sqrt D)) points, and its ReLU networks err
on a share eta of the volume of the balls: where a ball lies across a face of another group's grid. cgro's network finds
that out by a second floor network, and is exact. Groups are as large as their balls allow, K = ceil(1 / (rho sqrt D) -
1/2) - 1, for every rho < 2 / (3 sqrt D); on a diagonal, lambda = sqrt(D) lambda_inf, no more.

z3 decides for all points of all balls of two small networks, D = 1 and 2, that the output is the label, across faces,
too. A larger one, of the first N and K, is evaluated exactly at the ends of eight balls; the others are counted only.
Each group takes n + 2 layers of floors and read-out, and 2 sqrt(2 K (W + 2)) to W + 4 more for its labels (check
grid-cells-size).
With K < 1 / (rho sqrt D) - 1/2, the labels of N / 2 stored points take at least

    L = N sqrt(2 (W + 2)) D^(1/4) rho^(1/2) / sqrt(1 - rho sqrt(D) / 2)

layers in all, and at most W + 4 for each group more where K is that bound rounded down a little. Built networks lie
between both over two decades of rho; fitted exponents are printed. D enters through rho sqrt D alone, as the law of K
says, exactly. The width is 7 D + 1 or D + 11, so that depth times width^2 is the order of all parameters at fixed D.
The paper first projects to O(log N) dimensions (check projected-separation), as the construction does on request. Its
projection is tried at random: exactness and counts after it are tested, the order of D in its parameters is not.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache
from itertools import product

import numpy as np
import z3

from cgro.base.errors import UserError
from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import finding, in_ball, outputs, prove
from cgro.claims.symbolic import Decision
from cgro.data.separation import LabelledPoints, opposite_separation
from cgro.measures.scaling import joint_power_law
from cgro.memorizers.constructions import memorize
from cgro.memorizers.grouped_cells import largest_group
from cgro.memorizers.task import Memorizer, memorization_task
from cgro.networks.exact import ExactNetwork

RATIOS = (0.6, 0.35, 1 / 7.49, 1 / 7.51, 0.03, 0.001)
"""rho sqrt D at which sizes of groups are compared."""


def diagonal(samples: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Points on the diagonal, about 1 apart in each coordinate, with alternating labels."""
    t = np.arange(samples) + np.round(np.arange(samples) * 0.618 % 1 * 64) / 256
    return np.repeat(t[:, None], dim, axis=1), np.where(np.arange(samples) % 2, 1, -1)


def built(samples: int, dim: int, ratio: float) -> Memorizer:
    """A network for points on a diagonal; ratio is rho sqrt D."""
    x, y = diagonal(samples, dim)
    radius = ratio / math.sqrt(dim) * opposite_separation(LabelledPoints(x, y), "2").distance / 2
    return memorize(x, y, "2", radius, construction="grouped_cells")


@cache
def exact_on_balls(samples: int, dim: int, per_grid: int, seed: int) -> dict[str, Decision]:
    """Whether the output is half the label for all points of all balls of a small network, by z3."""
    generator = np.random.default_rng([seed, samples, dim])
    x = generator.permuted(np.tile(np.arange(samples), (dim, 1)), axis=1).T
    x = x + generator.integers(0, 8, size=x.shape) / 16
    y = np.where(np.arange(samples) % 2, 1, -1)
    reach = 0.9 / (2 * per_grid)
    radius = opposite_separation(LabelledPoints(x, y), "inf").distance * reach / (1 + reach)
    memorizer = memorize(x, y, "inf", radius, construction="grouped_cells", per_grid=per_grid)
    point, parts = z3.Reals([f"x{k}" for k in range(dim)]), {}
    for i, (center, label) in enumerate(zip(x, y, strict=True)):
        inside, box = in_ball(point, center, "inf", memorizer.task.radius)
        (value,) = outputs(memorizer.network, point, box)  # type: ignore[arg-type]
        parts[f"D = {dim}, K = {per_grid}, ball {i}"] = prove(2 * value == int(label), inside)
    return parts


@cache
def right_at_ends(samples: int, dim: int, ratio: float) -> Decision:
    """Whether a built network is exact at both ends, along the diagonal, of eight balls."""
    memorizer = built(samples, dim, ratio)
    task, network, wrong = memorizer.task, memorizer.network, 0
    assert isinstance(network, ExactNetwork)
    # A little inside the ball, whose ends are not rational for D > 1.
    reach = Fraction(task.radius / math.sqrt(dim) * (1 - 1e-9))
    for i in range(0, samples, samples // 8):
        for end in (-reach, reach):
            value = network.evaluate([Fraction(v) + end for v in task.data.points[i].tolist()])[0]
            wrong += 2 * value != int(task.data.labels[i])
    return Decision(wrong == 0, f"{wrong} of 16 ends")


def group(dim: int, ratio: float) -> int:
    """The library's K for two points on a diagonal, where rho sqrt D = ratio; 0 if they are refused."""
    x = np.array([[0.0] * dim, [1.0] * dim])
    try:
        return largest_group(memorization_task(x, np.array([-1, 1]), "2", ratio / 2))
    except UserError:
        return 0


def groups_follow(reach: float, half: float, dim_power: float) -> Decision:
    """K = ceil(1 / (rho sqrt D) - 1/2) - 1 for rho < reach / sqrt D, and refused beyond; sqrt D is D^dim_power."""
    for dim in (1, 4, 16, 10**4):
        for ratio in RATIOS:
            # The library sees rho sqrt D; the claim, rho times that power.
            claimed = math.ceil(1 / (ratio / math.sqrt(dim) * dim**dim_power) - half) - 1
            if group(dim, ratio) != claimed:
                return Decision(False, f"D = {dim}, rho sqrt D = {ratio:g}: K = {group(dim, ratio)}, not {claimed}")
        if not group(dim, 0.99 * reach) or group(dim, 1.01 * reach):
            return Decision(False, f"D = {dim}: radii end elsewhere")
    return Decision(True)


def check(
    *,
    points: int = 5,
    samples: tuple[int, ...] = (64, 128, 1024),
    sizes: tuple[int, ...] = (4, 16, 512),
    seed: int = 0,
    samples_power: float = 1.0,
    ratio_power: float = 0.5,
    dim_power: float = 0.25,
    reach: float = 2 / 3,
    half: float = 0.5,
    two: float = 2.0,
) -> Finding:
    """A small network on all balls, sizes of groups, and the layers of built networks.

    Args:
        points: number of points of the small network.
        samples: numbers N of points of the built networks.
        sizes: size K of their groups, one for each N.
        seed: seed of the points of the small network.
        samples_power: claimed exponent of N.
        ratio_power: claimed exponent of rho.
        dim_power: claimed exponent of D.
        reach: groups of one point or more serve rho < reach / sqrt D.
        half: what is taken off 1 / (rho sqrt D).
        two: the 2 under the root.
    """
    parts = exact_on_balls(points, 1, 2, seed) | exact_on_balls(4, 2, 2, seed)
    parts |= {f"N = {samples[0]}, ends": right_at_ends(samples[0], 1, 1 / (sizes[0] + 0.51))}
    parts |= {"groups": groups_follow(reach, half, 2 * dim_power)}
    rows = []
    for n, K in zip(samples, sizes, strict=True):
        # Both ends of the ratios with this K, where networks are small.
        for dim, beyond in product((1, 2), (0.51, 1.49) if n <= 128 else (0.51,)):
            memorizer = built(n, dim, 1 / (K + beyond))
            groups, size, digits = n // 2 // K, memorizer.network.size, digits_of(memorizer)
            bits, s = digits * dim, memorizer.task.ratio * math.sqrt(dim)
            layers = size.depth - 1 - groups * (digits + 2)
            root = dim**dim_power * memorizer.task.ratio**ratio_power
            least = n**samples_power * math.sqrt(two * (bits + 2) / (1 - s / 2)) * root
            name = f"N = {n}, K = {K}, D = {dim}, rho sqrt D = 1/{K + beyond:g}"
            parts[f"{name}, depth"] = Decision(
                least <= layers <= least + groups * (bits + 4), f"{layers} layers for the labels, not {least:.4g}"
            )
            parts[f"{name}, width"] = Decision(size.width <= max(7 * dim + 1, dim + 11), f"width {size.width}")
            if beyond < 1:
                rows.append((n, s / (1 - s / 2), layers / math.sqrt(bits + 2), layers / least))
    n, s, layers, above = np.array(rows).T
    laws = joint_power_law({"N": n, "rho": s}, layers, 0.99)
    return finding(
        parts,
        tested=f"all points of the balls of networks of {points} points (D = 1) and 4 (D = 2), K = 2; K for D up to "
        f"10,000; {len(rows)} networks, N = {samples}, K = {sizes}, D = 1, 2",
        bound="error 0; L to W + 4 layers more for each group",
        measured=f"at most {above.max():.3g} L; fitted exponents: "
        + ", ".join(f"{name} {law.exponent:.3f}" for name, law in laws.items()),
    )


def digits_of(memorizer: Memorizer) -> int:
    """n: the layers of floors of the first group, which are as wide as the first one."""
    assert isinstance(memorizer.network, ExactNetwork)
    widths = [len(layer) for layer in memorizer.network.layers]
    return next(k for k, width in enumerate(widths) if width != widths[0])


CLAIM = Claim(
    statement="for rho <= 1/(5 sqrt D) in l_2, even rho < 2/(3 sqrt D), groups of K = ceil(1/(rho sqrt D) - 1/2) - 1 "
    "points with grids of their own memorize N points, half of either label, with error 0 on the balls tested, and "
    "take L = N sqrt(2 (W + 2)) D^(1/4) rho^(1/2) / sqrt(1 - rho sqrt(D) / 2) layers for labels, at most W + 4 more "
    "for each group",
    source="Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, Theorem 4.2 (ii), with error eta; error 0 by ReLUs, "
    "radius and constants of cgro",
    tag="[D]",
    evidence="exact",
    check=check,
    hypotheses={
        "4 <= points <= 7": lambda points: 4 <= points <= 7,
        "2 K <= N, powers of two, K >= 2": lambda samples, sizes: all(
            2 <= K <= N / 2 and N & (N - 1) == 0 and K & (K - 1) == 0 for N, K in zip(samples, sizes, strict=True)
        ),
    },
    deep={"points": 6, "samples": (64, 256, 1024, 2048), "sizes": (4, 8, 512, 1024)},
    constants={
        "5 in 1/(5 sqrt D)": Constant(
            None, refuted=(), otherwise="the paper's range, within the larger one of cgro, whose end is sharp"
        ),
        "2/(3 sqrt D)": Constant(lambda factor: {"reach": 2 / 3 * factor}),
        "1/2 in K": Constant(lambda factor: {"half": 0.5 * factor}),
        "N in L": Constant(lambda factor: {"samples_power": factor}),
        "D^(1/4)": Constant(lambda factor: {"dim_power": 0.25 * factor}),
        "rho^(1/2)": Constant(lambda factor: {"ratio_power": 0.5 * factor}),
        "sqrt(2 (W + 2))": Constant(
            lambda factor: {"two": 2 * factor}, refuted=(1.05,), otherwise="W + 4 more for each group cover it"
        ),
        "W + 4": Constant(None, refuted=(), otherwise="what rounding may cost, as in check grid-cells-size"),
    },
    controls={
        "layers N rho": {"ratio_power": 1.0},
        "layers N^0.9": {"samples_power": 0.9},
        "D^(1/2)": {"dim_power": 0.5},
        "groups of 1/(rho sqrt D)": {"half": -1.0},
        "rho < 1/sqrt D": {"reach": 1.0},
    },
)
