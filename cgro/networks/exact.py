"""ReLU networks with exact rational weights, for constructions that need more bits than float64 has.

Evaluation is in rational arithmetic; only the outputs are rounded to float64.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import sparse

from cgro.base.arrays import real_array
from cgro.base.errors import UserError
from cgro.networks.relu import PrecisionError, ReluNetwork, Size

Row = tuple[tuple[tuple[int, Fraction], ...], Fraction]
"""Non-zero weights by input, and the bias."""
WholeRow = tuple[list[tuple[int, int]], int]
"""The same as integers, over a denominator that is kept elsewhere."""
Expression = Mapping[str, Fraction | int | float]
"""A linear combination of registers; the key "" is the constant."""


@dataclass(frozen=True)
class ExactNetwork:
    """A ReLU network of `inputs` inputs; the last layer is affine."""

    inputs: int
    layers: tuple[tuple[Row, ...], ...]

    @classmethod
    def of(cls, network: ReluNetwork) -> ExactNetwork:
        """The same network: float64 weights are rational numbers."""
        return cls(network.inputs, tuple(_exact_layer(weight, bias) for weight, bias in network.layers))

    @property
    def outputs(self) -> int:
        """Output dimension."""
        return len(self.layers[-1])

    @cached_property
    def size(self) -> Size:
        """The counts."""
        widths = [len(layer) for layer in self.layers]
        nonzero = sum(len(row) + (bias != 0) for layer in self.layers for row, bias in layer)
        total = sum((a + 1) * b for a, b in zip([self.inputs, *widths], widths, strict=False))
        return Size(nonzero, total, sum(widths[:-1]), len(widths), max(widths[:-1], default=0))

    @cached_property
    def bits(self) -> int:
        """Bits of the widest weight or bias as a fixed-point number; those with other denominators count both parts."""
        values = (v for layer in self.layers for row, bias in layer for v in (*(w for _, w in row), bias))
        return max(abs(v.numerator).bit_length() + v.denominator.bit_length() - 1 for v in values)

    @property
    def largest_weight(self) -> float:
        """Largest |weight| or |bias|."""
        return float(max(abs(v) for layer in self.layers for row, b in layer for v in (*(w for _, w in row), b)))

    def evaluate(self, x: list[Fraction]) -> list[Fraction]:
        """Outputs at one point, exactly."""
        h, denominator = over_one_denominator(x)
        for k, (rows, common) in enumerate(self.whole_layers, 1):
            z = [sum([w * h[j] for j, w in row], bias * denominator) for row, bias in rows]
            h = [max(v, 0) for v in z] if k < len(self.layers) else z
            denominator *= common
            shared = math.gcd(denominator, *h)
            h, denominator = [v // shared for v in h], denominator // shared
        return [Fraction(v, denominator) for v in h]

    @cached_property
    def whole_layers(self) -> list[tuple[list[WholeRow], int]]:
        """Each layer as integers over one denominator: they are added and multiplied ten times faster."""
        found = []
        for layer in self.layers:
            values, common = over_one_denominator([v for row, bias in layer for v in (*(w for _, w in row), bias)])
            rest = iter(values)
            found.append(([([(j, next(rest)) for j, _ in row], next(rest)) for row, _ in layer], common))
        return found

    def __call__(self, x: Float[np.ndarray, "*batch D"]) -> Float[np.ndarray, "*batch outputs"]:
        """Outputs at points (*batch, D), exact until they are rounded to float64."""
        x = real_array("points", x)
        if x.ndim == 0 or x.shape[-1] != self.inputs:
            raise UserError(
                f"points must have last dimension {self.inputs}, the inputs of the network, got shape {x.shape}"
            )
        rows = [self.evaluate([Fraction(v) for v in row]) for row in x.reshape(-1, self.inputs).tolist()]
        return np.array([[float(v) for v in row] for row in rows]).reshape(*x.shape[:-1], self.outputs)

    def as_json(self) -> str:
        """All weights as fractions: for each layer, for each neuron, [[[input, "p/q"], ...], "bias"]."""
        layers = [[[[[j, str(w)] for j, w in row], str(bias)] for row, bias in layer] for layer in self.layers]
        return json.dumps({"inputs": self.inputs, "layers": layers})

    @classmethod
    def from_json(cls, text: str) -> ExactNetwork:
        """The network in a text of `as_json`. Raises: UserError for any other text."""
        try:
            found = json.loads(text)
            layers = tuple(
                tuple((tuple((int(j), Fraction(w)) for j, w in row), Fraction(bias)) for row, bias in layer)
                for layer in found["layers"]
            )
            return cls(int(found["inputs"]), layers)
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise UserError(f"text must be an exact network as written by as_json, got another ({error})") from error

    def same_as(self, other: Any) -> bool:
        """Are all weights and biases equal?"""
        return isinstance(other, ExactNetwork) and self == other

    def as_float(self, points: Float[np.ndarray, "N D"]) -> ReluNetwork:
        """The same network in float64, if it is one: exact weights, and true outputs at the points.

        Raises: PrecisionError naming the first layer with a weight that float64 does not hold, or the point at which
            rounding changes the output.
        """
        pairs = []
        inputs = self.inputs
        for k, layer in enumerate(self.layers, 1):
            entries = [(i, j, w) for i, (row, _) in enumerate(layer) for j, w in row]
            for value in (*(w for *_, w in entries), *(bias for _, bias in layer)):
                if not _is_float(value):
                    bits = abs(value.numerator).bit_length()
                    raise PrecisionError(f"layer {k} has a weight of {bits} bits: float64 carries 53; keep it exact")
            rows, columns, values = zip(*entries, strict=True) if entries else ((), (), ())
            weight = sparse.csr_array(
                ([float(v) for v in values], (list(rows), list(columns))), shape=(len(layer), inputs)
            )
            pairs.append((weight, np.array([float(bias) for _, bias in layer])))
            inputs = len(layer)
        network = ReluNetwork.of(pairs)
        wrong = np.flatnonzero((np.abs(network(points) - self(points)) > 1e-9).any(axis=-1))
        if wrong.size:
            raise PrecisionError(
                f"point {wrong[0]} gets another output in float64: it loses bits on the way; keep it exact"
            )
        return network


class Program:
    """Builds an ExactNetwork layer by layer from named registers, linear expressions of the neurons before."""

    def __init__(self, inputs: list[str]) -> None:
        self.inputs = len(inputs)
        self.layers: list[tuple[Row, ...]] = []
        self.registers: dict[str, dict[int, Fraction]] = {name: {j: Fraction(1)} for j, name in enumerate(inputs)}

    def relu(self, neurons: Mapping[str, Expression]) -> None:
        """A hidden layer of relu(expression of registers); its neurons are the registers from now on."""
        self.layers.append(tuple(self._row(expression) for expression in neurons.values()))
        self.registers = {name: {j: Fraction(1)} for j, name in enumerate(neurons)}

    def let(self, name: str, expression: Expression) -> None:
        """A register for a linear expression of registers, without neurons of its own."""
        row, bias = self._row(expression)
        self.registers[name] = dict(row) | ({-1: bias} if bias else {})

    def output(self, expression: Expression) -> ExactNetwork:
        """The finished network, with one output."""
        return ExactNetwork(self.inputs, (*self.layers, (self._row(expression),)))

    def _row(self, expression: Expression) -> Row:
        total: dict[int, Fraction] = {-1: Fraction(0)}
        for name, factor in expression.items():
            for j, w in ({-1: Fraction(1)} if name == "" else self.registers[name]).items():
                total[j] = total.get(j, Fraction(0)) + Fraction(factor) * w
        bias = total.pop(-1)
        return tuple((j, w) for j, w in sorted(total.items()) if w), bias


def _exact_layer(weight: Any, bias: np.ndarray) -> tuple[Row, ...]:
    entries = sparse.coo_array(weight)
    rows: list[list[tuple[int, Fraction]]] = [[] for _ in bias]
    for i, j, w in zip(*entries.coords, entries.data, strict=True):
        if w:
            rows[i].append((int(j), Fraction(float(w))))
    return tuple((tuple(sorted(row)), Fraction(float(b))) for row, b in zip(rows, bias, strict=True))


def over_one_denominator(values: Sequence[Fraction]) -> tuple[list[int], int]:
    """Numerators of the values over their least common denominator, and that denominator."""
    common = math.lcm(*(v.denominator for v in values))
    return [v.numerator * (common // v.denominator) for v in values], common


def _is_float(value: Fraction) -> bool:
    try:
        return Fraction(float(value)) == value
    except OverflowError:
        return False
