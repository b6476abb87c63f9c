"""l_inf and l_1 memorizers with two hidden layers: a sum of hinges measures how far a point is outside a ball.

    l_inf:  g_i(x) = sum_k relu(x_k - x_ik - mu) + relu(x_ik - x_k - mu)      0 on the ball, >= gamma on balls of others
    l_1:    g_i(x) = |x - x_i|_1 - mu,  |t| = 2 relu(t) - t                   <= 0 on the ball, >= gamma on the others

h_i = relu(gamma - g_i) is the indicator. Biases are rounded outwards and gamma downwards, so the statements hold
exactly for the real function of the float64 weights.
Source: the hinges of Yu, Gao & Zhang, ICLR 2024, in parallel; counts [D].
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import sparse

from cgro.base.errors import UserError
from cgro.memorizers.task import Memorizer, Task, encode
from cgro.networks.readout import Readout
from cgro.networks.relu import PrecisionError, ReluNetwork, Size


def hinge_sum(task: Task, *, readout: Readout | None = None) -> Memorizer:
    """l_inf, any rho < 1, two hidden layers: 2 D hinges for each of the n stored points.

        non-zero n (6 D + 2) + 1,    total 2 D n (D + 1) + n (2 D n + 1) + n + 1      (sign read-out)

    Margin gamma / 2 on all balls with the sign read-out, 1/2 with labels.

    Raises: UserError if the norm is not l_inf; PrecisionError if float64 cannot tell the balls apart.
    """
    require(task, "inf", "hinge_sum")
    code = encode(task, readout)
    low, high, gap = boxes(task, code.stored)
    n, D = low.shape
    first = sparse.kron(np.ones((n, 1)), sparse.vstack([sparse.eye_array(D), -sparse.eye_array(D)]), format="csr")
    second = sparse.kron(sparse.eye_array(n), np.full((1, 2 * D), -1.0), format="csr")
    head, margin = code.head(gap)
    layers = [(first, np.concatenate([-high, low], axis=1).ravel()), (second, np.full(n, gap)), *head]
    nonzero, total, neurons = code.head_size()
    claimed = Size(
        nonzero=n * (6 * D + 1) + nonzero,
        total=2 * D * n * (D + 1) + n * (2 * D * n + 1) + total,
        neurons=2 * D * n + n + neurons,
        depth=2 + len(head),
        width=2 * D * n,
    )
    return Memorizer(task, ReluNetwork.of(layers), code.readout, "hinge_sum", {"readout": readout}, claimed, margin)


def shared_hinges(task: Task, *, spacing: float | None = None, readout: Readout | None = None) -> Memorizer:
    """l_inf, any rho < 1, two hidden layers: stored points share the hinges of each coordinate.

    Sides of boxes are moved outwards to a grid of that spacing (default gamma / 2; 0 shares equal sides only,
    which is all that images with 256 levels need). At most R / spacing + 2 hinges of each sign remain in a
    coordinate of range R, so that with H hinges in all

        non-zero n (2 D + 2) + 2 H + 1 = n (2 D + 2) + O(D R / gamma)        (sign read-out)        [D]

    less one for a hinge at 0, which has no bias.

    Raises: UserError if the norm is not l_inf or the spacing is not in [0, gamma); PrecisionError if float64
        cannot tell the balls apart.
    """
    require(task, "inf", "shared_hinges")
    code = encode(task, readout)
    low, high, gap = boxes(task, code.stored)
    step = gap / 2 if spacing is None else spacing
    if not 0 <= step < gap:
        raise UserError(f"spacing must be at least 0 and below the gap between balls, {gap:g}, got {step:g}")
    if step > 0:
        # A spacing that is a power of two makes the sides of the grid exact.
        step = 2.0 ** math.floor(math.log2(step))
        low, high = np.floor(low / step) * step, np.ceil(high / step) * step
        gap = math.nextafter(gap - step, -math.inf)
    first, bias, second = share(low, high)
    n, D = low.shape
    head, margin = code.head(gap)
    layers = [(first, bias), (second, np.full(n, gap)), *head]
    hinges = len(bias)
    nonzero, total, neurons = code.head_size()
    claimed = Size(
        nonzero=n * (2 * D + 1) + hinges + int(np.count_nonzero(bias)) + nonzero,
        total=hinges * (D + 1) + n * (hinges + 1) + total,
        neurons=hinges + n + neurons,
        depth=2 + len(head),
        width=max(hinges, n),
    )
    options: dict[str, Any] = {"spacing": spacing, "readout": readout}
    return Memorizer(task, ReluNetwork.of(layers), code.readout, "shared_hinges", options, claimed, margin)


def absolute_sum(task: Task, *, readout: Readout | None = None) -> Memorizer:
    """l_1, any rho < 1, two hidden layers: D hinges for each of the n stored points and one neuron for sum_k x_k.

        non-zero n (3 D + 3) + D + 2,    total (D + 1)(D n + 1) + n (D n + 2) + n + 1      (sign read-out)

    Margin gamma / 2 on all balls with the sign read-out, 1/2 with labels.

    Raises: UserError if the norm is not l_1; PrecisionError if float64 cannot tell the balls apart.
    """
    require(task, "1", "absolute_sum")
    code = encode(task, readout)
    x = task.data.points
    centres = x[code.stored]
    n, D = centres.shape
    # sum_k x_k + shift >= 0 on every ball; the sums themselves are exact to one rounding.
    sums = np.array([math.fsum(row) for row in x])
    shift = max(math.ceil(task.radius - sums.min()) + 1.0, 1.0)
    reach = task.separation.lower - task.radius
    bias = np.array([math.fsum([reach, -shift, *-row]) for row in centres])
    error = 2 * float(np.spacing(np.abs(bias)).max())
    # Rounded down, so that balls of other labels get exactly 0.
    bias = np.nextafter(bias, -np.inf)
    gap = task.gap - 2 * error
    require_precision(gap, task)
    first = sparse.vstack(
        [sparse.kron(np.ones((n, 1)), sparse.eye_array(D)), sparse.csr_array(np.ones((1, D)))], format="csr"
    )
    blocks = sparse.kron(sparse.eye_array(n), np.full((1, D), -2.0))
    second = sparse.hstack([blocks, np.ones((n, 1))], format="csr")
    head, margin = code.head(gap)
    layers = [(first, np.append(-centres.ravel(), shift)), (second, bias), *head]
    nonzero, total, neurons = code.head_size()
    claimed = Size(
        nonzero=n * (3 * D + 2) + D + 1 + nonzero,
        total=(D + 1) * (D * n + 1) + n * (D * n + 2) + total,
        neurons=D * n + 1 + n + neurons,
        depth=2 + len(head),
        width=D * n + 1,
    )
    return Memorizer(task, ReluNetwork.of(layers), code.readout, "absolute_sum", {"readout": readout}, claimed, margin)


def boxes(task: Task, stored: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Sides (n, D) of boxes that hold the l_inf balls of stored points, and the gap to all balls of other labels."""
    centres = task.data.points[stored]
    low = np.nextafter(centres - task.radius, -np.inf)
    high = np.nextafter(centres + task.radius, np.inf)
    largest = float(np.abs(task.data.points).max()) + task.radius
    gap = math.nextafter(task.gap - 4 * float(np.spacing(largest)), -math.inf)
    require_precision(gap, task)
    return low, high, gap


