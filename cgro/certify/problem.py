"""One question for all tiers: is the margin positive on every closed ball B_p(x_i, radius)?

    margin_i(x) = min_r ( C[i, r] f(x) + d[i, r] ),   rows C, d from the read-out (cgro.networks.readout)

The rows meet the last layer: <C W_L, h> + C b_L + d is one affine map of the last hidden layer, so that a bound is a
bound of the margin itself and outputs that grow together cancel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from cgro.base.norms import Norm, require_norm
from cgro.certify.arguments import checked_count, checked_points, checked_radius
from cgro.certify.rounding import gamma
from cgro.networks.readout import Readout, margin_rows
from cgro.networks.relu import ReluNetwork

_MEMORY = 2**25
"""Float64 numbers that one chunk of points may hold at once."""


@dataclass(frozen=True, eq=False)
class Problem:
    """A network, centres, the rows of the margin, and a ball."""

    network: ReluNetwork
    points: Float[np.ndarray, "N D"]
    rows: Float[np.ndarray, "N R outputs"]
    offsets: Float[np.ndarray, "N R"]
    norm: Norm
    radius: float

    @classmethod
    def of(
        cls,
        network: ReluNetwork,
        points: Float[np.ndarray, "N D"],
        labels: Int[np.ndarray, " N"],
        norm: str,
        radius: float,
        readout: Readout,
    ) -> Problem:
        """The problem, checked.

        Raises: UserError for points that are not finite or do not fit the network, a number of labels that differs,
            labels that are no integers or that the read-out cannot read, an unknown norm, and a radius that is
            negative or not finite.
        """
        points = checked_points(points, network.inputs)
        rows, offsets = margin_rows(readout, network.outputs, checked_count(labels, len(points)))
        return cls(network, points, rows, offsets, require_norm(norm), checked_radius(radius))

    def __len__(self) -> int:
        return len(self.points)

    def take(self, which: Int[np.ndarray, " n"]) -> Problem:
        """The same question for some of the points."""
        return Problem(self.network, self.points[which], self.rows[which], self.offsets[which], self.norm, self.radius)

    def chunks(self, copies: int = 16) -> Iterator[np.ndarray]:
        """Indices of the points, in chunks that hold `copies` numbers for each neuron within the memory limit."""
        rows, inputs = self.rows.shape[1], self.network.inputs
        width = sum(self.network.widths) + inputs + rows * (self._last_width + inputs)
        size = max(1, _MEMORY // (copies * max(1, width)))
        for start in range(0, len(self), size):
            yield np.arange(start, min(start + size, len(self)))

    @property
    def _last_width(self) -> int:
        return int(self.network.weights[-1].shape[1])

    def last_layer(self) -> Joint:
        """The rows joined with the last layer."""
        weight, bias = self.network.layers[-1]
        flat = self.rows.reshape(-1, self.rows.shape[2])
        shape = (*self.offsets.shape, self._last_width)
        joint = np.asarray(flat @ weight).reshape(shape)
        # A row with a single entry +-1 only selects a row of the weight: exact.
        selects = (np.count_nonzero(self.rows, axis=2) <= 1).all() and np.isin(self.rows, (-1, 0, 1)).all()
        unit = gamma(2 * self.rows.shape[2] + 8)
        error = None if selects else unit * np.asarray(np.abs(flat) @ abs(weight)).reshape(shape)
        offset = self.rows @ bias + self.offsets
        return Joint(joint, error, offset, unit * (np.abs(self.rows) @ np.abs(bias) + np.abs(self.offsets)))


@dataclass(frozen=True, eq=False)
class Joint:
    """margin rows = <weight, h> + offset, where the exact coefficients differ from these by at most the errors."""

    weight: Float[np.ndarray, "N R width"]
    error: Float[np.ndarray, "N R width"] | None
    offset: Float[np.ndarray, "N R"]
    offset_error: Float[np.ndarray, "N R"]
