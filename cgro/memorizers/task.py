"""Memorization tasks, and the memorizers that constructions return.

A network robustly memorizes N labelled points at radius mu in l_p if it gives every point of the closed ball
B_p(x_i, mu) the label y_i. With lambda = the smallest distance between points of different labels, this needs
2 mu < lambda; rho = 2 mu / lambda in (0, 1) is the robustness ratio, gamma = lambda - 2 mu the gap between balls.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from cgro.base.errors import UserError
from cgro.base.norms import Norm, require_norm
from cgro.base.validate import real
from cgro.data.separation import LabelledPoints, Separation, opposite_separation
from cgro.networks.exact import ExactNetwork
from cgro.networks.readout import Readout, require_exact_labels
from cgro.networks.relu import PrecisionError, ReluNetwork, Size

U = 2.0**-53
"""Unit roundoff of float64."""


@dataclass(frozen=True, eq=False)
class Task:
    """Labelled points, a norm and a radius that the points admit; `memorization_task` makes it."""

    data: LabelledPoints
    norm: Norm
    radius: float
    separation: Separation

    @property
    def ratio(self) -> float:
        """Robustness ratio rho = 2 radius / separation, in (0, 1)."""
        return 2 * self.radius / self.separation.distance

    @property
    def gap(self) -> float:
        """A lower bound of gamma = separation - 2 radius, the distance between balls of different labels."""
        return math.nextafter(self.separation.lower - 2 * self.radius, -math.inf)

    @property
    def default_readout(self) -> Readout:
        """sign for labels -1 and +1, label for all others."""
        return "sign" if np.isin(self.data.labels, (-1, 1)).all() else "label"


def memorization_task(
    points: Any, labels: Any, norm: str, radius: float, *, separation: Separation | None = None
) -> Task:
    """Points (N, D) with integer labels (N,), to be memorized at a radius > 0 in l_p.

    `separation` may be given to skip the search.

    Raises: UserError for points or labels that LabelledPoints refuses, fewer than two classes, duplicates with
        different labels, and a radius that is not positive or reaches half the separation; it names the pair
        and the limit.
    """
    data = points if isinstance(points, LabelledPoints) else LabelledPoints(points, labels)
    norm = require_norm(norm)
    if not (math.isfinite(real("radius", radius)) and radius > 0):
        raise UserError(f"radius must be finite and greater than 0, in input units, got {radius}")
    found = opposite_separation(data, norm) if separation is None else separation
    if found.norm != norm:
        raise UserError(f"separation must be in l_{norm}, the norm of the task, got l_{found.norm}")
    (i, j), (a, b) = found.require_positive().pair, found.labels
    if 2 * radius >= found.lower:
        raise UserError(
            f"radius must be below {found.distance / 2:g}, got {radius:g}: points {i} and {j} with labels {a} and {b} "
            f"are {found.distance:g} apart in l_{norm}"
        )
    return Task(data, norm, float(radius), found)


@dataclass(frozen=True, eq=False)
class Memorizer:
    """A network that robustly memorizes its task, with the guarantees of its theorem."""

    task: Task
    network: ReluNetwork | ExactNetwork
    readout: Readout
    construction: str
    """Name of the function that built it, a key of `CONSTRUCTIONS`."""
    options: dict[str, Any]
    """The keyword arguments of the construction, which rebuild the same network."""
    claimed: Size
    """Size by the formula of the construction, for points in general position."""
    margin: float
    """Proved lower bound of the margin on every ball, for the real function of the float64 weights."""

    @property
    def float_network(self) -> ReluNetwork:
        """The network, known to have float64 weights. Raises: PrecisionError if it keeps exact rationals."""
        if isinstance(self.network, ReluNetwork):
            return self.network
        return self.network.as_float(self.task.data.points)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Labels (n,) read from the outputs at points (n, D)."""
        out = self.network(x)[:, 0]
        return np.where(out > 0, 1, -1) if self.readout == "sign" else np.rint(out).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Code:
    """The points with an indicator of their own, and the map from indicators to the output.

    A point of the base label needs none. h_i >= M on the ball of stored point i and 0 on all balls of other labels
    gives, with S_b = sum of h_i over stored points whose label has bit b,

        sign:   f = +-(sum_i h_i - M/2)                    base: the more frequent of -1 and +1
        label:  f = y_min + sum_b 2^b (1 - relu(1 - S_b / M))    base: the smallest label y_min
    """

    readout: Readout
    stored: np.ndarray
    """Indices of the stored points."""
    base: int
    bits: np.ndarray
    """(stored, bits) of label - y_min, only bits that occur; one column of ones for sign."""
    values: np.ndarray
    """Contribution of each bit to the output."""

    def head(self, margin: float) -> tuple[list[tuple[Any, Any]], float]:
        """Layers from indicators to the output, and the margin that they keep; `margin` is M > 0."""
        n, bits = self.bits.shape
        if self.readout == "sign":
            half = margin / 2
            sign = -float(self.base)
            return [(np.full((1, n), sign), np.array([-sign * half]))], min(half, margin - half)
        # Rounded up, so that own indicators reach at least 1.
        slope = math.nextafter(1 / margin, math.inf)
        if not math.isfinite(slope * n):
            raise PrecisionError(f"gap between balls is {margin:g} in the network: float64 carries no 1/gap; scale up")
        clip = (-slope * self.bits.T, np.ones(bits))
        return [clip, (-self.values[None, :], np.array([self.base + self.values.sum()]))], 0.5

    def head_size(self) -> tuple[int, int, int]:
        """Non-zero parameters, all parameters and ReLUs of the head."""
        n, bits = self.bits.shape
        if self.readout == "sign":
            return n + 1, n + 1, 0
        return int(self.bits.sum()) + 2 * bits + (1 if self.base + self.values.sum() else 0), (n + 2) * bits + 1, bits


def encode(task: Task, readout: Readout | None) -> Code:
    """The code for a task's labels; None chooses the read-out by the labels.

    Raises: UserError for a read-out that does not go with the labels.
    """
    labels = task.data.labels
    readout = readout or task.default_readout
    if readout == "sign":
        if not np.isin(labels, (-1, 1)).all():
            raise UserError(
                f"labels must be -1 and +1 for readout 'sign', got {np.unique(labels).tolist()}: use readout='label'"
            )
        base = -1 if (labels == 1).sum() <= (labels == -1).sum() else 1
        stored = np.flatnonzero(labels != base)
        return Code(readout, stored, base, np.ones((len(stored), 1)), np.ones(1))
    if readout != "label":
        raise UserError(f"readout must be 'sign' or 'label' for memorizers, which have one output, got {readout!r}")
    base = int(labels.min())
    if int(labels.max()) - base >= 2**31:  # as Python integers: the difference may exceed 64 bits
        raise PrecisionError(f"labels must span less than 2^31, got {base} to {labels.max()}: renumber them")
    require_exact_labels(labels)
    stored = np.flatnonzero(labels != base)
    codes = labels[stored] - base
    powers = 2 ** np.arange(int(codes.max()).bit_length())
    bits = (codes[:, None] & powers) > 0
    used = bits.any(axis=0)
    return Code(readout, stored, base, bits[:, used].astype(float), powers[used].astype(float))
