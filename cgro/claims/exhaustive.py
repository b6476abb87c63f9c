"""The least two-layer ReLU network that is right on all given boxes, over all real weights.

Whether k neurons suffice is a question of linear real arithmetic with cases, for given signs of the output weights:
their sizes belong to the neurons. The solver is asked at finitely many points of the boxes, their centres and corners
at first. If it refutes these, no network is right on the boxes. If it finds a network, the network is tried on the
whole boxes, and a point where it errs is added.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import permutations, product
from typing import Any

import z3

from cgro.claims.solver import relu, solved, solver_for

Point = tuple[Fraction, ...]
Labels = tuple[int, ...]


@dataclass(frozen=True)
class TwoLayers:
    """sum_j signs[j] relu(<weights[j], x> + biases[j]) + constant."""

    weights: tuple[tuple[Any, ...], ...]
    biases: tuple[Any, ...]
    signs: tuple[int, ...]
    constant: Any

    @classmethod
    def unknown(cls, dim: int, positive: int, negative: int) -> TwoLayers:
        """A network whose weights are variables."""
        count = positive + negative
        weights = tuple(tuple(z3.Real(f"w_{j}_{k}") for k in range(dim)) for j in range(count))
        biases = tuple(z3.Real(f"b_{j}") for j in range(count))
        return cls(weights, biases, (1,) * positive + (-1,) * negative, z3.Real("c"))

    def at(self, x: Sequence[Any]) -> Any:
        """Its value as a z3 term."""
        value = self.constant
        for row, bias, sign in zip(self.weights, self.biases, self.signs, strict=True):
            value = value + sign * relu(sum((w * v for w, v in zip(row, x, strict=True)), bias))
        return value

    def in_model(self, model: Any) -> TwoLayers:
        """The weights of a model, exactly."""

        def number(term: Any) -> Any:
            return model.eval(term, model_completion=True)

        rows = tuple(tuple(number(w) for w in row) for row in self.weights)
        return TwoLayers(rows, tuple(map(number, self.biases)), self.signs, number(self.constant))


def fewest_neurons(centers: Sequence[Point], labels: Labels, reach: Fraction, most: int, **limit: float) -> int | None:
    """The least number of neurons with which the sign is the label on all closed l_inf balls of radius `reach`.

    most + 1 if `most` neurons do not suffice; None if the solver cannot tell in time. Options: those of `realizable`.
    """
    for neurons in range(most + 1):
        found = realizable(centers, labels, reach, neurons, **limit)
        if found is not False:
            return neurons if found else None
    return most + 1


def realizable(
    centers: Sequence[Point], labels: Labels, reach: Fraction, neurons: int, *, seconds: float = 60.0
) -> bool | None:
    """Whether some network of so many neurons is right on all balls; None if the solver cannot tell in time."""
    corners = [
        (tuple(c + s * reach for c, s in zip(center, sign, strict=True)), y)
        for center, y in zip(centers, labels, strict=True)
        for sign in (product((-1, 1), repeat=len(center)) if reach else [(0,) * len(center)])
    ]
    # Some signs are hard to refute where others succeed quickly: all get a little time before any gets more.
    left = list(range(neurons + 1))
    limit = min(1.0, seconds)
    while left:
        answers = {k: _search(centers, labels, reach, corners, k, neurons - k, limit) for k in left}
        if True in answers.values():
            return True
        left = [k for k in left if answers[k] is None]
        if left and limit >= seconds:
            return None
        limit = min(8 * limit, seconds)
    return False


def _search(
    centers: Sequence[Point],
    labels: Labels,
    reach: Fraction,
    points: list[tuple[Point, int]],
    positive: int,
    negative: int,
    seconds: float,
) -> bool | None:
    network = TwoLayers.unknown(len(centers[0]), positive, negative)
    solver = solver_for(seconds)
    for x, y in points:
        # A sign is strict: scaled, it is 1 or more.
        solver.add(y * network.at(x) >= 1)
    while (answer := solved(solver)) == z3.sat:
        error = _error(network.in_model(solver.model()), centers, labels, reach)
        if error is None:
            return True
        # Shared between all signs: a point of a ball is one for every network.
        points.append(error)
        solver.add(error[1] * network.at(error[0]) >= 1)
    return False if answer == z3.unsat else None


def _error(network: TwoLayers, centers: Sequence[Point], labels: Labels, reach: Fraction) -> tuple[Point, int] | None:
    """A point of a ball with the wrong sign."""
    if not reach:
        return None
    x = [z3.Real(f"x_{k}") for k in range(len(centers[0]))]
    for center, y in zip(centers, labels, strict=True):
        solver = solver_for()
        solver.add(*(z3.And(v >= c - reach, v <= c + reach) for v, c in zip(x, center, strict=True)))
        solver.add(y * network.at(x) <= 0)
        if solved(solver) == z3.sat:
            model = solver.model()
            return tuple(model.eval(v, model_completion=True).as_fraction() for v in x), y
    return None


def labellings_up_to_symmetry(side: int, dims: int) -> Iterator[tuple[Labels, int]]:
    """Labellings of {1..K}^dims and the sizes of their classes under permuted and reflected coordinates and the sign.

    Cells in the order of product(range(K), repeat=dims).
    """
    cells = list(product(range(side), repeat=dims))
    place = {cell: k for k, cell in enumerate(cells)}
    moves = [
        [place[tuple(side - 1 - c[a] if f else c[a] for a, f in zip(order, flip, strict=True))] for c in cells]
        for order in permutations(range(dims))
        for flip in product((False, True), repeat=dims)
    ]
    seen = bytearray(2 ** len(cells))
    for code in range(2 ** len(cells)):
        if seen[code]:
            continue
        bits = [code >> k & 1 for k in range(len(cells))]
        orbit = {sum(bits[m] << k for k, m in enumerate(move)) for move in moves}
        orbit |= {2 ** len(cells) - 1 - g for g in orbit}
        for g in orbit:
            seen[g] = 1
        yield tuple(1 if b else -1 for b in bits), len(orbit)
