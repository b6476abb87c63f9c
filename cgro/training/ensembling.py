"""Temporal ensembling against robust overfitting: running predictions, their targets, and the schedule of their weight.

    p_i <- e p_i + (1 - e) softmax f(x_i),   p^_i = p_i / sum_k p_ik,
    w(t) = w_max exp(-5 (1 - (t - E_s) / (E_e - E_s))^2) in [E_s, E_e], 0 before, w_max after

Source: Dong et al., ICLR 2022, and the code of its authors [S].
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from jaxtyping import Float

from cgro.base.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


def updated(
    running: Float[Tensor, "n C"], prediction: Float[Tensor, "n C"], momentum: float = 0.9
) -> Float[Tensor, "n C"]:
    """Running predictions after one visit; they start at 0. Raises: UserError for a momentum outside of [0, 1)."""
    if not 0 <= momentum < 1:
        raise UserError(f"momentum is {momentum:g}: must be at least 0 and below 1")
    return momentum * running + (1 - momentum) * prediction


def target(running: Float[Tensor, "n C"]) -> Float[Tensor, "n C"]:
    """p^: the exponentially weighted mean of all predictions so far, for every sample that was visited.

    Predictions sum to 1, so running ones sum to 1 - e^t after t visits: dividing by the sum corrects the start at 0.
    A sample that was never visited gets NaN.
    """
    return running / running.sum(dim=-1, keepdim=True)


def weight(epoch: float, *, largest: float = 300.0, start: float = 90.0, end: float = 150.0) -> float:
    """w at an epoch. Largest weights are for the squared error averaged over batch and classes. Raises: UserError for
    end <= start."""
    if not end > start:
        raise UserError(f"the ramp runs from epoch {start:g} to {end:g}: it must end after it starts")
    if epoch < start:
        return 0.0
    return largest * math.exp(-5 * (1 - min((epoch - start) / (end - start), 1.0)) ** 2)
