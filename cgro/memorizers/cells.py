"""The small-radius memorizer with O~(sqrt N) parameters: cells of a grid, and their labels packed into a few integers.

Balls so small that each fits into a cell of a grid are told apart by the cell: a floor network finds its integer index
exactly, and about sqrt(N) long integers hold the labels of all cells, from which bits are peeled one by one.
Weights are exact rationals: the longest have as many bits as sqrt(N) indices together, far beyond float64.
Source: Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, Theorem 4.2 (i) [S], and Vardi, Yehudai & Shamir, ICLR 2022
[S], for the plan; the layers, the data-dependent grid and its larger radius are ours [D].
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from cgro.base.errors import UserError
from cgro.data.separation import LabelledPoints, opposite_separation
from cgro.memorizers.task import Memorizer, Task, encode
from cgro.networks.exact import ExactNetwork, Expression, Program
from cgro.networks.readout import Readout
from cgro.networks.relu import PrecisionError, Size


@dataclass(frozen=True, eq=False)
class Grid:
    """z = scale x + shift in (0, 2^digits)^D: cells have side 1 in z, and all points stay away from their faces."""

    scale: Fraction
    shift: list[Fraction]
    digits: int
    """n: cells in each coordinate 2^n."""
    room: Fraction
    """Smallest distance in z of a point's coordinate to an integer."""

    @property
    def largest_radius(self) -> float:
        """Balls below this radius lie in their cell, in every norm."""
        return float(self.room / self.scale)

    def cell(self, x: np.ndarray) -> int:
        """Index sum_k 2^(n k) floor(z_k), exactly."""
        z = (self.scale * Fraction(v) + s for v, s in zip(x.tolist(), self.shift, strict=True))
        return sum(math.floor(v) << (self.digits * k) for k, v in enumerate(z))


def grid_cells(task: Task, *, readout: Readout | None = None) -> Memorizer:
    """Any norm; radius below half the largest gap of fractional parts over the scale, about lambda_inf / (2 N) or more.

    With M stored cells of W-bit indices, in groups of N_2: depth n + 2 ceil(M / N_2) + N_2 (W + 2) + 1, about
    2 sqrt(2 M W), width 3 D + 1 and then at most 10. Margin 1/2 with both read-outs: the output is exact on all balls.

    Raises: UserError beyond that radius, which it names.
    """
    code = encode(task, readout)
    grid = fit_grid(task.data)
    if grid.scale * Fraction(task.radius) >= grid.room:
        raise UserError(
            f"radius must be below {grid.largest_radius:g} for balls to fit into cells of a grid, got "
            f"{task.radius:g}: use another construction"
        )
    values = code.bits @ code.values
    if code.readout == "sign":
        values = np.ones(len(code.stored))
    labels = {grid.cell(task.data.points[i]): int(v) for i, v in zip(code.stored, values, strict=True)}
    D = task.data.dim
    plan = Plan.best(len(labels), grid.digits * D, max(labels.values()).bit_length(), grid.digits, D)
    plan = replace(plan, output_bias=code.readout == "sign" or code.base != 0)
    network = _network(task, grid, labels, plan, code.readout, code.base)
    options = {"readout": readout}
    return Memorizer(task, network, code.readout, "grid_cells", options, plan.size, 0.5)


