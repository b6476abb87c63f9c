"""Certificates in exact rational arithmetic for networks that are affine on a ball.

In constructions with exact weights (cells of a grid) no neuron switches inside a ball, and numbers have hundreds of
bits. There each neuron is an affine function a . (x - x_i) + c of the point, with range c +- radius |a|_q, and the
whole network is followed exactly. Neurons that may switch end the attempt.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TypeVar

import numpy as np
from jaxtyping import Float, Int

from cgro.base.norms import Norm, require_norm
from cgro.certify.arguments import checked_count, checked_points, checked_radius
from cgro.networks.exact import ExactNetwork, over_one_denominator
from cgro.networks.readout import Readout, margin_rows

Affine = tuple[dict[int, Fraction], Fraction]
"""Non-zero coefficients of x - x_i, and the constant."""
Whole = tuple[dict[int, int], int]
"""The same as integers, over a denominator that is kept elsewhere."""
N = TypeVar("N", int, Fraction)


def affine_margins(
    network: ExactNetwork,
    points: Float[np.ndarray, "N D"],
    labels: Int[np.ndarray, " N"],
    norm: Norm,
    radius: float,
    readout: Readout,
) -> list[Fraction | None]:
    """The smallest margin on each ball, exactly (in l_2 a lower bound within 2^-40), or None where a neuron may switch.

    Raises: UserError for points that are not finite or do not fit the network, labels that do not go with the
        read-out, an unknown norm, and a radius that is negative or not finite.
    """
    norm, radius, points = require_norm(norm), checked_radius(radius), checked_points(points, network.inputs)
    rows, offsets = margin_rows(readout, network.outputs, checked_count(labels, len(points)))
    found: list[Fraction | None] = []
    for x, row, offset in zip(points.tolist(), rows, offsets, strict=True):
        outputs = _follow(network, [Fraction(v) for v in x], norm, Fraction(radius))
        if outputs is None:
            found.append(None)
            continue
        parts = []
        for weights, d in zip(row.tolist(), offset.tolist(), strict=True):
            a, c = _combine([(k, Fraction(w)) for k, w in enumerate(weights)], Fraction(d), outputs)
            parts.append(c - Fraction(radius) * _dual(a, norm))
        found.append(min(parts))
    return found


def _follow(network: ExactNetwork, x: list[Fraction], norm: Norm, radius: Fraction) -> list[Affine] | None:
    values, denominator = over_one_denominator(x)
    h: list[Whole] = [({k: denominator}, v) for k, v in enumerate(values)]
    for depth, (rows, common) in enumerate(network.whole_layers, 1):
        z = [_combine(row, bias * denominator, h) for row, bias in rows]
        denominator *= common
        if depth == len(network.layers):
            return [({k: Fraction(v, denominator) for k, v in a.items()}, Fraction(c, denominator)) for a, c in z]
        h = []
        for a, c in z:
            reach = radius * _dual(a, norm) if a else 0
            if -reach < c < reach:
                return None
            h.append((a, c) if c > 0 else ({}, 0))
        shared = math.gcd(denominator, *(v for a, c in h for v in (*a.values(), c)))
        h = [({k: v // shared for k, v in a.items()}, c // shared) for a, c in h]
        denominator //= shared
    raise AssertionError("a network has a last layer")


def _combine(row: list[tuple[int, N]], bias: N, h: list[tuple[dict[int, N], N]]) -> tuple[dict[int, N], N]:
    total: dict[int, N] = {}
    for j, w in row:
        a, c = h[j]
        bias = bias + w * c
        for k, v in a.items():
            total[k] = total[k] + w * v if k in total else w * v
    return {k: v for k, v in total.items() if v}, bias


def _dual(a: dict[int, N], norm: Norm) -> Fraction:
    """Dual norm of the coefficients; the Euclidean one rounded up."""
    sizes = [Fraction(abs(v)) for v in a.values()] or [Fraction(0)]
    if norm == "inf":
        return sum(sizes, Fraction(0))
    if norm == "1":
        return max(sizes)
    # Scaled by the largest entry, so that the root lies between 1 and sqrt(D) and floats suffice.
    top = max(sizes)
    square = sum(((v / top) ** 2 for v in sizes), Fraction(0)) if top else Fraction(0)
    return top * (Fraction(float(square) ** 0.5) + Fraction(1, 2**40))
