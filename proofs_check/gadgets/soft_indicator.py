"""The soft indicator s(v) = (relu(hi - v) - relu(lo - v)) / (hi - lo) is 1 up to lo, 0 from hi on, and linear between.

Decided by z3 for all real lo < hi and v, after multiplication by hi - lo. cgro's form relu(1 + b - w v) - relu(b - w v)
is the same function with w = 1 / (hi - lo), b = w lo. Indicators that cgro builds for three balls in the plane are then
decided, too, for all real points of each ball in l_1, l_2 and l_inf, although squares are approximated in l_2.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import z3

from cgro.base.norms import Norm
from cgro.claims.claim import Claim, Finding
from cgro.claims.solver import Formula, finding, in_ball, outputs, prove, relu
from cgro.claims.symbolic import Decision
from cgro.memorizers.indicators import indicators
from cgro.memorizers.task import Task, memorization_task
from cgro.networks.exact import ExactNetwork
from cgro.networks.relu import ReluNetwork

Function = Callable[[Formula, Formula, Formula], Formula]


def soft(v: Formula, lo: Formula, hi: Formula) -> Formula:
    """(hi - lo) s(v)."""
    return relu(hi - v) - relu(lo - v)


def cells(function: Function) -> dict[str, Decision]:
    """v <= lo, lo <= v <= hi, v >= hi, and the form that the networks use, all times hi - lo."""
    v, lo, hi, w, b = z3.Reals("v lo hi w b")
    value = function(v, lo, hi)
    network = (hi - lo) * (relu(1 + b - w * v) - relu(b - w * v))
    return {
        "up to lo": prove(value == hi - lo, lo < hi, v <= lo),
        "between": prove(value == hi - v, lo < hi, lo <= v, v <= hi),
        "from hi on": prove(value == 0, lo < hi, v >= hi),
        "the network's form": prove(network == soft(v, lo, hi), lo < hi, w * (hi - lo) == 1, b == w * lo),
    }


def built(norm: Norm, radius: float) -> tuple[Task, ExactNetwork]:
    """Indicators of three balls in the plane."""
    x = np.array([[0.0, 0.0], [1.0, 0.25], [0.25, 1.0]])
    task = memorization_task(x, np.array([-1, 1, 1]), norm, radius)
    found = indicators(task, task.gap, "shared" if norm == "2" else "own", None)
    return task, ExactNetwork.of(ReluNetwork.of([*found.layers, (found.values, np.zeros(len(x)))]))


def on_balls(norm: Norm, radius: float) -> dict[str, Decision]:
    """s_i = 1 on the ball of x_i and 0 on balls of the other label, for all real points."""
    task, network = built(norm, radius)
    point, parts = z3.Reals("x y"), {}
    for i, center in enumerate(task.data.points):
        within, box = in_ball(point, center, norm, task.radius)
        values = outputs(network, point, box)
        others = [values[j] == 0 for j in range(3) if task.data.labels[j] != task.data.labels[i]]
        parts[f"l_{norm}, ball {i}"] = prove(z3.And(values[i] == 1, *others), within)
    return parts


def check(*, radius: float = 0.25, function: Function = soft) -> Finding:
    """The cells, and built indicators in l_1, l_2 and l_inf.

    Args:
        radius: perturbation radius of the built indicators, below 0.5.
    """
    parts = cells(function) | on_balls("1", radius) | on_balls("2", radius) | on_balls("inf", radius)
    return finding(
        parts,
        tested="all lo < hi and v; indicators of all points of three balls in the plane, three norms",
        bound="1 up to lo, linear, 0 from hi on; 1 on the ball, 0 on balls of other labels",
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
        "half as high": {"function": lambda v, lo, hi: soft(v, lo, hi) / 2},
        "one hinge only": {"function": lambda v, lo, hi: relu(hi - v)},
        "a shell 5 % wider": {"function": lambda v, lo, hi: soft(v, lo, hi + (hi - lo) / 20)},
    },
)
