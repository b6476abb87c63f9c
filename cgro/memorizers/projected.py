"""Construction S after an orthonormal projection: fewer dimensions carry the squares.

A map with orthonormal rows takes balls of radius mu into balls of radius mu, so it is enough that the projected points
of different labels stay more than 2 mu apart. Dimension m' = O~(1 + rho^2 min(N, D)) suffices, which gives

    total  m' (D + 1) + (construction S in dimension m')  =  O~(D + N + rho^2 N D)

parameters for N <= D. Source: projection as in Kim, Moon & Yun, Prop. B.19 and B.21 [S], and Egosi, Yehudai & Shamir
[N]; construction S inside of it [D].
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from cgro.base.errors import UserError
from cgro.data.separation import LabelledPoints, nearest_opposite_distances
from cgro.memorizers.ball_sum import Cube, ball_layers, ball_sum_size, levels
from cgro.memorizers.hinges import require
from cgro.memorizers.task import Memorizer, Task, U, encode
from cgro.networks.gadgets import sawtooth
from cgro.networks.readout import Readout
from cgro.networks.relu import PrecisionError, ReluNetwork

SLACK = 1.05
"""Factor by which the projected separation must exceed 2 mu; smaller factors trade dimensions for levels of squares."""


def projected_ball_sum(
    task: Task, *, dim: int | None = None, trials: int = 20, seed: int = 0, readout: Readout | None = None
) -> Memorizer:
    """Construction S in the smallest dimension in which one of `trials` random projections keeps the balls apart.

    Points that span fewer than D dimensions are first projected on their span, an isometry. `dim` fixes the dimension.

    Raises: UserError if the norm is not l_2, or no projection to `dim` dimensions keeps the balls apart; PrecisionError
        if float64 cannot tell the balls apart.
    """
    require(task, "2", "projected_ball_sum")
    rows = separating_projection(task, dim=dim, trials=trials, seed=seed)
    cube = _cube(task, rows)
    k, D = rows.shape
    m = levels(k, cube.gap)
    features, eta = sawtooth(k, m)
    code = encode(task, readout)
    layers, margin = ball_layers(task, cube, code, eta)
    inner = ball_sum_size(len(code.stored), k, m, code)
    claimed = replace(
        inner,
        nonzero=k * (D + 1) + inner.nonzero - k,
        total=k * (D + 1) + inner.total,
        neurons=k + inner.neurons,
        depth=inner.depth + 1,
    )
    network = ReluNetwork.of([(cube.weight, cube.bias), *features, *layers])
    options = {"dim": dim, "trials": trials, "seed": seed, "readout": readout}
    return Memorizer(task, network, code.readout, "projected_ball_sum", options, claimed, margin)


def separating_projection(
    task: Task, *, dim: int | None = None, trials: int = 20, seed: int = 0, slack: float = SLACK
) -> Float[np.ndarray, "k D"]:
    """Orthonormal rows of the smallest number that keep opposite points more than slack * 2 mu apart, as far as
    `trials` random ones tell. For one random basis the distance grows with each row, so bisection is exact.

    Raises: UserError if `dim` is given and no trial of that many rows keeps them apart.
    """
    x = task.data.points
    limit = min(slack, (1 + 1 / task.ratio) / 2) * 2 * task.radius
    centred = x - x.mean(axis=0)
    _, singular, basis = np.linalg.svd(centred, full_matrices=False)
    basis = basis[singular > 1e-12 * singular[0]]
    largest = len(basis) if dim is None else dim
    if not 1 <= largest <= len(basis):
        raise UserError(f"dim must be 1 to {len(basis)}, the dimension that the points span, got {dim}")
    inside = centred @ basis.T

    def keeps(projection: np.ndarray) -> bool:
        projected = LabelledPoints(inside @ projection.T, task.data.labels)
        return bool(nearest_opposite_distances(projected, "2").min() > limit)

    best = None if dim is not None else np.eye(len(basis))
    for stream in np.random.SeedSequence(seed).spawn(trials):
        rotation, _ = np.linalg.qr(np.random.default_rng(stream).normal(size=(len(basis), len(basis))))
        high = largest if best is None else len(best) - 1
        if high < 1 or not keeps(rotation[:high]):
            continue
        low = 0 if dim is None else high - 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if keeps(rotation[:middle]) else (middle, high)
        best = rotation[:high]
        if dim is not None:
            break
    if best is None:
        raise UserError(
            f"dim must be larger, got {dim}: none of {trials} random projections keeps the balls apart; raise dim or "
            "trials"
        )
    return best @ basis


def _cube(task: Task, rows: np.ndarray) -> Cube:
    """t = V x + b with V a multiple of the rows; what rounding does to V's orthogonality is measured and bounded."""
    x = task.data.points
    y = x @ rows.T
    reach = task.radius * (1 + 1e-9)
    w = (1 - 1e-6) / float((y.max(axis=0) - y.min(axis=0)).max() + 2 * reach)
    weight = w * rows
    bias = -w * (y.min(axis=0) - reach) + 1e-7
    t = x @ weight.T + bias
    k, D = weight.shape
    error = (D + 3) * U * float((np.abs(x) @ np.abs(weight).T + np.abs(bias)).max()) * (1 + 1e-9)
    # |V|_2^2 <= largest row sum of |V V^T|.
    gram = np.abs(weight @ weight.T).sum(axis=1).max() + k * (D + 3) * U * w**2
    radius = float(np.sqrt(gram)) * task.radius * (1 + 8 * U)
    if not (t.min() - radius - error >= 0 and t.max() + radius + error <= 1):
        raise PrecisionError(f"coordinates from {x.min():g} to {x.max():g}: float64 cannot scale them; shift to 0")
    apart = nearest_opposite_distances(LabelledPoints(t, task.data.labels), "2").min()
    separation = float(apart) * (1 - (k + 8) * U) - 2 * np.sqrt(k) * error
    return Cube(weight, bias, t, error, radius, separation)
