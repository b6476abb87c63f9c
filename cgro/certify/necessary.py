"""A necessary condition from the first layer alone: points with equal images under it get equal labels.

If W1 z_i = W1 z_j for some z_i in B_p(x_i, mu) and z_j in B_p(x_j, mu) with y_i != y_j, no network whose first layer
has the weight W1 is robust with radius mu. With e = (x_i - z_i) - (x_j - z_j) that is a question about one vector:

    min { |e|_p : W1 e = W1 (x_i - x_j) } <= 2 mu,   for p = 2:  |P (x_i - x_j)|_2 <= 2 mu,  P onto the row space of W1

since halves of e are then allowed moves of both points. So robustness needs |P (x_i - x_j)|_2 > 2 mu for all opposite
pairs on closed balls, >= 2 mu on open ones.

Reference: Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, proof of Proposition 3.2
(for one data set) [S]; for any network (K3) [D].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linprog

from cgro.base.errors import UserError
from cgro.base.norms import Norm, distances, length, require_norm
from cgro.certify.arguments import checked_count, checked_points, checked_radius
from cgro.certify.ball import inside
from cgro.networks.relu import Matrix, ReluNetwork, dense


@dataclass(frozen=True, eq=False)
class Collision:
    """Two points with different labels whose balls hold one pair that the first layer cannot tell apart."""

    first: int
    """Index i."""
    second: int
    """Index j, with another label."""
    first_point: Float[np.ndarray, " D"]
    """z_i in B(x_i, radius), exactly."""
    second_point: Float[np.ndarray, " D"]
    """z_j in B(x_j, radius), exactly."""
    distance: float
    """Smallest |e|_p, at most 2 radius."""
    mismatch: float
    """Largest |W1 (z_i - z_j)|, 0 up to rounding; certify the two points with radius 0 for a rigorous verdict."""


def falsify_by_first_layer(
    network: ReluNetwork,
    points: Float[np.ndarray, "N D"],
    labels: Int[np.ndarray, " N"],
    norm: Norm,
    radius: float,
) -> Collision | None:
    """The closest opposite pair, if the first layer lets it collide within the radius; None if no pair does.

    Raises: UserError for an unknown norm, points or labels that do not fit the network, and a radius that is negative
        or not finite.
    """
    points, radius = checked_points(points, network.inputs), checked_radius(radius)
    found = closest_pair(network.weights[0], points, labels, norm, within=2 * radius)
    if found is None:
        return None
    i, j, e, distance = found
    first = inside(points[i], points[i] - e / 2, norm, radius)
    second = inside(points[j], points[j] + e / 2, norm, radius)
    mismatch = float(np.abs(network.weights[0] @ (first - second)).max(initial=0.0))
    return Collision(i, j, first, second, distance, mismatch)


def first_layer_radius(
    weight: Matrix, points: Float[np.ndarray, "N D"], labels: Int[np.ndarray, " N"], norm: Norm
) -> float:
    """Smallest radius at which no network with this first weight is robust on closed balls; +inf for a single label.

    Raises: UserError as `closest_pair`.
    """
    found = closest_pair(weight, points, labels, norm)
    return np.inf if found is None else found[3] / 2


def closest_pair(
    weight: Matrix,
    points: Float[np.ndarray, "N D"],
    labels: Int[np.ndarray, " N"],
    norm: Norm,
    *,
    within: float = np.inf,
) -> tuple[int, int, Float[np.ndarray, " D"], float] | None:
    """(i, j, e, |e|_p) of the opposite pair with the smallest |e|_p, if that is at most `within`.

    Raises: UserError for points that are not finite or do not fit the weight (m, D), a number of labels that differs,
        and an unknown norm.
    """
    require_norm(norm)
    if np.ndim(weight) != 2:
        raise UserError(f"weight must have shape (outputs, inputs), got {np.shape(weight)}")
    points = checked_points(points, weight.shape[1])
    labels = checked_count(labels, len(points))
    basis = _row_space(dense(weight))
    seen = points @ basis.T
    # Lower bounds of |e|_p: e and x_i - x_j have one projection, and |e|_1 >= |e|_2 >= |e|_inf >= |e|_2 / sqrt(D).
    least = distances(seen, seen, "2") / (np.sqrt(points.shape[1]) if norm == "inf" else 1)
    i, j = np.nonzero(np.triu(np.asarray(labels)[:, None] != np.asarray(labels)[None, :]))
    best: tuple[int, int, Float[np.ndarray, " D"], float] | None = None
    for k in np.argsort(least[i, j]):
        limit = within if best is None else min(within, best[3])
        if least[i[k], j[k]] * (1 - 1e-9) > limit:
            break
        e = _shortest(basis, points[i[k]] - points[j[k]], norm)
        size = float(length(e, norm))
        if size <= within and (best is None or size < best[3]):
            best = (int(i[k]), int(j[k]), e, size)
        if norm == "2":
            break
    return best


def _row_space(weight: np.ndarray) -> Float[np.ndarray, "r D"]:
    """Orthonormal rows that span those of the weight, up to rounding."""
    _, sizes, right = np.linalg.svd(weight, full_matrices=False)
    return right[sizes > sizes.max(initial=0.0) * max(weight.shape) * np.finfo(float).eps]


def _shortest(basis: Float[np.ndarray, "r D"], gap: Float[np.ndarray, " D"], norm: Norm) -> Float[np.ndarray, " D"]:
    """The e of least |e|_p with basis e = basis gap."""
    if norm == "2" or len(basis) == 0 or not gap.any():
        return basis.T @ (basis @ gap)
    dim, scale = len(gap), float(np.abs(gap).max())
    seen = basis @ (gap / scale)
    if norm == "1":
        answer = linprog(np.ones(2 * dim), A_eq=np.hstack([basis, -basis]), b_eq=seen, bounds=(0, None))
    else:
        one = np.ones((dim, 1))
        eye = np.eye(dim)
        answer = linprog(
            np.r_[np.zeros(dim), 1.0],
            A_ub=np.block([[eye, -one], [-eye, -one]]),
            b_ub=np.zeros(2 * dim),
            A_eq=np.hstack([basis, np.zeros((len(basis), 1))]),
            b_eq=seen,
            bounds=[(None, None)] * dim + [(0, None)],
        )
    if answer.x is None:
        return gap
    e = answer.x[:dim] - answer.x[dim:] if norm == "1" else answer.x[:dim]
    # The solver keeps equations to 1e-7: one projection makes them exact to rounding.
    return scale * (e + basis.T @ (seen - basis @ e))
