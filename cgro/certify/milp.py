"""The margin's minimum over one ball as a mixed-integer linear program, solved by HiGHS.

With bounds l <= z <= u of a neuron a = relu(z), and b in {0, 1} for each neuron that they leave unstable:

    a >= z,   a <= z - l (1 - b),   0 <= a <= u b           (stable neurons: a = z, or a = 0 and left out)

The ball: x = x0 + radius w with w in the unit ball; a box for l_inf; w = p - n, sum(p + n) <= 1 for l_1; for l_2 the
lifted polyhedron s_k >= 2 t_j w_k - t_j^2, sum(s) <= 1 with K + 1 tangent points t_j in [-1, 1], which contains the
ball and lies in the ball of radius sqrt(1 + D / K^2) [D]: a positive minimum is a certificate, a negative one is a
suspect, which is moved into the ball and evaluated.

Solvers work with absolute tolerances near 1e-6, so everything is put on one scale: w in the unit ball, each neuron as a
number in [0, 1] over its range, the margin row in about [-100, 100]. Ranges are widened by 1e-6 of their size, and a
bound counts only from 1e-4 (of 100) on. A neuron whose range is 1e-9 of the numbers that make it is left free in it.

TRUST: unlike interval and linear bounds, "certified" here relies on HiGHS: its floating-point branch and bound, with
primal and integrality tolerances of 1e-6, and on the two slacks above to cover them. No proof log is checked.
Counterexamples rely on nothing: they are evaluated with rounding bounds.

Reference: Tjeng, Xiao, Tedrake, "Evaluating robustness of neural networks with mixed integer programming", ICLR 2019,
section 4 [S]; the lifted ball and the scaling [D].
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import sparse
from scipy.optimize import Bounds as Box
from scipy.optimize import LinearConstraint, milp

from cgro.base.errors import UserError
from cgro.base.validate import integer
from cgro.certify.interval import Bounds
from cgro.certify.problem import Problem

TANGENTS = 32
"""Default K of the lifted l_2 ball."""
_WIDEN = 1e-6
_ACCEPT = 1e-4
_FLAT = 1e-9
_RANGE = 100.0
_FAILED = 4
"""Statuses for numerical difficulties or a limit, which scipy only describes in words."""
_LIMIT = "limit reached"
_LARGEST = 200_000
"""Non-zeros of the largest program that is tried. The root node of such a one takes about a minute, and only the nodes
after the root are counted."""


@dataclass(frozen=True, eq=False)
class MilpResult:
    """The solver's result for one row of the margin on one ball."""

    lower: float
    """Lower bound of the row over the ball, slack subtracted; -inf if there is none."""
    suspect: Float[np.ndarray, " D"] | None
    """Where the row is smallest in the relaxed problem, as far as the solver got; it may leave the ball a little."""
    finished: bool
    """Did the solver reach its goal within its nodes?"""
    nodes: int = 1
    """Nodes used, at least 1; the limit if the solver did not finish."""


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep output of HiGHS, which it prints even when told not to, off the standard output of the process."""
    try:
        saved = os.dup(1)
    except OSError:  # There is no standard output.
        yield
        return
    flush = getattr(ctypes.CDLL(None), "fflush", None) if os.name == "posix" else None
    sys.stdout.flush()
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        try:
            yield
        finally:
            if flush is not None:
                flush(None)
            os.dup2(saved, 1)
            os.close(saved)


@dataclass(eq=False)
class _Program:
    """Sparse rows low <= A y <= high, collected block by block."""

    lower: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    integer: list[int] = field(default_factory=list)
    blocks: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)
    low: list[np.ndarray] = field(default_factory=list)
    high: list[np.ndarray] = field(default_factory=list)
    count: int = 0

    def variables(self, number: int, lower: float, upper: float, integer: bool = False) -> np.ndarray:
        """Places of new variables."""
        start = len(self.lower)
        self.lower += [lower] * number
        self.upper += [upper] * number
        self.integer += [int(integer)] * number
        return np.arange(start, start + number)

    def rows(self, low: Any, high: Any, *parts: tuple[Any, np.ndarray]) -> None:
        """low <= sum of matrix @ y[places] <= high; a matrix given as a vector is diagonal."""
        height = 0
        for matrix, places in parts:
            matrix = sparse.diags_array(matrix) if np.ndim(matrix) == 1 else matrix
            coo = sparse.coo_array(matrix)
            self.blocks.append((coo.row + self.count, places[coo.col], coo.data))
            height = coo.shape[0]
        self.low.append(np.broadcast_to(np.asarray(low, float), height))
        self.high.append(np.broadcast_to(np.asarray(high, float), height))
        self.count += height

    @property
    def finite(self) -> bool:
        """Whether float64 held every number on the way here. Only sides of rows may be infinite."""
        return all(np.isfinite(data).all() for _, _, data in self.blocks) and not any(
            np.isnan(side).any() for side in (*self.low, *self.high)
        )

    @property
    def nonzeros(self) -> int:
        """Entries of A."""
        return sum(len(data) for _, _, data in self.blocks)

    def minimize(self, place: int, options: dict[str, Any]) -> Any:
        """HiGHS on variable `place`."""
        row, col, data = (np.concatenate(parts) for parts in zip(*self.blocks, strict=True))
        matrix = sparse.csr_array((data, (row, col)), shape=(self.count, len(self.lower)))
        cost = np.zeros(len(self.lower))
        cost[place] = 1
        with _silence():
            return milp(
                cost,
                integrality=np.array(self.integer),
                bounds=Box(np.array(self.lower), np.array(self.upper)),
                constraints=LinearConstraint(matrix, np.concatenate(self.low), np.concatenate(self.high)),
                options=dict(options),  # scipy removes the limit from its argument.
            )


def minimize_row(
    problem: Problem,
    row: int,
    hidden: list[Bounds],
    *,
    nodes: int,
    exact: bool = False,
    tangents: int = TANGENTS,
) -> MilpResult:
    """The minimum of one margin row over the ball of a problem with one point.

    Args:
        hidden: proved bounds (1, m) of each hidden layer's pre-activations.
        nodes: of the branch and bound, >= 1. Work is limited, never time: the answer does not depend on the load.
        exact: go on to the minimum; otherwise stop as soon as its sign is known.
        tangents: K, for l_2.

    Returns: bound and suspect. The bound is finite also where the nodes were too few, if HiGHS had one. A program with
        more than 200,000 non-zeros, or numbers that float64 does not hold, is not tried.

    Raises: UserError for a problem of another number of points than one, a row that it does not have, and nodes or
        tangents below 1.
    """
    if len(problem) != 1:
        raise UserError(f"problem must have one point, got {len(problem)}: take() one of them")
    integer("row", row, low=0, high=problem.offsets.shape[1] - 1)
    integer("nodes", nodes, low=1)
    integer("tangents", tangents, low=1)
    if len(hidden) != problem.network.depth - 1:
        raise UserError(f"hidden must hold bounds of {problem.network.depth - 1} layers, got {len(hidden)}")
    joint = problem.last_layer()
    nothing = MilpResult(-np.inf, None, False, nodes)
    if not all(np.isfinite(side).all() for bounds in hidden for side in bounds):
        return nothing  # after an overflow: a range without an end cannot be scaled to 1
    program = _Program()
    with np.errstate(over="ignore", invalid="ignore"):  # seen by `finite` and the scale
        places, base, span = _ball(program, problem, tangents)
        for (weight, bias), (lower, upper) in zip(problem.network.layers[:-1], hidden, strict=True):
            places, base, span = _relu_layer(program, weight, bias, lower[0], upper[0], places, base, span)
        coefficients = joint.weight[0, row]
        if len(span) != len(coefficients):  # l_1 without a hidden layer
            coefficients = np.concatenate([coefficients, coefficients])
        constant = float(coefficients @ base + joint.offset[0, row])
        scaled = coefficients * span
        # The row's range before any branching sets its scale.
        scale = _RANGE / max(float(np.abs(scaled).sum()), abs(constant), 1e-250)
        # No tighter bounds here: HiGHS fails ("Solve error") on some programs whose objective has a positive lower
        # bound.
        value = program.variables(1, -2 * _RANGE, 2 * _RANGE)
        program.rows(scale * constant, scale * constant, (np.ones(1), value), (-scale * scaled[None, :], places))
    if program.nonzeros > _LARGEST or not (scale > 0 and program.finite):
        return nothing
    # A relative gap below 1 means that bound and best point have one sign.
    options = {"node_limit": nodes, "mip_rel_gap": 0.0 if exact else 0.99}
    answer = program.minimize(int(value[0]), options)
    if answer.status == _FAILED and _LIMIT not in answer.message:
        answer = program.minimize(int(value[0]), options | {"presolve": False})
    finished = answer.status == 0
    # Without binaries HiGHS solves a linear program, and only its optimum is a bound.
    bound = answer.mip_dual_bound if any(program.integer) else answer.fun if finished else None
    # Only these two states come with a bound that the search has proved.
    ended = finished or _LIMIT in answer.message
    low = (float(bound) - _ACCEPT) / scale if bound is not None and ended else -np.inf
    suspect = None if answer.x is None else _point(problem, answer.x)
    taken = max(1, answer.mip_node_count or 1) if finished else nodes
    return MilpResult(low if np.isfinite(low) else -np.inf, suspect, finished, taken)


def _point(problem: Problem, y: np.ndarray) -> Float[np.ndarray, " D"]:
    """The input in a solution; the ball's variables come first."""
    dim = problem.network.inputs
    unit = y[:dim] - y[dim : 2 * dim] if problem.norm == "1" else y[:dim]
    return problem.points[0] + problem.radius * unit


