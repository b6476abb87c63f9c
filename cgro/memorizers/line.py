"""Two-layer networks on a line: the exact number of neurons for a sequence of labels, and a network with that many.

On a line a two-layer network with m ReLUs is piecewise linear with at most m breakpoints. Each of its m + 1 pieces
changes sign at most once, so c changes of the label need m >= c - 1; there is no linear term besides the neurons, which
rules m = c - 1 out for small c. With m = c one piece may be flat, and a network exists. Derived here [D].
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from jaxtyping import Float
from scipy.optimize import linprog

from cgro.base.errors import UserError
from cgro.data.separation import LabelledPoints
from cgro.networks.relu import ReluNetwork


def label_changes(labels: np.ndarray) -> int:
    """Neighbours with different labels."""
    return int((labels[1:] != labels[:-1]).sum())


def neurons_needed(changes: int) -> int:
    """Smallest m: c - 1 if slopes of alternating sign fit the neurons, else c."""
    return changes - 1 if changes > 1 and _alternating(changes - 1) is not None else changes


def line_network(zeros: Float[np.ndarray, " c"], first: int, direction: Float[np.ndarray, " D"]) -> ReluNetwork:
    """The sign of f(x) = g(<direction, x>) is `first` below zeros[0] and changes at each of the increasing zeros.

    It has `neurons_needed(c)` ReLUs, one for c = 0, where f is constant.
    """
    c = len(zeros)
    if c == 0:
        return ReluNetwork.of([(0.0 * direction[None], np.zeros(1)), (np.zeros((1, 1)), np.array([float(first)]))])
    found = _alternating(c - 1) if c > 1 else None
    if found is None:
        # Flat before the first change: every neuron is active to the right.
        slopes, left = np.array([0.0] + [(-1.0) ** (j + 1) for j in range(c)]), set[int]()
        gaps = np.diff(zeros)
        start = zeros[0] - (gaps[0] / 2 if c > 1 else 1.0)
        breaks = np.concatenate([[start], zeros[:-1] + gaps / 2])
        # Before the first break f is positive, at the first zero it crosses downwards.
        level = zeros[0] - start
    else:
        sizes, left = found
        slopes = -sizes * (-1.0) ** np.arange(c)
        breaks = (sizes[:-1] * zeros[:-1] + sizes[1:] * zeros[1:]) / (sizes[:-1] + sizes[1:])
        level = slopes[0] * (breaks[0] - zeros[0])
    jumps = np.diff(slopes)
    side = np.array([-1.0 if j in left else 1.0 for j in range(len(jumps))])
    # The value at the first break fixes the constant.
    at = np.maximum(side * (breaks[0] - breaks), 0) @ jumps
    hidden = side[:, None] * direction[None, :]
    return ReluNetwork.of([(hidden, -side * breaks), (first * jumps[None, :], np.array([first * (level - at)]))])


def line_memorizer(data: LabelledPoints, seed: int | np.random.SeedSequence = 0) -> tuple[ReluNetwork, float]:
    """A network that memorizes labels -1 and +1, not robustly, and the largest l_2 radius at which it may be robust.

        t = relu(<w, x> + b), w a random unit vector,   then a line network of c or c - 1 neurons on t

    D + 1 + 3 c + 1 non-zero parameters or fewer, c <= N - 1 changes of the label in the order of t. Whatever follows a
    first layer of one neuron, robustness ends where the images of two balls meet: at min |<w, x_i - x_j>| / 2.

    Raises: UserError for other labels, or points that no projection tells apart.
    """
    if not np.isin(data.labels, (-1, 1)).all():
        raise UserError(
            f"labels must be -1 and +1 for the line network, got {np.unique(data.labels).tolist()}: renumber them"
        )
    direction = np.random.default_rng(seed).standard_normal(data.dim)
    direction /= np.linalg.norm(direction)
    t = data.points @ direction
    order = np.argsort(t, kind="stable")
    t, labels = t[order], data.labels[order]
    change = labels[1:] != labels[:-1]
    zeros = ((t[1:] + t[:-1]) / 2)[change]
    if (np.diff(t)[change] <= 1e-12 * (1 + np.abs(t).max())).any():
        raise UserError("two points of different labels have the same projection: draw another with seed, or move one")
    shift = 1.0 - t.min()
    line = line_network(zeros + shift, int(labels[0]), np.ones(1))
    network = ReluNetwork.of([(direction[None], np.array([shift])), *line.layers])
    apart = np.diff(t)[change].min(initial=np.inf)
    return network, float(apart) / 2


def _alternating(m: int) -> tuple[np.ndarray, set[int]] | None:
    """Sizes t_0..t_m >= 1 of slopes -t_0, t_1, -t_2, ... that m neurons give, and which look to the left; or None.

    The slope jumps by J_j = s_j - s_(j-1) at neuron j whichever way it looks; neurons that look to the left make the
    first slope: s_0 = -sum of their J_j. A linear program for each choice of them decides.
    """
    signs = -((-1.0) ** np.arange(m + 1))
    jump = np.zeros((m, m + 1))
    for j in range(m):
        jump[j, j], jump[j, j + 1] = -signs[j], signs[j + 1]
    for count in range(m + 1):
        for left in combinations(range(m), count):
            row = jump[list(left)].sum(axis=0)
            row[0] += signs[0]
            solution = linprog(np.ones(m + 1), A_eq=row[None], b_eq=[0.0], bounds=(1, None))
            if solution.success:
                return solution.x, set(left)
    return None
