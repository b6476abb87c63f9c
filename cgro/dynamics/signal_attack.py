"""The perturbation set A(X, delta) of Li & Li (ICML 2025, arXiv:2306.01271), section 5: only the signal patch moves.

It moves along its own feature, w* or the v of `cgro.data.patches`: X'[s] = X[s] + c w*, |c| <= delta. With
t = alpha + c y the signal patch becomes t y w*, and its part of the margin y f(X') is the signal margin

    h_y(t) = y |t|^q U_{sgn(y t)},    U_+ = sum_r a_r phi(u_r),  U_- = sum_r a_r phi(-u_r),   u_r = <w_r, w*>

(U_- = -U_+ for the odd activation, so h_y(t) = sgn(t)|t|^q U for both y). Your own activation has no such power law:
then h_y(t) = y sum_r a_r phi(y t u_r), and the minimum over the segment is searched on the grid `points_of`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from cgro.base.validate import one_of
from cgro.dynamics.activations import Activation, activation

SignalAttack = Literal["transfer", "worst"]
"""transfer: fixed, t = alpha - delta (the 2023 version of the paper). worst: the exact maximum of the loss inside A."""


def signal_learning(
    u: Float64[Tensor, "B F"], signs: Float64[Tensor, " F"], exponent: float, kind: Activation
) -> Float64[Tensor, "B 2"]:
    """(U_-, U_+) of each run: how much of the signal the network has learned, for each label."""
    return torch.stack([activation(side * u, exponent, kind) @ signs for side in (-1.0, 1.0)], dim=1)


def signal_margin(t: Float64[Tensor, " B"], U: Float64[Tensor, "B 2"], exponent: float) -> Float64[Tensor, "B 2"]:
    """h_y(t) of each run for y = -1 (column 0) and y = +1 (column 1)."""
    positive = (t >= 0)[:, None]
    label = torch.tensor([-1.0, 1.0], dtype=U.dtype, device=U.device)
    return label * (t.abs() ** exponent)[:, None] * torch.where(positive, U, U.flip(1))


GRID = 33
"""Number of points tried on the segment if the activation has no power law."""


def points_of(signal: Float64[Tensor, " B"], radius: Float64[Tensor, " B"]) -> Float64[Tensor, "G B"]:
    """Equally spaced signals t from alpha - delta to alpha + delta, both included."""
    share = torch.linspace(-1.0, 1.0, GRID, dtype=signal.dtype, device=signal.device)
    return signal + share[:, None] * radius


def margins(
    t: Float64[Tensor, " B"],
    u: Float64[Tensor, "B F"],
    signs: Float64[Tensor, " F"],
    exponent: float,
    kind: Activation,
) -> Float64[Tensor, "B 2"]:
    """h_y(t) of each run for y = -1 (column 0) and y = +1 (column 1), for any activation."""
    if not callable(kind):
        return signal_margin(t, signal_learning(u, signs, exponent, kind), exponent)
    return torch.stack([y * (kind(y * t[:, None] * u) @ signs) for y in (-1.0, 1.0)], dim=1)


def by_sample(
    margins_of: Callable[[Float64[Tensor, "B F"]], Float64[Tensor, "B 2"]],
    u: Float64[Tensor, "B features F"],
    labels: Int64[Tensor, "B N"],
    unlearnable: Bool[Tensor, "B N"],
) -> Float64[Tensor, "B N"]:
    """The signal margin of each sample, from a function that gives those of one feature for both labels."""
    by_feature = torch.stack([margins_of(component) for component in u.unbind(1)], dim=1)
    return by_feature.flatten(1).gather(1, 2 * unlearnable + (labels > 0).long())


def worst_margins(
    signal: Float64[Tensor, " B"],
    radius: Float64[Tensor, " B"],
    u: Float64[Tensor, "B F"],
    signs: Float64[Tensor, " F"],
    exponent: float,
    kind: Activation,
) -> Float64[Tensor, "B 2"]:
    """Smallest h_y inside A: exact if the activation has a power law, otherwise at the best grid point."""
    return attacked("worst", signal, radius, u, signs, exponent, kind)[0]


def attacked(
    attack: SignalAttack,
    signal: Float64[Tensor, " B"],
    radius: Float64[Tensor, " B"],
    u: Float64[Tensor, "B F"],
    signs: Float64[Tensor, " F"],
    exponent: float,
    kind: Activation,
) -> tuple[Float64[Tensor, "B 2"], Float64[Tensor, "B 2"]]:
    """Signal margin under the attack and the signal t that attains it, for both labels and any activation."""
    if not callable(kind):
        return attacked_margin(attack, signal, radius, signal_learning(u, signs, exponent, kind), exponent)
    points = (signal - radius)[None] if attack == "transfer" else points_of(signal, radius)
    found = torch.stack([y * (kind(y * points[..., None] * u) @ signs) for y in (-1.0, 1.0)], dim=-1)
    best = found.argmin(0)
    return found.amin(0), points[..., None].expand_as(found).gather(0, best[None])[0]


def attacked_margin(
    attack: SignalAttack,
    signal: Float64[Tensor, " B"],
    radius: Float64[Tensor, " B"],
    U: Float64[Tensor, "B 2"],
    exponent: float,
) -> tuple[Float64[Tensor, "B 2"], Float64[Tensor, "B 2"]]:
    """Signal margin under the attack and the signal t that attains it, for both labels.

    h_y is monotone on either side of t = 0, so its minimum over [alpha - delta, alpha + delta] is at an end point, or
    at t = 0 if that is inside (delta >= alpha).
    """
    if one_of("attack", attack, get_args(SignalAttack)) == "transfer":
        t = signal - radius
        return signal_margin(t, U, exponent), t[:, None].expand(-1, 2)
    ends = [signal - radius, signal + radius, (signal - radius).clamp(min=0.0)]
    margins = torch.stack([signal_margin(t, U, exponent) for t in ends], dim=-1)
    best = margins.argmin(-1)
    return margins.amin(-1), torch.stack(ends, dim=-1).gather(1, best)
