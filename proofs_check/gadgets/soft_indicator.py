"""The soft indicator s(v) = (relu(hi - v) - relu(lo - v)) / (hi - lo) is 1 up to lo, 0 from hi on, and linear between.

Decided on the three cells of v. So 0 <= s <= 1, s is monotone, and its slope is 1 / (hi - lo) at most. cgro's network
form relu(1 + b - w v) - relu(b - w v) is the same function with w = 1 / (hi - lo), b = w lo. Indicators that cgro
builds are then evaluated in rational arithmetic at points of their own balls (they must be 1) and of balls of other
labels (0).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import sympy as sp

from cgro.base.norms import Norm
from cgro.claims.claim import Claim, Finding
from cgro.memorizers.indicators import indicators
from cgro.memorizers.task import Task, memorization_task
from cgro.networks.exact import ExactNetwork
from cgro.networks.relu import ReluNetwork

Function = Callable[[sp.Expr, sp.Expr, sp.Expr], sp.Expr]


def soft(v: sp.Expr, lo: sp.Expr, hi: sp.Expr) -> sp.Expr:
    """(relu(hi - v) - relu(lo - v)) / (hi - lo)."""
    return (sp.Max(hi - v, 0) - sp.Max(lo - v, 0)) / (hi - lo)


def residuals(function: Function) -> list[sp.Expr]:
    """Cells v <= lo, lo <= v <= hi, v >= hi, and the form that the networks use."""
    lo, width, a, share = sp.symbols("lo width a share", positive=True)
    hi = lo + width
    inside = (lo + share * width).subs(share, a / (1 + a))  # between lo and hi
    w, b = 1 / width, lo / width
    network = [sp.Max(1 + b - w * v, 0) - sp.Max(b - w * v, 0) - function(v, lo, hi) for v in (lo - a, inside, hi + a)]
    cells = [function(lo - a, lo, hi) - 1, function(inside, lo, hi) - 1 / (1 + a), function(hi + a, lo, hi)]
    return [sp.simplify(value) for value in (*cells, *network)]


def built_are_exact(norm: Norm, radius: float) -> bool:
    """s_i = 1 at corners or axis points of its ball and 0 on balls of the other label, in rational arithmetic."""
    x = np.array([[0.0, 0.0], [1.0, 0.25], [0.25, 1.0]])
    task = memorization_task(x, np.array([-1, 1, 1]), norm, radius)
    found = indicators(task, task.gap, "own" if norm != "2" else "shared", None)
    network = ExactNetwork.of(ReluNetwork.of([*found.layers, (found.values, np.zeros(len(x)))]))
    return all(_at(task, network, i, point) for i in range(len(x)) for point in _points(norm, task.radius))


def _points(norm: Norm, radius: float) -> list[tuple[Fraction, Fraction]]:
    r, zero = Fraction(radius), Fraction(0)
    axis = [(r, zero), (-r, zero), (zero, r), (zero, -r), (zero, zero)]
    if norm == "inf":
        return axis + [(a * r, b * r) for a in (1, -1) for b in (1, -1)]
    # 3-4-5 points lie on the circle.
    third = [(Fraction(3, 5) * r, Fraction(4, 5) * r)] if norm == "2" else [(r / 2, r / 2)]
    return axis + third


def _at(task: Task, network: ExactNetwork, i: int, step: tuple[Fraction, Fraction]) -> bool:
    x, labels = task.data.points, task.data.labels
    values = network.evaluate([Fraction(float(c)) + d for c, d in zip(x[i], step, strict=True)])
    others = [values[j] for j in range(len(x)) if labels[j] != labels[i]]
    return values[i] == 1 and all(v == 0 for v in others)


def check(*, radius: float = 0.25, function: Function = soft) -> Finding:
    """The cells symbolically, and built indicators in l_1, l_2 and l_inf.

    Args:
        radius: perturbation radius of the built indicators, below 0.5.
    """
    left = residuals(function)
    norms: tuple[Norm, ...] = ("1", "2", "inf")
    exact = [norm for norm in norms if built_are_exact(norm, radius)]
    holds = not any(left) and len(exact) == 3
    return Finding(
        holds=holds,
        slack=math.inf if holds else 0.0,
        tested="all lo < hi and v; indicators of three balls in the plane, in three norms",
        bound="residual 0; s = 1 on the ball, 0 on balls of other labels",
        measured=f"{sum(value != 0 for value in left)} residuals; exact in l_{', l_'.join(exact)}",
        counterexample="" if holds else f"residuals {left}",
    )


CLAIM = Claim(
    statement="two ReLUs form a soft indicator: 1 up to lo, 0 from hi on, linear between",
    source="Li & Li, ICML 2025, arXiv:2306.01271, Lemma 4.5; the network derived here",
    tag="[D]",
    evidence="symbolic",
    check=check,
    hypotheses={"0 < radius < 0.49": lambda radius: 0 < radius < 0.49},
    deep={"radius": 0.48},
    controls={
        "divided by hi": {"function": lambda v, lo, hi: soft(v, lo, hi) * (hi - lo) / hi},
        "one hinge only": {"function": lambda v, lo, hi: sp.Max(hi - v, 0) / (hi - lo)},
    },
)