def _ball(program: _Program, problem: Problem, tangents: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Variables of the ball; the input is base + span * y[places]."""
    centre, radius = problem.points[0], problem.radius
    dim = len(centre)
    if problem.norm == "1":
        places = program.variables(2 * dim, 0, 1)
        program.rows(-np.inf, 1, (np.ones((1, 2 * dim)), places))
        return places, np.concatenate([centre, 0 * centre]), radius * np.repeat([1.0, -1.0], dim)
    places = program.variables(dim, -1, 1)
    if problem.norm == "2":
        squares = program.variables(dim, 0, 1)
        program.rows(-np.inf, 1, (np.ones((1, dim)), squares))
        for t in np.linspace(-1, 1, tangents + 1):
            program.rows(-t * t, np.inf, (np.ones(dim), squares), (np.full(dim, -2 * t), places))
    return places, centre, np.full(dim, radius)


def _relu_layer(
    program: _Program,
    weight: Any,
    bias: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    places: np.ndarray,
    base: np.ndarray,
    span: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Adds a = relu(W x + b) for x = base + span * y[places]; neurons are base + span * y again, 0 where both are 0."""
    if len(span) != weight.shape[1]:  # l_1: positive and negative parts of the input
        weight = sparse.hstack([sparse.csr_array(weight)] * 2, format="csr")
    inner = sparse.csr_array(sparse.csr_array(weight) @ sparse.diags_array(span))
    constant = weight @ base + bias
    wide = _WIDEN * np.maximum(np.abs(lower), np.abs(upper))
    lower, upper = lower - wide, upper + wide
    size = np.asarray(abs(inner).sum(axis=1)).ravel() + np.abs(constant)
    flat = (upper - lower <= _FLAT * size) & (upper > 0)
    on = (lower >= 0) & ~flat
    unstable = (lower < 0) & (upper > 0) & ~flat
    out_base = np.where(upper > 0, np.maximum(lower, 0), 0)
    out_span = np.where(upper > 0, upper - out_base, 0)
    new = program.variables(len(bias), 0, 1)
    if on.any():
        width = out_span[on]
        shift = (constant - out_base)[on] / width
        z = sparse.diags_array(1 / width) @ inner[on]
        program.rows(shift, shift, (np.ones(len(width)), new[on]), (-z, places))
    if unstable.any():
        low, u, c, a = lower[unstable], upper[unstable], constant[unstable], new[unstable]
        switch = program.variables(len(low), 0, 1, integer=True)
        m = np.maximum(u, -low)
        z = sparse.diags_array(1 / m) @ inner[unstable]
        program.rows(c / m, np.inf, (u / m, a), (-z, places))
        program.rows(-np.inf, (c - low) / m, (u / m, a), (-z, places), (-low / m, switch))
        program.rows(-np.inf, 0, (np.ones(len(low)), a), (-np.ones(len(low)), switch))
    return new, out_base, out_span
