"""The memorizer for radii between those of `grid_cells` and 1 / sqrt(D): groups of points, each with a grid of its own.

The fewer points a grid serves, the larger its balls may be: among K points some gap of fractional parts is 1 / K, so
that balls of radius up to 1 / (2 K) cells stay away from its faces. Stored points are cut into groups that small, each
is memorized as in `grid_cells`, and the network keeps the largest label that a group finds, z <- max(z, f_j).
A ball of another group may lie across faces of grid j, where its floor network is wrong. A second floor network for the
same coordinates, moved aside by 2 c, is right there; it finds out and f_j becomes 0. So the output is exact on all
balls, by ReLUs alone.
Source: Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, Theorem 4.2 (ii) [S], for groups and order, with an error of
small volume, or threshold units; the second floor network, and with it error 0, ours [D].
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Float

from cgro.base.errors import UserError
from cgro.data.separation import LabelledPoints, opposite_separation
from cgro.memorizers.cells import Plan, doubling_layers, find_label, middle_of_gap, short_above_inverse
from cgro.memorizers.task import Memorizer, Task, U, encode, memorization_task
from cgro.networks.exact import Expression, Program
from cgro.networks.readout import Readout
from cgro.networks.relu import Size


def grouped_cells(
    task: Task,
    *,
    per_grid: int | None = None,
    dim: int | None = None,
    trials: int = 20,
    seed: int = 0,
    readout: Readout | None = None,
) -> Memorizer:
    """Any norm; radius mu below lambda_inf / 3, with lambda_inf the l_inf separation. Margin 1/2 with both read-outs.

    Cells have side lambda_inf - mu, so r = mu / (lambda_inf - mu) is the radius in cells. A group has K < 1 / (2 r)
    points (`per_grid`; default: the largest such K, more than 1 / (rho sqrt D) - 3/2 in l_2, since lambda <= sqrt(D)
    lambda_inf). With n digits in each coordinate and W-bit indices, a group takes n + 2 + 2 ceil(K / K_2) + K_2 (W + 2)
    layers, about n + 2 sqrt(2 K W), of width 7 D + 1 and then D + 12 at most: in all

        O~(N / K (n + sqrt(K W)) D^2),   that is O~(N rho^(1/2)) in N and rho, for K up to N stored points.

    In l_2 `dim` projects to k = dim dimensions first, by the best of `trials` random projections. The same holds with k
    for D and the separation of the projected points, and the first layer adds 7 k (D - k) parameters. For k = O(log N)
    some projection keeps lambda' >= c sqrt(k / D) lambda, hence K >= c' / (rho sqrt D) and O~(D + N D^(1/4) rho^(1/2))
    parameters in all.

    Why the output is exact. A point x of a ball is at most mu away from its centre. If all floors of grid j are right
    at x and its cell holds a stored point, that point is nearer than lambda_inf - mu to x and lambda_inf to the centre,
    so it has the centre's label: f_j is 0 or that label. Floors are wrong only for a fractional part below c. There the
    second one, of z + 2 c, is right and sees a fractional part below 3 c, and relu(f_j - L U) = 0, where U >= 1 and f_j
    <= L for all inputs, bits being differences of two ReLUs in [0, 1]. On balls of its own group all fractional parts
    lie between 4 c and 1 - 4 c, so that U = 0, and f_j is the label.

    Raises: UserError for a radius or a `per_grid` that is too large, with the limit, and for a `dim` that is not 1 to D
        or given in another norm than l_2.
    """
    code = encode(task, readout)
    rows, inner = _projected(task, dim, trials, seed)
    grids = _fit(inner, code.stored.tolist(), per_grid)
    values = [1] * len(code.stored) if code.readout == "sign" else [int(v) for v in code.bits @ code.values]
    label = dict(zip(code.stored.tolist(), values, strict=True))
    D, bits = inner.data.dim, max(values).bit_length()
    found = [grids.cells(group, label) for group in grids.groups]
    plans = [Plan.best(len(cells), grids.digits * D, bits, grids.digits, D) for cells in found]
    program = _Carrying([f"x{k}" for k in range(task.data.dim)])
    if rows is not None:
        # All are expressions of the inputs, although x is overwritten.
        program.registers = {f"x{k}": {j: w for j, w in enumerate(row) if w} for k, row in enumerate(rows)}
    for k in range(D):
        program.let(f"u{k}", {f"x{k}": grids.scale, "": grids.move[k]})
    for j, (cells, plan) in enumerate(zip(found, plans, strict=True)):
        _group(program, grids, grids.shifts[j], cells, plan, first=j == 0, last=j == len(plans) - 1)
    bias = code.readout == "sign" or code.base != 0
    if code.readout == "sign":
        network = program.output({"state": -code.base, "": Fraction(code.base, 2)})
    else:
        network = program.output({"state": 1, "": code.base})
    options = {"per_grid": per_grid, "dim": dim, "trials": trials, "seed": seed, "readout": readout}
    terms = [1] * D if rows is None else [sum(w != 0 for w in row) for row in rows]
    size = _size(plans, grids.move, bias, task.data.dim, terms)
    return Memorizer(task, network, code.readout, "grouped_cells", options, size, 0.5)


def largest_group(task: Task) -> int:
    """The largest K < 1 / (2 r), r = mu / (lambda_inf - mu): so many points always fit on one grid.

    Raises: UserError if not even one does, with the limit.
    """
    separation = opposite_separation(task.data, "inf").lower
    if not 3 * task.radius < separation * (1 - 1e-9):
        raise UserError(
            f"radius must be below {separation / 3:g}, a third of the l_inf separation, for balls to fit into cells, "
            f"got {task.radius:g}: use another construction"
        )
    ratio = Fraction(task.radius) * _scale(separation, task.radius)
    return max(1, math.ceil(1 / (2 * ratio)) - 1)


def _projected(task: Task, dim: int | None, trials: int, seed: int) -> tuple[list[list[Fraction]] | None, Task]:
    """Rows of a projection W, short fractions, and the task of the projected points; the task itself without one.

    Projected points are rounded to float64, and |W|_2 may exceed 1 by the rounding of W: the radius covers both.
    """
    if dim is None:
        return None, task
    if task.norm != "2":
        raise UserError(f"dim must be left out in l_{task.norm}: projections keep balls of l_2 only")
    if not 1 <= dim <= task.data.dim:
        raise UserError(f"dim must be 1 to {task.data.dim}, the dimension of the points, got {dim}")
    W = np.rint(random_projection(task, dim, trials, seed) * 2**24) / 2**24
    x = task.data.points
    y = x @ W.T
    # |W|_2^2 <= largest row sum of |W W^T|; U per operation in W x.
    stretch = math.sqrt(float(np.abs(W @ W.T).sum(axis=1).max()) * (1 + 1e-9))
    error = math.sqrt(dim) * (x.shape[1] + 3) * U * float((np.abs(x) @ np.abs(W).T).max()) * 2
    inner = memorization_task(y, task.data.labels, "2", (task.radius * stretch + error) * (1 + 1e-9))
    return [[Fraction(v) for v in row] for row in W.tolist()], inner


def random_projection(task: Task, dim: int, trials: int, seed: int) -> Float[np.ndarray, "dim D"]:
    """The best of some random orthonormal rows: that with the largest l_inf separation of the projected points."""
    best, farthest = None, -1.0
    for stream in np.random.SeedSequence(seed).spawn(trials):
        rows = np.linalg.qr(np.random.default_rng(stream).normal(size=(task.data.dim, dim)))[0].T
        projected = LabelledPoints(task.data.points @ rows.T, task.data.labels)
        apart = opposite_separation(projected, "inf").distance
        if apart > farthest:
            best, farthest = rows, apart
    if best is None:
        raise UserError(f"trials must be at least 1, got {trials}")
    return best


@dataclass(frozen=True, eq=False)
class _Grids:
    """u = scale x + move >= 1 on all balls; grid j has its faces where u + shift is whole."""

    points: list[list[Fraction]]
    """u of each point, exactly."""
    scale: Fraction
    move: list[Fraction]
    digits: int
    groups: list[list[int]]
    """Indices of stored points."""
    shifts: list[list[Fraction]]
    """For each group and coordinate, in [0, 1)."""
    c: Fraction
    """Floors are right from this fractional part on, a power of two."""

    def cells(self, group: list[int], label: Mapping[int, int]) -> dict[int, int]:
        """Labels by number of the cell, for a group of points."""
        shift = self.shifts[self.groups.index(group)]
        return {
            sum(
                math.floor(v + s) << (self.digits * k)
                for k, (v, s) in enumerate(zip(self.points[i], shift, strict=True))
            ): label[i]
            for i in group
        }


def _scale(separation: float, radius: float) -> Fraction:
    """Cells a little smaller than lambda_inf - mu."""
    return short_above_inverse(math.nextafter(separation - radius, 0.0))


def _fit(task: Task, stored: list[int], per_grid: int | None) -> _Grids:
    most = largest_group(task)
    size = most if per_grid is None else per_grid
    if size < 1:
        raise UserError(f"per_grid must be at least 1, got {size}")
    scale = _scale(opposite_separation(task.data, "inf").lower, task.radius)
    reach = scale * Fraction(task.radius)
    x = task.data.points
    # The lowest ball ends above 1, so that no coordinate is cut off by a ReLU.
    move = [2 - math.floor(scale * Fraction(float(low)) - reach) for low in x.min(axis=0)]
    points = [[scale * Fraction(v) + m for v, m in zip(row, move, strict=True)] for row in x.tolist()]
    groups = [stored[k : k + size] for k in range(0, len(stored), size)]
    shifts, spare = [], Fraction(1)
    for group in groups:
        faces, rooms = zip(*(middle_of_gap([points[i][k] for i in group]) for k in range(task.data.dim)), strict=True)
        shifts.append([-face % 1 for face in faces])
        spare = min(spare, min(rooms) - reach)
    if spare <= 0:
        raise UserError(f"per_grid must be at most {most} at this radius for these points, got {size}")
    c = Fraction(1, 2 ** max(3, math.ceil(math.log2(float(4 / spare)) + 1e-9)))
    top = max(max(row) for row in points) + reach + 2
    return _Grids(points, scale, [Fraction(m) for m in move], math.ceil(math.log2(top)), groups, shifts, c)


class _Carrying(Program):
    """A program in which every layer carries the registers `kept` on."""

    def __init__(self, inputs: list[str]) -> None:
        super().__init__(inputs)
        self.kept: list[str] = []

    def relu(self, neurons: Mapping[str, Expression]) -> None:
        super().relu({**neurons, **{name: {name: 1} for name in self.kept}})


def _group(
    program: _Carrying,
    grids: _Grids,
    shift: list[Fraction],
    cells: dict[int, int],
    plan: Plan,
    *,
    first: bool,
    last: bool,
) -> None:
    """state <- max(state, relu(f_j - L U))."""
    D, n, c = len(shift), grids.digits, grids.c
    whole, coordinates = Fraction(2**n), [f"u{k}" for k in range(D)]
    for k in range(D):
        # 1 - z / 2^n for z = u + shift, and for z + 2 c.
        program.let(f"v{k}", {f"u{k}": -1 / whole, "": 1 - shift[k] / whole})
        program.let(f"w{k}", {f"u{k}": -1 / whole, "": 1 - (shift[k] + 2 * c) / whole})
    program.kept = coordinates + ([] if first else ["state"])
    doubling_layers(program, [f"{name}{k}" for k in range(D) for name in "vw"], n, c, {})
    # floor z = z + v - 1; the fractional part of z + 2 c is 1 - w.
    index: dict[str, Fraction | int | float] = {"": sum(2 ** (n * k) * (shift[k] - 1) for k in range(D))}
    for k in range(D):
        index |= {f"u{k}": 2 ** (n * k), f"v{k}": 2 ** (n * k)}
    program.kept = ([] if last else coordinates) + ([] if first else ["state"])
    program.relu({"index": index} | {f"unsafe{k}": {f"w{k}": 1 / c, "": 4 - 1 / c} for k in range(D)})
    program.let("U", {f"unsafe{k}": 1 for k in range(D)})
    program.kept = ["U", *program.kept]
    find_label(program, cells, plan)
    program.kept.remove("U")
    largest = plan.per_group * (2**plan.label_bits - 1)
    program.relu({"more": {"out": 1, "U": -largest} | ({} if first else {"state": -1})})
    program.let("state", {"more": 1} | ({} if first else {"state": 1}))


def _size(plans: list[Plan], move: list[Fraction], bias: bool, inputs: int, terms: list[int]) -> Size:
    """Exact, if no constant of a grid vanishes by chance; `move` may.

    The first layer reads each coordinate from so many `terms` of the `inputs`.
    """
    D = len(move)
    nonzero, widths = sum(m != 0 for m in move) + 7 * (sum(terms) - D), []
    for j, plan in enumerate(plans):
        first, last = j == 0, j == len(plans) - 1
        n, state, carried = plan.digits, int(not first), (0 if last else D) + int(not first)
        look_up = [width + 1 + carried for width in plan.look_up_widths]
        widths += [7 * D + state] * n + [1 + D + carried, *look_up, 1 + carried]
        # Floors: the state is a sum of two neurons from the second group on.
        nonzero += 6 * D * 2 + D + min(j, 2) + (n - 1) * (23 * D + state)
        nonzero += (4 * D + 1) + 4 * D + carried
        # U is a sum of D neurons at first.
        nonzero += plan.look_up_nonzero + (D - 1) + len(look_up) * (1 + carried)
        nonzero += plan.out_neurons + 1 + state + carried
    nonzero += min(len(plans), 2) + bias
    total = sum((a + 1) * b for a, b in zip([inputs, *widths], [*widths, 1], strict=True))
    return Size(nonzero, total, sum(widths), len(widths) + 1, max(widths))
