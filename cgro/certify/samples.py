"""The torch module itself at points of the balls: a certificate of its layers must not contradict what it computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from cgro.base.errors import UserError
from cgro.certify.ball import uniform
from cgro.certify.problem import Problem

if TYPE_CHECKING:
    from torch import nn

_EACH = 4
"""Random points of each ball, besides its centre."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Which of the evaluated points the module labels otherwise than the network that was read from it."""

    owner: Int[np.ndarray, " n"]
    """The ball of each point."""
    contradicts: np.ndarray
    """The network's margin is positive there, that of the module's own arithmetic is not; booleans (n,)."""

    @classmethod
    def of(cls, model: nn.Module, problem: Problem, seed: int) -> Samples:
        """The module at the centres and at random points of the balls.

        Raises: UserError where its outputs are not those of the problem's network.
        """
        from cgro.networks.torch_values import require_equal

        # A stream of its own: the falsifier's stays as it is.
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))
        owner = np.repeat(np.arange(len(problem)), _EACH + 1)
        step = uniform(rng, (len(owner), problem.network.inputs), problem.norm)
        step[:: _EACH + 1] = 0
        z, outputs = require_equal(model, problem.network, problem.points[owner] + problem.radius * step)

        def margin(values: Float[np.ndarray, "n outputs"]) -> Float[np.ndarray, " n"]:
            rows = np.einsum("nro,no->nr", problem.rows[owner], values) + problem.offsets[owner]
            return rows.min(axis=1, initial=np.inf)

        return cls(owner, (margin(outputs) <= 0) & (margin(problem.network(z)) > 0))

    def require_labels(self, certified: np.ndarray) -> None:
        """Does the module read the label at every evaluated point of the certified balls (N,)? Raises: UserError."""
        wrong = np.flatnonzero(self.contradicts & certified[self.owner])
        if len(wrong):
            raise UserError(
                f"the torch network's own rounding changes the label near point {self.owner[wrong[0]]}, where exact "
                "arithmetic proves it constant: certify model.double()"
            )
