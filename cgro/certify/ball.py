"""The closed ball B_p(x, radius): its extreme points, and points that lie in it when they are measured exactly."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from jaxtyping import Float

from cgro.base.norms import DUAL, Norm, length, require_norm


def extreme(direction: Float[np.ndarray, "*batch D"], norm: Norm) -> Float[np.ndarray, "*batch D"]:
    """The u with |u|_p <= 1 that maximizes <direction, u>; 0 where the direction is 0.

    Raises: UserError for an unknown norm.
    """
    require_norm(norm)
    if norm == "inf":
        return np.sign(direction)
    largest = np.abs(direction).max(axis=-1, keepdims=True)
    if norm == "1":
        at = np.abs(direction).argmax(axis=-1)[..., None]
        out = np.zeros_like(direction)
        np.put_along_axis(out, at, np.sign(np.take_along_axis(direction, at, -1)), -1)
        return out
    # Dividing by the largest entry first keeps the squares of tiny directions from underflowing.
    direction = direction / np.where(largest > 0, largest, 1)
    size = length(direction, DUAL[norm])[..., None]
    return direction / np.where(size > 0, size, 1)


def uniform(rng: np.random.Generator, shape: tuple[int, ...], norm: Norm) -> Float[np.ndarray, "*batch D"]:
    """Random points of the unit ball, uniform in it. Raises: UserError for an unknown norm."""
    require_norm(norm)
    if norm == "inf":
        return rng.uniform(-1, 1, shape)
    draw = rng.standard_normal(shape) if norm == "2" else rng.laplace(size=shape)
    return draw / length(draw, norm)[..., None] * rng.random((*shape[:-1], 1)) ** (1 / shape[-1])


def contains(x: Float[np.ndarray, " D"], z: Float[np.ndarray, " D"], norm: Norm, radius: float) -> bool:
    """Is |z - x|_p <= radius in exact arithmetic? Raises: UserError for an unknown norm."""
    require_norm(norm)
    if not np.isfinite(z).all():
        return False
    # The exact test is slow: points well inside need none.
    if _size(z - x, norm) <= radius * (1 - 1e-9) and radius > 1e-100:
        return True
    if norm == "inf":
        return not _beyond(x, z, radius).any()
    if norm == "1":
        rounded, error = _difference(x, z)
        # fsum rounds the exact sum once, so its sign is exact.
        return math.fsum([*np.abs(rounded), *(np.sign(rounded) * error), -radius]) <= 0
    differences = (Fraction(b) - Fraction(a) for a, b in zip(x.tolist(), z.tolist(), strict=True))
    return sum(d * d for d in differences) <= Fraction(radius) ** 2


def inside(
    x: Float[np.ndarray, " D"], z: Float[np.ndarray, " D"], norm: Norm, radius: float
) -> Float[np.ndarray, " D"]:
    """The point of the ball, exactly, that z is close to: z itself, or z pulled in by a few units in the last place.

    Raises: UserError for an unknown norm.
    """
    require_norm(norm)
    if norm == "inf":
        z = np.clip(z, x - radius, x + radius)
        z = np.where(_beyond(x, z, radius), np.nextafter(z, x), z)
    else:
        size = _size(z - x, norm)
        if size > radius:
            z = x + (z - x) * (radius / size)
        for factor in (1e-15, 1e-14, 1e-13, 1e-12, 1e-9, 1e-6, 1e-3, 0.1, 0.9):
            if contains(x, z, norm, radius):
                break
            z = x + (z - x) * (1 - factor)
    return z if contains(x, z, norm, radius) else x.copy()


def _size(delta: Float[np.ndarray, " D"], norm: Norm) -> float:
    """Norm of delta whose squares neither overflow nor underflow."""
    largest = float(np.abs(delta).max(initial=0.0))
    return largest * float(length(delta / largest, norm)) if largest > 0 else 0.0


def _difference(
    x: Float[np.ndarray, " D"], z: Float[np.ndarray, " D"]
) -> tuple[Float[np.ndarray, " D"], Float[np.ndarray, " D"]]:
    """z - x = rounded + error exactly, error being at most half a unit in the last place (Knuth's TwoSum)."""
    rounded = z - x
    virtual = rounded + x
    return rounded, (z - virtual) + ((virtual - rounded) - x)


def _beyond(x: Float[np.ndarray, " D"], z: Float[np.ndarray, " D"], radius: float) -> np.ndarray:
    """Coordinates with |z - x| > radius exactly: rounding keeps the order, and where it meets the radius, the error
    decides."""
    rounded, error = _difference(x, z)
    size = np.abs(rounded)
    return (size > radius) | ((size == radius) & (np.sign(rounded) * error > 0))