@dataclass(frozen=True)
class Plan:
    """The number of groups and the resulting size."""

    cells: int
    index_bits: int
    label_bits: int
    digits: int
    dim: int
    per_group: int
    output_bias: bool = True
    """Whether the output has a constant; it has none if the smallest label is 0."""

    @classmethod
    def best(cls, cells: int, index_bits: int, label_bits: int, digits: int, dim: int) -> Plan:
        """The group size that minimizes the depth."""
        plans = (cls(cells, index_bits, label_bits, digits, dim, k) for k in range(1, cells + 1))
        return min(plans, key=lambda plan: plan.depth)

    @property
    def groups(self) -> int:
        """ceil(M / N_2)."""
        return -(-self.cells // self.per_group)

    @property
    def depth(self) -> int:
        """Affine layers."""
        return self.digits + 2 * self.groups + self.per_group * (self._bit_layers + 2) + 1

    @property
    def _bit_layers(self) -> int:
        return max(self.index_bits, self.label_bits)

    @property
    def size(self) -> Size:
        """Exact, if no constant of the grid vanishes by chance."""
        D, n = self.dim, self.digits
        widths = [3 * D + 1] * n + self.look_up_widths
        total = sum((a + 1) * b for a, b in zip([D, *widths], [*widths, 1], strict=True))
        floor = 7 * D + 1 + (n - 1) * (11 * D + 1)
        # Each of the first three neurons of the look-up reads the index from 3 D + 1 neurons, and has a constant.
        first = 3 * (3 * D + 2) - 5
        output = self.out_neurons + self.output_bias
        return Size(floor + first + self.look_up_nonzero + output, total, sum(widths), self.depth, max(widths))

    @property
    def out_neurons(self) -> int:
        """How many neurons the label found is a sum of."""
        return 1 if self.per_group == 1 else 2

    @property
    def look_up_widths(self) -> list[int]:
        """Widths of the layers from the index to the label found."""
        widths = [3, 2] + [5, 4] * (self.groups - 1)
        for t in range(self.per_group):
            first, last = t == 0, t == self.per_group - 1
            for j in range(self._bit_layers):
                index, label = j < self.index_bits, j < self.label_bits
                widths.append(3 + 2 * index + (j > 0) + 2 * label + (j > 0) + (not first))
            widths.append(2 + 1 + (0 if last else 3) + (not first))
            widths.append(1 + (0 if last else 3) + (not first))
        return widths

    @property
    def look_up_nonzero(self) -> int:
        """Non-zero weights and biases of these layers, for an index that is one neuron."""
        # A group after the first carries A and B, which are sums of two neurons from the second on.
        return 9 + (13 + 15 * (self.groups - 2) if self.groups > 1 else 0) + self._peeling

    @property
    def _peeling(self) -> int:
        """Non-zero weights and biases of the layers that peel bits.

        How many neurons make up A and B (`whole`), the numbers taken off them (`taken`), and the output so far: these
        are the inputs of every neuron that reads them.
        """
        count = -2  # The last bit of A and that of B have no bias: 1 - 2^0.
        for t in range(self.per_group):
            last = t == self.per_group - 1
            whole = [2 if t == 0 and self.groups > 1 else 1] * 2
            taken, out = [0, 0], min(t, 2)
            for j in range(self._bit_layers):
                count += 1 + sum(whole) + sum(taken) + out
                out = min(out, 1)
                for k, bits in enumerate((self.index_bits, self.label_bits)):
                    count += 2 * (whole[k] + 1) if j < bits else 0
                    whole[k], taken[k] = (3, 2 + (j > 0)) if j < bits else (1, 1)
            compared, found = 2 * (taken[0] + 1) + taken[1], 3
            carried = (0 if last else 1 + sum(whole), 0 if last else 3)
            count += compared + found + sum(carried) + 2 * out
        return count


def fit_grid(data: LabelledPoints) -> Grid:
    """Cells a little smaller than the l_inf separation, so that no cell holds two labels.

    Each coordinate is shifted until the faces lie in the middle of its largest gap of fractional parts.
    """
    scale = short_above_inverse(opposite_separation(data, "inf").lower)
    shift, rooms, tops = [], [], []
    for column in data.points.T:
        z = [scale * Fraction(v) for v in column.tolist()]
        face, room = middle_of_gap(z)
        # Faces go to the integers; the lowest point lies in the cell [1, 2), so that small steps aside stay inside.
        move = 1 - math.floor(min(z) - face) - face
        shift.append(move)
        rooms.append(room)
        tops.append(max(z) + move)
    digits = max(1, math.ceil(math.log2(max(math.floor(top) for top in tops) + 1)))
    return Grid(scale, shift, digits, min(rooms))


def short_above_inverse(separation: float) -> Fraction:
    """A fraction a little above 1 / separation, exact in a few bits. Raises: PrecisionError if that overflows."""
    if not (separation > 0 and math.isfinite(1 / separation)):
        raise PrecisionError(f"separation {separation:g} is too small: 1 / separation overflows; scale the points up")
    exponent = math.floor(math.log2(1 / separation)) - 20
    return Fraction(math.ceil(math.ldexp(1 / separation * (1 + 1e-12), -exponent))) * Fraction(2) ** exponent


def middle_of_gap(z: Sequence[Fraction]) -> tuple[Fraction, Fraction]:
    """The middle of the largest gap of fractional parts, around the circle, and half of that gap: 1 / (2 N) or more."""
    parts = sorted({v % 1 for v in z})
    gaps = [(b - a, a) for a, b in zip(parts, [*parts[1:], parts[0] + 1], strict=True)]
    gap, start = max(gaps)
    return start + gap / 2, gap / 2


def _network(task: Task, grid: Grid, labels: dict[int, int], plan: Plan, readout: Readout, base: int) -> ExactNetwork:
    D = plan.dim
    program = Program([f"x{k}" for k in range(D)])
    index_layers(program, grid, _step(grid, task.radius))
    find_label(program, labels, plan)
    if readout == "sign":
        # The output is 0 on base balls and 1 on the others.
        return program.output({"out": -base, "": Fraction(base, 2)})
    return program.output({"out": 1, "": base})


def index_layers(program: Program, grid: Grid, step: Fraction) -> None:
    """index = sum_k 2^(n k) floor(z_k) from x, by doubling v = 1 - z / 2^n modulo 1 n times.

    v -> 2 v - [relu(v - 1/2 + c_t) - relu(v - 1/2)] / c_t with c_t = step 2^(t-n) doubles modulo 1 except for v in
    (1/2 - c_t, 1/2): those are z less than `step` above an integer. In the end v = 1 - (z - floor z).

    Registers x0, ..., x(D-1) of the program are the inputs.
    """
    n, D = grid.digits, len(grid.shift)
    for k in range(D):
        program.let(f"v{k}", {f"x{k}": -grid.scale / 2**n, "": 1 - grid.shift[k] / 2**n})
    whole: dict[str, Fraction | int | float] = {f"x{k}": grid.scale * 2 ** (n * k) for k in range(D)}
    program.let("Z", whole | {"": sum(s * 2 ** (n * k) for k, s in enumerate(grid.shift))})
    doubling_layers(program, [f"v{k}" for k in range(D)], n, step, {"Z": {"Z": 1}})
    rest: dict[str, Fraction | int | float] = {f"v{k}": 2 ** (n * k) for k in range(D)}
    program.let("index", {"Z": 1} | rest | {"": -sum(2 ** (n * k) for k in range(D))})


def doubling_layers(
    program: Program, names: list[str], digits: int, step: Fraction, kept: Mapping[str, Expression]
) -> None:
    """Doubles the registers modulo 1, n times; `kept` are neurons that every layer carries on."""
    half = Fraction(1, 2)
    for t in range(digits):
        c = step / 2 ** (digits - t)
        neurons: dict[str, Expression] = {}
        for v in names:
            neurons |= {f"{v}a": {v: 1}, f"{v}b": {v: 1, "": c - half}, f"{v}c": {v: 1, "": -half}}
        program.relu(neurons | dict(kept))
        for v in names:
            program.let(v, {f"{v}a": 2, f"{v}b": -1 / c, f"{v}c": 1 / c})


def _step(grid: Grid, radius: float) -> Fraction:
    """A power of two that keeps the points of all balls away from where doubling errs."""
    spare = grid.room - grid.scale * Fraction(radius)
    return Fraction(1, 2 ** max(1, math.ceil(math.log2(float(1 / spare)) + 1e-9)))


def find_label(program: Program, labels: dict[int, int], plan: Plan) -> None:
    """out = the label of the cell whose number is the register `index`, or 0 if it is none of `labels`."""
    cells = sorted(labels)
    groups = [cells[k : k + plan.per_group] for k in range(0, len(cells), plan.per_group)]
    _look_up(program, groups, labels, plan)
    _peel(program, plan)


def _look_up(program: Program, groups: list[list[int]], labels: dict[int, int], plan: Plan) -> None:
    """The packed indices A and labels B of the group of cells that the index lies in; 0 without one.

    1{lo <= i <= hi} = relu(1 - relu(lo - i) - relu(i - hi)) for integers i.
    """
    W, b = plan.index_bits, plan.label_bits
    for g, group in enumerate(groups):
        kept: dict[str, Expression] = {"A": {"A": 1}, "B": {"B": 1}} if g else {}
        around = {"p": {"index": -1, "": group[0]}, "q": {"index": 1, "": -group[-1]}, "index": {"index": 1}}
        program.relu(around | kept)
        program.relu({"is": {"p": -1, "q": -1, "": 1}, "index": {"index": 1}} | kept)
        padded = [*((cell, labels[cell]) for cell in group), *[(0, 0)] * (plan.per_group - len(group))]
        packed = {"A": 0, "B": 0}
        for cell, label in padded:
            packed = {"A": (packed["A"] << W) + cell, "B": (packed["B"] << b) + label}
        for name in ("A", "B"):
            program.let(name, ({name: 1} if g else {}) | {"is": packed[name]})


def _peel(program: Program, plan: Plan) -> None:
    """out = the label whose index, among those packed in A, equals the index.

    The highest bit of an integer A < 2^K is relu(A - 2^(K-1) + 1) - relu(A - 2^(K-1)). Indices that differ are at least
    1 apart, so relu(label - 2^b |index - a|) is the label or 0.
    """
    left = {"A": plan.index_bits * plan.per_group, "B": plan.label_bits * plan.per_group}
    bits = {"A": plan.index_bits, "B": plan.label_bits}
    for t in range(plan.per_group):
        first, last = t == 0, t == plan.per_group - 1
        out: dict[str, Expression] = {} if first else {"out": {"out": 1}}
        for j in range(max(bits.values())):
            neurons: dict[str, Expression] = {"index": {"index": 1}, "A": {"A": 1}, "B": {"B": 1}}
            for name in ("A", "B"):
                if j > 0:
                    neurons |= {f"{name}taken": {f"{name}taken": 1}}
                if j < bits[name]:
                    top = 2 ** (left[name] - 1)
                    neurons |= {f"{name}h": {name: 1, "": 1 - top}, f"{name}l": {name: 1, "": -top}}
            program.relu(neurons | out)
            for name in ("A", "B"):
                if j < bits[name]:
                    top = 2 ** (left[name] - 1)
                    program.let(name, {name: 1, f"{name}h": -top, f"{name}l": top})
                    before = {f"{name}taken": 2} if j > 0 else {}
                    program.let(f"{name}taken", before | {f"{name}h": 1, f"{name}l": -1})
                    left[name] -= 1
        carried: dict[str, Expression] = {} if last else {name: {name: 1} for name in ("index", "A", "B")}
        compared = {"p": {"Ataken": 1, "index": -1}, "q": {"Ataken": -1, "index": 1}, "label": {"Btaken": 1}}
        program.relu(compared | carried | out)
        scale = -(2**plan.label_bits)
        program.relu({"found": {"label": 1, "p": scale, "q": scale}} | carried | out)
        program.let("out", {"found": 1} | ({} if first else {"out": 1}))
