"""Exact values of a ReLU network, for the few points where rounding bounds do not determine the sign.

A float64 number is an integer times a power of two, so a layer maps integers over one power of two to integers over
another: additions and multiplications of Python integers, a few hundred bits longer with each layer.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from jaxtyping import Float
from scipy import sparse

from cgro.certify.arguments import checked_points
from cgro.networks.relu import ReluNetwork

Dyadic = tuple[list[int], int]
"""Integers m and an exponent e: the numbers m 2^-e."""


def exact_outputs(network: ReluNetwork, x: Float[np.ndarray, " D"]) -> list[Fraction]:
    """f(x) exactly, for float64 points and weights. Takes about a microsecond for each weight.

    Raises: UserError for a point that is not finite or does not fit the network.
    """
    h, exponent = dyadic(checked_points([x], network.inputs)[0])
    for k, (weight, bias) in enumerate(network.layers, 1):
        places = sparse.coo_array(weight)
        factors, factor_exponent = dyadic(places.data)
        offsets, offset_exponent = dyadic(bias)
        out_exponent = max(exponent + factor_exponent, offset_exponent)
        shift = out_exponent - exponent - factor_exponent
        z = [m << (out_exponent - offset_exponent) for m in offsets]
        for row, column, factor in zip(places.row.tolist(), places.col.tolist(), factors, strict=True):
            z[row] += (factor * h[column]) << shift
        h, exponent = [max(m, 0) for m in z] if k < network.depth else z, out_exponent
    return [Fraction(m, 1 << exponent) for m in h]


def exact_margin(
    network: ReluNetwork,
    x: Float[np.ndarray, " D"],
    rows: Float[np.ndarray, "R outputs"],
    offsets: Float[np.ndarray, " R"],
) -> Fraction:
    """min_r (rows_r f(x) + offsets_r) exactly."""
    outputs = exact_outputs(network, x)
    return min(
        sum((Fraction(float(c)) * f for c, f in zip(row, outputs, strict=True)), Fraction(float(d)))
        for row, d in zip(rows, offsets, strict=True)
    )


def rounded_up(value: Fraction) -> float:
    """The smallest float64 >= the value; +inf on overflow."""
    try:
        near = float(value)
    except OverflowError:
        return float("inf") if value > 0 else -float(np.finfo(float).max)
    return near if Fraction(near) >= value else float(np.nextafter(near, np.inf))


def dyadic(values: Float[np.ndarray, " n"]) -> Dyadic:
    """The values over one power of two, with an exponent >= 0."""
    ratios = [float(v).as_integer_ratio() for v in values]
    exponent = max((d.bit_length() - 1 for _, d in ratios), default=0)
    return [n << (exponent - d.bit_length() + 1) for n, d in ratios], exponent
