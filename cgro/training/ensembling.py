"""Formulas of temporal ensembling: running predictions, the targets made of them, and the schedule of their weight.

    p_i <- e p_i + (1 - e) softmax f(x_i),   p^_i = p_i / sum_k p_ik,
    w(t) = w_max exp(-5 (1 - (t - E_s) / (E_e - E_s))^2) in [E_s, E_e], 0 before, w_max after

Source: Dong et al., ICLR 2022, arXiv:2106.01606, and the authors' code [S].
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from jaxtyping import Float

from cgro.base.errors import UserError
from cgro.base.validate import between

if TYPE_CHECKING:
    from torch import Tensor


def updated(
    running: Float[Tensor, "n C"], prediction: Float[Tensor, "n C"], momentum: float = 0.9
) -> Float[Tensor, "n C"]:
    """Running predictions after one more visit; they start at 0. Raises: UserError for a momentum outside [0, 1)."""
    between("momentum", momentum, 0, 1, open_high=True)
    return momentum * running + (1 - momentum) * prediction


def target(running: Float[Tensor, "n C"]) -> Float[Tensor, "n C"]:
    """p^: the exponentially weighted mean of all predictions so far, for each sample.

    Predictions sum to 1, so running predictions sum to 1 - e^t after t visits; dividing by the sum corrects for the
    start at 0. Samples without a visit get NaN.
    """
    return running / running.sum(dim=-1, keepdim=True)


def weight(epoch: float, *, largest: float = 300.0, start: float = 90.0, end: float = 150.0) -> float:
    """w at an epoch. `largest` applies to the squared error averaged over batch and classes.

    Raises: UserError for end <= start.
    """
    require_ramp(start, end)
    if epoch < start:
        return 0.0
    return largest * math.exp(-5 * (1 - min((epoch - start) / (end - start), 1.0)) ** 2)


def require_ramp(start: float, end: float) -> None:
    """Raises: UserError for a ramp that does not end after it starts."""
    if not end > start:
        raise UserError(f"the ramp must end after it starts, got a start at epoch {start:g} and an end at {end:g}")
