"""In l_inf no network with fewer than D neurons in its first layer memorizes 0 against e_1, ..., e_D robustly at rho >=
1/2; below 1/2 some network with D - 1 neurons there does.

All networks at once: a first layer of m < D neurons has a weight matrix with a kernel, so a direction z with W z = 0,
scaled to |z|_inf = 1 = z_j. Then w = e_j - z / 2 has |w|_inf <= 1/2, and w / 2 and e_j - w / 2 are points of the balls
of 0 and of e_j at every radius mu >= 1/4 that differ by z / 2: they agree after the first layer, and every network errs
at one of them. z3 decides this for the coordinate j and for any other one, hence for all z and D. The threshold is
sharp: with the D - 1 neurons relu(x_k - x_D + 2), and wider layers after them, max_k x_k - min_k x_k - 1/2 has the
right sign on all balls of every radius mu < 1/4, which z3 decides for built networks; that no coordinate of a ball
misleads the largest and smallest it decides for all D. And D neurons suffice at every rho < 1, for max_k x_k - 1/2.
(Here the separation lambda is 1 and rho = 2 mu.) A network all of whose layers are narrower than D is a special case.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import z3

from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import Formula, all_of, inside, outputs, prove
from cgro.claims.symbolic import Decision
from cgro.networks.exact import ExactNetwork
from cgro.networks.gadgets import maximum
from cgro.networks.relu import ReluNetwork, compose, stack


def collide(ratio: Fraction) -> Decision:
    """For every z with |z|_inf = 1 = z_j points of the balls of 0 and e_j differ by a multiple of z: the coordinates j
    and k other than j of z, of both points, and of their difference."""
    z, mu = z3.Real("z"), _real(ratio / 2)
    parts = {}
    for name, one, given in (("coordinate j", 1, z == 1), ("another coordinate", 0, abs_at_most(z, z3.RealVal(1)))):
        w = one - z / 2
        first, second = w / 2, one - w / 2
        claim = z3.And(abs_at_most(first, mu), abs_at_most(second - one, mu), second - first == z / 2)
        parts[name] = prove(claim, given)
    return all_of(parts)


def spreads(ratio: Fraction) -> Decision:
    """max_k x_k - min_k x_k on balls of every radius below ratio / 2, in every D: at most 1/2 around 0, for any two
    coordinates; around e_j above 1/2, for coordinate j and another one."""
    a, b, mu = z3.Reals("a b mu")
    radius, half = (mu > 0, mu < _real(ratio / 2)), z3.Q(1, 2)
    return all_of(
        {
            "ball of 0": prove(a - b < half, *radius, abs_at_most(a, mu), abs_at_most(b, mu)),
            "ball of e_j": prove(a - b > half, *radius, abs_at_most(a - 1, mu), abs_at_most(b, mu)),
        }
    )


def abs_at_most(value: Formula, bound: Formula) -> Formula:
    """|value| <= bound."""
    return z3.And(value <= bound, -value <= bound)


def narrow(dim: int) -> ReluNetwork:
    """max_k x_k - min_k x_k - 1/2 with D - 1 neurons in the first layer, for |x_k - x_D| <= 2."""
    n = dim - 1
    eye, zero = np.eye(n), np.zeros((n, n))
    differences = ReluNetwork.of(
        [
            (np.column_stack([eye, -np.ones(n)]), np.full(n, 2.0)),
            (np.vstack([eye, -eye]), np.repeat([-2.0, 2.0], n)),
            (np.eye(2 * n), np.zeros(2 * n)),
        ]
    )
    largest = [
        compose(maximum(n), ReluNetwork.of([(np.hstack(part), np.zeros(n))])) for part in ((eye, zero), (zero, eye))
    ]
    spread = ReluNetwork.of([(np.ones((1, 2)), np.array([-0.5]))])
    return compose(spread, compose(stack(largest), differences))


def wide(dim: int) -> ReluNetwork:
    """max_k x_k - 1/2 with D neurons in the first layer, for x_k >= -1."""
    raised = ReluNetwork.of([(np.eye(dim), np.ones(dim)), (np.eye(dim), np.zeros(dim))])
    return compose(ReluNetwork.of([(np.ones((1, 1)), np.array([-1.5]))]), compose(maximum(dim), raised))


def robust(network: ReluNetwork, ratio: Fraction) -> Decision:
    """The signs on all balls of every radius below ratio / 2."""
    dim, mu = network.inputs, z3.Real("mu")
    x = z3.Reals(" ".join(f"x{k}" for k in range(dim)))
    box = [(Fraction(-1, 2), Fraction(3, 2))] * dim
    value = outputs(ExactNetwork.of(network), x, box)[0]
    parts = {}
    for j in range(dim + 1):
        ball = [abs_at_most(v - int(k == j), mu) for k, v in enumerate(x)]
        right = value > 0 if j < dim else value < 0
        parts[f"ball of e_{j + 1}" if j < dim else "ball of 0"] = prove(
            right, mu > 0, mu < _real(ratio / 2), inside(x, box), *ball
        )
    return all_of(parts)


def check(*, dims: tuple[int, ...] = (2, 3, 4), ratio: float = 0.5, share: float = 1.0) -> Finding:
    """Collisions for every kernel at rho = ratio, and robust networks below it.

    Args:
        dims: dimensions D, each >= 2.
        ratio: the claimed threshold of rho.
        share: a first layer of fewer than share D neurons is claimed to be too narrow.
    """
    rho, parts = Fraction(ratio), {}
    for dim in dims:
        name = f"D = {dim}"
        if math.ceil(Fraction(share) * dim) > dim:
            enough = robust(wide(dim), Fraction(1)).holds
            parts[name] = Decision(False if enough else None, f"{dim} neurons suffice at every rho < 1")
            continue
        below, above = rho * Fraction(999, 1000), rho * Fraction(1001, 1000)
        fails = collide(rho)
        suffices = all_of({"max - min": spreads(rho), "network": robust(narrow(dim), rho)})
        # One network or one pair of points that fails is no counterexample yet: the opposite is, a little further.
        if fails.holds is False:
            enough = robust(narrow(dim), above).holds
            fails = Decision(False if enough else None, f"{dim - 1} neurons suffice: max x_k - min x_k - 1/2")
        if suffices.holds is False:
            none = collide(below).holds
            suffices = Decision(False if none else None, f"every network fails at rho = {float(below):.4g}")
        parts |= {f"{name}, every network at rho = {ratio:g}": fails, f"{name}, a network below it": suffices}
    whole = all_of(parts)
    return Finding(
        holds=whole.holds,
        slack=1.0 if whole.holds else 0.0,
        tested="all networks with a first layer of fewer than D neurons, all D; robust ones built for D = "
        + ", ".join(map(str, dims)),
        bound=f"no robust network for rho >= {ratio:g}, one with D - 1 neurons below",
        measured=f"{sum(d.holds is True for d in parts.values())} of {len(parts)} statements proved",
        counterexample=whole.counterexample,
    )


def _real(value: Fraction) -> Formula:
    return z3.RealVal(str(value))


CLAIM = Claim(
    statement="in l_inf some network with fewer than D neurons in the first layer memorizes 0 against e_1, ..., e_D "
    "robustly, on closed balls, if and only if rho < 1/2, so none of width below D does at rho >= 0.8",
    source="Yu, Gao & Zhang, ICLR 2024 [N], as quoted by Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, whose Prop. "
    "C.7 has the threshold for rho > 1/2; sharpness derived here",
    tag="[D]",
    evidence="exact",
    check=check,
    hypotheses={
        "D >= 2": lambda dims: len(dims) > 0 and min(dims) >= 2,
        "0 < ratio < 1": lambda ratio: 0 < ratio < 1,
        "share > 0": lambda share: share > 0,
    },
    constants={
        "rho < 1/2": Constant(lambda factor: {"ratio": factor / 2}),
        "fewer than D neurons": Constant(
            lambda factor: {"share": factor}, refuted=(1.05,), otherwise="fewer neurons are a weaker claim"
        ),
        "0.8, as quoted": Constant(None, refuted=(), otherwise="loose: on these points 1/2 is the threshold"),
    },
    deep={"dims": (2, 3, 4, 5, 6)},
    controls={
        "from rho = 0.475 on": {"ratio": 0.475, "dims": (3,)},
        "up to rho = 0.525": {"ratio": 0.525, "dims": (3,)},
        "for D neurons": {"share": 1.05, "dims": (3,)},
    },
)