def require(task: Task, norm: str, construction: str) -> None:
    """Raises: UserError if the construction is not for the norm of the task."""
    if task.norm != norm:
        raise UserError(f"norm must be {norm!r} for construction {construction}, got {task.norm!r}")


def require_precision(gap: float, task: Task) -> None:
    """Raises: PrecisionError if rounding left no gap between balls."""
    if not gap > 0:
        largest = float(np.abs(task.data.points).max())
        raise PrecisionError(
            f"gap between balls is {task.gap:g} for coordinates up to {largest:g}: float64 rounds it away; shift the "
            "points towards the origin or take a smaller radius"
        )


def share(low: np.ndarray, high: np.ndarray, domain: tuple[float, float] | None = None) -> tuple[Any, np.ndarray, Any]:
    """One hinge for each distinct side of a coordinate, and which hinges each box sums, with weight -1.

    Hinges that are 0 in all of the `domain` (low, high) of coordinates are left out.
    """
    n, D = low.shape
    signs, coordinates, offsets = [], [], []
    rows, columns = [], []
    count = 0
    for k in range(D):
        for sides, sign in ((high[:, k], 1.0), (low[:, k], -1.0)):
            values, place = np.unique(sides, return_inverse=True)
            if domain is not None:
                kept = values < domain[1] if sign > 0 else values > domain[0]
                place = np.where(kept, np.cumsum(kept) - 1, -1)[place]
                values = values[kept]
            coordinates.append(np.full(len(values), k, dtype=np.int32))
            signs.append(np.full(len(values), sign))
            offsets.append(-sign * values)
            used = np.flatnonzero(place >= 0).astype(np.int32)
            rows.append(used)
            columns.append((count + place[used]).astype(np.int32))
            count += len(values)
    starts = np.arange(count + 1)
    first = sparse.csr_array((np.concatenate(signs), np.concatenate(coordinates), starts), shape=(count, D))
    # A stable sort by box keeps the columns of each box in order, without COO triples.
    box, column = np.concatenate(rows), np.concatenate(columns)
    column = column[np.argsort(box, kind="stable")]
    pointers = np.concatenate([[0], np.cumsum(np.bincount(box, minlength=n))])
    second = sparse.csr_array((np.full(len(column), -1.0), column, pointers), shape=(n, count))
    return first, np.concatenate(offsets), second
